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

#include "virtio_ivshmem_pool.h"

/**
 * struct vi_post - a descriptor in the section, of a ring that posts
 * @addr: what is kept in the pool for it, 0 if the descriptor is free
 * @next: the one that follows in the buffer, itself if none does
 */
struct vi_post {
	dma_addr_t addr;
	u16 next;
};

/**
 * struct vi_split - a split ring in two copies
 * @lock: protects the rest; taken in interrupts
 * @own: what virtio_ring works on
 * @shared: what the back end sees
 * @avail: index up to which @shared has the buffers of @own
 * @used: index up to which the used buffers of @shared have been taken over
 * @given: the heads in @shared between the two, one bit each: what the back end
 *	may use
 * @pool: that buffers lie in
 * @posts: NULL, or this ring posts: virtio_ring has a buffer back as soon as it
 *	is pushed, and its copy stays in @pool until the back end used it. There
 *	is one for each descriptor of @shared
 * @posted: descriptors that @posts has in use
 * @next_post: where to look for a free one
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
	struct vi_pool *pool;
	struct vi_post *posts;
	u16 posted;
	u16 next_post;
	bool event_idx;
};

int vi_split_init(struct vi_split *split, struct virtqueue *vq, void *shared,
		  unsigned int align, bool event_idx, struct vi_pool *posts_in);
void vi_split_exit(struct vi_split *split);
unsigned int vi_split_outstanding(const struct vi_split *split);
bool vi_split_has_more(const struct vi_split *split);
bool vi_split_push(struct vi_split *split);
int vi_split_pull(struct vi_split *split);
void vi_split_swallow(struct vi_split *split);

#endif /* _VIRTIO_IVSHMEM_SPLIT_H */
