// SPDX-License-Identifier: GPL-2.0
/*
 * The capability of a device, include/linux/ivshmem-layout.h: whatever is
 * accepted has all its sections where the memory is.
 */
#include <linux/ivshmem-layout.h>

#include "input.h"

/* Of an accepted layout, in numbers that can not overflow */
static void layout_check(const struct ivshmem_layout *l, uint64_t bar,
			 uint32_t id, uint32_t peers, uint64_t page)
{
	unsigned __int128 end = (unsigned __int128)l->output_offset +
				(unsigned __int128)l->output_size * peers;

	fuzz_require(peers >= 2 && peers <= 65536 && id < peers);
	fuzz_require(l->state_table_size >= 4ULL * peers);
	fuzz_require(l->rw_offset == l->state_table_size);
	fuzz_require(l->output_offset - l->rw_offset == l->rw_size);
	fuzz_require(l->output_offset >= l->rw_offset);
	fuzz_require(end == l->size);
	fuzz_require(ivshmem_layout_output(l, id) <= l->size - l->output_size);
	fuzz_require(!((l->base_address | l->state_table_size | l->rw_size |
			l->output_size) % page));
	if (bar)
		fuzz_require(l->size <= bar && !l->base_address);
	else
		fuzz_require(l->base_address && l->base_address + l->size > l->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	struct ivshmem_layout l;
	struct ivshmem_cap cap;
	uint32_t id, peers;
	uint64_t bar, page;
	const char *why;
	int err;

	fuzz_take(&in, &cap, sizeof(cap));
	bar = fuzz_u64(&in);
	id = fuzz_u32(&in);
	peers = fuzz_u32(&in);
	page = 4096ULL << fuzz_u8(&in) % 5;
	err = ivshmem_layout_parse(&l, &cap, bar, id, peers, page, &why);
	fuzz_require(err == (why ? -EINVAL : 0));
	if (!err)
		layout_check(&l, bar, id, peers, page);
	return 0;
}
