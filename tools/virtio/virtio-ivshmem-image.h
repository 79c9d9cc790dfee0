/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The disk image of virtio-ivshmem-block: a raw file or a block device, its
 * geometry, and operations on it that go on in the background by io_uring;
 * where the kernel has or allows none, one after the other.
 */
#ifndef VIRTIO_IVSHMEM_IMAGE_H
#define VIRTIO_IVSHMEM_IMAGE_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum image_kind { IMAGE_READ, IMAGE_WRITE, IMAGE_FLUSH, IMAGE_ALLOCATE };

/**
 * struct image_op - an operation, part of what it belongs to
 * @kind: what to do
 * @iov: @iov_num segments, 1..1024 (read, write)
 * @iov_num: of them
 * @offset: bytes into the image
 * @len: bytes (allocate)
 * @mode: of fallocate(2) (allocate)
 * @through: on the medium before it is done (write)
 * @result: what the system call returns, or -errno
 * @next: of those that are done
 */
struct image_op {
	enum image_kind kind;
	struct iovec *iov;
	unsigned int iov_num;
	uint64_t offset;
	uint64_t len;
	int mode;
	bool through;
	int64_t result;
	struct image_op *next;
};

/**
 * struct image - an open image
 * @path: its name
 * @fd: its descriptor
 * @read_only: opened so
 * @direct: past the page cache
 * @is_device: a block device
 * @bytes: its size
 * @block_size: logical, bytes, a power of two
 * @physical_size: likewise
 * @optimal_size: bytes of an operation, 0 = unknown
 * @uring: operations go through @ring
 * @ring: io_uring
 * @first: finished operation without @ring
 * @last: of them
 */
struct image {
	const char *path;
	int fd;
	bool read_only;
	bool direct;
	bool is_device;
	uint64_t bytes;
	uint32_t block_size;
	uint32_t physical_size;
	uint32_t optimal_size;
	bool uring;
	struct io_uring ring;
	struct image_op *first;
	struct image_op *last;
};

/*
 * Open @image->path as @read_only, @direct and @block_size (0 = that of the
 * device, or 512) say, for nobody else at the same time. Returns 0 or -errno,
 * and says what is wrong.
 */
int image_open(struct image *image, bool may_uring);

void image_close(struct image *image);

/* Look at the size again: 1 = it changed, 0, or -errno */
int image_measure(struct image *image);

/* Readable when image_reap() has something; -1 if it always has */
int image_poll_fd(const struct image *image);

/* Start an operation; it is on its way after image_submit() */
void image_start(struct image *image, struct image_op *op);
void image_submit(struct image *image);

/* An operation that is done, with its result; NULL = none for now */
struct image_op *image_reap(struct image *image);

#endif /* VIRTIO_IVSHMEM_IMAGE_H */
