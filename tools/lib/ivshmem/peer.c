// SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause
/*
 * The half of libivshmem that is the same for a device and for a server: from
 * "vector fired" and "look at the State Table" to a stream of events, one at
 * a time, without an allocation.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#include "peer.h"

#define IVSHMEM_ERROR_BYTES	512

static _Thread_local char ivshmem_error_text[IVSHMEM_ERROR_BYTES] = "no error";

static struct ivshmem_impl *to_impl(struct ivshmem_peer *peer)
{
	return (struct ivshmem_impl *)peer;
}

int ivshmem_fail(int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(ivshmem_error_text, sizeof(ivshmem_error_text), fmt, args);
	va_end(args);
	return -err;
}

void *ivshmem_map(int fd, off_t offset, size_t size, int prot, const char *what)
{
	void *p = mmap(NULL, size, prot, MAP_SHARED, fd, offset);

	if (p == MAP_FAILED) {
		int err = errno;

		ivshmem_fail(err, "cannot map the %s: %s", what, strerror(err));
		errno = err;
		return NULL;
	}
	return p;
}

static void ivshmem_unmap(const volatile void *p, size_t size)
{
	if (p)
		munmap((void *)p, size);
}

void ivshmem_release(struct ivshmem_impl *impl)
{
	struct ivshmem_peer *peer = &impl->peer;

	ivshmem_unmap(peer->state_table, peer->state_table_size);
	ivshmem_unmap(peer->rw, peer->rw_size);
	ivshmem_unmap(peer->output, peer->output_size);
	ivshmem_unmap(peer->input, peer->output_size * peer->max_peers);
	free(impl->seen);
}

int ivshmem_init_states(struct ivshmem_impl *impl)
{
	impl->seen = calloc(impl->peer.max_peers, sizeof(*impl->seen));
	if (!impl->seen)
		return ivshmem_fail(ENOMEM, "out of memory");
	impl->scan = impl->peer.max_peers;
	return 0;
}

static int64_t ivshmem_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

int64_t ivshmem_deadline(int timeout_ms)
{
	return timeout_ms < 0 ? -1 : ivshmem_now_ms() + timeout_ms;
}

int ivshmem_time_left(int64_t deadline_ms)
{
	int64_t left;

	if (deadline_ms < 0)
		return -1;
	left = deadline_ms - ivshmem_now_ms();
	return left < 0 ? 0 : left;
}

/* The next entry of the State Table that is not what was reported last */
static bool ivshmem_take_state(struct ivshmem_impl *impl,
			       struct ivshmem_event *event)
{
	uint32_t own = impl->peer.id, id, state;

	while (impl->scan < impl->peer.max_peers) {
		id = impl->scan++;
		state = ivshmem_get_state(&impl->peer, id);
		if (state == impl->seen[id] || id == own)
			continue;
		event->type = IVSHMEM_EVENT_STATE;
		event->peer = id;
		event->old_state = impl->seen[id];
		event->new_state = state;
		impl->seen[id] = state;
		return true;
	}
	return false;
}

static bool ivshmem_take_vector(struct ivshmem_impl *impl,
				struct ivshmem_event *event)
{
	uint32_t words = (impl->peer.vectors + 63) / 64, i;

	event->type = IVSHMEM_EVENT_VECTOR;
	if (impl->fired_any) {
		impl->fired_any = false;
		event->vector = IVSHMEM_VECTOR_ANY;
		return true;
	}
	for (i = 0; i < words; i++) {
		if (!impl->fired[i])
			continue;
		event->vector = i * 64 + __builtin_ctzll(impl->fired[i]);
		impl->fired[i] &= impl->fired[i] - 1;
		return true;
	}
	return false;
}

static bool ivshmem_take_device_gone(struct ivshmem_impl *impl,
				     struct ivshmem_event *event)
{
	if (!impl->device_error || impl->device_reported)
		return false;
	impl->device_reported = true;
	event->type = IVSHMEM_EVENT_DEVICE_GONE;
	event->error = impl->device_error;
	return true;
}

/*
 * States go before vectors: vector 0 means both, and who is told of a reset
 * first does not look at the rings of a peer that is gone.
 */
static bool ivshmem_take(struct ivshmem_impl *impl, struct ivshmem_event *event)
{
	*event = (struct ivshmem_event){ 0 };
	if (impl->backend->take && impl->backend->take(impl, event))
		return true;
	return ivshmem_take_state(impl, event) ||
	       ivshmem_take_vector(impl, event) ||
	       ivshmem_take_device_gone(impl, event);
}

/*
 * The first time, look at every State. Not before the back end had a chance
 * to find its device gone: the State Table of such a one must not be touched.
 */
static int ivshmem_fetch(struct ivshmem_impl *impl, int timeout_ms)
{
	int ret;

	if (impl->device_reported)
		return ivshmem_fail(ENODEV, "the device is gone");
	ret = impl->backend->fetch(impl, impl->fetched ? timeout_ms : 0);
	if (ret >= 0 && !impl->fetched && !impl->device_error)
		impl->scan = 0;
	if (ret >= 0)
		impl->fetched = true;
	return ret;
}

int ivshmem_next_event(struct ivshmem_peer *peer, struct ivshmem_event *event)
{
	struct ivshmem_impl *impl = to_impl(peer);
	int ret;

	if (!impl->in_batch) {
		ret = ivshmem_fetch(impl, 0);
		if (ret < 0)
			return ret;
	}
	impl->in_batch = ivshmem_take(impl, event);
	return impl->in_batch;
}

int ivshmem_wait_event(struct ivshmem_peer *peer, struct ivshmem_event *event,
		       int timeout_ms)
{
	struct ivshmem_impl *impl = to_impl(peer);
	int64_t deadline = -1;
	int ret;

	if (ivshmem_take(impl, event))
		return 1;
	if (timeout_ms > 0)
		deadline = ivshmem_deadline(timeout_ms);
	for (;;) {
		ret = ivshmem_fetch(impl, timeout_ms);
		if (ret < 0)
			return ret;
		if (ivshmem_take(impl, event))
			return 1;
		if (timeout_ms > 0)
			timeout_ms = ivshmem_time_left(deadline);
		if (!timeout_ms)
			return 0;
	}
}

int ivshmem_fd(const struct ivshmem_peer *peer)
{
	return to_impl((struct ivshmem_peer *)peer)->fd;
}

int ivshmem_vector_fd(struct ivshmem_peer *peer, uint32_t vector)
{
	if (vector == IVSHMEM_VECTOR_STATE || vector >= peer->vectors)
		return ivshmem_fail(EINVAL, "vector %u is not 1..%u", vector,
				    peer->vectors - 1);
	return to_impl(peer)->backend->vector_fd(to_impl(peer), vector);
}

int ivshmem_present(struct ivshmem_peer *peer, uint32_t id)
{
	if (id >= peer->max_peers)
		return 0;
	return to_impl(peer)->backend->present(to_impl(peer), id);
}

void ivshmem_set_state(struct ivshmem_peer *peer, uint32_t state)
{
	to_impl(peer)->backend->set_state(to_impl(peer), state);
}

void ivshmem_doorbell_eventfd(struct ivshmem_peer *peer, uint32_t id,
			      uint32_t vector)
{
	struct ivshmem_impl *impl = to_impl(peer);

	if (impl->backend->doorbell)
		impl->backend->doorbell(impl, id, vector);
}

const char *ivshmem_error(void)
{
	return ivshmem_error_text;
}

int ivshmem_open(struct ivshmem_peer **peer, const char *device, int timeout_ms)
{
	struct ivshmem_impl *impl = NULL;
	int ret;

	if (!strncmp(device, "unix:", 5))
		ret = ivshmem_unix_open(&impl, device + 5, timeout_ms);
	else if (strchr(device, '/'))
		ret = ivshmem_uio_open(&impl, device);
	else
		ret = ivshmem_fail(EINVAL,
				   "%s: neither /dev/uioN nor unix:SOCKET",
				   device);
	if (ret) {
		if (impl)
			ivshmem_close(&impl->peer);
		return ret;
	}
	*peer = &impl->peer;
	return 0;
}

void ivshmem_close(struct ivshmem_peer *peer)
{
	struct ivshmem_impl *impl;

	if (!peer)
		return;
	impl = to_impl(peer);
	impl->backend->close(impl, impl->owner == getpid());
}
