/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ivshmem v2: the PCI device
 *
 * Documentation/ivshmem/device.rst describes what the guest sees. Memory and
 * peers come from a server, see ivshmem2-client.c; this file is config space,
 * registers, the protection of the sections and the interrupts.
 *
 * Interrupts never take a short cut around the device (there is no irqfd):
 * Interrupt Control may change between any two of them, one-shot mode changes
 * it at each, and an event that meets a disabled or masked vector is dropped,
 * which a route in the kernel cannot do. Doorbells do go through the kernel
 * where the accelerator offers it (ioeventfd).
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "hw/pci/msix.h"
#include "migration/vmstate.h"
#include "ivshmem2.h"
#include "trace.h"

#define TYPE_IVSHMEM2 "ivshmem"
OBJECT_DECLARE_SIMPLE_TYPE(IVShmemState, IVSHMEM2)

#define IVSHMEM2_REGISTERS_SIZE     4096

/*
 * KVM gives a machine a thousand slots on its I/O bus and QEMU aborts when
 * they are used up. All devices of this type together take no more than half;
 * doorbells beyond that come in as ordinary register writes.
 */
#define IVSHMEM2_MAX_IOEVENTFDS     512

/* State Table, R/W section, inputs below, own output section, inputs above */
#define IVSHMEM2_SECTIONS           5

/**
 * IVShmemState: one device
 * @client: the connection to the server
 * @ioeventfd: property, let the kernel take doorbells
 * @msix: property, MSI-X instead of INTx
 * @master: property, whether the shared memory migrates with this machine
 * @base_address: property, 0: the shared memory is BAR 2
 * @registers: BAR 0
 * @shmem: BAR 2, made of @sections
 * @sections: of the shared memory, each with a protection of its own
 * @num_sections: how many of them are in use
 * @migration_blocker: set unless this peer is the master
 * @cap: offset of the vendor capability
 * @int_control: register
 * @state: register
 */
struct IVShmemState {
    PCIDevice parent_obj;

    IVShmemClient client;

    bool ioeventfd;
    bool msix;
    OnOffAuto master;
    uint64_t base_address;

    MemoryRegion registers;
    MemoryRegion shmem;
    MemoryRegion sections[IVSHMEM2_SECTIONS];
    unsigned int num_sections;
    Error *migration_blocker;

    uint8_t cap;
    uint32_t int_control;
    uint32_t state;
};

/* In use by all devices, under the BQL */
static unsigned int ivshmem2_num_ioeventfds;

/* Interrupts */

static bool ivshmem2_deliverable(IVShmemState *s, uint32_t vector)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    uint16_t command = pci_get_word(pdev->config + PCI_COMMAND);

    if (!(s->int_control & IVSHMEM_INT_ENABLE)) {
        return false;
    }
    if (!s->msix) {
        return vector == 0 && !(command & PCI_COMMAND_INTX_DISABLE);
    }
    return (command & PCI_COMMAND_MASTER) && !msix_is_masked(pdev, vector);
}

static void ivshmem2_interrupt(IVShmemClient *c, uint32_t vector)
{
    IVShmemState *s = container_of(c, IVShmemState, client);
    PCIDevice *pdev = PCI_DEVICE(s);
    bool deliver = ivshmem2_deliverable(s, vector);

    trace_ivshmem2_interrupt(vector, deliver);
    if (!deliver) {
        return;
    }
    if (pdev->config[s->cap + IVSHMEM_CAP_PRIV_CONTROL] &
        IVSHMEM_PRIV_ONESHOT_INT) {
        s->int_control &= ~IVSHMEM_INT_ENABLE;
    }
    if (s->msix) {
        msix_notify(pdev, vector);
    } else {
        pci_set_irq(pdev, 1);
        pci_set_irq(pdev, 0);
    }
}

/* Doorbells */

static uint32_t ivshmem2_doorbell_value(uint32_t id, uint32_t vector)
{
    return id << IVSHMEM_DOORBELL_ID_SHIFT | vector;
}

static void ivshmem2_vector_added(IVShmemClient *c, uint32_t id,
                                  uint32_t vector)
{
    IVShmemState *s = container_of(c, IVShmemState, client);
    IVShmemVector *v = &c->peers[id].vectors[vector];

    if (!s->ioeventfd || ivshmem2_num_ioeventfds >= IVSHMEM2_MAX_IOEVENTFDS) {
        return;
    }
    ivshmem2_num_ioeventfds++;
    v->user = true;
    memory_region_add_eventfd(&s->registers, IVSHMEM_REG_DOORBELL, 4, true,
                              ivshmem2_doorbell_value(id, vector),
                              &v->notifier);
}

static void ivshmem2_vector_removed(IVShmemClient *c, uint32_t id,
                                    uint32_t vector)
{
    IVShmemState *s = container_of(c, IVShmemState, client);
    IVShmemVector *v = &c->peers[id].vectors[vector];

    if (!v->user) {
        return;
    }
    memory_region_del_eventfd(&s->registers, IVSHMEM_REG_DOORBELL, 4, true,
                              ivshmem2_doorbell_value(id, vector),
                              &v->notifier);
    v->user = false;
    ivshmem2_num_ioeventfds--;
}

static const IVShmemClientOps ivshmem2_client_ops = {
    .vector_added = ivshmem2_vector_added,
    .vector_removed = ivshmem2_vector_removed,
    .event = ivshmem2_interrupt,
};

/* Registers */

/* A process of the host may have written to the table: the guest's word counts */
static void ivshmem2_set_state(IVShmemState *s, uint32_t state)
{
    bool changed = ivshmem2_client_set_state(&s->client, state) ||
                   s->state != state;

    trace_ivshmem2_state(s->client.id, s->state, state);
    s->state = state;
    if (changed) {
        ivshmem2_client_kick_others(&s->client);
    }
}

static uint64_t ivshmem2_registers_read(void *opaque, hwaddr addr,
                                        unsigned size)
{
    IVShmemState *s = opaque;

    switch (addr) {
    case IVSHMEM_REG_ID:
        return s->client.id;
    case IVSHMEM_REG_MAX_PEERS:
        return s->client.max_peers;
    case IVSHMEM_REG_INT_CONTROL:
        return s->int_control;
    case IVSHMEM_REG_STATE:
        return s->state;
    default:
        return 0;
    }
}

static void ivshmem2_registers_write(void *opaque, hwaddr addr, uint64_t val,
                                     unsigned size)
{
    IVShmemState *s = opaque;
    uint32_t id = (uint32_t)val >> IVSHMEM_DOORBELL_ID_SHIFT;
    uint32_t vector = val & IVSHMEM_DOORBELL_VECTOR_MASK;

    switch (addr) {
    case IVSHMEM_REG_INT_CONTROL:
        s->int_control = val & IVSHMEM_INT_ENABLE;
        break;
    case IVSHMEM_REG_DOORBELL:
        trace_ivshmem2_doorbell(id, vector);
        ivshmem2_client_kick(&s->client, id, vector);
        break;
    case IVSHMEM_REG_STATE:
        ivshmem2_set_state(s, val);
        break;
    }
}

static const MemoryRegionOps ivshmem2_registers_ops = {
    .read = ivshmem2_registers_read,
    .write = ivshmem2_registers_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {
        .min_access_size = 4,
        .max_access_size = 4,
    },
    .impl = {
        .min_access_size = 4,
        .max_access_size = 4,
    },
};

static void ivshmem2_reset(DeviceState *dev)
{
    IVShmemState *s = IVSHMEM2(dev);
    PCIDevice *pdev = PCI_DEVICE(s);

    ivshmem2_set_state(s, IVSHMEM_STATE_RESET);
    s->int_control = 0;
    pdev->config[s->cap + IVSHMEM_CAP_PRIV_CONTROL] = 0;
}

/* Shared memory */

/*
 * Not an alias: KVM and DMA of other devices look at the protection of the RAM
 * itself and would write through an alias that is read-only.
 */
static void ivshmem2_add_section(IVShmemState *s, const char *name,
                                 uint64_t offset, uint64_t size, bool readonly)
{
    MemoryRegion *section = &s->sections[s->num_sections];

    if (!size) {
        return;
    }
    s->num_sections++;
    memory_region_init_ram_ptr(section, OBJECT(s), name, size,
                               s->client.shmem + offset);
    memory_region_set_readonly(section, readonly);
    vmstate_register_ram(section, DEVICE(s));
    memory_region_add_subregion(&s->shmem, offset, section);
}

static void ivshmem2_init_sections(IVShmemState *s)
{
    const struct ivshmem_layout *l = &s->client.layout;
    uint64_t own = ivshmem_layout_output(l, s->client.id);
    uint64_t above = own + l->output_size;

    memory_region_init(&s->shmem, OBJECT(s), "ivshmem-shmem", s->client.size);
    ivshmem2_add_section(s, "ivshmem-state-table", 0, l->state_table_size,
                         true);
    ivshmem2_add_section(s, "ivshmem-rw", l->rw_offset, l->rw_size, false);
    ivshmem2_add_section(s, "ivshmem-input-below", l->output_offset,
                         own - l->output_offset, true);
    ivshmem2_add_section(s, "ivshmem-output", own, l->output_size, false);
    ivshmem2_add_section(s, "ivshmem-input-above", above, l->size - above,
                         true);
}

static void ivshmem2_exit_sections(IVShmemState *s)
{
    while (s->num_sections) {
        MemoryRegion *section = &s->sections[--s->num_sections];

        vmstate_unregister_ram(section, DEVICE(s));
        memory_region_del_subregion(&s->shmem, section);
    }
}

static bool ivshmem2_check_base_address(IVShmemState *s, Error **errp)
{
    MemoryRegionSection found;

    if (s->base_address & (qemu_real_host_page_size() - 1) ||
        s->base_address > UINT64_MAX - s->client.size) {
        error_setg(errp, "base-address 0x%" PRIx64 " is not the address of a "
                   "page with 0x%" PRIx64 " bytes from there on",
                   s->base_address, s->client.size);
        return false;
    }
    found = memory_region_find(get_system_memory(), s->base_address,
                               s->client.size);
    if (found.mr) {
        error_setg(errp, "shared memory at base-address 0x%" PRIx64
                   " overlaps '%s' of the machine", s->base_address,
                   memory_region_name(found.mr));
        memory_region_unref(found.mr);
        return false;
    }
    return true;
}

static bool ivshmem2_map_shmem(IVShmemState *s, Error **errp)
{
    if (!s->base_address) {
        pci_register_bar(PCI_DEVICE(s), IVSHMEM_BAR_SHMEM,
                         PCI_BASE_ADDRESS_SPACE_MEMORY |
                         PCI_BASE_ADDRESS_MEM_PREFETCH |
                         PCI_BASE_ADDRESS_MEM_TYPE_64, &s->shmem);
        return true;
    }
    if (!ivshmem2_check_base_address(s, errp)) {
        return false;
    }
    /* In front of the window of a PCI bridge, should it lie in there */
    memory_region_add_subregion_overlap(get_system_memory(), s->base_address,
                                        &s->shmem, 1);
    return true;
}

static void ivshmem2_unmap_shmem(IVShmemState *s)
{
    if (s->base_address) {
        memory_region_del_subregion(get_system_memory(), &s->shmem);
    }
}

/* Config space */

static void ivshmem2_init_header(IVShmemState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);

    pci_set_byte(pdev->config + PCI_CLASS_PROG, s->client.protocol & 0xff);
    pci_set_byte(pdev->config + PCI_CLASS_DEVICE, s->client.protocol >> 8);
    pci_set_byte(pdev->config + PCI_INTERRUPT_PIN, s->msix ? 0 : 1);
    pci_set_word(pdev->wmask + PCI_COMMAND,
                 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
                 PCI_COMMAND_INTX_DISABLE);
}

static bool ivshmem2_init_capability(IVShmemState *s, Error **errp)
{
    const struct ivshmem_layout *l = &s->client.layout;
    PCIDevice *pdev = PCI_DEVICE(s);
    uint8_t len = s->base_address ? IVSHMEM_CAP_LENGTH_BASE :
                                    IVSHMEM_CAP_LENGTH_BAR;
    int pos = pci_add_capability(pdev, PCI_CAP_ID_VNDR, 0, len, errp);
    uint8_t *cap = pdev->config + pos;

    if (pos < 0) {
        return false;
    }
    s->cap = pos;
    pci_set_byte(cap + IVSHMEM_CAP_LENGTH, len);
    pci_set_byte(pdev->wmask + pos + IVSHMEM_CAP_PRIV_CONTROL,
                 IVSHMEM_PRIV_ONESHOT_INT);
    pci_set_long(cap + IVSHMEM_CAP_STATE_TABLE_SIZE, l->state_table_size);
    pci_set_quad(cap + IVSHMEM_CAP_RW_SIZE, l->rw_size);
    pci_set_quad(cap + IVSHMEM_CAP_OUTPUT_SIZE, l->output_size);
    if (s->base_address) {
        pci_set_quad(cap + IVSHMEM_CAP_BASE_ADDRESS, s->base_address);
    }
    return true;
}

static bool ivshmem2_init_msix(IVShmemState *s, Error **errp)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    uint32_t vector;

    if (!s->msix) {
        return true;
    }
    if (msix_init_exclusive_bar(pdev, s->client.vectors, IVSHMEM_BAR_MSIX,
                                errp) < 0) {
        return false;
    }
    for (vector = 0; vector < s->client.vectors; vector++) {
        msix_vector_use(pdev, vector);
    }
    return true;
}

static void ivshmem2_exit_msix(IVShmemState *s)
{
    if (s->msix) {
        msix_uninit_exclusive_bar(PCI_DEVICE(s));
    }
}

/* Migration */

static bool ivshmem2_init_migration(IVShmemState *s, Error **errp)
{
    bool master = s->master == ON_OFF_AUTO_ON ||
                  (s->master == ON_OFF_AUTO_AUTO && s->client.id == 0);

    if (master) {
        return true;
    }
    error_setg(&s->migration_blocker, "ivshmem peer %" PRIu32 " is not the "
               "master of the shared memory: unplug it before the migration",
               s->client.id);
    return migrate_add_blocker(&s->migration_blocker, errp) >= 0;
}

static int ivshmem2_post_load(void *opaque, int version_id)
{
    IVShmemState *s = opaque;

    ivshmem2_client_set_state(&s->client, s->state);
    ivshmem2_client_kick_others(&s->client);
    return 0;
}

static bool ivshmem2_has_msix(void *opaque, int version_id)
{
    IVShmemState *s = opaque;

    return s->msix;
}

static const VMStateDescription ivshmem2_vmstate = {
    .name = "ivshmem-v2",
    .version_id = 1,
    .minimum_version_id = 1,
    .post_load = ivshmem2_post_load,
    .fields = (VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, IVShmemState),
        VMSTATE_MSIX_TEST(parent_obj, IVShmemState, ivshmem2_has_msix),
        VMSTATE_UINT32_EQUAL(client.id, IVShmemState,
                             "The destination must be the same peer."),
        VMSTATE_UINT32(int_control, IVShmemState),
        VMSTATE_UINT32(state, IVShmemState),
        VMSTATE_END_OF_LIST()
    },
};

/* Life */

static void ivshmem2_realize(PCIDevice *pdev, Error **errp)
{
    IVShmemState *s = IVSHMEM2(pdev);

    memory_region_init_io(&s->registers, OBJECT(s), &ivshmem2_registers_ops, s,
                          "ivshmem-registers", IVSHMEM2_REGISTERS_SIZE);
    if (!ivshmem2_client_connect(&s->client, &ivshmem2_client_ops,
                                 DEVICE(pdev)->hotplugged, errp)) {
        return;
    }
    ivshmem2_client_set_state(&s->client, IVSHMEM_STATE_RESET);
    ivshmem2_init_header(s);
    pci_register_bar(pdev, IVSHMEM_BAR_REGISTERS,
                     PCI_BASE_ADDRESS_SPACE_MEMORY, &s->registers);
    if (!ivshmem2_init_migration(s, errp)) {
        goto err_close_client;
    }
    if (!ivshmem2_init_capability(s, errp)) {
        goto err_exit_migration;
    }
    if (!ivshmem2_init_msix(s, errp)) {
        goto err_exit_migration;
    }
    ivshmem2_init_sections(s);
    if (!ivshmem2_map_shmem(s, errp)) {
        goto err_exit_sections;
    }
    return;

err_exit_sections:
    ivshmem2_exit_sections(s);
    ivshmem2_exit_msix(s);
err_exit_migration:
    migrate_del_blocker(&s->migration_blocker);
err_close_client:
    ivshmem2_client_close(&s->client);
}

static void ivshmem2_exit(PCIDevice *pdev)
{
    IVShmemState *s = IVSHMEM2(pdev);

    ivshmem2_set_state(s, IVSHMEM_STATE_RESET);
    ivshmem2_unmap_shmem(s);
    ivshmem2_exit_sections(s);
    ivshmem2_exit_msix(s);
    migrate_del_blocker(&s->migration_blocker);
    ivshmem2_client_close(&s->client);
}

/* Runs when no memory map refers to the sections any more */
static void ivshmem2_finalize(Object *obj)
{
    ivshmem2_client_unmap(&IVSHMEM2(obj)->client);
}

static IVShmemProperty ivshmem2_properties[] = {
    DEFINE_PROP_CHR("chardev", IVShmemState, client.chr),
    DEFINE_PROP_BOOL("ioeventfd", IVShmemState, ioeventfd, true),
    DEFINE_PROP_BOOL("msix", IVShmemState, msix, true),
    DEFINE_PROP_ON_OFF_AUTO("master", IVShmemState, master, ON_OFF_AUTO_AUTO),
    DEFINE_PROP_SIZE("base-address", IVShmemState, base_address, 0),
    IVSHMEM2_PROP_END
};

static void ivshmem2_class_init(ObjectClass *klass, IVShmemClassData *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = ivshmem2_realize;
    k->exit = ivshmem2_exit;
    k->vendor_id = IVSHMEM_VENDOR_ID;
    k->device_id = IVSHMEM_DEVICE_ID;
    k->class_id = PCI_CLASS_OTHERS << 8;
    k->revision = 0;
    device_class_set_legacy_reset(dc, ivshmem2_reset);
    device_class_set_props(dc, ivshmem2_properties);
    dc->vmsd = &ivshmem2_vmstate;
    dc->desc = "Inter-VM shared memory, version 2";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo ivshmem2_info = {
    .name = TYPE_IVSHMEM2,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(IVShmemState),
    .instance_finalize = ivshmem2_finalize,
    .class_init = ivshmem2_class_init,
    .interfaces = (InterfaceInfo[]) {
        { INTERFACE_CONVENTIONAL_PCI_DEVICE },
        { },
    },
};

static void ivshmem2_register_types(void)
{
    type_register_static(&ivshmem2_info);
}

type_init(ivshmem2_register_types)
