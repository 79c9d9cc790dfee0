// SPDX-License-Identifier: GPL-2.0
/*
 * include/linux/ivshmem-layout.h: each way in which the numbers of a device can
 * fail to fit together, and where the sections of the others lie.
 */
#include <linux/ivshmem-layout.h>
#include <linux/limits.h>
#include <linux/sizes.h>

#include "table.h"

#define LAYOUT_BASE		0x100000000ULL
#define LAYOUT_LAST_PAGE	(U64_MAX - SZ_4K + 1)

/* The capability, then the rest of the device */
struct layout_input {
	u8 length;
	u32 table;
	u64 rw;
	u64 output;
	u64 base;
	u64 bar;
	u32 id;
	u32 max_peers;
};

struct layout_good_case {
	const char *name;
	struct layout_input input;
	struct ivshmem_layout expected;
	u64 expected_last_output;
};

static const struct layout_good_case layout_good_cases[] = {
	{ .name = "all sections in a BAR",
	  .input = { 0x18, SZ_4K, 0x3000, SZ_8K, .bar = SZ_64K,
		     .id = 2, .max_peers = 3 },
	  .expected = { 0, SZ_4K, SZ_4K, 0x3000, SZ_16K, SZ_8K, 0xa000 },
	  .expected_last_output = SZ_32K },
	{ .name = "sections end with the BAR",
	  .input = { 0x18, SZ_4K, 0x7000, SZ_16K, .bar = SZ_64K,
		     .id = 1, .max_peers = 2 },
	  .expected = { 0, SZ_4K, SZ_4K, 0x7000, SZ_32K, SZ_16K, SZ_64K },
	  .expected_last_output = 0xc000 },
	{ .name = "State Table alone",
	  .input = { 0x18, SZ_4K, .bar = SZ_4K, .max_peers = 2 },
	  .expected = { 0, SZ_4K, SZ_4K, 0, SZ_4K, 0, SZ_4K },
	  .expected_last_output = SZ_4K },
	{ .name = "no R/W section",
	  .input = { 0x18, SZ_4K, 0, SZ_4K, .bar = SZ_16K, .max_peers = 2 },
	  .expected = { 0, SZ_4K, SZ_4K, 0, SZ_4K, SZ_4K, 0x3000 },
	  .expected_last_output = SZ_8K },
	{ .name = "longer capability than we know",
	  .input = { 0xff, SZ_4K, .bar = SZ_4K, .max_peers = 2 },
	  .expected = { 0, SZ_4K, SZ_4K, 0, SZ_4K, 0, SZ_4K },
	  .expected_last_output = SZ_4K },
	{ .name = "base address instead of a BAR",
	  .input = { 0x20, SZ_4K, SZ_4K, SZ_4K, LAYOUT_BASE,
		     .id = 11, .max_peers = 12 },
	  .expected = { LAYOUT_BASE, SZ_4K, SZ_4K, SZ_4K, SZ_8K, SZ_4K, 0xe000 },
	  .expected_last_output = 0xd000 },
	{ .name = "base address beside a BAR is not read",
	  .input = { 0x20, SZ_4K, .base = 1, .bar = SZ_4K, .max_peers = 2 },
	  .expected = { 0, SZ_4K, SZ_4K, 0, SZ_4K, 0, SZ_4K },
	  .expected_last_output = SZ_4K },
	{ .name = "last pages that can have an end",
	  .input = { 0x20, SZ_4K, .base = LAYOUT_LAST_PAGE - SZ_4K, .max_peers = 2 },
	  .expected = { LAYOUT_LAST_PAGE - SZ_4K, SZ_4K, SZ_4K, 0, SZ_4K, 0, SZ_4K },
	  .expected_last_output = SZ_4K },
	{ .name = "most peers",
	  .input = { 0x18, SZ_256K, 0, SZ_4K, .bar = SZ_512M,
		     .id = 65535, .max_peers = 65536 },
	  .expected = { 0, SZ_256K, SZ_256K, 0, SZ_256K, SZ_4K, 0x10040000 },
	  .expected_last_output = 0x1003f000 },
};

TABLE_PARAM(layout_good_cases);

struct layout_bad_case {
	const char *name;
	struct layout_input input;
	const char *expected;
};

static const struct layout_bad_case layout_bad_cases[] = {
	{ "capability of length 0", { 0, SZ_4K, .bar = SZ_4K, .max_peers = 2 },
	  "too short" },
	{ "capability one byte short", { 0x17, SZ_4K, .bar = SZ_4K, .max_peers = 2 },
	  "too short" },
	{ "neither BAR nor room for a base address",
	  { 0x18, SZ_4K, .base = LAYOUT_BASE, .max_peers = 2 }, "neither BAR 2 nor" },
	{ "base address cut off",
	  { 0x1f, SZ_4K, .base = LAYOUT_BASE, .max_peers = 2 }, "neither BAR 2 nor" },
	{ "base address 0", { 0x20, SZ_4K, .max_peers = 2 }, "base address is not" },
	{ "base address inside a page",
	  { 0x20, SZ_4K, .base = LAYOUT_BASE + 8, .max_peers = 2 },
	  "base address is not" },
	{ "base address overflows",
	  { 0x20, SZ_4K, .base = LAYOUT_LAST_PAGE, .max_peers = 2 },
	  "base address and sizes overflow" },
	{ "no State Table", { 0x18, 0, .bar = SZ_4K, .max_peers = 2 }, "too small" },
	{ "State Table too small for the peers",
	  { 0x18, SZ_4K, .bar = SZ_64K, .max_peers = 1025 }, "too small" },
	{ "State Table unaligned",
	  { 0x18, SZ_4K + 4, .bar = SZ_64K, .max_peers = 2 }, "State Table size is not" },
	{ "R/W section unaligned",
	  { 0x18, SZ_4K, .rw = 1, .bar = SZ_64K, .max_peers = 2 },
	  "R/W section size is not" },
	{ "output section unaligned",
	  { 0x18, SZ_4K, .output = SZ_4K - 1, .bar = SZ_64K, .max_peers = 2 },
	  "output section size is not" },
	{ "R/W section overflows",
	  { 0x18, SZ_4K, .rw = LAYOUT_LAST_PAGE, .bar = SZ_64K, .max_peers = 2 },
	  "sections overflow" },
	{ "output sections overflow each by itself",
	  { 0x18, SZ_4K, .output = 1ULL << 63, .bar = SZ_64K, .max_peers = 2 },
	  "sections overflow" },
	{ "output sections overflow with the rest",
	  { 0x18, SZ_4K, 1ULL << 63, 1ULL << 62, .bar = SZ_64K, .max_peers = 2 },
	  "sections overflow" },
	{ "BAR a page too small",
	  { 0x18, SZ_4K, SZ_32K, SZ_16K, .bar = SZ_64K, .max_peers = 2 },
	  "do not fit into BAR 2" },
	{ "id of nobody", { 0x18, SZ_4K, .bar = SZ_4K, .id = 2, .max_peers = 2 },
	  "peer id is not below" },
	{ "no peers", { 0x18, SZ_4K, .bar = SZ_4K }, "not 2..65536" },
	{ "one peer", { 0x18, SZ_4K, .bar = SZ_4K, .max_peers = 1 }, "not 2..65536" },
	{ "one peer too many",
	  { 0x18, SZ_512K, .bar = SZ_512K, .max_peers = 65537 }, "not 2..65536" },
	{ "registers read all ones",
	  { 0x18, SZ_4K, .bar = SZ_4K, .id = U32_MAX, .max_peers = U32_MAX },
	  "not 2..65536" },
};

TABLE_PARAM(layout_bad_cases);

static int layout_parse(struct ivshmem_layout *l, const struct layout_input *in,
			const char **why)
{
	const struct ivshmem_cap cap = {
		.length = in->length,
		.state_table_size = cpu_to_le32(in->table),
		.rw_size = cpu_to_le64(in->rw),
		.output_size = cpu_to_le64(in->output),
		.base_address = cpu_to_le64(in->base),
	};

	return ivshmem_layout_parse(l, &cap, in->bar, in->id, in->max_peers,
				    SZ_4K, why);
}

static void layout_test_parse_good(struct kunit *test)
{
	const struct layout_good_case *c = test->param_value;
	struct ivshmem_layout l;
	const char *why;

	KUNIT_ASSERT_EQ(test, layout_parse(&l, &c->input, &why), 0);
	KUNIT_EXPECT_TRUE(test, !why);
	KUNIT_EXPECT_EQ(test, l.base_address, c->expected.base_address);
	KUNIT_EXPECT_EQ(test, l.state_table_size, c->expected.state_table_size);
	KUNIT_EXPECT_EQ(test, l.rw_offset, c->expected.rw_offset);
	KUNIT_EXPECT_EQ(test, l.rw_size, c->expected.rw_size);
	KUNIT_EXPECT_EQ(test, l.output_offset, c->expected.output_offset);
	KUNIT_EXPECT_EQ(test, l.output_size, c->expected.output_size);
	KUNIT_EXPECT_EQ(test, l.size, c->expected.size);
	KUNIT_EXPECT_EQ(test, ivshmem_layout_output(&l, c->input.max_peers - 1),
			c->expected_last_output);
}

static void layout_test_parse_bad(struct kunit *test)
{
	const struct layout_bad_case *c = test->param_value;
	struct ivshmem_layout l;
	const char *why;

	KUNIT_EXPECT_EQ(test, layout_parse(&l, &c->input, &why), -EINVAL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, why);
	KUNIT_EXPECT_TRUE_MSG(test, strstr(why, c->expected), "%s", why);
}

static struct kunit_case layout_cases[] = {
	KUNIT_CASE_PARAM(layout_test_parse_good, layout_good_cases_gen_params),
	KUNIT_CASE_PARAM(layout_test_parse_bad, layout_bad_cases_gen_params),
	{}
};

static struct kunit_suite layout_suite = {
	.name = "ivshmem_layout",
	.test_cases = layout_cases,
};

kunit_test_suite(layout_suite);
