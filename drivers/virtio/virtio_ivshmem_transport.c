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
#include <linux/blk-mq.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/ivshmem.h>
#include <linux/module.h>
#include <linux/rculist.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/workqueue.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_ids.h>
#include <uapi/linux/virtio_ivshmem.h>

#include "compat-virtio.h"
#include "virtio_ivshmem_pool.h"
#include "virtio_ivshmem_split.h"

/* The longest that a living back end may take to answer */
#define VI_ANSWER_MS		5000
/* An interrupt can get lost: look at everything that often */
#define VI_TICK_MS		1000
/* A driver that still waits for a living back end then is told it is dead */
#define VI_REMOVE_MS		10000
/* Config space of the largest device type is a fraction of this */
#define VI_MAX_CONFIG_BYTES	4096
/* Header, status and indirect table of a block request take a page at most */
#define VI_BLK_EXTRA_PAGES	3
/* Changes of the config space seen in a row before we call it a lie */
#define VI_MAX_GENERATIONS	1000
/* Half of the pool takes the extras of a block request and one page */
#define VI_MIN_SECTION		(10 * PAGE_SIZE)

/*
 * Of the transport and not of ours, or not with private copies of the rings.
 * And no packed rings: where the pool is full, virtio_ring fails a request on
 * them with -EIO, which drivers take for an I/O error, not with -ENOMEM, after
 * which they try again; up to 6.12.y it also leaves descriptors behind that
 * the back end takes for available.
 */
#define VI_HIDDEN_FEATURES						\
	(BIT_ULL(VIRTIO_F_NOTIFICATION_DATA) | BIT_ULL(VIRTIO_F_RING_RESET) | \
	 BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_F_IN_ORDER))

/*
 * Settled with the back end by virtio_ivshmem_split.c: to virtio_ring the other
 * side of its private rings is this driver.
 */
#define VI_OWN_FEATURES							\
	(BIT_ULL(VIRTIO_RING_F_EVENT_IDX) | BIT_ULL(VIRTIO_F_ORDER_PLATFORM))

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
 * @refused: nonsense was seen; nothing is started until the back end left READY
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
	bool refused;
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
 * @rcu: readers in interrupts may still see it
 * @vq: the virtqueue
 * @split: the copies of its ring
 * @is_polled: the driver spins on it after a notification
 * @device_vector: of the back end, rung for it
 * @vector: of ours, 0 if the queue shares vector 0
 * @name: of the interrupt, empty if the queue has none of its own
 */
struct vi_queue {
	struct list_head list;
	struct rcu_head rcu;
	struct virtqueue *vq;
	struct vi_split split;
	bool is_polled;
	u16 device_vector;
	u16 vector;
	char name[48];
};

static struct workqueue_struct *vi_workqueue;

static struct vi_vdev *to_vi_vdev(struct virtio_device *vdev)
{
	return container_of(vdev, struct vi_vdev, vdev);
}

static bool vi_peer_ready(const struct vi_device *vi)
{
	return ivshmem_peer_state(vi->ivd, vi->peer) == VIRTIO_IVSHMEM_STATE_READY;
}

/* Else queues share vector 0 with everything */
static bool vi_has_queue_vectors(const struct vi_device *vi)
{
	return vi->ivd->vectors > 1;
}

static struct device *vi_dev(const struct vi_device *vi)
{
	return &vi->ivd->pdev->dev;
}

/* ---- the end of a back end ---- */

/*
 * Any context. From here on no queue takes or returns a buffer; the drivers
 * that spin on a queue see it broken.
 */
static void vi_declare_dead(struct vi_vdev *vv)
{
	struct vi_queue *queue;

	WRITE_ONCE(vv->dead, true);
	vi_pool_fail(vv->pool);
	rcu_read_lock();
	list_for_each_entry_rcu(queue, &vv->queues, list)
		__virtqueue_break(queue->vq);
	rcu_read_unlock();
	mod_delayed_work(vi_workqueue, &vv->vi->death, 0);
	queue_work(vi_workqueue, &vv->vi->life);
}

/* The back end is there, and talks nonsense or not at all: the one message */
static int vi_fail(struct vi_vdev *vv, int err, const char *what)
{
	if (!READ_ONCE(vv->vi->refused))
		dev_err(vi_dev(vv->vi),
			"%s; giving the device up until the back end restarts\n",
			what);
	WRITE_ONCE(vv->vi->refused, true);
	vi_declare_dead(vv);
	return err;
}

/*
 * Requests of a block device hold up the removal of the disk, and there is no
 * back end to complete them. The queue is broken, and nobody is inside a call
 * of it any more; virtio_blk's token is the private part of the request.
 */
static void vi_fail_requests(struct vi_queue *queue)
{
	struct request_queue *q = NULL;
	struct request *rq;
	void *token;

	while ((token = virtqueue_detach_unused_buf(queue->vq))) {
		rq = blk_mq_rq_from_pdu(token);
		if (!q && blk_get_queue(rq->q))
			q = rq->q;
		blk_mq_complete_request(rq);
	}
	if (!q)
		return;
	/* It was stopped for want of descriptors; let it find out */
	blk_mq_start_stopped_hw_queues(q, true);
	blk_put_queue(q);
}

static void vi_death_work(struct work_struct *work)
{
	struct vi_device *vi = container_of(to_delayed_work(work),
					    struct vi_device, death);
	struct vi_queue *queue;
	struct vi_vdev *vv;

	mutex_lock(&vi->lock);
	vv = vi->vv;
	if (vv && !vv->dead)	/* a removal that took too long */
		vi_fail(vv, 0, "back end holds up the removal");
	if (vv && vv->vdev.id.device == VIRTIO_ID_BLOCK) {
		/* who was in a queue when it broke held a spinlock */
		synchronize_rcu();
		list_for_each_entry(queue, &vv->queues, list)
			vi_fail_requests(queue);
	}
	mutex_unlock(&vi->lock);
}

/* ---- transactions ---- */

static bool vi_transaction_done(struct vi_vdev *vv)
{
	return !READ_ONCE(vv->header->write_transaction);
}

static int vi_wait_done(struct vi_vdev *vv)
{
	unsigned long end = jiffies + msecs_to_jiffies(VI_ANSWER_MS);
	unsigned int spins = 0;

	while (!vi_transaction_done(vv)) {
		if (READ_ONCE(vv->dead))
			return -ENODEV;
		if (!vi_peer_ready(vv->vi)) {
			vi_declare_dead(vv);
			return -ENODEV;
		}
		if (time_after(jiffies, end))
			return vi_fail(vv, -ETIMEDOUT, "back end does not answer");
		if (++spins < 100)
			cpu_relax();
		else
			usleep_range(20, 200);
	}
	virt_rmb(); /* what the back end wrote before it stored 0 */
	return 0;
}

static int vi_transact(struct vi_vdev *vv, unsigned int offset,
		       const void *value, size_t len)
{
	int err;

	lockdep_assert_held(&vv->transaction);
	err = vi_wait_done(vv);
	if (err)
		return err;
	memcpy((u8 *)vv->header + offset, value, len);
	virt_wmb(); /* the field before its offset */
	WRITE_ONCE(vv->header->write_transaction, cpu_to_le32(offset));
	ivshmem_doorbell(vv->vi->ivd, vv->vi->peer, VIRTIO_IVSHMEM_VECTOR_CONFIG);
	return vi_wait_done(vv);
}

static int vi_write16(struct vi_vdev *vv, unsigned int offset, u16 value)
{
	__le16 le = cpu_to_le16(value);

	return vi_transact(vv, offset, &le, sizeof(le));
}

static int vi_write32(struct vi_vdev *vv, unsigned int offset, u32 value)
{
	__le32 le = cpu_to_le32(value);

	return vi_transact(vv, offset, &le, sizeof(le));
}

static int vi_write64(struct vi_vdev *vv, unsigned int offset, u64 value)
{
	__le64 le = cpu_to_le64(value);

	return vi_transact(vv, offset, &le, sizeof(le));
}

/* ---- config operations ---- */

/* A request must fit into an empty pool: a block device is told so */
static void vi_clamp_segments(struct vi_vdev *vv, unsigned int offset,
			      void *buf, unsigned int len)
{
	const unsigned int at = offsetof(struct virtio_blk_config, seg_max);
	__le32 seg_max;

	if (vv->vdev.id.device != VIRTIO_ID_BLOCK || offset != at ||
	    len != sizeof(seg_max))
		return;
	memcpy(&seg_max, buf, sizeof(seg_max));
	seg_max = cpu_to_le32(clamp(le32_to_cpu(seg_max), 1U, vv->max_segments));
	memcpy(buf, &seg_max, sizeof(seg_max));
}

static void vi_get(struct virtio_device *vdev, unsigned int offset, void *buf,
		   unsigned int len)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);
	u32 size = vv->header_size - VIRTIO_IVSHMEM_CONFIG_OFFSET;

	memset(buf, 0, len);
	if (offset > size || len > size - offset || READ_ONCE(vv->dead))
		return;
	memcpy(buf, (u8 *)vv->header + VIRTIO_IVSHMEM_CONFIG_OFFSET + offset, len);
	vi_clamp_segments(vv, offset, buf, len);
}

static void vi_set(struct virtio_device *vdev, unsigned int offset,
		   const void *buf, unsigned int len)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);
	u32 size = vv->header_size - VIRTIO_IVSHMEM_CONFIG_OFFSET;

	if (offset > size || len > size - offset)
		return;
	mutex_lock(&vv->transaction);
	vi_transact(vv, VIRTIO_IVSHMEM_CONFIG_OFFSET + offset, buf, len);
	mutex_unlock(&vv->transaction);
}

/*
 * The core reads until two generations are alike, so ours must become so: an
 * odd one is waited for, and one that never rests ends with the device.
 */
static u32 vi_generation(struct virtio_device *vdev)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);
	u32 now;

	while (!READ_ONCE(vv->dead)) {
		now = le32_to_cpu(READ_ONCE(vv->header->config_generation));
		virt_rmb(); /* config space after its generation, and before */
		if (now == vv->generation && !(now & 1)) {
			vv->generation_changes = 0;
			return now;
		}
		vv->generation = now;
		if (++vv->generation_changes > VI_MAX_GENERATIONS)
			vi_fail(vv, 0, "config space is never done changing");
		if (!(now & 1))
			return now;
		usleep_range(20, 200);
	}
	return 0;
}

static u8 vi_get_status(struct virtio_device *vdev)
{
	return to_vi_vdev(vdev)->status;
}

static void vi_set_status(struct virtio_device *vdev, u8 status)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);

	mutex_lock(&vv->transaction);
	vv->status = status;
	vi_write32(vv, VI_OFFSET(device_status), status);
	mutex_unlock(&vv->transaction);
}

/*
 * hvc frees what it wrote as soon as it sees its queue broken, and leaves it
 * in the queue, as control messages are; virtio_console would then free it as
 * one of its own buffers. Of the latter, those that a port of another kind
 * wrote are lost here.
 */
static void vi_forget_output(struct vi_vdev *vv)
{
	struct vi_queue *queue;

	/* who spins on a queue until it is broken holds a spinlock */
	synchronize_rcu();
	mutex_lock(&vv->vi->lock);
	list_for_each_entry(queue, &vv->queues, list)
		if (queue->vq->index & 1 && virtqueue_is_broken(queue->vq))
			while (virtqueue_detach_unused_buf(queue->vq))
				;
	mutex_unlock(&vv->vi->lock);
}

static void vi_reset(struct virtio_device *vdev)
{
	vi_set_status(vdev, 0);
	if (vdev->id.device == VIRTIO_ID_CONSOLE)
		vi_forget_output(to_vi_vdev(vdev));
}

static int vi_read_features(struct vi_vdev *vv, u32 half, u64 *features)
{
	int err = vi_write32(vv, VI_OFFSET(device_features_sel), half);

	if (!err)
		*features |= (u64)le32_to_cpu(READ_ONCE(vv->header->device_features))
			     << (32 * half);
	return err;
}

static u64 vi_get_features(struct virtio_device *vdev)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);
	u64 features = 0;

	mutex_lock(&vv->transaction);
	if (!vi_read_features(vv, 0, &features))
		vi_read_features(vv, 1, &features);
	mutex_unlock(&vv->transaction);

	vv->features = features & ~VI_HIDDEN_FEATURES;
	/* without it the rings and buffers would not go through the pool */
	return (vv->features & ~VI_OWN_FEATURES) |
	       BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
}

static int vi_write_features(struct vi_vdev *vv, u64 features)
{
	u32 half;
	int err = 0;

	mutex_lock(&vv->transaction);
	for (half = 0; half < 2 && !err; half++) {
		err = vi_write32(vv, VI_OFFSET(driver_features_sel), half);
		if (!err)
			err = vi_write32(vv, VI_OFFSET(driver_features),
					 features >> (32 * half));
	}
	mutex_unlock(&vv->transaction);
	return err;
}

static int vi_finalize_features(struct virtio_device *vdev)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);

	vring_transport_features(vdev);
	if (!__virtio_test_bit(vdev, VIRTIO_F_VERSION_1))
		return vi_fail(vv, -EINVAL, "back end lacks VIRTIO_F_VERSION_1");
	vv->features &= vdev->features | VI_OWN_FEATURES;
	return vi_write_features(vv, vv->features);
}

static const char *vi_bus_name(struct virtio_device *vdev)
{
	return pci_name(to_vi_vdev(vdev)->vi->ivd->pdev);
}

/* ---- queues ---- */

/* Before virtio_ring looks for used buffers */
static void vi_queue_pull(struct vi_queue *queue)
{
	if (vi_split_pull(&queue->split))
		vi_fail(to_vi_vdev(queue->vq->vdev), 0,
			"back end used buffers that it was not given");
}

/*
 * The console driver spins until its output is used, with interrupts off, and
 * the control queue of others is spun on as well. That must end if the back
 * end just stops, so the waiting is done here, where it has a bound; the
 * driver finds the buffer used at once, or the queue broken.
 */
static bool vi_wait_used(struct vi_vdev *vv, struct vi_queue *queue)
{
	u64 end = ktime_get_mono_fast_ns() + (u64)VI_ANSWER_MS * NSEC_PER_MSEC;

	for (;;) {
		vi_queue_pull(queue);
		if (READ_ONCE(queue->split.used) == READ_ONCE(queue->split.avail))
			return true;
		if (READ_ONCE(vv->dead) || !vi_peer_ready(vv->vi))
			return false;
		if (ktime_get_mono_fast_ns() > end)
			return !vi_fail(vv, -ETIMEDOUT,
					"back end does not take what it is sent");
		cpu_relax();
	}
}

/*
 * False breaks the queue: a driver that spins on it with interrupts off must
 * not wait for a dead back end.
 */
static bool vi_notify(struct virtqueue *vq)
{
	struct vi_vdev *vv = to_vi_vdev(vq->vdev);
	struct vi_queue *queue = vq->priv;

	if (READ_ONCE(vv->dead) || !vi_peer_ready(vv->vi))
		return false;
	if (vi_split_push(&queue->split))
		ivshmem_doorbell(vv->vi->ivd, vv->vi->peer, queue->device_vector);
	return !queue->is_polled || vi_wait_used(vv, queue);
}

static irqreturn_t vi_queue_interrupt(int irq, void *data)
{
	struct vi_queue *queue = data;

	vi_queue_pull(queue);
	return vring_interrupt(irq, queue->vq);
}

static irqreturn_t vi_all_queues_interrupt(int irq, void *data)
{
	struct vi_vdev *vv = data;
	struct vi_queue *queue;

	WRITE_ONCE(vv->header->queue_event, 0);
	virt_mb(); /* a used buffer after that sets it again */
	rcu_read_lock();
	list_for_each_entry_rcu(queue, &vv->queues, list)
		vi_queue_interrupt(irq, queue);
	rcu_read_unlock();
	return IRQ_HANDLED;
}

/* Which of our vectors a queue gets: its own, one for all queues, or 0 */
static u16 vi_choose_vector(const struct vi_vdev *vv, unsigned int n,
			    unsigned int queues)
{
	unsigned int vectors = vv->vi->ivd->vectors;

	if (vectors > queues)
		return n + 1;
	return vi_has_queue_vectors(vv->vi) ? 1 : VIRTIO_IVSHMEM_VECTOR_CONFIG;
}

/*
 * As many descriptors as the back end offers, but so few that all rings take
 * a quarter of the pool at most, and that the input buffers of a console, a
 * page each and allocated once for all, take another.
 */
static unsigned int vi_queue_limit(struct vi_vdev *vv, unsigned int queues)
{
	struct vi_pool_stats stats;
	unsigned int limit;

	vi_pool_stats(vv->pool, &stats);
	/* a split ring's descriptor takes 16 + 2 + 8 bytes */
	limit = min_t(size_t, stats.size / 4 / queues / 26, 32768);
	if (vv->vdev.id.device == VIRTIO_ID_CONSOLE)
		limit = min_t(size_t, limit,
			      stats.size / 4 / DIV_ROUND_UP(queues, 2) / PAGE_SIZE);
	return rounddown_pow_of_two(max(limit, 2U));
}

static int vi_select_queue(struct vi_vdev *vv, unsigned int index, u16 *size,
			   u16 *device_vector)
{
	int err = vi_write32(vv, VI_OFFSET(queue_sel), index);

	if (err)
		return err;
	*size = le16_to_cpu(READ_ONCE(vv->header->queue_size));
	*device_vector = le16_to_cpu(READ_ONCE(vv->header->queue_device_vector));
	if (!*size)
		return -ENOENT;
	if (*size > 32768 || !is_power_of_2(*size))
		return vi_fail(vv, -EINVAL, "queue size is not a power of two up to 32768");
	return 0;
}

static int vi_enable_queue(struct vi_vdev *vv, const struct vi_queue *queue)
{
	struct virtqueue *vq = queue->vq;
	int err;

	err = vi_write16(vv, VI_OFFSET(queue_size), virtqueue_get_vring_size(vq));
	if (!err)
		err = vi_write16(vv, VI_OFFSET(queue_driver_vector), queue->vector);
	if (!err)
		err = vi_write64(vv, VI_OFFSET(queue_desc),
				 virtqueue_get_desc_addr(vq));
	if (!err)
		err = vi_write64(vv, VI_OFFSET(queue_driver),
				 virtqueue_get_avail_addr(vq));
	if (!err)
		err = vi_write64(vv, VI_OFFSET(queue_device),
				 virtqueue_get_used_addr(vq));
	if (!err)
		err = vi_write16(vv, VI_OFFSET(queue_enable), 1);
	return err;
}

static void vi_del_queue(struct vi_vdev *vv, struct vi_queue *queue)
{
	mutex_lock(&vv->vi->lock);
	list_del_rcu(&queue->list);
	mutex_unlock(&vv->vi->lock);
	synchronize_rcu();
	vring_del_virtqueue(queue->vq);
	kfree(queue);
}

/*
 * Drivers spin on queues without a callback, and the console on all of its
 * output queues, which are the odd ones.
 */
static bool vi_queue_is_polled(const struct vi_vdev *vv, unsigned int index,
			       const struct virtqueue_info *info)
{
	return !info->callback ||
	       (vv->vdev.id.device == VIRTIO_ID_CONSOLE && index % 2);
}

static struct virtqueue *vi_create_ring(struct vi_vdev *vv,
					struct vi_queue *queue,
					unsigned int index, unsigned int num,
					const struct virtqueue_info *info)
{
	struct virtqueue *vq;

	queue->is_polled = vi_queue_is_polled(vv, index, info);
	vv->creating = true;
	vq = vring_create_virtqueue(index, num, SMP_CACHE_BYTES, &vv->vdev, true,
				    true, info->ctx, vi_notify, info->callback,
				    info->name);
	vv->creating = false;
	if (vq)
		vi_split_init(&queue->split, vq,
			      (u8 *)vv->header + virtqueue_get_desc_addr(vq),
			      SMP_CACHE_BYTES,
			      vv->features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX));
	return vq;
}

static int vi_add_queue(struct vi_vdev *vv, unsigned int index,
			const struct virtqueue_info *info, unsigned int limit,
			u16 vector, struct vi_queue **result)
{
	struct vi_queue *queue;
	u16 size;
	int err;

	queue = kzalloc(sizeof(*queue), GFP_KERNEL);
	if (!queue)
		return -ENOMEM;
	err = vi_select_queue(vv, index, &size, &queue->device_vector);
	if (err)
		goto err_free_queue;
	err = -ENOMEM;
	queue->vq = vi_create_ring(vv, queue, index, min_t(u32, size, limit), info);
	if (!queue->vq)
		goto err_free_queue;
	queue->vq->num_max = size;
	queue->vq->priv = queue;
	queue->vector = vector;

	mutex_lock(&vv->vi->lock);
	list_add_tail_rcu(&queue->list, &vv->queues);
	mutex_unlock(&vv->vi->lock);
	smp_mb(); /* in the list before dead is read; vi_declare_dead() reverse */
	if (READ_ONCE(vv->dead))
		__virtqueue_break(queue->vq);

	err = vi_enable_queue(vv, queue);
	if (err)
		goto err_del_queue;
	*result = queue;
	return 0;

err_del_queue:
	vi_del_queue(vv, queue);
	return err;
err_free_queue:
	kfree(queue);
	return err;
}

/* The queue has its own vector */
static int vi_request_vector(struct vi_vdev *vv, struct vi_queue *queue)
{
	snprintf(queue->name, sizeof(queue->name), "%s-%s",
		 dev_name(&vv->vdev.dev), queue->vq->name);
	return request_irq(pci_irq_vector(vv->vi->ivd->pdev, queue->vector),
			   vi_queue_interrupt, 0, queue->name, queue);
}

static void vi_free_vector(struct vi_vdev *vv, struct vi_queue *queue)
{
	int irq = pci_irq_vector(vv->vi->ivd->pdev, queue->vector);

	irq_update_affinity_hint(irq, NULL);
	free_irq(irq, queue);
}

static int vi_request_shared_vector(struct vi_vdev *vv)
{
	int err = request_irq(pci_irq_vector(vv->vi->ivd->pdev, 1),
			      vi_all_queues_interrupt, 0, vi_bus_name(&vv->vdev),
			      vv);

	vv->shared_vector = !err;
	return err;
}

static void vi_del_vqs(struct virtio_device *vdev)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);
	struct vi_queue *queue, *next;

	if (vv->shared_vector)
		free_irq(pci_irq_vector(vv->vi->ivd->pdev, 1), vv);
	vv->shared_vector = false;
	list_for_each_entry_safe(queue, next, &vv->queues, list) {
		if (queue->name[0])
			vi_free_vector(vv, queue);
		vi_del_queue(vv, queue);
	}
}

static int vi_find_queues(struct vi_vdev *vv, unsigned int nvqs,
			  struct virtqueue *vqs[], struct virtqueue_info info[],
			  unsigned int queues)
{
	bool own = vv->vi->ivd->vectors > queues;
	unsigned int limit = vi_queue_limit(vv, queues);
	struct vi_queue *queue;
	unsigned int i, n = 0;
	int err;

	for (i = 0; i < nvqs; i++) {
		vqs[i] = NULL;
		if (!info[i].name)
			continue;
		err = vi_add_queue(vv, n, &info[i], limit,
				   vi_choose_vector(vv, n, queues), &queue);
		if (!err && own)
			err = vi_request_vector(vv, queue);
		if (err)
			return err;
		vqs[i] = queue->vq;
		n++;
	}
	return 0;
}

static int vi_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
		       struct virtqueue *vqs[], struct virtqueue_info info[],
		       struct irq_affinity *desc)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);
	unsigned int i, queues = 0;
	int err = 0;

	for (i = 0; i < nvqs; i++)
		queues += !!info[i].name;
	if (!queues)
		return -EINVAL;

	if (vi_has_queue_vectors(vv->vi) && vv->vi->ivd->vectors <= queues)
		err = vi_request_shared_vector(vv);
	if (!err) {
		mutex_lock(&vv->transaction);
		err = vi_find_queues(vv, nvqs, vqs, info, queues);
		mutex_unlock(&vv->transaction);
	}
	if (err)
		vi_del_vqs(vdev);
	return err;
}

VIRTIO_FIND_VQS(vi_find_vqs);

static void vi_synchronize_cbs(struct virtio_device *vdev)
{
	struct ivshmem_device *ivd = to_vi_vdev(vdev)->vi->ivd;
	unsigned int i;

	for (i = 0; i < ivd->vectors; i++)
		synchronize_irq(pci_irq_vector(ivd->pdev, i));
}

static int vi_set_vq_affinity(struct virtqueue *vq, const struct cpumask *mask)
{
	struct vi_queue *queue = vq->priv;
	struct pci_dev *pdev = to_vi_vdev(vq->vdev)->vi->ivd->pdev;

	if (!vq->callback || !queue->name[0])
		return -EINVAL;
	return irq_set_affinity_and_hint(pci_irq_vector(pdev, queue->vector), mask);
}

static const struct cpumask *vi_get_vq_affinity(struct virtio_device *vdev,
						int index)
{
	struct ivshmem_device *ivd = to_vi_vdev(vdev)->vi->ivd;

	if (index + 1 >= ivd->vectors)
		return NULL;
	return pci_irq_get_affinity(ivd->pdev, index + 1);
}

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

/* ---- mapping operations: the pool under another name ---- */

static struct vi_vdev *vi_map_vdev(union virtio_map map)
{
	return dev_get_drvdata(map.dma_dev);
}

static dma_addr_t vi_map_page(union virtio_map map, struct page *page,
			      unsigned long offset, size_t size,
			      enum dma_data_direction dir, unsigned long attrs)
{
	return vi_pool_map(vi_map_vdev(map)->pool, page_to_phys(page) + offset,
			   size, dir, attrs);
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
	private = kvzalloc(size, GFP_KERNEL);
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

/* ---- the life of the virtio device ---- */

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
	err = VIRTIO_SET_MAP_OPS(&vv->vdev, vi_map_ops);
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

static void vi_start(struct vi_device *vi)
{
	struct vi_vdev *vv;
	const char *why;
	u32 header_size;
	int err = -ENOMEM;

	virt_rmb(); /* the header after the state that says it is filled */
	why = vi_check_header(vi, &header_size);
	if (why) {
		dev_err(vi_dev(vi), "%s; waiting for another\n", why);
		vi->refused = true;
		return;
	}
	vv = vi_alloc_vdev(vi, header_size);
	if (vv)
		err = vi_register_parent(vv);
	if (err) {
		dev_err(vi_dev(vi), "cannot make the virtio device: %d\n", err);
		vi->refused = true;
		return;
	}
	vi_set_vdev(vi, vv);
	ivshmem_set_state(vi->ivd, VIRTIO_IVSHMEM_STATE_READY);

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

static void vi_life_work(struct work_struct *work)
{
	struct vi_device *vi = container_of(work, struct vi_device, life);
	bool ready;

	for (;;) {
		ready = vi_peer_ready(vi);
		if (!ready)
			vi->refused = false;
		switch (vi_decide(vi->vv, vi->vv && READ_ONCE(vi->vv->dead), ready,
				  vi->refused, READ_ONCE(vi->removing))) {
		case VI_NOTHING:
			return;
		case VI_START:
			vi_start(vi);
			break;
		case VI_STOP:
			vi_stop(vi);
			break;
		}
	}
}

static irqreturn_t vi_config_interrupt(int irq, void *data)
{
	struct vi_device *vi = data;
	struct vi_vdev *vv;

	rcu_read_lock();
	vv = READ_ONCE(vi->vv);
	if (!vv || !vi_peer_ready(vi)) {
		if (vv)
			vi_declare_dead(vv);
		queue_work(vi_workqueue, &vi->life);
	} else {
		if (READ_ONCE(vv->header->config_event) & VIRTIO_IVSHMEM_EVENT) {
			WRITE_ONCE(vv->header->config_event, 0);
			virt_mb(); /* cleared before the config is read */
			virtio_config_changed(&vv->vdev);
		}
		if (!vi_has_queue_vectors(vi))
			vi_all_queues_interrupt(irq, vv);
	}
	rcu_read_unlock();
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
	struct vi_vdev *vv;

	local_irq_save(flags);
	vi_config_interrupt(0, vi);
	rcu_read_lock();
	vv = READ_ONCE(vi->vv);
	if (vv)
		vi_all_queues_interrupt(0, vv);
	rcu_read_unlock();
	local_irq_restore(flags);
	queue_delayed_work(vi_workqueue, &vi->tick, msecs_to_jiffies(VI_TICK_MS));
}

/* ---- statistics, in the PCI device's directory in sysfs ---- */

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

/* ---- the PCI driver ---- */

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
	  .class_mask = IVSHMEM_CLASS_BASE | 0xc000 },
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
