/* SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause */
/*
 * The back end of a virtio device over ivshmem: everything but the device
 * itself. The library leads the life of the link, answers the front end's
 * transactions, and turns what stands in the rings into elements whose iovecs
 * point straight into the R/W section. A device is a struct vib_ops.
 *
 * It runs over libivshmem: in a guest over /dev/uioN, on the host over
 * unix:SOCKET. One thread, one device, one loop: vib_run() calls the device
 * back; nothing here may be called from another thread or a signal handler.
 *
 * The front end is not trusted. Whatever it writes is read once and checked;
 * nonsense breaks the queue it came through, with one message, until the front
 * end resets the device. What the iovecs point to can change at any time.
 *
 * Implements Documentation/ivshmem/virtio.rst as the back end.
 */
#ifndef VIRTIO_IVSHMEM_BACKEND_H
#define VIRTIO_IVSHMEM_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define VIB_MAX_QUEUE_SIZE	1024
#define VIB_DEFAULT_QUEUE_SIZE	256
#define VIB_MAX_QUEUES		64
#define VIB_MAX_CONFIG_BYTES	256

/* Most segments of an element; indirect tables may be longer than the ring */
#define VIB_MAX_SEGMENTS	1024

struct vib_device;
struct vib_queue;

/**
 * struct vib_element - a buffer of the front end, from vib_pop()
 * @queue: that it came through
 * @out: what the front end wrote, @out_num of them
 * @in: what the device writes, @in_num of them
 * @out_num: 0..%VIB_MAX_SEGMENTS
 * @in_num: likewise; together at least 1
 * @out_bytes: sum of @out, at least 1 for each
 * @in_bytes: sum of @in, likewise
 * @id: of the buffer in the ring
 * @slots: of the ring that it takes
 *
 * The iovecs are the device's own: vib_read() and vib_write() shorten them.
 */
struct vib_element {
	struct vib_queue *queue;
	struct iovec *out;
	struct iovec *in;
	unsigned int out_num;
	unsigned int in_num;
	size_t out_bytes;
	size_t in_bytes;
	uint16_t id;
	uint16_t slots;
};

/**
 * struct vib_ops - a device; called from vib_run()
 * @id: virtio device id, VIRTIO_ID_*
 * @queues: 1..%VIB_MAX_QUEUES
 * @features: of the device type, bits 0..23 and 50..; those of rings and
 *	transport are the library's, see struct vib_options
 * @config_bytes: of the config space, 0..%VIB_MAX_CONFIG_BYTES
 * @get_config: fill the config space, which is zero
 * @set_config: the front end wrote the config space at @offset; it does not
 *	tell how much, so @data is all that follows. May be NULL
 * @started: the driver is ready, and took @features. May be NULL
 * @process: buffers may have come, or vib_kick() was called: vib_pop() until
 *	it returns NULL, or until the device has enough; whoever stopped for
 *	that calls vib_kick() later
 * @reset: the front end resets the device or has gone: give back every
 *	element as soon as possible, by vib_push() or vib_drop(). May be NULL
 * @stop: vib_stop() was called: finish what is in flight; nothing more comes.
 *	May be NULL
 */
struct vib_ops {
	uint16_t id;
	unsigned int queues;
	uint64_t features;
	size_t config_bytes;
	void (*get_config)(void *opaque, void *config);
	void (*set_config)(void *opaque, size_t offset, const void *data,
			   size_t len);
	void (*started)(void *opaque, uint64_t features);
	void (*process)(void *opaque, struct vib_queue *queue);
	void (*reset)(void *opaque);
	void (*stop)(void *opaque);
};

/**
 * struct vib_options - what the user of a back end may choose
 * @queue_size: descriptors of each queue, a power of two, 2..1024
 * @packed: offer VIRTIO_F_RING_PACKED
 * @event_idx: offer VIRTIO_F_EVENT_IDX
 * @indirect: offer VIRTIO_F_INDIRECT_DESC
 */
struct vib_options {
	unsigned int queue_size;
	bool packed;
	bool event_idx;
	bool indirect;
};

#define VIB_OPTIONS_DEFAULT \
	{ VIB_DEFAULT_QUEUE_SIZE, true, true, true }

/**
 * vib_open() - connect to the link as its back end
 * @dev: set on success
 * @device: "/dev/uioN" or "unix:SOCKET"
 * @ops: the device; it and @options are copied
 * @options: see there
 * @opaque: for the functions of @ops
 *
 * SIGTERM and SIGINT are blocked and end vib_run() from now on.
 *
 * Return: 0, or
 * -EINVAL: @ops, @options or @device make no sense;
 * -EPROTOTYPE: the link is of another device type, or of no virtio;
 * -EADDRINUSE: the link gives the role of the front end;
 * -ENOSPC: its R/W section is too small;
 * or what ivshmem_open() returns. vib_error() tells in words.
 */
int vib_open(struct vib_device **dev, const char *device,
	     const struct vib_ops *ops, const struct vib_options *options,
	     void *opaque);

/**
 * vib_close() - leave the link
 * @dev: from vib_open(), or NULL
 */
void vib_close(struct vib_device *dev);

/**
 * vib_run() - serve until vib_stop(), SIGTERM or SIGINT
 * @dev: from vib_open()
 *
 * What is in flight then is finished first; a second signal ends that as well.
 *
 * Return: 0, or
 * -EINTR: the second signal came;
 * -ENODEV: the device or the server is gone, or what epoll_wait(2) returns.
 */
int vib_run(struct vib_device *dev);

/* vib_stop() - end vib_run() as SIGTERM does */
void vib_stop(struct vib_device *dev);

/* vib_error() - what the last function that failed has to say */
const char *vib_error(void);

/**
 * vib_watch() - have a function called when a descriptor is ready
 * @dev: from vib_open()
 * @fd: the descriptor
 * @events: EPOLLIN, EPOLLOUT; 0 = errors only
 * @ready: called with the events that came
 *
 * Return: 0, or -errno of epoll_ctl(2): -EPERM for a regular file.
 */
int vib_watch(struct vib_device *dev, int fd, uint32_t events,
	      void (*ready)(void *opaque, uint32_t events));

/* vib_rewatch() - other events of a descriptor that is watched, or nothing */
void vib_rewatch(struct vib_device *dev, int fd, uint32_t events);

/* vib_unwatch() - end the watch, before the descriptor is closed */
void vib_unwatch(struct vib_device *dev, int fd);

/**
 * vib_queue() - a queue by its index
 * @dev: from vib_open()
 * @index: 0..queues-1
 *
 * Return: the queue, never NULL, constant.
 */
struct vib_queue *vib_queue(struct vib_device *dev, unsigned int index);

/* vib_queue_index() - the reverse */
unsigned int vib_queue_index(const struct vib_queue *queue);

/**
 * vib_pop() - take the next buffer from a queue
 * @queue: of the device
 * @size: bytes to allocate, at least sizeof(struct vib_element), which is at
 *	the start; the rest is 0
 *
 * Return: the element, to be given back with vib_push() or vib_drop(); NULL
 * if there is none, if others shall have their turn, or the queue is broken
 * or not running; @process is called again in due course.
 */
void *vib_pop(struct vib_queue *queue, size_t size);

/**
 * vib_push() - give a buffer back as used, and free the element
 * @element: from vib_pop(), in any order
 * @written: bytes written to @in, counted from its start
 *
 * The front end is told at the end of the round, if it wants to be told.
 */
void vib_push(struct vib_element *element, size_t written);

/* vib_drop() - free the element without giving the buffer back */
void vib_drop(struct vib_element *element);

/*
 * vib_notify_always() - never ask the front end not to notify of new buffers,
 * for drivers that wait for one buffer after the other anyhow; for good
 */
void vib_notify_always(struct vib_queue *queue);

/* vib_kick() - have @process called for the queue in the next round */
void vib_kick(struct vib_queue *queue);

/* vib_break() - the device found nonsense in a buffer of the queue */
void vib_break(struct vib_queue *queue, const char *why);

/* vib_has_feature() - did the front end take this feature? */
bool vib_has_feature(const struct vib_device *dev, unsigned int bit);

/* vib_running() - is there a driver that serves the device? */
bool vib_running(const struct vib_device *dev);

/*
 * vib_pinnable() - can the kernel pin the section's pages, as direct I/O
 * needs? Those of a device in a guest it cannot.
 */
bool vib_pinnable(const struct vib_device *dev);

/* vib_section_bytes() - what one request can sensibly be about at most */
size_t vib_section_bytes(const struct vib_device *dev);

/* vib_config_changed() - call @get_config, and tell the front end */
void vib_config_changed(struct vib_device *dev);

/*
 * vib_read() - copy from the start of @out, and remove that from it; returns
 * the bytes copied. vib_write() likewise to the start of @in.
 */
size_t vib_read(struct vib_element *element, void *to, size_t len);
size_t vib_write(struct vib_element *element, const void *from, size_t len);

/* vib_iov_skip() - remove bytes from the start; returns how many were there */
size_t vib_iov_skip(struct iovec **iov, unsigned int *num, size_t len);

/*
 * vib_log() - a line on standard error; vib_complain() likewise, for what the
 * front end causes: at most so often.
 */
void vib_log(int priority, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void vib_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* vib_log_verbose() - have lines of LOG_DEBUG printed too */
void vib_log_verbose(bool verbose);

#endif /* VIRTIO_IVSHMEM_BACKEND_H */
