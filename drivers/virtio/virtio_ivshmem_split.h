/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The two copies of a split ring: the one that virtio_ring works on is
 * private, the one that the back end sees lies in the section.
 */
#ifndef _VIRTIO_IVSHMEM_SPLIT_H
#define _VIRTIO_IVSHMEM_SPLIT_H

#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/virtio.h>
#include <uapi/linux/virtio_ring.h>

/**
 * struct vi_split - a split ring in two copies
 * @lock: protects the rest; taken in interrupts
 * @own: what virtio_ring works on
 * @shared: what the back end sees
 * @avail: index up to which @shared has the buffers of @own
 * @used: index up to which @own has the used buffers of @shared
 * @given: the heads between the two, one bit each: what the back end may use
 * @event_idx: the back end negotiated VIRTIO_RING_F_EVENT_IDX; virtio_ring
 *	knows nothing of it
 */
struct vi_split {
	spinlock_t lock; /* protects the indices and who copies */
	struct vring own;
	struct vring shared;
	u16 avail;
	u16 used;
	unsigned long *given;
	bool event_idx;
};

int vi_split_init(struct vi_split *split, struct virtqueue *vq, void *shared,
		  unsigned int align, bool event_idx);
void vi_split_exit(struct vi_split *split);
bool vi_split_push(struct vi_split *split);
int vi_split_pull(struct vi_split *split);
void vi_split_swallow(struct vi_split *split);

#endif /* _VIRTIO_IVSHMEM_SPLIT_H */
