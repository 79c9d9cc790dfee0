// SPDX-License-Identifier: GPL-2.0
/*
 * drivers/net/ivshmem-net-ethtool.c, and what it sets: several queues, time to
 * poll, and a link without the extension.
 */
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>

#include "net_peer.h"
#include "table.h"

#define ET_QUEUES	2

static const struct fake_spec et_spec = {
	.protocol = IVSHMEM_PROTO_NET,
	.id = 1, .max_peers = 2, .vectors = ET_QUEUES + 1,
	.output_size = NT_SECTION_BYTES,
};

static const struct ivn_link_offer et_offer = {
	.queues = ET_QUEUES, .features = IVSHMEM_NET_F_VNET_HDR,
	.max_frame = NT_MAX_FRAME, .vectors = ET_QUEUES + 1,
};

static int et_set_channels(struct net_test *t, const struct ethtool_channels *wanted)
{
	struct ethtool_channels channels = *wanted;
	int err;

	rtnl_lock();
	err = t->dev->ethtool_ops->set_channels(t->dev, &channels);
	rtnl_unlock();
	return err;
}

static int et_set_flags(struct net_test *t, u32 flags)
{
	int err;

	rtnl_lock();
	err = t->dev->ethtool_ops->set_priv_flags(t->dev, flags);
	rtnl_unlock();
	return err;
}

static int et_set_poll_us(struct net_test *t, u32 us)
{
	struct ethtool_coalesce coalesce = { .rx_coalesce_usecs = us };
	int err;

	rtnl_lock();
	err = t->dev->ethtool_ops->set_coalesce(t->dev, &coalesce, NULL, NULL);
	rtnl_unlock();
	return err;
}

static void net_ethtool_test_what_it_is(struct kunit *test)
{
	struct net_test *t = test->priv;
	struct ethtool_link_ksettings link = { };
	struct ethtool_ringparam ring = { };
	struct ethtool_drvinfo info = { };
	struct ivn_ring_layout l;
	char name[IFNAMSIZ];
	int err;

	nt_plug(test, &et_spec);
	t->dev->ethtool_ops->get_drvinfo(t->dev, &info);
	KUNIT_EXPECT_STREQ(test, info.driver, "ivshmem_net");
	KUNIT_EXPECT_STREQ(test, info.bus_info, pci_name(t->fake->pdev));

	KUNIT_EXPECT_EQ(test, t->dev->ethtool_ops->get_link_ksettings(t->dev, &link), 0);
	KUNIT_EXPECT_EQ(test, link.base.speed, (u32)SPEED_UNKNOWN);
	KUNIT_EXPECT_EQ(test, link.base.duplex, (u8)DUPLEX_FULL);

	t->dev->ethtool_ops->get_ringparam(t->dev, &ring, NULL, NULL);
	KUNIT_ASSERT_EQ(test, ivn_ring_layout(&l, NT_SECTION_BYTES), 0);
	KUNIT_EXPECT_EQ(test, ring.rx_pending, l.qlen);
	KUNIT_EXPECT_EQ(test, ring.tx_max_pending, l.qlen);

	err = t->dev->netdev_ops->ndo_get_phys_port_name(t->dev, name, sizeof(name));
	KUNIT_EXPECT_EQ(test, err, 0);
	KUNIT_EXPECT_STREQ(test, name, "iv1");
}

/* ID, peers, interrupts, doorbell, both states */
static void net_ethtool_test_registers(struct kunit *test)
{
	static const u32 expected[] = { 1, 2, 1, 0, IVSHMEM_NET_STATE_RUN,
					IVSHMEM_NET_STATE_RUN };
	struct net_test *t = test->priv;
	struct ethtool_regs regs = { };
	u32 data[ARRAY_SIZE(expected)];

	nt_up(test, &nt_spec, &nt_offer);
	KUNIT_ASSERT_EQ(test, t->dev->ethtool_ops->get_regs_len(t->dev), (int)sizeof(data));
	t->dev->ethtool_ops->get_regs(t->dev, &regs, data);
	KUNIT_EXPECT_TRUE(test, !memcmp(data, expected, sizeof(data)));
	KUNIT_EXPECT_EQ(test, regs.version, 1u);
}

/* The value of a name; fails if there is none, or if names and values differ */
static u64 et_stat(struct kunit *test, const char *name)
{
	struct net_test *t = test->priv;
	int i, n = t->dev->ethtool_ops->get_sset_count(t->dev, ETH_SS_STATS);
	u8 *names = kunit_kzalloc(test, n * ETH_GSTRING_LEN, GFP_KERNEL);
	u64 *data = kunit_kzalloc(test, n * sizeof(*data), GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, names);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, data);
	t->dev->ethtool_ops->get_strings(t->dev, ETH_SS_STATS, names);
	t->dev->ethtool_ops->get_ethtool_stats(t->dev, NULL, data);
	for (i = 0; i < n; i++)
		if (!strcmp(names + i * ETH_GSTRING_LEN, name))
			return data[i];
	KUNIT_FAIL(test, "no statistic %s", name);
	return 0;
}

static void net_ethtool_test_statistics(struct kunit *test)
{
	struct net_test *t = test->priv;

	nt_up(test, &nt_spec, &nt_offer);
	nt_start_xmit(t, nt_alloc_skb(test, NT_PROTOCOL, 100, 1));
	nt_start_xmit(t, nt_alloc_skb(test, NT_PROTOCOL, 200, 2));
	nt_send(test, 60, 3);
	fake_interrupt(t->fake, 1);
	FAKE_WAIT_FOR(test, t->received == 1);
	KUNIT_EXPECT_EQ(test, et_stat(test, "tx_queue_0_packets"), 2ULL);
	KUNIT_EXPECT_EQ(test, et_stat(test, "tx_queue_0_bytes"), 300ULL);
	KUNIT_EXPECT_EQ(test, et_stat(test, "rx_queue_0_packets"), 1ULL);
	KUNIT_EXPECT_EQ(test, et_stat(test, "rx_queue_0_bytes"), 60ULL);
	KUNIT_EXPECT_EQ(test, et_stat(test, "link_resets"), 0ULL);
	KUNIT_EXPECT_EQ(test, et_stat(test, "queues_agreed"), 1ULL);
	KUNIT_EXPECT_EQ(test, et_stat(test, "peer_extended"), 1ULL);
	KUNIT_EXPECT_EQ(test, et_stat(test, "peer_offloads"), (u64)IVSHMEM_NET_F_CSUM);

	fake_set_state(t->fake, NT_PEER, IVSHMEM_NET_STATE_RESET);
	FAKE_WAIT_FOR(test, !netif_carrier_ok(t->dev));
	KUNIT_EXPECT_EQ(test, et_stat(test, "link_resets"), 1ULL);
	KUNIT_EXPECT_EQ(test, et_stat(test, "queues_agreed"), 0ULL);
}

static void net_ethtool_test_no_such_strings(struct kunit *test)
{
	struct net_test *t = test->priv;

	nt_plug(test, &nt_spec);
	KUNIT_EXPECT_EQ(test, t->dev->ethtool_ops->get_sset_count(t->dev, ETH_SS_TEST),
			-EOPNOTSUPP);
}

struct et_channels_case {
	const char *name;
	struct ethtool_channels wanted;
	bool is_plain;		/* the extension is off */
	bool is_long;		/* the MTU is the largest for one queue */
	int expected;
};

static const struct et_channels_case et_channels_cases[] = {
	{ "one, as it is", { .combined_count = 1 } },
	{ "two", { .combined_count = 2 } },
	{ "none", { .combined_count = 0 }, .expected = -EINVAL },
	{ "for receiving alone", { .combined_count = 1, .rx_count = 1 }, .expected = -EINVAL },
	{ "for sending alone", { .combined_count = 1, .tx_count = 1 }, .expected = -EINVAL },
	{ "for something else", { .combined_count = 1, .other_count = 1 },
	  .expected = -EINVAL },
	{ "more than vectors", { .combined_count = 3 }, .expected = -ENOSPC },
	{ "two with frames too large", { .combined_count = 2 }, .is_long = true,
	  .expected = -ENOSPC },
	{ "one without extension", { .combined_count = 1 }, .is_plain = true },
	{ "two without extension", { .combined_count = 2 }, .is_plain = true,
	  .expected = -EOPNOTSUPP },
};

TABLE_PARAM(et_channels_cases);

static void net_ethtool_test_channels(struct kunit *test)
{
	const struct et_channels_case *c = test->param_value;
	struct ethtool_channels channels = { };
	struct net_test *t = test->priv;

	nt_plug(test, &et_spec);
	if (c->is_plain)
		KUNIT_ASSERT_EQ(test, et_set_flags(t, 0), 0);
	if (c->is_long)
		t->dev->mtu = t->dev->max_mtu;
	KUNIT_EXPECT_EQ(test, et_set_channels(t, &c->wanted), c->expected);
	t->dev->ethtool_ops->get_channels(t->dev, &channels);
	KUNIT_EXPECT_EQ(test, channels.max_combined, (u32)ET_QUEUES);
	KUNIT_EXPECT_EQ(test, channels.combined_count,
			c->expected ? 1 : c->wanted.combined_count);
}

/* Frames of each queue in its own rings, with its own vector, both ways */
static void net_ethtool_test_two_queues(struct kunit *test)
{
	static const struct ethtool_channels two = { .combined_count = ET_QUEUES };
	struct net_test *t = test->priv;
	struct ivn_ring_frame f;
	struct sk_buff *skb;
	unsigned int q;

	nt_plug(test, &et_spec);
	KUNIT_ASSERT_EQ(test, et_set_channels(t, &two), 0);
	KUNIT_ASSERT_EQ(test, nt_open(t), 0);
	nt_connect(test, &et_offer);
	KUNIT_ASSERT_EQ(test, t->dev->real_num_tx_queues, 2u);
	KUNIT_ASSERT_EQ(test, et_stat(test, "queues_agreed"), 2ULL);
	for (q = 0; q < ET_QUEUES; q++) {
		nt_use_queue(test, ET_QUEUES, q);
		nt_send(test, 60, q);
		fake_interrupt(t->fake, 1 + q);
		FAKE_WAIT_FOR(test, t->received == q + 1);
		KUNIT_EXPECT_EQ(test, t->received_byte, (u8)q);

		skb = nt_alloc_skb(test, NT_PROTOCOL, 100, 0x50 + q);
		skb_set_queue_mapping(skb, q);
		nt_start_xmit(t, skb);
		KUNIT_ASSERT_EQ(test, ivn_ring_rx_next(&t->rx, &f), 1);
		KUNIT_EXPECT_EQ(test, ((const u8 *)f.data)[f.len - 1], (u8)(0x50 + q));
	}
	KUNIT_EXPECT_EQ(test, et_stat(test, "tx_queue_1_packets"), 1ULL);
	KUNIT_EXPECT_EQ(test, et_stat(test, "rx_queue_1_packets"), 1ULL);
	KUNIT_EXPECT_EQ(test, et_set_flags(t, 0), -EBUSY);
}

/* A change is a new start, and what was offered before is not any more */
static void net_ethtool_test_extensions_off(struct kunit *test)
{
	struct net_test *t = test->priv;

	nt_up(test, &nt_spec, &nt_offer);
	KUNIT_EXPECT_EQ(test, t->dev->ethtool_ops->get_priv_flags(t->dev), 1u);
	KUNIT_EXPECT_EQ(test, et_set_flags(t, 1), 0);
	KUNIT_EXPECT_TRUE(test, netif_carrier_ok(t->dev));

	KUNIT_EXPECT_EQ(test, et_set_flags(t, 0), 0);
	KUNIT_EXPECT_EQ(test, t->dev->ethtool_ops->get_priv_flags(t->dev), 0u);
	KUNIT_EXPECT_FALSE(test, netif_carrier_ok(t->dev));
	nt_step(test, IVSHMEM_NET_STATE_RESET, IVSHMEM_NET_STATE_INIT);
	nt_connect(test, &nt_offer);
	t->header = 0;
	nt_send(test, 60, 7);
	fake_interrupt(t->fake, 1);
	FAKE_WAIT_FOR(test, t->received == 1);
	KUNIT_EXPECT_EQ(test, et_stat(test, "peer_extended"), 0ULL);
}

static void net_ethtool_test_flag_names(struct kunit *test)
{
	struct net_test *t = test->priv;
	char name[ETH_GSTRING_LEN] = "";

	nt_plug(test, &nt_spec);
	KUNIT_ASSERT_EQ(test, t->dev->ethtool_ops->get_sset_count(t->dev, ETH_SS_PRIV_FLAGS), 1);
	t->dev->ethtool_ops->get_strings(t->dev, ETH_SS_PRIV_FLAGS, (u8 *)name);
	KUNIT_EXPECT_STREQ(test, name, "extensions");
}

/* Who polls sees what comes without an interrupt, and sleeps in the end */
static void net_ethtool_test_poll(struct kunit *test)
{
	struct ethtool_coalesce coalesce = { };
	struct net_test *t = test->priv;

	nt_up(test, &nt_spec, &nt_offer);
	KUNIT_EXPECT_EQ(test, et_set_poll_us(t, 100001), -ERANGE);
	KUNIT_ASSERT_EQ(test, et_set_poll_us(t, 20000), 0);
	t->dev->ethtool_ops->get_coalesce(t->dev, &coalesce, NULL, NULL);
	KUNIT_EXPECT_EQ(test, coalesce.rx_coalesce_usecs, 20000u);

	nt_send(test, 60, 1);
	fake_interrupt(t->fake, 1);
	FAKE_WAIT_FOR(test, t->received == 1);
	nt_send(test, 60, 2);
	FAKE_WAIT_FOR(test, t->received == 2);
	/* asleep: it asks for a doorbell again */
	FAKE_WAIT_FOR(test, le16_to_cpu(READ_ONCE(*t->tx.avail_event)) == 2);
}

/* Somebody who rings for nothing is not heard for a while, and then is */
static void net_ethtool_test_storm(struct kunit *test)
{
	struct net_test *t = test->priv;
	unsigned int i;

	nt_up(test, &nt_spec, &nt_offer);
	for (i = 0; i < 2000 && !et_stat(test, "interrupt_storms"); i++)
		fake_interrupt(t->fake, 1);
	KUNIT_EXPECT_EQ(test, et_stat(test, "interrupt_storms"), 1ULL);
	nt_send(test, 60, 1);
	FAKE_WAIT_FOR(test, t->received == 1);
	nt_send(test, 60, 2);
	fake_interrupt(t->fake, 1);
	FAKE_WAIT_FOR(test, t->received == 2);
}

static struct kunit_case net_ethtool_cases[] = {
	KUNIT_CASE(net_ethtool_test_what_it_is),
	KUNIT_CASE(net_ethtool_test_registers),
	KUNIT_CASE(net_ethtool_test_statistics),
	KUNIT_CASE(net_ethtool_test_no_such_strings),
	KUNIT_CASE_PARAM(net_ethtool_test_channels, et_channels_cases_gen_params),
	KUNIT_CASE(net_ethtool_test_two_queues),
	KUNIT_CASE(net_ethtool_test_extensions_off),
	KUNIT_CASE(net_ethtool_test_flag_names),
	KUNIT_CASE(net_ethtool_test_poll),
	KUNIT_CASE(net_ethtool_test_storm),
	{}
};

static struct kunit_suite net_ethtool_suite = {
	.name = "ivshmem_net_ethtool",
	.init = nt_init,
	.exit = nt_exit,
	.test_cases = net_ethtool_cases,
};

kunit_test_suite(net_ethtool_suite);
