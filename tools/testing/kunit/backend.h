/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtio back end behind a fake device: answers transactions and serves
 * queues in the doorbell itself, interrupts from a work. What of it lies,
 * leaves or is lazy, a test says.
 */
#ifndef _IVSHMEM_KUNIT_BACKEND_H
#define _IVSHMEM_KUNIT_BACKEND_H

#include <linux/virtio.h>
#include <uapi/linux/virtio_ivshmem.h>
#include <uapi/linux/virtio_ring.h>

#include "fake.h"

#define BACKEND_QUEUES		4
#define BACKEND_PEER		1
#define BACKEND_MAX_SEGMENTS	64

/* A field of the header, as write_transaction names it */
#define BACKEND_FIELD(name)	offsetof(struct virtio_ivshmem_header, name)

struct backend;

/**
 * struct backend_segment - a part of a buffer
 * @data: its bytes
 * @len: how many
 * @is_input: the back end writes it
 */
struct backend_segment {
	void *data;
	u32 len;
	bool is_input;
};

/**
 * struct backend_queue - a queue that the driver has enabled
 * @ring: its rings in the section
 * @vector: of the driver
 * @enabled: the above is valid
 * @taken: buffers so far
 */
struct backend_queue {
	struct vring ring;
	u16 vector;
	bool enabled;
	u16 taken;
};

/**
 * struct backend - the back end
 * @fake: the device
 * @header: in the R/W section
 * @features: that it offers
 * @queue_size: that it offers
 * @queues: how many it has
 * @config_bytes: behind the header
 * @serve: a buffer of a queue, cut into segments; returns the bytes written,
 *	or -1 to keep the buffer
 * @driver_features: what the driver took
 * @status: as the driver has set it
 * @leave_at: field whose transaction it does not live to see, or 0
 * @mute_at: field after which it answers nothing any more, or 0
 * @queue: its queues
 * @pending: vectors to raise
 * @work: raises them
 */
struct backend {
	struct fake *fake;
	struct virtio_ivshmem_header *header;
	u64 features;
	u16 queue_size;
	unsigned int queues;
	u32 config_bytes;
	int (*serve)(struct backend *b, unsigned int queue,
		     struct backend_segment *segments, unsigned int n);
	u64 driver_features;
	u32 status;
	u32 leave_at;
	u32 mute_at;
	struct backend_queue queue[BACKEND_QUEUES];
	unsigned long pending;
	struct work_struct work;
};

void backend_init(struct backend *b, struct fake *fake);
void backend_start(struct backend *b);
void backend_leave(struct backend *b);
void backend_doorbell(struct fake *fake, u16 peer, u16 vector);
void backend_poke_queue(struct backend *b, unsigned int queue);
struct vring_used_elem *backend_next_used(struct backend *b, unsigned int queue);
void backend_use(struct backend *b, unsigned int queue, u32 head, u32 len);
struct virtio_device *backend_vdev(struct backend *b);

#endif /* _IVSHMEM_KUNIT_BACKEND_H */
