// SPDX-License-Identifier: GPL-2.0
/*
 * A cable with a test at the other end, see net_peer.h.
 */
#include <linux/etherdevice.h>
#include <linux/rtnetlink.h>
#include <net/sch_generic.h>

#include "net_peer.h"

const struct fake_spec nt_spec = {
	.protocol = IVSHMEM_PROTO_NET,
	.id = 1, .max_peers = 2, .vectors = 2,
	.output_size = NT_SECTION_BYTES,
};

const struct ivn_link_offer nt_offer = {
	.queues = 1, .features = IVSHMEM_NET_F_VNET_HDR | IVSHMEM_NET_F_CSUM,
	.max_frame = NT_MAX_FRAME, .vectors = 2,
};

static int nt_receive(struct sk_buff *skb, struct net_device *dev,
		      struct packet_type *packets, struct net_device *orig)
{
	struct net_test *t = container_of(packets, struct net_test, packets);

	t->received_len = skb->len;
	skb_copy_bits(skb, skb->len - 1, &t->received_byte, 1);
	t->received_gso = skb_shinfo(skb)->gso_size;
	t->received_summed = skb->ip_summed;
	t->received++;
	kfree_skb(skb);
	return 0;
}

int nt_init(struct kunit *test)
{
	struct net_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t);
	t->private = kunit_kmalloc(test, ivn_ring_tx_bytes(IVSHMEM_NET_MAX_QLEN),
				   GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->private);
	t->packets.type = htons(NT_PROTOCOL);
	t->packets.func = nt_receive;
	dev_add_pack(&t->packets);
	test->priv = t;
	return 0;
}

void nt_exit(struct kunit *test)
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

void nt_plug(struct kunit *test, const struct fake_spec *spec)
{
	struct net_test *t = test->priv;

	t->fake = fake_create(test, spec);
	fake_plug(test, t->fake);
	KUNIT_ASSERT_TRUE(test, fake_is_bound(t->fake));
	t->dev = nt_find_dev(t->fake);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->dev);
}

int nt_open(struct net_test *t)
{
	int err;

	rtnl_lock();
	err = dev_open(t->dev, NULL);
	rtnl_unlock();
	return err;
}

void nt_close(struct net_test *t)
{
	rtnl_lock();
	dev_close(t->dev);
	rtnl_unlock();
}

/* The peer goes there, and the driver follows */
void nt_step(struct kunit *test, u32 peer, u32 expected)
{
	struct net_test *t = test->priv;

	fake_set_state(t->fake, NT_PEER, peer);
	FAKE_WAIT_FOR(test, t->fake->state == expected);
}

/* From here on the peer is at queue @q of @n, whose rings nobody has used yet */
void nt_use_queue(struct kunit *test, unsigned int n, unsigned int q)
{
	struct net_test *t = test->priv;
	void *mine = fake_output(t->fake, NT_PEER);
	void *theirs = fake_output(t->fake, t->fake->id);

	KUNIT_ASSERT_EQ(test, ivn_ring_queue_layout(&t->l, NT_SECTION_BYTES, n, q), 0);
	ivn_ring_tx_init(&t->tx, &t->l, mine, theirs, t->private);
	ivn_ring_rx_init(&t->rx, &t->l, mine, theirs);
}

static void nt_prepare(struct kunit *test, const struct ivn_link_offer *offer)
{
	struct net_test *t = test->priv;

	ivn_link_prepare(fake_output(t->fake, NT_PEER), NT_SECTION_BYTES, offer);
	t->header = offer && offer->features & IVSHMEM_NET_F_VNET_HDR ? NT_HEADER : 0;
	nt_use_queue(test, 1, 0);
}

/* All the way from RESET on both sides */
void nt_connect(struct kunit *test, const struct ivn_link_offer *offer)
{
	struct net_test *t = test->priv;

	FAKE_WAIT_FOR(test, t->fake->state == IVSHMEM_NET_STATE_INIT);
	nt_step(test, IVSHMEM_NET_STATE_INIT, IVSHMEM_NET_STATE_READY);
	nt_prepare(test, offer);
	nt_step(test, IVSHMEM_NET_STATE_READY, netif_running(t->dev) ?
		IVSHMEM_NET_STATE_RUN : IVSHMEM_NET_STATE_READY);
	FAKE_WAIT_FOR(test, netif_carrier_ok(t->dev));
	fake_set_state(t->fake, NT_PEER, IVSHMEM_NET_STATE_RUN);
}

void nt_up(struct kunit *test, const struct fake_spec *spec,
	   const struct ivn_link_offer *offer)
{
	struct net_test *t = test->priv;

	nt_plug(test, spec);
	KUNIT_ASSERT_EQ(test, nt_open(t), 0);
	nt_connect(test, offer);
	/* the stack hears of a carrier a little later */
	FAKE_WAIT_FOR(test, !qdisc_tx_is_noop(t->dev));
}

/* A frame of one byte again and again behind its header */
struct sk_buff *nt_alloc_skb(struct kunit *test, u16 protocol, u32 len, u8 byte)
{
	struct net_test *t = test->priv;
	struct sk_buff *skb = alloc_skb(len, GFP_KERNEL);
	struct ethhdr *eth;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, skb);
	eth = skb_put(skb, len);
	memset(eth, byte, len);
	eth->h_proto = htons(protocol);
	skb_reset_mac_header(skb);
	skb_set_network_header(skb, ETH_HLEN);
	skb->protocol = eth->h_proto;
	skb->dev = t->dev;
	return skb;
}

/* To the driver, whatever the stack would say */
netdev_tx_t nt_start_xmit(struct net_test *t, struct sk_buff *skb)
{
	netdev_tx_t ret;

	netif_tx_lock_bh(t->dev);
	ret = t->dev->netdev_ops->ndo_start_xmit(skb, t->dev);
	netif_tx_unlock_bh(t->dev);
	return ret;
}

void nt_transmit(struct kunit *test, u32 len, u8 byte)
{
	dev_queue_xmit(nt_alloc_skb(test, NT_PROTOCOL, len, byte));
}

u64 nt_stat(struct net_test *t, size_t offset)
{
	struct rtnl_link_stats64 stats;

	dev_get_stats(t->dev, &stats);
	return *(u64 *)((u8 *)&stats + offset);
}

/* Room for a frame with its header, filled; to be committed and published */
u8 *nt_reserve(struct kunit *test, u16 protocol, u32 len, u8 byte)
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
	eth->h_proto = htons(protocol);
	return frame;
}

void nt_send(struct kunit *test, u32 len, u8 byte)
{
	struct net_test *t = test->priv;

	nt_reserve(test, NT_PROTOCOL, len, byte);
	ivn_ring_tx_commit(&t->tx, len + t->header);
	ivn_ring_tx_publish(&t->tx);
}
