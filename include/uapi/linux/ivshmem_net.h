/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * Ethernet between two peers over ivshmem, IVSHMEM_PROTO_NET: the wire format
 * that Jailhouse and Zephyr have, and our extension, which they do not see.
 * Documentation/ivshmem/net.rst describes both; this file owns the numbers.
 *
 * All multi-byte values are little endian. Offsets count from the start of an
 * output section. Nothing is written outside of one's own.
 */
#ifndef _UAPI_LINUX_IVSHMEM_NET_H
#define _UAPI_LINUX_IVSHMEM_NET_H

#include <linux/types.h>

/* State register: each side its own, see net.rst for who moves when */
#define IVSHMEM_NET_STATE_RESET		0
#define IVSHMEM_NET_STATE_INIT		1
#define IVSHMEM_NET_STATE_READY		2
#define IVSHMEM_NET_STATE_RUN		3

/*
 * An output section, or one queue's part of it:
 *
 *   +------------------------------+ 0
 *   | descriptors of my frames     |   qlen * 16 bytes
 *   +------------------------------+ 16 * qlen
 *   | avail: flags, idx, ring[]    |   my frames, as they are sent
 *   | used_event                   |   when I want a doorbell for freed frames
 *   +------------------------------+ aligned to 64
 *   | used: flags, idx, ring[]     |   the peer's frames that I am done with
 *   | avail_event                  |   when I want a doorbell for new frames
 *   +------------------------------+ header, aligned to 64
 *   | data: my frames              |   FIFO, each in ALIGN(length + 18, 64)
 *   |                              |
 *   +------------------------------+ end
 *
 * That is a split virtqueue, but with the used ring of the opposite direction,
 * so that everything in a section is written by its owner.
 *
 * qlen is the largest of 4096, 2048, ... 32 whose header takes less than one
 * eighth of the section, or 32.
 */
#define IVSHMEM_NET_MAX_QLEN		4096
#define IVSHMEM_NET_MIN_QLEN		32
#define IVSHMEM_NET_RING_ALIGN		64
#define IVSHMEM_NET_RING_SHARE		8
#define IVSHMEM_NET_MIN_DATA_BYTES	(4 * 68)
#define IVSHMEM_NET_FRAME_ALIGN		64
#define IVSHMEM_NET_FRAME_EXTRA		18

/**
 * struct ivshmem_net_desc - one frame
 * @addr: offset of the frame, in the data area
 * @len: bytes without FCS
 * @flags: 0
 * @next: the sender's own affair
 */
struct ivshmem_net_desc {
	__le64 addr;
	__le32 len;
	__le16 flags;
	__le16 next;
};

/**
 * struct ivshmem_net_avail - frames that were sent
 * @flags: 0 or IVSHMEM_NET_AVAIL_F_EXT
 * @idx: how many, modulo 2^16
 * @ring: their descriptors; qlen entries, then the used_event
 */
struct ivshmem_net_avail {
	__le16 flags;
	__le16 idx;
	__le16 ring[];
};

/**
 * struct ivshmem_net_used_elem - one frame that was received
 * @id: its descriptor
 * @len: IVSHMEM_NET_USED_LEN
 */
struct ivshmem_net_used_elem {
	__le32 id;
	__le32 len;
};

#define IVSHMEM_NET_USED_LEN		1

/**
 * struct ivshmem_net_used - frames of the peer that may be overwritten
 * @flags: 0
 * @idx: how many, modulo 2^16
 * @ring: in the order in which they were sent; qlen entries, then the
 *	avail_event, 16 bits
 */
struct ivshmem_net_used {
	__le16 flags;
	__le16 idx;
	struct ivshmem_net_used_elem ring[];
};

/*
 * The extension. IVSHMEM_NET_AVAIL_F_EXT in the flags of the avail ring of the
 * layout above says that the section ends with a struct ivshmem_net_ext. Both
 * are written in INIT and stay as they are until the next INIT.
 *
 * The queues that both sides have, at most: n. If n is 1, the section is laid
 * out as above. Otherwise what is behind that header is cut into n equal parts,
 * each laid out like a section of its own; descriptors hold offsets into the
 * section as always:
 *
 *   +------------------------------+ 0
 *   | the header as above, unused  |
 *   +------------------------------+ aligned to 4096 = base
 *   | part 0: header and data      |
 *   +------------------------------+ base + part
 *   | part 1                       |   part = the largest multiple of 4096 that
 *   |  ...                         |   there is n times before the extension
 *   +------------------------------+ base + n * part
 *   |                              |
 *   +------------------------------+ size - 64
 *   | struct ivshmem_net_ext       |
 *   +------------------------------+ size
 */
#define IVSHMEM_NET_AVAIL_F_EXT		0x8000

#define IVSHMEM_NET_EXT_BYTES		64
#define IVSHMEM_NET_EXT_MAGIC		0x584e5649	/* "IVNX" */
#define IVSHMEM_NET_EXT_VERSION		1
#define IVSHMEM_NET_MAX_QUEUES		8
#define IVSHMEM_NET_PART_ALIGN		4096
#define IVSHMEM_NET_PART_MIN_QLEN	64
#define IVSHMEM_NET_PART_MIN_DATA_BYTES	(4 * (1514 + 14 + 64))
#define IVSHMEM_NET_MIN_MAX_FRAME	68
#define IVSHMEM_NET_MAX_SEGMENTS	256	/* of a GSO frame: its length / gso_size */

/* What a side takes; unknown bits are ignored, 1 to 4 mean nothing without 0 */
#define IVSHMEM_NET_F_VNET_HDR		(1 << 0) /* struct virtio_net_hdr, 10 bytes */
#define IVSHMEM_NET_F_CSUM		(1 << 1) /* partial checksums */
#define IVSHMEM_NET_F_TSO4		(1 << 2) /* GSO types, with partial checksums */
#define IVSHMEM_NET_F_TSO6		(1 << 3)
#define IVSHMEM_NET_F_USO		(1 << 4) /* VIRTIO_NET_HDR_GSO_UDP_L4 */

/**
 * struct ivshmem_net_ext - what this side offers, and what it takes
 * @magic: IVSHMEM_NET_EXT_MAGIC
 * @version: IVSHMEM_NET_EXT_VERSION; later ones only add
 * @queues: pairs of queues, 1..IVSHMEM_NET_MAX_QUEUES
 * @features: IVSHMEM_NET_F_*
 * @max_frame: bytes of the largest frame with Ethernet header and VLAN tag,
 *	without FCS and struct virtio_net_hdr, IVSHMEM_NET_MIN_MAX_FRAME or more
 * @max_gso: likewise of the largest frame that is to be segmented
 * @vectors: how many it listens to
 * @reserved: 0
 */
struct ivshmem_net_ext {
	__le32 magic;
	__le16 version;
	__le16 queues;
	__le32 features;
	__le32 max_frame;
	__le32 max_gso;
	__le32 vectors;
	__le32 reserved[10];
};

#endif /* _UAPI_LINUX_IVSHMEM_NET_H */
