// SPDX-License-Identifier: GPL-2.0
/*
 * The other side of the transport, see backend.h. Implements the back end's
 * part of Documentation/ivshmem/virtio.rst, for split rings.
 *
 * What the driver writes is trusted: it is what is under test, and KASAN looks.
 */
#include <linux/virtio_config.h>

#include "backend.h"

static struct virtio_ivshmem_header *backend_header(struct backend *b)
{
	return fake_rw(b->fake);
}

static void *backend_at(struct backend *b, __virtio64 offset)
{
	return fake_rw(b->fake) + le64_to_cpu((__force __le64)offset);
}

static u16 backend_get16(__virtio16 value)
{
	return le16_to_cpu((__force __le16)value);
}

static u32 backend_get32(__virtio32 value)
{
	return le32_to_cpu((__force __le32)value);
}

static __virtio16 backend_put16(u16 value)
{
	return (__force __virtio16)cpu_to_le16(value);
}

static __virtio32 backend_put32(u32 value)
{
	return (__force __virtio32)cpu_to_le32(value);
}

static void backend_work(struct work_struct *work)
{
	struct backend *b = container_of(work, struct backend, work);
	unsigned int vector;

	for (vector = 0; vector < FAKE_MAX_VECTORS; vector++)
		if (test_and_clear_bit(vector, &b->pending))
			fake_interrupt(b->fake, vector);
}

/* Transactions */

static void backend_select_queue(struct backend *b)
{
	u32 queue = le32_to_cpu(b->header->queue_sel);

	b->header->queue_size = cpu_to_le16(queue < b->queues ? b->queue_size : 0);
	b->header->queue_device_vector = cpu_to_le16(queue + 1);
}

static void backend_enable_queue(struct backend *b)
{
	struct backend_queue *q = &b->queue[le32_to_cpu(b->header->queue_sel)];
	const struct virtio_ivshmem_header *h = b->header;

	q->ring.num = le16_to_cpu(h->queue_size);
	q->ring.desc = backend_at(b, (__force __virtio64)h->queue_desc);
	q->ring.avail = backend_at(b, (__force __virtio64)h->queue_driver);
	q->ring.used = backend_at(b, (__force __virtio64)h->queue_device);
	q->vector = le16_to_cpu(h->queue_driver_vector);
	q->taken = 0;
	q->enabled = true;
}

static void backend_select_features(struct backend *b)
{
	u32 half = le32_to_cpu(b->header->device_features_sel);

	b->header->device_features = cpu_to_le32(b->features >> (32 * half));
}

static void backend_take_features(struct backend *b)
{
	u32 half = le32_to_cpu(b->header->driver_features_sel);

	b->driver_features &= ~((u64)U32_MAX << (32 * half));
	b->driver_features |= (u64)le32_to_cpu(b->header->driver_features) << (32 * half);
}

static void backend_take_status(struct backend *b)
{
	b->status = le32_to_cpu(b->header->device_status);
	if (!b->status)
		memset(b->queue, 0, sizeof(b->queue));
}

static void backend_transact(struct backend *b)
{
	u32 field = le32_to_cpu(READ_ONCE(b->header->write_transaction));

	if (field && field == b->mute_at)
		b->mute_at = U32_MAX;
	if (!field || b->mute_at == U32_MAX)
		return;
	if (field == b->leave_at) {
		backend_leave(b);
		return;
	}
	switch (field) {
	case BACKEND_FIELD(device_features_sel):
		backend_select_features(b);
		break;
	case BACKEND_FIELD(driver_features):
		backend_take_features(b);
		break;
	case BACKEND_FIELD(queue_sel):
		backend_select_queue(b);
		break;
	case BACKEND_FIELD(queue_enable):
		backend_enable_queue(b);
		break;
	case BACKEND_FIELD(device_status):
		backend_take_status(b);
		break;
	}
	WRITE_ONCE(b->header->write_transaction, 0);
}

/* Queues */

static void backend_add_segment(struct backend *b, const struct vring_desc *desc,
				struct backend_segment *segment)
{
	segment->data = backend_at(b, desc->addr);
	segment->len = backend_get32(desc->len);
	segment->is_input = backend_get16(desc->flags) & VRING_DESC_F_WRITE;
}

static unsigned int backend_walk(struct backend *b, const struct vring_desc *table,
				 u16 head, struct backend_segment *segments)
{
	const struct vring_desc *desc = &table[head];
	unsigned int n = 0;

	if (backend_get16(desc->flags) & VRING_DESC_F_INDIRECT) {
		table = backend_at(b, desc->addr);
		desc = table;
	}
	for (;;) {
		backend_add_segment(b, desc, &segments[n++]);
		if (!(backend_get16(desc->flags) & VRING_DESC_F_NEXT) ||
		    n == BACKEND_MAX_SEGMENTS)
			return n;
		desc = &table[backend_get16(desc->next)];
	}
}

/* Where the next used buffer is written */
struct vring_used_elem *backend_next_used(struct backend *b, unsigned int queue)
{
	struct vring *ring = &b->queue[queue].ring;

	return &ring->used->ring[backend_get16(ring->used->idx) % ring->num];
}

/* Gives a buffer back and interrupts, later */
void backend_use(struct backend *b, unsigned int queue, u32 head, u32 len)
{
	struct vring *ring = &b->queue[queue].ring;
	struct vring_used_elem *elem = backend_next_used(b, queue);

	elem->id = backend_put32(head);
	elem->len = backend_put32(len);
	/* the element before the index */
	virt_store_release(&ring->used->idx,
			   backend_put16(backend_get16(ring->used->idx) + 1));
	set_bit(b->queue[queue].vector, &b->pending);
	schedule_work(&b->work);
}

static void backend_serve_next(struct backend *b, unsigned int queue)
{
	struct backend_segment segments[BACKEND_MAX_SEGMENTS];
	struct backend_queue *q = &b->queue[queue];
	u16 head = backend_get16(q->ring.avail->ring[q->taken++ % q->ring.num]);
	int len = b->serve(b, queue, segments,
			   backend_walk(b, q->ring.desc, head, segments));

	if (len >= 0)
		backend_use(b, queue, head, len);
}

/* Serves what there is in a queue; a doorbell for it does the same */
void backend_poke_queue(struct backend *b, unsigned int queue)
{
	struct backend_queue *q = &b->queue[queue];

	while (q->enabled && q->taken != backend_get16(READ_ONCE(q->ring.avail->idx)))
		backend_serve_next(b, queue);
}

/* For struct fake_spec; its priv is the back end */
void backend_doorbell(struct fake *fake, u16 peer, u16 vector)
{
	struct backend *b = fake->spec.priv;

	if (!b || peer != BACKEND_PEER)
		return;
	if (vector == VIRTIO_IVSHMEM_VECTOR_CONFIG)
		backend_transact(b);
	else if (vector <= b->queues)
		backend_poke_queue(b, vector - 1);
}

/* Life */

/**
 * backend_init() - a back end that has not started
 * @b: what is set of it stays
 * @fake: the device
 */
void backend_init(struct backend *b, struct fake *fake)
{
	b->fake = fake;
	b->header = backend_header(b);
	fake->spec.priv = b;
	INIT_WORK(&b->work, backend_work);
}

/**
 * backend_start() - fill the header and be READY
 * @b: the back end
 */
void backend_start(struct backend *b)
{
	memset(b->queue, 0, sizeof(b->queue));
	b->leave_at = 0;
	b->mute_at = 0;
	b->header->write_transaction = 0;
	b->header->revision = cpu_to_le32(VIRTIO_IVSHMEM_REVISION);
	b->header->size = cpu_to_le32(VIRTIO_IVSHMEM_CONFIG_OFFSET + b->config_bytes);
	fake_set_state(b->fake, BACKEND_PEER, VIRTIO_IVSHMEM_STATE_READY);
}

/**
 * backend_leave() - be gone, from one moment to the next
 * @b: the back end
 */
void backend_leave(struct backend *b)
{
	memset(b->queue, 0, sizeof(b->queue));
	b->leave_at = 0;
	b->mute_at = U32_MAX;
	fake_set_state(b->fake, BACKEND_PEER, VIRTIO_IVSHMEM_STATE_RESET);
}

static int backend_find_vdev(struct device *dev, void *data)
{
	struct virtio_device *vdev, **found = data;

	if (!dev->bus || strcmp(dev->bus->name, "virtio"))
		return device_for_each_child(dev, data, backend_find_vdev);
	vdev = dev_to_virtio(dev);
	if (vdev->config->get_status(vdev) & VIRTIO_CONFIG_S_DRIVER_OK)
		*found = vdev;
	return 1;
}

/**
 * backend_vdev() - the virtio device that the transport has registered
 * @b: the back end
 *
 * Return: the device if its driver drives it, else NULL.
 */
struct virtio_device *backend_vdev(struct backend *b)
{
	struct virtio_device *vdev = NULL;

	device_for_each_child(&b->fake->pdev->dev, &vdev, backend_find_vdev);
	return vdev;
}
