/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The bounce pool of a virtio_ivshmem device: the part of the R/W section
 * behind the header, from which rings and copies of buffers are taken.
 */
#ifndef _VIRTIO_IVSHMEM_POOL_H
#define _VIRTIO_IVSHMEM_POOL_H

#include <linux/dma-direction.h>
#include <linux/types.h>

struct vi_pool;

/**
 * struct vi_pool_stats - a look at the pool
 * @size: bytes that can be taken
 * @used: bytes taken now
 * @peak: most bytes that were taken at once
 * @maps: buffers mapped so far
 * @failures: mappings refused because the pool was full
 */
struct vi_pool_stats {
	u64 size;
	u64 used;
	u64 peak;
	u64 maps;
	u64 failures;
};

struct vi_pool *vi_pool_create(void *section, size_t start, size_t end);
void vi_pool_destroy(struct vi_pool *pool);

dma_addr_t vi_pool_map(struct vi_pool *pool, phys_addr_t orig, size_t len,
		       enum dma_data_direction dir, unsigned long attrs);
void vi_pool_unmap(struct vi_pool *pool, dma_addr_t addr, unsigned long attrs);
void vi_pool_sync(struct vi_pool *pool, dma_addr_t addr, size_t len,
		  bool for_cpu);
void *vi_pool_alloc(struct vi_pool *pool, size_t len, dma_addr_t *addr);
void vi_pool_keep(struct vi_pool *pool, dma_addr_t addr);
void vi_pool_free(struct vi_pool *pool, dma_addr_t addr);

void vi_pool_fail(struct vi_pool *pool);
void vi_pool_stats(struct vi_pool *pool, struct vi_pool_stats *stats);

#endif /* _VIRTIO_IVSHMEM_POOL_H */
