// SPDX-License-Identifier: GPL-2.0
/*
 * Split rings of a peer that is not trusted. virtio_ring reads descriptors of
 * a split ring back when it frees them, follows their chain and has BUG_ON()
 * for a sum that does not come out; so it gets a ring in private memory. What
 * the peer has to see is copied to the section when it is notified, what the
 * peer answers is copied back when it interrupts.
 *
 * virtio_ring always notifies and always wants interrupts; whether the peer is
 * really rung, and when it interrupts, is settled here.
 */
#include <linux/bitmap.h>
#include <linux/errno.h>

#include "virtio_ivshmem_split.h"

/* All of this is little endian: the device is VIRTIO_F_VERSION_1 */
static u16 vi_split_get16(const __virtio16 *p)
{
	return le16_to_cpu((__force __le16)READ_ONCE(*p));
}

static u32 vi_split_get32(const __virtio32 *p)
{
	return le32_to_cpu((__force __le32)READ_ONCE(*p));
}

static void vi_split_put16(__virtio16 *p, u16 value)
{
	WRITE_ONCE(*p, (__force __virtio16)cpu_to_le16(value));
}

static u16 vi_split_head(const struct vi_split *split, u16 i)
{
	return vi_split_get16(&split->own.avail->ring[i & (split->own.num - 1)]);
}

/* Returns the index up to which virtio_ring has made buffers available */
static u16 vi_split_give(struct vi_split *split)
{
	u16 i, end = vi_split_get16(&split->own.avail->idx);

	smp_rmb(); /* the ring up to the index; virtio_ring wrote it before */
	for (i = split->avail; i != end; i++)
		__set_bit(vi_split_head(split, i), split->given);
	WRITE_ONCE(split->avail, end);
	return end;
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

/* Whether the back end wants to hear of the buffers from @old to @new */
static bool vi_split_wants_notify(const struct vi_split *split, u16 old, u16 new)
{
	const struct vring *shared = &split->shared;

	if (!split->event_idx)
		return !(vi_split_get16(&shared->used->flags) &
			 VRING_USED_F_NO_NOTIFY);
	return vring_need_event(vi_split_get16(&vring_avail_event(shared)),
				new, old);
}

/**
 * vi_split_push() - show the back end what became available
 * @split: the ring
 *
 * Any context.
 *
 * Return: whether it has to be notified.
 */
bool vi_split_push(struct vi_split *split)
{
	const u16 mask = split->own.num - 1;
	unsigned long flags;
	bool notify;
	u16 i, old, new;

	spin_lock_irqsave(&split->lock, flags);
	old = split->avail;
	new = vi_split_give(split);
	for (i = old; i != new; i++) {
		vi_split_push_chain(split, vi_split_head(split, i));
		WRITE_ONCE(split->shared.avail->ring[i & mask],
			   split->own.avail->ring[i & mask]);
	}
	virt_wmb(); /* descriptors and ring before the index, for the back end */
	vi_split_put16(&split->shared.avail->idx, new);
	virt_mb(); /* the index before the back end's wish; it does the reverse */
	notify = old != new && vi_split_wants_notify(split, old, new);
	spin_unlock_irqrestore(&split->lock, flags);
	return notify;
}

/* Returns false if the buffer is not the back end's to use */
static bool vi_split_use(struct vi_split *split, u16 i, u32 head, u32 len)
{
	struct vring_used_elem *own = &split->own.used->ring[i & (split->own.num - 1)];

	if (head >= split->own.num || !__test_and_clear_bit(head, split->given))
		return false;
	own->id = (__force __virtio32)cpu_to_le32(head);
	own->len = (__force __virtio32)cpu_to_le32(len);
	return true;
}

static void vi_split_used(struct vi_split *split, u16 end)
{
	smp_wmb(); /* the ring before the index; virtio_ring reads it after */
	vi_split_put16(&split->own.used->idx, end);
	WRITE_ONCE(split->used, end);
}

/* Returns false at an index or a buffer that the back end was not given */
static bool vi_split_pull_to(struct vi_split *split, u16 end)
{
	const u16 mask = split->own.num - 1;
	const struct vring_used_elem *elem;
	u16 i;

	if ((u16)(end - split->used) > (u16)(split->avail - split->used))
		return false;
	virt_rmb(); /* the ring after the index that says it is written */
	for (i = split->used; i != end; i++) {
		elem = &split->shared.used->ring[i & mask];
		if (!vi_split_use(split, i, vi_split_get32(&elem->id),
				  vi_split_get32(&elem->len)))
			break;
	}
	vi_split_used(split, i);
	return i == end;
}

/**
 * vi_split_pull() - take over what the back end has used
 * @split: the ring
 *
 * Any context. Ends when nothing is left that the back end could use.
 *
 * Return: 0, -EPROTO if the back end used what it was not given.
 */
int vi_split_pull(struct vi_split *split)
{
	unsigned long flags;
	int err = 0;
	u16 end;

	spin_lock_irqsave(&split->lock, flags);
	do {
		end = vi_split_get16(&split->shared.used->idx);
		if (!vi_split_pull_to(split, end)) {
			err = -EPROTO;
			break;
		}
		vi_split_put16(&vring_used_event(&split->shared), end);
		virt_mb(); /* the wish for an interrupt before another look */
	} while (end != vi_split_get16(&split->shared.used->idx));
	spin_unlock_irqrestore(&split->lock, flags);
	return err;
}

/**
 * vi_split_swallow() - use all there is, for a back end that is gone
 * @split: the ring, of which the back end's copy is not touched any more
 *
 * Any context. Nothing is written to the buffers.
 */
void vi_split_swallow(struct vi_split *split)
{
	unsigned long flags, head;
	u16 i;

	spin_lock_irqsave(&split->lock, flags);
	vi_split_give(split);
	i = split->used;
	for_each_set_bit(head, split->given, split->own.num)
		vi_split_use(split, i++, head, 0);
	vi_split_used(split, i);
	spin_unlock_irqrestore(&split->lock, flags);
}

/**
 * vi_split_init() - begin with an empty ring
 * @split: to be set up
 * @vq: made by virtio_ring in private memory
 * @shared: the ring's place in the section, zeroed
 * @align: of the used ring, as @vq was made with
 * @event_idx: negotiated with the back end
 *
 * Return: 0, -ENOMEM.
 */
int vi_split_init(struct vi_split *split, struct virtqueue *vq, void *shared,
		  unsigned int align, bool event_idx)
{
	spin_lock_init(&split->lock);
	split->own = *virtqueue_get_vring(vq);
	split->given = bitmap_zalloc(split->own.num, GFP_KERNEL);
	if (!split->given)
		return -ENOMEM;
	vring_init(&split->shared, split->own.num, shared, align);
	split->avail = 0;
	split->used = 0;
	split->event_idx = event_idx;
	return 0;
}

/**
 * vi_split_exit() - undo vi_split_init()
 * @split: nobody uses it any more
 */
void vi_split_exit(struct vi_split *split)
{
	bitmap_free(split->given);
}
