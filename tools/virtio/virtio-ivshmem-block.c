// SPDX-License-Identifier: GPL-2.0
/*
 * virtio-ivshmem-block: serves a disk image over ivshmem. Requests go straight
 * from the section to the image and back, many at a time; only direct I/O that
 * the kernel cannot do there goes through a buffer.
 *
 * Implements the device of Virtual I/O Device (VIRTIO) 1.2, section 5.2.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <syslog.h>
#include <unistd.h>

#include "virtio-ivshmem-image.h"
#include "virtio-ivshmem-options.h"

#define BLOCK_SECTOR		512
#define BLOCK_MAX_BLOCK		65536
#define BLOCK_MAX_RANGES	16
#define BLOCK_MAX_RANGE_SECTORS	(1U << 21)

/* Zeroes that are written where they cannot be had in another way */
#define BLOCK_ZERO_BYTES	65536
#define BLOCK_ZERO_SEGMENTS	16

#define BLOCK_FEATURE(bit)	(1ULL << (bit))
#define BLOCK_CONFIG(field)	offsetof(struct virtio_blk_config, field)
/* What follows is of features that are not offered */
#define BLOCK_CONFIG_BYTES	(BLOCK_CONFIG(unused1) + 3)

static const char block_usage[] =
"Usage: virtio-ivshmem-block [options] DEVICE IMAGE\n"
"\n"
"Serves IMAGE, a raw file or a block device, as a virtio disk over ivshmem.\n"
"SIGHUP: look at the size of IMAGE again. SIGTERM: finish, then end.\n"
"\n"
"  -r, --read-only        offer a disk that cannot be written\n"
"  -d, --direct           past the page cache of this system\n"
"  -q, --queues=N         request queues, 1..64 (1)\n"
"  -s, --serial=TEXT      serial number, up to 20 bytes\n"
"      --block-size=N     logical block size, 512..65536 (of the device, or 512)\n"
"      --no-uring         one request at a time, as where there is no io_uring\n"
VIB_OPTIONS_USAGE;

/**
 * struct block - the device
 * @dev: its link
 * @image: what it serves
 * @queues: of requests
 * @serial: padded with zeroes
 * @write_back: writes are on the medium after a flush, else at once
 * @queue_size: descriptors of each queue
 * @bounced: bytes of all bounce buffers; honest requests share the section,
 *	so they never have more
 * @signals: SIGHUP
 */
struct block {
	struct vib_device *dev;
	struct image image;
	unsigned int queues;
	char serial[VIRTIO_BLK_ID_BYTES];
	bool write_back;
	unsigned int queue_size;
	size_t bounced;
	int signals;
};

/**
 * struct block_request - a request in flight
 * @element: first; its iovecs are used up as the request goes on
 * @op: the current operation on the image
 * @block: the device
 * @type: VIRTIO_BLK_T_*
 * @status: where the result goes, the last byte of the request
 * @in_bytes: of the element in the beginning
 * @left: bytes of data still to move, or of the current range
 * @bounce: buffer for direct I/O, NULL if none
 * @bounce_bytes: its size
 * @iov: for @bounce, or zeroes
 * @ranges: to discard or to zero
 * @range_count: of them
 * @range: current one
 */
struct block_request {
	struct vib_element element;
	struct image_op op;
	struct block *block;
	uint32_t type;
	uint8_t *status;
	size_t in_bytes;
	uint64_t left;
	void *bounce;
	size_t bounce_bytes;
	struct iovec iov[BLOCK_ZERO_SEGMENTS];
	struct virtio_blk_discard_write_zeroes ranges[BLOCK_MAX_RANGES];
	unsigned int range_count;
	unsigned int range;
};

static struct block_request *to_request(struct image_op *op)
{
	return (struct block_request *)((char *)op -
					offsetof(struct block_request, op));
}

static const char *block_type_name(const struct block_request *req)
{
	switch (req->type) {
	case VIRTIO_BLK_T_IN:
		return "read";
	case VIRTIO_BLK_T_OUT:
		return "write";
	case VIRTIO_BLK_T_FLUSH:
		return "flush";
	case VIRTIO_BLK_T_DISCARD:
		return "discard";
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return "write of zeroes";
	default:
		return "request";
	}
}

/* The front end copies all of it, and it is what some request before left */
static void block_clear(struct block_request *req)
{
	const struct vib_element *e = &req->element;
	unsigned int i;

	for (i = 0; i < e->in_num; i++)
		memset(e->in[i].iov_base, 0, e->in[i].iov_len);
}

static void block_finish(struct block_request *req, uint8_t status)
{
	if (status != VIRTIO_BLK_S_OK)
		block_clear(req);
	*(volatile uint8_t *)req->status = status;
	free(req->bounce);
	req->block->bounced -= req->bounce_bytes;
	vib_push(&req->element, req->in_bytes);
}

/* The image cannot do it */
static void block_fail(struct block_request *req, int err)
{
	vib_complain("%s: %s at byte %llu: %s", req->block->image.path,
		     block_type_name(req), (unsigned long long)req->op.offset,
		     strerror(err));
	block_finish(req, VIRTIO_BLK_S_IOERR);
}

static bool block_in_range(const struct block *block, uint64_t sector,
			   uint64_t bytes)
{
	uint64_t size = block->image.bytes;
	uint64_t mask = block->image.block_size - 1;

	size &= ~mask;
	return !(bytes & mask) && !((sector * BLOCK_SECTOR) & mask) &&
	       bytes <= size && sector <= (size - bytes) / BLOCK_SECTOR;
}

/* ---- reads and writes ---- */

static bool block_aligned(const struct block_request *req)
{
	uintptr_t mask = req->block->image.block_size - 1;
	unsigned int i;

	for (i = 0; i < req->op.iov_num; i++)
		if (((uintptr_t)req->op.iov[i].iov_base |
		     req->op.iov[i].iov_len) & mask)
			return false;
	return true;
}

/* Direct I/O needs pages that can be pinned, and aligned addresses */
static int block_bounce(struct block_request *req)
{
	struct block *block = req->block;

	if (!block->image.direct ||
	    (vib_pinnable(block->dev) && block_aligned(req)))
		return 0;
	if (req->left > vib_section_bytes(block->dev) - block->bounced ||
	    posix_memalign(&req->bounce, BLOCK_MAX_BLOCK, req->left))
		return -1;
	req->bounce_bytes = req->left;
	block->bounced += req->bounce_bytes;
	if (req->type == VIRTIO_BLK_T_OUT)
		vib_read(&req->element, req->bounce, req->bounce_bytes);
	req->iov[0].iov_base = req->bounce;
	req->iov[0].iov_len = req->bounce_bytes;
	req->op.iov = req->iov;
	req->op.iov_num = 1;
	return 0;
}

static void block_begin_rw(struct block_request *req, uint64_t sector)
{
	struct vib_element *e = &req->element;
	struct block *block = req->block;
	bool write = req->type == VIRTIO_BLK_T_OUT;

	req->left = write ? e->out_bytes : e->in_bytes;
	req->op.kind = write ? IMAGE_WRITE : IMAGE_READ;
	req->op.iov = write ? e->out : e->in;
	req->op.iov_num = write ? e->out_num : e->in_num;
	req->op.through = !block->write_back;
	if ((write && block->image.read_only) || !req->left ||
	    req->left > vib_section_bytes(block->dev) ||
	    !block_in_range(block, sector, req->left) || block_bounce(req)) {
		block_finish(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	req->op.offset = sector * BLOCK_SECTOR;
	image_start(&block->image, &req->op);
}

/* What came is short of what was asked for more often than one thinks */
static void block_continue_rw(struct block_request *req)
{
	int64_t done = req->op.result;

	if (!done) {	/* the image has shrunk, or will not grow */
		block_fail(req, req->op.kind == IMAGE_READ ? EIO : ENOSPC);
		return;
	}
	vib_iov_skip(&req->op.iov, &req->op.iov_num, done);
	req->op.offset += done;
	req->left -= done;
	if (req->left) {
		image_start(&req->block->image, &req->op);
		return;
	}
	if (req->bounce && req->type == VIRTIO_BLK_T_IN)
		vib_write(&req->element, req->bounce, req->bounce_bytes);
	block_finish(req, VIRTIO_BLK_S_OK);
}

/* ---- discard and write zeroes ---- */

static bool block_may_unmap(const struct block_request *req)
{
	return req->type == VIRTIO_BLK_T_DISCARD ||
	       req->ranges[req->range].flags &
	       htole32(VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
}

static void block_write_zeroes(struct block_request *req)
{
	static const char zeroes[BLOCK_ZERO_BYTES]
		__attribute__((aligned(BLOCK_MAX_BLOCK)));
	uint64_t left = req->left;
	unsigned int n;

	for (n = 0; n < BLOCK_ZERO_SEGMENTS && left; n++) {
		req->iov[n].iov_base = (void *)zeroes;
		req->iov[n].iov_len = left < sizeof(zeroes) ? left :
							      sizeof(zeroes);
		left -= req->iov[n].iov_len;
	}
	req->op.kind = IMAGE_WRITE;
	req->op.iov = req->iov;
	req->op.iov_num = n;
	req->op.through = !req->block->write_back;
	image_start(&req->block->image, &req->op);
}

static void block_begin_range(struct block_request *req)
{
	const struct virtio_blk_discard_write_zeroes *range;

	range = &req->ranges[req->range];
	req->op.offset = le64toh(range->sector) * BLOCK_SECTOR;
	req->left = (uint64_t)le32toh(range->num_sectors) * BLOCK_SECTOR;
	req->op.len = req->left;
	req->op.kind = IMAGE_ALLOCATE;
	req->op.mode = FALLOC_FL_KEEP_SIZE |
		       (block_may_unmap(req) ? FALLOC_FL_PUNCH_HOLE :
					       FALLOC_FL_ZERO_RANGE);
	image_start(&req->block->image, &req->op);
}

static void block_continue_range(struct block_request *req)
{
	int64_t done = req->op.result;

	if (req->op.kind == IMAGE_WRITE) {
		if (!done) {
			block_fail(req, ENOSPC);
			return;
		}
		req->op.offset += done;
		req->left -= done;
		if (req->left) {
			block_write_zeroes(req);
			return;
		}
	}
	if (++req->range < req->range_count)
		block_begin_range(req);
	else
		block_finish(req, VIRTIO_BLK_S_OK);
}

/* Not every file system, and not every device can */
static void block_cannot_allocate(struct block_request *req)
{
	if (req->type == VIRTIO_BLK_T_DISCARD)
		block_finish(req, VIRTIO_BLK_S_UNSUPP);
	else
		block_write_zeroes(req);
}

static uint8_t block_check_ranges(const struct block_request *req)
{
	const struct virtio_blk_discard_write_zeroes *range = req->ranges;
	uint32_t known = req->type == VIRTIO_BLK_T_WRITE_ZEROES ?
			 VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
	uint32_t sectors;
	unsigned int i;

	for (i = 0; i < req->range_count; i++, range++) {
		sectors = le32toh(range->num_sectors);
		if (le32toh(range->flags) & ~known)
			return VIRTIO_BLK_S_UNSUPP;
		if (!sectors || sectors > BLOCK_MAX_RANGE_SECTORS ||
		    !block_in_range(req->block, le64toh(range->sector),
				    (uint64_t)sectors * BLOCK_SECTOR))
			return VIRTIO_BLK_S_IOERR;
	}
	return VIRTIO_BLK_S_OK;
}

static void block_begin_ranges(struct block_request *req)
{
	size_t bytes = req->element.out_bytes;
	uint8_t status = VIRTIO_BLK_S_IOERR;

	if (!req->block->image.read_only && bytes &&
	    bytes <= sizeof(req->ranges) && !(bytes % sizeof(req->ranges[0]))) {
		vib_read(&req->element, req->ranges, bytes);
		req->range_count = bytes / sizeof(req->ranges[0]);
		status = block_check_ranges(req);
	}
	if (status == VIRTIO_BLK_S_OK)
		block_begin_range(req);
	else
		block_finish(req, status);
}

/* ---- requests ---- */

static void block_get_id(struct block_request *req)
{
	vib_write(&req->element, req->block->serial, VIRTIO_BLK_ID_BYTES);
	block_finish(req, VIRTIO_BLK_S_OK);
}

/* The status is the last byte, wherever the front end's segments end */
static bool block_take_status(struct block_request *req)
{
	struct vib_element *e = &req->element;
	struct iovec *last;

	if (!e->in_bytes)
		return false;
	last = &e->in[e->in_num - 1];
	req->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	req->in_bytes = e->in_bytes;
	e->in_bytes--;
	if (!--last->iov_len)
		e->in_num--;
	return true;
}

static void block_begin(struct block *block, struct block_request *req)
{
	struct virtio_blk_outhdr header;

	req->block = block;
	if (vib_read(&req->element, &header, sizeof(header)) < sizeof(header) ||
	    !block_take_status(req)) {
		vib_break(req->element.queue, "request without header or status");
		vib_drop(&req->element);
		return;
	}
	req->type = le32toh(header.type);
	switch (req->type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		block_begin_rw(req, le64toh(header.sector));
		break;
	case VIRTIO_BLK_T_FLUSH:
		req->op.kind = IMAGE_FLUSH;
		image_start(&block->image, &req->op);
		break;
	case VIRTIO_BLK_T_GET_ID:
		block_get_id(req);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		block_begin_ranges(req);
		break;
	default:
		block_finish(req, VIRTIO_BLK_S_UNSUPP);
	}
}

static void block_done(struct block_request *req)
{
	int64_t result = req->op.result;

	if (result == -EINTR || result == -EAGAIN)
		image_start(&req->block->image, &req->op);
	else if (req->op.kind == IMAGE_ALLOCATE && result == -EOPNOTSUPP)
		block_cannot_allocate(req);
	else if (result < 0)
		block_fail(req, -result);
	else if (req->type == VIRTIO_BLK_T_FLUSH)
		block_finish(req, VIRTIO_BLK_S_OK);
	else if (req->type == VIRTIO_BLK_T_IN || req->type == VIRTIO_BLK_T_OUT)
		block_continue_rw(req);
	else
		block_continue_range(req);
}

static void block_reap(struct block *block)
{
	struct image_op *op;

	while ((op = image_reap(&block->image)))
		block_done(to_request(op));
	image_submit(&block->image);
}

static void block_process(void *opaque, struct vib_queue *queue)
{
	struct block *block = opaque;
	struct block_request *req;

	while ((req = vib_pop(queue, sizeof(*req))))
		block_begin(block, req);
	image_submit(&block->image);
	block_reap(block);
}

static void block_ready(void *opaque, uint32_t events)
{
	(void)events;
	block_reap(opaque);
}

/* ---- configuration ---- */

static uint8_t block_exponent(uint32_t ratio)
{
	return ratio > 1 ? 31 - __builtin_clz(ratio) : 0;
}

static void block_get_config(void *opaque, void *data)
{
	const struct block *block = opaque;
	const struct image *image = &block->image;
	struct virtio_blk_config config = { 0 };
	uint32_t alignment = image->physical_size / BLOCK_SECTOR;

	config.capacity = htole64(image->bytes / image->block_size *
				  (image->block_size / BLOCK_SECTOR));
	/* Header and status take a descriptor each */
	config.seg_max = htole32(block->queue_size > 2 ?
				 block->queue_size - 2 : 1);
	config.blk_size = htole32(image->block_size);
	config.physical_block_exp = block_exponent(image->physical_size /
						   image->block_size);
	config.min_io_size = htole16(image->physical_size / image->block_size);
	config.opt_io_size = htole32(image->optimal_size / image->block_size);
	config.wce = block->write_back;
	config.num_queues = htole16(block->queues);
	config.max_discard_sectors = htole32(BLOCK_MAX_RANGE_SECTORS);
	config.max_discard_seg = htole32(BLOCK_MAX_RANGES);
	config.discard_sector_alignment = htole32(alignment);
	config.max_write_zeroes_sectors = htole32(BLOCK_MAX_RANGE_SECTORS);
	config.max_write_zeroes_seg = htole32(BLOCK_MAX_RANGES);
	config.write_zeroes_may_unmap = 1;
	memcpy(data, &config, BLOCK_CONFIG_BYTES);
}

static void block_set_config(void *opaque, size_t offset, const void *data,
			     size_t len)
{
	struct block *block = opaque;

	(void)len;
	if (offset == BLOCK_CONFIG(wce))
		block->write_back = *(const uint8_t *)data;
}

static void block_started(void *opaque, uint64_t features)
{
	struct block *block = opaque;

	/* Who cannot flush wants its writes safe at once */
	if (!(features & BLOCK_FEATURE(VIRTIO_BLK_F_FLUSH)))
		block->write_back = false;
}

static void block_reset(void *opaque)
{
	struct block *block = opaque;

	block->write_back = true;
}

static void block_hangup(void *opaque, uint32_t events)
{
	struct block *block = opaque;
	struct signalfd_siginfo info;

	(void)events;
	while (read(block->signals, &info, sizeof(info)) == sizeof(info))
		;
	if (image_measure(&block->image) <= 0)
		return;
	vib_log(LOG_INFO, "%s: has %llu bytes now", block->image.path,
		(unsigned long long)block->image.bytes);
	vib_config_changed(block->dev);
}

static uint64_t block_features(const struct block *block)
{
	uint64_t features = BLOCK_FEATURE(VIRTIO_BLK_F_SEG_MAX) |
			    BLOCK_FEATURE(VIRTIO_BLK_F_BLK_SIZE) |
			    BLOCK_FEATURE(VIRTIO_BLK_F_TOPOLOGY) |
			    BLOCK_FEATURE(VIRTIO_BLK_F_FLUSH) |
			    BLOCK_FEATURE(VIRTIO_BLK_F_CONFIG_WCE);

	if (block->queues > 1)
		features |= BLOCK_FEATURE(VIRTIO_BLK_F_MQ);
	if (block->image.read_only)
		features |= BLOCK_FEATURE(VIRTIO_BLK_F_RO);
	else
		features |= BLOCK_FEATURE(VIRTIO_BLK_F_DISCARD) |
			    BLOCK_FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
	return features;
}

/* ---- start and end ---- */

static int block_open_signals(struct block *block)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* A file that may not grow is an error of the request */
	signal(SIGXFSZ, SIG_IGN);
	block->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return vib_watch(block->dev, block->signals, EPOLLIN, block_hangup);
}

static int block_serve(struct block *block)
{
	int fd = image_poll_fd(&block->image);
	int ret = block_open_signals(block);

	if (!ret && fd >= 0)
		ret = vib_watch(block->dev, fd, EPOLLIN, block_ready);
	if (!ret)
		ret = vib_run(block->dev);
	return ret;
}

static int block_run(struct block *block, const char *device,
		     const struct vib_options *options)
{
	const struct vib_ops ops = {
		.id = VIRTIO_ID_BLOCK,
		.queues = block->queues,
		.features = block_features(block),
		.config_bytes = BLOCK_CONFIG_BYTES,
		.get_config = block_get_config,
		.set_config = block_set_config,
		.started = block_started,
		.process = block_process,
		.reset = block_reset,
	};
	int ret = vib_open(&block->dev, device, &ops, options, block);

	if (!ret)
		ret = block_serve(block);
	if (ret)
		vib_log(LOG_ERR, "%s", vib_error());
	return ret;
}

enum { BLOCK_OPT_BLOCK_SIZE = VIB_OPT_OWN, BLOCK_OPT_NO_URING };

static const struct option block_long_options[] = {
	VIB_LONG_OPTIONS,
	{ "read-only",	no_argument,	   NULL, 'r' },
	{ "direct",	no_argument,	   NULL, 'd' },
	{ "queues",	required_argument, NULL, 'q' },
	{ "serial",	required_argument, NULL, 's' },
	{ "block-size",	required_argument, NULL, BLOCK_OPT_BLOCK_SIZE },
	{ "no-uring",	no_argument,	   NULL, BLOCK_OPT_NO_URING },
	{ 0 }
};

static void block_parse_serial(struct block *block, const char *text)
{
	size_t len = strlen(text);

	if (len > sizeof(block->serial))
		vib_usage("serial number '%s' is longer than %zu bytes", text,
			  sizeof(block->serial));
	memset(block->serial, 0, sizeof(block->serial));
	memcpy(block->serial, text, len);
}

static uint32_t block_parse_size(const char *text)
{
	unsigned long size = vib_number("block size", text, BLOCK_SECTOR,
					BLOCK_MAX_BLOCK);

	if (size & (size - 1))
		vib_usage("block size %lu is no power of two", size);
	return size;
}

static void block_parse(struct block *block, struct vib_options *options,
			bool *uring, int argc, char **argv)
{
	int opt;

	while ((opt = getopt_long(argc, argv, "hvrdq:s:", block_long_options,
				  NULL)) >= 0) {
		switch (opt) {
		case 'r':
			block->image.read_only = true;
			break;
		case 'd':
			block->image.direct = true;
			break;
		case 'q':
			block->queues = vib_number("number of queues", optarg,
						   1, VIB_MAX_QUEUES);
			break;
		case 's':
			block_parse_serial(block, optarg);
			break;
		case BLOCK_OPT_BLOCK_SIZE:
			block->image.block_size = block_parse_size(optarg);
			break;
		case BLOCK_OPT_NO_URING:
			*uring = false;
			break;
		default:
			vib_option(options, opt, block_usage);
		}
	}
}

int main(int argc, char **argv)
{
	struct vib_options options = VIB_OPTIONS_DEFAULT;
	struct block block = { .queues = 1, .write_back = true,
			       .serial = "ivshmem" };
	bool uring = true;
	int ret;

	block_parse(&block, &options, &uring, argc, argv);
	if (argc - optind != 2)
		vib_usage("DEVICE and IMAGE are needed");
	block.image.path = argv[optind + 1];
	block.queue_size = options.queue_size;
	if (image_open(&block.image, uring))
		return EXIT_FAILURE;
	ret = block_run(&block, argv[optind], &options);
	/* The section is what the kernel may still write to: close it last */
	image_close(&block.image);
	vib_close(block.dev);
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
