// SPDX-License-Identifier: GPL-2.0
/*
 * Config space is an array behind struct pci_ops. Registers and the table of
 * MSI-X are served by logic_iomem, which user-mode Linux has in place of memory
 * that devices decode. BAR 2 is memory, declared as such, so that memremap()
 * finds it. The vectors are of an interrupt domain that the bridge brings.
 *
 * One device at a time. Implements Documentation/ivshmem/device.rst as far as
 * the drivers see it.
 */
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/logic_iomem.h>
#include <linux/mm.h>
#include <linux/msi.h>
#include <linux/slab.h>

#include "fake.h"

#define FAKE_BUS		0x10	/* 0 is user-mode Linux's own */
#define FAKE_WINDOW		0x20000000UL
#define FAKE_WINDOW_BYTES	0x01000000UL
#define FAKE_BAR64_PREFETCH	(PCI_BASE_ADDRESS_MEM_TYPE_64 | \
				 PCI_BASE_ADDRESS_MEM_PREFETCH)

/* logic_iomem's regions are for ever: what they lead to is found here */
static struct fake *fake_now;

/* Config space */

void fake_put(struct fake *fake, unsigned int offset, u64 value, unsigned int bytes)
{
	__le64 le = cpu_to_le64(value);

	memcpy(fake->config + offset, &le, bytes);
}

static u32 fake_get(const struct fake *fake, unsigned int offset, unsigned int bytes)
{
	__le32 le = 0;

	memcpy(&le, fake->config + offset, bytes);
	return le32_to_cpu(le);
}

static bool fake_is_there(const struct pci_bus *bus, unsigned int devfn)
{
	return fake_now && bus->number == FAKE_BUS && !devfn;
}

static int fake_config_read(struct pci_bus *bus, unsigned int devfn, int where,
			    int size, u32 *value)
{
	*value = ~0;
	if (!fake_is_there(bus, devfn))
		return PCIBIOS_DEVICE_NOT_FOUND;
	*value = where + size > FAKE_CONFIG_BYTES ? 0 : fake_get(fake_now, where, size);
	return PCIBIOS_SUCCESSFUL;
}

static void fake_write_bar(struct fake *fake, int where, u32 value)
{
	unsigned int bar = (where - PCI_BASE_ADDRESS_0) / 4;
	u32 flags = fake_get(fake, where, 1) & ~PCI_BASE_ADDRESS_MEM_MASK;

	if (bar == 3)	/* upper half of BAR 2 */
		fake_put(fake, where, fake->bar_bytes[2] ? value : 0, 4);
	else if (bar < 3 && fake->bar_bytes[bar])
		fake_put(fake, where, (value & ~(fake->bar_bytes[bar] - 1)) | flags, 4);
}

static int fake_config_write(struct pci_bus *bus, unsigned int devfn, int where,
			     int size, u32 value)
{
	if (!fake_is_there(bus, devfn))
		return PCIBIOS_DEVICE_NOT_FOUND;
	switch (where) {
	case PCI_BASE_ADDRESS_0 ... PCI_BASE_ADDRESS_5:
		fake_write_bar(fake_now, where, value);
		break;
	case PCI_COMMAND:
	case PCI_CACHE_LINE_SIZE:
	case PCI_LATENCY_TIMER:
	case PCI_INTERRUPT_LINE:
	case FAKE_CAP + IVSHMEM_CAP_PRIV_CONTROL:
		fake_put(fake_now, where, value, size);
		break;
	case FAKE_MSIX + PCI_MSIX_FLAGS:
		value &= PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL;
		fake_put(fake_now, where, value | (fake_now->spec.vectors - 1), 2);
		break;
	}
	return PCIBIOS_SUCCESSFUL;
}

static struct pci_ops fake_config_ops = {
	.read = fake_config_read,
	.write = fake_config_write,
};

/* Registers */

static unsigned long fake_read_reg(void *priv, unsigned int offset, int size)
{
	switch (offset) {
	case IVSHMEM_REG_ID:
		return fake_now->id;
	case IVSHMEM_REG_MAX_PEERS:
		return fake_now->max_peers;
	case IVSHMEM_REG_INT_CONTROL:
		return fake_now->int_control;
	case IVSHMEM_REG_STATE:
		return fake_now->state;
	default:
		return 0;
	}
}

static void fake_write_state(struct fake *fake, u32 state)
{
	__le32 *table = fake->shmem;

	fake->state = state;
	if (fake->id < fake->max_peers && fake->max_peers <= PAGE_SIZE / 4)
		WRITE_ONCE(table[fake->id], cpu_to_le32(state));
}

static void fake_write_reg(void *priv, unsigned int offset, int size,
			   unsigned long value)
{
	struct fake *fake = fake_now;

	switch (offset) {
	case IVSHMEM_REG_INT_CONTROL:
		fake->int_control = value & IVSHMEM_INT_ENABLE;
		break;
	case IVSHMEM_REG_STATE:
		fake_write_state(fake, value);
		break;
	case IVSHMEM_REG_DOORBELL:
		fake->doorbells++;
		if (fake->spec.doorbell)
			fake->spec.doorbell(fake, value >> IVSHMEM_DOORBELL_ID_SHIFT,
					    value & IVSHMEM_DOORBELL_VECTOR_MASK);
		break;
	}
}

static const struct logic_iomem_ops fake_reg_ops = {
	.read = fake_read_reg,
	.write = fake_write_reg,
};

static unsigned long fake_read_msix(void *priv, unsigned int offset, int size)
{
	unsigned long value = 0;

	memcpy(&value, fake_now->msix + offset, size);
	return value;
}

static void fake_write_msix(void *priv, unsigned int offset, int size,
			    unsigned long value)
{
	memcpy(fake_now->msix + offset, &value, size);
}

static const struct logic_iomem_ops fake_msix_ops = {
	.read = fake_read_msix,
	.write = fake_write_msix,
};

static bool fake_bar_has(unsigned int bar, unsigned long address, size_t size)
{
	unsigned long start = fake_get(fake_now, PCI_BASE_ADDRESS_0 + 4 * bar, 4) &
			      PCI_BASE_ADDRESS_MEM_MASK;

	return address >= start && address + size <= start + FAKE_BAR_BYTES;
}

static long fake_map(unsigned long offset, size_t size,
		     const struct logic_iomem_ops **ops, void **priv)
{
	if (!fake_now)
		return -ENODEV;
	if (fake_bar_has(IVSHMEM_BAR_REGISTERS, FAKE_WINDOW + offset, size))
		*ops = &fake_reg_ops;
	else if (fake_bar_has(IVSHMEM_BAR_MSIX, FAKE_WINDOW + offset, size))
		*ops = &fake_msix_ops;
	else
		return -ENXIO;
	return offset % FAKE_BAR_BYTES;
}

static const struct logic_iomem_region_ops fake_region_ops = { .map = fake_map };

static struct resource fake_region = {
	.name = "ivshmem registers", .flags = IORESOURCE_MEM,
	.start = FAKE_WINDOW, .end = FAKE_WINDOW + FAKE_WINDOW_BYTES - 1,
};

static int fake_add_region(void)
{
	static bool added;
	int err = 0;

	if (!added)
		err = logic_iomem_add_region(&fake_region, &fake_region_ops);
	added = !err;
	return err;
}

/* Vectors */

static void fake_compose_msg(struct irq_data *data, struct msi_msg *msg)
{
	memset(msg, 0, sizeof(*msg));
	msg->address_lo = 0xfee00000;
	msg->data = data->irq;
}

static int fake_set_affinity(struct irq_data *data, const struct cpumask *mask,
			     bool force)
{
	return IRQ_SET_MASK_OK;
}

static struct irq_chip fake_irq_chip = {
	.name = "fake",
	.irq_compose_msi_msg = fake_compose_msg,
	.irq_set_affinity = fake_set_affinity,
};

static int fake_alloc_irq(struct irq_domain *domain, unsigned int virq,
			  unsigned int n, void *arg)
{
	struct fake *fake = domain->host_data;
	unsigned int hwirq = ffz(fake->used);

	if (n != 1 || hwirq >= FAKE_MAX_VECTORS)
		return -ENOSPC;
	fake->used |= BIT(hwirq);
	irq_domain_set_info(domain, virq, hwirq, &fake_irq_chip, fake,
			    handle_simple_irq, NULL, NULL);
	return 0;
}

static void fake_free_irq(struct irq_domain *domain, unsigned int virq, unsigned int n)
{
	struct fake *fake = domain->host_data;

	fake->used &= ~BIT(irq_domain_get_irq_data(domain, virq)->hwirq);
}

static const struct irq_domain_ops fake_irq_ops = {
	.alloc = fake_alloc_irq,
	.free = fake_free_irq,
};

static struct irq_chip fake_msi_chip = {
	.name = "fake-msi",
	.irq_mask = pci_msi_mask_irq,
	.irq_unmask = pci_msi_unmask_irq,
};

static struct msi_domain_info fake_msi_info = {
	.flags = MSI_FLAG_USE_DEF_DOM_OPS | MSI_FLAG_USE_DEF_CHIP_OPS | MSI_FLAG_PCI_MSIX,
	.chip = &fake_msi_chip,
};

static void fake_raise(unsigned int irq)
{
	unsigned long flags;

	local_irq_save(flags);
	irq_enter();
	generic_handle_irq(irq);
	irq_exit();
	local_irq_restore(flags);
}

static void fake_raise_vector(struct fake *fake, unsigned int vector)
{
	__le32 entry[PCI_MSIX_ENTRY_SIZE / 4];

	memcpy(entry, fake->msix + vector * PCI_MSIX_ENTRY_SIZE, sizeof(entry));
	if (fake_get(fake, FAKE_MSIX + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_ENABLE &&
	    !(le32_to_cpu(entry[3]) & PCI_MSIX_ENTRY_CTRL_MASKBIT))
		fake_raise(le32_to_cpu(entry[2]));
}

/**
 * fake_interrupt() - the device interrupts the guest
 * @fake: the device
 * @vector: which; dropped if there is no such, as the device does it. INTx is
 *	one for all
 */
void fake_interrupt(struct fake *fake, unsigned int vector)
{
	if ((fake->spec.vectors && vector >= fake->spec.vectors) || !fake->int_control)
		return;
	if (fake_get(fake, FAKE_CAP + IVSHMEM_CAP_PRIV_CONTROL, 1) &
	    IVSHMEM_PRIV_ONESHOT_INT)
		fake->int_control = 0;
	if (fake->spec.vectors)
		fake_raise_vector(fake, vector);
	else if (!(fake_get(fake, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE))
		fake_raise(fake->intx);
}

/**
 * fake_set_state() - a peer changes its state
 * @fake: the device
 * @peer: its number
 * @state: the new one
 */
void fake_set_state(struct fake *fake, u32 peer, u32 state)
{
	__le32 *table = fake->shmem;
	__le32 old = table[peer];

	WRITE_ONCE(table[peer], cpu_to_le32(state));
	if (old != cpu_to_le32(state))
		fake_interrupt(fake, IVSHMEM_VECTOR_STATE);
}

/* The life of the device */

static void fake_fill_msix(struct fake *fake)
{
	fake_put(fake, FAKE_CAP + PCI_CAP_LIST_NEXT, FAKE_MSIX, 1);
	fake_put(fake, FAKE_MSIX, PCI_CAP_ID_MSIX, 1);
	fake_put(fake, FAKE_MSIX + PCI_MSIX_FLAGS, fake->spec.vectors - 1, 2);
	fake_put(fake, FAKE_MSIX + PCI_MSIX_TABLE, IVSHMEM_BAR_MSIX, 4);
	fake_put(fake, FAKE_MSIX + PCI_MSIX_PBA, 0x800 | IVSHMEM_BAR_MSIX, 4);
}

static void fake_fill_config(struct fake *fake)
{
	const struct fake_spec *s = &fake->spec;

	fake_put(fake, PCI_VENDOR_ID, IVSHMEM_VENDOR_ID, 2);
	fake_put(fake, PCI_DEVICE_ID, IVSHMEM_DEVICE_ID, 2);
	fake_put(fake, PCI_STATUS, PCI_STATUS_CAP_LIST, 2);
	fake_put(fake, PCI_CLASS_REVISION, (IVSHMEM_CLASS_BASE | s->protocol) << 8, 4);
	fake_put(fake, PCI_BASE_ADDRESS_2, FAKE_BAR64_PREFETCH, 4);
	fake_put(fake, PCI_CAPABILITY_LIST, FAKE_CAP, 1);

	fake_put(fake, FAKE_CAP, PCI_CAP_ID_VNDR, 1);
	fake_put(fake, FAKE_CAP + IVSHMEM_CAP_LENGTH, s->no_bar2 ?
		 IVSHMEM_CAP_LENGTH_BASE : IVSHMEM_CAP_LENGTH_BAR, 1);
	fake_put(fake, FAKE_CAP + IVSHMEM_CAP_STATE_TABLE_SIZE, PAGE_SIZE, 4);
	fake_put(fake, FAKE_CAP + IVSHMEM_CAP_RW_SIZE, s->rw_size, 8);
	fake_put(fake, FAKE_CAP + IVSHMEM_CAP_OUTPUT_SIZE, s->output_size, 8);
	if (s->no_bar2)
		fake_put(fake, FAKE_CAP + IVSHMEM_CAP_BASE_ADDRESS,
			 virt_to_phys(fake->shmem), 8);
	if (s->vectors)
		fake_fill_msix(fake);
	else
		fake_put(fake, PCI_INTERRUPT_PIN, PCI_INTERRUPT_INTA, 1);
}

/**
 * fake_create() - make a device that is not plugged in yet
 * @test: fails if there is no memory
 * @spec: of it
 *
 * Return: the device, for fake_destroy().
 */
struct fake *fake_create(struct kunit *test, const struct fake_spec *spec)
{
	struct fake *fake = kunit_kzalloc(test, sizeof(*fake), GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, fake);
	fake->shmem = (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO,
					       FAKE_SHMEM_ORDER);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, fake->shmem);
	fake->spec = *spec;
	fake->id = spec->id;
	fake->max_peers = spec->max_peers;
	fake->bar_bytes[0] = FAKE_BAR_BYTES;
	fake->bar_bytes[1] = spec->vectors ? FAKE_BAR_BYTES : 0;
	fake->bar_bytes[2] = spec->no_bar2 ? 0 : FAKE_SHMEM_BYTES;
	memset(fake->msix, 0, sizeof(fake->msix));
	fake_fill_config(fake);
	return fake;
}

static void fake_create_domains(struct kunit *test, struct fake *fake)
{
	fake->fwnode = irq_domain_alloc_named_fwnode("fake-ivshmem");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, fake->fwnode);
	fake->irqs = irq_domain_create_linear(fake->fwnode, FAKE_MAX_VECTORS,
					      &fake_irq_ops, fake);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, fake->irqs);
	if (!fake->spec.vectors) {
		fake->intx = irq_domain_alloc_irqs(fake->irqs, 1, NUMA_NO_NODE, NULL);
		KUNIT_ASSERT_GT(test, (int)fake->intx, 0);
	}
	fake->msi = pci_msi_create_irq_domain(fake->fwnode, &fake_msi_info, fake->irqs);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, fake->msi);
}

static void fake_remove_domains(struct fake *fake)
{
	if (fake->intx)
		irq_domain_free_irqs(fake->intx, 1);
	if (fake->msi)
		irq_domain_remove(fake->msi);
	if (fake->irqs)
		irq_domain_remove(fake->irqs);
	if (fake->fwnode)
		irq_domain_free_fwnode(fake->fwnode);
	fake->msi = NULL;
	fake->irqs = NULL;
	fake->fwnode = NULL;
	fake->intx = 0;
}

static struct resource fake_resource(resource_size_t start, resource_size_t size,
				     const char *name, unsigned long flags)
{
	return (struct resource) {
		.start = start, .end = start + size - 1,
		.name = name, .flags = flags,
	};
}

static void fake_add_windows(struct kunit *test, struct fake *fake)
{
	phys_addr_t shmem = virt_to_phys(fake->shmem);

	fake->window = fake_resource(FAKE_WINDOW, FAKE_WINDOW_BYTES, "fake registers",
				     IORESOURCE_MEM);
	fake->shmem_window = fake_resource(shmem, FAKE_SHMEM_BYTES, "fake BAR 2",
					   IORESOURCE_MEM | IORESOURCE_PREFETCH);
	fake->bus = fake_resource(FAKE_BUS, 1, "fake bus", IORESOURCE_BUS);
	fake->ram = fake_resource(shmem, FAKE_SHMEM_BYTES, "System RAM",
				  IORESOURCE_SYSTEM_RAM);
	KUNIT_ASSERT_EQ(test, insert_resource(&iomem_resource, &fake->ram), 0);
	pci_add_resource(&fake->bridge->windows, &fake->window);
	pci_add_resource(&fake->bridge->windows, &fake->shmem_window);
	pci_add_resource(&fake->bridge->windows, &fake->bus);
}

static int fake_map_intx(const struct pci_dev *pdev, u8 slot, u8 pin)
{
	return fake_now->intx;
}

/**
 * fake_plug() - plug the device in; its driver has probed it on return
 * @test: fails if there is no bus for it
 * @fake: the device
 */
void fake_plug(struct kunit *test, struct fake *fake)
{
	int err;

	KUNIT_ASSERT_TRUE(test, !fake_now);
	KUNIT_ASSERT_EQ(test, fake_add_region(), 0);
	fake_now = fake;
	fake_create_domains(test, fake);
	fake->bridge = pci_alloc_host_bridge(0);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, fake->bridge);
	fake_add_windows(test, fake);
	fake->bridge->ops = &fake_config_ops;
	fake->bridge->map_irq = fake_map_intx;
	dev_set_msi_domain(&fake->bridge->dev, fake->msi);

	pci_lock_rescan_remove();
	err = pci_scan_root_bus_bridge(fake->bridge);
	if (!err) {
		pci_bus_size_bridges(fake->bridge->bus);
		pci_bus_assign_resources(fake->bridge->bus);
		pci_bus_add_devices(fake->bridge->bus);
		fake->pdev = pci_get_slot(fake->bridge->bus, 0);
	}
	pci_unlock_rescan_remove();
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, fake->pdev);
}

/**
 * fake_unplug() - take the device away; its driver has removed it on return
 * @fake: the device; nothing happens if it is not plugged in
 */
void fake_unplug(struct fake *fake)
{
	if (fake_now != fake)
		return;
	pci_dev_put(fake->pdev);
	fake->pdev = NULL;
	if (fake->bridge && fake->bridge->bus) {
		pci_lock_rescan_remove();
		pci_stop_root_bus(fake->bridge->bus);
		pci_remove_root_bus(fake->bridge->bus);
		pci_unlock_rescan_remove();
	}
	if (fake->bridge)
		pci_free_host_bridge(fake->bridge);
	fake->bridge = NULL;
	if (fake->ram.parent)
		remove_resource(&fake->ram);
	fake_remove_domains(fake);
	fake_now = NULL;
}

/**
 * fake_shutdown() - the guest goes down, or on to another kernel
 * @fake: the device, plugged in; it stays so
 */
void fake_shutdown(struct fake *fake)
{
	fake->pdev->dev.bus->shutdown(&fake->pdev->dev);
}

/**
 * fake_destroy() - the end of a device, plugged in or not
 * @fake: the device, NULL is ignored
 */
void fake_destroy(struct fake *fake)
{
	if (!fake)
		return;
	fake_unplug(fake);
	free_pages((unsigned long)fake->shmem, FAKE_SHMEM_ORDER);
}
