// SPDX-License-Identifier: GPL-2.0
/*
 * The bounce pool: places for rings and for copies of buffers in the part of
 * the R/W section that the peer may read and write. lib/genalloc finds the
 * place; a private slot for each granule remembers what lies there. Nothing
 * that is read back from the section decides anything here, and an address
 * that is not the start of something mapped is ignored: with split rings a
 * peer can make the ring code unmap what it likes.
 *
 * It knows neither queues nor the life of the peer.
 */
#include <linux/atomic.h>
#include <linux/dma-mapping.h>
#include <linux/genalloc.h>
#include <linux/highmem.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "virtio_ivshmem_pool.h"

/* Bounds the private memory: slots are at most 64 Ki whatever the section */
#define VI_POOL_MAX_SLOTS	65536
#define VI_POOL_MIN_ORDER	7

/* Status that virtio-blk gets for what a dead peer leaves, VIRTIO_BLK_S_IOERR */
#define VI_POOL_FAILED_STATUS	1

/* Besides the directions of DMA: a copy that is kept, by how many */
#define VI_POOL_KEPT_BY_TWO	(DMA_NONE + 1)
#define VI_POOL_KEPT_BY_ONE	(DMA_NONE + 2)

/**
 * struct vi_slot - what lies at a granule
 * @orig: the buffer that it is a copy of
 * @len: bytes, 0 = nothing starts here
 * @dir: DMA_NONE for rings, which only vi_pool_free() may free;
 *	VI_POOL_KEPT_BY_TWO until vi_pool_unmap() or vi_pool_free() has come,
 *	VI_POOL_KEPT_BY_ONE until the other one has
 */
struct vi_slot {
	phys_addr_t orig;
	u32 len;
	u32 dir;
};

/**
 * struct vi_pool - the pool
 * @section: start of the R/W section; addresses are offsets from it
 * @start: first byte of the pool, granule aligned and never 0
 * @end: first byte behind it
 * @order: log2 of a granule in bytes
 * @failed: the peer is dead, copy nothing back
 * @gen: what is free
 * @slots: one for each granule
 * @limit: bytes that one direction may take, so that the receive queues of a
 *	device cannot starve its transmit queues or the reverse
 * @used: bytes taken, by whether the peer writes them
 * @peak: most bytes taken at once
 * @maps: buffers mapped
 * @failures: mappings refused
 */
struct vi_pool {
	u8 *section;
	size_t start;
	size_t end;
	unsigned int order;
	bool failed;
	struct gen_pool *gen;
	struct vi_slot *slots;
	size_t limit;
	atomic_long_t used[2];
	size_t peak;
	atomic64_t maps;
	atomic64_t failures;
};

static size_t vi_pool_granules(const struct vi_pool *pool, size_t len)
{
	return ALIGN(len, (size_t)1 << pool->order);
}

static struct vi_slot *vi_pool_slot(struct vi_pool *pool, dma_addr_t addr)
{
	if (addr < pool->start || addr >= pool->end)
		return NULL;
	return &pool->slots[(addr - pool->start) >> pool->order];
}

static dma_addr_t vi_pool_addr(struct vi_pool *pool, struct vi_slot *slot)
{
	return pool->start + ((dma_addr_t)(slot - pool->slots) << pool->order);
}

static atomic_long_t *vi_pool_used(struct vi_pool *pool, u32 dir)
{
	return &pool->used[dir == DMA_FROM_DEVICE || dir == DMA_BIDIRECTIONAL];
}

/* A racy maximum is good enough for a statistic */
static void vi_pool_note_peak(struct vi_pool *pool)
{
	size_t used = atomic_long_read(&pool->used[0]) +
		      atomic_long_read(&pool->used[1]);

	if (used > READ_ONCE(pool->peak))
		WRITE_ONCE(pool->peak, used);
}

/* Returns NULL when the pool, or the share of this direction, is full */
static struct vi_slot *vi_pool_take(struct vi_pool *pool, size_t len,
				    enum dma_data_direction dir, size_t limit)
{
	size_t bytes = vi_pool_granules(pool, len);
	atomic_long_t *used = vi_pool_used(pool, dir);
	struct vi_slot *slot;
	unsigned long addr;

	if (!len || len > pool->end - pool->start)
		return NULL;
	if (atomic_long_add_return(bytes, used) > limit)
		goto err_used;
	addr = gen_pool_alloc(pool->gen, bytes);
	if (!addr)
		goto err_used;
	vi_pool_note_peak(pool);

	slot = vi_pool_slot(pool, addr);
	slot->dir = dir;
	slot->orig = 0;
	slot->len = len;
	return slot;

err_used:
	atomic_long_sub(bytes, used);
	return NULL;
}

/* @len was taken out of the slot by the caller, who thereby owns it */
static void vi_pool_give_back(struct vi_pool *pool, struct vi_slot *slot,
			      size_t len)
{
	size_t bytes = vi_pool_granules(pool, len);
	u32 dir = slot->dir;

	gen_pool_free(pool->gen, vi_pool_addr(pool, slot), bytes);
	atomic_long_sub(bytes, vi_pool_used(pool, dir));
}

static void vi_pool_copy_in(u8 *to, phys_addr_t from, size_t len)
{
	size_t part;

	if (!IS_ENABLED(CONFIG_HIGHMEM)) {
		memcpy(to, phys_to_virt(from), len);
		return;
	}
	for (; len; len -= part, from += part, to += part) {
		part = min_t(size_t, len, PAGE_SIZE - offset_in_page(from));
		memcpy_from_page(to, pfn_to_page(PHYS_PFN(from)), offset_in_page(from),
				 part);
	}
}

static void vi_pool_copy_out(phys_addr_t to, const u8 *from, size_t len)
{
	size_t part;

	if (!IS_ENABLED(CONFIG_HIGHMEM)) {
		memcpy(phys_to_virt(to), from, len);
		return;
	}
	for (; len; len -= part, from += part, to += part) {
		part = min_t(size_t, len, PAGE_SIZE - offset_in_page(to));
		memcpy_to_page(pfn_to_page(PHYS_PFN(to)), offset_in_page(to), from, part);
	}
}

/* Of a ring; of a kept copy by the one or the other: the last gives it back */
static void vi_pool_let_go(struct vi_pool *pool, struct vi_slot *slot)
{
	u32 len;

	if (cmpxchg(&slot->dir, VI_POOL_KEPT_BY_TWO, VI_POOL_KEPT_BY_ONE) ==
	    VI_POOL_KEPT_BY_TWO)
		return;
	len = xchg(&slot->len, 0);
	if (len)
		vi_pool_give_back(pool, slot, len);
}

/* The slot that starts at @addr; NULL also if it is kept, which is let go */
static struct vi_slot *vi_pool_unless_kept(struct vi_pool *pool, dma_addr_t addr)
{
	struct vi_slot *slot = vi_pool_slot(pool, addr);

	if (!slot || vi_pool_addr(pool, slot) != addr)
		return NULL;
	if (READ_ONCE(slot->dir) > DMA_NONE) {
		vi_pool_let_go(pool, slot);
		return NULL;
	}
	return slot;
}

/*
 * Fill a fresh copy. What the peer is to write is left as it is: the peer sees
 * all of the section and can hand out any of it, so that zeroes here would keep
 * nothing from it, and cost half as much as the copy. Back ends are asked to
 * zero what they cannot fill.
 */
static void vi_pool_fill(struct vi_pool *pool, struct vi_slot *slot)
{
	if (slot->dir != DMA_FROM_DEVICE)
		vi_pool_copy_in(pool->section + vi_pool_addr(pool, slot),
				slot->orig, slot->len);
}

/*
 * The peer is dead and wrote who knows what: the last byte of what it was to
 * write is where a block request has its status.
 */
static void vi_pool_refuse(phys_addr_t orig, size_t len)
{
	static const u8 status = VI_POOL_FAILED_STATUS;

	vi_pool_copy_out(orig + len - 1, &status, 1);
}

/**
 * vi_pool_map() - take a place for a buffer and copy it there
 * @pool: the pool
 * @orig: physical address of the buffer, contiguous
 * @len: bytes
 * @dir: who writes
 * @attrs: DMA_ATTR_SKIP_CPU_SYNC: do not copy, vi_pool_sync() will
 *
 * Any context.
 *
 * Return: the offset in the section, or DMA_MAPPING_ERROR if there is no room
 * for it now.
 */
dma_addr_t vi_pool_map(struct vi_pool *pool, phys_addr_t orig, size_t len,
		       enum dma_data_direction dir, unsigned long attrs)
{
	struct vi_slot *slot = vi_pool_take(pool, len, dir, pool->limit);

	if (!slot) {
		atomic64_inc(&pool->failures);
		return DMA_MAPPING_ERROR;
	}
	atomic64_inc(&pool->maps);
	slot->orig = orig;
	if (!(attrs & DMA_ATTR_SKIP_CPU_SYNC))
		vi_pool_fill(pool, slot);
	return vi_pool_addr(pool, slot);
}

/**
 * vi_pool_unmap() - copy back what the peer wrote and free the place
 * @pool: the pool
 * @addr: what vi_pool_map() returned; anything else is ignored
 * @attrs: DMA_ATTR_SKIP_CPU_SYNC: do not copy
 *
 * Any context.
 */
void vi_pool_unmap(struct vi_pool *pool, dma_addr_t addr, unsigned long attrs)
{
	struct vi_slot *slot = vi_pool_unless_kept(pool, addr);
	u32 len;

	if (!slot || slot->dir == DMA_NONE)
		return;
	len = xchg(&slot->len, 0);
	if (!len)
		return;
	if (slot->dir != DMA_TO_DEVICE && !(attrs & DMA_ATTR_SKIP_CPU_SYNC)) {
		if (READ_ONCE(pool->failed))
			vi_pool_refuse(slot->orig, len);
		else
			vi_pool_copy_out(slot->orig, pool->section + addr, len);
	}
	vi_pool_give_back(pool, slot, len);
}

/* The slot that @addr lies in; a slot starts at most its length before */
static struct vi_slot *vi_pool_find(struct vi_pool *pool, dma_addr_t addr,
				    size_t len)
{
	struct vi_slot *slot = vi_pool_slot(pool, addr);
	dma_addr_t offset;

	while (slot && slot > pool->slots && !slot->len)
		slot--;
	if (!slot || READ_ONCE(slot->dir) >= DMA_NONE)
		return NULL;
	offset = addr - vi_pool_addr(pool, slot);
	if (offset > slot->len || len > slot->len - offset)
		return NULL;
	return slot;
}

/**
 * vi_pool_sync() - copy a part of a mapped buffer again
 * @pool: the pool
 * @addr: anywhere inside what is mapped; a range that is not, is ignored
 * @len: bytes
 * @for_cpu: from the section to the buffer, else to the section
 */
void vi_pool_sync(struct vi_pool *pool, dma_addr_t addr, size_t len,
		  bool for_cpu)
{
	struct vi_slot *slot = vi_pool_find(pool, addr, len);
	phys_addr_t orig;

	if (!slot)
		return;
	orig = slot->orig + (addr - vi_pool_addr(pool, slot));
	if (!for_cpu)
		vi_pool_copy_in(pool->section + addr, orig, len);
	else if (slot->dir != DMA_TO_DEVICE && !READ_ONCE(pool->failed))
		vi_pool_copy_out(orig, pool->section + addr, len);
}

/**
 * vi_pool_alloc() - take a zeroed place for a ring
 * @pool: the pool
 * @len: bytes
 * @addr: set to the offset in the section
 *
 * Return: the place, NULL if there is no room.
 */
void *vi_pool_alloc(struct vi_pool *pool, size_t len, dma_addr_t *addr)
{
	struct vi_slot *slot = vi_pool_take(pool, len, DMA_NONE,
					    pool->end - pool->start);

	if (!slot)
		return NULL;
	*addr = vi_pool_addr(pool, slot);
	return memset(pool->section + *addr, 0, len);
}

/**
 * vi_pool_keep() - keep a copy beyond its unmapping
 * @pool: the pool
 * @addr: what vi_pool_map() returned, for the peer to read; anything else is
 *	ignored
 *
 * Any context. From now on it takes both vi_pool_unmap() and vi_pool_free(), in
 * any order, to free it.
 */
void vi_pool_keep(struct vi_pool *pool, dma_addr_t addr)
{
	struct vi_slot *slot = vi_pool_slot(pool, addr);

	if (slot && vi_pool_addr(pool, slot) == addr && slot->len &&
	    slot->dir == DMA_TO_DEVICE)
		WRITE_ONCE(slot->dir, VI_POOL_KEPT_BY_TWO);
}

/**
 * vi_pool_free() - free what vi_pool_alloc() took or vi_pool_keep() kept
 * @pool: the pool
 * @addr: the offset of it; anything else is ignored
 *
 * Any context.
 */
void vi_pool_free(struct vi_pool *pool, dma_addr_t addr)
{
	struct vi_slot *slot = vi_pool_unless_kept(pool, addr);

	if (slot && slot->dir == DMA_NONE)
		vi_pool_let_go(pool, slot);
}

/**
 * vi_pool_fail() - the peer is dead: copy nothing back from now on
 * @pool: the pool
 *
 * Buffers that are unmapped later get VIRTIO_BLK_S_IOERR as their last byte.
 */
void vi_pool_fail(struct vi_pool *pool)
{
	WRITE_ONCE(pool->failed, true);
}

/**
 * vi_pool_stats() - read the statistics
 * @pool: the pool
 * @stats: filled; the numbers are not of one moment
 */
void vi_pool_stats(struct vi_pool *pool, struct vi_pool_stats *stats)
{
	stats->size = pool->end - pool->start;
	stats->used = atomic_long_read(&pool->used[0]) +
		      atomic_long_read(&pool->used[1]);
	stats->peak = READ_ONCE(pool->peak);
	stats->maps = atomic64_read(&pool->maps);
	stats->failures = atomic64_read(&pool->failures);
}

static void vi_pool_choose_granule(struct vi_pool *pool)
{
	pool->order = VI_POOL_MIN_ORDER;
	while ((pool->end - pool->start) >> pool->order > VI_POOL_MAX_SLOTS)
		pool->order++;
	pool->start = ALIGN(pool->start, (size_t)1 << pool->order);
	pool->end = ALIGN_DOWN(pool->end, (size_t)1 << pool->order);
}

/**
 * vi_pool_create() - make a pool of a part of the section
 * @section: start of the R/W section
 * @start: first offset to use, > 0, < @end
 * @end: first offset not to use
 *
 * Return: the pool or NULL.
 */
struct vi_pool *vi_pool_create(void *section, size_t start, size_t end)
{
	struct vi_pool *pool = kzalloc(sizeof(*pool), GFP_KERNEL);

	if (!pool)
		return NULL;
	pool->section = section;
	pool->start = start;
	pool->end = end;
	vi_pool_choose_granule(pool);
	pool->limit = (pool->end - pool->start) / 4 * 3;
	pool->slots = vcalloc((pool->end - pool->start) >> pool->order,
			      sizeof(*pool->slots));
	if (!pool->slots)
		goto err_free_pool;
	pool->gen = gen_pool_create(pool->order, NUMA_NO_NODE);
	if (!pool->gen)
		goto err_free_slots;
	if (gen_pool_add(pool->gen, pool->start, pool->end - pool->start,
			 NUMA_NO_NODE))
		goto err_destroy_gen;
	return pool;

err_destroy_gen:
	gen_pool_destroy(pool->gen);
err_free_slots:
	vfree(pool->slots);
err_free_pool:
	kfree(pool);
	return NULL;
}

/**
 * vi_pool_destroy() - the reverse
 * @pool: the pool; nothing is in use any more
 *
 * What a misbehaving driver left behind is given back first, because
 * gen_pool_destroy() insists on it.
 */
void vi_pool_destroy(struct vi_pool *pool)
{
	struct vi_slot *slot;

	for (slot = pool->slots; slot < vi_pool_slot(pool, pool->end - 1) + 1; slot++)
		if (slot->len)
			vi_pool_give_back(pool, slot, slot->len);
	gen_pool_destroy(pool->gen);
	vfree(pool->slots);
	kfree(pool);
}
