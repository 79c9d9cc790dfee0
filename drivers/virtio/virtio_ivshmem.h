/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of virtio_ivshmem share: its structures, and who calls whom.
 *
 *   main    the PCI driver and the life of the virtio device
 *   death   the end of a back end
 *   config  transactions, features, config space
 *   queue   virtqueues, notifications, interrupts
 *   split   the two copies of a ring
 *   map     the pool as virtio_ring's mapping operations
 *   pool    places in the section, and copies of buffers
 */
#ifndef _VIRTIO_IVSHMEM_H
#define _VIRTIO_IVSHMEM_H

#include <linux/irqreturn.h>
#include <linux/ivshmem.h>
#include <linux/ratelimit.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/workqueue.h>
#include <uapi/linux/virtio_ids.h>
#include <uapi/linux/virtio_ivshmem.h>

#include "compat-virtio.h"
#include "virtio_ivshmem_pool.h"
#include "virtio_ivshmem_split.h"

/* The longest that a living back end may take to answer */
#define VI_ANSWER_MS		5000
/* The longest that a processor waits actively for output to be taken */
#define VI_TAKE_MS		500

#define VI_OFFSET(field)	offsetof(struct virtio_ivshmem_header, field)

struct vi_vdev;

/**
 * struct vi_device - the PCI device, while the driver is bound
 * @ivd: the device as the core sees it
 * @peer: id of the back end
 * @life: registers and unregisters @vv
 * @death: fails what is in flight in @vv
 * @tick: looks for what a lost interrupt would have told
 * @lock: protects @vv and the queues of @vv against each other's sleepers;
 *	never held while a virtio driver is waited for
 * @vv: the virtio device, NULL while there is none
 * @changes: interrupts that may have told of another back end
 * @refused: nonsense was seen; nothing is started before the next change
 * @refused_at: @changes when the nonsense was met
 * @complaints: limits what a back end can make us log
 * @removing: the PCI device goes
 */
struct vi_device {
	struct ivshmem_device *ivd;
	u16 peer;
	struct work_struct life;
	struct delayed_work death;
	struct delayed_work tick;
	struct mutex lock; /* protects vv and its queues */
	struct vi_vdev *vv;
	atomic_t changes;
	bool refused;
	int refused_at;
	struct ratelimit_state complaints;
	bool removing;
};

/**
 * struct vi_vdev - the virtio device, while there is a back end
 * @vdev: registered with virtio
 * @parent: child of the PCI device and parent of @vdev: it has the mapping
 *	operations, and no IOMMU wins over them there
 * @vi: back pointer
 * @header: start of the R/W section; the peer writes it at any moment
 * @header_size: bytes, checked
 * @pool: the rest of the section
 * @max_mapping: bytes of one mapping
 * @max_segments: what a block device may be told as seg_max
 * @transaction: one at a time, see VIRTIO_IVSHMEM
 * @queues: list of struct vi_queue; under @vi->lock, readers in interrupts RCU
 * @hidden: virtqueues that @vdev does not list, see vi_hide_posting()
 * @creating: a ring is being allocated, under @transaction
 * @features: what the back end offers, later what is negotiated with it
 * @generation: of the config space, as last seen
 * @generation_changes: in a row
 * @status: device_status as last set
 * @shared_vector: vector 1 is of all queues
 * @dead: the back end left or lied; set once
 */
struct vi_vdev {
	struct virtio_device vdev;
	struct device parent;
	struct vi_device *vi;
	struct virtio_ivshmem_header *header;
	u32 header_size;
	struct vi_pool *pool;
	size_t max_mapping;
	u32 max_segments;
	struct mutex transaction; /* one at a time */
	struct list_head queues;
	struct list_head hidden;
	u64 features;
	u32 generation;
	u32 generation_changes;
	u8 status;
	bool creating;
	bool shared_vector;
	bool dead;
};

/**
 * struct vi_queue - one virtqueue
 * @list: in @queues of struct vi_vdev
 * @vq: the virtqueue
 * @split: the copies of its ring
 * @is_polled: the driver may spin on it after a notification
 * @device_vector: of the back end, rung for it
 * @vector: of ours, 0 if the queue shares vector 0
 * @name: of the interrupt, empty if the queue has none of its own
 */
struct vi_queue {
	struct list_head list;
	struct virtqueue *vq;
	struct vi_split split;
	bool is_polled;
	u16 device_vector;
	u16 vector;
	char name[48];
};

extern struct workqueue_struct *vi_workqueue;

static inline struct vi_vdev *to_vi_vdev(struct virtio_device *vdev)
{
	return container_of(vdev, struct vi_vdev, vdev);
}

static inline bool vi_peer_ready(const struct vi_device *vi)
{
	return ivshmem_peer_state(vi->ivd, vi->peer) == VIRTIO_IVSHMEM_STATE_READY;
}

/* Else queues share vector 0 with everything */
static inline bool vi_has_queue_vectors(const struct vi_device *vi)
{
	return vi->ivd->vectors > 1;
}

static inline struct device *vi_dev(const struct vi_device *vi)
{
	return &vi->ivd->pdev->dev;
}

/* death */
void vi_declare_dead(struct vi_vdev *vv);
void vi_refuse(struct vi_device *vi, int changes, const char *what);
int vi_fail(struct vi_vdev *vv, int err, const char *what);
void vi_death_work(struct work_struct *work);
void vi_end_queue(struct vi_queue *queue);

/* config; the field writes need @vv->transaction */
int vi_write16(struct vi_vdev *vv, unsigned int offset, u16 value);
int vi_write32(struct vi_vdev *vv, unsigned int offset, u32 value);
int vi_write64(struct vi_vdev *vv, unsigned int offset, u64 value);
void vi_get(struct virtio_device *vdev, unsigned int offset, void *buf,
	    unsigned int len);
void vi_set(struct virtio_device *vdev, unsigned int offset, const void *buf,
	    unsigned int len);
u32 vi_generation(struct virtio_device *vdev);
u8 vi_get_status(struct virtio_device *vdev);
void vi_set_status(struct virtio_device *vdev, u8 status);
void vi_reset(struct virtio_device *vdev);
u64 vi_get_features(struct virtio_device *vdev);
int vi_finalize_features(struct virtio_device *vdev);
const char *vi_bus_name(struct virtio_device *vdev);

/* queue; vi_can_be_direct() needs @vv->transaction */
bool vi_can_be_direct(struct vi_vdev *vv);
bool vi_can_send(struct vi_vdev *vv, size_t size, bool drained);
irqreturn_t vi_all_queues_interrupt(int irq, void *data);
int vi_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
		struct virtqueue *vqs[], struct virtqueue_info info[],
		struct irq_affinity *desc);
void vi_del_vqs(struct virtio_device *vdev);
void vi_hide_posting(struct vi_vdev *vv);
void vi_show_posting(struct vi_vdev *vv);
void vi_synchronize_cbs(struct virtio_device *vdev);
int vi_set_vq_affinity(struct virtqueue *vq, const struct cpumask *mask);
const struct cpumask *vi_get_vq_affinity(struct virtio_device *vdev, int index);

/* map */
int vi_set_map_ops(struct vi_vdev *vv);

#endif /* _VIRTIO_IVSHMEM_H */
