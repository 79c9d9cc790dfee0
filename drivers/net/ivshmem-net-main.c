// SPDX-License-Identifier: GPL-2.0
/*
 * Ethernet between two peers over ivshmem: a cable without a switch. Each side
 * sends from its own output section and reads the peer's.
 *
 * This file has the device, its interrupts, and the link: the carrier follows
 * the states of both sides. All steps of the link are taken under RTNL; what
 * the next step is, ivshmem-net-link.h decides. Sending and receiving are in
 * files of their own.
 *
 * The peer is not trusted. If it breaks a rule of the rings, the link goes
 * through RESET, after which both sides start with empty rings.
 *
 * Implements "States" and "Extension" of Documentation/ivshmem/net.rst.
 */
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/module.h>
#include <linux/rtnetlink.h>

#include "compat-net.h"
#include "ivshmem-net.h"

#define IVSHMEM_NET_TICK_MS	1000
/* For so long there is no link with a peer that broke a rule */
#define IVSHMEM_NET_HOLD_MS	1000
/* A peer that changes its state again and again is looked at so often */
#define IVSHMEM_NET_LINK_MS	2
/* What a peer can make us say is limited */
#define IVSHMEM_NET_NEWS_INTERVAL (30 * HZ)
/* More than the way from RUN to RUN */
#define IVSHMEM_NET_LINK_STEPS	8

/* So many interrupts with nothing to do, and the vector pauses for a while */
#define IVSHMEM_NET_STORM	512
#define IVSHMEM_NET_CALM_MS	10

#define IVSHMEM_NET_MIN_MTU_DIVISOR 16
#define IVSHMEM_NET_DEFAULT_MTU	16384
#define IVSHMEM_NET_MAX_SHARE	4	/* of the data area, for one frame */

#define IVSHMEM_NET_HW_FEATURES						\
	(NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_TSO | NETIF_F_TSO_ECN |	\
	 NETIF_F_TSO6 | NETIF_F_GSO_UDP_L4)

#define IVSHMEM_NET_OFFLOADS						\
	(IVSHMEM_NET_F_CSUM | IVSHMEM_NET_F_TSO4 | IVSHMEM_NET_F_TSO6 |	\
	 IVSHMEM_NET_F_USO)

static u32 ivshmem_net_peer_state(const struct ivshmem_net *in)
{
	return ivshmem_peer_state(in->ivd, in->peer);
}

/* Bytes that the longest frame may have if there are so many queues */
static u32 ivshmem_net_frame_limit(const struct ivshmem_net *in,
				   unsigned int queues)
{
	struct ivn_ring_layout l;

	ivn_ring_queue_layout(&l, in->section_bytes, queues, 0);
	return min_t(u64, (l.send_end - l.data) / IVSHMEM_NET_MAX_SHARE,
		     sizeof(struct virtio_net_hdr) + IVSHMEM_NET_MAX_FRAME);
}

/**
 * ivshmem_net_max_mtu() - the largest MTU
 * @in: the device
 * @queues: that are offered
 *
 * Return: bytes.
 */
u32 ivshmem_net_max_mtu(const struct ivshmem_net *in, unsigned int queues)
{
	return min_t(u32, ivshmem_net_frame_limit(in, queues) -
		     sizeof(struct virtio_net_hdr) - VLAN_ETH_HLEN, ETH_MAX_MTU);
}

static void ivshmem_net_set_frames(struct ivshmem_net *in, u32 mtu)
{
	u32 frame = mtu + VLAN_ETH_HLEN;
	u32 gso = min(ivshmem_net_frame_limit(in, in->agreed.queues) - in->header,
		      in->agreed.max_gso);

	WRITE_ONCE(in->gso_max, gso < IVSHMEM_NET_MIN_GSO ? 0 : gso);
	WRITE_ONCE(in->tx_max, in->header + max(frame, in->gso_max));
}

/* The queues, under RTNL */

static int ivshmem_net_start_queue(struct ivshmem_net_queue *q)
{
	struct ivshmem_net *in = q->in;
	struct ivn_ring_layout l;
	int err;

	err = ivn_ring_queue_layout(&l, in->section_bytes, in->agreed.queues, q->index);
	if (err)
		return err;
	q->tx_private = kvzalloc(ivn_ring_tx_bytes(l.qlen), GFP_KERNEL);
	if (!q->tx_private)
		return -ENOMEM;
	err = ivshmem_net_rx_start(q);
	if (err) {
		kvfree(q->tx_private);
		return err;
	}
	q->doorbell = ivn_link_vector(&in->agreed, q->index);
	ivn_ring_tx_init(&q->tx, &l, in->mine, in->theirs, q->tx_private);
	ivn_ring_rx_init(&q->rx, &l, in->mine, in->theirs);
	return 0;
}

static void ivshmem_net_free_queues(struct ivshmem_net *in, unsigned int n)
{
	while (n--) {
		ivshmem_net_rx_stop(&in->queue[n]);
		kvfree(in->queue[n].tx_private);
	}
}

static void ivshmem_net_set_running(struct ivshmem_net_queue *q, bool running)
{
	struct netdev_queue *txq = ivshmem_net_txq(q);

	__netif_tx_lock_bh(txq);
	if (running)
		netdev_tx_reset_queue(txq);
	q->running = running;
	__netif_tx_unlock_bh(txq);
}

static int ivshmem_net_start(struct ivshmem_net *in)
{
	unsigned int i, n = in->agreed.queues;
	int err;

	err = netif_set_real_num_queues(in->dev, n, n);
	if (err)
		return err;
	for (i = 0; i < n; i++) {
		err = ivshmem_net_start_queue(&in->queue[i]);
		if (err) {
			ivshmem_net_free_queues(in, i);
			return err;
		}
	}
	ivshmem_net_set_frames(in, in->dev->mtu);
	for (i = 0; i < n; i++) {
		napi_enable(&in->queue[i].napi);
		ivshmem_net_set_running(&in->queue[i], true);
	}
	WRITE_ONCE(in->started, true);
	netif_tx_wake_all_queues(in->dev);
	return 0;
}

static void ivshmem_net_look_at_queues(struct ivshmem_net *in)
{
	unsigned int i;

	local_bh_disable();
	for (i = 0; i < in->dev->num_tx_queues; i++)
		napi_schedule(&in->queue[i].napi);	/* if it is enabled */
	local_bh_enable();
}

static void ivshmem_net_stop(struct ivshmem_net *in)
{
	unsigned int i, n = in->agreed.queues;

	if (!in->started)
		return;
	WRITE_ONCE(in->started, false);
	netif_tx_disable(in->dev);
	for (i = 0; i < n; i++)
		ivshmem_net_set_running(&in->queue[i], false);
	for (i = 0; i < n; i++)
		napi_disable(&in->queue[i].napi);
	ivshmem_net_free_queues(in, n);
}

/* The link, under RTNL */

static void ivshmem_net_set_state(struct ivshmem_net *in, enum ivn_link_state state)
{
	WRITE_ONCE(in->state, state);
	ivshmem_set_state(in->ivd, state);
}

/* What we take, which XDP limits to plain frames of one page */
static void ivshmem_net_make_offer(struct ivshmem_net *in)
{
	bool xdp = rtnl_dereference(in->xdp);

	in->offer.features = IVSHMEM_NET_F_VNET_HDR | (xdp ? 0 : IVSHMEM_NET_OFFLOADS);
	in->offer.max_frame = xdp ? IVSHMEM_NET_XDP_FRAME : IVSHMEM_NET_MAX_FRAME;
	in->offer.max_gso = in->offer.max_frame;
	in->offer.vectors = in->ivd->vectors;
}

static void ivshmem_net_prepare(struct ivshmem_net *in)
{
	ivshmem_net_make_offer(in);
	/* cannot fail: probe looked at the size of the section */
	ivn_link_prepare(in->mine, in->section_bytes,
			 in->extensions ? &in->offer : NULL);
}

static void ivshmem_net_agree(struct ivshmem_net *in)
{
	struct ivn_link_offer peer;
	bool extended = ivn_link_read_offer(&peer, in->theirs, in->section_bytes);

	ivn_link_agree(&in->agreed, in->extensions ? &in->offer : NULL,
		       extended ? &peer : NULL, in->ivd->vectors);
	in->header = in->agreed.vnet_hdr ? sizeof(struct virtio_net_hdr) : 0;
	in->connected = true;
}

static void ivshmem_net_say_up(struct ivshmem_net *in)
{
	const struct ivn_link_agreed *a = &in->agreed;

	if (!__ratelimit(&in->news))
		return;
	netdev_info(in->dev, "link up, %u queue(s)%s%s%s\n", a->queues,
		    a->vnet_hdr ? ", extended" : "",
		    a->features & IVSHMEM_NET_F_CSUM ? ", checksum" : "",
		    in->agreed.features & IVSHMEM_NET_F_TSO4 ? ", segmentation" : "");
}

static void ivshmem_net_connect(struct ivshmem_net *in)
{
	int err;

	if (!in->connected) {
		/* the offer after the state; partner: ivshmem_set_state() */
		virt_rmb();
		ivshmem_net_agree(in);
		ivshmem_net_say_up(in);
	}
	if (netif_running(in->dev) && !in->started) {
		err = ivshmem_net_start(in);
		if (err) {	/* the next tick tries again */
			netdev_err(in->dev, "cannot start: error %d\n", err);
			return;
		}
		ivshmem_net_set_state(in, IVN_LINK_STATE_RUN);
		ivshmem_net_look_at_queues(in);
	}
	netif_carrier_on(in->dev);
}

static void ivshmem_net_disconnect(struct ivshmem_net *in)
{
	netif_carrier_off(in->dev);
	ivshmem_net_stop(in);
	if (!in->connected)
		return;
	in->connected = false;
	/*
	 * The stack looks at the carrier up to a second later, when there may
	 * be a new peer. It must not go on with the address of this one.
	 */
	if (netif_running(in->dev))
		netdev_state_change(in->dev);
	in->resets++;
	if (__ratelimit(&in->news))
		netdev_info(in->dev, "link down\n");
}

static void ivshmem_net_reset(struct ivshmem_net *in)
{
	ivshmem_net_disconnect(in);
	ivshmem_net_set_state(in, IVN_LINK_STATE_RESET);
}

/* Returns true if there may be another step to take */
static bool ivshmem_net_step(struct ivshmem_net *in)
{
	switch (ivn_link_decide(in->state, ivshmem_net_peer_state(in))) {
	case IVN_LINK_INIT:
		ivshmem_net_set_state(in, IVN_LINK_STATE_INIT);
		return true;
	case IVN_LINK_PREPARE:
		ivshmem_net_prepare(in);
		ivshmem_net_set_state(in, IVN_LINK_STATE_READY);
		return true;
	case IVN_LINK_CONNECT:
		ivshmem_net_connect(in);
		break;
	case IVN_LINK_RESET:
		ivshmem_net_reset(in);
		return true;
	case IVN_LINK_WAIT:
	case IVN_LINK_KEEP:
		break;
	}
	return false;
}

static void ivshmem_net_queue_link(struct ivshmem_net *in, unsigned int ms)
{
	if (!READ_ONCE(in->removing))
		schedule_delayed_work(&in->link, msecs_to_jiffies(ms));
}

/* As far as it goes; a peer that always has a next step does not keep us */
static void ivshmem_net_steps(struct ivshmem_net *in)
{
	int i;

	if (READ_ONCE(in->removing) || !netif_device_present(in->dev))
		return;
	if (READ_ONCE(in->broken)) {
		ivshmem_net_reset(in);
		WRITE_ONCE(in->broken, false);
		in->held = jiffies + msecs_to_jiffies(IVSHMEM_NET_HOLD_MS);
		ivshmem_net_queue_link(in, IVSHMEM_NET_HOLD_MS);
	}
	if (time_before(jiffies, in->held))
		return;
	for (i = 0; i < IVSHMEM_NET_LINK_STEPS; i++)
		if (!ivshmem_net_step(in))
			return;
	ivshmem_net_queue_link(in, IVSHMEM_NET_LINK_MS);
}

/*
 * A peer that always has frames for us would keep programs from the processor,
 * those that are to take the frames among them: the scheduler has to decide.
 * Without load, a thread would be a detour. What users set, stays.
 */
static void ivshmem_net_set_threaded(struct ivshmem_net *in, bool threaded)
{
	if (READ_ONCE(in->removing) || threaded == in->threaded ||
	    (threaded && in->dev->threaded))
		return;
	if (!dev_set_threaded(in->dev, threaded))
		WRITE_ONCE(in->threaded, threaded);
}

static void ivshmem_net_link_work(struct work_struct *work)
{
	struct ivshmem_net *in = container_of(to_delayed_work(work),
					      struct ivshmem_net, link);

	rtnl_lock();
	ivshmem_net_steps(in);
	if (READ_ONCE(in->loaded))
		ivshmem_net_set_threaded(in, true);
	rtnl_unlock();
}

/**
 * ivshmem_net_loaded() - polling takes most of the time
 * @in: the device
 *
 * Softirq context, or NAPI's thread.
 */
void ivshmem_net_loaded(struct ivshmem_net *in)
{
	if (READ_ONCE(in->loaded))
		return;
	WRITE_ONCE(in->loaded, true);
	ivshmem_net_queue_link(in, 0);
}

/* Returns whether there was a load since the last tick */
static bool ivshmem_net_take_load(struct ivshmem_net *in)
{
	bool loaded = READ_ONCE(in->loaded);

	WRITE_ONCE(in->loaded, false);
	return loaded;
}

/**
 * ivshmem_net_restart() - both sides start anew, with what we offer now
 * @in: the device
 *
 * Under RTNL.
 */
void ivshmem_net_restart(struct ivshmem_net *in)
{
	ivshmem_net_reset(in);
	ivshmem_net_steps(in);
}

/**
 * ivshmem_net_violation() - the peer broke a rule of the rings
 * @q: the queue
 * @what: it did
 *
 * Any context. The link is reset soon; until then nothing is received.
 */
void ivshmem_net_violation(struct ivshmem_net_queue *q, const char *what)
{
	struct ivshmem_net *in = q->in;

	if (READ_ONCE(in->broken))
		return;
	WRITE_ONCE(in->broken, true);
	if (__ratelimit(&in->complaints))
		netdev_err(in->dev, "queue %u: peer %s, resetting the link\n",
			   q->index, what);
	ivshmem_net_queue_link(in, 0);
}

/* Whether there is a step to take; reads no more than the State Table */
static bool ivshmem_net_link_is_due(const struct ivshmem_net *in)
{
	if (READ_ONCE(in->broken))
		return true;
	switch (ivn_link_decide(READ_ONCE(in->state), ivshmem_net_peer_state(in))) {
	case IVN_LINK_WAIT:
	case IVN_LINK_KEEP:
		return false;
	case IVN_LINK_CONNECT:
		return !netif_carrier_ok(in->dev) ||
		       (netif_running(in->dev) && !READ_ONCE(in->started));
	default:
		return true;
	}
}

/* Events to a masked vector are lost, and so are pulses of INTx */
static void ivshmem_net_tick_work(struct work_struct *work)
{
	struct ivshmem_net *in = container_of(to_delayed_work(work),
					      struct ivshmem_net, tick);

	if (ivshmem_net_link_is_due(in))
		ivshmem_net_queue_link(in, 0);
	if (!ivshmem_net_take_load(in) && READ_ONCE(in->threaded)) {
		rtnl_lock();
		ivshmem_net_set_threaded(in, false);
		rtnl_unlock();
	}
	ivshmem_net_look_at_queues(in);
	schedule_delayed_work(&in->tick, msecs_to_jiffies(IVSHMEM_NET_TICK_MS));
}

/* Interrupts */

static void ivshmem_net_serve(struct ivshmem_net_vector *v)
{
	struct ivshmem_net *in = v->in;

	if (v->queue) {
		napi_schedule(&v->queue->napi);
		return;
	}
	if (ivshmem_net_link_is_due(in)) {
		WRITE_ONCE(v->idle, 0);
		ivshmem_net_queue_link(in, IVSHMEM_NET_LINK_MS);
	}
	/* With one vector there is one queue; and a peer may think so of us */
	napi_schedule(&in->queue[0].napi);
}

static irqreturn_t ivshmem_net_interrupt(int irq, void *data)
{
	struct ivshmem_net_vector *v = data;
	unsigned int idle;

	ivshmem_net_serve(v);
	/* Others clear it, and one more or less does not make a storm */
	idle = READ_ONCE(v->idle) + 1;
	WRITE_ONCE(v->idle, idle);
	if (idle > IVSHMEM_NET_STORM && v->in->ivd->pdev->msix_enabled) {
		atomic64_inc(&v->in->storms);
		disable_irq_nosync(irq);
		schedule_delayed_work(&v->calm, msecs_to_jiffies(IVSHMEM_NET_CALM_MS));
	}
	return IRQ_HANDLED;
}

static void ivshmem_net_calm_work(struct work_struct *work)
{
	struct ivshmem_net_vector *v = container_of(to_delayed_work(work),
						    struct ivshmem_net_vector, calm);

	WRITE_ONCE(v->idle, 0);
	enable_irq(v->irq);
	local_bh_disable();
	ivshmem_net_serve(v);
	local_bh_enable();
}

static int ivshmem_net_request_vector(struct ivshmem_net *in, unsigned int i)
{
	struct ivshmem_net_vector *v = &in->vectors[i];

	v->in = in;
	v->queue = i ? &in->queue[i - 1] : NULL;
	v->irq = pci_irq_vector(in->ivd->pdev, i);
	if (i)
		snprintf(v->name, sizeof(v->name), "ivn-%s-%u",
			 pci_name(in->ivd->pdev), i - 1);
	else
		snprintf(v->name, sizeof(v->name), "ivn-%s-link",
			 pci_name(in->ivd->pdev));
	INIT_DELAYED_WORK(&v->calm, ivshmem_net_calm_work);
	return request_irq(v->irq, ivshmem_net_interrupt,
			   in->ivd->pdev->msix_enabled ? 0 : IRQF_SHARED,
			   v->name, v);
}

static void ivshmem_net_free_vectors(struct ivshmem_net *in, unsigned int n)
{
	while (n--) {
		/* The device is quiet: what still runs is the last; then nobody enables it */
		synchronize_irq(in->vectors[n].irq);
		cancel_delayed_work_sync(&in->vectors[n].calm);
		free_irq(in->vectors[n].irq, &in->vectors[n]);
	}
}

static int ivshmem_net_request_vectors(struct ivshmem_net *in)
{
	unsigned int i;
	int err;

	for (i = 0; i < in->num_vectors; i++) {
		err = ivshmem_net_request_vector(in, i);
		if (err) {
			ivshmem_net_free_vectors(in, i);
			return dev_err_probe(&in->ivd->pdev->dev, err,
					     "cannot get interrupt %u\n", i);
		}
	}
	return 0;
}

/* Operations of the network device, under RTNL unless said otherwise */

static int ivshmem_net_open(struct net_device *dev)
{
	ivshmem_net_steps(netdev_priv(dev));
	return 0;
}

static int ivshmem_net_close(struct net_device *dev)
{
	ivshmem_net_restart(netdev_priv(dev));
	return 0;
}

static int ivshmem_net_change_mtu(struct net_device *dev, int mtu)
{
	struct ivshmem_net *in = netdev_priv(dev);

	if (rtnl_dereference(in->xdp) && mtu + VLAN_ETH_HLEN > IVSHMEM_NET_XDP_FRAME) {
		netdev_err(dev, "MTU %d does not fit into a page, as XDP wants it\n", mtu);
		return -EINVAL;
	}
	WRITE_ONCE(dev->mtu, mtu);
	if (in->started)
		ivshmem_net_set_frames(in, mtu);
	return 0;
}

static int ivshmem_net_set_xdp(struct ivshmem_net *in, struct bpf_prog *prog,
			       struct netlink_ext_ack *extack)
{
	struct bpf_prog *old = rtnl_dereference(in->xdp);

	if (prog && in->dev->mtu + VLAN_ETH_HLEN > IVSHMEM_NET_XDP_FRAME) {
		NL_SET_ERR_MSG_MOD(extack, "MTU is too large for XDP: one page a frame");
		return -EOPNOTSUPP;
	}
	rcu_assign_pointer(in->xdp, prog);
	if (old)
		bpf_prog_put(old);
	/* What we take has changed; the peer has to know */
	if (!old != !prog && in->extensions)
		ivshmem_net_restart(in);
	return 0;
}

static int ivshmem_net_bpf(struct net_device *dev, struct netdev_bpf *bpf)
{
	switch (bpf->command) {
	case XDP_SETUP_PROG:
		return ivshmem_net_set_xdp(netdev_priv(dev), bpf->prog, bpf->extack);
	default:
		return -EINVAL;
	}
}

/**
 * ivshmem_net_read_stats() - counters of one direction of a queue, all at once
 * @sync: of them
 * @stats: the counters
 * @n: how many
 * @data: filled with @n values
 *
 * Any context.
 */
void ivshmem_net_read_stats(const struct u64_stats_sync *sync,
			    const u64_stats_t *stats, unsigned int n, u64 *data)
{
	unsigned int i, start;

	do {
		start = u64_stats_fetch_begin(sync);
		for (i = 0; i < n; i++)
			data[i] = u64_stats_read(&stats[i]);
	} while (u64_stats_fetch_retry(sync, start));
}

/* Any context */
static void ivshmem_net_get_stats64(struct net_device *dev,
				    struct rtnl_link_stats64 *stats)
{
	struct ivshmem_net *in = netdev_priv(dev);
	u64 tx[IVSHMEM_NET_TX_STATS], rx[IVSHMEM_NET_RX_STATS];
	const struct ivshmem_net_queue *q;

	for (q = in->queue; q < in->queue + dev->num_tx_queues; q++) {
		ivshmem_net_read_stats(&q->tx_sync, q->tx_stats, IVSHMEM_NET_TX_STATS, tx);
		ivshmem_net_read_stats(&q->rx_sync, q->rx_stats, IVSHMEM_NET_RX_STATS, rx);
#define TX(name) tx[IVSHMEM_NET_TX_##name]
#define RX(name) rx[IVSHMEM_NET_RX_##name]
		stats->tx_packets += TX(PACKETS);
		stats->tx_bytes += TX(BYTES);
		stats->tx_dropped += TX(DROPPED) + TX(TOO_LONG) + TX(XDP_FULL);
		stats->tx_errors += TX(VIOLATIONS);
		stats->rx_packets += RX(PACKETS);
		stats->rx_bytes += RX(BYTES);
		stats->rx_dropped += RX(NO_MEMORY) + RX(XDP_DROP);
		stats->rx_length_errors += RX(TOO_LONG);
		stats->rx_frame_errors += RX(BAD_HEADER);
		stats->rx_errors += RX(TOO_LONG) + RX(BAD_HEADER) +
				    RX(VIOLATIONS) + RX(XDP_ERRORS);
#undef TX
#undef RX
	}
}

/* Names of udev tell a cable from a card: enp0s16niv0 */
static int ivshmem_net_get_phys_port_name(struct net_device *dev, char *name,
					  size_t len)
{
	struct ivshmem_net *in = netdev_priv(dev);
	int n = snprintf(name, len, "iv%u", in->ivd->id);

	return n < 0 || n >= len ? -EINVAL : 0;
}

static const struct net_device_ops ivshmem_net_ops = {
	.ndo_open = ivshmem_net_open,
	.ndo_stop = ivshmem_net_close,
	.ndo_start_xmit = ivshmem_net_start_xmit,
	.ndo_features_check = ivshmem_net_features_check,
	.ndo_change_mtu = ivshmem_net_change_mtu,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_get_stats64 = ivshmem_net_get_stats64,
	.ndo_get_phys_port_name = ivshmem_net_get_phys_port_name,
	.ndo_bpf = ivshmem_net_bpf,
	.ndo_xdp_xmit = ivshmem_net_xdp_xmit,
};

/* The PCI driver */

static int ivshmem_net_check_device(struct ivshmem_device *ivd)
{
	struct device *dev = &ivd->pdev->dev;
	struct ivn_ring_layout l;

	if (ivd->max_peers != 2)
		return dev_err_probe(dev, -EINVAL, "a cable has 2 ends, not %u\n",
				     ivd->max_peers);
	if (ivn_ring_layout(&l, ivd->layout.output_size))
		return dev_err_probe(dev, -EINVAL,
				     "output section of 0x%llx bytes is too small for a ring and 4 frames\n",
				     ivd->layout.output_size);
	if (ivshmem_layout_output(&ivd->layout, 0) + 2 * ivd->layout.output_size >
	    ivd->layout.size)
		return dev_err_probe(dev, -EINVAL, "no output section\n");
	return 0;
}

static void ivshmem_net_init_queue(struct ivshmem_net *in, unsigned int i)
{
	struct ivshmem_net_queue *q = &in->queue[i];

	q->in = in;
	q->index = i;
	q->vector = &in->vectors[i + 1 < in->num_vectors ? i + 1 : 0];
	u64_stats_init(&q->tx_sync);
	u64_stats_init(&q->rx_sync);
	netif_napi_add(in->dev, &q->napi, ivshmem_net_poll);
}

static void ivshmem_net_init(struct ivshmem_net *in, struct ivshmem_device *ivd)
{
	const struct ivshmem_layout *l = &ivd->layout;
	unsigned int i;

	in->ivd = ivd;
	in->peer = !ivd->id;
	/* A peer can ring all that the device has, also where no queue is */
	in->num_vectors = min(ivd->vectors, in->dev->num_tx_queues + 1);
	in->section_bytes = l->output_size;
	in->mine = ivd->shmem + ivshmem_layout_output(l, ivd->id);
	in->theirs = ivd->shmem + ivshmem_layout_output(l, in->peer);
	in->held = jiffies;
	in->extensions = true;
	in->offer.queues = 1;
	in->agreed.queues = 1;
	ratelimit_state_init(&in->news, IVSHMEM_NET_NEWS_INTERVAL, 10);
	ratelimit_set_flags(&in->news, RATELIMIT_MSG_ON_RELEASE);
	ratelimit_state_init(&in->complaints, IVSHMEM_NET_NEWS_INTERVAL, 2);
	ratelimit_set_flags(&in->complaints, RATELIMIT_MSG_ON_RELEASE);
	INIT_DELAYED_WORK(&in->link, ivshmem_net_link_work);
	INIT_DELAYED_WORK(&in->tick, ivshmem_net_tick_work);
	for (i = 0; i < in->dev->num_tx_queues; i++)
		ivshmem_net_init_queue(in, i);
}

static void ivshmem_net_init_dev(struct ivshmem_net *in)
{
	struct net_device *dev = in->dev;
	struct ivn_ring_layout l;

	ivn_ring_layout(&l, in->section_bytes);
	eth_hw_addr_random(dev);	/* udev replaces it by one that stays */
	dev->netdev_ops = &ivshmem_net_ops;
	dev->ethtool_ops = &ivshmem_net_ethtool_ops;
	dev->hw_features = IVSHMEM_NET_HW_FEATURES;
	dev->features = dev->hw_features | NETIF_F_HIGHDMA;
	dev->vlan_features = dev->features;
	dev->priv_flags |= IFF_LIVE_ADDR_CHANGE;
	dev->min_mtu = ETH_MIN_MTU;
	dev->max_mtu = ivshmem_net_max_mtu(in, 1);
	dev->mtu = clamp_t(u64, (l.send_end - l.data) / IVSHMEM_NET_MIN_MTU_DIVISOR,
			   ETH_MIN_MTU, min_t(u32, IVSHMEM_NET_DEFAULT_MTU, dev->max_mtu));
	xdp_set_features_flag(dev, NETDEV_XDP_ACT_BASIC | NETDEV_XDP_ACT_REDIRECT |
				   NETDEV_XDP_ACT_NDO_XMIT);
	netif_carrier_off(dev);
}

static int ivshmem_net_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct ivshmem_device *ivd;
	struct ivshmem_net *in;
	struct net_device *dev;
	int err;

	ivd = ivshmem_enable(pdev);
	if (IS_ERR(ivd))
		return PTR_ERR(ivd);
	err = ivshmem_net_check_device(ivd);
	if (!err)
		err = ivshmem_alloc_vectors(ivd, clamp(pci_msix_vec_count(pdev), 1,
						       IVSHMEM_NET_MAX_QUEUES + 1));
	if (err)
		return err;

	dev = alloc_etherdev_mq(sizeof(*in), ivn_ring_max_queues(ivd->layout.output_size,
								 ivd->vectors));
	if (!dev)
		return -ENOMEM;
	SET_NETDEV_DEV(dev, &pdev->dev);
	in = netdev_priv(dev);
	in->dev = dev;
	ivshmem_net_init(in, ivd);
	ivshmem_net_init_dev(in);
	pci_set_drvdata(pdev, in);

	err = netif_set_real_num_queues(dev, 1, 1);
	if (!err)
		err = register_netdev(dev);
	if (err)
		goto err_free_dev;
	err = ivshmem_net_request_vectors(in);
	if (err)
		goto err_unregister;
	ivshmem_int_enable(ivd, true);
	schedule_delayed_work(&in->tick, 0);
	return 0;

err_unregister:
	WRITE_ONCE(in->removing, true);
	unregister_netdev(dev);
	cancel_delayed_work_sync(&in->link);
err_free_dev:
	free_netdev(dev);
	return err;
}

static void ivshmem_net_remove(struct pci_dev *pdev)
{
	struct ivshmem_net *in = pci_get_drvdata(pdev);

	WRITE_ONCE(in->removing, true);
	cancel_delayed_work_sync(&in->tick);
	unregister_netdev(in->dev);
	ivshmem_quiesce(in->ivd);
	ivshmem_net_free_vectors(in, in->num_vectors);
	cancel_delayed_work_sync(&in->link);
	free_netdev(in->dev);
}

static void ivshmem_net_shutdown(struct pci_dev *pdev)
{
	struct ivshmem_net *in = pci_get_drvdata(pdev);

	WRITE_ONCE(in->removing, true);
	cancel_delayed_work_sync(&in->tick);
	ivshmem_quiesce(in->ivd);
}

static const struct pci_device_id ivshmem_net_ids[] = {
	{ PCI_DEVICE(IVSHMEM_VENDOR_ID, IVSHMEM_DEVICE_ID),
	  .class = IVSHMEM_CLASS_BASE | IVSHMEM_PROTO_NET,
	  .class_mask = 0xffffff },
	{ }
};
MODULE_DEVICE_TABLE(pci, ivshmem_net_ids);

static struct pci_driver ivshmem_net_driver = {
	.name = KBUILD_MODNAME,
	.id_table = ivshmem_net_ids,
	.probe = ivshmem_net_probe,
	.remove = ivshmem_net_remove,
	.shutdown = ivshmem_net_shutdown,
};
module_pci_driver(ivshmem_net_driver);

MODULE_DESCRIPTION("Ethernet between two peers over ivshmem");
MODULE_AUTHOR("The ivshmem developers");
MODULE_LICENSE("GPL");
