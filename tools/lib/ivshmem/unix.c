// SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause
/*
 * A peer on the host: a client of the server that acts like the device model
 * of a virtual machine, so that nobody can tell it from a guest: doorbells
 * and State changes are writes to the eventfds of the others.
 *
 * Implements the client of Documentation/ivshmem/server-protocol.rst.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#include "unix.h"

#define UNIX_EPOLL_BATCH	32
#define UNIX_MESSAGES_MAX	64	/* of one batch of events */

static struct ivshmem_unix *to_unix(struct ivshmem_impl *impl)
{
	return (struct ivshmem_unix *)impl;
}

/* Full means that the interrupt is pending already */
static void unix_signal(const struct unix_target *target, uint32_t vector)
{
	const uint64_t one = 1;
	ssize_t ret;

	if (vector >= target->count)
		return;
	ret = write(target->fds[vector], &one, sizeof(one));
	(void)ret;
}

static void unix_doorbell(struct ivshmem_impl *impl, uint32_t id,
			  uint32_t vector)
{
	struct ivshmem_unix *u = to_unix(impl);

	if (id >= impl->peer.max_peers)
		return;
	/* The kernel orders the payload: write() publishes under a lock */
	pthread_mutex_lock(&u->lock);
	unix_signal(&u->targets[id], vector);
	pthread_mutex_unlock(&u->lock);
}

/* What the write to a device's State register does */
static void unix_set_state(struct ivshmem_impl *impl, uint32_t state)
{
	struct ivshmem_unix *u = to_unix(impl);
	uint32_t id;

	pthread_mutex_lock(&u->lock);
	/* Pairs with the acquire in ivshmem_get_state() of the others */
	__atomic_store_n(u->own_entry, htole32(state), __ATOMIC_RELEASE);
	if (state != u->state) {
		u->state = state;
		for (id = 0; id < u->targets_end; id++)
			if (id != impl->peer.id)
				unix_signal(&u->targets[id],
					    IVSHMEM_VECTOR_STATE);
	}
	pthread_mutex_unlock(&u->lock);
}

static int unix_vector_fd(struct ivshmem_impl *impl, uint32_t vector)
{
	struct ivshmem_unix *u = to_unix(impl);
	int fd = u->targets[impl->peer.id].fds[vector];

	/* Asked twice is answered twice: then it is out already */
	epoll_ctl(impl->fd, EPOLL_CTL_DEL, fd, NULL);
	impl->fired[vector / 64] &= ~(1ULL << vector % 64);
	return fd;
}

static int unix_present(struct ivshmem_impl *impl, uint32_t id)
{
	struct ivshmem_unix *u = to_unix(impl);
	int present;

	pthread_mutex_lock(&u->lock);
	present = ivshmem_unix_complete(u, id);
	pthread_mutex_unlock(&u->lock);
	return present;
}

int ivshmem_unix_watch(struct ivshmem_unix *u, int fd, uint32_t tag)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = tag };

	if (epoll_ctl(u->impl.fd, EPOLL_CTL_ADD, fd, &event))
		return ivshmem_fail(errno, "epoll: %s", strerror(errno));
	return 0;
}

static void unix_free_target(struct unix_target *target)
{
	while (target->count)
		close(target->fds[--target->count]);
	free(target->fds);
	target->fds = NULL;
}

static void unix_drop_target(struct ivshmem_unix *u, uint32_t id)
{
	pthread_mutex_lock(&u->lock);
	unix_free_target(&u->targets[id]);
	while (u->targets_end && !u->targets[u->targets_end - 1].fds)
		u->targets_end--;
	pthread_mutex_unlock(&u->lock);
}

/*
 * An eventfd has no file type. Pipes and sockets must not pass: a write to
 * them could raise SIGPIPE. Whoever writes must not block on a full counter.
 */
static int unix_check_eventfd(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (fstat(fd, &st) || st.st_mode & S_IFMT ||
	    (flags & O_ACCMODE) != O_RDWR)
		return ivshmem_fail(EPROTO, "the server sent something that is no eventfd");
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK))
		return ivshmem_fail(errno, "eventfd: %s", strerror(errno));
	return 0;
}

static int unix_add_eventfd(struct ivshmem_unix *u, uint32_t id)
{
	struct unix_target *target = &u->targets[id];
	uint32_t vectors = u->impl.peer.vectors;
	int ret = 0;

	pthread_mutex_lock(&u->lock);
	if (!target->fds)
		target->fds = calloc(vectors, sizeof(*target->fds));
	if (target->fds)
		target->fds[target->count++] = ivshmem_message_take_fd(&u->msg);
	else
		ret = ivshmem_fail(ENOMEM, "out of memory");
	if (u->targets_end <= id)
		u->targets_end = id + 1;
	pthread_mutex_unlock(&u->lock);
	return ret;
}

/* 1 = an event, 0 = none, or -errno */
static int unix_handle_event_fd(struct ivshmem_unix *u,
				struct ivshmem_event *event)
{
	uint32_t id = le32toh(u->msg.event_fd.id);
	uint32_t vector = le32toh(u->msg.event_fd.vector);
	struct ivshmem_peer *peer = &u->impl.peer;
	int ret;

	if (id >= peer->max_peers)
		return ivshmem_fail(EPROTO, "the server named peer %u of %u",
				    id, peer->max_peers);
	if (vector >= peer->vectors || vector != u->targets[id].count)
		return ivshmem_fail(EPROTO, "the server sent vector %u of peer %u out of order",
				    vector, id);
	ret = unix_check_eventfd(u->msg.fd);
	if (ret)
		return ret;
	ret = unix_add_eventfd(u, id);
	if (ret)
		return ret;
	if (id == peer->id)
		return ivshmem_unix_watch(u, u->targets[id].fds[vector], vector);
	if (!ivshmem_unix_complete(u, id))
		return 0;
	event->type = IVSHMEM_EVENT_ARRIVED;
	event->peer = id;
	return 1;
}

static bool unix_take_gone(struct ivshmem_unix *u, struct ivshmem_event *event)
{
	if (!u->gone)
		return false;
	event->type = IVSHMEM_EVENT_GONE;
	event->peer = u->gone - 1;
	u->gone = 0;
	return true;
}

/* Two events if the peer had a State: that it is 0 now, and the departure */
static int unix_handle_peer_gone(struct ivshmem_unix *u,
				 struct ivshmem_event *event)
{
	uint32_t id = le32toh(u->msg.peer_gone.id);
	uint32_t *seen = u->impl.seen;

	if (id >= u->impl.peer.max_peers || id == u->impl.peer.id)
		return ivshmem_fail(EPROTO, "the server says that peer %u is gone",
				    id);
	if (ivshmem_unix_complete(u, id))
		u->gone = id + 1;
	unix_drop_target(u, id);
	/* The id may be in use again before the table is looked at */
	u->impl.scan = 0;
	if (!seen[id])
		return unix_take_gone(u, event);
	event->type = IVSHMEM_EVENT_STATE;
	event->peer = id;
	event->old_state = seen[id];
	seen[id] = 0;
	return 1;
}

int ivshmem_unix_handle(struct ivshmem_unix *u, struct ivshmem_event *event)
{
	switch (le32toh(u->msg.header.type)) {
	case IVSHMEM_MSG_EVENT_FD:
		return unix_handle_event_fd(u, event);
	case IVSHMEM_MSG_PEER_GONE:
		return unix_handle_peer_gone(u, event);
	default:
		return ivshmem_fail(EPROTO, "the server introduced itself twice");
	}
}

/*
 * Stop listening, but keep the connection: to close it would free our id while
 * we go on under it.
 */
static void unix_lose_server(struct ivshmem_unix *u, int error)
{
	epoll_ctl(u->impl.fd, EPOLL_CTL_DEL, u->sock, NULL);
	ivshmem_message_reset(&u->msg);
	u->messages = 0;
	u->lost = true;
	u->lost_error = error == -ECONNRESET ? 0 : error;
}

static bool unix_take_lost(struct ivshmem_unix *u, struct ivshmem_event *event)
{
	if (!u->lost)
		return false;
	u->lost = false;
	event->type = IVSHMEM_EVENT_SERVER_GONE;
	event->error = u->lost_error;
	return true;
}

/* Who was there before us came with the handshake */
static bool unix_take_announce(struct ivshmem_unix *u,
			       struct ivshmem_event *event)
{
	uint32_t id;

	while (u->announce < u->impl.peer.max_peers) {
		id = u->announce++;
		if (id == u->impl.peer.id || !ivshmem_unix_complete(u, id))
			continue;
		event->type = IVSHMEM_EVENT_ARRIVED;
		event->peer = id;
		return true;
	}
	return false;
}

static bool unix_take_message(struct ivshmem_unix *u,
			      struct ivshmem_event *event)
{
	int ret;

	while (u->messages) {
		u->messages--;
		ret = ivshmem_message_receive(&u->msg, u->sock);
		if (!ret)
			u->messages = 0;
		if (ret > 0) {
			ret = ivshmem_unix_handle(u, event);
			ivshmem_message_reset(&u->msg);
		}
		if (ret < 0)
			unix_lose_server(u, ret);
		if (ret > 0)
			return true;
	}
	return false;
}

static bool unix_take(struct ivshmem_impl *impl, struct ivshmem_event *event)
{
	struct ivshmem_unix *u = to_unix(impl);

	return unix_take_gone(u, event) || unix_take_announce(u, event) ||
	       unix_take_message(u, event) || unix_take_lost(u, event);
}

static void unix_vector_fired(struct ivshmem_unix *u, uint32_t vector)
{
	int fd = u->targets[u->impl.peer.id].fds[vector];
	uint64_t count;

	if (read(fd, &count, sizeof(count)) != sizeof(count))
		return;
	u->impl.fired[vector / 64] |= 1ULL << vector % 64;
	if (vector == IVSHMEM_VECTOR_STATE)
		u->impl.scan = 0;
}

static int unix_fetch(struct ivshmem_impl *impl, int timeout_ms)
{
	struct epoll_event ready[UNIX_EPOLL_BATCH];
	struct ivshmem_unix *u = to_unix(impl);
	int n, i;

	n = epoll_wait(impl->fd, ready, UNIX_EPOLL_BATCH, timeout_ms);
	if (n < 0)
		return ivshmem_fail(errno, "epoll: %s", strerror(errno));
	for (i = 0; i < n; i++) {
		if (ready[i].data.u32 == UNIX_EPOLL_SERVER)
			u->messages = UNIX_MESSAGES_MAX;
		else
			unix_vector_fired(u, ready[i].data.u32);
	}
	return n;
}

/* Without the lock: after fork() it may be held by a thread that is not here */
static void unix_free_targets(struct ivshmem_unix *u)
{
	uint32_t id;

	for (id = 0; id < u->targets_end; id++)
		unix_free_target(&u->targets[id]);
	free(u->targets);
}

static void unix_close(struct ivshmem_impl *impl, bool own_process)
{
	struct ivshmem_unix *u = to_unix(impl);

	/* The server does it too, but it may have died before us */
	if (own_process && u->own_entry)
		unix_set_state(impl, IVSHMEM_STATE_RESET);
	unix_free_targets(u);
	if (u->own_page)
		munmap(u->own_page, sysconf(_SC_PAGESIZE));
	ivshmem_release(impl);
	ivshmem_message_reset(&u->msg);
	if (u->memory >= 0)
		close(u->memory);
	if (u->sock >= 0)
		close(u->sock);
	if (impl->fd >= 0)
		close(impl->fd);
	free(u);
}

const struct ivshmem_backend ivshmem_unix_backend = {
	.fetch		= unix_fetch,
	.take		= unix_take,
	.set_state	= unix_set_state,
	.doorbell	= unix_doorbell,
	.vector_fd	= unix_vector_fd,
	.present	= unix_present,
	.close		= unix_close,
};
