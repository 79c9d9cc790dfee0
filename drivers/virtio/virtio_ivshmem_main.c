// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio transport over ivshmem: the front end. Rings and copies of all
 * buffers live in the R/W section; a process in another VM or on the host is
 * the back end. It may start late, die and come back at any moment: probe
 * succeeds without it, the virtio device is there while it is.
 *
 * Two works of each device do what needs a process, so that either can wait
 * while the other goes on:
 *
 *   life   registers the virtio device when the back end is READY and
 *          unregisters it when it is not; both wait for the virtio driver
 *   death  fails what is in flight when the back end has gone, which is what
 *          the virtio driver may be waiting for
 *
 * The back end is not trusted: fields of the header are read once and bounded,
 * no wait for it lasts longer than VI_ANSWER_MS and none survives its leaving.
 * The pool (virtio_ivshmem_pool.c) trusts nothing in the section either, and
 * virtio_ring sees a private copy of its rings (virtio_ivshmem_split.c).
 *
 * Implements Documentation/ivshmem/virtio.rst.
 */
#include <linux/interrupt.h>
#include <linux/module.h>
#include <uapi/linux/virtio_blk.h>

#include "virtio_ivshmem.h"

/* An interrupt can get lost: look at everything that often */
#define VI_TICK_MS		1000
/* A driver that still waits for a living back end then is told it is dead */
#define VI_REMOVE_MS		10000
/* What is wrong with back ends is logged twice in this time at most */
#define VI_COMPLAINTS_INTERVAL	(30 * HZ)
/* Config space of the largest device type is a fraction of this */
#define VI_MAX_CONFIG_BYTES	4096
/* Header, status and indirect table of a block request take a page at most */
#define VI_BLK_EXTRA_PAGES	3
/* Half of the pool takes the extras of a block request and one page */
#define VI_MIN_SECTION		(10 * PAGE_SIZE)

struct workqueue_struct *vi_workqueue;

VIRTIO_FIND_VQS(vi_find_vqs);

static const struct virtio_config_ops vi_config_ops = {
	.get = vi_get,
	.set = vi_set,
	.generation = vi_generation,
	.get_status = vi_get_status,
	.set_status = vi_set_status,
	.reset = vi_reset,
	.find_vqs = VIRTIO_FIND_VQS_OP(vi_find_vqs),
	.del_vqs = vi_del_vqs,
	.synchronize_cbs = vi_synchronize_cbs,
	.get_features = vi_get_features,
	.finalize_features = vi_finalize_features,
	.bus_name = vi_bus_name,
	.set_vq_affinity = vi_set_vq_affinity,
	.get_vq_affinity = vi_get_vq_affinity,
};

/* The last reference to the virtio device; its parent goes after it */
static void vi_release_vdev(struct device *dev)
{
	put_device(&to_vi_vdev(dev_to_virtio(dev))->parent);
}

static void vi_release_parent(struct device *dev)
{
	struct vi_vdev *vv = container_of(dev, struct vi_vdev, parent);

	vi_pool_destroy(vv->pool);
	kfree(vv);
}

/*
 * One request has to fit into half of an empty pool, or it would be retried
 * for ever; the other half is for rings and for whatever else is in flight.
 */
static void vi_choose_limits(struct vi_vdev *vv)
{
	struct vi_pool_stats stats;
	__le32 seg_max = cpu_to_le32(1);
	u32 pages, segments;

	vi_pool_stats(vv->pool, &stats);
	vv->max_mapping = stats.size / 4;
	if (vv->vdev.id.device != VIRTIO_ID_BLOCK)
		return;
	if (vv->header_size >= VIRTIO_IVSHMEM_CONFIG_OFFSET +
			       offsetofend(struct virtio_blk_config, seg_max))
		memcpy(&seg_max, (u8 *)vv->header + VIRTIO_IVSHMEM_CONFIG_OFFSET +
		       offsetof(struct virtio_blk_config, seg_max), sizeof(seg_max));
	pages = stats.size / 2 / PAGE_SIZE - VI_BLK_EXTRA_PAGES;
	segments = clamp(le32_to_cpu(seg_max), 1U, pages);
	vv->max_segments = segments;
	vv->max_mapping = (size_t)(pages / segments) << PAGE_SHIFT;
}

static const char *vi_check_header(struct vi_device *vi, u32 *size)
{
	struct virtio_ivshmem_header *header = vi->ivd->shmem +
					       vi->ivd->layout.rw_offset;

	*size = le32_to_cpu(READ_ONCE(header->size));
	if (le32_to_cpu(READ_ONCE(header->revision)) != VIRTIO_IVSHMEM_REVISION)
		return "back end speaks another revision";
	if (*size < VIRTIO_IVSHMEM_CONFIG_OFFSET ||
	    *size > VIRTIO_IVSHMEM_CONFIG_OFFSET + VI_MAX_CONFIG_BYTES)
		return "header size of the back end is nonsense";
	return NULL;
}

static struct vi_vdev *vi_alloc_vdev(struct vi_device *vi, u32 header_size)
{
	const struct ivshmem_layout *l = &vi->ivd->layout;
	struct vi_vdev *vv = kzalloc(sizeof(*vv), GFP_KERNEL);

	if (!vv)
		return NULL;
	vv->vi = vi;
	vv->header = vi->ivd->shmem + l->rw_offset;
	vv->header_size = header_size;
	mutex_init(&vv->transaction);
	INIT_LIST_HEAD(&vv->queues);
	INIT_LIST_HEAD(&vv->hidden);
	vv->vdev.id.device = vi->ivd->protocol & IVSHMEM_PROTO_VIRTIO_ID;
	vv->vdev.id.vendor = PCI_VENDOR_ID_SIEMENS;
	vv->vdev.config = &vi_config_ops;
	vv->vdev.dev.parent = &vv->parent;
	vv->vdev.dev.release = vi_release_vdev;
	vv->pool = vi_pool_create(vv->header, header_size, l->rw_size);
	if (!vv->pool) {
		kfree(vv);
		return NULL;
	}
	vi_choose_limits(vv);
	return vv;
}

static int vi_register_parent(struct vi_vdev *vv)
{
	struct device *parent = &vv->parent;
	int err;

	parent->parent = vi_dev(vv->vi);
	parent->release = vi_release_parent;
	parent->dma_mask = &parent->coherent_dma_mask;
	dev_set_drvdata(parent, vv);
	dev_set_name(parent, "virtio-ivshmem.%s", pci_name(vv->vi->ivd->pdev));
	err = device_register(parent);
	if (err) {
		put_device(parent);
		return err;
	}
	err = vi_set_map_ops(vv);
	if (err)
		device_unregister(parent);
	return err;
}

static void vi_set_vdev(struct vi_device *vi, struct vi_vdev *vv)
{
	mutex_lock(&vi->lock);
	WRITE_ONCE(vi->vv, vv);
	mutex_unlock(&vi->lock);
	if (!vv)
		synchronize_rcu();	/* the interrupt may still use it */
}

/* Undoes vi_register_parent(); the virtio device is not registered (any more) */
static void vi_drop_vdev(struct vi_device *vi)
{
	struct vi_vdev *vv = vi->vv;

	vi_set_vdev(vi, NULL);
	device_del(&vv->parent);
	put_device(&vv->vdev.dev);
	ivshmem_set_state(vi->ivd, VIRTIO_IVSHMEM_STATE_RESET);
}

static void vi_start(struct vi_device *vi, int changes)
{
	struct vi_vdev *vv;
	const char *why;
	u32 header_size;
	int err = -ENOMEM;

	virt_rmb(); /* the header after the state that says it is filled */
	why = vi_check_header(vi, &header_size);
	if (why) {
		vi_refuse(vi, changes, why);
		return;
	}
	vv = vi_alloc_vdev(vi, header_size);
	if (vv)
		err = vi_register_parent(vv);
	if (err) {
		vi_refuse(vi, changes, "no memory for the virtio device");
		return;
	}
	vi_set_vdev(vi, vv);
	ivshmem_set_state(vi->ivd, VIRTIO_IVSHMEM_STATE_READY);
	/*
	 * The back end that was seen may have died, and the next one, which saw
	 * us at 0, be at work on the header: look again. Pairs with the fence
	 * of a back end between its State and the look at ours.
	 */
	virt_mb();
	if (!vi_peer_ready(vi))
		vi_declare_dead(vv);

	err = register_virtio_device(&vv->vdev);
	if (err) {
		if (vi_peer_ready(vi))
			vi_fail(vv, err, "cannot register the virtio device");
		vi_drop_vdev(vi);
		return;
	}
	dev_dbg(vi_dev(vi), "back end is ready\n");
}

static void vi_stop(struct vi_device *vi)
{
	struct vi_vdev *vv = vi->vv;

	if (!vi_peer_ready(vi))
		vi_declare_dead(vv);
	/* a living back end has to let the driver go, but not for ever */
	if (!READ_ONCE(vv->dead))
		queue_delayed_work(vi_workqueue, &vi->death,
				   msecs_to_jiffies(VI_REMOVE_MS));
	get_device(&vv->vdev.dev);
	vi_hide_posting(vv);
	unregister_virtio_device(&vv->vdev);
	vi_drop_vdev(vi);
	cancel_delayed_work_sync(&vi->death);
}

enum vi_action { VI_NOTHING, VI_START, VI_STOP };

static enum vi_action vi_decide(bool present, bool dead, bool peer_ready,
				bool refused, bool removing)
{
	if (present)
		return dead || !peer_ready || removing ? VI_STOP : VI_NOTHING;
	return peer_ready && !refused && !removing ? VI_START : VI_NOTHING;
}

static bool vi_is_refused(const struct vi_device *vi, int changes)
{
	return READ_ONCE(vi->refused) && READ_ONCE(vi->refused_at) == changes;
}

static void vi_life_work(struct work_struct *work)
{
	struct vi_device *vi = container_of(work, struct vi_device, life);
	int changes;

	for (;;) {
		changes = atomic_read(&vi->changes);
		switch (vi_decide(vi->vv, vi->vv && READ_ONCE(vi->vv->dead),
				  vi_peer_ready(vi), vi_is_refused(vi, changes),
				  READ_ONCE(vi->removing))) {
		case VI_NOTHING:
			return;
		case VI_START:
			vi_start(vi, changes);
			break;
		case VI_STOP:
			vi_stop(vi);
			break;
		}
	}
}

static void vi_look(struct vi_device *vi)
{
	struct vi_vdev *vv;

	rcu_read_lock();
	vv = READ_ONCE(vi->vv);
	if (!vv || !vi_peer_ready(vi)) {
		if (vv)
			vi_declare_dead(vv);
		queue_work(vi_workqueue, &vi->life);
	} else if (READ_ONCE(vv->header->config_event) & VIRTIO_IVSHMEM_EVENT) {
		WRITE_ONCE(vv->header->config_event, 0);
		virt_mb(); /* cleared before the config is read */
		virtio_config_changed(&vv->vdev);
	}
	rcu_read_unlock();
}

static void vi_look_at_queues(struct vi_device *vi)
{
	struct vi_vdev *vv;

	rcu_read_lock();
	vv = READ_ONCE(vi->vv);
	if (vv && !READ_ONCE(vv->dead))
		vi_all_queues_interrupt(0, vv);
	rcu_read_unlock();
}

static irqreturn_t vi_config_interrupt(int irq, void *data)
{
	struct vi_device *vi = data;

	atomic_inc(&vi->changes);
	vi_look(vi);
	if (!vi_has_queue_vectors(vi))
		vi_look_at_queues(vi);
	return IRQ_HANDLED;
}

/*
 * The device drops what comes while a vector is masked, as it is while its
 * affinity changes, and a pulse on INTx is lost if the last one was not yet
 * acknowledged.
 */
static void vi_tick_work(struct work_struct *work)
{
	struct vi_device *vi = container_of(to_delayed_work(work),
					    struct vi_device, tick);
	unsigned long flags;

	local_irq_save(flags);
	vi_look(vi);
	vi_look_at_queues(vi);
	local_irq_restore(flags);
	queue_delayed_work(vi_workqueue, &vi->tick, msecs_to_jiffies(VI_TICK_MS));
}

/* Statistics, in the PCI device's directory in sysfs */

static ssize_t vi_show_stat(struct device *dev, size_t offset, char *buf)
{
	struct vi_device *vi = dev_get_drvdata(dev);
	struct vi_pool_stats stats = { };

	mutex_lock(&vi->lock);
	if (vi->vv)
		vi_pool_stats(vi->vv->pool, &stats);
	mutex_unlock(&vi->lock);
	return sysfs_emit(buf, "%llu\n", *(u64 *)((u8 *)&stats + offset));
}

#define VI_STAT(name)							\
static ssize_t name##_show(struct device *dev,				\
			   struct device_attribute *attr, char *buf)	\
{									\
	return vi_show_stat(dev, offsetof(struct vi_pool_stats, name), buf); \
}									\
static DEVICE_ATTR_RO(name)

VI_STAT(size);
VI_STAT(used);
VI_STAT(peak);
VI_STAT(maps);
VI_STAT(failures);

static struct attribute *vi_pool_attrs[] = {
	&dev_attr_size.attr,
	&dev_attr_used.attr,
	&dev_attr_peak.attr,
	&dev_attr_maps.attr,
	&dev_attr_failures.attr,
	NULL
};

static const struct attribute_group vi_pool_group = {
	.name = "pool",
	.attrs = vi_pool_attrs,
};

static const struct attribute_group *vi_groups[] = { &vi_pool_group, NULL };

/* The PCI driver */

static int vi_check_device(struct vi_device *vi)
{
	struct ivshmem_device *ivd = vi->ivd;

	if (ivd->max_peers != 2)
		return dev_err_probe(vi_dev(vi), -EINVAL,
				     "virtio is between 2 peers, not %u\n",
				     ivd->max_peers);
	if (ivd->layout.rw_size < VI_MIN_SECTION)
		return dev_err_probe(vi_dev(vi), -EINVAL,
				     "R/W section of 0x%llx bytes is too small, virtio needs 0x%lx\n",
				     ivd->layout.rw_size, VI_MIN_SECTION);
	return 0;
}

static int vi_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct vi_device *vi;
	int err;

	vi = devm_kzalloc(&pdev->dev, sizeof(*vi), GFP_KERNEL);
	if (!vi)
		return -ENOMEM;
	mutex_init(&vi->lock);
	ratelimit_state_init(&vi->complaints, VI_COMPLAINTS_INTERVAL, 2);
	ratelimit_set_flags(&vi->complaints, RATELIMIT_MSG_ON_RELEASE);
	INIT_WORK(&vi->life, vi_life_work);
	INIT_DELAYED_WORK(&vi->death, vi_death_work);
	INIT_DELAYED_WORK(&vi->tick, vi_tick_work);

	vi->ivd = ivshmem_enable(pdev);
	if (IS_ERR(vi->ivd))
		return PTR_ERR(vi->ivd);
	vi->peer = !vi->ivd->id;
	err = vi_check_device(vi);
	if (!err)
		err = ivshmem_alloc_vectors(vi->ivd, max(pci_msix_vec_count(pdev), 1));
	if (!err)
		err = devm_request_irq(&pdev->dev, pci_irq_vector(pdev, 0),
				       vi_config_interrupt,
				       pdev->msix_enabled ? 0 : IRQF_SHARED,
				       dev_name(&pdev->dev), vi);
	if (err)
		return err;

	pci_set_drvdata(pdev, vi);
	ivshmem_int_enable(vi->ivd, true);
	queue_delayed_work(vi_workqueue, &vi->tick, 0);
	return 0;
}

static void vi_remove(struct pci_dev *pdev)
{
	struct vi_device *vi = pci_get_drvdata(pdev);

	cancel_delayed_work_sync(&vi->tick);
	WRITE_ONCE(vi->removing, true);
	queue_delayed_work(vi_workqueue, &vi->death,
			   msecs_to_jiffies(VI_REMOVE_MS));
	queue_work(vi_workqueue, &vi->life);
	flush_work(&vi->life);
	ivshmem_quiesce(vi->ivd);
	devm_free_irq(&pdev->dev, pci_irq_vector(pdev, 0), vi);
	cancel_work_sync(&vi->life);
	cancel_delayed_work_sync(&vi->death);
}

static void vi_shutdown(struct pci_dev *pdev)
{
	struct vi_device *vi = pci_get_drvdata(pdev);

	ivshmem_quiesce(vi->ivd);
}

static const struct pci_device_id vi_ids[] = {
	{ PCI_DEVICE(IVSHMEM_VENDOR_ID, IVSHMEM_DEVICE_ID),
	  .class = IVSHMEM_CLASS_BASE | IVSHMEM_PROTO_VIRTIO_FRONT,
	  .class_mask = IVSHMEM_CLASS_BASE | IVSHMEM_PROTO_KIND },
	{ }
};

static struct pci_driver vi_driver = {
	.name = KBUILD_MODNAME,
	.id_table = vi_ids,
	.probe = vi_probe,
	.remove = vi_remove,
	.shutdown = vi_shutdown,
	.dev_groups = vi_groups,
};

static int __init vi_init(void)
{
	int err;

	vi_workqueue = alloc_workqueue(KBUILD_MODNAME, WQ_UNBOUND, 0);
	if (!vi_workqueue)
		return -ENOMEM;
	err = pci_register_driver(&vi_driver);
	if (err)
		destroy_workqueue(vi_workqueue);
	return err;
}
module_init(vi_init);

static void __exit vi_exit(void)
{
	pci_unregister_driver(&vi_driver);
	destroy_workqueue(vi_workqueue);
}
module_exit(vi_exit);

/* modpost makes no alias of a mask that is not a whole byte */
MODULE_ALIAS("pci:v0000110Ad00004106sv*sd*bcFFsc[89AB]*i*");

MODULE_DESCRIPTION("Virtio transport over ivshmem");
MODULE_AUTHOR("The ivshmem developers");
MODULE_LICENSE("GPL");
