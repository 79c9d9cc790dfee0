/* SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause */
/*
 * A peer over the server's socket: unix-open.c makes one, unix.c runs it.
 */
#ifndef IVSHMEM_UNIX_H
#define IVSHMEM_UNIX_H

#include <pthread.h>

#include "message.h"
#include "peer.h"

#define UNIX_EPOLL_SERVER	UINT32_MAX	/* other values are vectors */

/**
 * struct unix_target - a peer as its doorbells see it
 * @fds: its eventfds, NULL if the peer is not there
 * @count: how many of them have come; it is present with all of them
 */
struct unix_target {
	int *fds;
	uint32_t count;
};

/**
 * struct ivshmem_unix - a peer over the server's socket
 * @impl: first; its fd is the epoll instance
 * @sock: connection
 * @msg: what is being received
 * @memory: the shared memory, -1 once it is mapped
 * @lock: protects @targets, @targets_end and @state; the events are taken
 *	under no lock, since only one thread may take them
 * @targets: of every id
 * @targets_end: no target at or above it
 * @state: own State, what the State register of a device would hold
 * @own_entry: own entry of the State Table, writable
 * @own_page: the mapping it lies in
 * @announce: next id to announce after the handshake, max_peers = done
 * @messages: that may be taken in this batch; > 0: the socket is readable
 * @lost: the connection broke and nobody was told
 * @lost_error: why, 0 if the server closed it
 * @gone: id + 1 of the peer whose departure is told next, 0 = none
 */
struct ivshmem_unix {
	struct ivshmem_impl impl;
	int sock;
	struct ivshmem_message msg;
	int memory;
	pthread_mutex_t lock;
	struct unix_target *targets;
	uint32_t targets_end;
	uint32_t state;
	uint32_t *own_entry;
	void *own_page;
	uint32_t announce;
	unsigned int messages;
	bool lost;
	int lost_error;
	uint32_t gone;
};

/* All of its eventfds are here */
static inline bool ivshmem_unix_complete(const struct ivshmem_unix *u,
					 uint32_t id)
{
	return u->targets[id].count == u->impl.peer.vectors;
}

/* Poll a descriptor; the tag is a vector or UNIX_EPOLL_SERVER. 0 or -errno */
int ivshmem_unix_watch(struct ivshmem_unix *u, int fd, uint32_t tag);

/* Act on the message in u->msg: 1 = it made an event, 0 = none, or -errno */
int ivshmem_unix_handle(struct ivshmem_unix *u, struct ivshmem_event *event);

extern const struct ivshmem_backend ivshmem_unix_backend;

#endif /* IVSHMEM_UNIX_H */
