// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem-tap: one end of the cable, between the rings in the sections and an
 * interface. Frames are read from the interface into the section and written
 * to it from there, without a copy in between.
 *
 * Implements Documentation/ivshmem/net.rst with one pair of queues.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <linux/ivshmem.h>

#include "tap.h"

#define TAP_CABLE_PEERS		2
#define TAP_CABLE_OPEN_MS	5000
#define TAP_CABLE_BATCH		64	/* frames before others get their turn */
#define TAP_CABLE_MOVES		4	/* from RESET to RUN at once */
#define TAP_CABLE_HOLD_MS	1000	/* in RESET, after a fault of the peer */
#define TAP_CABLE_COMPLAIN_MS	10000	/* between words about such faults */

/* Without offer an old peer takes a quarter of the data area */
#define TAP_CABLE_SHARE		4

/* Segments are left to the peer if it takes all sizes and there is room for some */
#define TAP_CABLE_MIN_GSO	65536
#define TAP_CABLE_MIN_LARGE	4

/* For frames of the usual MTU, until there is a longer one */
#define TAP_CABLE_FIRST_ROOM	(1500 + 14 + 4)

#define TAP_CABLE_GSO	(IVSHMEM_NET_F_TSO4 | IVSHMEM_NET_F_TSO6 | IVSHMEM_NET_F_USO)

static const char *const tap_cable_states[] = {
	[IVN_LINK_STATE_RESET] = "RESET",
	[IVN_LINK_STATE_INIT] = "INIT",
	[IVN_LINK_STATE_READY] = "READY",
	[IVN_LINK_STATE_RUN] = "RUN",
};

static int64_t tap_cable_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* ---- the link ---- */

bool tap_cable_is_up(const struct tap_cable *c)
{
	return c->state == IVN_LINK_STATE_RUN;
}

static enum ivn_link_action tap_cable_decide(const struct tap_cable *c)
{
	return ivn_link_decide(c->state, ivshmem_get_state(c->peer, c->other));
}

static void tap_cable_set_state(struct tap_cable *c, enum ivn_link_state state)
{
	c->state = state;
	ivshmem_set_state(c->peer, state);
	if (c->verbose)
		tap_log("state %s", tap_cable_states[state]);
}

static size_t tap_cable_hdr_bytes(const struct tap_cable *c)
{
	return c->agreed.vnet_hdr ? sizeof(struct virtio_net_hdr) : 0;
}

/* What the interface may make use of */
static uint32_t tap_cable_features(const struct tap_cable *c)
{
	uint64_t large = ivn_ring_frame_bytes(TAP_MAX_FRAME + tap_cable_hdr_bytes(c));

	if (c->agreed.max_gso < TAP_CABLE_MIN_GSO ||
	    c->tx.end - c->tx.start < TAP_CABLE_MIN_LARGE * large)
		return c->agreed.features & ~TAP_CABLE_GSO;
	return c->agreed.features;
}

static uint32_t tap_cable_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void tap_cable_set_limits(struct tap_cable *c)
{
	uint64_t area = c->tx.end - c->tx.start;
	uint64_t most = area - IVSHMEM_NET_FRAME_EXTRA - tap_cable_hdr_bytes(c);
	uint64_t told = c->agreed.max_frame ? c->agreed.max_frame : area / TAP_CABLE_SHARE;

	c->features = tap_cable_features(c);
	c->limit = tap_cable_min(tap_cable_min(told, most), TAP_MAX_FRAME);
	c->gso_limit = tap_cable_min(c->agreed.max_gso, TAP_MAX_FRAME);
	c->room = tap_cable_hdr_bytes(c) + tap_cable_min(c->limit, TAP_CABLE_FIRST_ROOM);
}

static void tap_cable_log_up(const struct tap_cable *c)
{
	uint32_t f = c->features;

	tap_log("link is up, frames of up to %u bytes,%s%s%s%s%s%s", c->limit,
		c->agreed.max_frame ? " extensions" : " no extensions",
		c->agreed.vnet_hdr ? " vnet_hdr" : "",
		f & IVSHMEM_NET_F_CSUM ? " csum" : "",
		f & IVSHMEM_NET_F_TSO4 ? " tso4" : "",
		f & IVSHMEM_NET_F_TSO6 ? " tso6" : "",
		f & IVSHMEM_NET_F_USO ? " uso" : "");
}

static const struct ivn_link_offer *tap_cable_offer(const struct tap_cable *c)
{
	return c->extended ? &c->offer : NULL;
}

static void tap_cable_connect(struct tap_cable *c)
{
	const void *theirs = ivshmem_input(c->peer, c->other);
	struct ivn_link_offer offer;
	bool told = ivn_link_read_offer(&offer, theirs, c->peer->output_size);

	ivn_link_agree(&c->agreed, tap_cable_offer(c), told ? &offer : NULL,
		       c->peer->vectors);
	ivn_ring_tx_init(&c->tx, &c->layout, c->peer->output, theirs, c->slots);
	ivn_ring_rx_init(&c->rx, &c->layout, c->peer->output, theirs);
	c->blocked = false;
	tap_cable_set_limits(c);
	tap_iface_set_features(c->iface, c->features);
	tap_iface_set_carrier(c->iface, true);
	tap_cable_set_state(c, IVN_LINK_STATE_RUN);
	if (c->verbose)
		tap_cable_log_up(c);
}

static void tap_cable_disconnect(struct tap_cable *c)
{
	bool was_up = tap_cable_is_up(c);

	tap_cable_set_state(c, IVN_LINK_STATE_RESET);
	if (!was_up)
		return;
	tap_iface_set_carrier(c->iface, false);
	if (c->verbose)
		tap_log("link is down");
}

/* Return: false if there is nothing to do until the peer moves */
static bool tap_cable_step(struct tap_cable *c)
{
	switch (tap_cable_decide(c)) {
	case IVN_LINK_INIT:
		tap_cable_set_state(c, IVN_LINK_STATE_INIT);
		return true;
	case IVN_LINK_PREPARE:
		ivn_link_prepare(c->peer->output, c->peer->output_size,
				 tap_cable_offer(c));
		tap_cable_set_state(c, IVN_LINK_STATE_READY);
		return true;
	case IVN_LINK_CONNECT:
		tap_cable_connect(c);
		return true;
	case IVN_LINK_RESET:
		tap_cable_disconnect(c);
		return true;
	default:
		return false;
	}
}

void tap_cable_look(struct tap_cable *c)
{
	int i;

	if (c->held_ms && tap_cable_now_ms() < c->held_ms)
		return;
	c->held_ms = 0;
	for (i = 0; i < TAP_CABLE_MOVES; i++)
		if (!tap_cable_step(c))
			return;
}

static void tap_cable_complain(struct tap_cable *c, const char *what)
{
	int64_t now_ms = tap_cable_now_ms();

	c->faults++;
	if (c->complained_ms && now_ms - c->complained_ms < TAP_CABLE_COMPLAIN_MS)
		return;
	tap_log("the peer broke the rules of the ring of %s: link reset (%u since the last time)",
		what, c->faults);
	c->complained_ms = now_ms;
	c->faults = 0;
}

/* A peer that starts over may have cleared its ring before we look again */
static void tap_cable_broken(struct tap_cable *c, const char *what)
{
	if (tap_cable_decide(c) == IVN_LINK_KEEP) {
		tap_cable_complain(c, what);
		c->held_ms = tap_cable_now_ms() + TAP_CABLE_HOLD_MS;
	}
	tap_cable_disconnect(c);
}

/* ---- frames ---- */

static void tap_cable_ring(const struct tap_cable *c)
{
	ivshmem_doorbell(c->peer, c->other, ivn_link_vector(&c->agreed, 0));
}

static bool tap_cable_hdr_valid(const struct virtio_net_hdr *hdr, uint32_t features)
{
	switch (hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return !(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) ||
		       features & IVSHMEM_NET_F_CSUM;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return features & IVSHMEM_NET_F_TSO4;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return features & IVSHMEM_NET_F_TSO6;
	default:
		return features & IVSHMEM_NET_F_USO;
	}
}

/* The counter of the reason why a frame must not go to the peer, or NULL */
static uint64_t *tap_cable_unsendable(struct tap_cable *c, size_t len,
				      const struct virtio_net_hdr *hdr)
{
	uint32_t limit = hdr->gso_type ? c->gso_limit : c->limit;

	if (!tap_cable_hdr_valid(hdr, c->features))
		return &c->stats.unsendable;
	if (len - tap_cable_hdr_bytes(c) > limit)
		return &c->stats.too_long;
	return NULL;
}

/* For a frame that is longer than what was reserved. Return: false if full */
static bool tap_cable_extend(struct tap_cable *c, const uint8_t *place, size_t len)
{
	uint8_t *wide = ivn_ring_tx_reserve(&c->tx, len);
	uint32_t had = c->room;

	c->room = len;
	if (!wide)
		return false;
	memmove(wide, place, had);
	memcpy(wide + had, c->iface->rest, len - had);
	return true;
}

/* Return: false if there is no frame, or no room for one */
static bool tap_cable_send_one(struct tap_cable *c)
{
	void *place = ivn_ring_tx_reserve(&c->tx, c->room);
	struct virtio_net_hdr hdr;
	uint64_t *dropped;
	size_t len;

	c->blocked = !place;
	if (!place)
		return false;
	len = tap_iface_read(c->iface, place, c->room, c->agreed.vnet_hdr, &hdr);
	if (!len)
		return false;
	dropped = tap_cable_unsendable(c, len, &hdr);
	if (!dropped && len > c->room && !tap_cable_extend(c, place, len))
		dropped = &c->stats.no_room;
	if (!dropped)
		ivn_ring_tx_commit(&c->tx, len);
	(*(dropped ? dropped : &c->stats.sent))++;
	return true;
}

/* From the interface. Return: true if there is more to do at once */
static bool tap_cable_send(struct tap_cable *c)
{
	__u64 bytes;
	int i;

	if (ivn_ring_tx_reclaim(&c->tx, c->tx.qlen, &bytes) < 0) {
		tap_cable_broken(c, "frames that it got");
		return false;
	}
	for (i = 0; i < TAP_CABLE_BATCH; i++)
		if (!tap_cable_send_one(c))
			break;
	if (ivn_ring_tx_publish(&c->tx))
		tap_cable_ring(c);
	return c->blocked && ivn_ring_tx_arm(&c->tx, ivn_ring_tx_pending(&c->tx) / 2);
}

static void tap_cable_take(struct tap_cable *c, const struct ivn_ring_frame *frame)
{
	if (tap_iface_write(c->iface, frame->data, frame->len, c->agreed.vnet_hdr))
		c->stats.received++;
	else
		c->stats.refused++;
	ivn_ring_rx_release(&c->rx, frame);
}

/* To the interface. Return: true if there is more to do at once */
static bool tap_cable_receive(struct tap_cable *c)
{
	struct ivn_ring_frame frame;
	int i, ret = 1;

	for (i = 0; i < TAP_CABLE_BATCH && ret > 0; i++) {
		ret = ivn_ring_rx_next(&c->rx, &frame);
		if (ret > 0)
			tap_cable_take(c, &frame);
	}
	if (ivn_ring_rx_publish(&c->rx))
		tap_cable_ring(c);
	if (ret < 0) {
		tap_cable_broken(c, "frames that it sent");
		return false;
	}
	return ret || ivn_ring_rx_arm(&c->rx);
}

bool tap_cable_move(struct tap_cable *c, bool readable)
{
	bool more = false;

	if (tap_cable_is_up(c))
		more = tap_cable_receive(c);
	if (tap_cable_is_up(c) && (readable || c->blocked))
		more |= tap_cable_send(c);
	return more;
}

/* ---- start and end ---- */

static int tap_cable_check(struct tap_cable *c, const char *device)
{
	const struct ivshmem_peer *peer = c->peer;

	if (peer->protocol != IVSHMEM_PROTO_NET) {
		tap_log("%s: protocol %04x is not Ethernet; the server needs -P 1",
			device, peer->protocol);
		return -EPROTONOSUPPORT;
	}
	if (peer->max_peers != TAP_CABLE_PEERS) {
		tap_log("%s: a cable has 2 ends, but the link %u peers; the server needs -n 2",
			device, peer->max_peers);
		return -EINVAL;
	}
	if (ivn_ring_queue_layout(&c->layout, peer->output_size, 1, 0)) {
		tap_log("%s: output sections of %zu bytes are too small; the server needs -o",
			device, peer->output_size);
		return -ENOSPC;
	}
	return 0;
}

static int tap_cable_init(struct tap_cable *c, struct tap_iface *iface, bool extensions)
{
	c->other = !c->peer->id;
	c->iface = iface;
	c->extended = extensions;
	c->offer = (struct ivn_link_offer) {
		.queues = 1,
		.features = iface->features,
		.max_frame = TAP_MAX_FRAME,
		.max_gso = TAP_MAX_FRAME,
		.vectors = c->peer->vectors,
	};
	c->slots = malloc(ivn_ring_tx_bytes(IVSHMEM_NET_MAX_QLEN));
	if (!c->slots) {
		tap_log("out of memory");
		return -ENOMEM;
	}
	/* A device that another process has open keeps the state it has */
	tap_cable_set_state(c, IVN_LINK_STATE_RESET);
	return 0;
}

int tap_cable_open(struct tap_cable *c, const char *device,
		   struct tap_iface *iface, bool extensions)
{
	int ret = ivshmem_open(&c->peer, device, TAP_CABLE_OPEN_MS);

	if (ret) {
		tap_log("%s", ivshmem_error());
		return ret;
	}
	ret = tap_cable_check(c, device);
	if (!ret)
		ret = tap_cable_init(c, iface, extensions);
	if (ret)
		ivshmem_close(c->peer);
	return ret;
}

void tap_cable_close(struct tap_cable *c)
{
	tap_cable_disconnect(c);
	ivshmem_close(c->peer);
	free(c->slots);
}
