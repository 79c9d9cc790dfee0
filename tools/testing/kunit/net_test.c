// SPDX-License-Identifier: GPL-2.0
/*
 * drivers/net/ivshmem-net*.c on a fake device: the link against a peer that the
 * test moves step by step, frames each way, and rules that the peer breaks.
 */
#include <linux/etherdevice.h>

#include "net_peer.h"
#include "table.h"

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

static void ivshmem_net_test_shutdown_quiesces(struct kunit *test)
{
	struct net_test *t = test->priv;

	nt_up(test, &nt_spec, &nt_offer);
	fake_shutdown(t->fake);
	KUNIT_EXPECT_EQ(test, t->fake->state, (u32)IVSHMEM_NET_STATE_RESET);
	KUNIT_EXPECT_EQ(test, t->fake->int_control, 0u);
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

	nt_up(test, &nt_spec, &nt_offer);
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

static void ivshmem_net_test_transmit(struct kunit *test)
{
	const struct nt_offer_case *c = test->param_value;
	struct net_test *t = test->priv;
	struct ivn_ring_frame f;
	const u8 *frame;

	nt_up(test, &nt_spec, c->offer);
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

static void ivshmem_net_test_transmit_too_long(struct kunit *test)
{
	struct net_test *t = test->priv;
	struct ivn_ring_frame f;

	nt_up(test, &nt_spec, &nt_offer);
	nt_transmit(test, NT_MAX_FRAME + 1, 0x5a);
	KUNIT_EXPECT_EQ(test, ivn_ring_rx_next(&t->rx, &f), 0);
	KUNIT_EXPECT_EQ(test, NT_STAT(t, tx_dropped), 1ULL);
	KUNIT_EXPECT_EQ(test, t->fake->state, (u32)IVSHMEM_NET_STATE_RUN);
}

static void ivshmem_net_test_receive(struct kunit *test)
{
	static const u32 lens[] = { 15, 60, 256, 257, 1514, 4096, 20000 };
	struct net_test *t = test->priv;
	unsigned int i;
	u64 bytes;

	nt_up(test, &nt_spec, &nt_offer);
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

/* One interrupt for all, by a pin, and shared memory where no BAR is */
static void ivshmem_net_test_intx_and_base_address(struct kunit *test)
{
	struct ivn_link_offer offer = nt_offer;
	struct fake_spec spec = nt_spec;
	struct net_test *t = test->priv;
	struct ivn_ring_frame f;

	offer.vectors = 1;
	spec.vectors = 0;
	spec.no_bar2 = true;
	nt_up(test, &spec, &offer);
	nt_send(test, 60, 1);
	fake_interrupt(t->fake, 0);
	FAKE_WAIT_FOR(test, t->received == 1);
	nt_transmit(test, 60, 2);
	KUNIT_EXPECT_EQ(test, ivn_ring_rx_next(&t->rx, &f), 1);
}

/* The section has no room for so many queues; the peer rings for all of them */
static void ivshmem_net_test_vectors_beyond_queues(struct kunit *test)
{
	struct fake_spec spec = nt_spec;
	struct net_test *t = test->priv;
	unsigned int vector;

	spec.vectors = 5;
	spec.output_size = SZ_16K;
	nt_plug(test, &spec);
	KUNIT_ASSERT_LT(test, t->dev->num_tx_queues + 1, spec.vectors);
	KUNIT_EXPECT_EQ(test, nt_open(t), 0);
	for (vector = 0; vector < spec.vectors; vector++)
		fake_interrupt(t->fake, vector);
	FAKE_WAIT_FOR(test, t->fake->state == IVSHMEM_NET_STATE_INIT);
}

/* A frame that is lawful in the ring, and still none */
static void ivshmem_net_test_receive_bad_header(struct kunit *test)
{
	struct net_test *t = test->priv;
	struct virtio_net_hdr *header;

	nt_up(test, &nt_spec, &nt_offer);
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

	nt_up(test, &nt_spec, &nt_offer);
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
	KUNIT_CASE(ivshmem_net_test_shutdown_quiesces),
	KUNIT_CASE(ivshmem_net_test_link_before_open),
	KUNIT_CASE(ivshmem_net_test_link_peer_leaves),
	KUNIT_CASE_PARAM(ivshmem_net_test_transmit, nt_offer_cases_gen_params),
	KUNIT_CASE(ivshmem_net_test_transmit_too_long),
	KUNIT_CASE(ivshmem_net_test_receive),
	KUNIT_CASE(ivshmem_net_test_intx_and_base_address),
	KUNIT_CASE(ivshmem_net_test_vectors_beyond_queues),
	KUNIT_CASE(ivshmem_net_test_receive_bad_header),
	KUNIT_CASE_PARAM(ivshmem_net_test_violation_resets, nt_violation_cases_gen_params),
	{}
};

static struct kunit_suite ivshmem_net_suite = {
	.name = "ivshmem_net",
	.init = nt_init,
	.exit = nt_exit,
	.test_cases = ivshmem_net_cases,
};

kunit_test_suite(ivshmem_net_suite);
