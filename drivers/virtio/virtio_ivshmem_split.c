// SPDX-License-Identifier: GPL-2.0
/*
 * Split rings of a peer that is not trusted. virtio_ring reads descriptors of
 * a split ring back when it frees them, follows their chain and has BUG_ON()
 * for a sum that does not come out; so it gets a ring in private memory, and
 * what the peer has to see is copied to the section when it is notified, what
 * the peer answers is copied back when it interrupts. Packed rings need none
 * of this: virtio_ring keeps their state in private memory itself.
 *
 * Without event indices: both sides always notify.
 */
#include <linux/errno.h>

#include "virtio_ivshmem_split.h"

/* All of this is little endian: the device is VIRTIO_F_VERSION_1 */
static u16 vi_split_get16(const __virtio16 *p)
{
	return le16_to_cpu((__force __le16)READ_ONCE(*p));
}

static void vi_split_put16(__virtio16 *p, u16 value)
{
	WRITE_ONCE(*p, (__force __virtio16)cpu_to_le16(value));
}

/* The chain is that of our own copy: it ends */
static void vi_split_push_chain(struct vi_split *split, u16 head)
{
	const u16 mask = split->own.num - 1;
	const struct vring_desc *desc;
	u16 i = head, n = 0;

	do {
		desc = &split->own.desc[i & mask];
		split->shared.desc[i & mask] = *desc;
		i = vi_split_get16(&desc->next);
	} while (vi_split_get16(&desc->flags) & VRING_DESC_F_NEXT && ++n <= mask);
}

/**
 * vi_split_push() - show the back end what became available
 * @split: the ring
 *
 * Any context.
 */
void vi_split_push(struct vi_split *split)
{
	const u16 mask = split->own.num - 1;
	unsigned long flags;
	__virtio16 head;
	u16 end;

	spin_lock_irqsave(&split->lock, flags);
	end = vi_split_get16(&split->own.avail->idx);
	smp_rmb(); /* the ring up to the index; virtio_ring wrote it before */
	for (; split->avail != end; split->avail++) {
		head = split->own.avail->ring[split->avail & mask];
		vi_split_push_chain(split, vi_split_get16(&head));
		WRITE_ONCE(split->shared.avail->ring[split->avail & mask], head);
	}
	virt_wmb(); /* descriptors and ring before the index, for the back end */
	vi_split_put16(&split->shared.avail->idx, end);
	virt_mb(); /* the index before its flags are read and it is notified */
	spin_unlock_irqrestore(&split->lock, flags);
}

/**
 * vi_split_pull() - take over what the back end has used
 * @split: the ring
 *
 * Any context.
 *
 * Return: 0, -EPROTO if the back end used more than it was given.
 */
int vi_split_pull(struct vi_split *split)
{
	const u16 mask = split->own.num - 1;
	unsigned long flags;
	int err = 0;
	u16 end;

	spin_lock_irqsave(&split->lock, flags);
	end = vi_split_get16(&split->shared.used->idx);
	virt_rmb(); /* the ring after the index that says it is written */
	if ((u16)(end - split->used) > (u16)(split->avail - split->used))
		err = -EPROTO;
	for (; !err && split->used != end; split->used++)
		split->own.used->ring[split->used & mask] =
			split->shared.used->ring[split->used & mask];
	smp_wmb(); /* the ring before the index; virtio_ring reads it after */
	vi_split_put16(&split->own.used->idx, split->used);
	spin_unlock_irqrestore(&split->lock, flags);
	return err;
}

/**
 * vi_split_init() - begin with an empty ring
 * @split: to be set up
 * @vq: made by virtio_ring in private memory
 * @shared: the ring's place in the section, zeroed
 * @align: of the used ring, as @vq was made with
 */
void vi_split_init(struct vi_split *split, struct virtqueue *vq, void *shared,
		   unsigned int align)
{
	spin_lock_init(&split->lock);
	split->own = *virtqueue_get_vring(vq);
	vring_init(&split->shared, split->own.num, shared, align);
	split->avail = 0;
	split->used = 0;
}
