// SPDX-License-Identifier: GPL-2.0
/*
 * The disk image of virtio-ivshmem-block: see virtio-ivshmem-image.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "virtio-ivshmem-backend.h"
#include "virtio-ivshmem-image.h"

#define IMAGE_RING_ENTRIES	256
#define IMAGE_DEFAULT_BLOCK	512

/* How long the lock of a back end that was killed may outlive it */
#define IMAGE_LOCK_MS		5000
#define IMAGE_LOCK_PAUSE_MS	20

static int image_fail(const struct image *image, const char *what)
{
	int err = errno;

	vib_log(LOG_ERR, "%s: %s%s", image->path, what, strerror(err));
	return -err;
}

/* The kernel may still finish what a killed predecessor had in flight */
static int image_lock(const struct image *image)
{
	const struct timespec pause = { .tv_nsec = IMAGE_LOCK_PAUSE_MS * 1000000 };
	int op = (image->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB;
	int left = IMAGE_LOCK_MS / IMAGE_LOCK_PAUSE_MS;

	while (flock(image->fd, op)) {
		if (errno != EWOULDBLOCK)
			return image_fail(image, "lock: ");
		if (!left--) {
			vib_log(LOG_ERR, "%s: in use by another process; two writers would destroy it",
				image->path);
			return -EBUSY;
		}
		nanosleep(&pause, NULL);
	}
	return 0;
}

static int image_size(const struct image *image, uint64_t *bytes)
{
	struct stat st;

	if (image->is_device)
		return ioctl(image->fd, BLKGETSIZE64, bytes);
	if (fstat(image->fd, &st))
		return -1;
	*bytes = st.st_size;
	return 0;
}

int image_measure(struct image *image)
{
	uint64_t old = image->bytes;

	if (image_size(image, &image->bytes))
		return image_fail(image, "size: ");
	if (image->bytes % image->block_size)
		vib_log(LOG_WARNING, "%s: the last %llu bytes are no whole block, and not served",
			image->path, (unsigned long long)
			(image->bytes % image->block_size));
	return old != image->bytes;
}

static void image_ask_device(struct image *image, uint32_t *block_size)
{
	unsigned int physical, optimal;
	int logical;

	if (!ioctl(image->fd, BLKSSZGET, &logical))
		*block_size = logical;
	if (!ioctl(image->fd, BLKPBSZGET, &physical))
		image->physical_size = physical;
	if (!ioctl(image->fd, BLKIOOPT, &optimal))
		image->optimal_size = optimal;
}

static int image_ask_geometry(struct image *image)
{
	uint32_t least = IMAGE_DEFAULT_BLOCK;
	struct stat st;

	if (fstat(image->fd, &st))
		return image_fail(image, "");
	image->is_device = S_ISBLK(st.st_mode);
	if (!image->is_device && !S_ISREG(st.st_mode)) {
		vib_log(LOG_ERR, "%s: neither a file nor a block device",
			image->path);
		return -EINVAL;
	}
	image->physical_size = st.st_blksize;
	if (image->is_device)
		image_ask_device(image, &least);
	if (!image->block_size)
		image->block_size = least;
	if (image->block_size < least) {
		vib_log(LOG_ERR, "%s: has blocks of %u bytes, not %u",
			image->path, least, image->block_size);
		return -EINVAL;
	}
	if (image->physical_size < image->block_size)
		image->physical_size = image->block_size;
	return image_measure(image) < 0 ? -EIO : 0;
}

static void image_open_ring(struct image *image)
{
	int ret = io_uring_queue_init(IMAGE_RING_ENTRIES, &image->ring, 0);

	image->uring = !ret;
	if (ret)
		vib_log(LOG_NOTICE, "no io_uring (%s): requests are served one by one",
			strerror(-ret));
}

int image_open(struct image *image, bool may_uring)
{
	int flags = O_CLOEXEC | (image->read_only ? O_RDONLY : O_RDWR) |
		    (image->direct ? O_DIRECT : 0);
	int ret;

	image->fd = open(image->path, flags);
	if (image->fd < 0)
		return image_fail(image, image->direct && errno == EINVAL ?
				  "no direct I/O on this file system? " : "");
	ret = image_lock(image);
	if (!ret)
		ret = image_ask_geometry(image);
	if (ret) {
		close(image->fd);
		return ret;
	}
	if (may_uring)
		image_open_ring(image);
	return 0;
}

void image_close(struct image *image)
{
	if (image->uring)
		io_uring_queue_exit(&image->ring);
	close(image->fd);
}

int image_poll_fd(const struct image *image)
{
	return image->uring ? image->ring.ring_fd : -1;
}

static int64_t image_do(struct image *image, const struct image_op *op)
{
	int64_t ret = -1;

	switch (op->kind) {
	case IMAGE_READ:
		ret = preadv(image->fd, op->iov, op->iov_num, op->offset);
		break;
	case IMAGE_WRITE:
		ret = pwritev2(image->fd, op->iov, op->iov_num, op->offset,
			       op->through ? RWF_DSYNC : 0);
		break;
	case IMAGE_FLUSH:
		ret = fdatasync(image->fd);
		break;
	case IMAGE_ALLOCATE:
		ret = fallocate(image->fd, op->mode, op->offset, op->len);
		break;
	}
	return ret < 0 ? -errno : ret;
}

static void image_finish(struct image *image, struct image_op *op)
{
	op->next = NULL;
	if (image->first)
		image->last->next = op;
	else
		image->first = op;
	image->last = op;
}

static void image_prepare(const struct image *image, struct io_uring_sqe *sqe,
			  struct image_op *op)
{
	switch (op->kind) {
	case IMAGE_READ:
		io_uring_prep_readv(sqe, image->fd, op->iov, op->iov_num,
				    op->offset);
		break;
	case IMAGE_WRITE:
		io_uring_prep_writev2(sqe, image->fd, op->iov, op->iov_num,
				      op->offset, op->through ? RWF_DSYNC : 0);
		break;
	case IMAGE_FLUSH:
		io_uring_prep_fsync(sqe, image->fd, IORING_FSYNC_DATASYNC);
		break;
	case IMAGE_ALLOCATE:
		io_uring_prep_fallocate(sqe, image->fd, op->mode, op->offset,
					op->len);
		break;
	}
	io_uring_sqe_set_data(sqe, op);
}

void image_start(struct image *image, struct image_op *op)
{
	struct io_uring_sqe *sqe = NULL;

	if (image->uring) {
		sqe = io_uring_get_sqe(&image->ring);
		if (!sqe) {
			image_submit(image);
			sqe = io_uring_get_sqe(&image->ring);
		}
	}
	if (sqe) {
		image_prepare(image, sqe, op);
		return;
	}
	/* No ring, or the kernel has no room left in it */
	op->result = image_do(image, op);
	image_finish(image, op);
}

void image_submit(struct image *image)
{
	if (image->uring && io_uring_sq_ready(&image->ring))
		io_uring_submit(&image->ring);
}

struct image_op *image_reap(struct image *image)
{
	struct image_op *op = image->first;
	struct io_uring_cqe *cqe;

	if (op) {
		image->first = op->next;
		return op;
	}
	if (!image->uring || io_uring_peek_cqe(&image->ring, &cqe))
		return NULL;
	op = io_uring_cqe_get_data(cqe);
	op->result = cqe->res;
	io_uring_cqe_seen(&image->ring, cqe);
	return op;
}
