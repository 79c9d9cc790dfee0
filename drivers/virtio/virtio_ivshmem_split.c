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
 *
 * A driver that would wait actively for the peer to take its output gets a ring
 * that posts: it has the buffer back at once. Then the two rings have nothing
 * in common but the order of what becomes available.
 */
#include <linux/bitmap.h>
#include <linux/errno.h>
#include <linux/slab.h>

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

/* The index up to which virtio_ring has made buffers available */
static u16 vi_split_end(const struct vi_split *split)
{
	u16 end = vi_split_get16(&split->own.avail->idx);

	smp_rmb(); /* the ring up to the index; virtio_ring wrote it before */
	return end;
}

static bool vi_split_is_last(const struct vring_desc *desc)
{
	return !(vi_split_get16(&desc->flags) & VRING_DESC_F_NEXT);
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
	} while (!vi_split_is_last(desc) && ++n <= mask);
}

/* Returns false if there are not that many free descriptors */
static bool vi_split_has_posts(const struct vi_split *split, u16 head)
{
	const u16 mask = split->own.num - 1;
	u16 i = head, n = 1;

	while (!vi_split_is_last(&split->own.desc[i & mask]) && n <= mask) {
		i = vi_split_get16(&split->own.desc[i & mask].next);
		n++;
	}
	return split->posted + n <= split->own.num;
}

/* There is a free descriptor; returns its number */
static u16 vi_split_post(struct vi_split *split, const struct vring_desc *desc)
{
	const u16 mask = split->own.num - 1;
	u16 post = split->next_post;

	while (split->posts[post].addr)
		post = (post + 1) & mask;
	split->next_post = (post + 1) & mask;
	split->posts[post].addr = le64_to_cpu((__force __le64)desc->addr);
	split->posts[post].next = post;
	vi_pool_keep(split->pool, split->posts[post].addr);
	WRITE_ONCE(split->posted, split->posted + 1);
	split->shared.desc[post] = *desc;
	return post;
}

/* virtio_ring may use the descriptors again, so the section has others */
static u16 vi_split_post_chain(struct vi_split *split, u16 head)
{
	const u16 mask = split->own.num - 1;
	const struct vring_desc *desc = &split->own.desc[head & mask];
	u16 first = vi_split_post(split, desc);
	u16 post, last = first;

	while (!vi_split_is_last(desc) && split->posted < split->own.num) {
		desc = &split->own.desc[vi_split_get16(&desc->next) & mask];
		post = vi_split_post(split, desc);
		split->posts[last].next = post;
		vi_split_put16(&split->shared.desc[last].next, post);
		last = post;
	}
	return first;
}

/* The back end has used a buffer that was posted */
static void vi_split_unpost_chain(struct vi_split *split, u16 head)
{
	u16 post, next = head;

	do {
		post = next;
		next = split->posts[post].next;
		vi_pool_free(split->pool, split->posts[post].addr);
		split->posts[post].addr = 0;
		WRITE_ONCE(split->posted, split->posted - 1);
	} while (next != post);
}

/* For virtio_ring, as the @i-th; seen when the index is */
static void vi_split_put_used(struct vi_split *split, u16 i, u32 head, u32 len)
{
	struct vring_used_elem *elem = &split->own.used->ring[i & (split->own.num - 1)];

	elem->id = (__force __virtio32)cpu_to_le32(head);
	elem->len = (__force __virtio32)cpu_to_le32(len);
}

static void vi_split_put_used_end(struct vi_split *split, u16 end)
{
	smp_wmb(); /* the ring before the index; virtio_ring reads it after */
	vi_split_put16(&split->own.used->idx, end);
}

/* Returns false if there is no room for it */
static bool vi_split_give(struct vi_split *split, u16 i)
{
	u16 head = vi_split_head(split, i);

	if (!split->posts) {
		vi_split_push_chain(split, head);
	} else {
		if (!vi_split_has_posts(split, head))
			return false;
		vi_split_put_used(split, i, head, 0);
		head = vi_split_post_chain(split, head);
	}
	vi_split_put16(&split->shared.avail->ring[i & (split->own.num - 1)], head);
	__set_bit(head, split->given);
	return true;
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
	unsigned long flags;
	u16 i, old, end;
	bool notify;

	spin_lock_irqsave(&split->lock, flags);
	old = split->avail;
	end = vi_split_end(split);
	for (i = old; i != end && vi_split_give(split, i); i++)
		;
	WRITE_ONCE(split->avail, i);
	virt_wmb(); /* descriptors and ring before the index, for the back end */
	vi_split_put16(&split->shared.avail->idx, i);
	virt_mb(); /* the index before the back end's wish; it does the reverse */
	notify = i != old && vi_split_wants_notify(split, old, i);
	if (split->posts)
		vi_split_put_used_end(split, i);
	spin_unlock_irqrestore(&split->lock, flags);
	return notify;
}

/* Returns false if the buffer is not the back end's to use */
static bool vi_split_use(struct vi_split *split, u16 i, u32 head, u32 len)
{
	if (head >= split->own.num || !__test_and_clear_bit(head, split->given))
		return false;
	if (split->posts)
		vi_split_unpost_chain(split, head);
	else
		vi_split_put_used(split, i, head, len);
	return true;
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
	WRITE_ONCE(split->used, i);
	if (!split->posts)
		vi_split_put_used_end(split, i);
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
	u16 i, used, end;

	spin_lock_irqsave(&split->lock, flags);
	end = vi_split_end(split);
	used = split->avail;
	if (!split->posts) {
		used = split->used;
		for_each_set_bit(head, split->given, split->own.num)
			vi_split_put_used(split, used++, head, 0);
		bitmap_zero(split->given, split->own.num);
	}
	for (i = split->avail; i != end; i++)
		vi_split_put_used(split, used++, vi_split_head(split, i), 0);
	WRITE_ONCE(split->avail, end);
	if (!split->posts)
		WRITE_ONCE(split->used, end);
	vi_split_put_used_end(split, end);
	spin_unlock_irqrestore(&split->lock, flags);
}

/**
 * vi_split_outstanding() - what the back end has not used yet
 * @split: the ring
 *
 * Any context, a look only.
 *
 * Return: its buffers; descriptors of them, if the ring posts.
 */
unsigned int vi_split_outstanding(const struct vi_split *split)
{
	if (split->posts)
		return READ_ONCE(split->posted);
	return (u16)(READ_ONCE(split->avail) - READ_ONCE(split->used));
}

/**
 * vi_split_has_more() - whether something waits for room to be posted
 * @split: the ring
 *
 * Return: whether vi_split_push() is to be called after vi_split_pull().
 */
bool vi_split_has_more(const struct vi_split *split)
{
	return split->posts &&
	       vi_split_get16(&split->own.avail->idx) != READ_ONCE(split->avail);
}

/**
 * vi_split_init() - begin with an empty ring
 * @split: to be set up
 * @vq: made by virtio_ring in private memory
 * @shared: the ring's place in the section, zeroed
 * @align: of the used ring, as @vq was made with
 * @event_idx: negotiated with the back end
 * @posts_in: the pool, if the ring is to post what is sent, else NULL
 *
 * Return: 0, -ENOMEM.
 */
int vi_split_init(struct vi_split *split, struct virtqueue *vq, void *shared,
		  unsigned int align, bool event_idx, struct vi_pool *posts_in)
{
	memset(split, 0, sizeof(*split));
	spin_lock_init(&split->lock);
	split->own = *virtqueue_get_vring(vq);
	vring_init(&split->shared, split->own.num, shared, align);
	split->event_idx = event_idx;
	split->given = bitmap_zalloc(split->own.num, GFP_KERNEL);
	if (!split->given)
		return -ENOMEM;
	if (!posts_in)
		return 0;
	split->pool = posts_in;
	split->posts = kcalloc(split->own.num, sizeof(*split->posts), GFP_KERNEL);
	if (!split->posts) {
		bitmap_free(split->given);
		return -ENOMEM;
	}
	return 0;
}

/**
 * vi_split_exit() - undo vi_split_init()
 * @split: nobody uses it any more, the back end neither
 */
void vi_split_exit(struct vi_split *split)
{
	unsigned int i;

	for (i = 0; split->posts && i < split->own.num; i++)
		vi_pool_free(split->pool, split->posts[i].addr);
	kfree(split->posts);
	bitmap_free(split->given);
}
