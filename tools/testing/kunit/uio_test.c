// SPDX-License-Identifier: GPL-2.0
/*
 * drivers/misc/ivshmem.c and drivers/uio/uio_ivshmem.c on a fake device: which
 * devices they refuse, what they tell UIO of the others, and events. What a
 * program sees of the maps needs a program: see selftests/ivshmem/test_uio.py.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/uio_driver.h>

#include "fake.h"
#include "table.h"

static const struct fake_spec ut_spec = {
	.protocol = IVSHMEM_PROTO_UNDEFINED,
	.id = 1, .max_peers = 3, .vectors = 2,
	.rw_size = SZ_64K, .output_size = SZ_32K,
};

static void uio_ivshmem_exit(struct kunit *test)
{
	fake_destroy(test->priv);
}

static struct fake *ut_create(struct kunit *test, const struct fake_spec *spec)
{
	test->priv = fake_create(test, spec);
	return test->priv;
}

/* Which devices are whose */
struct ut_protocol_case {
	const char *name;
	u16 protocol;
	const char *expected;
};

static const struct ut_protocol_case ut_protocol_cases[] = {
	{ "undefined", 0x0000, "uio_ivshmem" },
	{ "first of the user", 0x4000, "uio_ivshmem" },
	{ "last of the user", 0x7fff, "uio_ivshmem" },
	{ "console back end", 0xc003, "uio_ivshmem" },
	{ "block front end", 0x8002, "virtio_ivshmem" },
	{ "Ethernet", 0x0001, "ivshmem_net" },
	{ "reserved", 0x0002, NULL },
	{ "last reserved", 0x3fff, NULL },
};

TABLE_PARAM(ut_protocol_cases);

static void uio_ivshmem_test_bind_protocol(struct kunit *test)
{
	const struct ut_protocol_case *c = test->param_value;
	struct fake_spec spec = ut_spec;
	struct fake *fake;

	spec.protocol = c->protocol;
	spec.id = 0;
	spec.max_peers = 2;
	fake = ut_create(test, &spec);
	fake_plug(test, fake);
	KUNIT_ASSERT_EQ(test, fake_is_bound(fake), !!c->expected);
	if (c->expected)
		KUNIT_EXPECT_STREQ(test, fake->pdev->dev.driver->name, c->expected);
}

/* One number of the device is another one */
struct ut_device_case {
	const char *name;
	unsigned int offset;	/* in config space; 0 = none */
	unsigned int bytes;
	u64 value;
	void (*change)(struct fake *fake);
	bool expected;
};

static void ut_id(struct fake *fake)
{
	fake->id = fake->max_peers;
}

static void ut_all_ones(struct fake *fake)
{
	fake->id = U32_MAX;
	fake->max_peers = U32_MAX;
}

static void ut_many_peers(struct fake *fake)
{
	fake->max_peers = 1025;
}

static void ut_no_registers(struct fake *fake)
{
	fake->bar_bytes[0] = 0;
}

static void ut_small_registers(struct fake *fake)
{
	fake->bar_bytes[0] = 16;
}

static void ut_shared_page(struct fake *fake)
{
	fake->bar_bytes[0] = 256;
}

static void ut_no_shmem(struct fake *fake)
{
	fake->bar_bytes[2] = 0;
}

static const struct ut_device_case ut_device_cases[] = {
	{ "nothing wrong", .expected = true },
	{ "no capability list", PCI_STATUS, 2, 0 },
	{ "no vendor capability", PCI_CAPABILITY_LIST, 1, FAKE_MSIX },
	{ "capability of length 0", FAKE_CAP + IVSHMEM_CAP_LENGTH, 1, 0 },
	{ "capability a byte short", FAKE_CAP + IVSHMEM_CAP_LENGTH, 1, 0x17 },
	{ "longer capability", FAKE_CAP + IVSHMEM_CAP_LENGTH, 1, 0x20, .expected = true },
	{ "no State Table", FAKE_CAP + IVSHMEM_CAP_STATE_TABLE_SIZE, 4, 0 },
	{ "State Table of no pages", FAKE_CAP + IVSHMEM_CAP_STATE_TABLE_SIZE, 4, 64 },
	{ "State Table of 4 GiB", FAKE_CAP + IVSHMEM_CAP_STATE_TABLE_SIZE, 4, 0xfffff000 },
	{ "R/W section of no pages", FAKE_CAP + IVSHMEM_CAP_RW_SIZE, 8, 12 },
	{ "R/W section that overflows", FAKE_CAP + IVSHMEM_CAP_RW_SIZE, 8,
	  0xfffffffffffff000 },
	{ "output sections of no pages", FAKE_CAP + IVSHMEM_CAP_OUTPUT_SIZE, 8, 12 },
	{ "output sections beyond the BAR", FAKE_CAP + IVSHMEM_CAP_OUTPUT_SIZE, 8, SZ_512K },
	{ "output sections that overflow", FAKE_CAP + IVSHMEM_CAP_OUTPUT_SIZE, 8,
	  0x8000000000000000 },
	{ "id of nobody", .change = ut_id },
	{ "registers read all ones", .change = ut_all_ones },
	{ "more peers than the State Table has", .change = ut_many_peers },
	{ "no registers", .change = ut_no_registers },
	{ "registers cut off", .change = ut_small_registers },
	{ "registers in a part of a page", .change = ut_shared_page },
	{ "neither BAR 2 nor base address", .change = ut_no_shmem },
};

TABLE_PARAM(ut_device_cases);

static void uio_ivshmem_test_probe_device(struct kunit *test)
{
	const struct ut_device_case *c = test->param_value;
	struct fake *fake = ut_create(test, &ut_spec);

	if (c->bytes)
		fake_put(fake, c->offset, c->value, c->bytes);
	if (c->change)
		c->change(fake);
	fake_plug(test, fake);
	KUNIT_EXPECT_EQ(test, fake_is_bound(fake), c->expected);
}

/* What its last user left is not there any more */
static void uio_ivshmem_test_probe_starts_clean(struct kunit *test)
{
	struct fake *fake = ut_create(test, &ut_spec);

	fake->state = 17;
	fake->int_control = 1;
	fake_plug(test, fake);
	KUNIT_EXPECT_EQ(test, fake->state, 0u);
	KUNIT_EXPECT_EQ(test, fake->int_control, 0u);
	KUNIT_EXPECT_EQ(test, fake->config[FAKE_CAP + IVSHMEM_CAP_PRIV_CONTROL],
			(u8)IVSHMEM_PRIV_ONESHOT_INT);
}

static int ut_find_uio(struct device *dev, void *data)
{
	struct uio_device **uio = data;

	if (!dev->class || strcmp(dev->class->name, "uio"))
		return 0;
	*uio = dev_get_drvdata(dev);
	return 1;
}

static struct uio_device *ut_plug(struct kunit *test, struct fake *fake)
{
	struct uio_device *uio = NULL;

	fake_plug(test, fake);
	device_for_each_child(&fake->pdev->dev, &uio, ut_find_uio);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, uio);
	return uio;
}

struct ut_map {
	const char *name;
	u64 offset;
	u64 size;
};

struct ut_maps_case {
	const char *name;
	u64 rw_size;
	u64 output_size;
	bool no_bar2;
	struct ut_map expected[5];
};

static const struct ut_maps_case ut_maps_cases[] = {
	{ "all sections", SZ_64K, SZ_32K, false, {
		{ "registers", 0, SZ_4K },
		{ "state_table", 0, SZ_4K },
		{ "rw_section", SZ_4K, SZ_64K },
		{ "input_sections", SZ_4K + SZ_64K, 3 * SZ_32K },
		{ "output_section", SZ_4K + SZ_64K + SZ_32K, SZ_32K },
	} },
	{ "no BAR 2, but a base address", 0, SZ_4K, true, {
		{ "registers", 0, SZ_4K },
		{ "state_table", 0, SZ_4K },
		{ "input_sections", SZ_4K, 3 * SZ_4K },
		{ "output_section", SZ_8K, SZ_4K },
	} },
	{ "no R/W section", 0, SZ_4K, false, {
		{ "registers", 0, SZ_4K },
		{ "state_table", 0, SZ_4K },
		{ "input_sections", SZ_4K, 3 * SZ_4K },
		{ "output_section", SZ_8K, SZ_4K },
	} },
	{ "no output sections", SZ_64K, 0, false, {
		{ "registers", 0, SZ_4K },
		{ "state_table", 0, SZ_4K },
		{ "rw_section", SZ_4K, SZ_64K },
	} },
	{ "State Table alone", 0, 0, false, {
		{ "registers", 0, SZ_4K },
		{ "state_table", 0, SZ_4K },
	} },
};

TABLE_PARAM(ut_maps_cases);

static void ut_expect_map(struct kunit *test, const struct fake *fake,
			  const struct uio_mem *mem, const struct ut_map *expected)
{
	bool is_regs = !strcmp(expected->name, "registers");

	KUNIT_EXPECT_STREQ(test, mem->name, expected->name);
	KUNIT_EXPECT_EQ(test, (u64)mem->size, expected->size);
	KUNIT_EXPECT_EQ(test, mem->memtype, is_regs ? UIO_MEM_PHYS : UIO_MEM_IOVA);
	if (!is_regs)
		KUNIT_EXPECT_EQ(test, (u64)mem->addr,
				virt_to_phys(fake->shmem) + expected->offset);
}

static void uio_ivshmem_test_maps(struct kunit *test)
{
	const struct ut_maps_case *c = test->param_value;
	struct fake_spec spec = ut_spec;
	struct uio_device *uio;
	struct fake *fake;
	unsigned int i;

	spec.rw_size = c->rw_size;
	spec.output_size = c->output_size;
	spec.no_bar2 = c->no_bar2;
	fake = ut_create(test, &spec);
	uio = ut_plug(test, fake);
	for (i = 0; i < ARRAY_SIZE(c->expected) && c->expected[i].name; i++)
		ut_expect_map(test, fake, &uio->info->mem[i], &c->expected[i]);
	for (; i < MAX_UIO_MAPS; i++)
		KUNIT_EXPECT_EQ(test, (u64)uio->info->mem[i].size, 0ULL);
}

/* A mapping that the driver has to refuse; UIO has checked its length */
static void uio_ivshmem_test_mmap_read_only_for_writing(struct kunit *test)
{
	struct uio_device *uio = ut_plug(test, ut_create(test, &ut_spec));
	struct vm_area_struct *vma = kunit_kzalloc(test, sizeof(*vma), GFP_KERNEL);
	static const unsigned int read_only[] = { 1, 3 };
	unsigned int i;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, vma);
	for (i = 0; i < ARRAY_SIZE(read_only); i++) {
		/* constant from 6.3 on, and without a function for it before */
		*(vm_flags_t *)&vma->vm_flags = VM_SHARED | VM_READ | VM_WRITE |
						VM_MAYREAD | VM_MAYWRITE;
		vma->vm_pgoff = read_only[i];
		vma->vm_end = PAGE_SIZE;
		KUNIT_EXPECT_EQ(test, uio->info->mmap(uio->info, vma), -EACCES);
	}
}

static unsigned int ut_events(struct uio_device *uio)
{
	return atomic_read(&uio->event);
}

static void uio_ivshmem_test_event_each_vector(struct kunit *test)
{
	struct fake *fake = ut_create(test, &ut_spec);
	struct uio_device *uio = ut_plug(test, fake);

	fake_interrupt(fake, 0);
	KUNIT_EXPECT_EQ(test, ut_events(uio), 0u);	/* not enabled */
	uio->info->irqcontrol(uio->info, 1);
	fake_interrupt(fake, 0);
	KUNIT_EXPECT_EQ(test, ut_events(uio), 1u);
	fake_interrupt(fake, 1);
	KUNIT_EXPECT_EQ(test, ut_events(uio), 1u);	/* one shot */
	uio->info->irqcontrol(uio->info, 1);
	fake_interrupt(fake, 1);
	KUNIT_EXPECT_EQ(test, ut_events(uio), 2u);
	uio->info->irqcontrol(uio->info, 1);
	uio->info->irqcontrol(uio->info, 0);
	fake_interrupt(fake, 0);
	KUNIT_EXPECT_EQ(test, ut_events(uio), 2u);
	uio->info->irqcontrol(uio->info, 1);
	fake_set_state(fake, 0, 5);
	KUNIT_EXPECT_EQ(test, ut_events(uio), 3u);
}

static void uio_ivshmem_test_event_intx(struct kunit *test)
{
	struct fake_spec spec = ut_spec;
	struct uio_device *uio;
	struct fake *fake;

	spec.vectors = 0;
	fake = ut_create(test, &spec);
	uio = ut_plug(test, fake);
	KUNIT_EXPECT_FALSE(test, fake->pdev->msix_enabled);
	uio->info->irqcontrol(uio->info, 1);
	fake_interrupt(fake, 0);
	KUNIT_EXPECT_EQ(test, ut_events(uio), 1u);
	fake_interrupt(fake, 0);
	KUNIT_EXPECT_EQ(test, ut_events(uio), 1u);	/* one shot */
}

/* A file that is open more than once, under two names */
static void uio_ivshmem_test_release_last_quiesces(struct kunit *test)
{
	struct fake *fake = ut_create(test, &ut_spec);
	struct uio_device *uio = ut_plug(test, fake);
	struct inode *names = kunit_kzalloc(test, 2 * sizeof(*names), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, names);
	for (i = 0; i < 2; i++) {
		inode_init_once(&names[i]);
		atomic_set(&names[i].i_count, 1);
	}
	KUNIT_EXPECT_EQ(test, uio->info->open(uio->info, &names[0]), 0);
	KUNIT_EXPECT_EQ(test, uio->info->open(uio->info, &names[0]), 0);
	KUNIT_EXPECT_EQ(test, uio->info->open(uio->info, &names[1]), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&names[0].i_count), 2);
	uio->info->irqcontrol(uio->info, 1);
	fake->state = 7;

	uio->info->release(uio->info, &names[0]);
	uio->info->release(uio->info, &names[1]);
	KUNIT_EXPECT_EQ(test, fake->state, 7u);
	uio->info->release(uio->info, &names[0]);
	KUNIT_EXPECT_EQ(test, fake->state, 0u);
	KUNIT_EXPECT_EQ(test, fake->int_control, 0u);
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, atomic_read(&names[i].i_count), 1);
}

static void uio_ivshmem_test_remove_quiesces(struct kunit *test)
{
	struct fake *fake = ut_create(test, &ut_spec);
	struct uio_device *uio = ut_plug(test, fake);

	uio->info->irqcontrol(uio->info, 1);
	fake->state = 7;
	fake_unplug(fake);
	KUNIT_EXPECT_EQ(test, fake->state, 0u);
	KUNIT_EXPECT_EQ(test, fake->int_control, 0u);
	KUNIT_EXPECT_EQ(test, fake->used, 0UL);
}

static void uio_ivshmem_test_shutdown_quiesces(struct kunit *test)
{
	struct fake *fake = ut_create(test, &ut_spec);
	struct uio_device *uio = ut_plug(test, fake);

	uio->info->irqcontrol(uio->info, 1);
	fake->state = 7;
	fake_shutdown(fake);
	KUNIT_EXPECT_EQ(test, fake->state, 0u);
	KUNIT_EXPECT_EQ(test, fake->int_control, 0u);
}

static struct kunit_case uio_ivshmem_cases[] = {
	KUNIT_CASE_PARAM(uio_ivshmem_test_bind_protocol, ut_protocol_cases_gen_params),
	KUNIT_CASE_PARAM(uio_ivshmem_test_probe_device, ut_device_cases_gen_params),
	KUNIT_CASE(uio_ivshmem_test_probe_starts_clean),
	KUNIT_CASE_PARAM(uio_ivshmem_test_maps, ut_maps_cases_gen_params),
	KUNIT_CASE(uio_ivshmem_test_mmap_read_only_for_writing),
	KUNIT_CASE(uio_ivshmem_test_event_each_vector),
	KUNIT_CASE(uio_ivshmem_test_event_intx),
	KUNIT_CASE(uio_ivshmem_test_release_last_quiesces),
	KUNIT_CASE(uio_ivshmem_test_remove_quiesces),
	KUNIT_CASE(uio_ivshmem_test_shutdown_quiesces),
	{}
};

static struct kunit_suite uio_ivshmem_suite = {
	.name = "uio_ivshmem",
	.exit = uio_ivshmem_exit,
	.test_cases = uio_ivshmem_cases,
};

kunit_test_suite(uio_ivshmem_suite);
