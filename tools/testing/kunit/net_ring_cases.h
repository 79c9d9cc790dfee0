/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where rings and queues lie, as numbers computed by hand, and how many queues
 * a section has room for. For who includes drivers/net/ivshmem-net-ring.h: KUnit
 * here, and tools/testing/ring in user space under the sanitizers.
 */
#ifndef _IVSHMEM_KUNIT_NET_RING_CASES_H
#define _IVSHMEM_KUNIT_NET_RING_CASES_H

#define CASES_KIB	1024ULL
#define CASES_MIB	(1024 * CASES_KIB)

struct ring_layout_case {
	const char *name;
	__u64 bytes;
	unsigned int n, q;	/* n = 0: the section as every peer knows it */
	int expected_err;
	struct ivn_ring_layout expected;
};

static const struct ring_layout_case ring_layout_cases[] = {
	{ "nothing", 0, .expected_err = -ENOSPC },
	{ "one byte less than the smallest", 1231, .expected_err = -ENOSPC },
	{ "smallest", 1232,
	  .expected = { 32, 960, 0, 512, 640, 960, 1232, 1232 } },
	{ "4 KiB", 4 * CASES_KIB,
	  .expected = { 32, 960, 0, 512, 640, 960, 4096, 4096 } },
	{ "header is one eighth, so half of it", 14336,
	  .expected = { 32, 960, 0, 512, 640, 960, 14336, 14336 } },
	{ "header is a little less than one eighth", 14344,
	  .expected = { 64, 1792, 0, 1024, 1216, 1792, 14344, 14344 } },
	{ "16 KiB", 16 * CASES_KIB,
	  .expected = { 64, 1792, 0, 1024, 1216, 1792, 16384, 16384 } },
	{ "64 KiB", 64 * CASES_KIB,
	  .expected = { 256, 6784, 0, 4096, 4672, 6784, 65536, 65536 } },
	{ "504 KiB", 504 * CASES_KIB,
	  .expected = { 2048, 53376, 0, 32768, 36928, 53376, 516096, 516096 } },
	{ "1 MiB", CASES_MIB,
	  .expected = { 4096, 106624, 0, 65536, 73792, 106624, 1048576, 1048576 } },
	{ "2 MiB", 2 * CASES_MIB,
	  .expected = { 4096, 106624, 0, 65536, 73792, 106624, 2097152, 2097152 } },
	{ "256 MiB", 256 * CASES_MIB,
	  .expected = { 4096, 106624, 0, 65536, 73792, 106624, 268435456, 268435456 } },
	{ "8 GiB", 8192 * CASES_MIB,
	  .expected = { 4096, 106624, 0, 65536, 73792, 106624, 8589934592, 8589934592 } },
	{ "one queue leaves the extension alone", 64 * CASES_KIB, 1, 0,
	  .expected = { 256, 6784, 0, 4096, 4672, 6784, 65536, 65472 } },
	{ "first of two", CASES_MIB, 2, 0,
	  .expected = { 2048, 53376, 110592, 143360, 147520, 163968, 577536, 577536 } },
	{ "second of two", CASES_MIB, 2, 1,
	  .expected = { 2048, 53376, 577536, 610304, 614464, 630912, 1044480, 1044480 } },
	{ "last of eight", CASES_MIB, 8, 7,
	  .expected = { 512, 13440, 913408, 921600, 922688, 926848, 1028096, 1028096 } },
	{ "last of eight in 256 MiB", 256 * CASES_MIB, 8, 7,
	  .expected = { 4096, 106624, 234876928, 234942464, 234950720, 234983552,
		 268414976, 268414976 } },
	{ "last of four in all of 16 MiB but a page", 16 * CASES_MIB - 4 * CASES_KIB, 4, 3,
	  .expected = { 4096, 106624, 12595200, 12660736, 12668992, 12701824,
		 16756736, 16756736 } },
	{ "part of a page", 64 * CASES_KIB, 8, 7,
	  .expected = { 32, 960, 36864, 37376, 37504, 37824, 40960, 40960 } },
	{ "parts of nothing", 16 * CASES_KIB, 8, 0, .expected_err = -ENOSPC },
	{ "parts of a section without room behind its header", 4 * CASES_KIB, 2, 0,
	  .expected_err = -ENOSPC },
	{ "queue that is not there", CASES_MIB, 2, 2, .expected_err = -EINVAL },
	{ "too many queues", CASES_MIB, 9, 0, .expected_err = -EINVAL },
	{ "no queues but one", CASES_MIB, 0, 1, .expected_err = -EINVAL },
	{ "4 Gi queues", CASES_MIB, 0xffffffff, 0, .expected_err = -EINVAL },
};

struct ring_queues_case {
	const char *name;
	__u64 bytes;
	__u32 vectors;
	unsigned int expected;
};

static const struct ring_queues_case ring_queues_cases[] = {
	{ "none in 1 KiB", CASES_KIB, 9, 0 },
	{ "one in 16 KiB", 16 * CASES_KIB, 9, 1 },
	{ "three in 64 KiB, a fourth had 32 descriptors", 64 * CASES_KIB, 9, 3 },
	{ "eight in 1 MiB", CASES_MIB, 9, 8 },
	{ "more vectors than there can be queues", CASES_MIB, 2048, 8 },
	{ "vectors for seven", CASES_MIB, 8, 7 },
	{ "vectors for two", CASES_MIB, 3, 2 },
	{ "two vectors", CASES_MIB, 2, 1 },
	{ "one vector", CASES_MIB, 1, 1 },
	{ "no vector", CASES_MIB, 0, 1 },
};

#endif /* _IVSHMEM_KUNIT_NET_RING_CASES_H */
