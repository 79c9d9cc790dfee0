/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * The rings of Ethernet over ivshmem, both ends: where they lie, and frames in
 * and out. Builds in the kernel and in user space; knows nothing of devices,
 * interrupts or struct sk_buff, waits for nothing, allocates nothing.
 *
 * The peer is hostile. What it writes is read once, checked, and used from the
 * copy. What a side needs of its own past is in private memory, because what
 * is in its section, the peer has seen. A broken rule is -EPROTO and moves
 * nothing; the ring is good again after ivn_ring_clear() and an init.
 *
 * One caller at a time for each struct ivn_ring_tx and each struct ivn_ring_rx.
 *
 * Who orders what against whom:
 *
 *   sender                                receiver
 *   frame, descriptor, ring entry         idx (acquire)         A
 *   idx (release)                   A     entry, descriptor, frame
 *   full barrier                    B     avail_event
 *   avail_event                           full barrier          B
 *                                         idx
 *
 *   used idx (acquire)              C     frame was read, used entry
 *   used entry; writes a new frame        used idx (release)    C
 *   used_event                            full barrier          D
 *   full barrier                    D     used_event
 *   used idx
 *
 * A and C: what the index covers is seen with it. B and D: of the one who
 * stores an index and the one who stores where it wants to be woken, at least
 * one sees the other's store, so no wake-up is lost. An event that is left
 * where it was lies behind the index and costs at most one needless doorbell
 * in 65536 frames: there is no need to switch notifications off.
 *
 * Plain loads and stores only: emulators and kernels of one processor do not
 * make read-modify-write atomic towards another virtual machine.
 *
 * Implements Documentation/ivshmem/net.rst, "Layout" and "Frames".
 */
#ifndef _IVSHMEM_NET_RING_H
#define _IVSHMEM_NET_RING_H

#ifdef __KERNEL__
#include <linux/align.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <linux/types.h>
#include <asm/barrier.h>
#include <asm/byteorder.h>
#include <uapi/linux/virtio_ring.h>
#include <uapi/linux/ivshmem_net.h>
#else
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <linux/virtio_ring.h>
#include <linux/ivshmem_net.h>
#define cpu_to_le16(x) htole16(x)
#define cpu_to_le32(x) htole32(x)
#define cpu_to_le64(x) htole64(x)
#define le16_to_cpu(x) le16toh(x)
#define le32_to_cpu(x) le32toh(x)
#define le64_to_cpu(x) le64toh(x)
#define ALIGN(x, a) (((x) + (a) - 1) & ~((__typeof__(x))(a) - 1))
#define READ_ONCE(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v) __atomic_store_n(&(x), v, __ATOMIC_RELAXED)
#define virt_load_acquire(p) __atomic_load_n(p, __ATOMIC_ACQUIRE) /* as the kernel's */
#define virt_store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE) /* as the kernel's */
#define virt_mb() __atomic_thread_fence(__ATOMIC_SEQ_CST) /* as the kernel's */
#endif

#define IVN_RING_MIN_FRAME	14	/* an Ethernet header */

/**
 * struct ivn_ring_layout - where a queue lies, offsets from the section's start
 * @qlen: descriptors, a power of two
 * @header: bytes of the rings, a multiple of 64
 * @desc: the descriptors, and the start of the section or part
 * @avail: the avail ring
 * @used: the used ring
 * @data: start of the data area
 * @data_end: end of the data area: what a receiver accepts
 * @send_end: end of what a sender uses of it; the extension is behind
 */
struct ivn_ring_layout {
	__u32 qlen;
	__u32 header;
	__u64 desc;
	__u64 avail;
	__u64 used;
	__u64 data;
	__u64 data_end;
	__u64 send_end;
};

/* Bytes that a frame of @len bytes takes of the data area */
static inline __u64 ivn_ring_frame_bytes(__u32 len)
{
	return ALIGN((__u64)len + IVSHMEM_NET_FRAME_EXTRA,
		     (__u64)IVSHMEM_NET_FRAME_ALIGN);
}

static inline __u32 ivn_ring_header_bytes(__u32 qlen)
{
	return ALIGN((__u32)vring_size(qlen, IVSHMEM_NET_RING_ALIGN),
		     (__u32)IVSHMEM_NET_RING_ALIGN);
}

/**
 * ivn_ring_layout() - lay out a section the way that every peer knows
 * @l: filled on success
 * @section_bytes: size of the output section
 *
 * Return: 0, or -ENOSPC if four of the smallest frames do not fit.
 */
static inline int ivn_ring_layout(struct ivn_ring_layout *l, __u64 section_bytes)
{
	__u32 qlen = IVSHMEM_NET_MAX_QLEN;

	while (qlen > IVSHMEM_NET_MIN_QLEN &&
	       ivn_ring_header_bytes(qlen) >= section_bytes / IVSHMEM_NET_RING_SHARE)
		qlen /= 2;
	l->qlen = qlen;
	l->header = ivn_ring_header_bytes(qlen);
	if (section_bytes < (__u64)l->header + IVSHMEM_NET_MIN_DATA_BYTES)
		return -ENOSPC;

	l->desc = 0;
	l->avail = (__u64)qlen * sizeof(struct ivshmem_net_desc);
	l->used = ALIGN(l->avail + sizeof(struct ivshmem_net_avail) +
			(qlen + 1) * sizeof(__le16),
			(__u64)IVSHMEM_NET_RING_ALIGN);
	l->data = l->header;
	l->data_end = section_bytes;
	l->send_end = section_bytes;
	return 0;
}

static inline void ivn_ring_layout_shift(struct ivn_ring_layout *l, __u64 by)
{
	l->desc += by;
	l->avail += by;
	l->used += by;
	l->data += by;
	l->data_end += by;
	l->send_end += by;
}

/**
 * ivn_ring_queue_layout() - where queue @q of @n lies in a section
 * @l: filled on success
 * @section_bytes: size of the output section
 * @n: queues, 1..IVSHMEM_NET_MAX_QUEUES
 * @q: below @n
 *
 * Return: 0, -EINVAL for @n or @q out of range, or -ENOSPC if a part is too
 * small; ivn_ring_max_queues() says how many are not.
 */
static inline int ivn_ring_queue_layout(struct ivn_ring_layout *l,
					__u64 section_bytes,
					unsigned int n, unsigned int q)
{
	__u64 base, part;
	int err;

	if (!n || n > IVSHMEM_NET_MAX_QUEUES || q >= n)
		return -EINVAL;
	err = ivn_ring_layout(l, section_bytes);
	if (err)
		return err;
	l->send_end = section_bytes - IVSHMEM_NET_EXT_BYTES;
	if (n == 1)
		return 0;

	base = ALIGN((__u64)l->header, (__u64)IVSHMEM_NET_PART_ALIGN);
	if (l->send_end < base)
		return -ENOSPC;
	part = (__u32)((l->send_end - base) / IVSHMEM_NET_PART_ALIGN) / n *
	       (__u64)IVSHMEM_NET_PART_ALIGN;
	err = ivn_ring_layout(l, part);
	if (err)
		return err;
	ivn_ring_layout_shift(l, base + part * q);
	return 0;
}

/**
 * ivn_ring_max_queues() - how many queues to offer at most
 * @section_bytes: size of the output section
 * @vectors: interrupt vectors of this side
 *
 * Return: 0 if the section is too small for any, else 1 to
 * IVSHMEM_NET_MAX_QUEUES: more than 1 only where each has room for a few frames
 * and a vector of its own besides the one for the state.
 */
static inline unsigned int ivn_ring_max_queues(__u64 section_bytes, __u32 vectors)
{
	struct ivn_ring_layout l;
	unsigned int n;

	for (n = IVSHMEM_NET_MAX_QUEUES; n > 1; n--)
		if (vectors > n &&
		    !ivn_ring_queue_layout(&l, section_bytes, n, 0) &&
		    l.qlen >= IVSHMEM_NET_PART_MIN_QLEN &&
		    l.send_end - l.data >= IVSHMEM_NET_PART_MIN_DATA_BYTES)
			return n;
	return ivn_ring_layout(&l, section_bytes) ? 0 : 1;
}

/**
 * ivn_ring_clear() - clear the rings of one's own section, in state INIT
 * @mine: start of the section
 * @section_bytes: its size
 * @offered: the number of queues that is offered; which of the layouts up to
 *	there it will be is not known yet
 */
static inline void ivn_ring_clear(void *mine, __u64 section_bytes,
				  unsigned int offered)
{
	struct ivn_ring_layout l;
	unsigned int n, q;

	for (n = 1; n <= offered; n++)
		for (q = 0; q < n; q++)
			if (!ivn_ring_queue_layout(&l, section_bytes, n, q))
				memset((__u8 *)mine + l.desc, 0, l.header);
}

/* The event words lie behind the last entry of their ring */
static inline __le16 *ivn_ring_used_event(void *section,
					  const struct ivn_ring_layout *l)
{
	struct ivshmem_net_avail *avail = (void *)((__u8 *)section + l->avail);

	return &avail->ring[l->qlen];
}

static inline __le16 *ivn_ring_avail_event(void *section,
					   const struct ivn_ring_layout *l)
{
	struct ivshmem_net_used *used = (void *)((__u8 *)section + l->used);

	return (__le16 *)&used->ring[l->qlen];
}

/* Sender */

/**
 * struct ivn_ring_slot - private memory of a frame in flight
 * @place: offset of the frame
 * @len: bytes of the frame
 */
struct ivn_ring_slot {
	__u64 place;
	__u32 len;
};

/**
 * struct ivn_ring_tx - the sending end of a ring
 * @section: my section
 * @desc: my descriptors
 * @avail: my avail ring
 * @used_event: my used_event
 * @used: the used ring for my frames, in the peer's section
 * @avail_event: the peer's avail_event
 * @slot: private: frames in flight, by descriptor
 * @start: data area, offset of its first byte
 * @end: offset of the byte behind the last that is used
 * @head: offset behind the youngest frame in flight
 * @place: offset of the reserved frame
 * @qlen: descriptors
 * @committed: frames so far, modulo 2^16
 * @published: those that the peer may have seen
 * @reclaimed: those that came back
 *
 * Frames come back in the order in which they were sent, so descriptors are
 * used in turn: frame i has descriptor i % qlen, and there is no free list.
 */
struct ivn_ring_tx {
	__u8 *section;
	struct ivshmem_net_desc *desc;
	struct ivshmem_net_avail *avail;
	__le16 *used_event;
	const struct ivshmem_net_used *used;
	const __le16 *avail_event;
	struct ivn_ring_slot *slot;
	__u64 start;
	__u64 end;
	__u64 head;
	__u64 place;
	__u32 qlen;
	__u16 committed;
	__u16 published;
	__u16 reclaimed;
};

/**
 * ivn_ring_tx_bytes() - size of the private memory of a sender
 * @qlen: of the layout
 *
 * Return: bytes.
 */
static inline size_t ivn_ring_tx_bytes(__u32 qlen)
{
	return qlen * sizeof(struct ivn_ring_slot);
}

/**
 * ivn_ring_tx_init() - start at index 0
 * @tx: the sender
 * @l: layout of the queue
 * @mine: start of my section, cleared by ivn_ring_clear() in INIT
 * @theirs: start of the peer's section
 * @private: ivn_ring_tx_bytes() of private memory, aligned for 64-bit numbers
 *
 * Writes nothing to the section.
 */
static inline void ivn_ring_tx_init(struct ivn_ring_tx *tx,
				    const struct ivn_ring_layout *l,
				    void *mine, const void *theirs, void *private)
{
	*tx = (struct ivn_ring_tx) {
		.section = mine,
		.desc = (void *)((__u8 *)mine + l->desc),
		.avail = (void *)((__u8 *)mine + l->avail),
		.used_event = ivn_ring_used_event(mine, l),
		.used = (const void *)((const __u8 *)theirs + l->used),
		.avail_event = ivn_ring_avail_event((void *)theirs, l),
		.slot = private,
		.start = l->data,
		.end = l->send_end,
		.head = l->data,
		.qlen = l->qlen,
	};
}

/**
 * ivn_ring_tx_pending() - frames that were committed and are not reclaimed
 * @tx: the sender
 *
 * Return: 0..qlen.
 */
static inline unsigned int ivn_ring_tx_pending(const struct ivn_ring_tx *tx)
{
	return (__u16)(tx->committed - tx->reclaimed);
}

/**
 * ivn_ring_tx_fits() - whether a frame would fit into an empty ring
 * @tx: the sender
 * @len: bytes of the frame
 *
 * Return: false if to wait for room is in vain.
 */
static inline bool ivn_ring_tx_fits(const struct ivn_ring_tx *tx, __u32 len)
{
	return ivn_ring_frame_bytes(len) <= tx->end - tx->start;
}

/* Finds @place for a frame. An empty ring begins at the start, in warm cache */
static inline bool ivn_ring_tx_find(const struct ivn_ring_tx *tx, __u32 len,
				    __u64 *place)
{
	__u64 bytes = ivn_ring_frame_bytes(len);
	unsigned int pending = ivn_ring_tx_pending(tx);
	__u64 tail;

	*place = tx->start;
	if (!pending)
		return bytes <= tx->end - tx->start;
	if (pending == tx->qlen)
		return false;

	tail = tx->slot[tx->reclaimed & (tx->qlen - 1)].place;
	if (tx->head > tail && bytes > tx->end - tx->head)
		return bytes <= tail - tx->start;
	*place = tx->head;
	return bytes <= (tx->head > tail ? tx->end : tail) - tx->head;
}

/**
 * ivn_ring_tx_room() - whether a frame could be reserved now
 * @tx: the sender
 * @len: bytes of the frame
 *
 * Return: true if there is a descriptor and room in the data area.
 */
static inline bool ivn_ring_tx_room(const struct ivn_ring_tx *tx, __u32 len)
{
	__u64 place;

	return ivn_ring_tx_find(tx, len, &place);
}

/**
 * ivn_ring_tx_reserve() - a place for a frame
 * @tx: the sender
 * @len: bytes of the frame
 *
 * Nothing has to be undone if the frame is not committed.
 *
 * Return: where to write the frame, aligned to 64 bytes, or NULL if there is no
 * descriptor or no room.
 */
static inline void *ivn_ring_tx_reserve(struct ivn_ring_tx *tx, __u32 len)
{
	if (!ivn_ring_tx_find(tx, len, &tx->place))
		return NULL;
	return tx->section + tx->place;
}

/**
 * ivn_ring_tx_commit() - append the frame that was reserved last
 * @tx: the sender
 * @len: bytes of the frame, at most what was reserved
 *
 * The peer sees it after ivn_ring_tx_publish(); so many frames can be published
 * at once.
 */
static inline void ivn_ring_tx_commit(struct ivn_ring_tx *tx, __u32 len)
{
	__u16 id = tx->committed & (tx->qlen - 1);
	struct ivshmem_net_desc *desc = &tx->desc[id];

	tx->slot[id].place = tx->place;
	tx->slot[id].len = len;
	tx->head = tx->place + ivn_ring_frame_bytes(len);

	WRITE_ONCE(desc->addr, cpu_to_le64(tx->place));
	WRITE_ONCE(desc->len, cpu_to_le32(len));
	WRITE_ONCE(desc->flags, 0);
	WRITE_ONCE(tx->avail->ring[id], cpu_to_le16(id));
	tx->committed++;
}

/**
 * ivn_ring_tx_publish() - let the peer see what was committed
 * @tx: the sender
 *
 * Return: true if the peer wants a doorbell.
 */
static inline bool ivn_ring_tx_publish(struct ivn_ring_tx *tx)
{
	__u16 old = tx->published;
	__u16 event;

	if (old == tx->committed)
		return false;
	tx->published = tx->committed;
	/* A: frames before the index; virt_load_acquire() in ivn_ring_rx_next() */
	virt_store_release(&tx->avail->idx, cpu_to_le16(tx->published));
	/* B: index before the event; virt_mb() in ivn_ring_rx_arm() */
	virt_mb();
	event = le16_to_cpu(READ_ONCE(*tx->avail_event));
	return vring_need_event(event, tx->published, old);
}

/**
 * ivn_ring_tx_reclaim() - take back frames that the peer is done with
 * @tx: the sender
 * @budget: how many at most
 * @bytes: set to the sum of their lengths
 *
 * Return: frames, 0..@budget, or -EPROTO: the peer returns more than was sent,
 * in another order, or with another length than IVSHMEM_NET_USED_LEN.
 */
static inline int ivn_ring_tx_reclaim(struct ivn_ring_tx *tx,
				      unsigned int budget, __u64 *bytes)
{
	__u16 idx, done;
	int i;

	*bytes = 0;
	/* C: index before entries; virt_store_release() in ivn_ring_rx_publish() */
	idx = le16_to_cpu(virt_load_acquire(&tx->used->idx));
	done = idx - tx->reclaimed;
	if (done > (__u16)(tx->published - tx->reclaimed))
		return -EPROTO;
	if (done > budget)
		done = budget;

	for (i = 0; i < done; i++) {
		__u16 id = tx->reclaimed & (tx->qlen - 1);
		const struct ivshmem_net_used_elem *elem = &tx->used->ring[id];

		if (le32_to_cpu(READ_ONCE(elem->id)) != id ||
		    le32_to_cpu(READ_ONCE(elem->len)) != IVSHMEM_NET_USED_LEN)
			return -EPROTO;
		*bytes += tx->slot[id].len;
		tx->reclaimed++;
	}
	return done;
}

/**
 * ivn_ring_tx_arm() - ask for a doorbell when frames come back
 * @tx: the sender
 * @after: the doorbell comes when more than this many more are back; cut to
 *	what is in flight, so that it comes at all
 *
 * Return: true if some are back already: look again instead of waiting.
 */
static inline bool ivn_ring_tx_arm(struct ivn_ring_tx *tx, __u16 after)
{
	__u16 pending = tx->published - tx->reclaimed;
	__u16 idx;

	if (pending && after >= pending)
		after = pending - 1;
	if (!pending)
		after = 0;
	WRITE_ONCE(*tx->used_event, cpu_to_le16((__u16)(tx->reclaimed + after)));
	/* D: event before the index; virt_mb() in ivn_ring_rx_publish() */
	virt_mb();
	idx = le16_to_cpu(READ_ONCE(tx->used->idx));
	return idx != tx->reclaimed;
}

/* Receiver */

/**
 * struct ivn_ring_rx - the receiving end of a ring
 * @section: the peer's section
 * @desc: the peer's descriptors
 * @avail: the peer's avail ring
 * @used_event: the peer's used_event
 * @used: the used ring for the peer's frames, in my section
 * @avail_event: my avail_event
 * @data: data area, offset of its first byte
 * @data_end: offset of the byte behind its last
 * @qlen: descriptors
 * @seen: the peer's index when it was read last
 * @taken: frames so far, modulo 2^16
 * @released: those that were given back
 * @published: those of which the peer knows
 */
struct ivn_ring_rx {
	const __u8 *section;
	const struct ivshmem_net_desc *desc;
	const struct ivshmem_net_avail *avail;
	const __le16 *used_event;
	struct ivshmem_net_used *used;
	__le16 *avail_event;
	__u64 data;
	__u64 data_end;
	__u32 qlen;
	__u16 seen;
	__u16 taken;
	__u16 released;
	__u16 published;
};

/**
 * struct ivn_ring_frame - one frame in the peer's section
 * @data: its first byte; the peer can change it at any time
 * @len: bytes, IVN_RING_MIN_FRAME or more; all of them lie in the data area
 * @id: its descriptor
 */
struct ivn_ring_frame {
	const void *data;
	__u32 len;
	__u16 id;
};

/**
 * ivn_ring_rx_init() - start at index 0
 * @rx: the receiver
 * @l: layout of the queue
 * @mine: start of my section, cleared by ivn_ring_clear() in INIT
 * @theirs: start of the peer's section
 *
 * Writes nothing to the section.
 */
static inline void ivn_ring_rx_init(struct ivn_ring_rx *rx,
				    const struct ivn_ring_layout *l,
				    void *mine, const void *theirs)
{
	*rx = (struct ivn_ring_rx) {
		.section = theirs,
		.desc = (const void *)((const __u8 *)theirs + l->desc),
		.avail = (const void *)((const __u8 *)theirs + l->avail),
		.used_event = ivn_ring_used_event((void *)theirs, l),
		.used = (void *)((__u8 *)mine + l->used),
		.avail_event = ivn_ring_avail_event(mine, l),
		.data = l->data,
		.data_end = l->data_end,
		.qlen = l->qlen,
	};
}

/*
 * Between what the peer has seen returned and its index lie at most qlen
 * frames, and not less than those that were taken already.
 */
static inline bool ivn_ring_rx_idx_valid(const struct ivn_ring_rx *rx, __u16 idx)
{
	__u16 ahead = idx - rx->published;

	return ahead <= rx->qlen && ahead >= (__u16)(rx->taken - rx->published);
}

static inline bool ivn_ring_rx_desc_valid(const struct ivn_ring_rx *rx,
					  __u64 addr, __u32 len, __u16 flags)
{
	return !flags && len >= IVN_RING_MIN_FRAME && addr >= rx->data &&
	       addr < rx->data_end && len <= rx->data_end - addr;
}

/**
 * ivn_ring_rx_next() - the next frame
 * @rx: the receiver
 * @f: filled if there is one
 *
 * Each frame has to be released, in the order in which they were taken.
 *
 * Return: 1 with a frame, 0 without, or -EPROTO: index, descriptor number or
 * descriptor are not what an honest peer writes.
 */
static inline int ivn_ring_rx_next(struct ivn_ring_rx *rx, struct ivn_ring_frame *f)
{
	const struct ivshmem_net_desc *desc;
	__u64 addr;
	__u16 idx, id;

	if (rx->taken == rx->seen) {
		/* A: index before frames; virt_store_release() in ivn_ring_tx_publish() */
		idx = le16_to_cpu(virt_load_acquire(&rx->avail->idx));
		if (!ivn_ring_rx_idx_valid(rx, idx))
			return -EPROTO;
		rx->seen = idx;
		if (rx->taken == idx)
			return 0;
	}

	id = le16_to_cpu(READ_ONCE(rx->avail->ring[rx->taken & (rx->qlen - 1)]));
	if (id >= rx->qlen)
		return -EPROTO;
	desc = &rx->desc[id];
	addr = le64_to_cpu(READ_ONCE(desc->addr));
	f->len = le32_to_cpu(READ_ONCE(desc->len));
	if (!ivn_ring_rx_desc_valid(rx, addr, f->len,
				    le16_to_cpu(READ_ONCE(desc->flags))))
		return -EPROTO;
	f->data = rx->section + addr;
	f->id = id;
	rx->taken++;
	return 1;
}

/**
 * ivn_ring_rx_release() - give a frame back
 * @rx: the receiver
 * @f: the oldest frame that was taken and not released
 *
 * The peer sees it after ivn_ring_rx_publish(), then it overwrites the frame.
 */
static inline void ivn_ring_rx_release(struct ivn_ring_rx *rx,
				       const struct ivn_ring_frame *f)
{
	struct ivshmem_net_used_elem *elem;

	elem = &rx->used->ring[rx->released & (rx->qlen - 1)];
	WRITE_ONCE(elem->id, cpu_to_le32(f->id));
	WRITE_ONCE(elem->len, cpu_to_le32(IVSHMEM_NET_USED_LEN));
	rx->released++;
}

/**
 * ivn_ring_rx_publish() - let the peer see what was released
 * @rx: the receiver
 *
 * Return: true if the peer wants a doorbell.
 */
static inline bool ivn_ring_rx_publish(struct ivn_ring_rx *rx)
{
	__u16 old = rx->published;
	__u16 event;

	if (old == rx->released)
		return false;
	rx->published = rx->released;
	/* C: reads of the frames before the index; virt_load_acquire() in ivn_ring_tx_reclaim() */
	virt_store_release(&rx->used->idx, cpu_to_le16(rx->published));
	/* D: index before the event; virt_mb() in ivn_ring_tx_arm() */
	virt_mb();
	event = le16_to_cpu(READ_ONCE(*rx->used_event));
	return vring_need_event(event, rx->published, old);
}

/**
 * ivn_ring_rx_arm() - ask for a doorbell when the next frame comes
 * @rx: the receiver
 *
 * For when there is no frame left and the caller stops to look.
 *
 * Return: true if one has come already: look again instead of waiting.
 */
static inline bool ivn_ring_rx_arm(struct ivn_ring_rx *rx)
{
	__u16 idx;

	WRITE_ONCE(*rx->avail_event, cpu_to_le16(rx->taken));
	/* B: event before the index; virt_mb() in ivn_ring_tx_publish() */
	virt_mb();
	idx = le16_to_cpu(READ_ONCE(rx->avail->idx));
	return idx != rx->taken;
}

#endif /* _IVSHMEM_NET_RING_H */
