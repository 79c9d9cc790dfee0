// SPDX-License-Identifier: GPL-2.0
/*
 * The end of a back end: break the queues, and give back what virtio drivers
 * would wait for or free twice. The life of the virtio device (main) waits for
 * the drivers meanwhile.
 */
#include <linux/blk-mq.h>
#include <linux/rculist.h>

#include "virtio_ivshmem.h"

/*
 * Any context; the device is dead. hvc and the control messages of a console
 * free what they sent as soon as the queue is broken and leave it in there,
 * while what other ports sent is freed when it is found in there. So what is
 * not posted is used up, by nobody, and is found and freed once in any case.
 */
void vi_end_queue(struct vi_queue *queue)
{
	if (queue->split.posts)
		vi_split_swallow(&queue->split);
	else
		__virtqueue_break(queue->vq);
}

/*
 * Any context. From here on no queue takes a buffer; the drivers that spin on
 * one see it broken, or what they sent used.
 */
void vi_declare_dead(struct vi_vdev *vv)
{
	struct vi_queue *queue;

	WRITE_ONCE(vv->dead, true);
	smp_mb(); /* dead before the rings are looked at; vi_notify() reverse */
	vi_pool_fail(vv->pool);
	rcu_read_lock();
	list_for_each_entry_rcu(queue, &vv->queues, list)
		vi_end_queue(queue);
	rcu_read_unlock();
	mod_delayed_work(vi_workqueue, &vv->vi->death, 0);
	queue_work(vi_workqueue, &vv->vi->life);
}

/*
 * This back end is not served any more. @changes is of the time before what it
 * is refused for was looked at: whoever came after that gets a chance.
 */
void vi_refuse(struct vi_device *vi, int changes, const char *what)
{
	if (__ratelimit(&vi->complaints))
		dev_err(vi_dev(vi), "%s; waiting for another back end\n", what);
	WRITE_ONCE(vi->refused_at, changes);
	WRITE_ONCE(vi->refused, true);
}

/* The back end is there, and talks nonsense or not at all */
int vi_fail(struct vi_vdev *vv, int err, const char *what)
{
	if (!READ_ONCE(vv->dead))
		vi_refuse(vv->vi, atomic_read(&vv->vi->changes), what);
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

void vi_death_work(struct work_struct *work)
{
	struct vi_device *vi = container_of(to_delayed_work(work),
					    struct vi_device, death);
	struct vi_queue *queue;
	struct vi_vdev *vv;

	mutex_lock(&vi->lock);
	vv = vi->vv;
	if (vv && !READ_ONCE(vv->dead))	/* a removal that took too long */
		vi_fail(vv, 0, "back end holds up the removal");
	if (vv && vv->vdev.id.device == VIRTIO_ID_BLOCK) {
		/* who was in a queue when it broke held a spinlock */
		synchronize_rcu();
		list_for_each_entry(queue, &vv->queues, list)
			vi_fail_requests(queue);
	}
	mutex_unlock(&vi->lock);
}
