// SPDX-License-Identifier: GPL-2.0
/*
 * drivers/net/ivshmem-net-link.h: what each pair of states leads to, what two
 * offers come to, and offers that are none.
 */
#include <linux/limits.h>
#include <linux/random.h>
#include <linux/sizes.h>

#include "../../../drivers/net/ivshmem-net-link.h"
#include "net_link_cases.h"
#include "table.h"

#define LINK_SAMPLES		100000

struct link_pair_case {
	const char *name;
	enum ivn_link_state mine;
	u32 peer;
	enum ivn_link_action expected;
};

#define LINK_PAIR(mine, peer, action) {					\
	#mine " sees " #peer, IVN_LINK_STATE_##mine,			\
	IVSHMEM_NET_STATE_##peer, IVN_LINK_##action }

static const struct link_pair_case link_pair_cases[] = {
	LINK_PAIR(RESET, RESET, INIT),
	LINK_PAIR(RESET, INIT, INIT),
	LINK_PAIR(RESET, READY, WAIT),
	LINK_PAIR(RESET, RUN, WAIT),
	LINK_PAIR(INIT, RESET, WAIT),
	LINK_PAIR(INIT, INIT, PREPARE),
	LINK_PAIR(INIT, READY, PREPARE),
	LINK_PAIR(INIT, RUN, PREPARE),
	LINK_PAIR(READY, RESET, RESET),
	LINK_PAIR(READY, INIT, WAIT),
	LINK_PAIR(READY, READY, CONNECT),
	LINK_PAIR(READY, RUN, CONNECT),
	LINK_PAIR(RUN, RESET, RESET),
	LINK_PAIR(RUN, INIT, RESET),
	LINK_PAIR(RUN, READY, KEEP),
	LINK_PAIR(RUN, RUN, KEEP),
};

TABLE_PARAM(link_pair_cases);

static void net_link_test_decide_pair(struct kunit *test)
{
	const struct link_pair_case *c = test->param_value;

	KUNIT_EXPECT_EQ(test, ivn_link_decide(c->mine, c->peer), c->expected);
}

static void link_expect_as_reset(struct kunit *test, u32 unknown)
{
	unsigned int mine;

	for (mine = 0; mine < IVN_LINK_STATES; mine++)
		KUNIT_EXPECT_EQ_MSG(test, ivn_link_decide(mine, unknown),
				    ivn_link_decide(mine, IVSHMEM_NET_STATE_RESET),
				    "state %u, the peer's %u", mine, unknown);
}

static void net_link_test_decide_unknown(struct kunit *test)
{
	static const u32 edges[] = {
		4, 5, 7, 8, 255, 256, 257, 258, 65535, 65536, 65537, 65538,
		0x01000000, 0x02000000, 0x03000000, S32_MAX, 0x80000000,
		0x80000002, U32_MAX - 1, U32_MAX,
	};
	unsigned int i;
	u32 unknown;

	for (i = 0; i < ARRAY_SIZE(edges); i++)
		link_expect_as_reset(test, edges[i]);
	/* an odd step: every residue of every small modulus */
	for (i = 0, unknown = 4; i < LINK_SAMPLES; i++, unknown += 0x9e3779b1)
		if (unknown >= IVN_LINK_STATES)
			link_expect_as_reset(test, unknown);
}

TABLE_PARAM(link_agree_cases);

static void net_link_test_agree(struct kunit *test)
{
	const struct link_agree_case *c = test->param_value;
	struct ivn_link_agreed a;

	ivn_link_agree(&a, c->mine.queues ? &c->mine : NULL,
		       c->peer.queues ? &c->peer : NULL, 9);
	KUNIT_EXPECT_EQ(test, a.queues, c->expected.queues);
	KUNIT_EXPECT_EQ(test, a.vectors, c->expected.vectors);
	KUNIT_EXPECT_EQ(test, a.vnet_hdr, c->expected.vnet_hdr);
	KUNIT_EXPECT_EQ(test, a.features, c->expected.features);
	KUNIT_EXPECT_EQ(test, a.max_frame, c->expected.max_frame);
	KUNIT_EXPECT_EQ(test, a.max_gso, c->expected.max_gso);
	KUNIT_EXPECT_EQ(test, ivn_link_vector(&a, a.queues - 1),
			c->expected_last_vector);
}

TABLE_PARAM(link_offer_cases);

static u8 *link_section(struct kunit *test, size_t bytes)
{
	u8 *section = kunit_kmalloc(test, bytes, GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, section);
	memset(section, 0xff, bytes);
	return section;
}

static void net_link_test_read_offer(struct kunit *test)
{
	const struct link_offer_case *c = test->param_value;
	u8 *section = link_section(test, LINK_SECTION_BYTES);
	struct ivn_link_offer peer;

	KUNIT_ASSERT_EQ(test, ivn_link_prepare(section, LINK_SECTION_BYTES,
					       &link_offer), 0);
	section[c->offset] = c->value;
	KUNIT_EXPECT_EQ(test, ivn_link_read_offer(&peer, section, LINK_SECTION_BYTES),
			c->expected);
}

static void net_link_test_read_offer_as_prepared(struct kunit *test)
{
	u8 *section = link_section(test, LINK_SECTION_BYTES);
	struct ivn_link_offer peer;

	KUNIT_ASSERT_EQ(test, ivn_link_prepare(section, LINK_SECTION_BYTES,
					       &link_offer), 0);
	KUNIT_ASSERT_TRUE(test, ivn_link_read_offer(&peer, section,
						    LINK_SECTION_BYTES));
	KUNIT_EXPECT_EQ(test, memcmp(&peer, &link_offer, sizeof(peer)), 0);
}

/* What is random is no offer, or one in its bounds */
static void net_link_test_read_offer_random(struct kunit *test)
{
	u8 *section = link_section(test, LINK_SECTION_BYTES);
	struct ivn_link_offer peer;
	unsigned int i, valid = 0;

	ivn_link_prepare(section, LINK_SECTION_BYTES, &link_offer);
	for (i = 0; i < LINK_SAMPLES; i++) {
		get_random_bytes(section + LINK_EXT + 4, 12);
		section[LINK_EXT + 7] = 0;	/* or next to none is valid */
		if (!ivn_link_read_offer(&peer, section, LINK_SECTION_BYTES))
			continue;
		valid++;
		KUNIT_EXPECT_GE(test, peer.queues, 1u);
		KUNIT_EXPECT_LE(test, peer.queues, 8u);
		KUNIT_EXPECT_GE(test, peer.max_frame, 68u);
	}
	KUNIT_EXPECT_GT(test, valid, 0u);
}

static void net_link_test_prepare_without_offer(struct kunit *test)
{
	u8 *section = link_section(test, SZ_4K);
	struct ivn_link_offer peer;

	KUNIT_ASSERT_EQ(test, ivn_link_prepare(section, SZ_4K, NULL), 0);
	/* header | data | where an extension would be */
	KUNIT_EXPECT_TRUE(test, !memchr_inv(section, 0, 960));
	KUNIT_EXPECT_TRUE(test, !memchr_inv(section + 960, 0xff, SZ_4K - 64 - 960));
	KUNIT_EXPECT_TRUE(test, !memchr_inv(section + SZ_4K - 64, 0, 64));
	KUNIT_EXPECT_FALSE(test, ivn_link_read_offer(&peer, section, SZ_4K));
}

static void net_link_test_prepare_too_small(struct kunit *test)
{
	u8 *section = link_section(test, SZ_1K);
	struct ivn_link_offer peer;

	KUNIT_EXPECT_EQ(test, ivn_link_prepare(section, SZ_1K, &link_offer), -ENOSPC);
	KUNIT_EXPECT_TRUE(test, !memchr_inv(section, 0xff, SZ_1K));
	KUNIT_EXPECT_FALSE(test, ivn_link_read_offer(&peer, section, SZ_1K));
}

static struct kunit_case net_link_cases[] = {
	KUNIT_CASE_PARAM(net_link_test_decide_pair, link_pair_cases_gen_params),
	KUNIT_CASE(net_link_test_decide_unknown),
	KUNIT_CASE_PARAM(net_link_test_agree, link_agree_cases_gen_params),
	KUNIT_CASE_PARAM(net_link_test_read_offer, link_offer_cases_gen_params),
	KUNIT_CASE(net_link_test_read_offer_as_prepared),
	KUNIT_CASE(net_link_test_read_offer_random),
	KUNIT_CASE(net_link_test_prepare_without_offer),
	KUNIT_CASE(net_link_test_prepare_too_small),
	{}
};

static struct kunit_suite net_link_suite = {
	.name = "ivshmem_net_link",
	.test_cases = net_link_cases,
};

kunit_test_suite(net_link_suite);
