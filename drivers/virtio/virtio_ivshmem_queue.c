// SPDX-License-Identifier: GPL-2.0
/*
 * The virtqueues: how many descriptors they get, which vectors, how the back
 * end is notified and what an interrupt does.
 *
 * Implements "Vectors" of Documentation/ivshmem/virtio.rst.
 */
#include <linux/interrupt.h>
#include <linux/rculist.h>
#include <linux/virtio_ring.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_console.h>

#include "virtio_ivshmem.h"

/* Header and status of a block request */
#define VI_BLK_EXTRA_SEGMENTS	2
/* More of them than anybody uses only make requests use tables */
#define VI_BLK_MAX_QUEUES	16

/* What interrupts queues: a vector each, one for all, or that of the config */
enum vi_vectors { VI_VECTOR_EACH, VI_VECTOR_SHARED, VI_VECTOR_CONFIG };

static void vi_queue_push(struct vi_vdev *vv, struct vi_queue *queue)
{
	if (vi_split_push(&queue->split))
		ivshmem_doorbell(vv->vi->ivd, vv->vi->peer,
				 queue->device_vector);
}

/* Before virtio_ring looks for used buffers */
static void vi_queue_pull(struct vi_queue *queue)
{
	struct vi_vdev *vv = to_vi_vdev(queue->vq->vdev);

	if (READ_ONCE(vv->dead))
		return;
	if (vi_split_pull(&queue->split))
		vi_fail(vv, 0, "back end used buffers that it was not given");
	else if (vi_split_has_more(&queue->split))
		vi_queue_push(vv, queue);
}

/* Until no more than @left is outstanding; false if that takes too long */
static bool vi_wait_used(struct vi_vdev *vv, struct vi_queue *queue,
			 unsigned int left, unsigned int ms)
{
	u64 end = ktime_get_mono_fast_ns() + (u64)ms * NSEC_PER_MSEC;

	for (;;) {
		vi_queue_pull(queue);
		if (vi_split_outstanding(&queue->split) <= left)
			return true;
		if (READ_ONCE(vv->dead) || !vi_peer_ready(vv->vi) ||
		    ktime_get_mono_fast_ns() > end)
			return false;
		cpu_relax();
	}
}

/*
 * The console driver spins until its output is used, with interrupts off, which
 * must not last if the back end just stops. So the output is posted: the driver
 * finds it used, whatever the back end does. It is waited for all the same, but
 * only if nothing else is on the way, so that what a guest says last is heard.
 */
static void vi_post(struct vi_vdev *vv, struct vi_queue *queue)
{
	bool is_alone = !vi_split_outstanding(&queue->split);

	vi_queue_push(vv, queue);
	if (is_alone)
		vi_wait_used(vv, queue, 0, VI_TAKE_MS);
}

/* What the driver spins on, here with a bound: the answer is not ours to give */
static void vi_send_polled(struct vi_vdev *vv, struct vi_queue *queue)
{
	vi_queue_push(vv, queue);
	if (!vi_wait_used(vv, queue, 0, VI_ANSWER_MS) && !READ_ONCE(vv->dead) &&
	    vi_peer_ready(vv->vi))
		vi_fail(vv, 0, "back end does not take what it is sent");
}

/*
 * False breaks the queue: a driver that spins on it with interrupts off must
 * not wait for a dead back end. Output of a console is used up instead.
 */
static bool vi_notify(struct virtqueue *vq)
{
	struct vi_vdev *vv = to_vi_vdev(vq->vdev);
	struct vi_queue *queue = vq->priv;

	if (!READ_ONCE(vv->dead) && vi_peer_ready(vv->vi)) {
		if (queue->split.posts)
			vi_post(vv, queue);
		else if (queue->is_polled)
			vi_send_polled(vv, queue);
		else
			vi_queue_push(vv, queue);
	}
	if (READ_ONCE(vv->dead))
		vi_end_queue(queue);
	else if (!vi_peer_ready(vv->vi))
		vi_declare_dead(vv);	/* ends all queues */
	return !virtqueue_is_broken(vq);
}

/* False if more than @left is outstanding, and the driver tries again later */
static bool vi_make_room(struct vi_vdev *vv, struct vi_queue *queue,
			 unsigned int left)
{
	if (vi_split_outstanding(&queue->split) <= left)
		return true;
	if (!(vv->features & BIT_ULL(VIRTIO_CONSOLE_F_MULTIPORT)))
		return false;
	/*
	 * hvc tries again. Who writes to another port would take it for the end
	 * of the file, so the back end has to take something now, or to go.
	 */
	if (!vi_wait_used(vv, queue, left, VI_TAKE_MS))
		vi_fail(vv, 0, "back end does not take what it is sent");
	return true;
}

/*
 * The driver of a console sees none of what the back end leaves in its rings,
 * so it is told here that no more will fit; all output has to be used up if
 * @drained. Nobody knows yet to which queue @size bytes go, but a back end that
 * stopped has stopped for all. Half of a ring is for control messages, which
 * nobody would send again.
 */
bool vi_can_send(struct vi_vdev *vv, size_t size, bool drained)
{
	bool is_control = size == sizeof(struct virtio_console_control);
	struct vi_queue *queue;
	unsigned int left;
	bool can = true;

	rcu_read_lock();
	list_for_each_entry_rcu(queue, &vv->queues, list) {
		if (!queue->split.posts || READ_ONCE(vv->dead))
			continue;
		left = queue->split.own.num / (is_control ? 1 : 2) - 1;
		can = can && vi_make_room(vv, queue, drained ? 0 : left);
	}
	rcu_read_unlock();
	return can;
}

/* Handled also if there was nothing: the core would stop a vector that is rung idly */
static irqreturn_t vi_queue_interrupt(int irq, void *data)
{
	struct vi_queue *queue = data;

	vi_queue_pull(queue);
	vring_interrupt(irq, queue->vq);
	return IRQ_HANDLED;
}

irqreturn_t vi_all_queues_interrupt(int irq, void *data)
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

static enum vi_vectors vi_choose_vectors(const struct vi_vdev *vv,
					 unsigned int queues)
{
	if (vv->vi->ivd->vectors > queues)
		return VI_VECTOR_EACH;
	return vi_has_queue_vectors(vv->vi) ? VI_VECTOR_SHARED : VI_VECTOR_CONFIG;
}

static u16 vi_vector(enum vi_vectors vectors, unsigned int index)
{
	switch (vectors) {
	case VI_VECTOR_EACH:
		return index + 1;
	case VI_VECTOR_SHARED:
		return 1;
	default:
		return VIRTIO_IVSHMEM_VECTOR_CONFIG;
	}
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

/* Descriptors of the longest request of a block device, without a table */
static unsigned int vi_blk_descriptors(const struct vi_vdev *vv)
{
	bool many = vv->features & BIT_ULL(VIRTIO_BLK_F_SEG_MAX);

	return (many ? vv->max_segments : 1) + VI_BLK_EXTRA_SEGMENTS;
}

/*
 * A table of descriptors is one more thing to allocate, to copy and to free for
 * each request; block devices do without where the ring has room for all of
 * a request.
 */
bool vi_can_be_direct(struct vi_vdev *vv)
{
	u16 size, device_vector;

	lockdep_assert_held(&vv->transaction);
	return vv->vdev.id.device == VIRTIO_ID_BLOCK &&
	       !vi_select_queue(vv, 0, &size, &device_vector) &&
	       min_t(u32, size, vi_queue_limit(vv, VI_BLK_MAX_QUEUES)) >=
	       vi_blk_descriptors(vv);
}

/* virtio_ring warns of a request that cannot fit into the ring at all */
static bool vi_fits(const struct vi_vdev *vv, unsigned int size)
{
	return vv->vdev.id.device != VIRTIO_ID_BLOCK ||
	       vv->features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) ||
	       size >= vi_blk_descriptors(vv);
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
	vi_split_exit(&queue->split);
	kfree(queue);
}

static struct virtqueue *vi_create_ring(struct vi_vdev *vv,
					struct vi_queue *queue,
					unsigned int index, unsigned int num,
					const struct virtqueue_info *info)
{
	/* output of a console, of any port, and of its control messages */
	bool posts = vv->vdev.id.device == VIRTIO_ID_CONSOLE && index % 2;
	struct virtqueue *vq;

	queue->is_polled = !info->callback;
	vv->creating = true;
	vq = vring_create_virtqueue(index, num, SMP_CACHE_BYTES, &vv->vdev, true,
				    true, info->ctx, vi_notify, info->callback,
				    info->name);
	vv->creating = false;
	if (!vq)
		return NULL;
	if (vi_split_init(&queue->split, vq,
			  (u8 *)vv->header + virtqueue_get_desc_addr(vq),
			  SMP_CACHE_BYTES,
			  vv->features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX),
			  posts ? vv->pool : NULL)) {
		vring_del_virtqueue(vq);
		return NULL;
	}
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
	limit = min_t(u32, size, limit);
	if (!vi_fits(vv, limit)) {
		err = vi_fail(vv, -EINVAL, "queue is too small for a request");
		goto err_free_queue;
	}
	err = -ENOMEM;
	queue->vq = vi_create_ring(vv, queue, index, limit, info);
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
		vi_end_queue(queue);

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

void vi_del_vqs(struct virtio_device *vdev)
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
			  unsigned int limit, enum vi_vectors vectors)
{
	struct vi_queue *queue;
	unsigned int i, n = 0;
	int err;

	for (i = 0; i < nvqs; i++) {
		vqs[i] = NULL;
		if (!info[i].name)
			continue;
		err = vi_add_queue(vv, n, &info[i], limit,
				   vi_vector(vectors, n), &queue);
		if (!err && vectors == VI_VECTOR_EACH)
			err = vi_request_vector(vv, queue);
		if (err)
			return err;
		vqs[i] = queue->vq;
		n++;
	}
	return 0;
}

int vi_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
		struct virtqueue *vqs[], struct virtqueue_info info[],
		struct irq_affinity *desc)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);
	unsigned int i, queues = 0;
	enum vi_vectors vectors;
	int err = 0;

	for (i = 0; i < nvqs; i++)
		queues += !!info[i].name;
	if (!queues)
		return -EINVAL;

	vectors = vi_choose_vectors(vv, queues);
	if (vectors == VI_VECTOR_SHARED)
		err = vi_request_shared_vector(vv);
	if (!err) {
		mutex_lock(&vv->transaction);
		err = vi_find_queues(vv, nvqs, vqs, info,
				     vi_queue_limit(vv, queues), vectors);
		mutex_unlock(&vv->transaction);
	}
	if (err)
		vi_del_vqs(vdev);
	return err;
}

/*
 * The driver of a console breaks all queues before it leaves, so that nobody
 * spins. But a processor that is about to take back what it sent finds the queue
 * broken then, and leaves in there what it frees; and the driver frees it again.
 * Nobody spins on a queue that posts: it is not listed while it could be broken.
 * The driver resets the device after that, before it looks for buffers.
 */
void vi_hide_posting(struct vi_vdev *vv)
{
	struct virtqueue *vq, *next;
	struct vi_queue *queue;

	spin_lock(&vv->vdev.vqs_list_lock);
	list_for_each_entry_safe(vq, next, &vv->vdev.vqs, list) {
		queue = vq->priv;
		if (queue && queue->split.posts)
			list_move_tail(&vq->list, &vv->hidden);
	}
	spin_unlock(&vv->vdev.vqs_list_lock);
}

void vi_show_posting(struct vi_vdev *vv)
{
	spin_lock(&vv->vdev.vqs_list_lock);
	list_splice_tail_init(&vv->hidden, &vv->vdev.vqs);
	spin_unlock(&vv->vdev.vqs_list_lock);
}

void vi_synchronize_cbs(struct virtio_device *vdev)
{
	struct ivshmem_device *ivd = to_vi_vdev(vdev)->vi->ivd;
	unsigned int i;

	for (i = 0; i < ivd->vectors; i++)
		synchronize_irq(pci_irq_vector(ivd->pdev, i));
}

int vi_set_vq_affinity(struct virtqueue *vq, const struct cpumask *mask)
{
	struct vi_queue *queue = vq->priv;
	struct pci_dev *pdev = to_vi_vdev(vq->vdev)->vi->ivd->pdev;

	if (!vq->callback || !queue->name[0])
		return -EINVAL;
	return irq_set_affinity_and_hint(pci_irq_vector(pdev, queue->vector), mask);
}

const struct cpumask *vi_get_vq_affinity(struct virtio_device *vdev, int index)
{
	struct ivshmem_device *ivd = to_vi_vdev(vdev)->vi->ivd;

	if (index + 1 >= ivd->vectors)
		return NULL;
	return pci_irq_get_affinity(ivd->pdev, index + 1);
}
