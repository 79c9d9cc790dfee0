/* SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause */
/*
 * Messages of the server as they come off the stream, one at a time, however
 * they were cut into pieces.
 */
#ifndef IVSHMEM_MESSAGE_H
#define IVSHMEM_MESSAGE_H

#include <stdint.h>

#include <linux/ivshmem_server.h>

/**
 * struct ivshmem_message - the message that is being received
 * @header: of whatever type
 * @init: if the type says so
 * @event_fd: likewise
 * @peer_gone: likewise
 * @have: bytes received so far, those that were skipped included
 * @fd: descriptor that came with it, -1 if none; owned until taken
 * @fds: number of descriptors that came, the surplus is closed
 */
struct ivshmem_message {
	union {
		struct ivshmem_msg_header header;
		struct ivshmem_msg_init init;
		struct ivshmem_msg_event_fd event_fd;
		struct ivshmem_msg_peer_gone peer_gone;
	};
	uint32_t have;
	int fd;
	unsigned int fds;
};

/* Start over; closes a descriptor that nobody took */
void ivshmem_message_reset(struct ivshmem_message *msg);

/* The descriptor changes hands */
int ivshmem_message_take_fd(struct ivshmem_message *msg);

/*
 * Go on receiving on the non-blocking socket. Returns 1 when a message of a
 * known type and valid form is complete, 0 when there is no more to read now,
 * -ECONNRESET at the end of the stream, -EPROTO, -EMFILE or the error of
 * recvmsg(2). Messages of unknown types are skipped.
 */
int ivshmem_message_receive(struct ivshmem_message *msg, int sock);

#endif /* IVSHMEM_MESSAGE_H */
