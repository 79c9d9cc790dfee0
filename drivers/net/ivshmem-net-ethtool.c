// SPDX-License-Identifier: GPL-2.0
/*
 * What ethtool shows and sets.
 */
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>

#include "ivshmem-net.h"

#define IVSHMEM_NET_REGS_VERSION	1
#define IVSHMEM_NET_MAX_POLL_US		100000

static const char * const ivshmem_net_tx_names[IVSHMEM_NET_TX_STATS] = {
	[IVSHMEM_NET_TX_PACKETS] = "packets",
	[IVSHMEM_NET_TX_BYTES] = "bytes",
	[IVSHMEM_NET_TX_DROPPED] = "dropped",
	[IVSHMEM_NET_TX_TOO_LONG] = "too_long",
	[IVSHMEM_NET_TX_XDP] = "xdp",
	[IVSHMEM_NET_TX_XDP_FULL] = "xdp_full",
	[IVSHMEM_NET_TX_STOPPED] = "stopped",
	[IVSHMEM_NET_TX_DOORBELLS] = "doorbells",
	[IVSHMEM_NET_TX_VIOLATIONS] = "violations",
};

static const char * const ivshmem_net_rx_names[IVSHMEM_NET_RX_STATS] = {
	[IVSHMEM_NET_RX_PACKETS] = "packets",
	[IVSHMEM_NET_RX_BYTES] = "bytes",
	[IVSHMEM_NET_RX_NO_MEMORY] = "no_memory",
	[IVSHMEM_NET_RX_TOO_LONG] = "too_long",
	[IVSHMEM_NET_RX_BAD_HEADER] = "bad_header",
	[IVSHMEM_NET_RX_XDP_DROP] = "xdp_drop",
	[IVSHMEM_NET_RX_XDP_TX] = "xdp_tx",
	[IVSHMEM_NET_RX_XDP_REDIRECT] = "xdp_redirect",
	[IVSHMEM_NET_RX_XDP_ERRORS] = "xdp_errors",
	[IVSHMEM_NET_RX_DOORBELLS] = "doorbells",
	[IVSHMEM_NET_RX_VIOLATIONS] = "violations",
};

static const char ivshmem_net_names[][ETH_GSTRING_LEN] = {
	"link_resets", "interrupt_storms", "queues_agreed", "peer_extended",
	"peer_offloads",
};

/* In the order of ivshmem_net_names */
static u64 *ivshmem_net_own_stats(const struct ivshmem_net *in, u64 *data)
{
	*data++ = in->resets;
	*data++ = atomic64_read(&in->storms);
	*data++ = in->connected ? in->agreed.queues : 0;
	*data++ = in->connected && in->agreed.vnet_hdr;
	*data++ = in->connected ? in->agreed.features : 0;
	return data;
}

enum ivshmem_net_flag {
	IVSHMEM_NET_FLAG_EXTENSIONS,
	IVSHMEM_NET_FLAGS
};

static const char ivshmem_net_flag_names[IVSHMEM_NET_FLAGS][ETH_GSTRING_LEN] = {
	[IVSHMEM_NET_FLAG_EXTENSIONS] = "extensions",
};

static void ivshmem_net_get_drvinfo(struct net_device *dev,
				    struct ethtool_drvinfo *info)
{
	struct ivshmem_net *in = netdev_priv(dev);

	strscpy(info->driver, KBUILD_MODNAME, sizeof(info->driver));
	strscpy(info->bus_info, pci_name(in->ivd->pdev), sizeof(info->bus_info));
}

/* Registers, and the states of both sides */
static int ivshmem_net_get_regs_len(struct net_device *dev)
{
	return 6 * sizeof(u32);
}

static void ivshmem_net_get_regs(struct net_device *dev, struct ethtool_regs *regs,
				 void *data)
{
	struct ivshmem_net *in = netdev_priv(dev);
	void __iomem *base = in->ivd->regs;
	u32 *value = data;

	regs->version = IVSHMEM_NET_REGS_VERSION;
	*value++ = ioread32(base + IVSHMEM_REG_ID);
	*value++ = ioread32(base + IVSHMEM_REG_MAX_PEERS);
	*value++ = ioread32(base + IVSHMEM_REG_INT_CONTROL);
	*value++ = 0;	/* the doorbell cannot be read */
	*value++ = ioread32(base + IVSHMEM_REG_STATE);
	*value = ivshmem_peer_state(in->ivd, in->peer);
}

static int ivshmem_net_get_link_ksettings(struct net_device *dev,
					  struct ethtool_link_ksettings *cmd)
{
	cmd->base.speed = SPEED_UNKNOWN;	/* as fast as memory is */
	cmd->base.duplex = DUPLEX_FULL;
	cmd->base.port = PORT_OTHER;
	cmd->base.autoneg = AUTONEG_DISABLE;
	return 0;
}

static void ivshmem_net_get_ringparam(struct net_device *dev,
				      struct ethtool_ringparam *ring,
				      struct kernel_ethtool_ringparam *kernel_ring,
				      struct netlink_ext_ack *extack)
{
	struct ivshmem_net *in = netdev_priv(dev);
	struct ivn_ring_layout l;

	/* The size of the section says it, for both directions */
	ivn_ring_queue_layout(&l, in->section_bytes, in->agreed.queues, 0);
	ring->rx_max_pending = l.qlen;
	ring->tx_max_pending = l.qlen;
	ring->rx_pending = l.qlen;
	ring->tx_pending = l.qlen;
}

static void ivshmem_net_get_channels(struct net_device *dev,
				     struct ethtool_channels *channels)
{
	struct ivshmem_net *in = netdev_priv(dev);

	channels->max_combined = dev->num_tx_queues;
	channels->combined_count = in->offer.queues;
}

/* How many there are then, is the smaller of the two offers */
static int ivshmem_net_set_channels(struct net_device *dev,
				    struct ethtool_channels *channels)
{
	struct ivshmem_net *in = netdev_priv(dev);
	unsigned int n = channels->combined_count;

	if (!n || channels->rx_count || channels->tx_count || channels->other_count)
		return -EINVAL;
	if (n > 1 && !in->extensions) {
		netdev_err(dev, "more than one queue needs the private flag \"extensions\"\n");
		return -EOPNOTSUPP;
	}
	if (n > dev->num_tx_queues ||
	    dev->mtu > ivshmem_net_max_mtu(in, n)) {
		netdev_err(dev, "the section has no room for %u queues with this MTU\n", n);
		return -ENOSPC;
	}
	if (n == in->offer.queues)
		return 0;
	in->offer.queues = n;
	dev->max_mtu = ivshmem_net_max_mtu(in, n);
	ivshmem_net_restart(in);
	return 0;
}

static int ivshmem_net_get_coalesce(struct net_device *dev,
				    struct ethtool_coalesce *coalesce,
				    struct kernel_ethtool_coalesce *kernel_coalesce,
				    struct netlink_ext_ack *extack)
{
	struct ivshmem_net *in = netdev_priv(dev);

	coalesce->rx_coalesce_usecs = in->rx_poll_us;
	return 0;
}

/* For so long the receiver looks before it asks for a doorbell again */
static int ivshmem_net_set_coalesce(struct net_device *dev,
				    struct ethtool_coalesce *coalesce,
				    struct kernel_ethtool_coalesce *kernel_coalesce,
				    struct netlink_ext_ack *extack)
{
	struct ivshmem_net *in = netdev_priv(dev);

	if (coalesce->rx_coalesce_usecs > IVSHMEM_NET_MAX_POLL_US) {
		NL_SET_ERR_MSG_MOD(extack, "rx-usecs is the time to poll, 100000 at most");
		return -ERANGE;
	}
	WRITE_ONCE(in->rx_poll_us, coalesce->rx_coalesce_usecs);
	return 0;
}

static u32 ivshmem_net_get_priv_flags(struct net_device *dev)
{
	struct ivshmem_net *in = netdev_priv(dev);

	return in->extensions ? BIT(IVSHMEM_NET_FLAG_EXTENSIONS) : 0;
}

static int ivshmem_net_set_priv_flags(struct net_device *dev, u32 flags)
{
	struct ivshmem_net *in = netdev_priv(dev);
	bool extensions = flags & BIT(IVSHMEM_NET_FLAG_EXTENSIONS);

	if (extensions == in->extensions)
		return 0;
	if (!extensions && in->offer.queues > 1) {
		netdev_err(dev, "several queues need extensions; set one first\n");
		return -EBUSY;
	}
	in->extensions = extensions;
	ivshmem_net_restart(in);
	return 0;
}

/* Of all queues that there may be, so that the names do not change */
static int ivshmem_net_get_sset_count(struct net_device *dev, int set)
{
	switch (set) {
	case ETH_SS_STATS:
		return ARRAY_SIZE(ivshmem_net_names) + dev->num_tx_queues *
		       (IVSHMEM_NET_TX_STATS + IVSHMEM_NET_RX_STATS);
	case ETH_SS_PRIV_FLAGS:
		return IVSHMEM_NET_FLAGS;
	default:
		return -EOPNOTSUPP;
	}
}

static void ivshmem_net_get_stat_names(const struct ivshmem_net *in, u8 *data)
{
	unsigned int i, q;

	memcpy(data, ivshmem_net_names, sizeof(ivshmem_net_names));
	data += sizeof(ivshmem_net_names);
	for (q = 0; q < in->dev->num_tx_queues; q++) {
		for (i = 0; i < IVSHMEM_NET_TX_STATS; i++)
			ethtool_sprintf(&data, "tx_queue_%u_%s", q, ivshmem_net_tx_names[i]);
		for (i = 0; i < IVSHMEM_NET_RX_STATS; i++)
			ethtool_sprintf(&data, "rx_queue_%u_%s", q, ivshmem_net_rx_names[i]);
	}
}

static void ivshmem_net_get_strings(struct net_device *dev, u32 set, u8 *data)
{
	if (set == ETH_SS_STATS)
		ivshmem_net_get_stat_names(netdev_priv(dev), data);
	else if (set == ETH_SS_PRIV_FLAGS)
		memcpy(data, ivshmem_net_flag_names, sizeof(ivshmem_net_flag_names));
}

static void ivshmem_net_get_ethtool_stats(struct net_device *dev,
					  struct ethtool_stats *stats, u64 *data)
{
	struct ivshmem_net *in = netdev_priv(dev);
	const struct ivshmem_net_queue *q;

	data = ivshmem_net_own_stats(in, data);
	for (q = in->queue; q < in->queue + dev->num_tx_queues; q++) {
		ivshmem_net_read_stats(&q->tx_sync, q->tx_stats,
				       IVSHMEM_NET_TX_STATS, data);
		data += IVSHMEM_NET_TX_STATS;
		ivshmem_net_read_stats(&q->rx_sync, q->rx_stats,
				       IVSHMEM_NET_RX_STATS, data);
		data += IVSHMEM_NET_RX_STATS;
	}
}

const struct ethtool_ops ivshmem_net_ethtool_ops = {
	.supported_coalesce_params = ETHTOOL_COALESCE_RX_USECS,
	.get_drvinfo = ivshmem_net_get_drvinfo,
	.get_regs_len = ivshmem_net_get_regs_len,
	.get_regs = ivshmem_net_get_regs,
	.get_link = ethtool_op_get_link,
	.get_link_ksettings = ivshmem_net_get_link_ksettings,
	.get_ringparam = ivshmem_net_get_ringparam,
	.get_channels = ivshmem_net_get_channels,
	.set_channels = ivshmem_net_set_channels,
	.get_coalesce = ivshmem_net_get_coalesce,
	.set_coalesce = ivshmem_net_set_coalesce,
	.get_priv_flags = ivshmem_net_get_priv_flags,
	.set_priv_flags = ivshmem_net_set_priv_flags,
	.get_sset_count = ivshmem_net_get_sset_count,
	.get_strings = ivshmem_net_get_strings,
	.get_ethtool_stats = ivshmem_net_get_ethtool_stats,
	.get_ts_info = ethtool_op_get_ts_info,
};
