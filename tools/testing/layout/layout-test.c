// SPDX-License-Identifier: GPL-2.0
/*
 * Table test of include/linux/ivshmem-layout.h: every way in which the numbers
 * of a device can fail to fit together, and the layouts of the ones that do.
 * The sizes and offsets of the wire formats are pinned against literals here.
 * Prints one line a case, exits 1 if one is wrong.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <linux/ivshmem-layout.h>
#include <linux/ivshmem_server.h>

#define PAGE 4096ULL
#define TOP (UINT64_MAX - PAGE + 1)

struct layout_case {
	const char *name;
	/* the capability */
	uint8_t length;
	uint32_t table;
	uint64_t rw, output, base;
	/* the rest of the device */
	uint64_t bar;
	uint32_t id, max_peers;
	/* expected: NULL = accepted, else what the message contains */
	const char *why;
	/* where the sections then are */
	uint64_t output_of_last, size;
};

static const struct layout_case layout_cases[] = {
	{ .name = "all sections in a BAR",
	  .length = 0x18, .table = PAGE, .rw = 0x3000, .output = 0x2000,
	  .bar = 0x10000, .id = 2, .max_peers = 3,
	  .output_of_last = 0x8000, .size = 0xa000 },
	{ .name = "sections fill the BAR to the last byte",
	  .length = 0x18, .table = PAGE, .rw = 0x7000, .output = 0x4000,
	  .bar = 0x10000, .id = 1, .max_peers = 2,
	  .output_of_last = 0xc000, .size = 0x10000 },
	{ .name = "one page more than the BAR",
	  .length = 0x18, .table = PAGE, .rw = 0x8000, .output = 0x4000,
	  .bar = 0x10000, .max_peers = 2, .why = "do not fit into BAR 2" },
	{ .name = "State Table alone",
	  .length = 0x18, .table = PAGE, .bar = PAGE, .max_peers = 2,
	  .output_of_last = PAGE, .size = PAGE },
	{ .name = "no R/W section",
	  .length = 0x18, .table = PAGE, .output = PAGE, .bar = 0x4000,
	  .max_peers = 2, .output_of_last = 0x2000, .size = 0x3000 },
	{ .name = "longer capability than we know",
	  .length = 0x28, .table = PAGE, .bar = PAGE, .max_peers = 2,
	  .output_of_last = PAGE, .size = PAGE },
	{ .name = "base address instead of a BAR",
	  .length = 0x20, .table = PAGE, .rw = PAGE, .output = PAGE,
	  .base = 0x100000000ULL, .id = 1, .max_peers = 12,
	  .output_of_last = 13 * PAGE, .size = 14 * PAGE },
	{ .name = "base address is ignored where there is a BAR",
	  .length = 0x20, .table = PAGE, .base = 1, .bar = PAGE,
	  .max_peers = 2, .output_of_last = PAGE, .size = PAGE },
	{ .name = "most peers",
	  .length = 0x18, .table = 0x40000, .output = PAGE,
	  .bar = 0x20000000, .id = 65535, .max_peers = 65536,
	  .output_of_last = 0x40000 + 65535 * PAGE,
	  .size = 0x40000 + 65536 * PAGE },
	{ .name = "capability one byte short",
	  .length = 0x17, .table = PAGE, .bar = PAGE, .max_peers = 2,
	  .why = "too short" },
	{ .name = "capability of length 0",
	  .table = PAGE, .bar = PAGE, .max_peers = 2, .why = "too short" },
	{ .name = "neither BAR nor room for a base address",
	  .length = 0x18, .table = PAGE, .base = 0x100000000ULL,
	  .max_peers = 2, .why = "neither BAR 2 nor" },
	{ .name = "base address cut off",
	  .length = 0x1f, .table = PAGE, .base = 0x100000000ULL,
	  .max_peers = 2, .why = "neither BAR 2 nor" },
	{ .name = "base address 0",
	  .length = 0x20, .table = PAGE, .max_peers = 2,
	  .why = "base address is not" },
	{ .name = "base address inside a page",
	  .length = 0x20, .table = PAGE, .base = 0x100000800ULL,
	  .max_peers = 2, .why = "base address is not" },
	{ .name = "base address so high that the sections wrap",
	  .length = 0x20, .table = PAGE, .base = TOP, .max_peers = 2,
	  .why = "base address and sizes overflow" },
	{ .name = "no State Table",
	  .length = 0x18, .bar = PAGE, .max_peers = 2, .why = "too small" },
	{ .name = "State Table a page short",
	  .length = 0x18, .table = PAGE, .bar = 0x10000, .max_peers = 1025,
	  .why = "too small" },
	{ .name = "State Table not of pages",
	  .length = 0x18, .table = PAGE + 8, .bar = 0x10000, .max_peers = 2,
	  .why = "State Table size is not" },
	{ .name = "R/W section not of pages",
	  .length = 0x18, .table = PAGE, .rw = 1, .bar = 0x10000,
	  .max_peers = 2, .why = "R/W section size is not" },
	{ .name = "output section not of pages",
	  .length = 0x18, .table = PAGE, .output = PAGE - 1, .bar = 0x10000,
	  .max_peers = 2, .why = "output section size is not" },
	{ .name = "R/W section that wraps the sum",
	  .length = 0x18, .table = PAGE, .rw = TOP, .bar = 0x10000,
	  .max_peers = 2, .why = "overflow" },
	{ .name = "output sections that wrap the product",
	  .length = 0x18, .table = PAGE, .output = 1ULL << 63, .bar = 0x10000,
	  .max_peers = 2, .why = "overflow" },
	{ .name = "output sections that wrap the sum",
	  .length = 0x18, .table = PAGE, .rw = 1ULL << 63,
	  .output = 1ULL << 62, .bar = 0x10000, .max_peers = 2,
	  .why = "overflow" },
	{ .name = "id equal to the number of peers",
	  .length = 0x18, .table = PAGE, .bar = PAGE, .id = 2, .max_peers = 2,
	  .why = "peer id is not below" },
	{ .name = "one peer",
	  .length = 0x18, .table = PAGE, .bar = PAGE, .max_peers = 1,
	  .why = "not 2..65536" },
	{ .name = "too many peers",
	  .length = 0x18, .table = 0x80000, .bar = 0x80000,
	  .max_peers = 65537, .why = "not 2..65536" },
	{ .name = "registers that read all ones",
	  .length = 0x18, .table = PAGE, .bar = PAGE, .id = UINT32_MAX,
	  .max_peers = UINT32_MAX, .why = "not 2..65536" },
};

static int layout_check(const struct layout_case *c)
{
	struct ivshmem_cap cap = {
		.length = c->length,
		.state_table_size = htole32(c->table),
		.rw_size = htole64(c->rw),
		.output_size = htole64(c->output),
		.base_address = htole64(c->base),
	};
	struct ivshmem_layout l;
	const char *why;
	int err = ivshmem_layout_parse(&l, &cap, c->bar, c->id, c->max_peers,
				       PAGE, &why);

	if (c->why)
		return err == -EINVAL && why && strstr(why, c->why);
	return !err && !why && l.size == c->size &&
	       l.base_address == (c->bar ? 0 : c->base) &&
	       l.rw_offset == c->table && l.rw_size == c->rw &&
	       ivshmem_layout_output(&l, c->max_peers - 1) == c->output_of_last;
}

/* The wire formats, byte for byte */
#define PIN(type, member, offset) \
	_Static_assert(offsetof(struct type, member) == (offset), #member)

PIN(ivshmem_cap, length, 2);
PIN(ivshmem_cap, priv_control, 3);
PIN(ivshmem_cap, state_table_size, 4);
PIN(ivshmem_cap, rw_size, 8);
PIN(ivshmem_cap, output_size, 0x10);
PIN(ivshmem_cap, base_address, 0x18);
_Static_assert(sizeof(struct ivshmem_cap) == 0x20, "capability");
PIN(ivshmem_msg_init, version, 8);
PIN(ivshmem_msg_init, compatible_version, 12);
PIN(ivshmem_msg_init, id, 16);
PIN(ivshmem_msg_init, max_peers, 20);
PIN(ivshmem_msg_init, vectors, 24);
PIN(ivshmem_msg_init, protocol, 28);
PIN(ivshmem_msg_init, output_section_size, 32);
_Static_assert(sizeof(struct ivshmem_msg_init) == 40, "INIT");
_Static_assert(sizeof(struct ivshmem_msg_event_fd) == 16, "EVENT_FD");
_Static_assert(sizeof(struct ivshmem_msg_peer_gone) == 12, "PEER_GONE");
_Static_assert(IVSHMEM_VENDOR_ID == 0x110a && IVSHMEM_DEVICE_ID == 0x4106, "ids");
_Static_assert(IVSHMEM_REG_ID == 0 && IVSHMEM_REG_MAX_PEERS == 4 &&
	       IVSHMEM_REG_INT_CONTROL == 8 && IVSHMEM_REG_DOORBELL == 12 &&
	       IVSHMEM_REG_STATE == 16, "registers");

int main(void)
{
	unsigned int i, bad = 0;

	for (i = 0; i < sizeof(layout_cases) / sizeof(layout_cases[0]); i++) {
		int ok = layout_check(&layout_cases[i]);

		printf("%s: %s\n", ok ? "ok" : "WRONG", layout_cases[i].name);
		bad += !ok;
	}
	return bad ? 1 : 0;
}
