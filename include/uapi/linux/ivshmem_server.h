/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * The protocol between an ivshmem v2 server and its clients, version 2, over
 * a UNIX stream socket with file descriptors in SCM_RIGHTS.
 * Documentation/ivshmem/server-protocol.rst describes it; this file owns the
 * numbers.
 *
 * All fields are little endian. Only the server speaks: INIT once and first,
 * then EVENT_FD for each vector of each peer in the order of the vectors, the
 * new peer's own last, and PEER_GONE when one leaves. A receiver skips the
 * bytes of a longer message that it does not know.
 */
#ifndef _UAPI_LINUX_IVSHMEM_SERVER_H
#define _UAPI_LINUX_IVSHMEM_SERVER_H

#include <linux/types.h>

#define IVSHMEM_SERVER_VERSION		2

#define IVSHMEM_MSG_INIT		0
#define IVSHMEM_MSG_EVENT_FD		1
#define IVSHMEM_MSG_PEER_GONE		2

#define IVSHMEM_SERVER_MAX_VECTORS	1024

/*
 * The State Table at the start of the shared memory takes 4 bytes a peer,
 * rounded up to this; what the output sections leave is the R/W section.
 */
#define IVSHMEM_SERVER_TABLE_ALIGN	4096

/**
 * struct ivshmem_msg_header - begins every message
 * @type: IVSHMEM_MSG_*
 * @len: bytes of the whole message, this header included
 */
struct ivshmem_msg_header {
	__le32 type;
	__le32 len;
};

/**
 * struct ivshmem_msg_init - carries the shared memory as its descriptor
 * @header: type 0, len >= 40
 * @version: protocol the server speaks, IVSHMEM_SERVER_VERSION
 * @compatible_version: lowest version that a client may speak
 * @id: of the receiver
 * @max_peers: 2..65536
 * @vectors: of every peer, 1..1024
 * @protocol: IVSHMEM_PROTO_*, already that of the receiver's role
 * @output_section_size: bytes of one peer's output section
 */
struct ivshmem_msg_init {
	struct ivshmem_msg_header header;
	__le32 version;
	__le32 compatible_version;
	__le32 id;
	__le32 max_peers;
	__le32 vectors;
	__le32 protocol;
	__le64 output_section_size;
};

/**
 * struct ivshmem_msg_event_fd - carries the eventfd that interrupts a peer
 * @header: type 1, len >= 16
 * @id: of the peer that the eventfd interrupts; the receiver's own included
 * @vector: 0..vectors-1
 */
struct ivshmem_msg_event_fd {
	struct ivshmem_msg_header header;
	__le32 id;
	__le32 vector;
};

/**
 * struct ivshmem_msg_peer_gone - a peer left, its State Table entry is 0
 * @header: type 2, len >= 12
 * @id: of the peer that left
 */
struct ivshmem_msg_peer_gone {
	struct ivshmem_msg_header header;
	__le32 id;
};

#endif /* _UAPI_LINUX_IVSHMEM_SERVER_H */
