// SPDX-License-Identifier: GPL-2.0
/*
 * The header: field writes as transactions with the back end, features, device
 * status and config space. Each value of the back end is read once and bounded;
 * no wait for it lasts longer than VI_ANSWER_MS or survives its leaving.
 *
 * Implements "Header" and "Transactions" of Documentation/ivshmem/virtio.rst.
 */
#include <linux/delay.h>
#include <linux/virtio_ring.h>
#include <uapi/linux/virtio_blk.h>

#include "virtio_ivshmem.h"

/* Changes of the config space seen in a row before we call it a lie */
#define VI_MAX_GENERATIONS	1000
/* Blocks of 4 KiB, so many times doubled, are the most that 32 bits hold */
#define VI_BLK_MAX_BLOCK_EXP	19

/*
 * Of the transport and not of ours, or not with private copies of the rings.
 * And no packed rings: where the pool is full, virtio_ring fails a request on
 * them with -EIO, which drivers take for an I/O error, not with -ENOMEM, after
 * which they try again; up to 6.12.y it also leaves descriptors behind that
 * the back end takes for available.
 */
#define VI_HIDDEN_FEATURES						\
	(BIT_ULL(VIRTIO_F_NOTIFICATION_DATA) | BIT_ULL(VIRTIO_F_RING_RESET) | \
	 BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_F_IN_ORDER))

/*
 * Settled with the back end by virtio_ivshmem_split.c: to virtio_ring the other
 * side of its private rings is this driver.
 */
#define VI_OWN_FEATURES							\
	(BIT_ULL(VIRTIO_RING_F_EVENT_IDX) | BIT_ULL(VIRTIO_F_ORDER_PLATFORM))

static bool vi_transaction_done(struct vi_vdev *vv)
{
	return !READ_ONCE(vv->header->write_transaction);
}

static int vi_wait_done(struct vi_vdev *vv)
{
	unsigned long end = jiffies + msecs_to_jiffies(VI_ANSWER_MS);
	unsigned int spins = 0;

	while (!vi_transaction_done(vv)) {
		if (READ_ONCE(vv->dead))
			return -ENODEV;
		if (!vi_peer_ready(vv->vi)) {
			vi_declare_dead(vv);
			return -ENODEV;
		}
		if (time_after(jiffies, end))
			return vi_fail(vv, -ETIMEDOUT, "back end does not answer");
		if (++spins < 100)
			cpu_relax();
		else
			usleep_range(20, 200);
	}
	virt_rmb(); /* what the back end wrote before it stored 0 */
	return 0;
}

static int vi_transact(struct vi_vdev *vv, unsigned int offset,
		       const void *value, size_t len)
{
	int err;

	lockdep_assert_held(&vv->transaction);
	if (READ_ONCE(vv->dead))
		return -ENODEV;	/* the header is not ours any more */
	err = vi_wait_done(vv);
	if (err)
		return err;
	memcpy((u8 *)vv->header + offset, value, len);
	virt_wmb(); /* the field before its offset */
	WRITE_ONCE(vv->header->write_transaction, cpu_to_le32(offset));
	ivshmem_doorbell(vv->vi->ivd, vv->vi->peer, VIRTIO_IVSHMEM_VECTOR_CONFIG);
	return vi_wait_done(vv);
}

int vi_write16(struct vi_vdev *vv, unsigned int offset, u16 value)
{
	__le16 le = cpu_to_le16(value);

	return vi_transact(vv, offset, &le, sizeof(le));
}

int vi_write32(struct vi_vdev *vv, unsigned int offset, u32 value)
{
	__le32 le = cpu_to_le32(value);

	return vi_transact(vv, offset, &le, sizeof(le));
}

int vi_write64(struct vi_vdev *vv, unsigned int offset, u64 value)
{
	__le64 le = cpu_to_le64(value);

	return vi_transact(vv, offset, &le, sizeof(le));
}

static void vi_clamp32(void *value, u32 min, u32 max)
{
	__le32 le;

	memcpy(&le, value, sizeof(le));
	le = cpu_to_le32(clamp(le32_to_cpu(le), min, max));
	memcpy(value, &le, sizeof(le));
}

/*
 * A request must fit into an empty pool: a block device is told so. The block
 * layer warns of segments smaller than a page, and virtio_blk shifts by the
 * exponent as it is.
 */
static void vi_clamp_config(struct vi_vdev *vv, unsigned int offset, void *buf,
			    unsigned int len)
{
	if (vv->vdev.id.device != VIRTIO_ID_BLOCK)
		return;
	if (offset == offsetof(struct virtio_blk_config, seg_max) &&
	    len == sizeof(__le32))
		vi_clamp32(buf, 1, vv->max_segments);
	if (offset == offsetof(struct virtio_blk_config, size_max) &&
	    len == sizeof(__le32))
		vi_clamp32(buf, PAGE_SIZE, U32_MAX);
	if (offset == offsetof(struct virtio_blk_config, physical_block_exp) &&
	    len == sizeof(u8))
		*(u8 *)buf = min_t(u8, *(u8 *)buf, VI_BLK_MAX_BLOCK_EXP);
}

void vi_get(struct virtio_device *vdev, unsigned int offset, void *buf,
	    unsigned int len)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);
	u32 size = vv->header_size - VIRTIO_IVSHMEM_CONFIG_OFFSET;

	memset(buf, 0, len);
	if (offset > size || len > size - offset || READ_ONCE(vv->dead))
		return;
	memcpy(buf, (u8 *)vv->header + VIRTIO_IVSHMEM_CONFIG_OFFSET + offset, len);
	vi_clamp_config(vv, offset, buf, len);
}

void vi_set(struct virtio_device *vdev, unsigned int offset, const void *buf,
	    unsigned int len)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);
	u32 size = vv->header_size - VIRTIO_IVSHMEM_CONFIG_OFFSET;

	if (offset > size || len > size - offset)
		return;
	mutex_lock(&vv->transaction);
	vi_transact(vv, VIRTIO_IVSHMEM_CONFIG_OFFSET + offset, buf, len);
	mutex_unlock(&vv->transaction);
}

/*
 * The core reads until two generations are alike, so ours must become so: an
 * odd one is waited for, and one that never rests ends with the device.
 */
u32 vi_generation(struct virtio_device *vdev)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);
	u32 now;

	while (!READ_ONCE(vv->dead)) {
		now = le32_to_cpu(READ_ONCE(vv->header->config_generation));
		virt_rmb(); /* config space after its generation, and before */
		if (now == vv->generation && !(now & 1)) {
			vv->generation_changes = 0;
			return now;
		}
		vv->generation = now;
		if (++vv->generation_changes > VI_MAX_GENERATIONS)
			vi_fail(vv, 0, "config space is never done changing");
		if (!(now & 1))
			return now;
		usleep_range(20, 200);
	}
	return 0;
}

u8 vi_get_status(struct virtio_device *vdev)
{
	return READ_ONCE(to_vi_vdev(vdev)->status);
}

void vi_set_status(struct virtio_device *vdev, u8 status)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);

	mutex_lock(&vv->transaction);
	WRITE_ONCE(vv->status, status);
	vi_write32(vv, VI_OFFSET(device_status), status);
	mutex_unlock(&vv->transaction);
}

void vi_reset(struct virtio_device *vdev)
{
	vi_set_status(vdev, 0);
	vi_show_posting(to_vi_vdev(vdev));
}

static int vi_read_features(struct vi_vdev *vv, u32 half, u64 *features)
{
	int err = vi_write32(vv, VI_OFFSET(device_features_sel), half);

	if (!err)
		*features |= (u64)le32_to_cpu(READ_ONCE(vv->header->device_features))
			     << (32 * half);
	return err;
}

u64 vi_get_features(struct virtio_device *vdev)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);
	u64 features = 0;

	mutex_lock(&vv->transaction);
	if (!vi_read_features(vv, 0, &features))
		vi_read_features(vv, 1, &features);
	vv->features = features & ~VI_HIDDEN_FEATURES;
	if (vi_can_be_direct(vv) || vv->vdev.id.device == VIRTIO_ID_CONSOLE)
		vv->features &= ~BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	mutex_unlock(&vv->transaction);

	/* without it the rings and buffers would not go through the pool */
	return (vv->features & ~VI_OWN_FEATURES) |
	       BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
}

static int vi_write_features(struct vi_vdev *vv, u64 features)
{
	u32 half;
	int err = 0;

	mutex_lock(&vv->transaction);
	for (half = 0; half < 2 && !err; half++) {
		err = vi_write32(vv, VI_OFFSET(driver_features_sel), half);
		if (!err)
			err = vi_write32(vv, VI_OFFSET(driver_features),
					 features >> (32 * half));
	}
	mutex_unlock(&vv->transaction);
	return err;
}

int vi_finalize_features(struct virtio_device *vdev)
{
	struct vi_vdev *vv = to_vi_vdev(vdev);

	vring_transport_features(vdev);
	if (!__virtio_test_bit(vdev, VIRTIO_F_VERSION_1))
		return vi_fail(vv, -EINVAL, "back end lacks VIRTIO_F_VERSION_1");
	vv->features &= vdev->features | VI_OWN_FEATURES;
	return vi_write_features(vv, vv->features);
}

const char *vi_bus_name(struct virtio_device *vdev)
{
	return pci_name(to_vi_vdev(vdev)->vi->ivd->pdev);
}
