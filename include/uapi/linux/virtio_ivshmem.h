/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * Virtio over ivshmem, revision 1: what the front end (the transport in the
 * guest's kernel) and the back end (a process) have to agree on.
 * Documentation/ivshmem/virtio.rst describes it; this file owns the numbers.
 *
 * Everything shared lies in the R/W section: this header at its start, then
 * rings and buffers, which the front end places. Addresses in rings and in
 * the header are offsets into the section. All fields are little endian.
 *
 * The life of a link; "sets" means the State register:
 *
 *   back end                             front end
 *   sets RESET
 *   waits for RESET of the front end     sets RESET when it is without device
 *   fills the header
 *   sets READY             --------->    checks the header
 *   waits for READY        <---------    sets READY, drives the device
 *   serves, until the front end leaves   until the back end leaves READY:
 *   READY, then starts over              the device goes, then RESET
 *
 * A field that the front end writes is a transaction: it waits until
 * write_transaction is 0, stores the field, then the field's offset in
 * write_transaction, and rings vector 0. The back end acts and stores 0. The
 * fields from queue_size to queue_device belong to the queue that queue_sel
 * names, device_features to the half that device_features_sel names.
 */
#ifndef _UAPI_LINUX_VIRTIO_IVSHMEM_H
#define _UAPI_LINUX_VIRTIO_IVSHMEM_H

#include <linux/types.h>

#define VIRTIO_IVSHMEM_REVISION		1

/* State register */
#define VIRTIO_IVSHMEM_STATE_RESET	0
#define VIRTIO_IVSHMEM_STATE_READY	1

/* Vector 0 is for configuration and transactions; queues have theirs above */
#define VIRTIO_IVSHMEM_VECTOR_CONFIG	0

/* config_event, queue_event */
#define VIRTIO_IVSHMEM_EVENT		0x01

/**
 * struct virtio_ivshmem_header - the start of the R/W section
 * @revision: VIRTIO_IVSHMEM_REVISION (back end)
 * @size: bytes of this header and the config space behind it (back end)
 * @write_transaction: offset of the field that the front end just wrote,
 *	0 = done (both)
 * @device_features: the half that was selected (back end)
 * @device_features_sel: 0 = bits 0-31, 1 = bits 32-63 (front end)
 * @driver_features: the half that was selected (front end)
 * @driver_features_sel: likewise (front end)
 * @queue_sel: which queue the fields up to @queue_device are of (front end)
 * @queue_size: descriptors; 0 = no such queue (back end, then front end)
 * @queue_device_vector: what the front end rings for the queue (back end)
 * @queue_driver_vector: what the back end rings for the queue (front end)
 * @queue_enable: 1 = the fields below are valid (front end)
 * @queue_desc: offset of the descriptors (front end)
 * @queue_driver: offset of the avail ring or driver event area (front end)
 * @queue_device: offset of the used ring or device event area (front end)
 * @config_event: VIRTIO_IVSHMEM_EVENT before the interrupt of a config change,
 *	cleared by the front end (both)
 * @queue_event: likewise for used buffers (both)
 * @reserved: 0
 * @device_status: 0 resets the device (front end)
 * @config_generation: odd while the config space is being changed (back end)
 *
 * The config space of the virtio device type follows at offset 0x4c.
 */
struct virtio_ivshmem_header {
	__le32 revision;
	__le32 size;
	__le32 write_transaction;
	__le32 device_features;
	__le32 device_features_sel;
	__le32 driver_features;
	__le32 driver_features_sel;
	__le32 queue_sel;
	__le16 queue_size;
	__le16 queue_device_vector;
	__le16 queue_driver_vector;
	__le16 queue_enable;
	__le64 queue_desc;
	__le64 queue_driver;
	__le64 queue_device;
	__u8 config_event;
	__u8 queue_event;
	__le16 reserved;
	__le32 device_status;
	__le32 config_generation;
};

#define VIRTIO_IVSHMEM_CONFIG_OFFSET	0x4c

#endif /* _UAPI_LINUX_VIRTIO_IVSHMEM_H */
