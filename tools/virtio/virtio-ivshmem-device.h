/* SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause */
/*
 * The device inside the back-end library: what the life of the link, in
 * virtio-ivshmem-backend.c, and the header, in virtio-ivshmem-header.c, share.
 */
#ifndef VIRTIO_IVSHMEM_DEVICE_H
#define VIRTIO_IVSHMEM_DEVICE_H

#include <ivshmem/ivshmem.h>
#include <linux/virtio_ivshmem.h>

#include "virtio-ivshmem-queue.h"

#define VIB_MAX_WATCHES		16
#define VIB_FEATURE(bit)	(1ULL << (bit))

/**
 * enum vib_phase - where the link is in its life
 * @VIB_WAIT_RESET: State is 0; the front end has to be at 0 as well
 * @VIB_WAIT_READY: the header is filled and State is 1; the front end's turn
 * @VIB_SERVE: both are at 1
 * @VIB_LEAVE: the front end left 1; what is in flight has to come back
 */
enum vib_phase { VIB_WAIT_RESET, VIB_WAIT_READY, VIB_SERVE, VIB_LEAVE };

/**
 * struct vib_watch - a descriptor of the device
 * @fd: -1 = free
 * @events: see vib_watch()
 * @ready: likewise
 */
struct vib_watch {
	int fd;
	uint32_t events;
	void (*ready)(void *opaque, uint32_t events);
};

/**
 * struct vib_device - the device and its link
 * @ops: what it is
 * @options: what the user chose
 * @opaque: for @ops
 * @peer: our end of the link
 * @front: id of the other end
 * @memory: the R/W section
 * @header: at its start; the front end writes it at any moment
 * @phase: of the link
 * @offered: features
 * @features: what the front end took of them
 * @features_agreed: it said so, and they are acceptable
 * @device_features_sel: half that is shown
 * @driver_features_sel: half that is written
 * @queue_sel: queue that is shown
 * @status: device_status as last written
 * @resetting: a reset waits for what is in flight
 * @disabling: so does the end of this queue, NULL = none
 * @unanswered: and the front end's transaction for either
 * @transactions: more of them may come at once; look before sleeping
 * @stopping: vib_stop() was called
 * @abandon: and what is in flight is not waited for
 * @error: what vib_run() returns in the end
 * @config: the config space as it is
 * @generation: of it, even
 * @epoll: of the loop
 * @signals: SIGTERM and SIGINT
 * @watches: of the device
 * @queues: ops.queues of them
 */
struct vib_device {
	struct vib_ops ops;
	struct vib_options options;
	void *opaque;
	struct ivshmem_peer *peer;
	uint32_t front;
	struct vib_memory memory;
	struct virtio_ivshmem_header *header;
	enum vib_phase phase;
	uint64_t offered;
	uint64_t features;
	bool features_agreed;
	uint32_t device_features_sel;
	uint32_t driver_features_sel;
	uint32_t queue_sel;
	uint32_t status;
	bool resetting;
	struct vib_queue *disabling;
	bool unanswered;
	bool transactions;
	bool stopping;
	bool abandon;
	int error;
	char config[VIB_MAX_CONFIG_BYTES];
	uint32_t generation;
	int epoll;
	int signals;
	struct vib_watch watches[VIB_MAX_WATCHES];
	struct vib_queue queues[];
};

/* Elements that the device has not given back */
unsigned int vib_in_flight(const struct vib_device *dev);

/* Clear and fill the header, for a front end that is to come */
void vib_fill_header(struct vib_device *dev);

/* Whether a front end that comes now can begin with what is there */
bool vib_header_intact(const struct vib_device *dev);

/* Ask the device to give everything back; then vib_finish_resets() goes on */
void vib_begin_reset(struct vib_device *dev);

/* End the resets that wait for nothing any more, and answer them */
void vib_finish_resets(struct vib_device *dev);

/* Answer the front end's transactions, and those that follow at once */
void vib_transactions(struct vib_device *dev);

#endif /* VIRTIO_IVSHMEM_DEVICE_H */
