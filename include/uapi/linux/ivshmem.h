/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * The ivshmem v2 PCI device: everything that a driver, a device model and a
 * program in user space have to agree on. Documentation/ivshmem/device.rst
 * describes the device; this file owns the numbers.
 *
 * All multi-byte values are little endian.
 */
#ifndef _UAPI_LINUX_IVSHMEM_H
#define _UAPI_LINUX_IVSHMEM_H

#include <linux/types.h>

/*
 * PCI identification. The 16-bit protocol type stands in the interface and
 * sub-class bytes, so the class code a driver matches is 0xff0000 | type.
 */
#define IVSHMEM_VENDOR_ID		0x110a
#define IVSHMEM_DEVICE_ID		0x4106
#define IVSHMEM_CLASS_BASE		0xff0000
#define IVSHMEM_CLASS_MASK		0xffffff

/* BARs */
#define IVSHMEM_BAR_REGISTERS		0
#define IVSHMEM_BAR_MSIX		1
#define IVSHMEM_BAR_SHMEM		2

/* Protocol types */
#define IVSHMEM_PROTO_UNDEFINED		0x0000
#define IVSHMEM_PROTO_NET		0x0001
#define IVSHMEM_PROTO_USER_FIRST	0x4000
#define IVSHMEM_PROTO_USER_LAST		0x7fff
#define IVSHMEM_PROTO_KIND		0xc000	/* mask: user, front, back */
#define IVSHMEM_PROTO_VIRTIO_FRONT	0x8000	/* | virtio device id */
#define IVSHMEM_PROTO_VIRTIO_BACK	0xc000	/* | virtio device id */
#define IVSHMEM_PROTO_VIRTIO_ROLE	0x4000	/* set: back end */
#define IVSHMEM_PROTO_VIRTIO_ID		0x3fff	/* mask of the device id */

/*
 * Vendor capability (PCI_CAP_ID_VNDR), read only but for bit 0 of the
 * privileged control byte.
 *
 *   00  id = 09 | next | length = 18 or 20 | privileged control
 *   04  State Table size, bytes, never 0
 *   08  R/W section size, bytes, 0 = no such section
 *   10  output section size, bytes, 0 = no such sections
 *   18  base address of the shared memory, only where there is no BAR 2
 */
#define IVSHMEM_CAP_LENGTH		0x02
#define IVSHMEM_CAP_PRIV_CONTROL	0x03
#define IVSHMEM_CAP_STATE_TABLE_SIZE	0x04
#define IVSHMEM_CAP_RW_SIZE		0x08
#define IVSHMEM_CAP_OUTPUT_SIZE		0x10
#define IVSHMEM_CAP_BASE_ADDRESS	0x18

#define IVSHMEM_CAP_LENGTH_BAR		0x18
#define IVSHMEM_CAP_LENGTH_BASE		0x20

/* Each delivered interrupt clears IVSHMEM_INT_ENABLE by itself */
#define IVSHMEM_PRIV_ONESHOT_INT	0x01

/**
 * struct ivshmem_cap - the vendor capability as it stands in config space
 * @id: PCI_CAP_ID_VNDR
 * @next: offset of the next capability
 * @length: IVSHMEM_CAP_LENGTH_BAR or IVSHMEM_CAP_LENGTH_BASE
 * @priv_control: IVSHMEM_PRIV_ONESHOT_INT or 0
 * @state_table_size: bytes, a multiple of the page size, never 0
 * @rw_size: bytes, a multiple of the page size, 0 = absent
 * @output_size: bytes of one peer's section, likewise
 * @base_address: guest physical address, valid if @length says so
 */
struct ivshmem_cap {
	__u8 id;
	__u8 next;
	__u8 length;
	__u8 priv_control;
	__le32 state_table_size;
	__le64 rw_size;
	__le64 output_size;
	__le64 base_address;
};

/*
 * Registers in BAR 0: aligned 32-bit accesses only, in one page of their own.
 * Other offsets read 0 and ignore writes.
 */
#define IVSHMEM_REG_ID			0x00	/* r/o */
#define IVSHMEM_REG_MAX_PEERS		0x04	/* r/o, 2..65536 */
#define IVSHMEM_REG_INT_CONTROL		0x08	/* r/w, 0 after reset */
#define IVSHMEM_REG_DOORBELL		0x0c	/* w/o */
#define IVSHMEM_REG_STATE		0x10	/* r/w, 0 after reset */

#define IVSHMEM_INT_ENABLE		0x01

/* Doorbell: target peer id in the upper half, its vector in the lower */
#define IVSHMEM_DOORBELL_ID_SHIFT	16
#define IVSHMEM_DOORBELL_VECTOR_MASK	0xffff

#define IVSHMEM_MIN_PEERS		2
#define IVSHMEM_MAX_PEERS		65536

/* Vector 0 (or INTx) always also means: look at the State Table */
#define IVSHMEM_VECTOR_STATE		0

/* State 0: reset, absent or gone, in every protocol */
#define IVSHMEM_STATE_RESET		0

/*
 * The shared memory, from its base (BAR 2 or base address) upwards:
 *
 *   +----------------------+ 0
 *   | State Table          |   u32 per peer, index = id; read only for guests
 *   +----------------------+ state_table_size
 *   | R/W section          |   every peer reads and writes
 *   +----------------------+ + rw_size
 *   | output section 0     |   peer 0 writes, every peer reads
 *   | output section 1     |   peer 1 writes, every peer reads
 *   |   ...                |
 *   | output section n-1   |   n = Maximum Peers
 *   +----------------------+ + n * output_size
 *
 * The output sections together, seen from a peer, are its input sections.
 */

#endif /* _UAPI_LINUX_IVSHMEM_H */
