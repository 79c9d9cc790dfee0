/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An ivshmem device that is made of the test's memory, on a PCI bus of its own
 * in user-mode Linux. The test is the hypervisor and the peers.
 */
#ifndef _IVSHMEM_KUNIT_FAKE_H
#define _IVSHMEM_KUNIT_FAKE_H

#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/ivshmem.h>

#define FAKE_CONFIG_BYTES	256
#define FAKE_CAP		0x40	/* of the vendor */
#define FAKE_MSIX		0x60
#define FAKE_BAR_BYTES		4096	/* registers, MSI-X table */
#define FAKE_MAX_VECTORS	16
#define FAKE_SHMEM_ORDER	8
#define FAKE_SHMEM_BYTES	(PAGE_SIZE << FAKE_SHMEM_ORDER)

struct fake;

/**
 * struct fake_spec - a device that has not been plugged in yet
 * @protocol: IVSHMEM_PROTO_*
 * @id: of the guest
 * @max_peers: how many there are
 * @vectors: of MSI-X, up to FAKE_MAX_VECTORS; 0 = the device has INTx alone
 * @rw_size: bytes
 * @output_size: bytes
 * @no_bar2: the capability says where the sections are
 * @doorbell: what happens when the guest rings; called where it does so
 * @priv: for the test
 */
struct fake_spec {
	u16 protocol;
	u32 id;
	u32 max_peers;
	unsigned int vectors;
	u64 rw_size;
	u64 output_size;
	bool no_bar2;
	void (*doorbell)(struct fake *fake, u16 peer, u16 vector);
	void *priv;
};

/**
 * struct fake - the device
 * @spec: what it was made of
 * @config: its config space; what a test changes before fake_plug() is seen
 * @bar_bytes: sizes of its BARs, likewise
 * @int_control: register
 * @state: register
 * @max_peers: register
 * @id: register
 * @doorbells: how often the guest has rung
 * @msix: the table of vectors
 * @shmem: BAR 2
 * @pdev: the device as the kernel sees it, while it is plugged in
 * @bridge: above it
 * @window: for registers
 * @shmem_window: for BAR 2
 * @ram: lets memremap() find memory where BAR 2 is
 * @bus: its number
 * @fwnode: of the interrupt domains
 * @irqs: of the vectors
 * @msi: above @irqs
 * @used: which of @irqs are
 * @intx: interrupt of the pin, if there are no vectors
 */
struct fake {
	struct fake_spec spec;
	u8 config[FAKE_CONFIG_BYTES];
	u32 bar_bytes[3];
	u32 int_control;
	u32 state;
	u32 max_peers;
	u32 id;
	unsigned int doorbells;
	u8 msix[FAKE_BAR_BYTES];
	void *shmem;
	struct pci_dev *pdev;
	struct pci_host_bridge *bridge;
	struct resource window;
	struct resource shmem_window;
	struct resource ram;
	struct resource bus;
	struct fwnode_handle *fwnode;
	struct irq_domain *irqs;
	struct irq_domain *msi;
	unsigned long used;
	unsigned int intx;
};

struct fake *fake_create(struct kunit *test, const struct fake_spec *spec);
void fake_plug(struct kunit *test, struct fake *fake);
void fake_unplug(struct fake *fake);
void fake_shutdown(struct fake *fake);
void fake_destroy(struct fake *fake);

void fake_interrupt(struct fake *fake, unsigned int vector);
void fake_set_state(struct fake *fake, u32 peer, u32 state);

/* In config space, for the time before fake_plug() */
void fake_put(struct fake *fake, unsigned int offset, u64 value, unsigned int bytes);

static inline bool fake_is_bound(const struct fake *fake)
{
	return fake->pdev && fake->pdev->dev.driver;
}

static inline void *fake_rw(const struct fake *fake)
{
	return fake->shmem + PAGE_SIZE;
}

static inline void *fake_output(const struct fake *fake, u32 peer)
{
	return fake_rw(fake) + fake->spec.rw_size + peer * fake->spec.output_size;
}

#define FAKE_WAIT_MS	20000

/* Polls, because what the kernel does in its works has no other end to see */
#define FAKE_WAIT_FOR(test, condition)					\
do {									\
	unsigned long __end = jiffies + msecs_to_jiffies(FAKE_WAIT_MS);	\
	bool __done;							\
									\
	while (!(__done = (condition)) && time_before(jiffies, __end))	\
		usleep_range(1000, 2000);				\
	KUNIT_ASSERT_TRUE_MSG(test, __done, "%s: not after %u ms",	\
			      #condition, FAKE_WAIT_MS);		\
} while (0)

#endif /* _IVSHMEM_KUNIT_FAKE_H */
