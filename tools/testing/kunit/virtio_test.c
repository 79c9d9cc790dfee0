// SPDX-License-Identifier: GPL-2.0
/*
 * drivers/virtio/virtio_ivshmem*.c with the stock virtio_blk and virtio_console
 * on top, and a back end that comes late, leaves in each step, lies, or stops.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/irq.h>
#include <linux/sizes.h>
#include <uapi/linux/virtio_blk.h>
#include <uapi/linux/virtio_console.h>

#include "../../../drivers/virtio/virtio_ivshmem.h"
#include "backend.h"
#include "table.h"

#define VT_SECTORS		128
#define VT_DISK_BYTES		(VT_SECTORS * SECTOR_SIZE)
#define VT_PARTITION_START	8
#define VT_PARTITION_SECTORS	100
#define VT_FEATURES		(BIT_ULL(VIRTIO_F_VERSION_1) | \
				 BIT_ULL(VIRTIO_BLK_F_SEG_MAX))

struct virtio_test {
	struct fake *fake;
	struct backend b;
	u8 *disk;
	bool keeps;
	unsigned int kept;
	unsigned int console_ready;
	unsigned int said;
};

static const struct fake_spec vt_blk_spec = {
	.protocol = IVSHMEM_PROTO_VIRTIO_FRONT | VIRTIO_ID_BLOCK,
	.max_peers = 2, .vectors = 3, .rw_size = SZ_512K,
	.doorbell = backend_doorbell,
};

/* A disk with a partition table, so that there is something to be found */

static void vt_fill_disk(u8 *disk)
{
	u8 *partition = disk + 446;

	memset(disk, 0, SECTOR_SIZE);
	memset(disk + SECTOR_SIZE, 0x5a, VT_DISK_BYTES - SECTOR_SIZE);
	partition[4] = 0x83;
	partition[8] = VT_PARTITION_START;
	partition[12] = VT_PARTITION_SECTORS;
	disk[510] = 0x55;
	disk[511] = 0xaa;
}

static u32 vt_blk_copy(struct virtio_test *t, u64 at, struct backend_segment *s)
{
	if (at > VT_DISK_BYTES || s->len > VT_DISK_BYTES - at)
		return 0;
	if (s->is_input)
		memcpy(s->data, t->disk + at, s->len);
	else
		memcpy(t->disk + at, s->data, s->len);
	return s->len;
}

/* header | data ... | status */
static int vt_blk_serve(struct backend *b, unsigned int queue,
			struct backend_segment *segments, unsigned int n)
{
	struct virtio_test *t = container_of(b, struct virtio_test, b);
	const struct virtio_blk_outhdr *header = segments[0].data;
	u64 at = le64_to_cpu((__force __le64)header->sector) * SECTOR_SIZE;
	unsigned int i;
	int len = 1;

	if (t->keeps) {
		t->kept++;
		return -1;
	}
	for (i = 1; i + 1 < n; i++) {
		at += vt_blk_copy(t, at, &segments[i]);
		if (segments[i].is_input)
			len += segments[i].len;
	}
	*(u8 *)segments[n - 1].data = VIRTIO_BLK_S_OK;
	return len;
}

static void vt_blk_config(struct backend *b)
{
	struct virtio_blk_config *config = (void *)b->header +
					   VIRTIO_IVSHMEM_CONFIG_OFFSET;

	memset(config, 0, sizeof(*config));
	config->capacity = (__force __virtio64)cpu_to_le64(VT_SECTORS);
	config->seg_max = (__force __virtio32)cpu_to_le32(8);
	b->config_bytes = sizeof(*config);
	b->features = VT_FEATURES;
	b->queues = 1;
	b->queue_size = 64;
	b->serve = vt_blk_serve;
}

static void vt_create(struct kunit *test, const struct fake_spec *spec)
{
	struct virtio_test *t = test->priv;

	t->fake = fake_create(test, spec);
	backend_init(&t->b, t->fake);
	vt_blk_config(&t->b);
}

static void vt_start(struct kunit *test)
{
	struct virtio_test *t = test->priv;

	backend_start(&t->b);
	FAKE_WAIT_FOR(test, backend_vdev(&t->b));
	KUNIT_EXPECT_EQ(test, t->fake->state, (u32)VIRTIO_IVSHMEM_STATE_READY);
}

static bool vt_is_gone(struct virtio_test *t)
{
	return !backend_vdev(&t->b) && t->fake->state == VIRTIO_IVSHMEM_STATE_RESET;
}

static int virtio_ivshmem_init(struct kunit *test)
{
	struct virtio_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t);
	t->disk = kunit_kmalloc(test, VT_DISK_BYTES, GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->disk);
	vt_fill_disk(t->disk);
	test->priv = t;
	return 0;
}

static void virtio_ivshmem_exit(struct kunit *test)
{
	struct virtio_test *t = test->priv;

	if (!t || !t->fake)
		return;
	fake_unplug(t->fake);
	t->fake->spec.priv = NULL;
	cancel_work_sync(&t->b.work);
	fake_destroy(t->fake);
}

/* The disk that virtio_blk has made of the device */

static int vt_find_disk(struct device *dev, void *data)
{
	struct gendisk **disk = data;

	if (!dev->class || strcmp(dev->class->name, "block"))
		return 0;
	*disk = dev_to_disk(dev);
	return 1;
}

static struct gendisk *vt_disk(struct virtio_test *t)
{
	struct virtio_device *vdev = backend_vdev(&t->b);
	struct gendisk *disk = NULL;

	if (vdev)
		device_for_each_child(&vdev->dev, &disk, vt_find_disk);
	return disk;
}

/* A disk, on a device that is there before its back end */
static void vt_plug(struct kunit *test)
{
	struct virtio_test *t = test->priv;

	vt_create(test, &vt_blk_spec);
	fake_plug(test, t->fake);
	KUNIT_ASSERT_TRUE(test, fake_is_bound(t->fake));
}

/* The back end comes, or comes back, and with it the disk */
static void vt_serve(struct kunit *test)
{
	struct virtio_test *t = test->priv;

	vt_start(test);
	FAKE_WAIT_FOR(test, vt_disk(t));
}

static sector_t vt_partition_sectors(struct gendisk *disk)
{
	struct block_device *partition = xa_load(&disk->part_tbl, 1);

	return partition ? bdev_nr_sectors(partition) : 0;
}

static int vt_transfer(struct gendisk *disk, blk_opf_t op, sector_t sector, void *data,
		       unsigned int len)
{
	struct bio_vec vec;
	struct bio bio;
	int err;

	bio_init(&bio, disk->part0, &vec, 1, op);
	bio.bi_iter.bi_sector = sector;
	__bio_add_page(&bio, virt_to_page(data), len, offset_in_page(data));
	err = submit_bio_wait(&bio);
	bio_uninit(&bio);
	return err;
}

/* A request that nobody waits for */
struct vt_request {
	struct bio bio;
	struct bio_vec vec;
	struct completion done;
};

static void vt_end_request(struct bio *bio)
{
	complete(&container_of(bio, struct vt_request, bio)->done);
}

/* The back end keeps it */
static struct vt_request *vt_submit_kept(struct kunit *test)
{
	struct virtio_test *t = test->priv;
	struct vt_request *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	u8 *data = kunit_kmalloc(test, PAGE_SIZE, GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, r);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, data);
	t->keeps = true;
	init_completion(&r->done);
	bio_init(&r->bio, vt_disk(t)->part0, &r->vec, 1, REQ_OP_READ);
	r->bio.bi_end_io = vt_end_request;
	__bio_add_page(&r->bio, virt_to_page(data), SECTOR_SIZE, offset_in_page(data));
	submit_bio(&r->bio);
	FAKE_WAIT_FOR(test, t->kept);
	return r;
}

static void vt_expect_failed(struct kunit *test, struct vt_request *r)
{
	KUNIT_ASSERT_TRUE(test, completion_done(&r->done));
	KUNIT_EXPECT_EQ(test, blk_status_to_errno(r->bio.bi_status), -EIO);
	bio_uninit(&r->bio);
}

static void virtio_ivshmem_test_probe_backend_is_there(struct kunit *test)
{
	struct virtio_test *t = test->priv;

	vt_create(test, &vt_blk_spec);
	backend_start(&t->b);
	fake_plug(test, t->fake);
	FAKE_WAIT_FOR(test, vt_disk(t));
	KUNIT_EXPECT_EQ(test, t->fake->state, (u32)VIRTIO_IVSHMEM_STATE_READY);
	KUNIT_EXPECT_EQ(test, t->b.driver_features, VT_FEATURES);
}

static void virtio_ivshmem_test_probe_backend_is_late(struct kunit *test)
{
	struct virtio_test *t = test->priv;

	vt_plug(test);
	KUNIT_EXPECT_TRUE(test, vt_is_gone(t));
	KUNIT_EXPECT_EQ(test, t->fake->int_control, 1u);
	vt_serve(test);
}

static void virtio_ivshmem_test_remove_lets_driver_go(struct kunit *test)
{
	struct virtio_test *t = test->priv;

	vt_plug(test);
	vt_start(test);
	fake_unplug(t->fake);
	/* reset, and seen by no driver since */
	KUNIT_EXPECT_FALSE(test, t->b.queue[0].enabled);
	KUNIT_EXPECT_EQ(test, t->b.status, (u32)VIRTIO_CONFIG_S_ACKNOWLEDGE);
	KUNIT_EXPECT_EQ(test, t->fake->state, (u32)VIRTIO_IVSHMEM_STATE_RESET);
	KUNIT_EXPECT_EQ(test, t->fake->int_control, 0u);
	fake_plug(test, t->fake);
	FAKE_WAIT_FOR(test, vt_disk(t));
}

static void virtio_ivshmem_test_shutdown_quiesces(struct kunit *test)
{
	struct virtio_test *t = test->priv;

	vt_plug(test);
	vt_serve(test);
	fake_shutdown(t->fake);
	KUNIT_EXPECT_EQ(test, t->fake->state, (u32)VIRTIO_IVSHMEM_STATE_RESET);
	KUNIT_EXPECT_EQ(test, t->fake->int_control, 0u);
}

/* A number that the driver shows in sysfs */
static u64 vt_show(struct kunit *test, const char *name)
{
	struct virtio_test *t = test->priv;
	struct device *dev = &t->fake->pdev->dev;
	struct attribute **attr = dev->driver->dev_groups[0]->attrs;
	char *text = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);
	struct device_attribute *found;
	u64 value = 0;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, text);
	while (*attr && strcmp((*attr)->name, name))
		attr++;
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, *attr);
	found = container_of(*attr, struct device_attribute, attr);
	KUNIT_EXPECT_GT(test, found->show(dev, found, text), (ssize_t)0);
	KUNIT_EXPECT_EQ(test, kstrtou64(strim(text), 10, &value), 0);
	return value;
}

static void virtio_ivshmem_test_pool_statistics(struct kunit *test)
{
	struct virtio_test *t = test->priv;
	u64 used;

	vt_plug(test);
	KUNIT_EXPECT_EQ(test, vt_show(test, "size"), 0ULL);
	vt_serve(test);
	used = vt_show(test, "used");
	KUNIT_EXPECT_GT(test, used, 0ULL);
	KUNIT_EXPECT_GE(test, vt_show(test, "peak"), used);
	KUNIT_EXPECT_LT(test, vt_show(test, "peak"), vt_show(test, "size"));
	KUNIT_EXPECT_LT(test, vt_show(test, "size"), (u64)SZ_512K);
	KUNIT_EXPECT_GT(test, vt_show(test, "maps"), 0ULL);
	KUNIT_EXPECT_EQ(test, vt_show(test, "failures"), 0ULL);
	backend_leave(&t->b);
	FAKE_WAIT_FOR(test, vt_is_gone(t) && !vt_show(test, "size"));
}

/* What virtio_blk is told of what the config space says by now */
struct vt_bound_case {
	const char *name;
	unsigned int offset;
	unsigned int len;
	u32 value;
	u32 expected;
};

#define VT_CONFIG(field)	offsetof(struct virtio_blk_config, field)

static const struct vt_bound_case vt_bound_cases[] = {
	{ "no segments", VT_CONFIG(seg_max), 4, 0, 1 },
	{ "one segment more", VT_CONFIG(seg_max), 4, 9, 8 },
	{ "segments without end", VT_CONFIG(seg_max), 4, U32_MAX, 8 },
	{ "segments less than a page", VT_CONFIG(size_max), 4, 1, PAGE_SIZE },
	{ "large segments", VT_CONFIG(size_max), 4, U32_MAX, U32_MAX },
	{ "blocks of 4 KiB in blocks of 2 GiB", VT_CONFIG(physical_block_exp), 1, 19, 19 },
	{ "larger blocks", VT_CONFIG(physical_block_exp), 1, 20, 19 },
	{ "blocks without end", VT_CONFIG(physical_block_exp), 1, U8_MAX, 19 },
	{ "what has no bounds", VT_CONFIG(opt_io_size), 4, U32_MAX, U32_MAX },
};

TABLE_PARAM(vt_bound_cases);

static void virtio_ivshmem_test_config_bounds(struct kunit *test)
{
	const struct vt_bound_case *c = test->param_value;
	struct virtio_test *t = test->priv;
	__le32 raw = cpu_to_le32(c->value), told = 0;
	struct virtio_device *vdev;

	vt_plug(test);
	vt_serve(test);
	memcpy((u8 *)t->b.header + VIRTIO_IVSHMEM_CONFIG_OFFSET + c->offset, &raw, c->len);
	vdev = backend_vdev(&t->b);
	vdev->config->get(vdev, c->offset, &told, c->len);
	KUNIT_EXPECT_EQ(test, le32_to_cpu(told), c->expected);
}

struct vt_unfit_case {
	const char *name;
	u32 max_peers;
	u64 rw_size;
};

static const struct vt_unfit_case vt_unfit_cases[] = {
	{ "three peers", 3, SZ_512K },
	{ "no R/W section", 2, 0 },
	{ "R/W section of 9 pages", 2, 9 * PAGE_SIZE },
};

TABLE_PARAM(vt_unfit_cases);

static void virtio_ivshmem_test_probe_unfit(struct kunit *test)
{
	const struct vt_unfit_case *c = test->param_value;
	struct virtio_test *t = test->priv;
	struct fake_spec spec = vt_blk_spec;

	spec.max_peers = c->max_peers;
	spec.rw_size = c->rw_size;
	vt_create(test, &spec);
	fake_plug(test, t->fake);
	KUNIT_EXPECT_FALSE(test, fake_is_bound(t->fake));
}

struct vt_vectors_case {
	const char *name;
	unsigned int vectors;
};

static const struct vt_vectors_case vt_vectors_cases[] = {
	{ "a vector for each queue", 3 },
	{ "a vector for all", 1 },
	{ "INTx", 0 },
};

TABLE_PARAM(vt_vectors_cases);

static void virtio_ivshmem_test_blk_reads_and_writes(struct kunit *test)
{
	const struct vt_vectors_case *c = test->param_value;
	struct fake_spec spec = vt_blk_spec;
	struct virtio_test *t = test->priv;
	struct gendisk *disk;
	u8 *data;

	spec.vectors = c->vectors;
	vt_create(test, &spec);
	fake_plug(test, t->fake);
	vt_start(test);
	FAKE_WAIT_FOR(test, vt_disk(t) && vt_partition_sectors(vt_disk(t)));
	disk = vt_disk(t);
	KUNIT_EXPECT_EQ(test, get_capacity(disk), (sector_t)VT_SECTORS);
	KUNIT_EXPECT_EQ(test, vt_partition_sectors(disk), (sector_t)VT_PARTITION_SECTORS);

	data = kunit_kmalloc(test, PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, data);
	memset(data, 0x77, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, vt_transfer(disk, REQ_OP_WRITE, 16, data, PAGE_SIZE), 0);
	KUNIT_EXPECT_TRUE(test, !memchr_inv(t->disk + 16 * SECTOR_SIZE, 0x77, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, t->disk[16 * SECTOR_SIZE - 1], (u8)0x5a);
	KUNIT_EXPECT_EQ(test, t->disk[16 * SECTOR_SIZE + PAGE_SIZE], (u8)0x5a);
	KUNIT_EXPECT_EQ(test, vt_transfer(disk, REQ_OP_READ, 15, data, 2 * SECTOR_SIZE), 0);
	KUNIT_EXPECT_TRUE(test, !memchr_inv(data, 0x5a, SECTOR_SIZE));
	KUNIT_EXPECT_TRUE(test, !memchr_inv(data + SECTOR_SIZE, 0x77, PAGE_SIZE - SECTOR_SIZE));
}

/* A request that the back end took to its grave fails, and the next disk works */
static void virtio_ivshmem_test_leave_with_requests(struct kunit *test)
{
	struct virtio_test *t = test->priv;
	struct vt_request *r;

	vt_plug(test);
	vt_serve(test);
	r = vt_submit_kept(test);

	backend_leave(&t->b);
	FAKE_WAIT_FOR(test, vt_is_gone(t));
	vt_expect_failed(test, r);
	t->keeps = false;
	vt_serve(test);
}

/* Each transaction of the way up and down */
struct vt_step_case {
	const char *name;
	u32 field;
	bool on_removal;
};

static const struct vt_step_case vt_step_cases[] = {
	{ "device_status", BACKEND_FIELD(device_status) },
	{ "device_features_sel", BACKEND_FIELD(device_features_sel) },
	{ "driver_features_sel", BACKEND_FIELD(driver_features_sel) },
	{ "driver_features", BACKEND_FIELD(driver_features) },
	{ "queue_sel", BACKEND_FIELD(queue_sel) },
	{ "queue_size", BACKEND_FIELD(queue_size) },
	{ "queue_driver_vector", BACKEND_FIELD(queue_driver_vector) },
	{ "queue_desc", BACKEND_FIELD(queue_desc) },
	{ "queue_driver", BACKEND_FIELD(queue_driver) },
	{ "queue_device", BACKEND_FIELD(queue_device) },
	{ "queue_enable", BACKEND_FIELD(queue_enable) },
	{ "device_status when the driver goes", BACKEND_FIELD(device_status), true },
};

TABLE_PARAM(vt_step_cases);

static void virtio_ivshmem_test_leave_in_step(struct kunit *test)
{
	const struct vt_step_case *c = test->param_value;
	struct virtio_test *t = test->priv;

	vt_plug(test);
	if (c->on_removal) {
		vt_start(test);
		t->b.leave_at = c->field;
		fake_unplug(t->fake);
		KUNIT_EXPECT_EQ(test, t->fake->state, (u32)VIRTIO_IVSHMEM_STATE_RESET);
		fake_plug(test, t->fake);
	} else {
		t->b.leave_at = c->field;
		/* as backend_start(), but for leave_at */
		t->b.header->revision = cpu_to_le32(VIRTIO_IVSHMEM_REVISION);
		t->b.header->size = cpu_to_le32(VIRTIO_IVSHMEM_CONFIG_OFFSET +
						t->b.config_bytes);
		fake_set_state(t->fake, BACKEND_PEER, VIRTIO_IVSHMEM_STATE_READY);
		FAKE_WAIT_FOR(test, !t->b.leave_at);
	}
	FAKE_WAIT_FOR(test, vt_is_gone(t));
	vt_serve(test);
}

/* Fields of the header that no back end of sense fills like this */
struct vt_header_case {
	const char *name;
	u32 revision;
	u32 size;
};

static const struct vt_header_case vt_header_cases[] = {
	{ "revision 0", 0, VIRTIO_IVSHMEM_CONFIG_OFFSET },
	{ "revision 2", 2, VIRTIO_IVSHMEM_CONFIG_OFFSET },
	{ "revision of all ones", U32_MAX, VIRTIO_IVSHMEM_CONFIG_OFFSET },
	{ "size 0", 1, 0 },
	{ "size a byte short", 1, VIRTIO_IVSHMEM_CONFIG_OFFSET - 1 },
	{ "size a byte too long", 1, VIRTIO_IVSHMEM_CONFIG_OFFSET + 4097 },
	{ "size of the section", 1, SZ_512K },
	{ "size of all ones", 1, U32_MAX },
};

TABLE_PARAM(vt_header_cases);

static void virtio_ivshmem_test_header_lies(struct kunit *test)
{
	const struct vt_header_case *c = test->param_value;
	struct virtio_test *t = test->priv;

	vt_plug(test);
	t->b.header->revision = cpu_to_le32(c->revision);
	t->b.header->size = cpu_to_le32(c->size);
	fake_set_state(t->fake, BACKEND_PEER, VIRTIO_IVSHMEM_STATE_READY);
	flush_workqueue(vi_workqueue);
	KUNIT_EXPECT_TRUE(test, vt_is_gone(t));
	KUNIT_EXPECT_EQ(test, t->fake->doorbells, 0u);

	backend_leave(&t->b);
	vt_serve(test);
}

/* Answers that no back end of sense gives */
struct vt_answer_case {
	const char *name;
	u64 features;
	u16 queue_size;
	unsigned int queues;
	u32 generation;
	bool expected_to_stay;	/* it is for the virtio driver to give up */
};

static const struct vt_answer_case vt_answer_cases[] = {
	{ "no VIRTIO_F_VERSION_1", BIT_ULL(VIRTIO_BLK_F_SEG_MAX), 64, 1, 0 },
	{ "no features at all", 0, 64, 1, 0 },
	{ "no queues", VT_FEATURES, 64, 0, 0, true },
	{ "queue size is no power of 2", VT_FEATURES, 63, 1, 0 },
	{ "queue size 1", VT_FEATURES, 1, 1, 0 },
	{ "queue size 65535", VT_FEATURES, 65535, 1, 0 },
	{ "config space is never done changing", VT_FEATURES, 64, 1, 1 },
};

TABLE_PARAM(vt_answer_cases);

static void virtio_ivshmem_test_answer_lies(struct kunit *test)
{
	const struct vt_answer_case *c = test->param_value;
	struct virtio_test *t = test->priv;

	vt_plug(test);
	t->b.features = c->features;
	t->b.queue_size = c->queue_size;
	t->b.queues = c->queues;
	t->b.header->config_generation = cpu_to_le32(c->generation);
	backend_start(&t->b);
	FAKE_WAIT_FOR(test, t->fake->doorbells);
	if (c->expected_to_stay)
		FAKE_WAIT_FOR(test, t->b.status & VIRTIO_CONFIG_S_FAILED);
	else
		FAKE_WAIT_FOR(test, t->fake->state == VIRTIO_IVSHMEM_STATE_RESET);
	KUNIT_EXPECT_TRUE(test, !vt_disk(t));

	backend_leave(&t->b);
	FAKE_WAIT_FOR(test, vt_is_gone(t));
	t->b.header->config_generation = 0;
	vt_blk_config(&t->b);
	vt_serve(test);
}

/* What the back end says that it used, of a request that it was given */
struct vt_used_case {
	const char *name;
	u16 ahead;
	u32 head;	/* from the one that was given */
};

static const struct vt_used_case vt_used_cases[] = {
	{ "more than it was given", 2, 0 },
	{ "half of all indices", 0x8000, 0 },
	{ "less than before", 0xffff, 0 },
	{ "a buffer that it was not given", 1, 1 },
	{ "no buffer at all", 1, 0x10000 },
};

TABLE_PARAM(vt_used_cases);

static void virtio_ivshmem_test_used_lies(struct kunit *test)
{
	const struct vt_used_case *c = test->param_value;
	struct virtio_test *t = test->priv;
	struct vt_request *r;
	struct vring *ring;
	__le16 *idx;
	u16 old;

	vt_plug(test);
	vt_serve(test);
	r = vt_submit_kept(test);

	ring = &t->b.queue[0].ring;
	idx = (__force __le16 *)&ring->used->idx;
	old = le16_to_cpu(*idx);
	ring->used->ring[old % ring->num].id = (__force __virtio32)
		cpu_to_le32(le16_to_cpu((__force __le16)ring->avail->ring[old % ring->num]) +
			    c->head);
	WRITE_ONCE(*idx, cpu_to_le16(old + c->ahead));
	fake_interrupt(t->fake, t->b.queue[0].vector);
	FAKE_WAIT_FOR(test, vt_is_gone(t));
	vt_expect_failed(test, r);
}

/* The guest gives up after 5 s, and does not hang */
static void virtio_ivshmem_test_backend_is_mute(struct kunit *test)
{
	struct virtio_test *t = test->priv;

	vt_plug(test);
	backend_start(&t->b);
	t->b.mute_at = BACKEND_FIELD(queue_sel);
	FAKE_WAIT_FOR(test, t->b.mute_at == U32_MAX);
	FAKE_WAIT_FOR(test, vt_is_gone(t));
	backend_leave(&t->b);
	vt_serve(test);
}

/* The console, with control messages both ways: on queues 2 in and 3 out */

#define VT_CONTROL_IN	2
#define VT_CONTROL_OUT	3
#define VT_CONSOLE_PORTS 1

static int vt_console_serve(struct backend *b, unsigned int queue,
			    struct backend_segment *segments, unsigned int n)
{
	struct virtio_test *t = container_of(b, struct virtio_test, b);
	const struct virtio_console_control *message = segments[0].data;

	if (queue != VT_CONTROL_OUT)
		return -1;	/* kept for what is to be said */
	if (t->keeps) {
		t->kept++;
		return -1;
	}
	if (segments[0].len >= sizeof(*message) &&
	    le16_to_cpu((__force __le16)message->event) == VIRTIO_CONSOLE_DEVICE_READY)
		t->console_ready++;
	if (segments[0].len >= sizeof(*message) &&
	    le16_to_cpu((__force __le16)message->event) == VIRTIO_CONSOLE_PORT_READY)
		t->console_ready += 100 + le32_to_cpu((__force __le32)message->id);
	return 0;
}

static void vt_console_say(struct virtio_test *t, u32 id, u16 event)
{
	struct backend *b = &t->b;
	struct backend_queue *q = &b->queue[VT_CONTROL_IN];
	u16 head = le16_to_cpu((__force __le16)
			       q->ring.avail->ring[t->said++ % q->ring.num]);
	struct virtio_console_control *message;

	message = fake_rw(b->fake) + le64_to_cpu((__force __le64)q->ring.desc[head].addr);
	message->id = (__force __virtio32)cpu_to_le32(id);
	message->event = (__force __virtio16)cpu_to_le16(event);
	message->value = (__force __virtio16)cpu_to_le16(1);
	backend_use(b, VT_CONTROL_IN, head, sizeof(*message));
}

static const struct vt_vectors_case vt_console_cases[] = {
	{ "a vector for each queue", 5 },
	{ "a vector for all queues", 2 },
	{ "a vector for all", 1 },
	{ "INTx", 0 },
};

TABLE_PARAM(vt_console_cases);

static void vt_create_console(struct kunit *test, unsigned int vectors)
{
	struct virtio_test *t = test->priv;
	struct fake_spec spec = vt_blk_spec;
	struct virtio_console_config *config;

	spec.protocol = IVSHMEM_PROTO_VIRTIO_FRONT | VIRTIO_ID_CONSOLE;
	spec.vectors = vectors;
	vt_create(test, &spec);
	config = (void *)t->b.header + VIRTIO_IVSHMEM_CONFIG_OFFSET;
	memset(config, 0, sizeof(*config));
	config->max_nr_ports = (__force __virtio32)cpu_to_le32(VT_CONSOLE_PORTS);
	t->b.config_bytes = sizeof(*config);
	t->b.features = BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_CONSOLE_F_MULTIPORT);
	t->b.queues = 2 * VT_CONSOLE_PORTS + 2;
	t->b.serve = vt_console_serve;
	fake_plug(test, t->fake);
}

static void virtio_ivshmem_test_console_opens_port(struct kunit *test)
{
	const struct vt_vectors_case *c = test->param_value;
	struct virtio_test *t = test->priv;

	vt_create_console(test, c->vectors);
	vt_start(test);
	FAKE_WAIT_FOR(test, t->console_ready == 1);

	vt_console_say(t, 0, VIRTIO_CONSOLE_PORT_ADD);
	FAKE_WAIT_FOR(test, t->console_ready == 101);
	backend_leave(&t->b);
	FAKE_WAIT_FOR(test, vt_is_gone(t));
}

/* The driver answers it with a control message, and is done with it */
static void vt_console_add_port(struct kunit *test)
{
	struct virtio_test *t = test->priv;
	const struct vring *ring = &t->b.queue[VT_CONTROL_IN].ring;

	vt_console_say(t, 0, VIRTIO_CONSOLE_PORT_ADD);
	FAKE_WAIT_FOR(test, le16_to_cpu((__force __le16)READ_ONCE(ring->avail->idx)) ==
			    (u16)(ring->num + t->said));
}

/* The driver spins until a control message is used; this back end uses none */
static void virtio_ivshmem_test_console_output_is_posted(struct kunit *test)
{
	struct virtio_test *t = test->priv;
	const struct vring *ring = &t->b.queue[VT_CONTROL_OUT].ring;
	unsigned int i;
	u64 used;

	vt_create_console(test, 5);
	t->b.queue_size = 4;
	t->keeps = true;
	vt_start(test);
	for (i = 1; i < t->b.queue_size; i++)
		vt_console_add_port(test);
	KUNIT_EXPECT_EQ(test, t->kept, 4u);
	KUNIT_EXPECT_EQ(test, t->fake->state, (u32)VIRTIO_IVSHMEM_STATE_READY);

	used = vt_show(test, "used");
	for (i = 0; i < 2; i++)
		backend_use(&t->b, VT_CONTROL_OUT,
			    le16_to_cpu((__force __le16)ring->avail->ring[i]), 0);
	FAKE_WAIT_FOR(test, vt_show(test, "used") < used);
	vt_console_add_port(test);
	KUNIT_EXPECT_EQ(test, t->kept, 5u);

	vt_console_add_port(test);
	KUNIT_EXPECT_EQ(test, t->kept, 6u);
	vt_console_say(t, 0, VIRTIO_CONSOLE_PORT_ADD);	/* no room for its answer */
	FAKE_WAIT_FOR(test, vt_is_gone(t));
	KUNIT_EXPECT_EQ(test, t->kept, 6u);
	backend_leave(&t->b);
	t->keeps = false;
	t->said = 0;
	vt_start(test);
	FAKE_WAIT_FOR(test, t->console_ready == 1);
}

/* The interrupt core stops what interrupts 100000 times and is not handled */
static void virtio_ivshmem_test_idle_interrupts(struct kunit *test)
{
	struct virtio_test *t = test->priv;
	unsigned int i;
	int irq;

	vt_plug(test);
	vt_serve(test);
	irq = pci_irq_vector(t->fake->pdev, t->b.queue[0].vector);
	for (i = 0; i < 100001; i++)
		fake_interrupt(t->fake, t->b.queue[0].vector);
	KUNIT_EXPECT_FALSE(test, irqd_irq_disabled(irq_get_irq_data(irq)));
}

static struct kunit_case virtio_ivshmem_cases[] = {
	KUNIT_CASE(virtio_ivshmem_test_probe_backend_is_there),
	KUNIT_CASE(virtio_ivshmem_test_probe_backend_is_late),
	KUNIT_CASE_PARAM(virtio_ivshmem_test_probe_unfit, vt_unfit_cases_gen_params),
	KUNIT_CASE(virtio_ivshmem_test_remove_lets_driver_go),
	KUNIT_CASE(virtio_ivshmem_test_shutdown_quiesces),
	KUNIT_CASE(virtio_ivshmem_test_pool_statistics),
	KUNIT_CASE_PARAM(virtio_ivshmem_test_config_bounds, vt_bound_cases_gen_params),
	KUNIT_CASE_PARAM(virtio_ivshmem_test_blk_reads_and_writes, vt_vectors_cases_gen_params),
	KUNIT_CASE(virtio_ivshmem_test_leave_with_requests),
	KUNIT_CASE_PARAM(virtio_ivshmem_test_leave_in_step, vt_step_cases_gen_params),
	KUNIT_CASE_PARAM(virtio_ivshmem_test_header_lies, vt_header_cases_gen_params),
	KUNIT_CASE_PARAM(virtio_ivshmem_test_answer_lies, vt_answer_cases_gen_params),
	KUNIT_CASE_PARAM(virtio_ivshmem_test_used_lies, vt_used_cases_gen_params),
	KUNIT_CASE(virtio_ivshmem_test_backend_is_mute),
	KUNIT_CASE_PARAM(virtio_ivshmem_test_console_opens_port, vt_console_cases_gen_params),
	KUNIT_CASE(virtio_ivshmem_test_console_output_is_posted),
	KUNIT_CASE(virtio_ivshmem_test_idle_interrupts),
	{}
};

static struct kunit_suite virtio_ivshmem_suite = {
	.name = "virtio_ivshmem",
	.init = virtio_ivshmem_init,
	.exit = virtio_ivshmem_exit,
	.test_cases = virtio_ivshmem_cases,
};

kunit_test_suite(virtio_ivshmem_suite);
