// SPDX-License-Identifier: GPL-2.0
/*
 * Core of the ivshmem v2 drivers: find and check the vendor capability, map
 * the registers and the sections, allocate the vectors. It knows no protocol
 * and makes no policy: which device is whose, when to interrupt and what a
 * state means is the business of the driver that calls it.
 *
 * Implements Documentation/ivshmem/device.rst. The device (the hypervisor) is
 * trusted to be what it says it is once its numbers fit together; what the
 * sections contain is not, the peers write it.
 */
#include <linux/ivshmem.h>
#include <linux/module.h>

#define IVSHMEM_REGS_BYTES	(IVSHMEM_REG_STATE + 4)

/* The capability as it stands in config space, as far as it says it goes */
static int ivshmem_read_cap(struct pci_dev *pdev, struct ivshmem_cap *cap)
{
	int pos = pci_find_capability(pdev, PCI_CAP_ID_VNDR);
	u32 *words = (u32 *)cap;
	unsigned int i, len;
	u8 length;

	memset(cap, 0, sizeof(*cap));
	if (!pos)
		return -ENODEV;
	pci_read_config_byte(pdev, pos + IVSHMEM_CAP_LENGTH, &length);
	len = min_t(unsigned int, length, sizeof(*cap));
	for (i = 0; i < len / 4; i++) {
		pci_read_config_dword(pdev, pos + 4 * i, &words[i]);
		cpu_to_le32s(&words[i]);
	}
	cap->length = length;
	return pos;
}

static int ivshmem_map_regs(struct ivshmem_device *ivd)
{
	struct pci_dev *pdev = ivd->pdev;
	int err;

	if (pci_resource_len(pdev, IVSHMEM_BAR_REGISTERS) < IVSHMEM_REGS_BYTES)
		return dev_err_probe(&pdev->dev, -ENODEV,
				     "BAR 0 is too small for the registers\n");
	err = pcim_iomap_regions(pdev, BIT(IVSHMEM_BAR_REGISTERS), "ivshmem");
	if (err)
		return dev_err_probe(&pdev->dev, err, "cannot map the registers\n");

	ivd->regs = pcim_iomap_table(pdev)[IVSHMEM_BAR_REGISTERS];
	ivd->id = ioread32(ivd->regs + IVSHMEM_REG_ID);
	ivd->max_peers = ioread32(ivd->regs + IVSHMEM_REG_MAX_PEERS);
	return 0;
}

static int ivshmem_read_layout(struct ivshmem_device *ivd)
{
	struct pci_dev *pdev = ivd->pdev;
	struct ivshmem_cap cap;
	const char *why;
	int err;

	ivd->cap = ivshmem_read_cap(pdev, &cap);
	if (ivd->cap < 0)
		return dev_err_probe(&pdev->dev, ivd->cap, "no vendor capability\n");

	err = ivshmem_layout_parse(&ivd->layout, &cap,
				   pci_resource_len(pdev, IVSHMEM_BAR_SHMEM),
				   ivd->id, ivd->max_peers, PAGE_SIZE, &why);
	if (err)
		return dev_err_probe(&pdev->dev, err,
				     "%s (capability length 0x%x, table 0x%x, r/w 0x%llx, output 0x%llx, BAR 2 0x%llx, id %u of %u)\n",
				     why, cap.length,
				     le32_to_cpu(cap.state_table_size),
				     le64_to_cpu(cap.rw_size),
				     le64_to_cpu(cap.output_size),
				     (u64)pci_resource_len(pdev, IVSHMEM_BAR_SHMEM),
				     ivd->id, ivd->max_peers);
	return 0;
}

/*
 * Cached for everyone: x86 does not let two mappings of a page differ in type,
 * and other architectures cannot copy with all instructions otherwise.
 */
static int ivshmem_map_sections(struct ivshmem_device *ivd)
{
	struct device *dev = &ivd->pdev->dev;
	u64 size = ivd->layout.size;

	ivd->phys = ivd->layout.base_address ?:
		    pci_resource_start(ivd->pdev, IVSHMEM_BAR_SHMEM);
	if (ivd->phys + size - 1 < ivd->phys || size != (size_t)size)
		return dev_err_probe(dev, -EINVAL,
				     "sections lie beyond what this kernel addresses\n");
	if (!devm_request_mem_region(dev, ivd->phys, size, "ivshmem"))
		return dev_err_probe(dev, -EBUSY,
				     "shared memory at %pa is in use by something else\n",
				     &ivd->phys);
	ivd->shmem = devm_memremap(dev, ivd->phys, size, MEMREMAP_WB);
	if (IS_ERR(ivd->shmem))
		return dev_err_probe(dev, PTR_ERR(ivd->shmem),
				     "cannot map the shared memory\n");
	return 0;
}

/**
 * ivshmem_enable() - check a device and map it; everything is device managed
 * @pdev: a PCI device of IVSHMEM_VENDOR_ID, IVSHMEM_DEVICE_ID
 *
 * On return the device delivers no interrupts, its state is
 * IVSHMEM_STATE_RESET and one-shot mode is off, whatever its last user left.
 *
 * Return: the device, or ERR_PTR(): -ENODEV without vendor capability or
 * registers, -EINVAL if its numbers do not fit together, -EBUSY if its
 * resources are taken, -ENOMEM. One message has said why.
 */
struct ivshmem_device *ivshmem_enable(struct pci_dev *pdev)
{
	struct ivshmem_device *ivd;
	int err;

	ivd = devm_kzalloc(&pdev->dev, sizeof(*ivd), GFP_KERNEL);
	if (!ivd)
		return ERR_PTR(-ENOMEM);
	ivd->pdev = pdev;
	ivd->protocol = pdev->class & 0xffff;

	err = pcim_enable_device(pdev);
	if (err)
		return ERR_PTR(dev_err_probe(&pdev->dev, err, "cannot enable\n"));
	err = ivshmem_map_regs(ivd);
	if (!err)
		err = ivshmem_read_layout(ivd);
	if (!err)
		err = ivshmem_map_sections(ivd);
	if (err)
		return ERR_PTR(err);

	ivshmem_quiesce(ivd);
	ivshmem_set_oneshot(ivd, false);
	pci_set_master(pdev);
	return ivd;
}
EXPORT_SYMBOL_GPL(ivshmem_enable);

/**
 * ivshmem_alloc_vectors() - allocate MSI-X vectors, or INTx where there is none
 * @ivd: the device
 * @max_vectors: upper limit, at least 1
 *
 * Call it once. The vectors are freed with the device;
 * pci_irq_vector(ivd->pdev, i) is the interrupt of vector i.
 *
 * Return: 0, @ivd->vectors is the number; negative errno of
 * pci_alloc_irq_vectors(), one message has said so.
 */
int ivshmem_alloc_vectors(struct ivshmem_device *ivd, unsigned int max_vectors)
{
	int n = pci_alloc_irq_vectors(ivd->pdev, 1, max_vectors,
				      PCI_IRQ_MSIX | PCI_IRQ_INTX);

	if (n < 0)
		return dev_err_probe(&ivd->pdev->dev, n, "no interrupt\n");
	ivd->vectors = n;
	return 0;
}
EXPORT_SYMBOL_GPL(ivshmem_alloc_vectors);

/**
 * ivshmem_set_oneshot() - one-shot interrupt mode
 * @ivd: the device
 * @on: each delivered interrupt clears IVSHMEM_INT_ENABLE by itself
 */
void ivshmem_set_oneshot(struct ivshmem_device *ivd, bool on)
{
	pci_write_config_byte(ivd->pdev, ivd->cap + IVSHMEM_CAP_PRIV_CONTROL,
			      on ? IVSHMEM_PRIV_ONESHOT_INT : 0);
}
EXPORT_SYMBOL_GPL(ivshmem_set_oneshot);

/**
 * ivshmem_quiesce() - no more interrupts, and tell the peers that we are gone
 * @ivd: the device
 */
void ivshmem_quiesce(struct ivshmem_device *ivd)
{
	ivshmem_int_enable(ivd, false);
	ivshmem_set_state(ivd, IVSHMEM_STATE_RESET);
}
EXPORT_SYMBOL_GPL(ivshmem_quiesce);

MODULE_DESCRIPTION("Core of the ivshmem v2 drivers");
MODULE_AUTHOR("The ivshmem developers");
MODULE_LICENSE("GPL");
