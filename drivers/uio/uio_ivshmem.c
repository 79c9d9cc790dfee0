// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/uioN for an ivshmem v2 device: registers and sections to programs
 * without privileges, interrupts in one-shot mode.
 *
 * Maps, in this order and under these names; what the device lacks is left
 * out, so look for the name:
 *
 *   registers       uncached, one page
 *   state_table     cached, read only
 *   rw_section      cached
 *   input_sections  cached, read only: the output sections of all peers
 *   output_section  cached: this peer's own
 *
 * All vectors feed the one event count that read() returns. The device turns
 * its interrupts off with each one delivered; write a 1 to /dev/uioN, or to
 * the Interrupt Control register, to have the next, and look at the shared
 * state after that: what came in between was dropped. The last close sets
 * State 0 and interrupts off, so the peers notice a program that was killed.
 *
 * Binds the undefined protocol, the user defined ones and virtio back ends.
 * For any other:
 *
 *   echo 110a 4106 ffffffff ffffffff ff0001 ffffff > \
 *       /sys/bus/pci/drivers/uio_ivshmem/new_id
 *
 * See Documentation/ivshmem/uio.rst.
 */
#include <linux/completion.h>
#include <linux/ivshmem.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/uio_driver.h>

#include "compat-uio.h"

#define UIO_IVSHMEM_PROBE_MS	5000

/* Each open of the device counts; a node in another file system is another
 * inode with mappings of its own.
 */
struct uio_ivshmem_user {
	struct list_head list;
	struct inode *inode;
	unsigned int opens;
};

/**
 * struct uio_ivshmem - one device
 * @ivd: the device as the core sees it
 * @info: registered with UIO
 * @read_only: bit n set: map n must not be writable
 * @probed: the maps are all there and the interrupts heard, or never will be
 * @lock: protects @users
 * @users: who has the device open
 */
struct uio_ivshmem {
	struct ivshmem_device *ivd;
	struct uio_info info;
	unsigned long read_only;
	struct completion probed;
	struct mutex lock; /* protects users */
	struct list_head users;
};

static struct uio_ivshmem *to_uio_ivshmem(struct uio_info *info)
{
	return container_of(info, struct uio_ivshmem, info);
}

static struct uio_ivshmem_user *
uio_ivshmem_find_user(struct uio_ivshmem *ui, struct inode *inode)
{
	struct uio_ivshmem_user *user;

	list_for_each_entry(user, &ui->users, list)
		if (user->inode == inode)
			return user;
	return NULL;
}

static struct uio_ivshmem_user *
uio_ivshmem_add_user(struct uio_ivshmem *ui, struct inode *inode)
{
	struct uio_ivshmem_user *user = kzalloc(sizeof(*user), GFP_KERNEL);

	if (!user)
		return NULL;
	ihold(inode);
	user->inode = inode;
	list_add(&user->list, &ui->users);
	return user;
}

static void uio_ivshmem_del_user(struct uio_ivshmem_user *user)
{
	list_del(&user->list);
	iput(user->inode);
	kfree(user);
}

/*
 * UIO shows the device before its maps: whoever is that early waits for them.
 * Not for ever, as UIO wants the lock that is held here if it fails to make them.
 */
static int uio_ivshmem_open(struct uio_info *info, struct inode *inode)
{
	struct uio_ivshmem *ui = to_uio_ivshmem(info);
	struct uio_ivshmem_user *user;
	long left;

	left = wait_for_completion_killable_timeout(&ui->probed,
						    msecs_to_jiffies(UIO_IVSHMEM_PROBE_MS));
	if (left <= 0)
		return left ? -EINTR : -EAGAIN;
	mutex_lock(&ui->lock);
	user = uio_ivshmem_find_user(ui, inode) ?: uio_ivshmem_add_user(ui, inode);
	if (user)
		user->opens++;
	mutex_unlock(&ui->lock);
	return user ? 0 : -ENOMEM;
}

static int uio_ivshmem_release(struct uio_info *info, struct inode *inode)
{
	struct uio_ivshmem *ui = to_uio_ivshmem(info);
	struct uio_ivshmem_user *user;

	mutex_lock(&ui->lock);
	user = uio_ivshmem_find_user(ui, inode);
	if (user && !--user->opens)
		uio_ivshmem_del_user(user);
	if (list_empty(&ui->users))
		ivshmem_quiesce(ui->ivd);
	mutex_unlock(&ui->lock);
	return 0;
}

/*
 * After UIO has let go of the device. Mappings would stay behind, and what is
 * plugged in at these addresses next is not this user's: take them away, an
 * access is SIGBUS from now on.
 */
static void uio_ivshmem_revoke(void *data)
{
	struct uio_ivshmem *ui = data;
	struct uio_ivshmem_user *user, *next;

	mutex_lock(&ui->lock);
	list_for_each_entry_safe(user, next, &ui->users, list) {
		unmap_mapping_range(user->inode->i_mapping, 0, 0, 1);
		uio_ivshmem_del_user(user);
	}
	mutex_unlock(&ui->lock);
	ivshmem_quiesce(ui->ivd);
}

static int uio_ivshmem_irqcontrol(struct uio_info *info, s32 on)
{
	ivshmem_int_enable(to_uio_ivshmem(info)->ivd, on);
	return 0;
}

/*
 * INTx may be shared and the device has no status bit to ask. An event too
 * many is harmless, users look at the shared state anyway; one too few is not.
 */
static irqreturn_t uio_ivshmem_interrupt(int irq, void *data)
{
	struct uio_ivshmem *ui = data;

	uio_event_notify(&ui->info);
	return IRQ_HANDLED;
}

/* Not NULL, so that a revoked mapping faults; access is for debuggers */
static const struct vm_operations_struct uio_ivshmem_vm_ops = {
#ifdef CONFIG_HAVE_IOREMAP_PROT
	.access = generic_access_phys,
#endif
};

/* UIO has checked that the map exists and is large enough */
static int uio_ivshmem_mmap_prepare(struct uio_info *info,
				    struct vm_area_desc *desc)
{
	struct uio_ivshmem *ui = to_uio_ivshmem(info);
	unsigned int map = desc->pgoff;

	if (test_bit(map, &ui->read_only)) {
		if (vma_desc_test(desc, VMA_WRITE_BIT))
			return -EACCES;
		vma_desc_clear_flags(desc, VMA_MAYWRITE_BIT);
	}
	if (info->mem[map].memtype == UIO_MEM_PHYS)
		desc->page_prot = pgprot_noncached(desc->page_prot);
	desc->vm_ops = &uio_ivshmem_vm_ops;
	mmap_action_remap_full(desc, info->mem[map].addr >> PAGE_SHIFT);
	return 0;
}

UIO_MMAP_PREPARE(uio_ivshmem_mmap_prepare);

static void uio_ivshmem_add_section(struct uio_ivshmem *ui, unsigned int *n,
				    const char *name, u64 offset, u64 size,
				    bool read_only)
{
	struct uio_mem *mem = &ui->info.mem[*n];

	if (!size)
		return;
	mem->name = name;
	mem->addr = ui->ivd->phys + offset;
	mem->size = size;
	mem->memtype = UIO_MEM_IOVA;	/* the one that UIO maps cached */
	if (read_only)
		__set_bit(*n, &ui->read_only);
	++*n;
}

static int uio_ivshmem_add_registers(struct uio_ivshmem *ui, unsigned int *n)
{
	struct pci_dev *pdev = ui->ivd->pdev;
	struct uio_mem *mem = &ui->info.mem[*n];

	mem->name = "registers";
	mem->addr = pci_resource_start(pdev, IVSHMEM_BAR_REGISTERS);
	mem->size = pci_resource_len(pdev, IVSHMEM_BAR_REGISTERS);
	mem->memtype = UIO_MEM_PHYS;
	++*n;
	if (!(pci_resource_flags(pdev, IVSHMEM_BAR_REGISTERS) & IORESOURCE_MEM) ||
	    !PAGE_ALIGNED(mem->addr) || !PAGE_ALIGNED(mem->size))
		return dev_err_probe(&pdev->dev, -ENODEV,
				     "registers are not in pages of their own, cannot hand them to user space\n");
	return 0;
}

static int uio_ivshmem_add_maps(struct uio_ivshmem *ui)
{
	const struct ivshmem_layout *l = &ui->ivd->layout;
	unsigned int n = 0;
	int err;

	err = uio_ivshmem_add_registers(ui, &n);
	if (err)
		return err;
	uio_ivshmem_add_section(ui, &n, "state_table", 0,
				l->state_table_size, true);
	uio_ivshmem_add_section(ui, &n, "rw_section", l->rw_offset,
				l->rw_size, false);
	uio_ivshmem_add_section(ui, &n, "input_sections", l->output_offset,
				l->size - l->output_offset, true);
	uio_ivshmem_add_section(ui, &n, "output_section",
				ivshmem_layout_output(l, ui->ivd->id),
				l->output_size, false);
	return 0;
}

static int uio_ivshmem_register(struct uio_ivshmem *ui)
{
	struct device *dev = &ui->ivd->pdev->dev;
	int err;

	ui->info.name = KBUILD_MODNAME;
	ui->info.version = "2";
	ui->info.irq = UIO_IRQ_CUSTOM;
	ui->info.irqcontrol = uio_ivshmem_irqcontrol;
	ui->info.open = uio_ivshmem_open;
	ui->info.release = uio_ivshmem_release;
	UIO_SET_MMAP_PREPARE(&ui->info, uio_ivshmem_mmap_prepare);

	err = devm_add_action(dev, uio_ivshmem_revoke, ui);
	if (err)
		return err;
	err = devm_uio_register_device(dev, &ui->info);
	if (err)
		return dev_err_probe(dev, err, "cannot register with UIO\n");
	return 0;
}

/* After UIO is there to count the events; freed before it goes */
static int uio_ivshmem_request_irqs(struct uio_ivshmem *ui)
{
	struct pci_dev *pdev = ui->ivd->pdev;
	unsigned long flags = pdev->msix_enabled ? 0 : IRQF_SHARED;
	unsigned int i;
	int err;

	for (i = 0; i < ui->ivd->vectors; i++) {
		err = devm_request_irq(&pdev->dev, pci_irq_vector(pdev, i),
				       uio_ivshmem_interrupt, flags,
				       dev_name(&pdev->dev), ui);
		if (err)
			return dev_err_probe(&pdev->dev, err,
					     "cannot request vector %u\n", i);
	}
	return 0;
}

static int uio_ivshmem_alloc_vectors(struct uio_ivshmem *ui)
{
	struct pci_dev *pdev = ui->ivd->pdev;
	unsigned int wanted = max(pci_msix_vec_count(pdev), 1);
	int err;

	err = ivshmem_alloc_vectors(ui->ivd, wanted);
	if (!err && ui->ivd->vectors < wanted)
		dev_warn(&pdev->dev,
			 "got %u of %u vectors, the others will not be heard\n",
			 ui->ivd->vectors, wanted);
	return err;
}

static int uio_ivshmem_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct uio_ivshmem *ui;
	int err;

	ui = devm_kzalloc(&pdev->dev, sizeof(*ui), GFP_KERNEL);
	if (!ui)
		return -ENOMEM;
	init_completion(&ui->probed);
	mutex_init(&ui->lock);
	INIT_LIST_HEAD(&ui->users);

	ui->ivd = ivshmem_enable(pdev);
	if (IS_ERR(ui->ivd))
		return PTR_ERR(ui->ivd);
	ivshmem_set_oneshot(ui->ivd, true);

	err = uio_ivshmem_add_maps(ui);
	if (!err)
		err = uio_ivshmem_alloc_vectors(ui);
	if (!err)
		err = uio_ivshmem_register(ui);
	if (!err)
		err = uio_ivshmem_request_irqs(ui);
	complete_all(&ui->probed);
	if (err)
		return err;

	pci_set_drvdata(pdev, ui);
	dev_info(&pdev->dev, "peer %u of %u, protocol %04x, %u vectors\n",
		 ui->ivd->id, ui->ivd->max_peers, ui->ivd->protocol,
		 ui->ivd->vectors);
	return 0;
}

static void uio_ivshmem_shutdown(struct pci_dev *pdev)
{
	struct uio_ivshmem *ui = pci_get_drvdata(pdev);

	ivshmem_quiesce(ui->ivd);
}

#define UIO_IVSHMEM_ID(protocol, mask)					\
	{ PCI_DEVICE(IVSHMEM_VENDOR_ID, IVSHMEM_DEVICE_ID),		\
	  .class = IVSHMEM_CLASS_BASE | (protocol),			\
	  .class_mask = IVSHMEM_CLASS_BASE | (mask) }

static const struct pci_device_id uio_ivshmem_ids[] = {
	UIO_IVSHMEM_ID(IVSHMEM_PROTO_UNDEFINED, 0xffff),
	UIO_IVSHMEM_ID(IVSHMEM_PROTO_USER_FIRST, IVSHMEM_PROTO_KIND),
	UIO_IVSHMEM_ID(IVSHMEM_PROTO_VIRTIO_BACK, IVSHMEM_PROTO_KIND),
	{ }
};

static struct pci_driver uio_ivshmem_driver = {
	.name = KBUILD_MODNAME,
	.id_table = uio_ivshmem_ids,
	.probe = uio_ivshmem_probe,
	.shutdown = uio_ivshmem_shutdown,
};
module_pci_driver(uio_ivshmem_driver);

/* modpost makes no alias of a mask that is not a whole byte */
#define UIO_IVSHMEM_ALIAS(protocol) \
	MODULE_ALIAS("pci:v0000110Ad00004106sv*sd*bcFF" protocol)

UIO_IVSHMEM_ALIAS("sc00i00");
UIO_IVSHMEM_ALIAS("sc[4-7]*i*");
UIO_IVSHMEM_ALIAS("sc[C-F]*i*");

MODULE_DESCRIPTION("UIO driver for ivshmem v2 devices");
MODULE_AUTHOR("The ivshmem developers");
MODULE_LICENSE("GPL");
