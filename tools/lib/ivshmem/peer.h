/* SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause */
/*
 * What the parts of libivshmem share: peer.c knows events and nothing of
 * where they come from; uio.c and unix.c are the two back ends.
 */
#ifndef IVSHMEM_PEER_H
#define IVSHMEM_PEER_H

#include <stdbool.h>
#include <sys/types.h>

#include "ivshmem.h"

/* MSI-X has no more vectors than this, the server protocol half as many */
#define IVSHMEM_VECTORS_MAX	2048

struct ivshmem_impl;

/**
 * struct ivshmem_backend - where a peer's link comes from
 * @fetch: wait up to timeout_ms (-1 without limit) and note what happened in
 *	the impl: fired, scan, device_error. Returns > 0 if anything may have,
 *	0 if not, -EINTR, or another error if the device is unusable
 * @take: hand out an event of the back end's own kinds; NULL if it has none
 * @set_state: see ivshmem_set_state()
 * @doorbell: NULL if the register does it all
 * @vector_fd: see ivshmem_vector_fd(); the vector is in range
 * @present: see ivshmem_present(); the id is in range
 * @close: release everything, leave the link too if own_process. Called once
 *	after a failed open as well
 */
struct ivshmem_backend {
	int (*fetch)(struct ivshmem_impl *impl, int timeout_ms);
	bool (*take)(struct ivshmem_impl *impl, struct ivshmem_event *event);
	void (*set_state)(struct ivshmem_impl *impl, uint32_t state);
	void (*doorbell)(struct ivshmem_impl *impl, uint32_t id,
			 uint32_t vector);
	int (*vector_fd)(struct ivshmem_impl *impl, uint32_t vector);
	int (*present)(struct ivshmem_impl *impl, uint32_t id);
	void (*close)(struct ivshmem_impl *impl, bool own_process);
};

/**
 * struct ivshmem_impl - what stands behind a struct ivshmem_peer
 * @peer: what users hold; first
 * @backend: one of the two
 * @owner: process that opened it
 * @fd: the descriptor to poll, -1 before it is there
 * @seen: the States last reported
 * @scan: next entry of the State Table to compare, max_peers = none
 * @fetched: the back end was asked at least once
 * @in_batch: ivshmem_next_event() has fetched and not yet returned 0
 * @fired: bit per vector that is to be reported
 * @fired_any: %IVSHMEM_VECTOR_ANY is to be reported
 * @device_error: negative errno once the device is gone
 * @device_reported: and the event that tells it is out
 */
struct ivshmem_impl {
	struct ivshmem_peer peer;
	const struct ivshmem_backend *backend;
	pid_t owner;
	int fd;
	uint32_t *seen;
	uint32_t scan;
	bool fetched;
	bool in_batch;
	uint64_t fired[IVSHMEM_VECTORS_MAX / 64];
	bool fired_any;
	int device_error;
	bool device_reported;
};

/* Note the words for ivshmem_error(); returns -err */
int ivshmem_fail(int err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* mmap() with an error in words: what names the section. NULL on failure */
void *ivshmem_map(int fd, off_t offset, size_t size, int prot,
		  const char *what);

/* Unmap the sections, free the State copy */
void ivshmem_release(struct ivshmem_impl *impl);

/* The State copy, once max_peers is known. 0 or -ENOMEM */
int ivshmem_init_states(struct ivshmem_impl *impl);

/* -1 is without limit, in milliseconds and as deadline */
int64_t ivshmem_deadline(int timeout_ms);
int ivshmem_time_left(int64_t deadline_ms);

/*
 * Both allocate *impl, and on failure leave it for ivshmem_close() in the
 * state it has, or NULL.
 */
int ivshmem_uio_open(struct ivshmem_impl **impl, const char *device);
int ivshmem_unix_open(struct ivshmem_impl **impl, const char *path,
		      int timeout_ms);

#endif /* IVSHMEM_PEER_H */
