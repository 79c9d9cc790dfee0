// SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause
/*
 * The back end of a virtio device over ivshmem: the life of the link, the
 * header with its transactions, and the loop. The rings are in
 * virtio-ivshmem-queue.c, -split.c and -packed.c.
 *
 * Implements Documentation/ivshmem/virtio.rst as the back end.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <ivshmem/ivshmem.h>
#include <linux/ivshmem.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ivshmem.h>
#include <linux/virtio_ring.h>

#include "virtio-ivshmem-queue.h"

#define VIB_CONNECT_MS		5000
#define VIB_MAX_WATCHES		16
#define VIB_MAX_EVENTS		16
#define VIB_CONFIG_OFFSET	VIRTIO_IVSHMEM_CONFIG_OFFSET

/*
 * Transactions come in rows: after one, the next is waited for so long before
 * the process sleeps. The front end waits actively, so this is what both save.
 */
#define VIB_POLL_NS		50000
/* Then others get their turn, in case the front end never ends */
#define VIB_MAX_TRANSACTIONS	256

#define VIB_OFFSET(field)	offsetof(struct virtio_ivshmem_header, field)
#define VIB_FEATURE(bit)	(1ULL << (bit))

/**
 * enum vib_phase - where the link is in its life
 * @VIB_WAIT_RESET: State is 0; the front end has to be at 0 as well
 * @VIB_WAIT_READY: the header is filled and State is 1; the front end's turn
 * @VIB_SERVE: both are at 1
 * @VIB_LEAVE: the front end left 1; what is in flight has to come back
 */
enum vib_phase { VIB_WAIT_RESET, VIB_WAIT_READY, VIB_SERVE, VIB_LEAVE };

/**
 * struct vib_watch - a descriptor of the device
 * @fd: -1 = free
 * @events: see vib_watch()
 * @ready: likewise
 */
struct vib_watch {
	int fd;
	uint32_t events;
	void (*ready)(void *opaque, uint32_t events);
};

/**
 * struct vib_device - the device and its link
 * @ops: what it is
 * @options: what the user chose
 * @opaque: for @ops
 * @peer: our end of the link
 * @front: id of the other end
 * @memory: the R/W section
 * @header: at its start; the front end writes it at any moment
 * @phase: of the link
 * @offered: features
 * @features: what the front end took of them
 * @features_agreed: it said so, and they are acceptable
 * @device_features_sel: half that is shown
 * @driver_features_sel: half that is written
 * @queue_sel: queue that is shown
 * @status: device_status as last written
 * @resetting: a reset waits for what is in flight
 * @disabling: so does the end of this queue, NULL = none
 * @unanswered: and the front end's transaction for either
 * @transactions: more of them may come at once; look before sleeping
 * @stopping: vib_stop() was called
 * @abandon: and what is in flight is not waited for
 * @error: what vib_run() returns in the end
 * @config: the config space as it is
 * @generation: of it, even
 * @epoll: of the loop
 * @signals: SIGTERM and SIGINT
 * @watches: of the device
 * @queues: ops.queues of them
 */
struct vib_device {
	struct vib_ops ops;
	struct vib_options options;
	void *opaque;
	struct ivshmem_peer *peer;
	uint32_t front;
	struct vib_memory memory;
	struct virtio_ivshmem_header *header;
	enum vib_phase phase;
	uint64_t offered;
	uint64_t features;
	bool features_agreed;
	uint32_t device_features_sel;
	uint32_t driver_features_sel;
	uint32_t queue_sel;
	uint32_t status;
	bool resetting;
	struct vib_queue *disabling;
	bool unanswered;
	bool transactions;
	bool stopping;
	bool abandon;
	int error;
	char config[VIB_MAX_CONFIG_BYTES];
	uint32_t generation;
	int epoll;
	int signals;
	struct vib_watch watches[VIB_MAX_WATCHES];
	struct vib_queue queues[];
};

static char vib_error_text[512];

const char *vib_error(void)
{
	return vib_error_text;
}

__attribute__((format(printf, 2, 3)))
static int vib_fail(int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(vib_error_text, sizeof(vib_error_text), fmt, args);
	va_end(args);
	return -err;
}

/* ---- what the device may ask ---- */

struct vib_queue *vib_queue(struct vib_device *dev, unsigned int index)
{
	return &dev->queues[index];
}

unsigned int vib_queue_index(const struct vib_queue *queue)
{
	return queue->index;
}

bool vib_has_feature(const struct vib_device *dev, unsigned int bit)
{
	return dev->features & VIB_FEATURE(bit);
}

bool vib_running(const struct vib_device *dev)
{
	return dev->phase == VIB_SERVE && dev->features_agreed &&
	       dev->status & VIRTIO_CONFIG_S_DRIVER_OK && !dev->resetting;
}

bool vib_device_takes(const struct vib_device *dev)
{
	return vib_running(dev) && !dev->stopping;
}

bool vib_pinnable(const struct vib_device *dev)
{
	return !dev->peer->registers;
}

size_t vib_section_bytes(const struct vib_device *dev)
{
	return dev->memory.size;
}

static unsigned int vib_in_flight(const struct vib_device *dev)
{
	unsigned int i, n = 0;

	for (i = 0; i < dev->ops.queues; i++)
		n += dev->queues[i].in_flight;
	return n;
}

/* ---- the header ---- */

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

static void vib_fill_header(struct vib_device *dev)
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

static void vib_begin_reset(struct vib_device *dev)
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
static void vib_finish_resets(struct vib_device *dev)
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

static void vib_transactions(struct vib_device *dev)
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

/* ---- the life of the link ---- */

static void vib_set_phase(struct vib_device *dev, enum vib_phase phase)
{
	static const char *const said[] = {
		[VIB_WAIT_RESET] = "waiting for the front end to reset",
		[VIB_WAIT_READY] = "ready, waiting for the front end",
		[VIB_SERVE] = "front end is ready",
		[VIB_LEAVE] = "front end has left",
	};

	vib_log(LOG_DEBUG, "%s", said[phase]);
	dev->phase = phase;
}

static void vib_front_left(struct vib_device *dev)
{
	if (dev->phase != VIB_SERVE)
		return;
	vib_begin_reset(dev);
	vib_set_phase(dev, VIB_LEAVE);
}

/*
 * A front end that is back already may take our State of before for that of
 * now, and the header that is to be cleared for its own. So look at it again
 * once it can see that we have left, and wait until it has left as well.
 */
static void vib_leave(struct vib_device *dev)
{
	ivshmem_set_state(dev->peer, VIRTIO_IVSHMEM_STATE_RESET);
	vib_set_phase(dev, VIB_WAIT_RESET);
	/* Our State before the front end's; it does the reverse */
	vib_full_fence();
}

static void vib_live(struct vib_device *dev)
{
	uint32_t state = ivshmem_get_state(dev->peer, dev->front);

	if (state != VIRTIO_IVSHMEM_STATE_READY)
		vib_front_left(dev);
	vib_finish_resets(dev);
	if (dev->phase == VIB_LEAVE && !dev->resetting) {
		vib_leave(dev);
		state = ivshmem_get_state(dev->peer, dev->front);
	}
	if (dev->phase == VIB_WAIT_RESET && !dev->stopping &&
	    state == VIRTIO_IVSHMEM_STATE_RESET) {
		vib_fill_header(dev);
		ivshmem_set_state(dev->peer, VIRTIO_IVSHMEM_STATE_READY);
		vib_set_phase(dev, VIB_WAIT_READY);
	}
	if (dev->phase == VIB_WAIT_READY &&
	    state == VIRTIO_IVSHMEM_STATE_READY) {
		vib_set_phase(dev, VIB_SERVE);
		dev->transactions = true;
	}
}

static void vib_vector(struct vib_device *dev, uint32_t vector)
{
	unsigned int i;

	dev->transactions = vector == VIRTIO_IVSHMEM_VECTOR_CONFIG ||
			    vector == IVSHMEM_VECTOR_ANY || dev->transactions;
	for (i = 0; i < dev->ops.queues; i++)
		if (vector == IVSHMEM_VECTOR_ANY ||
		    dev->queues[i].regs.device_vector == vector)
			vib_kick(&dev->queues[i]);
}

static void vib_event(struct vib_device *dev, const struct ivshmem_event *event)
{
	switch (event->type) {
	case IVSHMEM_EVENT_VECTOR:
		vib_vector(dev, event->vector);
		break;
	case IVSHMEM_EVENT_STATE:
		/* It may be back at 1 by now; it left nevertheless */
		if (event->peer == dev->front &&
		    event->new_state != VIRTIO_IVSHMEM_STATE_READY)
			vib_front_left(dev);
		break;
	case IVSHMEM_EVENT_ARRIVED:
	case IVSHMEM_EVENT_GONE:
		break;	/* the State tells */
	case IVSHMEM_EVENT_SERVER_GONE:
		dev->error = vib_fail(ENODEV, "the server is gone");
		vib_stop(dev);
		break;
	case IVSHMEM_EVENT_DEVICE_GONE:
		dev->error = vib_fail(ENODEV, "the device is gone: %s",
				      strerror(-event->error));
		dev->abandon = true;
		vib_stop(dev);
		break;
	}
}

static void vib_events(struct vib_device *dev)
{
	struct ivshmem_event event;

	while (ivshmem_next_event(dev->peer, &event) > 0)
		vib_event(dev, &event);
}

/* ---- the loop ---- */

void vib_stop(struct vib_device *dev)
{
	if (dev->stopping)
		return;
	dev->stopping = true;
	if (dev->ops.stop)
		dev->ops.stop(dev->opaque);
}

static void vib_signal(struct vib_device *dev)
{
	struct signalfd_siginfo info;

	while (read(dev->signals, &info, sizeof(info)) == sizeof(info)) {
		if (dev->stopping) {
			dev->error = vib_fail(EINTR, "interrupted before everything in flight was done");
			dev->abandon = true;
		}
		vib_stop(dev);
	}
}

static void vib_process_queues(struct vib_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->ops.queues; i++)
		if (vib_queue_due(&dev->queues[i]))
			dev->ops.process(dev->opaque, &dev->queues[i]);
}

static void vib_signal_queues(struct vib_device *dev)
{
	struct vib_queue *queue;
	unsigned int i;

	for (i = 0; i < dev->ops.queues; i++) {
		queue = &dev->queues[i];
		if (!vib_queue_wants_signal(queue))
			continue;
		__atomic_store_n(&dev->header->queue_event,
				 VIRTIO_IVSHMEM_EVENT, __ATOMIC_RELEASE);
		ivshmem_doorbell(dev->peer, dev->front,
				 queue->regs.driver_vector);
	}
}

static bool vib_busy(const struct vib_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->ops.queues; i++)
		if (dev->queues[i].kicked)
			return true;
	return dev->transactions && dev->phase == VIB_SERVE;
}

static struct vib_watch *vib_find_watch(struct vib_device *dev, int fd)
{
	int i;

	for (i = 0; i < VIB_MAX_WATCHES; i++)
		if (dev->watches[i].fd == fd)
			return &dev->watches[i];
	return NULL;
}

static void vib_dispatch(struct vib_device *dev, int fd, uint32_t events)
{
	struct vib_watch *watch;

	if (fd == dev->signals) {
		vib_signal(dev);
	} else if (fd == ivshmem_fd(dev->peer)) {
		vib_events(dev);
	} else {
		/* An earlier one may have ended the watch */
		watch = vib_find_watch(dev, fd);
		if (watch)
			watch->ready(dev->opaque, events);
	}
}

/* Everything that can be done without waiting */
static void vib_round(struct vib_device *dev)
{
	vib_live(dev);
	if (dev->transactions && dev->phase == VIB_SERVE)
		vib_transactions(dev);
	vib_process_queues(dev);
	vib_finish_resets(dev);
	vib_signal_queues(dev);
}

int vib_run(struct vib_device *dev)
{
	struct epoll_event events[VIB_MAX_EVENTS];
	int i, n;

	vib_set_phase(dev, VIB_WAIT_RESET);
	vib_events(dev);
	for (;;) {
		vib_round(dev);
		if (dev->stopping && (dev->abandon || !vib_in_flight(dev)))
			break;
		n = epoll_wait(dev->epoll, events, VIB_MAX_EVENTS,
			       vib_busy(dev) ? 0 : -1);
		if (n < 0 && errno != EINTR)
			return vib_fail(errno, "epoll: %s", strerror(errno));
		for (i = 0; i < n; i++)
			vib_dispatch(dev, events[i].data.fd, events[i].events);
	}
	ivshmem_set_state(dev->peer, VIRTIO_IVSHMEM_STATE_RESET);
	return dev->error;
}

int vib_watch(struct vib_device *dev, int fd, uint32_t events,
	      void (*ready)(void *opaque, uint32_t ready_events))
{
	struct epoll_event event = { .events = events, .data.fd = fd };
	struct vib_watch *watch = vib_find_watch(dev, -1);

	if (!watch)
		return vib_fail(ENOSPC, "too many descriptors to watch");
	if (epoll_ctl(dev->epoll, EPOLL_CTL_ADD, fd, &event))
		return vib_fail(errno, "epoll: %s", strerror(errno));
	watch->fd = fd;
	watch->events = events;
	watch->ready = ready;
	return 0;
}

void vib_rewatch(struct vib_device *dev, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };
	struct vib_watch *watch = fd < 0 ? NULL : vib_find_watch(dev, fd);

	if (!watch || watch->events == events)
		return;
	watch->events = events;
	epoll_ctl(dev->epoll, EPOLL_CTL_MOD, fd, &event);
}

void vib_unwatch(struct vib_device *dev, int fd)
{
	struct vib_watch *watch = fd < 0 ? NULL : vib_find_watch(dev, fd);

	if (!watch)
		return;
	epoll_ctl(dev->epoll, EPOLL_CTL_DEL, fd, NULL);
	watch->fd = -1;
}

/* ---- start and end ---- */

static bool vib_valid(const struct vib_ops *ops,
		      const struct vib_options *options)
{
	unsigned int size = options->queue_size;

	return ops->queues && ops->queues <= VIB_MAX_QUEUES &&
	       ops->config_bytes <= VIB_MAX_CONFIG_BYTES &&
	       ops->get_config && ops->process && size >= 2 &&
	       size <= VIB_MAX_QUEUE_SIZE && !(size & (size - 1));
}

static uint64_t vib_offered(const struct vib_ops *ops,
			    const struct vib_options *options)
{
	uint64_t features = ops->features | VIB_FEATURE(VIRTIO_F_VERSION_1) |
			    VIB_FEATURE(VIRTIO_F_ACCESS_PLATFORM) |
			    VIB_FEATURE(VIRTIO_F_ORDER_PLATFORM);

	if (options->packed)
		features |= VIB_FEATURE(VIRTIO_F_RING_PACKED);
	if (options->event_idx)
		features |= VIB_FEATURE(VIRTIO_RING_F_EVENT_IDX);
	if (options->indirect)
		features |= VIB_FEATURE(VIRTIO_RING_F_INDIRECT_DESC);
	return features;
}

/* A back end that was killed a moment ago may still have our place */
static int vib_connect(struct vib_device *dev, const char *device)
{
	uint64_t end = vib_now_ns() + VIB_CONNECT_MS * 1000000ULL;
	const struct timespec pause = { .tv_nsec = 20000000 };
	int ret;

	for (;;) {
		ret = ivshmem_open(&dev->peer, device, VIB_CONNECT_MS);
		if (ret != -ECONNRESET || vib_now_ns() > end)
			break;
		nanosleep(&pause, NULL);
	}
	if (ret)
		return vib_fail(-ret, "%s: %s", device, ivshmem_error());
	return 0;
}

static int vib_check_link(const struct vib_device *dev, const char *device)
{
	uint32_t protocol = dev->peer->protocol;
	uint32_t back = IVSHMEM_PROTO_VIRTIO_BACK | dev->ops.id;
	uint32_t front = IVSHMEM_PROTO_VIRTIO_FRONT | dev->ops.id;

	if (protocol == front)
		return vib_fail(EADDRINUSE, "%s: the role of the back end is taken, or the front end came first: its role %#x was given to us",
				device, protocol);
	if (protocol != back)
		return vib_fail(EPROTOTYPE, "%s: protocol of the link is %#x, not %#x",
				device, protocol, back);
	if (dev->peer->max_peers != 2)
		return vib_fail(EPROTOTYPE, "%s: virtio is between 2 peers, not %u",
				device, dev->peer->max_peers);
	if (dev->peer->rw_size < dev->memory.reserved)
		return vib_fail(ENOSPC, "%s: R/W section of %zu bytes has no room for the header",
				device, dev->peer->rw_size);
	return 0;
}

static int vib_open_signals(struct vib_device *dev)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	dev->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return dev->signals < 0 ? -errno : 0;
}

static int vib_open_loop(struct vib_device *dev)
{
	struct epoll_event event = { .events = EPOLLIN };

	dev->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (dev->epoll < 0 || vib_open_signals(dev))
		return vib_fail(errno, "epoll: %s", strerror(errno));
	event.data.fd = dev->signals;
	if (epoll_ctl(dev->epoll, EPOLL_CTL_ADD, dev->signals, &event))
		return vib_fail(errno, "epoll: %s", strerror(errno));
	event.data.fd = ivshmem_fd(dev->peer);
	if (epoll_ctl(dev->epoll, EPOLL_CTL_ADD, event.data.fd, &event))
		return vib_fail(errno, "epoll: %s", strerror(errno));
	return 0;
}

static struct vib_device *vib_alloc(const struct vib_ops *ops,
				    const struct vib_options *options,
				    void *opaque)
{
	struct vib_device *dev;
	unsigned int i;

	dev = calloc(1, sizeof(*dev) + ops->queues * sizeof(dev->queues[0]));
	if (!dev)
		return NULL;
	dev->ops = *ops;
	dev->options = *options;
	dev->opaque = opaque;
	dev->offered = vib_offered(ops, options);
	dev->epoll = -1;
	dev->signals = -1;
	for (i = 0; i < VIB_MAX_WATCHES; i++)
		dev->watches[i].fd = -1;
	for (i = 0; i < ops->queues; i++) {
		dev->queues[i].dev = dev;
		dev->queues[i].index = i;
		dev->queues[i].memory = &dev->memory;
	}
	return dev;
}

static int vib_attach(struct vib_device *dev, const char *device)
{
	int ret = vib_connect(dev, device);

	if (ret)
		return ret;
	dev->memory.reserved = VIB_CONFIG_OFFSET + dev->ops.config_bytes;
	ret = vib_check_link(dev, device);
	if (ret)
		return ret;
	dev->front = !dev->peer->id;
	dev->memory.base = dev->peer->rw;
	dev->memory.size = dev->peer->rw_size;
	dev->header = dev->peer->rw;
	ivshmem_set_state(dev->peer, VIRTIO_IVSHMEM_STATE_RESET);
	return vib_open_loop(dev);
}

int vib_open(struct vib_device **dev, const char *device,
	     const struct vib_ops *ops, const struct vib_options *options,
	     void *opaque)
{
	int ret;

	if (!vib_valid(ops, options))
		return vib_fail(EINVAL, "number or size of the queues is out of range");
	*dev = vib_alloc(ops, options, opaque);
	if (!*dev)
		return vib_fail(ENOMEM, "out of memory");
	ret = vib_attach(*dev, device);
	if (ret) {
		vib_close(*dev);
		*dev = NULL;
	}
	return ret;
}

void vib_close(struct vib_device *dev)
{
	if (!dev)
		return;
	ivshmem_close(dev->peer);
	if (dev->signals >= 0)
		close(dev->signals);
	if (dev->epoll >= 0)
		close(dev->epoll);
	free(dev);
}
