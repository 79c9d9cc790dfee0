// SPDX-License-Identifier: GPL-2.0
/*
 * drivers/net/ivshmem-net*.c on a fake device: the link against a peer that the
 * test moves step by step, frames each way, and rules that the peer breaks. The
 * peer's ends of the rings are those of the driver, which have a suite of their
 * own.
 */
#include <linux/etherdevice.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/sizes.h>
#include <linux/virtio_net.h>
#include <net/sch_generic.h>

#include "../../../drivers/net/ivshmem-net-link.h"
#include "fake.h"
#include "table.h"

#define NT_PEER			0
#define NT_SECTION_BYTES	SZ_256K
#define NT_PROTOCOL		0x88b5	/* for experiments */
#define NT_MAX_FRAME		2000
#define NT_HEADER		sizeof(struct virtio_net_hdr)

struct net_test {
	struct fake *fake;
	struct net_device *dev;
	struct ivn_ring_layout l;
	struct ivn_ring_tx tx;
	struct ivn_ring_rx rx;
	void *private;
	unsigned int header;
	struct packet_type packets;
	unsigned int received;
	unsigned int received_len;
	u8 received_byte;
};

static const struct fake_spec nt_spec = {
	.protocol = IVSHMEM_PROTO_NET,
	.id = 1, .max_peers = 2, .vectors = 2,
	.output_size = NT_SECTION_BYTES,
};

static const struct ivn_link_offer nt_offer = {
	.queues = 1, .features = IVSHMEM_NET_F_VNET_HDR | IVSHMEM_NET_F_CSUM,
	.max_frame = NT_MAX_FRAME, .vectors = 2,
};

static int nt_receive(struct sk_buff *skb, struct net_device *dev,
		      struct packet_type *packets, struct net_device *orig)
{
	struct net_test *t = container_of(packets, struct net_test, packets);

	t->received_len = skb->len;
	skb_copy_bits(skb, skb->len - 1, &t->received_byte, 1);
	t->received++;
	kfree_skb(skb);
	return 0;
}

static int ivshmem_net_init_test(struct kunit *test)
{
	struct net_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t);
	KUNIT_ASSERT_EQ(test, ivn_ring_queue_layout(&t->l, NT_SECTION_BYTES, 1, 0), 0);
	t->private = kunit_kmalloc(test, ivn_ring_tx_bytes(t->l.qlen), GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->private);
	t->packets.type = htons(NT_PROTOCOL);
	t->packets.func = nt_receive;
	dev_add_pack(&t->packets);
	test->priv = t;
	return 0;
}

static void ivshmem_net_exit_test(struct kunit *test)
{
	struct net_test *t = test->priv;

	if (!t)
		return;
	fake_destroy(t->fake);
	dev_remove_pack(&t->packets);
}

static struct net_device *nt_find_dev(const struct fake *fake)
{
	struct net_device *dev, *found = NULL;

	rtnl_lock();
	for_each_netdev(&init_net, dev)
		if (dev->dev.parent == &fake->pdev->dev)
			found = dev;
	rtnl_unlock();
	return found;
}

static void nt_plug(struct kunit *test, const struct fake_spec *spec)
{
	struct net_test *t = test->priv;

	t->fake = fake_create(test, spec);
	fake_plug(test, t->fake);
	KUNIT_ASSERT_TRUE(test, fake_is_bound(t->fake));
	t->dev = nt_find_dev(t->fake);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->dev);
}

static int nt_open(struct net_test *t)
{
	int err;

	rtnl_lock();
	err = dev_open(t->dev, NULL);
	rtnl_unlock();
	return err;
}

static void nt_close(struct net_test *t)
{
	rtnl_lock();
	dev_close(t->dev);
	rtnl_unlock();
}

/* The peer goes there, and the driver follows */
static void nt_step(struct kunit *test, u32 peer, u32 expected)
{
	struct net_test *t = test->priv;

	fake_set_state(t->fake, NT_PEER, peer);
	FAKE_WAIT_FOR(test, t->fake->state == expected);
}

static void nt_prepare(struct net_test *t, const struct ivn_link_offer *offer)
{
	void *mine = fake_output(t->fake, NT_PEER);
	void *theirs = fake_output(t->fake, t->fake->id);

	ivn_link_prepare(mine, NT_SECTION_BYTES, offer);
	ivn_ring_tx_init(&t->tx, &t->l, mine, theirs, t->private);
	ivn_ring_rx_init(&t->rx, &t->l, mine, theirs);
	t->header = offer && offer->features & IVSHMEM_NET_F_VNET_HDR ? NT_HEADER : 0;
}

/* All the way from RESET on both sides */
static void nt_connect(struct kunit *test, const struct ivn_link_offer *offer)
{
	struct net_test *t = test->priv;

	FAKE_WAIT_FOR(test, t->fake->state == IVSHMEM_NET_STATE_INIT);
	nt_step(test, IVSHMEM_NET_STATE_INIT, IVSHMEM_NET_STATE_READY);
	nt_prepare(t, offer);
	nt_step(test, IVSHMEM_NET_STATE_READY, netif_running(t->dev) ?
		IVSHMEM_NET_STATE_RUN : IVSHMEM_NET_STATE_READY);
	FAKE_WAIT_FOR(test, netif_carrier_ok(t->dev));
	fake_set_state(t->fake, NT_PEER, IVSHMEM_NET_STATE_RUN);
}

static void nt_up(struct kunit *test, const struct ivn_link_offer *offer)
{
	struct net_test *t = test->priv;

	nt_plug(test, &nt_spec);
	KUNIT_ASSERT_EQ(test, nt_open(t), 0);
	nt_connect(test, offer);
	/* the stack hears of a carrier a little later */
	FAKE_WAIT_FOR(test, !qdisc_tx_is_noop(t->dev));
}

struct nt_unfit_case {
	const char *name;
	u32 max_peers;
	u64 output_size;
};

static const struct nt_unfit_case nt_unfit_cases[] = {
	{ "three peers", 3, SZ_64K },
	{ "no output sections", 2, 0 },
};

TABLE_PARAM(nt_unfit_cases);

static void ivshmem_net_test_probe_unfit(struct kunit *test)
{
	const struct nt_unfit_case *c = test->param_value;
	struct net_test *t = test->priv;
	struct fake_spec spec = nt_spec;

	spec.max_peers = c->max_peers;
	spec.output_size = c->output_size;
	t->fake = fake_create(test, &spec);
	fake_plug(test, t->fake);
	KUNIT_EXPECT_FALSE(test, fake_is_bound(t->fake));
}

static void ivshmem_net_test_probe_makes_device(struct kunit *test)
{
	struct net_test *t = test->priv;

	nt_plug(test, &nt_spec);
	KUNIT_EXPECT_TRUE(test, is_valid_ether_addr(t->dev->dev_addr));
	KUNIT_EXPECT_FALSE(test, netif_carrier_ok(t->dev));
	FAKE_WAIT_FOR(test, t->fake->state == IVSHMEM_NET_STATE_INIT);
	fake_unplug(t->fake);
	KUNIT_EXPECT_EQ(test, t->fake->state, (u32)IVSHMEM_NET_STATE_RESET);
	KUNIT_EXPECT_EQ(test, t->fake->int_control, 0u);
	KUNIT_EXPECT_EQ(test, t->fake->used, 0UL);
}

/* Carrier as soon as both are READY, RUN only while the interface is up */
static void ivshmem_net_test_link_before_open(struct kunit *test)
{
	struct net_test *t = test->priv;

	nt_plug(test, &nt_spec);
	nt_connect(test, &nt_offer);
	KUNIT_EXPECT_EQ(test, t->fake->state, (u32)IVSHMEM_NET_STATE_READY);
	KUNIT_EXPECT_EQ(test, nt_open(t), 0);
	KUNIT_EXPECT_EQ(test, t->fake->state, (u32)IVSHMEM_NET_STATE_RUN);

	/* down: a reset, after which it waits for the peer to notice */
	nt_close(t);
	KUNIT_EXPECT_EQ(test, t->fake->state, (u32)IVSHMEM_NET_STATE_RESET);
	KUNIT_EXPECT_FALSE(test, netif_carrier_ok(t->dev));
	nt_step(test, IVSHMEM_NET_STATE_RESET, IVSHMEM_NET_STATE_INIT);
	nt_connect(test, NULL);
	KUNIT_EXPECT_EQ(test, t->fake->state, (u32)IVSHMEM_NET_STATE_READY);
}

/* States that are none count as RESET */
static void ivshmem_net_test_link_peer_leaves(struct kunit *test)
{
	static const u32 gone[] = { IVSHMEM_NET_STATE_RESET, 4, U32_MAX };
	struct net_test *t = test->priv;
	unsigned int i;

	nt_up(test, &nt_offer);
	for (i = 0; i < ARRAY_SIZE(gone); i++) {
		/* RESET, and at once on to INIT, because the peer is there too */
		nt_step(test, gone[i], IVSHMEM_NET_STATE_INIT);
		KUNIT_EXPECT_FALSE(test, netif_carrier_ok(t->dev));
		nt_connect(test, &nt_offer);
		KUNIT_EXPECT_EQ(test, t->fake->state, (u32)IVSHMEM_NET_STATE_RUN);
	}
}

struct nt_offer_case {
	const char *name;
	const struct ivn_link_offer *offer;
	u32 len;
};

static const struct nt_offer_case nt_offer_cases[] = {
	{ "smallest frame to a peer that knows of no extension", NULL, ETH_HLEN },
	{ "frame to a peer that knows of no extension", NULL, 1514 },
	{ "smallest frame to a peer that offers", &nt_offer, ETH_HLEN },
	{ "small frame to a peer that offers", &nt_offer, 100 },
	{ "frame to a peer that offers", &nt_offer, NT_MAX_FRAME },
};

TABLE_PARAM(nt_offer_cases);

static void nt_transmit(struct kunit *test, u32 len, u8 byte)
{
	struct net_test *t = test->priv;
	struct sk_buff *skb = alloc_skb(len, GFP_KERNEL);
	struct ethhdr *eth;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, skb);
	eth = skb_put(skb, len);
	memset(eth, byte, len);
	eth->h_proto = htons(NT_PROTOCOL);
	skb_reset_mac_header(skb);
	skb->protocol = eth->h_proto;
	skb->dev = t->dev;
	dev_queue_xmit(skb);
}

static void ivshmem_net_test_transmit(struct kunit *test)
{
	const struct nt_offer_case *c = test->param_value;
	struct net_test *t = test->priv;
	struct ivn_ring_frame f;
	const u8 *frame;

	nt_up(test, c->offer);
	KUNIT_ASSERT_FALSE(test, ivn_ring_rx_arm(&t->rx));
	t->fake->doorbells = 0;
	nt_transmit(test, c->len, 0x5a);
	KUNIT_EXPECT_EQ(test, t->fake->doorbells, 1u);

	KUNIT_ASSERT_EQ(test, ivn_ring_rx_next(&t->rx, &f), 1);
	KUNIT_ASSERT_EQ(test, f.len, c->len + t->header);
	frame = f.data;
	KUNIT_EXPECT_TRUE(test, !memchr_inv(frame, 0, t->header));
	KUNIT_EXPECT_TRUE(test, !memchr_inv(frame + t->header, 0x5a, 12));
	KUNIT_EXPECT_TRUE(test, !memchr_inv(frame + t->header + ETH_HLEN, 0x5a,
					    c->len - ETH_HLEN));
	KUNIT_EXPECT_EQ(test, ivn_ring_rx_next(&t->rx, &f), 0);
}

static u64 nt_stat(struct net_test *t, size_t offset)
{
	struct rtnl_link_stats64 stats;

	dev_get_stats(t->dev, &stats);
	return *(u64 *)((u8 *)&stats + offset);
}

#define NT_STAT(t, name) nt_stat(t, offsetof(struct rtnl_link_stats64, name))

static void ivshmem_net_test_transmit_too_long(struct kunit *test)
{
	struct net_test *t = test->priv;
	struct ivn_ring_frame f;

	nt_up(test, &nt_offer);
	nt_transmit(test, NT_MAX_FRAME + 1, 0x5a);
	KUNIT_EXPECT_EQ(test, ivn_ring_rx_next(&t->rx, &f), 0);
	KUNIT_EXPECT_EQ(test, NT_STAT(t, tx_dropped), 1ULL);
	KUNIT_EXPECT_EQ(test, t->fake->state, (u32)IVSHMEM_NET_STATE_RUN);
}

static void nt_send(struct kunit *test, u32 len, u8 byte)
{
	struct net_test *t = test->priv;
	struct ethhdr *eth;
	u8 *frame;

	frame = ivn_ring_tx_reserve(&t->tx, len + t->header);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, frame);
	memset(frame, 0, t->header);
	memset(frame + t->header, byte, len);
	eth = (struct ethhdr *)(frame + t->header);
	eth_broadcast_addr(eth->h_dest);
	eth->h_proto = htons(NT_PROTOCOL);
	ivn_ring_tx_commit(&t->tx, len + t->header);
	ivn_ring_tx_publish(&t->tx);
}

static void ivshmem_net_test_receive(struct kunit *test)
{
	static const u32 lens[] = { 15, 60, 256, 257, 1514, 4096, 20000 };
	struct net_test *t = test->priv;
	unsigned int i;
	u64 bytes;

	nt_up(test, &nt_offer);
	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		nt_send(test, lens[i], i + 1);
		fake_interrupt(t->fake, 1);
		FAKE_WAIT_FOR(test, t->received == i + 1);
		KUNIT_EXPECT_EQ(test, t->received_len, lens[i] - ETH_HLEN);
		KUNIT_EXPECT_EQ(test, t->received_byte, (u8)(i + 1));
		FAKE_WAIT_FOR(test, ivn_ring_tx_reclaim(&t->tx, 1, &bytes) == 1);
	}
	KUNIT_EXPECT_EQ(test, NT_STAT(t, rx_packets), (u64)ARRAY_SIZE(lens));
	KUNIT_EXPECT_EQ(test, NT_STAT(t, rx_errors), 0ULL);
}

/* A frame that is lawful in the ring, and still none */
static void ivshmem_net_test_receive_bad_header(struct kunit *test)
{
	struct net_test *t = test->priv;
	struct virtio_net_hdr *header;

	nt_up(test, &nt_offer);
	nt_send(test, 60, 1);
	header = fake_output(t->fake, NT_PEER) + t->l.data;
	header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header->csum_start = (__force __virtio16)cpu_to_le16(59);
	header->csum_offset = (__force __virtio16)cpu_to_le16(0xfff0);
	fake_interrupt(t->fake, 1);
	FAKE_WAIT_FOR(test, NT_STAT(t, rx_frame_errors) == 1);
	nt_send(test, 60, 2);
	fake_interrupt(t->fake, 1);
	FAKE_WAIT_FOR(test, t->received == 1);
	KUNIT_EXPECT_EQ(test, t->received_byte, (u8)2);
}

/* What the peer writes where, once the link is up */
struct nt_violation_case {
	const char *name;
	bool is_used;		/* offset from the used ring, not the avail ring */
	unsigned int offset;
	u16 value;
};

static const struct nt_violation_case nt_violation_cases[] = {
	{ "avail index a ring and more ahead", false, 2, 0x7fff },
	{ "descriptor of no frame", false, 2, 1 },
	{ "used index of frames that were not sent", true, 2, 1 },
	{ "used index far ahead", true, 2, 0x8000 },
};

TABLE_PARAM(nt_violation_cases);

static void ivshmem_net_test_violation_resets(struct kunit *test)
{
	const struct nt_violation_case *c = test->param_value;
	struct net_test *t = test->priv;
	u8 *ring;

	nt_up(test, &nt_offer);
	ring = fake_output(t->fake, NT_PEER) + (c->is_used ? t->l.used : t->l.avail);
	WRITE_ONCE(*(__le16 *)(ring + c->offset), cpu_to_le16(c->value));
	fake_interrupt(t->fake, 1);
	FAKE_WAIT_FOR(test, t->fake->state == IVSHMEM_NET_STATE_RESET);
	KUNIT_EXPECT_FALSE(test, netif_carrier_ok(t->dev));
	KUNIT_EXPECT_EQ(test, NT_STAT(t, rx_errors) + NT_STAT(t, tx_errors), 1ULL);

	/* and a new start is one */
	nt_step(test, IVSHMEM_NET_STATE_RESET, IVSHMEM_NET_STATE_INIT);
	nt_connect(test, &nt_offer);
	nt_send(test, 60, 3);
	fake_interrupt(t->fake, 1);
	FAKE_WAIT_FOR(test, t->received == 1);
}

static struct kunit_case ivshmem_net_cases[] = {
	KUNIT_CASE_PARAM(ivshmem_net_test_probe_unfit, nt_unfit_cases_gen_params),
	KUNIT_CASE(ivshmem_net_test_probe_makes_device),
	KUNIT_CASE(ivshmem_net_test_link_before_open),
	KUNIT_CASE(ivshmem_net_test_link_peer_leaves),
	KUNIT_CASE_PARAM(ivshmem_net_test_transmit, nt_offer_cases_gen_params),
	KUNIT_CASE(ivshmem_net_test_transmit_too_long),
	KUNIT_CASE(ivshmem_net_test_receive),
	KUNIT_CASE(ivshmem_net_test_receive_bad_header),
	KUNIT_CASE_PARAM(ivshmem_net_test_violation_resets, nt_violation_cases_gen_params),
	{}
};

static struct kunit_suite ivshmem_net_suite = {
	.name = "ivshmem_net",
	.init = ivshmem_net_init_test,
	.exit = ivshmem_net_exit_test,
	.test_cases = ivshmem_net_cases,
};

kunit_test_suite(ivshmem_net_suite);
