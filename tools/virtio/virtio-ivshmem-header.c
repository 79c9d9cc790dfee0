// SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause
/*
 * The header at the start of the section: what the back end shows there, the
 * transactions by which the front end writes, and the resets among them.
 *
 * Implements Documentation/ivshmem/virtio.rst, "Header" and "Transactions".
 */
#include <stddef.h>
#include <syslog.h>
#include <time.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "virtio-ivshmem-device.h"

#define VIB_CONFIG_OFFSET	VIRTIO_IVSHMEM_CONFIG_OFFSET

/*
 * Transactions come in rows: after one, the next is waited for so long before
 * the process sleeps. The front end waits actively, so this is what both save.
 */
#define VIB_POLL_NS		50000
/* Then others get their turn, in case the front end never ends */
#define VIB_MAX_TRANSACTIONS	256

#define VIB_OFFSET(field)	offsetof(struct virtio_ivshmem_header, field)

/* ---- what it shows ---- */

static void vib_show_features(struct vib_device *dev)
{
	uint32_t half = dev->device_features_sel;

	vib_store32(&dev->header->device_features,
		    half < 2 ? dev->offered >> (32 * half) : 0);
}

/* The fields of the selected queue; all 0 if there is none of that index */
static void vib_show_queue(struct vib_device *dev)
{
	struct virtio_ivshmem_header *h = dev->header;
	struct vib_registers none = { 0 }, *regs = &none;

	if (dev->queue_sel < dev->ops.queues)
		regs = &dev->queues[dev->queue_sel].regs;
	vib_store16(&h->queue_size, regs->size);
	vib_store16(&h->queue_device_vector, regs->device_vector);
	vib_store16(&h->queue_driver_vector, regs->driver_vector);
	vib_store16(&h->queue_enable, regs->enable);
	vib_store64(&h->queue_desc, regs->desc);
	vib_store64(&h->queue_driver, regs->driver);
	vib_store64(&h->queue_device, regs->device);
}

static void vib_show_config(struct vib_device *dev)
{
	memcpy((char *)dev->header + VIB_CONFIG_OFFSET, dev->config,
	       dev->ops.config_bytes);
}

/* Each queue its own vector, else one for all of them, else that of the rest */
static uint16_t vib_device_vector(const struct vib_device *dev,
				  unsigned int index)
{
	if (dev->peer->vectors > dev->ops.queues)
		return index + 1;
	return dev->peer->vectors > 1;
}

static void vib_reset_registers(struct vib_device *dev)
{
	struct vib_registers *regs;
	unsigned int i;

	for (i = 0; i < dev->ops.queues; i++) {
		vib_queue_disable(&dev->queues[i]);
		regs = &dev->queues[i].regs;
		memset(regs, 0, sizeof(*regs));
		regs->size = dev->options.queue_size;
		regs->device_vector = vib_device_vector(dev, i);
	}
	dev->features = 0;
	dev->features_agreed = false;
	dev->status = 0;
}

static void vib_get_config(struct vib_device *dev)
{
	memset(dev->config, 0, sizeof(dev->config));
	dev->ops.get_config(dev->opaque, dev->config);
}

void vib_fill_header(struct vib_device *dev)
{
	struct virtio_ivshmem_header *h = dev->header;

	vib_reset_registers(dev);
	dev->device_features_sel = 0;
	dev->driver_features_sel = 0;
	dev->queue_sel = 0;
	dev->generation = 0;
	vib_get_config(dev);

	memset(h, 0, dev->memory.reserved);
	vib_store32(&h->revision, VIRTIO_IVSHMEM_REVISION);
	vib_store32(&h->size, dev->memory.reserved);
	vib_show_features(dev);
	vib_show_queue(dev);
	vib_show_config(dev);
}

/* What a front end reads before its first transaction, which shows the rest */
bool vib_header_intact(const struct vib_device *dev)
{
	const struct virtio_ivshmem_header *h = dev->header;

	return vib_load32(&h->revision) == VIRTIO_IVSHMEM_REVISION &&
	       vib_load32(&h->size) == dev->memory.reserved &&
	       vib_load32(&h->write_transaction) == 0 &&
	       vib_load32(&h->config_generation) == dev->generation &&
	       !memcmp((const char *)h + VIB_CONFIG_OFFSET, dev->config,
		       dev->ops.config_bytes);
}

void vib_config_changed(struct vib_device *dev)
{
	struct virtio_ivshmem_header *h = dev->header;

	if (dev->phase != VIB_WAIT_READY && dev->phase != VIB_SERVE)
		return;	/* the header is to be filled anyhow */
	vib_get_config(dev);
	vib_store32(&h->config_generation, dev->generation + 1);
	/* Odd before what changes; the front end reads the reverse */
	vib_full_fence();
	vib_show_config(dev);
	dev->generation += 2;
	vib_store32(&h->config_generation, dev->generation);

	__atomic_store_n(&h->config_event, VIRTIO_IVSHMEM_EVENT,
			 __ATOMIC_RELEASE);
	ivshmem_doorbell(dev->peer, dev->front, VIRTIO_IVSHMEM_VECTOR_CONFIG);
}

static void vib_answer(struct vib_device *dev)
{
	dev->unanswered = false;
	vib_store32(&dev->header->write_transaction, 0);
}

/* ---- resets ---- */

void vib_begin_reset(struct vib_device *dev)
{
	if (dev->resetting)
		return;
	dev->resetting = true;
	if (dev->ops.reset)
		dev->ops.reset(dev->opaque);
}

/*
 * The front end uses the memory again as soon as it has its answer, so nothing
 * may be in flight any more.
 */
void vib_finish_resets(struct vib_device *dev)
{
	if (dev->resetting && !vib_in_flight(dev)) {
		dev->resetting = false;
		dev->disabling = NULL;
		vib_reset_registers(dev);
		vib_show_queue(dev);
	}
	if (dev->disabling && !dev->disabling->in_flight) {
		vib_queue_disable(dev->disabling);
		dev->disabling = NULL;
	}
	if (dev->unanswered && !dev->resetting && !dev->disabling)
		vib_answer(dev);
}

/* ---- transactions: the front end wrote a field ---- */

static void vib_write_features(struct vib_device *dev)
{
	uint64_t half = vib_load32(&dev->header->driver_features);
	uint32_t shift = 32 * dev->driver_features_sel;

	if (dev->driver_features_sel > 1 || dev->features_agreed) {
		vib_complain("features written at the wrong moment or place");
		return;
	}
	dev->features &= ~(0xffffffffULL << shift);
	dev->features |= half << shift;
}

static void vib_agree(struct vib_device *dev)
{
	uint64_t excess = dev->features & ~dev->offered;

	if (excess)
		vib_complain("driver takes features that were not offered: %#llx",
			     (unsigned long long)excess);
	else if (!vib_has_feature(dev, VIRTIO_F_VERSION_1))
		vib_complain("driver does not take VIRTIO_F_VERSION_1");
	else
		dev->features_agreed = true;
	/* Not agreed upon is what the missing bit says to who looks */
	if (!dev->features_agreed)
		vib_store32(&dev->header->device_status,
			    dev->status & ~VIRTIO_CONFIG_S_FEATURES_OK);
}

static void vib_start(struct vib_device *dev)
{
	unsigned int i;

	if (!dev->features_agreed) {
		vib_complain("driver starts without having agreed on features");
		return;
	}
	vib_log(LOG_DEBUG, "driver is ready, features %#llx",
		(unsigned long long)dev->features);
	if (dev->ops.started)
		dev->ops.started(dev->opaque, dev->features);
	for (i = 0; i < dev->ops.queues; i++)
		vib_kick(&dev->queues[i]);
}

static void vib_write_status(struct vib_device *dev)
{
	uint32_t status = vib_load32(&dev->header->device_status);
	uint32_t added = status & ~dev->status;

	dev->status = status;
	if (!status) {
		vib_begin_reset(dev);
		return;
	}
	if (added & VIRTIO_CONFIG_S_FEATURES_OK)
		vib_agree(dev);
	if (added & VIRTIO_CONFIG_S_DRIVER_OK)
		vib_start(dev);
}

static void vib_write_enable(struct vib_device *dev, struct vib_queue *queue)
{
	uint16_t enable = vib_load16(&dev->header->queue_enable);

	queue->regs.enable = enable == 1;
	if (enable == 1) {
		vib_queue_enable(queue, dev->options.queue_size,
				 vib_has_feature(dev, VIRTIO_F_RING_PACKED),
				 vib_has_feature(dev, VIRTIO_RING_F_EVENT_IDX),
				 vib_has_feature(dev,
						 VIRTIO_RING_F_INDIRECT_DESC));
	} else if (!enable) {
		dev->disabling = queue;
	} else {
		vib_break(queue, "queue_enable is neither 0 nor 1");
	}
}

/* Whoever writes 64 bits in two halves is served as well */
static void vib_write_queue(struct vib_device *dev, uint32_t offset)
{
	struct virtio_ivshmem_header *h = dev->header;
	struct vib_queue *queue;

	if (dev->queue_sel >= dev->ops.queues) {
		vib_complain("queue %u is written and does not exist",
			     dev->queue_sel);
		return;
	}
	queue = &dev->queues[dev->queue_sel];
	switch (offset >= VIB_OFFSET(queue_desc) ? offset & ~7U : offset) {
	case VIB_OFFSET(queue_size):
		queue->regs.size = vib_load16(&h->queue_size);
		break;
	case VIB_OFFSET(queue_driver_vector):
		queue->regs.driver_vector = vib_load16(&h->queue_driver_vector);
		break;
	case VIB_OFFSET(queue_enable):
		vib_write_enable(dev, queue);
		break;
	case VIB_OFFSET(queue_desc):
		queue->regs.desc = vib_load64(&h->queue_desc);
		break;
	case VIB_OFFSET(queue_driver):
		queue->regs.driver = vib_load64(&h->queue_driver);
		break;
	case VIB_OFFSET(queue_device):
		queue->regs.device = vib_load64(&h->queue_device);
		break;
	default:
		vib_complain("write to offset %#x of the header", offset);
	}
}

/* What the device does not take is as before when the front end looks again */
static void vib_write_config(struct vib_device *dev, size_t offset)
{
	char config[VIB_MAX_CONFIG_BYTES];
	size_t size = dev->ops.config_bytes;

	if (offset >= size || !dev->ops.set_config) {
		vib_complain("write to config space at %zu", offset);
		return;
	}
	memcpy(config, (char *)dev->header + VIB_CONFIG_OFFSET, size);
	__asm__ volatile("" : "+m"(config));
	dev->ops.set_config(dev->opaque, offset, config + offset,
			    size - offset);
	vib_get_config(dev);
	vib_show_config(dev);
}

static void vib_transact(struct vib_device *dev, uint32_t offset)
{
	struct virtio_ivshmem_header *h = dev->header;

	switch (offset) {
	case VIB_OFFSET(device_features_sel):
		dev->device_features_sel = vib_load32(&h->device_features_sel);
		vib_show_features(dev);
		break;
	case VIB_OFFSET(driver_features):
		vib_write_features(dev);
		break;
	case VIB_OFFSET(driver_features_sel):
		dev->driver_features_sel = vib_load32(&h->driver_features_sel);
		break;
	case VIB_OFFSET(queue_sel):
		dev->queue_sel = vib_load32(&h->queue_sel);
		vib_show_queue(dev);
		break;
	/* cppcheck-suppress ignoredReturnValue; it does not know ranges */
	case VIB_OFFSET(queue_size) ... VIB_OFFSET(config_event) - 1:
		vib_write_queue(dev, offset);
		break;
	case VIB_OFFSET(config_event):
	case VIB_OFFSET(queue_event):
		break;	/* cleared without us */
	case VIB_OFFSET(device_status):
		vib_write_status(dev);
		break;
	default:
		if (offset >= VIB_CONFIG_OFFSET)
			vib_write_config(dev, offset - VIB_CONFIG_OFFSET);
		else
			vib_complain("write to offset %#x of the header",
				     offset);
	}
}

static uint64_t vib_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* True if there was one, and it is answered */
static bool vib_transaction(struct vib_device *dev)
{
	/* Acquire: the field is read after the offset that names it */
	uint32_t offset = vib_load32(&dev->header->write_transaction);

	if (!offset || dev->unanswered)
		return false;
	dev->unanswered = true;
	vib_transact(dev, offset);
	vib_finish_resets(dev);
	return !dev->unanswered;
}

void vib_transactions(struct vib_device *dev)
{
	unsigned int n = 0;
	uint64_t end;

	dev->transactions = false;
	if (!vib_transaction(dev))
		return;
	end = vib_now_ns() + VIB_POLL_NS;
	while (vib_now_ns() < end) {
		if (!vib_transaction(dev))
			continue;
		if (++n == VIB_MAX_TRANSACTIONS) {
			dev->transactions = true;
			return;
		}
		end = vib_now_ns() + VIB_POLL_NS;
	}
}
