// SPDX-License-Identifier: GPL-2.0
/*
 * drivers/net/ivshmem-net-tx.c and -rx.c: what the peer is left to compute, or
 * to cut into frames, each way, and what of that it may not say; a full ring;
 * and XDP.
 */
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/rtnetlink.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/checksum.h>
#include <net/sch_generic.h>
#include <net/xdp.h>

#include "compat-net.h"
#include "net_peer.h"
#include "table.h"

#define OF_OFFLOADS	(IVSHMEM_NET_F_CSUM | IVSHMEM_NET_F_TSO4 | \
			 IVSHMEM_NET_F_TSO6 | IVSHMEM_NET_F_USO)
#define OF_MSS		1000
#define OF_BYTES	3200
#define OF_TCP4		(ETH_HLEN + 20)
#define OF_TCP6		(ETH_HLEN + 40)
#define OF_TCP_CHECK	offsetof(struct tcphdr, check)
#define OF_UDP_CHECK	offsetof(struct udphdr, check)

static struct ivn_link_offer of_offer(u32 features)
{
	return (struct ivn_link_offer) {
		.queues = 1, .features = IVSHMEM_NET_F_VNET_HDR | features,
		.max_frame = NT_MAX_FRAME, .max_gso = SZ_32K, .vectors = 2,
	};
}

/* What the header of a received frame says */
struct of_rx_case {
	const char *name;
	u16 protocol;
	u8 flags;
	u8 gso_type;
	u16 gso_size;
	u16 csum_start;
	u16 csum_offset;
	bool expected;
};

#define OF_NEEDS	VIRTIO_NET_HDR_F_NEEDS_CSUM

static const struct of_rx_case of_rx_cases[] = {
	{ "a frame whose checksum was looked at", NT_PROTOCOL,
	  VIRTIO_NET_HDR_F_DATA_VALID, .expected = true },
	{ "TCP on IPv4", ETH_P_IP, OF_NEEDS, VIRTIO_NET_HDR_GSO_TCPV4, OF_MSS,
	  OF_TCP4, OF_TCP_CHECK, true },
	{ "TCP on IPv6", ETH_P_IPV6, OF_NEEDS, VIRTIO_NET_HDR_GSO_TCPV6, OF_MSS,
	  OF_TCP6, OF_TCP_CHECK, true },
	{ "TCP with ECN", ETH_P_IP, OF_NEEDS,
	  VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, OF_MSS,
	  OF_TCP4, OF_TCP_CHECK, true },
	{ "UDP", ETH_P_IP, OF_NEEDS, VIRTIO_NET_HDR_GSO_UDP_L4, OF_MSS,
	  OF_TCP4, OF_UDP_CHECK, true },
	{ "IPv6 that says 4", ETH_P_IPV6, OF_NEEDS, VIRTIO_NET_HDR_GSO_TCPV4, OF_MSS,
	  OF_TCP4, OF_TCP_CHECK, false },
	{ "IPv4 that says 6", ETH_P_IP, OF_NEEDS, VIRTIO_NET_HDR_GSO_TCPV6, OF_MSS,
	  OF_TCP6, OF_TCP_CHECK, false },
	{ "segments of nothing", ETH_P_IP, OF_NEEDS, VIRTIO_NET_HDR_GSO_TCPV4, 0,
	  OF_TCP4, OF_TCP_CHECK, false },
	{ "thousands of segments", ETH_P_IP, OF_NEEDS, VIRTIO_NET_HDR_GSO_TCPV4, 1,
	  OF_TCP4, OF_TCP_CHECK, false },
	{ "segments of a type that is none", ETH_P_IP, OF_NEEDS, 9, OF_MSS,
	  OF_TCP4, OF_TCP_CHECK, false },
	{ "checksum behind the end", NT_PROTOCOL, OF_NEEDS, 0, 0, OF_BYTES, 0, false },
};

TABLE_PARAM(of_rx_cases);

static void of_listen(struct net_test *t, u16 protocol)
{
	dev_remove_pack(&t->packets);
	t->packets.type = htons(protocol);
	dev_add_pack(&t->packets);
}

static void net_offload_test_receive(struct kunit *test)
{
	const struct of_rx_case *c = test->param_value;
	struct ivn_link_offer offer = of_offer(OF_OFFLOADS);
	struct net_test *t = test->priv;

	of_listen(t, c->protocol);
	nt_up(test, &nt_spec, &offer);
	*(struct virtio_net_hdr *)nt_reserve(test, c->protocol, OF_BYTES, 1) =
		(struct virtio_net_hdr) {
			.flags = c->flags, .gso_type = c->gso_type,
			.gso_size = (__force __virtio16)cpu_to_le16(c->gso_size),
			.csum_start = (__force __virtio16)cpu_to_le16(c->csum_start),
			.csum_offset = (__force __virtio16)cpu_to_le16(c->csum_offset),
		};
	ivn_ring_tx_commit(&t->tx, OF_BYTES + t->header);
	ivn_ring_tx_publish(&t->tx);
	fake_interrupt(t->fake, 1);
	if (!c->expected) {
		FAKE_WAIT_FOR(test, NT_STAT(t, rx_frame_errors) == 1);
		KUNIT_EXPECT_EQ(test, t->received, 0u);
		return;
	}
	FAKE_WAIT_FOR(test, t->received == 1);
	KUNIT_EXPECT_EQ(test, t->received_gso, (unsigned int)c->gso_size);
	KUNIT_EXPECT_EQ(test, t->received_summed, c->flags == OF_NEEDS ?
			(u8)CHECKSUM_PARTIAL : (u8)CHECKSUM_UNNECESSARY);
}

/* The inner protocol says what is in a frame with a tag: that is for the stack */
static void net_offload_test_receive_tagged(struct kunit *test)
{
	struct ivn_link_offer offer = of_offer(OF_OFFLOADS);
	struct net_test *t = test->priv;
	struct virtio_net_hdr *header;

	nt_up(test, &nt_spec, &offer);
	header = (struct virtio_net_hdr *)nt_reserve(test, ETH_P_8021Q, OF_BYTES, 1);
	header->flags = OF_NEEDS;
	header->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	header->gso_size = (__force __virtio16)cpu_to_le16(OF_MSS);
	header->csum_start = (__force __virtio16)cpu_to_le16(OF_TCP4 + 4);
	header->csum_offset = (__force __virtio16)cpu_to_le16(OF_TCP_CHECK);
	ivn_ring_tx_commit(&t->tx, OF_BYTES + t->header);
	ivn_ring_tx_publish(&t->tx);
	fake_interrupt(t->fake, 1);
	FAKE_WAIT_FOR(test, NT_STAT(t, rx_packets) == 1);
}

struct of_len_case {
	const char *name;
	u32 len;		/* with the header */
	bool is_too_long;
};

static const struct of_len_case of_len_cases[] = {
	{ "no room for a header", NT_HEADER },
	{ "no room for addresses", NT_HEADER + ETH_HLEN - 1 },
	{ "more than IP has in a packet", NT_HEADER + 65535 + 19, true },
};

TABLE_PARAM(of_len_cases);

static void net_offload_test_receive_length(struct kunit *test)
{
	const struct of_len_case *c = test->param_value;
	struct net_test *t = test->priv;

	nt_up(test, &nt_spec, &nt_offer);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, ivn_ring_tx_reserve(&t->tx, c->len));
	ivn_ring_tx_commit(&t->tx, c->len);
	ivn_ring_tx_publish(&t->tx);
	fake_interrupt(t->fake, 1);
	FAKE_WAIT_FOR(test, NT_STAT(t, rx_errors) == 1);
	KUNIT_EXPECT_EQ(test, NT_STAT(t, rx_length_errors), (u64)c->is_too_long);
	KUNIT_EXPECT_EQ(test, NT_STAT(t, rx_packets), 0ULL);
}

/* What is to be segmented, and what the peer takes of it */
struct of_tx_case {
	const char *name;
	u32 features;
	u16 protocol;
	unsigned int gso_type;
	u16 segments;
	u16 csum_start;
	u16 csum_offset;
	u8 expected;		/* type in the header, 0 = it is not sent */
};

static const struct of_tx_case of_tx_cases[] = {
	{ "TCP on IPv4", OF_OFFLOADS, ETH_P_IP, SKB_GSO_TCPV4, 4, OF_TCP4, OF_TCP_CHECK,
	  VIRTIO_NET_HDR_GSO_TCPV4 },
	{ "TCP on IPv6", OF_OFFLOADS, ETH_P_IPV6, SKB_GSO_TCPV6, 4, OF_TCP6, OF_TCP_CHECK,
	  VIRTIO_NET_HDR_GSO_TCPV6 },
	{ "TCP with ECN", OF_OFFLOADS, ETH_P_IP, SKB_GSO_TCPV4 | SKB_GSO_TCP_ECN, 4,
	  OF_TCP4, OF_TCP_CHECK, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN },
	{ "UDP", OF_OFFLOADS, ETH_P_IP, SKB_GSO_UDP_L4, 4, OF_TCP4, OF_UDP_CHECK,
	  VIRTIO_NET_HDR_GSO_UDP_L4 },
	{ "too many datagrams", OF_OFFLOADS, ETH_P_IP, SKB_GSO_UDP_L4, 65,
	  OF_TCP4, OF_UDP_CHECK, 0 },
	{ "a tunnel", OF_OFFLOADS, ETH_P_IP, SKB_GSO_TCPV4 | SKB_GSO_GRE, 4,
	  OF_TCP4, OF_TCP_CHECK, 0 },
	{ "IPv6 to who takes IPv4", IVSHMEM_NET_F_CSUM | IVSHMEM_NET_F_TSO4, ETH_P_IPV6,
	  SKB_GSO_TCPV6, 4, OF_TCP6, OF_TCP_CHECK, 0 },
	{ "to who takes nothing", 0, ETH_P_IP, SKB_GSO_TCPV4, 4, OF_TCP4, OF_TCP_CHECK, 0 },
};

TABLE_PARAM(of_tx_cases);

static struct sk_buff *of_alloc_gso(struct kunit *test, const struct of_tx_case *c)
{
	struct sk_buff *skb = nt_alloc_skb(test, c->protocol, OF_BYTES, 0);

	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_headroom(skb) + c->csum_start;
	skb->csum_offset = c->csum_offset;
	skb_set_transport_header(skb, c->csum_start);
	skb_shinfo(skb)->gso_type = c->gso_type;
	skb_shinfo(skb)->gso_size = OF_MSS;
	skb_shinfo(skb)->gso_segs = c->segments;
	return skb;
}

/* The stack was asked before the link was what it is now */
static void net_offload_test_transmit(struct kunit *test)
{
	const struct of_tx_case *c = test->param_value;
	struct ivn_link_offer offer = of_offer(c->features);
	struct net_test *t = test->priv;
	netdev_features_t features;
	struct ivn_ring_frame f;
	struct sk_buff *skb;

	nt_up(test, &nt_spec, &offer);
	skb = of_alloc_gso(test, c);
	features = t->dev->netdev_ops->ndo_features_check(skb, t->dev, t->dev->features);
	KUNIT_EXPECT_EQ(test, !!(features & NETIF_F_GSO_MASK), !!c->expected);

	KUNIT_EXPECT_EQ(test, nt_start_xmit(t, skb), NETDEV_TX_OK);
	KUNIT_ASSERT_EQ(test, ivn_ring_rx_next(&t->rx, &f), c->expected ? 1 : 0);
	KUNIT_EXPECT_EQ(test, NT_STAT(t, tx_dropped), c->expected ? 0ULL : 1ULL);
	if (c->expected) {
		const struct virtio_net_hdr *header = f.data;

		KUNIT_EXPECT_EQ(test, f.len, (u32)(OF_BYTES + NT_HEADER));
		KUNIT_EXPECT_EQ(test, header->flags, (u8)OF_NEEDS);
		KUNIT_EXPECT_EQ(test, header->gso_type, c->expected);
		KUNIT_EXPECT_EQ(test, le16_to_cpu((__force __le16)header->gso_size),
				(u16)OF_MSS);
		KUNIT_EXPECT_EQ(test, le16_to_cpu((__force __le16)header->csum_start),
				c->csum_start);
	}
}

/* A peer that cannot is sent what it can check */
static void net_offload_test_transmit_checksum(struct kunit *test)
{
	struct net_test *t = test->priv;
	struct ivn_ring_frame f;
	struct sk_buff *skb;

	nt_up(test, &nt_spec, NULL);
	skb = nt_alloc_skb(test, NT_PROTOCOL, 100, 0x5a);
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_headroom(skb) + OF_TCP4;
	skb->csum_offset = OF_TCP_CHECK;
	memset(skb->data + OF_TCP4 + OF_TCP_CHECK, 0, 2);
	nt_start_xmit(t, skb);
	KUNIT_ASSERT_EQ(test, ivn_ring_rx_next(&t->rx, &f), 1);
	KUNIT_EXPECT_EQ(test, (__force u16)ip_compute_csum(f.data + OF_TCP4, 100 - OF_TCP4),
			(u16)0);
}

/* Gives back all that is there; true if the driver wants to hear of it */
static bool of_drain(struct net_test *t)
{
	struct ivn_ring_frame f;

	while (ivn_ring_rx_next(&t->rx, &f) == 1)
		ivn_ring_rx_release(&t->rx, &f);
	return ivn_ring_rx_publish(&t->rx);
}

/* By BQL, as a rule long before the ring is full */
static void net_offload_test_queue_stops_and_wakes(struct kunit *test)
{
	struct netdev_queue *txq;
	struct net_test *t = test->priv;
	unsigned int sent;

	nt_up(test, &nt_spec, &nt_offer);
	txq = netdev_get_tx_queue(t->dev, 0);
	for (sent = 0; !netif_xmit_stopped(txq) && sent < 2000; sent++)
		nt_transmit(test, NT_MAX_FRAME, 1);
	KUNIT_ASSERT_TRUE(test, netif_xmit_stopped(txq));
	KUNIT_EXPECT_TRUE(test, of_drain(t));
	fake_interrupt(t->fake, 1);
	FAKE_WAIT_FOR(test, !netif_xmit_stopped(txq));
	KUNIT_EXPECT_EQ(test, NT_STAT(t, tx_dropped), 0ULL);
}

/* XDP has taken the room that the stack was to have */
static void net_offload_test_no_room_is_busy(struct kunit *test)
{
	struct net_test *t = test->priv;
	struct netdev_queue *txq;
	struct sk_buff *skb;
	netdev_tx_t ret;
	int sent = 0;

	nt_up(test, &nt_spec, &nt_offer);
	txq = netdev_get_tx_queue(t->dev, 0);
	do {
		skb = nt_alloc_skb(test, NT_PROTOCOL, NT_MAX_FRAME, 1);
		ret = nt_start_xmit(t, skb);
	} while (ret == NETDEV_TX_OK && ++sent < 2000);
	KUNIT_EXPECT_EQ(test, ret, NETDEV_TX_BUSY);
	kfree_skb(skb);
	KUNIT_EXPECT_TRUE(test, netif_tx_queue_stopped(txq));
	of_drain(t);
	fake_interrupt(t->fake, 1);
	FAKE_WAIT_FOR(test, !netif_xmit_stopped(txq));
	KUNIT_EXPECT_EQ(test, NT_STAT(t, tx_packets), (u64)sent);
}

static void of_netpoll(struct net_test *t)
{
	struct napi_struct *napi;

	local_bh_disable();
	list_for_each_entry(napi, &t->dev->napi_list, dev_list)
		napi->poll(napi, 0);
	local_bh_enable();
}

/* A message on its way out wants room too, without an interrupt */
static void net_offload_test_netpoll_wakes(struct kunit *test)
{
	struct net_test *t = test->priv;
	struct netdev_queue *txq;
	unsigned int sent;

	nt_up(test, &nt_spec, &nt_offer);
	txq = netdev_get_tx_queue(t->dev, 0);
	for (sent = 0; !netif_xmit_stopped(txq) && sent < 2000; sent++)
		nt_transmit(test, NT_MAX_FRAME, 1);
	of_drain(t);
	of_netpoll(t);
	KUNIT_EXPECT_FALSE(test, netif_xmit_stopped(txq));
}

static void net_offload_test_frame_of_no_ethernet(struct kunit *test)
{
	struct net_test *t = test->priv;
	struct sk_buff *skb;

	nt_up(test, &nt_spec, &nt_offer);
	skb = nt_alloc_skb(test, NT_PROTOCOL, ETH_HLEN, 1);
	skb_trim(skb, ETH_HLEN - 1);
	nt_start_xmit(t, skb);
	KUNIT_EXPECT_EQ(test, NT_STAT(t, tx_dropped), 1ULL);
}

/* XDP */

/* A program that comes to the same end for each frame */
static struct bpf_prog *of_create_prog(struct kunit *test, u32 act)
{
	struct sock_filter filter = BPF_STMT(BPF_RET | BPF_K, act);
	struct sock_fprog_kern program = { .len = 1, .filter = &filter };
	struct bpf_prog *prog = NULL;

	KUNIT_ASSERT_EQ(test, bpf_prog_create(&prog, &program), 0);
	return prog;
}

static int of_set_xdp(struct net_test *t, struct bpf_prog *prog)
{
	struct netdev_bpf bpf = { .command = XDP_SETUP_PROG, .prog = prog };
	int err;

	rtnl_lock();
	err = t->dev->netdev_ops->ndo_bpf(t->dev, &bpf);
	rtnl_unlock();
	return err;
}

struct of_xdp_case {
	const char *name;
	u32 act;
	u64 expected_packets;
	u64 expected_dropped;
	u64 expected_errors;
	int expected_returned;
};

static const struct of_xdp_case of_xdp_cases[] = {
	{ "pass", XDP_PASS, .expected_packets = 1 },
	{ "drop", XDP_DROP, .expected_dropped = 1 },
	{ "back to the peer", XDP_TX, .expected_returned = 1 },
	{ "aborted", XDP_ABORTED, .expected_errors = 1 },
	{ "to nowhere", XDP_REDIRECT, .expected_errors = 1 },
	{ "nothing that there is", 17, .expected_errors = 1 },
};

TABLE_PARAM(of_xdp_cases);

static void net_offload_test_xdp(struct kunit *test)
{
	const struct of_xdp_case *c = test->param_value;
	struct bpf_prog *prog = of_create_prog(test, c->act);
	struct net_test *t = test->priv;
	struct ivn_ring_frame f;
	u64 bytes;

	nt_plug(test, &nt_spec);
	t->dev->mtu = 1500;
	KUNIT_EXPECT_EQ(test, of_set_xdp(t, prog), 0);
	KUNIT_ASSERT_EQ(test, nt_open(t), 0);
	nt_connect(test, &nt_offer);
	nt_send(test, 1000, 1);
	fake_interrupt(t->fake, 1);
	FAKE_WAIT_FOR(test, ivn_ring_tx_reclaim(&t->tx, 1, &bytes) == 1);
	KUNIT_EXPECT_EQ(test, NT_STAT(t, rx_packets), c->expected_packets);
	KUNIT_EXPECT_EQ(test, NT_STAT(t, rx_dropped), c->expected_dropped);
	KUNIT_EXPECT_EQ(test, NT_STAT(t, rx_errors), c->expected_errors);
	KUNIT_EXPECT_EQ(test, ivn_ring_rx_next(&t->rx, &f), c->expected_returned);
	KUNIT_EXPECT_EQ(test, of_set_xdp(t, NULL), 0);
	nt_close(t);
	bpf_prog_destroy(prog);
}

/* A page is all that a frame has with XDP */
static void net_offload_test_xdp_mtu(struct kunit *test)
{
	struct bpf_prog *prog = of_create_prog(test, XDP_PASS);
	struct net_test *t = test->priv;

	nt_plug(test, &nt_spec);
	rtnl_lock();
	KUNIT_EXPECT_EQ(test, dev_set_mtu(t->dev, PAGE_SIZE), 0);
	rtnl_unlock();
	KUNIT_EXPECT_EQ(test, of_set_xdp(t, prog), -EOPNOTSUPP);
	rtnl_lock();
	KUNIT_EXPECT_EQ(test, dev_set_mtu(t->dev, 1500), 0);
	rtnl_unlock();
	KUNIT_EXPECT_EQ(test, of_set_xdp(t, prog), 0);
	rtnl_lock();
	KUNIT_EXPECT_EQ(test, dev_set_mtu(t->dev, PAGE_SIZE), -EINVAL);
	rtnl_unlock();
	KUNIT_EXPECT_EQ(test, of_set_xdp(t, NULL), 0);
	bpf_prog_destroy(prog);
}

static struct xdp_frame *of_alloc_xdp_frame(struct kunit *test, u16 len)
{
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	struct xdp_frame *frame;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, page);
	frame = page_address(page);
	frame->data = page_address(page) + XDP_PACKET_HEADROOM;
	frame->len = len;
	frame->mem.type = MEM_TYPE_PAGE_ORDER0;
	return frame;
}

/* The driver takes the frames that it says it took */
static void net_offload_test_xdp_from_elsewhere(struct kunit *test)
{
	struct net_test *t = test->priv;
	struct xdp_frame *frames[2];
	struct ivn_ring_frame f;

	nt_up(test, &nt_spec, &nt_offer);
	frames[0] = of_alloc_xdp_frame(test, 100);
	frames[1] = of_alloc_xdp_frame(test, NT_MAX_FRAME);
	local_bh_disable();
	KUNIT_EXPECT_EQ(test, t->dev->netdev_ops->ndo_xdp_xmit(t->dev, 2, frames, U32_MAX),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, t->dev->netdev_ops->ndo_xdp_xmit(t->dev, 2, frames, 0), 2);
	local_bh_enable();
	KUNIT_EXPECT_EQ(test, ivn_ring_rx_next(&t->rx, &f), 1);
	KUNIT_EXPECT_EQ(test, f.len, (u32)(100 + NT_HEADER));
	KUNIT_EXPECT_EQ(test, ivn_ring_rx_next(&t->rx, &f), 1);
	KUNIT_EXPECT_EQ(test, f.len, (u32)(NT_MAX_FRAME + NT_HEADER));

	nt_close(t);
	frames[0] = of_alloc_xdp_frame(test, 100);
	local_bh_disable();
	KUNIT_EXPECT_EQ(test, t->dev->netdev_ops->ndo_xdp_xmit(t->dev, 1, frames, 0), 0);
	local_bh_enable();
	put_page(virt_to_page(frames[0]));
}

static struct kunit_case net_offload_cases[] = {
	KUNIT_CASE_PARAM(net_offload_test_receive, of_rx_cases_gen_params),
	KUNIT_CASE(net_offload_test_receive_tagged),
	KUNIT_CASE_PARAM(net_offload_test_receive_length, of_len_cases_gen_params),
	KUNIT_CASE_PARAM(net_offload_test_transmit, of_tx_cases_gen_params),
	KUNIT_CASE(net_offload_test_transmit_checksum),
	KUNIT_CASE(net_offload_test_queue_stops_and_wakes),
	KUNIT_CASE(net_offload_test_no_room_is_busy),
	KUNIT_CASE(net_offload_test_netpoll_wakes),
	KUNIT_CASE(net_offload_test_frame_of_no_ethernet),
	KUNIT_CASE_PARAM(net_offload_test_xdp, of_xdp_cases_gen_params),
	KUNIT_CASE(net_offload_test_xdp_mtu),
	KUNIT_CASE(net_offload_test_xdp_from_elsewhere),
	{}
};

static struct kunit_suite net_offload_suite = {
	.name = "ivshmem_net_offload",
	.init = nt_init,
	.exit = nt_exit,
	.test_cases = net_offload_cases,
};

kunit_test_suite(net_offload_suite);
