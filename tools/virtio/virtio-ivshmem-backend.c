// SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause
/*
 * The back end of a virtio device over ivshmem: the life of the link, and the
 * loop. The header is in virtio-ivshmem-header.c, the rings are in
 * virtio-ivshmem-queue.c, -split.c and -packed.c.
 *
 * Implements Documentation/ivshmem/virtio.rst, "Life cycle", as the back end.
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

#include <linux/ivshmem.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "virtio-ivshmem-device.h"

#define VIB_MAX_EVENTS		16

/* The place of a back end that was killed is free again after a moment */
#define VIB_CONNECT_MS		5000
#define VIB_CONNECT_PAUSE_MS	20

/* While nobody uses the header, from one look at it to the next */
#define VIB_LOOK_MS		1000

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

unsigned int vib_in_flight(const struct vib_device *dev)
{
	unsigned int i, n = 0;

	for (i = 0; i < dev->ops.queues; i++)
		n += dev->queues[i].in_flight;
	return n;
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

/*
 * A front end writes there only after its State is READY, and may have done both
 * by now: so the header before the State.
 */
static bool vib_header_damaged(const struct vib_device *dev)
{
	if (dev->phase != VIB_WAIT_READY || vib_header_intact(dev))
		return false;
	vib_full_fence();
	return ivshmem_get_state(dev->peer, dev->front) != VIRTIO_IVSHMEM_STATE_READY;
}

static void vib_live(struct vib_device *dev)
{
	uint32_t state = ivshmem_get_state(dev->peer, dev->front);

	if (state != VIRTIO_IVSHMEM_STATE_READY)
		vib_front_left(dev);
	vib_finish_resets(dev);
	if ((dev->phase == VIB_LEAVE && !dev->resetting) || vib_header_damaged(dev)) {
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

/* Nobody says when the header that waits for a front end is damaged */
static int vib_timeout_ms(const struct vib_device *dev)
{
	if (vib_busy(dev))
		return 0;
	return dev->phase == VIB_WAIT_READY ? VIB_LOOK_MS : -1;
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
			       vib_timeout_ms(dev));
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

/*
 * A back end that was killed a moment ago may still have our place, and a
 * server that has just made its socket may not listen yet.
 */
static int vib_connect(struct vib_device *dev, const char *device)
{
	const struct timespec pause = {
		.tv_nsec = VIB_CONNECT_PAUSE_MS * 1000000
	};
	int left = VIB_CONNECT_MS / VIB_CONNECT_PAUSE_MS;
	int ret;

	for (;;) {
		ret = ivshmem_open(&dev->peer, device, VIB_CONNECT_MS);
		if ((ret != -ECONNRESET && ret != -ECONNREFUSED) || !left--)
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
	dev->memory.reserved = VIRTIO_IVSHMEM_CONFIG_OFFSET +
			       dev->ops.config_bytes;
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
