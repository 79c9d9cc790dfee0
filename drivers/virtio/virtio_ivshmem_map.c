// SPDX-License-Identifier: GPL-2.0
/*
 * The mapping operations of the virtio device: the pool under another name.
 */
#include <linux/log2.h>
#include <linux/slab.h>

#include "virtio_ivshmem.h"

static struct vi_vdev *vi_map_vdev(union virtio_map map)
{
	return dev_get_drvdata(map.dma_dev);
}

/* Of a console: what is posted takes room as long as the back end likes */
static dma_addr_t vi_map_output(struct vi_vdev *vv, phys_addr_t orig,
				size_t size, unsigned long attrs)
{
	dma_addr_t addr = DMA_MAPPING_ERROR;

	if (vi_can_send(vv, size, false))
		addr = vi_pool_map(vv->pool, orig, size, DMA_TO_DEVICE, attrs);
	if (addr == DMA_MAPPING_ERROR && vi_can_send(vv, size, true))
		addr = vi_pool_map(vv->pool, orig, size, DMA_TO_DEVICE, attrs);
	return addr;
}

static dma_addr_t vi_map_page(union virtio_map map, struct page *page,
			      unsigned long offset, size_t size,
			      enum dma_data_direction dir, unsigned long attrs)
{
	struct vi_vdev *vv = vi_map_vdev(map);
	phys_addr_t orig = page_to_phys(page) + offset;

	if (vv->vdev.id.device == VIRTIO_ID_CONSOLE && dir == DMA_TO_DEVICE)
		return vi_map_output(vv, orig, size, attrs);
	return vi_pool_map(vv->pool, orig, size, dir, attrs);
}

static void vi_unmap_page(union virtio_map map, dma_addr_t addr, size_t size,
			  enum dma_data_direction dir, unsigned long attrs)
{
	vi_pool_unmap(vi_map_vdev(map)->pool, addr, attrs);
}

static void vi_sync_for_cpu(union virtio_map map, dma_addr_t addr, size_t size,
			    enum dma_data_direction dir)
{
	vi_pool_sync(vi_map_vdev(map)->pool, addr, size, true);
}

static void vi_sync_for_device(union virtio_map map, dma_addr_t addr,
			       size_t size, enum dma_data_direction dir)
{
	vi_pool_sync(vi_map_vdev(map)->pool, addr, size, false);
}

/* Rings get private memory too, see virtio_ivshmem_split.c */
static void *vi_map_alloc(union virtio_map map, size_t size, dma_addr_t *addr,
			  gfp_t gfp)
{
	struct vi_vdev *vv = vi_map_vdev(map);
	void *shared = vi_pool_alloc(vv->pool, size, addr);
	void *private;

	if (!shared || !vv->creating)
		return shared;
	/* A power of two is aligned to itself, as vring_init() wants it */
	private = kvzalloc(roundup_pow_of_two(size), GFP_KERNEL);
	if (!private)
		vi_pool_free(vv->pool, *addr);
	return private;
}

static void vi_map_free(union virtio_map map, size_t size, void *vaddr,
			dma_addr_t addr, unsigned long attrs)
{
	struct vi_vdev *vv = vi_map_vdev(map);

	if (vaddr != (u8 *)vv->header + addr)
		kvfree(vaddr);
	vi_pool_free(vv->pool, addr);
}

static bool vi_need_sync(union virtio_map map, dma_addr_t addr)
{
	return true;
}

static int vi_mapping_error(union virtio_map map, dma_addr_t addr)
{
	return addr == DMA_MAPPING_ERROR;
}

static size_t vi_max_mapping_size(union virtio_map map)
{
	return vi_map_vdev(map)->max_mapping;
}

static const struct virtio_map_ops vi_map_ops = {
	.map_page = vi_map_page,
	.unmap_page = vi_unmap_page,
	.sync_single_for_cpu = vi_sync_for_cpu,
	.sync_single_for_device = vi_sync_for_device,
	.alloc = vi_map_alloc,
	.free = vi_map_free,
	.need_sync = vi_need_sync,
	.mapping_error = vi_mapping_error,
	.max_mapping_size = vi_max_mapping_size,
};

VIRTIO_MAP_OPS(vi_map_ops);

/**
 * vi_set_map_ops() - let virtio_ring map through the pool
 * @vv: its parent device is registered
 *
 * Return: 0 or the error of dma_set_mask().
 */
int vi_set_map_ops(struct vi_vdev *vv)
{
	return VIRTIO_SET_MAP_OPS(&vv->vdev, vi_map_ops);
}
