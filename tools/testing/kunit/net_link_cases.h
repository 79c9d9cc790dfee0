/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What two offers come to, and offers that are none. For who includes
 * drivers/net/ivshmem-net-link.h: KUnit here, and tools/testing/ring in user
 * space under the sanitizers.
 */
#ifndef _IVSHMEM_KUNIT_NET_LINK_CASES_H
#define _IVSHMEM_KUNIT_NET_LINK_CASES_H

#define LINK_SECTION_BYTES	65536
#define LINK_AVAIL		4096	/* of a section of that size */
#define LINK_EXT		65472
#define LINK_OFFLOADS		(IVSHMEM_NET_F_CSUM | IVSHMEM_NET_F_TSO4 | \
				 IVSHMEM_NET_F_TSO6 | IVSHMEM_NET_F_USO)
#define LINK_ALL		(IVSHMEM_NET_F_VNET_HDR | LINK_OFFLOADS)

struct link_agree_case {
	const char *name;
	struct ivn_link_offer mine;	/* queues = 0: there is none */
	struct ivn_link_offer peer;
	struct ivn_link_agreed expected;
	__u32 expected_last_vector;
};

static const struct link_agree_case link_agree_cases[] = {
	{ "no offers", .expected = { 1, 9 }, .expected_last_vector = 1 },
	{ "the peer's alone", .peer = { 8, LINK_ALL, 1518, 65536, 9 },
	  .expected = { 1, 9 }, .expected_last_vector = 1 },
	{ "mine alone", .mine = { 8, LINK_ALL, 1518, 65536, 9 },
	  .expected = { 1, 9 }, .expected_last_vector = 1 },
	{ "the peer has fewer queues",
	  { 8, LINK_ALL, 9018, 65536, 9 }, { 3, LINK_ALL, 1518, 32768, 4 },
	  { 3, 4, true, LINK_OFFLOADS, 1518, 32768 }, 3 },
	{ "I have fewer queues",
	  { 2, LINK_ALL, 9018, 65536, 9 }, { 8, LINK_ALL, 1518, 32768, 9 },
	  { 2, 9, true, LINK_OFFLOADS, 1518, 32768 }, 2 },
	{ "what the peer takes counts, not what I take",
	  { 1, IVSHMEM_NET_F_VNET_HDR, 1518, 0, 2 },
	  { 1, LINK_ALL, 9018, 65536, 2 },
	  { 1, 2, true, LINK_OFFLOADS, 9018, 65536 }, 1 },
	{ "unknown features",
	  { 1, LINK_ALL, 1518, 65536, 2 }, { 1, 0xffffffff, 1518, 65536, 2 },
	  { 1, 2, true, LINK_OFFLOADS, 1518, 65536 }, 1 },
	{ "no header on my side",
	  { 1, LINK_OFFLOADS, 1518, 65536, 2 }, { 1, LINK_ALL, 1518, 65536, 1 },
	  { 1, 1, false, 0, 1518, 0 }, 0 },
	{ "no header on the peer's side",
	  { 1, LINK_ALL, 1518, 65536, 2 }, { 1, LINK_OFFLOADS, 1518, 65536, 2 },
	  { 1, 2, false, 0, 1518, 0 }, 1 },
	{ "no segmentation without checksums",
	  { 1, LINK_ALL, 1518, 65536, 2 },
	  { 1, LINK_ALL & ~IVSHMEM_NET_F_CSUM, 1518, 65536, 2 },
	  { 1, 2, true, 0, 1518, 65536 }, 1 },
	{ "no segmentation into less than a frame",
	  { 1, LINK_ALL, 1518, 65536, 2 }, { 1, LINK_ALL, 1518, 1517, 2 },
	  { 1, 2, true, IVSHMEM_NET_F_CSUM, 1518, 1517 }, 1 },
	{ "peer without vectors",
	  { 1, LINK_ALL, 1518, 65536, 2 }, { 1, 0, 1518, 0, 0 },
	  { 1, 0, false, 0, 1518, 0 }, 0 },
};

/* What is in the extension that the bytes of the cases go to */
static const struct ivn_link_offer link_offer = { 3, LINK_ALL, 100, 65536, 4 };

/* A byte of an extension that is good otherwise */
struct link_offer_case {
	const char *name;
	unsigned int offset;
	__u8 value;
	bool expected;
};

static const struct link_offer_case link_offer_cases[] = {
	{ "as it was written", LINK_EXT, 'I', true },
	{ "not announced", LINK_AVAIL + 1, 0, false },
	{ "announced by another flag", LINK_AVAIL + 1, 0x40, false },
	{ "announced beside other flags", LINK_AVAIL + 1, 0xff, true },
	{ "first byte of the magic", LINK_EXT, 'i', false },
	{ "last byte of the magic", LINK_EXT + 3, 'x', false },
	{ "version 0", LINK_EXT + 4, 0, false },
	{ "version 2", LINK_EXT + 4, 2, true },
	{ "version 257", LINK_EXT + 5, 1, true },
	{ "no queues", LINK_EXT + 6, 0, false },
	{ "one queue", LINK_EXT + 6, 1, true },
	{ "eight queues", LINK_EXT + 6, 8, true },
	{ "nine queues", LINK_EXT + 6, 9, false },
	{ "256 queues more", LINK_EXT + 7, 1, false },
	{ "unknown features", LINK_EXT + 11, 0xff, true },
	{ "frames of 67 bytes", LINK_EXT + 12, 67, false },
	{ "frames of 68 bytes", LINK_EXT + 12, 68, true },
	{ "frames of 4 GiB", LINK_EXT + 15, 0xff, true },
	{ "most vectors", LINK_EXT + 23, 0xff, true },
	{ "reserved", LINK_EXT + 63, 1, true },
};

#endif /* _IVSHMEM_KUNIT_NET_LINK_CASES_H */
