/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the driver ivshmem-net share: one network device, its
 * queues, their counters.
 */
#ifndef _IVSHMEM_NET_H
#define _IVSHMEM_NET_H

#include <linux/if_vlan.h>
#include <linux/ivshmem.h>
#include <linux/netdevice.h>
#include <linux/u64_stats_sync.h>
#include <linux/workqueue.h>
#include <net/xdp.h>

#include "ivshmem-net-link.h"

/* As much as IP can have in one packet, or in one to be segmented */
#define IVSHMEM_NET_MAX_FRAME	(ETH_MAX_MTU + VLAN_ETH_HLEN)

/* Less than that is not worth a GSO frame */
#define IVSHMEM_NET_MIN_GSO	16384

/* A page holds it with room in front, and with what an skb needs behind */
#define IVSHMEM_NET_XDP_FRAME						\
	(PAGE_SIZE - XDP_PACKET_HEADROOM -				\
	 SKB_DATA_ALIGN(sizeof(struct skb_shared_info)))

enum ivshmem_net_tx_stat {
	IVSHMEM_NET_TX_PACKETS,
	IVSHMEM_NET_TX_BYTES,
	IVSHMEM_NET_TX_DROPPED,
	IVSHMEM_NET_TX_TOO_LONG,
	IVSHMEM_NET_TX_XDP,
	IVSHMEM_NET_TX_XDP_FULL,
	IVSHMEM_NET_TX_STOPPED,
	IVSHMEM_NET_TX_DOORBELLS,
	IVSHMEM_NET_TX_VIOLATIONS,
	IVSHMEM_NET_TX_STATS
};

enum ivshmem_net_rx_stat {
	IVSHMEM_NET_RX_PACKETS,
	IVSHMEM_NET_RX_BYTES,
	IVSHMEM_NET_RX_NO_MEMORY,
	IVSHMEM_NET_RX_TOO_LONG,
	IVSHMEM_NET_RX_BAD_HEADER,
	IVSHMEM_NET_RX_XDP_DROP,
	IVSHMEM_NET_RX_XDP_TX,
	IVSHMEM_NET_RX_XDP_REDIRECT,
	IVSHMEM_NET_RX_XDP_ERRORS,
	IVSHMEM_NET_RX_DOORBELLS,
	IVSHMEM_NET_RX_VIOLATIONS,
	IVSHMEM_NET_RX_STATS
};

/**
 * struct ivshmem_net_vector - an interrupt vector
 * @in: the device
 * @queue: whose vector it is, NULL for the first, which tells of the state
 * @irq: its number
 * @name: in /proc/interrupts
 * @idle: interrupts since the last one that told something new
 * @calm: lets it come again after too many of them
 */
struct ivshmem_net_vector {
	struct ivshmem_net *in;
	struct ivshmem_net_queue *queue;
	unsigned int irq;
	char name[32];
	unsigned int idle;
	struct delayed_work calm;
};

/**
 * struct ivshmem_net_queue - a pair of queues
 * @in: the device
 * @index: below IVSHMEM_NET_MAX_QUEUES
 * @running: between start and stop; under the lock of the transmit queue
 * @doorbell: the peer's vector
 * @vector: my own, may be shared
 * @napi: of both directions
 * @tx: sending end; under the lock of the transmit queue
 * @tx_private: its private memory
 * @tx_sync: of @tx_stats
 * @tx_stats: written under the lock of the transmit queue
 * @rx: receiving end, of NAPI alone
 * @pages: of received frames
 * @xdp_rxq: what XDP wants to know
 * @rx_ns: when the last frame came
 * @load_ns: since when @busy_ns counts
 * @busy_ns: what polling took since then
 * @rx_sync: of @rx_stats
 * @rx_stats: written by NAPI
 */
struct ivshmem_net_queue {
	struct ivshmem_net *in;
	unsigned int index;
	bool running;
	u16 doorbell;
	struct ivshmem_net_vector *vector;
	struct napi_struct napi;

	struct ivn_ring_tx tx ____cacheline_aligned_in_smp;
	void *tx_private;
	struct u64_stats_sync tx_sync;
	u64_stats_t tx_stats[IVSHMEM_NET_TX_STATS];

	struct ivn_ring_rx rx ____cacheline_aligned_in_smp;
	struct page_pool *pages;
	struct xdp_rxq_info xdp_rxq;
	u64 rx_ns;
	u64 load_ns;
	u64 busy_ns;
	struct u64_stats_sync rx_sync;
	u64_stats_t rx_stats[IVSHMEM_NET_RX_STATS];
};

/**
 * struct ivshmem_net - the network device
 * @dev: its other half
 * @ivd: the ivshmem device
 * @peer: its number
 * @mine: my output section
 * @theirs: the peer's
 * @section_bytes: of each of them
 * @state: mine; under RTNL
 * @connected: carrier is on and @agreed holds; under RTNL
 * @started: the queues run; under RTNL
 * @removing: the driver goes
 * @broken: the peer broke a rule: the link is to be reset
 * @held: jiffies until which the link stays down after that
 * @loaded: polling takes most of the time; the tick looks, and clears it
 * @threaded: we moved polling to threads; under RTNL
 * @offer: what we offer the peer; under RTNL
 * @extensions: whether we offer it; under RTNL
 * @agreed: what both sides can do; changes only while nothing runs
 * @header: bytes in front of each frame
 * @tx_max: bytes of the longest frame with header that we send
 * @gso_max: bytes of the longest frame to be segmented, 0 if none
 * @xdp: program for received frames
 * @rx_poll_us: how long to look for more frames before asking for a doorbell
 * @resets: how often the link went down; under RTNL
 * @storms: how often a vector was silenced
 * @news: limits messages about the link
 * @complaints: limits messages about the peer
 * @link: steps through the states
 * @tick: looks every second, because doorbells can get lost
 * @num_vectors: that have a use: one for each queue, and the first
 * @vectors: IVSHMEM_NET_MAX_QUEUES + 1 at most
 * @queue: of which the first @agreed.queues run
 */
struct ivshmem_net {
	struct net_device *dev;
	struct ivshmem_device *ivd;
	u32 peer;
	void *mine;
	const void *theirs;
	u64 section_bytes;

	enum ivn_link_state state;
	bool connected;
	bool started;
	bool removing;
	bool broken;
	unsigned long held;
	bool loaded;
	bool threaded;
	struct ivn_link_offer offer;
	bool extensions;
	struct ivn_link_agreed agreed;
	u32 header;
	u32 tx_max;
	u32 gso_max;

	struct bpf_prog __rcu *xdp;
	u32 rx_poll_us;
	u64 resets;
	atomic64_t storms;
	struct ratelimit_state news;
	struct ratelimit_state complaints;
	struct delayed_work link;
	struct delayed_work tick;
	unsigned int num_vectors;
	struct ivshmem_net_vector vectors[IVSHMEM_NET_MAX_QUEUES + 1];
	struct ivshmem_net_queue queue[IVSHMEM_NET_MAX_QUEUES];
};

static inline void ivshmem_net_tx_count(struct ivshmem_net_queue *q,
					enum ivshmem_net_tx_stat stat)
{
	u64_stats_update_begin(&q->tx_sync);
	u64_stats_inc(&q->tx_stats[stat]);
	u64_stats_update_end(&q->tx_sync);
}

static inline void ivshmem_net_rx_count(struct ivshmem_net_queue *q,
					enum ivshmem_net_rx_stat stat)
{
	u64_stats_update_begin(&q->rx_sync);
	u64_stats_inc(&q->rx_stats[stat]);
	u64_stats_update_end(&q->rx_sync);
}

static inline struct netdev_queue *ivshmem_net_txq(struct ivshmem_net_queue *q)
{
	return netdev_get_tx_queue(q->in->dev, q->index);
}

static inline void ivshmem_net_ring_doorbell(struct ivshmem_net_queue *q)
{
	ivshmem_doorbell(q->in->ivd, q->in->peer, q->doorbell);
}

/* There was something to do: its interrupts are no storm */
static inline void ivshmem_net_awake(struct ivshmem_net_queue *q)
{
	if (READ_ONCE(q->vector->idle))
		WRITE_ONCE(q->vector->idle, 0);
}

/* ivshmem-net-main.c */
void ivshmem_net_read_stats(const struct u64_stats_sync *sync,
			    const u64_stats_t *stats, unsigned int n, u64 *data);
void ivshmem_net_violation(struct ivshmem_net_queue *q, const char *what);
void ivshmem_net_loaded(struct ivshmem_net *in);
void ivshmem_net_restart(struct ivshmem_net *in);
u32 ivshmem_net_max_mtu(const struct ivshmem_net *in, unsigned int queues);

/* ivshmem-net-tx.c */
netdev_tx_t ivshmem_net_start_xmit(struct sk_buff *skb, struct net_device *dev);
netdev_features_t ivshmem_net_features_check(struct sk_buff *skb,
					     struct net_device *dev,
					     netdev_features_t features);
int ivshmem_net_xdp_xmit(struct net_device *dev, int n,
			 struct xdp_frame **frames, u32 flags);
int ivshmem_net_xdp_tx(struct ivshmem_net_queue *q, const struct xdp_buff *xdp);
void ivshmem_net_tx_poll(struct ivshmem_net_queue *q);
void ivshmem_net_tx_netpoll(struct ivshmem_net_queue *q);

/* ivshmem-net-rx.c */
int ivshmem_net_poll(struct napi_struct *napi, int budget);
int ivshmem_net_rx_start(struct ivshmem_net_queue *q);
void ivshmem_net_rx_stop(struct ivshmem_net_queue *q);

/* ivshmem-net-ethtool.c */
extern const struct ethtool_ops ivshmem_net_ethtool_ops;

#endif /* _IVSHMEM_NET_H */
