/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a virtio transport needs of the newest kernels, on older ones:
 * struct virtio_map_ops (6.18), which becomes dma_map_ops of the device's
 * parent, and struct virtqueue_info (6.11).
 */
#ifndef _COMPAT_VIRTIO_H
#define _COMPAT_VIRTIO_H

#include <linux/virtio_config.h>

#ifndef VIRTIO_F_NOTIFICATION_DATA	/* < 6.4 */
#define VIRTIO_F_NOTIFICATION_DATA 38
#endif

#ifndef VIRTIO_F_IN_ORDER		/* < 6.12 */
#define VIRTIO_F_IN_ORDER 35
#endif

#ifdef COMPAT_HAS_VIRTIO_MAP_OPS

#define VIRTIO_MAP_OPS(ops)						\
	static_assert(__same_type(ops, const struct virtio_map_ops))

#define VIRTIO_SET_MAP_OPS(vdev_, ops)					\
({									\
	struct virtio_device *__vdev = (vdev_);				\
									\
	__vdev->map = &(ops);						\
	__vdev->vmap.dma_dev = __vdev->dev.parent;			\
	0;								\
})

#else

#include <linux/dma-map-ops.h>

#if !defined(CONFIG_DMA_OPS) && !defined(CONFIG_ARCH_HAS_DMA_OPS)
#error "This kernel has neither virtio_map_ops nor dma_map_ops of a device"
#endif

union virtio_map {
	struct device *dma_dev;
};

/* The members are those of the kernel's own, see <linux/virtio_config.h> */
struct virtio_map_ops {
	dma_addr_t (*map_page)(union virtio_map map, struct page *page,
			       unsigned long offset, size_t size,
			       enum dma_data_direction dir, unsigned long attrs);
	void (*unmap_page)(union virtio_map map, dma_addr_t addr, size_t size,
			   enum dma_data_direction dir, unsigned long attrs);
	void (*sync_single_for_cpu)(union virtio_map map, dma_addr_t addr,
				    size_t size, enum dma_data_direction dir);
	void (*sync_single_for_device)(union virtio_map map, dma_addr_t addr,
				       size_t size, enum dma_data_direction dir);
	void *(*alloc)(union virtio_map map, size_t size, dma_addr_t *addr,
		       gfp_t gfp);
	void (*free)(union virtio_map map, size_t size, void *vaddr,
		     dma_addr_t addr, unsigned long attrs);
	bool (*need_sync)(union virtio_map map, dma_addr_t addr);
	int (*mapping_error)(union virtio_map map, dma_addr_t addr);
	size_t (*max_mapping_size)(union virtio_map map);
};

static inline int compat_dma_supported(struct device *dev, u64 mask)
{
	return 1;
}

#define COMPAT_MAP(dev) ((union virtio_map){ .dma_dev = (dev) })

#define VIRTIO_MAP_OPS(ops)						\
static dma_addr_t ops##_map_page(struct device *dev, struct page *page,	\
				 unsigned long offset, size_t size,	\
				 enum dma_data_direction dir,		\
				 unsigned long attrs)			\
{									\
	return ops.map_page(COMPAT_MAP(dev), page, offset, size, dir, attrs); \
}									\
static void ops##_unmap_page(struct device *dev, dma_addr_t addr, size_t size, \
			     enum dma_data_direction dir, unsigned long attrs) \
{									\
	ops.unmap_page(COMPAT_MAP(dev), addr, size, dir, attrs);	\
}									\
static void ops##_sync_for_cpu(struct device *dev, dma_addr_t addr,	\
			       size_t size, enum dma_data_direction dir) \
{									\
	ops.sync_single_for_cpu(COMPAT_MAP(dev), addr, size, dir);	\
}									\
static void ops##_sync_for_device(struct device *dev, dma_addr_t addr,	\
				  size_t size, enum dma_data_direction dir) \
{									\
	ops.sync_single_for_device(COMPAT_MAP(dev), addr, size, dir);	\
}									\
static void *ops##_alloc(struct device *dev, size_t size, dma_addr_t *addr, \
			 gfp_t gfp, unsigned long attrs)		\
{									\
	return ops.alloc(COMPAT_MAP(dev), size, addr, gfp);		\
}									\
static void ops##_free(struct device *dev, size_t size, void *vaddr,	\
		       dma_addr_t addr, unsigned long attrs)		\
{									\
	ops.free(COMPAT_MAP(dev), size, vaddr, addr, attrs);		\
}									\
static size_t ops##_max_mapping_size(struct device *dev)		\
{									\
	return ops.max_mapping_size(COMPAT_MAP(dev));			\
}									\
static const struct dma_map_ops ops##_dma = {				\
	.map_page = ops##_map_page,					\
	.unmap_page = ops##_unmap_page,					\
	.sync_single_for_cpu = ops##_sync_for_cpu,			\
	.sync_single_for_device = ops##_sync_for_device,		\
	.alloc = ops##_alloc,						\
	.free = ops##_free,						\
	.max_mapping_size = ops##_max_mapping_size,			\
	.dma_supported = compat_dma_supported,				\
}

/* The mask after the operations: 6.12 decides then whether syncs are needed */
#define VIRTIO_SET_MAP_OPS(vdev_, ops)					\
({									\
	struct device *__parent = (vdev_)->dev.parent;			\
									\
	set_dma_ops(__parent, &ops##_dma);				\
	dma_set_mask_and_coherent(__parent, DMA_BIT_MASK(64));		\
})

#endif /* COMPAT_HAS_VIRTIO_MAP_OPS */

#ifdef COMPAT_HAS_VIRTQUEUE_INFO

#define VIRTIO_FIND_VQS(fn)						\
	static_assert(__same_type(&(fn),				\
				  ((struct virtio_config_ops *)NULL)->find_vqs))
#define VIRTIO_FIND_VQS_OP(fn) (fn)

#else

struct virtqueue_info {
	const char *name;
	vq_callback_t *callback;
	bool ctx;
};

#define VIRTIO_FIND_VQS(fn)						\
static int fn##_compat(struct virtio_device *vdev, unsigned int nvqs,	\
		       struct virtqueue *vqs[], vq_callback_t *callbacks[], \
		       const char * const names[], const bool *ctx,	\
		       struct irq_affinity *desc)			\
{									\
	struct virtqueue_info *info = kcalloc(nvqs, sizeof(*info), GFP_KERNEL); \
	unsigned int i;							\
	int err;							\
									\
	if (!info)							\
		return -ENOMEM;						\
	for (i = 0; i < nvqs; i++) {					\
		info[i].name = names[i];				\
		info[i].callback = callbacks[i];			\
		info[i].ctx = ctx && ctx[i];				\
	}								\
	err = fn(vdev, nvqs, vqs, info, desc);				\
	kfree(info);							\
	return err;							\
}

#define VIRTIO_FIND_VQS_OP(fn) fn##_compat

#endif /* COMPAT_HAS_VIRTQUEUE_INFO */
#endif /* _COMPAT_VIRTIO_H */
