/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What drivers see of the ivshmem core (drivers/misc/ivshmem.c): one device
 * with its registers and sections mapped, its vectors, and the few register
 * accesses that every protocol needs.
 */
#ifndef _LINUX_IVSHMEM_H
#define _LINUX_IVSHMEM_H

#include <linux/io.h>
#include <linux/ivshmem-layout.h>
#include <linux/pci.h>

/**
 * struct ivshmem_device - an ivshmem device that a driver has enabled
 * @pdev: the PCI device
 * @regs: BAR 0
 * @shmem: the shared memory, cached; the peer writes it at any moment
 * @phys: physical address of @shmem
 * @layout: where the sections lie in it
 * @cap: offset of the vendor capability in config space
 * @id: this peer, below @max_peers
 * @max_peers: 2..65536
 * @vectors: number of vectors allocated, 0 before ivshmem_alloc_vectors()
 * @protocol: IVSHMEM_PROTO_*
 */
struct ivshmem_device {
	struct pci_dev *pdev;
	void __iomem *regs;
	void *shmem;
	phys_addr_t phys;
	struct ivshmem_layout layout;
	int cap;
	u32 id;
	u32 max_peers;
	unsigned int vectors;
	u16 protocol;
};

struct ivshmem_device *ivshmem_enable(struct pci_dev *pdev);
int ivshmem_alloc_vectors(struct ivshmem_device *ivd, unsigned int max_vectors);
void ivshmem_set_oneshot(struct ivshmem_device *ivd, bool on);
void ivshmem_quiesce(struct ivshmem_device *ivd);

/**
 * ivshmem_int_enable() - let the device deliver interrupts, or not
 * @ivd: the device
 * @on: deliver INTx and every MSI-X vector
 *
 * Events that arrive while delivery is off are lost: enable first, then look
 * at the shared state again.
 */
static inline void ivshmem_int_enable(struct ivshmem_device *ivd, bool on)
{
	iowrite32(on ? IVSHMEM_INT_ENABLE : 0,
		  ivd->regs + IVSHMEM_REG_INT_CONTROL);
}

/**
 * ivshmem_doorbell() - interrupt a peer
 * @ivd: the device
 * @id: of the target; nothing happens if it is not there
 * @vector: of the target; nothing happens if it has not so many
 *
 * What was written to the shared memory before is visible to the target
 * before its interrupt: iowrite32() orders earlier stores.
 */
static inline void ivshmem_doorbell(struct ivshmem_device *ivd, u16 id,
				    u16 vector)
{
	iowrite32((u32)id << IVSHMEM_DOORBELL_ID_SHIFT | vector,
		  ivd->regs + IVSHMEM_REG_DOORBELL);
}

/**
 * ivshmem_set_state() - change this peer's entry in the State Table
 * @ivd: the device
 * @state: protocol specific, IVSHMEM_STATE_RESET = not there
 *
 * Every other peer with interrupts enabled gets vector 0 if the value is new.
 */
static inline void ivshmem_set_state(struct ivshmem_device *ivd, u32 state)
{
	iowrite32(state, ivd->regs + IVSHMEM_REG_STATE);
}

/**
 * ivshmem_peer_state() - read one entry of the State Table
 * @ivd: the device
 * @id: below @ivd->max_peers
 *
 * Return: the state as the peer set it, any value at all;
 * IVSHMEM_STATE_RESET also when the peer is gone.
 */
static inline u32 ivshmem_peer_state(const struct ivshmem_device *ivd, u32 id)
{
	const __le32 *table = ivd->shmem;

	return le32_to_cpu(READ_ONCE(table[id]));
}

#endif /* _LINUX_IVSHMEM_H */
