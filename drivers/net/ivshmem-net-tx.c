// SPDX-License-Identifier: GPL-2.0
/*
 * Sending: frames are copied into my section, so that nothing waits for the
 * peer but the room that they take there.
 *
 * Implements "Frames" of Documentation/ivshmem/net.rst.
 */
#include <linux/virtio_net.h>

#include "compat-net.h"
#include "ivshmem-net.h"

/* Linux before 6.9 takes no more in one frame */
#define IVSHMEM_NET_USO_SEGMENTS	64

/*
 * Take back what the peer is done with. The caller holds the lock of the
 * transmit queue. False if the peer broke a rule.
 */
static bool ivshmem_net_tx_clean(struct ivshmem_net_queue *q)
{
	struct netdev_queue *txq = ivshmem_net_txq(q);
	u64 bytes;
	int n;

	n = ivn_ring_tx_reclaim(&q->tx, q->tx.qlen, &bytes);
	if (n < 0) {
		ivshmem_net_tx_count(q, IVSHMEM_NET_TX_VIOLATIONS);
		ivshmem_net_violation(q, "returned frames that were not its to return");
		return false;
	}
	if (!n)
		return true;
	ivshmem_net_awake(q);
	netdev_tx_completed_queue(txq, n, bytes);
	if (netif_tx_queue_stopped(txq) && ivn_ring_tx_room(&q->tx, READ_ONCE(q->in->tx_max)))
		netif_tx_wake_queue(txq);
	return true;
}

static void ivshmem_net_tx_kick(struct ivshmem_net_queue *q)
{
	if (!ivn_ring_tx_publish(&q->tx))
		return;
	ivshmem_net_tx_count(q, IVSHMEM_NET_TX_DOORBELLS);
	ivshmem_net_ring_doorbell(q);
}

/*
 * The queue was stopped by us or by BQL: let the peer tell when half of what
 * is in flight is back. What came back before it could know is looked for
 * here; each turn finds some of it, so that there are not more turns than
 * frames in flight.
 */
static void ivshmem_net_tx_wait(struct ivshmem_net_queue *q)
{
	struct netdev_queue *txq = ivshmem_net_txq(q);

	while (netif_xmit_stopped(txq) && ivn_ring_tx_pending(&q->tx) &&
	       ivn_ring_tx_arm(&q->tx, ivn_ring_tx_pending(&q->tx) / 2))
		if (!ivshmem_net_tx_clean(q))
			return;
}

/* Sees to it that the queue is woken once there is room for any frame */
static void ivshmem_net_tx_stop(struct ivshmem_net_queue *q)
{
	netif_tx_stop_queue(ivshmem_net_txq(q));
	ivshmem_net_tx_count(q, IVSHMEM_NET_TX_STOPPED);
	ivshmem_net_tx_wait(q);
}

static void *ivshmem_net_tx_reserve(struct ivshmem_net_queue *q, u32 len)
{
	void *place = ivn_ring_tx_reserve(&q->tx, len);

	if (!place && ivshmem_net_tx_clean(q))
		place = ivn_ring_tx_reserve(&q->tx, len);
	return place;
}

static void ivshmem_net_tx_commit(struct ivshmem_net_queue *q, u32 bytes,
				  u32 frame)
{
	ivn_ring_tx_commit(&q->tx, bytes);
	u64_stats_update_begin(&q->tx_sync);
	u64_stats_inc(&q->tx_stats[IVSHMEM_NET_TX_PACKETS]);
	u64_stats_add(&q->tx_stats[IVSHMEM_NET_TX_BYTES], frame);
	u64_stats_update_end(&q->tx_sync);
	netdev_tx_sent_queue(ivshmem_net_txq(q), bytes);
}

static bool ivshmem_net_tx_leave_csum(const struct ivshmem_net *in)
{
	return in->agreed.features & IVSHMEM_NET_F_CSUM;
}

/* The peer has to be told of what it is to compute; what it cannot, we do */
static int ivshmem_net_tx_copy(const struct ivshmem_net *in,
			       const struct sk_buff *skb, u8 *to)
{
	struct virtio_net_hdr hdr = { };

	if (ivshmem_net_tx_leave_csum(in) &&
	    virtio_net_hdr_from_skb(skb, &hdr, true, false, 0))
		return -EINVAL;
	memcpy(to, &hdr, in->header);
	to += in->header;
	if (skb->ip_summed == CHECKSUM_PARTIAL && !ivshmem_net_tx_leave_csum(in))
		skb_copy_and_csum_dev(skb, to);
	else
		return skb_copy_bits(skb, 0, to, skb->len);
	return 0;
}

static u32 ivshmem_net_gso_feature(const struct sk_buff *skb)
{
	switch (skb_shinfo(skb)->gso_type & ~(SKB_GSO_DODGY | SKB_GSO_TCP_ECN)) {
	case SKB_GSO_TCPV4:
		return IVSHMEM_NET_F_TSO4;
	case SKB_GSO_TCPV6:
		return IVSHMEM_NET_F_TSO6;
	case SKB_GSO_UDP_L4:
		return skb_shinfo(skb)->gso_segs > IVSHMEM_NET_USO_SEGMENTS ?
		       0 : IVSHMEM_NET_F_USO;
	default:
		return 0;
	}
}

static bool ivshmem_net_gso_ok(const struct ivshmem_net *in,
			       const struct sk_buff *skb)
{
	return in->agreed.features & ivshmem_net_gso_feature(skb);
}

static bool ivshmem_net_tx_too_long(const struct ivshmem_net *in,
				    const struct sk_buff *skb)
{
	u32 max = in->agreed.max_frame ?: IVSHMEM_NET_MAX_FRAME;

	if (skb->len + in->header > READ_ONCE(in->tx_max))
		return true;
	if (skb_is_gso(skb))	/* the link may have changed since the check */
		return !ivshmem_net_gso_ok(in, skb);
	return skb->len > max;
}

static void ivshmem_net_tx_drop(struct ivshmem_net_queue *q, struct sk_buff *skb,
				enum ivshmem_net_tx_stat why)
{
	ivshmem_net_tx_count(q, why);
	dev_kfree_skb_any(skb);
}

netdev_tx_t ivshmem_net_start_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct ivshmem_net *in = netdev_priv(dev);
	struct ivshmem_net_queue *q = &in->queue[skb_get_queue_mapping(skb)];
	struct netdev_queue *txq = ivshmem_net_txq(q);
	void *place;
	u32 bytes;

	if (unlikely(!q->running || skb->len < ETH_HLEN)) {
		ivshmem_net_tx_drop(q, skb, IVSHMEM_NET_TX_DROPPED);
		return NETDEV_TX_OK;
	}
	bytes = skb->len + in->header;
	if (unlikely(ivshmem_net_tx_too_long(in, skb))) {
		ivshmem_net_tx_drop(q, skb, IVSHMEM_NET_TX_TOO_LONG);
		goto kick;
	}
	place = ivshmem_net_tx_reserve(q, bytes);
	if (unlikely(!place)) {	/* XDP took the room that was left for us */
		ivshmem_net_tx_kick(q);
		ivshmem_net_tx_stop(q);
		return NETDEV_TX_BUSY;
	}
	if (unlikely(ivshmem_net_tx_copy(in, skb, place))) {
		ivshmem_net_tx_drop(q, skb, IVSHMEM_NET_TX_DROPPED);
		goto kick;
	}
	skb_tx_timestamp(skb);
	ivshmem_net_tx_commit(q, bytes, skb->len);
	dev_consume_skb_any(skb);

	if (!ivn_ring_tx_room(&q->tx, READ_ONCE(in->tx_max))) {
		ivshmem_net_tx_kick(q);
		ivshmem_net_tx_stop(q);
		return NETDEV_TX_OK;
	}
kick:
	if (!netdev_xmit_more() || netif_xmit_stopped(txq))
		ivshmem_net_tx_kick(q);
	ivshmem_net_tx_wait(q);
	return NETDEV_TX_OK;
}

/* The peer's features come and go with the link: what it lacks, the stack does */
netdev_features_t ivshmem_net_features_check(struct sk_buff *skb,
					     struct net_device *dev,
					     netdev_features_t features)
{
	struct ivshmem_net *in = netdev_priv(dev);

	if (!skb_is_gso(skb))
		return vlan_features_check(skb, features);
	/* No lock: the link may just change. ivshmem_net_start_xmit() looks again */
	if (!data_race(ivshmem_net_gso_ok(in, skb)) || skb->len > READ_ONCE(in->gso_max) ||
	    skb->len > skb_shinfo(skb)->gso_size * IVSHMEM_NET_MAX_SEGMENTS)
		features &= ~NETIF_F_GSO_MASK;
	return vlan_features_check(skb, features);
}

/* Room may have come back. The caller holds the lock of the transmit queue */
static void ivshmem_net_tx_look(struct ivshmem_net_queue *q)
{
	if (q->running && ivshmem_net_tx_clean(q))
		ivshmem_net_tx_wait(q);
}

void ivshmem_net_tx_poll(struct ivshmem_net_queue *q)
{
	struct netdev_queue *txq = ivshmem_net_txq(q);

	__netif_tx_lock(txq, smp_processor_id());
	ivshmem_net_tx_look(q);
	__netif_tx_unlock(txq);
}

/* netpoll comes from any printk(), also while this processor holds the lock */
void ivshmem_net_tx_netpoll(struct ivshmem_net_queue *q)
{
	struct netdev_queue *txq = ivshmem_net_txq(q);

	if (!__netif_tx_trylock(txq))
		return;
	ivshmem_net_tx_look(q);
	__netif_tx_unlock(txq);
}

/* The caller holds the lock of the transmit queue */
static int ivshmem_net_xdp_send(struct ivshmem_net_queue *q, const void *data,
				u32 len)
{
	u32 bytes;
	u8 *place;

	if (!q->running)
		return -ENETDOWN;
	bytes = len + q->in->header;
	place = bytes > READ_ONCE(q->in->tx_max) ? NULL : ivshmem_net_tx_reserve(q, bytes);
	if (!place) {
		ivshmem_net_tx_count(q, IVSHMEM_NET_TX_XDP_FULL);
		return -ENOSPC;
	}
	memset(place, 0, q->in->header);
	memcpy(place + q->in->header, data, len);
	ivshmem_net_tx_commit(q, bytes, len);
	ivshmem_net_tx_count(q, IVSHMEM_NET_TX_XDP);
	return 0;
}

/* BQL may have stopped the queue: the stack waits for the room, XDP does not */
static void ivshmem_net_tx_flush(struct ivshmem_net_queue *q)
{
	if (!q->running)
		return;
	ivshmem_net_tx_kick(q);
	ivshmem_net_tx_wait(q);
}

/* A frame that came and goes back */
int ivshmem_net_xdp_tx(struct ivshmem_net_queue *q, const struct xdp_buff *xdp)
{
	struct netdev_queue *txq = ivshmem_net_txq(q);
	int err;

	__netif_tx_lock(txq, smp_processor_id());
	err = ivshmem_net_xdp_send(q, xdp->data, xdp->data_end - xdp->data);
	ivshmem_net_tx_flush(q);
	__netif_tx_unlock(txq);
	return err;
}

int ivshmem_net_xdp_xmit(struct net_device *dev, int n,
			 struct xdp_frame **frames, u32 flags)
{
	struct ivshmem_net *in = netdev_priv(dev);
	struct ivshmem_net_queue *q;
	struct netdev_queue *txq;
	int sent;

	if (flags & ~XDP_XMIT_FLAGS_MASK)
		return -EINVAL;

	q = &in->queue[smp_processor_id() % dev->real_num_tx_queues];
	txq = ivshmem_net_txq(q);
	__netif_tx_lock(txq, smp_processor_id());
	for (sent = 0; sent < n; sent++) {
		if (ivshmem_net_xdp_send(q, frames[sent]->data, frames[sent]->len))
			break;
		xdp_return_frame_rx_napi(frames[sent]);
	}
	ivshmem_net_tx_flush(q);
	__netif_tx_unlock(txq);
	return sent;
}
