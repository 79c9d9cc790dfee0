/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * The link of Ethernet over ivshmem: what to do when one's own state and that
 * of the peer are so and so, and what both sides can do. Decides and computes
 * only; who calls it acts. Builds in the kernel and in user space.
 *
 * Implements Documentation/ivshmem/net.rst, "States" and "Extension".
 */
#ifndef _IVSHMEM_NET_LINK_H
#define _IVSHMEM_NET_LINK_H

#include "ivshmem-net-ring.h"

enum ivn_link_state {
	IVN_LINK_STATE_RESET = IVSHMEM_NET_STATE_RESET,
	IVN_LINK_STATE_INIT = IVSHMEM_NET_STATE_INIT,
	IVN_LINK_STATE_READY = IVSHMEM_NET_STATE_READY,
	IVN_LINK_STATE_RUN = IVSHMEM_NET_STATE_RUN,
	IVN_LINK_STATES
};

/**
 * enum ivn_link_action - what a look at both states leads to
 * @IVN_LINK_WAIT: nothing; the peer has to move
 * @IVN_LINK_INIT: go INIT
 * @IVN_LINK_PREPARE: ivn_link_prepare(), then go READY
 * @IVN_LINK_CONNECT: ivn_link_read_offer(), start both ends of the rings at 0,
 *	carrier on; if the interface is up, go RUN. Comes again as long as it
 *	is down
 * @IVN_LINK_KEEP: nothing; all is well
 * @IVN_LINK_RESET: carrier off, stop, go RESET
 */
enum ivn_link_action {
	IVN_LINK_WAIT,
	IVN_LINK_INIT,
	IVN_LINK_PREPARE,
	IVN_LINK_CONNECT,
	IVN_LINK_KEEP,
	IVN_LINK_RESET,
};

static const __u8 ivn_link_table[IVN_LINK_STATES][IVN_LINK_STATES] = {
	[IVN_LINK_STATE_RESET] = {
		[IVN_LINK_STATE_RESET] = IVN_LINK_INIT,
		[IVN_LINK_STATE_INIT] = IVN_LINK_INIT,
		/* The peer has to notice my reset first */
		[IVN_LINK_STATE_READY] = IVN_LINK_WAIT,
		[IVN_LINK_STATE_RUN] = IVN_LINK_WAIT,
	},
	[IVN_LINK_STATE_INIT] = {
		[IVN_LINK_STATE_RESET] = IVN_LINK_WAIT,
		[IVN_LINK_STATE_INIT] = IVN_LINK_PREPARE,
		[IVN_LINK_STATE_READY] = IVN_LINK_PREPARE,
		[IVN_LINK_STATE_RUN] = IVN_LINK_PREPARE,
	},
	[IVN_LINK_STATE_READY] = {
		[IVN_LINK_STATE_RESET] = IVN_LINK_RESET,
		/* I was first */
		[IVN_LINK_STATE_INIT] = IVN_LINK_WAIT,
		[IVN_LINK_STATE_READY] = IVN_LINK_CONNECT,
		[IVN_LINK_STATE_RUN] = IVN_LINK_CONNECT,
	},
	[IVN_LINK_STATE_RUN] = {
		[IVN_LINK_STATE_RESET] = IVN_LINK_RESET,
		/* No honest peer gets there */
		[IVN_LINK_STATE_INIT] = IVN_LINK_RESET,
		[IVN_LINK_STATE_READY] = IVN_LINK_KEEP,
		[IVN_LINK_STATE_RUN] = IVN_LINK_KEEP,
	},
};

/**
 * ivn_link_peer_state() - a word of the State Table as a state
 * @raw: as it was read, in the byte order of the processor
 *
 * Return: the state; IVN_LINK_STATE_RESET for what is none.
 */
static inline enum ivn_link_state ivn_link_peer_state(__u32 raw)
{
	return raw < IVN_LINK_STATES ? (enum ivn_link_state)raw : IVN_LINK_STATE_RESET;
}

/**
 * ivn_link_decide() - what to do
 * @mine: what I set last
 * @peer_raw: the peer's word in the State Table
 *
 * What is read of the peer's section after this has to be read after the state:
 * the caller puts a read barrier in between.
 *
 * Return: the action.
 */
static inline enum ivn_link_action ivn_link_decide(enum ivn_link_state mine,
						   __u32 peer_raw)
{
	return (enum ivn_link_action)ivn_link_table[mine][ivn_link_peer_state(peer_raw)];
}

/**
 * struct ivn_link_offer - struct ivshmem_net_ext as numbers
 * @queues: pairs, 1..IVSHMEM_NET_MAX_QUEUES
 * @features: IVSHMEM_NET_F_*
 * @max_frame: bytes of the largest frame that this side takes
 * @max_gso: bytes of the largest GSO frame that it takes
 * @vectors: how many it listens to
 */
struct ivn_link_offer {
	__u32 queues;
	__u32 features;
	__u32 max_frame;
	__u32 max_gso;
	__u32 vectors;
};

/**
 * struct ivn_link_agreed - what holds for a link while it is READY or RUN
 * @queues: pairs in use, for ivn_ring_queue_layout()
 * @vectors: how many the peer listens to, see ivn_link_vector()
 * @vnet_hdr: frames in both directions begin with a struct virtio_net_hdr
 * @features: IVSHMEM_NET_F_CSUM, TSO4, TSO6, USO: what I may send
 * @max_frame: bytes of the largest frame that I may send, 0 = not told
 * @max_gso: bytes of the largest GSO frame that I may send, if any
 */
struct ivn_link_agreed {
	__u32 queues;
	__u32 vectors;
	bool vnet_hdr;
	__u32 features;
	__u32 max_frame;
	__u32 max_gso;
};

/* Where the extension of a section is announced */
static inline __le16 *ivn_link_avail_flags(void *section,
					   const struct ivn_ring_layout *l)
{
	struct ivshmem_net_avail *avail = (void *)((__u8 *)section + l->avail);

	return &avail->flags;
}

static inline struct ivshmem_net_ext *ivn_link_ext(void *section,
						   __u64 section_bytes)
{
	return (void *)((__u8 *)section + section_bytes - IVSHMEM_NET_EXT_BYTES);
}

/**
 * ivn_link_prepare() - make one's own section ready, in state INIT
 * @mine: start of the section
 * @section_bytes: its size
 * @offer: what to offer, or NULL for no extension
 *
 * The peer reads it when it sees the state READY: that has to be stored after
 * all of this.
 *
 * Return: 0, or -ENOSPC if the section is too small.
 */
static inline int ivn_link_prepare(void *mine, __u64 section_bytes,
				   const struct ivn_link_offer *offer)
{
	struct ivshmem_net_ext *ext;
	struct ivn_ring_layout l;
	int err = ivn_ring_layout(&l, section_bytes);

	if (err)
		return err;
	ivn_ring_clear(mine, section_bytes, offer ? offer->queues : 1);
	ext = ivn_link_ext(mine, section_bytes);
	*ext = (struct ivshmem_net_ext) { 0 };
	if (!offer)
		return 0;

	*ext = (struct ivshmem_net_ext) {
		.magic = cpu_to_le32(IVSHMEM_NET_EXT_MAGIC),
		.version = cpu_to_le16(IVSHMEM_NET_EXT_VERSION),
		.queues = cpu_to_le16(offer->queues),
		.features = cpu_to_le32(offer->features),
		.max_frame = cpu_to_le32(offer->max_frame),
		.max_gso = cpu_to_le32(offer->max_gso),
		.vectors = cpu_to_le32(offer->vectors),
	};
	WRITE_ONCE(*ivn_link_avail_flags(mine, &l),
		   cpu_to_le16(IVSHMEM_NET_AVAIL_F_EXT));
	return 0;
}

static inline bool ivn_link_offer_valid(const struct ivn_link_offer *offer)
{
	return offer->queues && offer->queues <= IVSHMEM_NET_MAX_QUEUES &&
	       offer->max_frame >= IVSHMEM_NET_MIN_MAX_FRAME;
}

/**
 * ivn_link_read_offer() - what the peer offers, on IVN_LINK_CONNECT
 * @offer: filled on success
 * @theirs: start of the peer's section
 * @section_bytes: its size
 *
 * Return: false if there is no extension, or one that is malformed.
 */
static inline bool ivn_link_read_offer(struct ivn_link_offer *offer,
				       const void *theirs, __u64 section_bytes)
{
	const struct ivshmem_net_ext *ext = ivn_link_ext((void *)theirs, section_bytes);
	struct ivn_ring_layout l;
	__le16 flags;

	if (ivn_ring_layout(&l, section_bytes))
		return false;
	flags = READ_ONCE(*ivn_link_avail_flags((void *)theirs, &l));
	if (!(le16_to_cpu(flags) & IVSHMEM_NET_AVAIL_F_EXT) ||
	    le32_to_cpu(READ_ONCE(ext->magic)) != IVSHMEM_NET_EXT_MAGIC ||
	    !READ_ONCE(ext->version))
		return false;

	offer->queues = le16_to_cpu(READ_ONCE(ext->queues));
	offer->features = le32_to_cpu(READ_ONCE(ext->features));
	offer->max_frame = le32_to_cpu(READ_ONCE(ext->max_frame));
	offer->max_gso = le32_to_cpu(READ_ONCE(ext->max_gso));
	offer->vectors = le32_to_cpu(READ_ONCE(ext->vectors));
	return ivn_link_offer_valid(offer);
}

/* What of the peer's features there is to use: GSO needs partial checksums */
static inline __u32 ivn_link_usable(const struct ivn_link_offer *peer)
{
	__u32 gso = IVSHMEM_NET_F_TSO4 | IVSHMEM_NET_F_TSO6 | IVSHMEM_NET_F_USO;

	if (!(peer->features & IVSHMEM_NET_F_CSUM))
		return 0;
	if (peer->max_gso < peer->max_frame)
		return IVSHMEM_NET_F_CSUM;
	return peer->features & (IVSHMEM_NET_F_CSUM | gso);
}

/**
 * ivn_link_agree() - what both sides can do
 * @agreed: filled
 * @mine: what ivn_link_prepare() wrote, or NULL
 * @peer: what ivn_link_read_offer() returned, or NULL
 * @my_vectors: of this side; without extension the peer's are taken to be as many
 */
static inline void ivn_link_agree(struct ivn_link_agreed *agreed,
				  const struct ivn_link_offer *mine,
				  const struct ivn_link_offer *peer,
				  __u32 my_vectors)
{
	*agreed = (struct ivn_link_agreed) {
		.queues = 1,
		.vectors = my_vectors,
	};
	if (!mine || !peer)
		return;

	agreed->queues = mine->queues;
	if (agreed->queues > peer->queues)
		agreed->queues = peer->queues;
	agreed->vectors = peer->vectors;
	agreed->max_frame = peer->max_frame;
	agreed->vnet_hdr = mine->features & peer->features & IVSHMEM_NET_F_VNET_HDR;
	if (!agreed->vnet_hdr)
		return;
	agreed->features = ivn_link_usable(peer);
	agreed->max_gso = peer->max_gso;
}

/**
 * ivn_link_vector() - the peer's vector for queue @q
 * @agreed: of the link
 * @q: below @agreed->queues
 *
 * Return: the vector for the doorbell.
 */
static inline __u32 ivn_link_vector(const struct ivn_link_agreed *agreed, __u32 q)
{
	if (agreed->queues > 1)
		return 1 + q;
	return agreed->vectors > 1 ? 1 : 0;
}

#endif /* _IVSHMEM_NET_LINK_H */
