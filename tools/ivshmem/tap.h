/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of ivshmem-tap share: its interface, its end of the cable. */
#ifndef TAP_H
#define TAP_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <ivshmem/ivshmem.h>
#include <ivshmem-net-link.h>
#include <linux/virtio_net.h>

/* An IP packet of the largest size with Ethernet header and VLAN tag */
#define TAP_MAX_FRAME	(65535 + 14 + 4)

/* A line on standard error */
void tap_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- tap-iface.c: the TAP interface ---- */

/**
 * struct tap_iface - an interface of the kernel; this program is its wire
 * @fd: of the wire, non-blocking
 * @name: as the kernel has it
 * @features: IVSHMEM_NET_F_* that frames written to it may use
 * @gone: it was deleted: nothing works any more
 * @rest: of the frame that was read last, what had no room
 *
 * A struct virtio_net_hdr goes with each frame; it is handed over behind
 * the scenes where the peer has none.
 */
struct tap_iface {
	int fd;
	char name[IFNAMSIZ];
	uint32_t features;
	bool gone;
	uint8_t rest[TAP_MAX_FRAME];
};

/* Attach to @name or create it; logs what failed. Return: 0 or -errno */
int tap_iface_open(struct tap_iface *iface, const char *name);
void tap_iface_close(struct tap_iface *iface);

/* What frames read from it may use */
void tap_iface_set_features(struct tap_iface *iface, uint32_t features);
void tap_iface_set_carrier(struct tap_iface *iface, bool on);

/*
 * A frame to @place, which has @room bytes, and what does not fit to @rest;
 * @hdr is set. With @hdr_in_place the frame begins with the header, and the
 * header fits. Return: bytes of the frame, or 0 if there is none
 */
size_t tap_iface_read(struct tap_iface *iface, void *place, size_t room,
		      bool hdr_in_place, struct virtio_net_hdr *hdr);

/* Return: false if the interface did not take it */
bool tap_iface_write(struct tap_iface *iface, const void *data, size_t len,
		     bool hdr_in_place);

/* ---- tap-cable.c: rings and link ---- */

/**
 * struct tap_stats - frames
 * @sent: to the peer
 * @received: from the peer
 * @too_long: not sent, the peer does not take so long ones
 * @unsendable: not sent, they were made before the peer changed and ask for
 *	more than it offers
 * @no_room: not sent, it was longer than those before, and the ring full
 * @refused: by the interface: it is down, or they make no sense
 */
struct tap_stats {
	uint64_t sent;
	uint64_t received;
	uint64_t too_long;
	uint64_t unsendable;
	uint64_t no_room;
	uint64_t refused;
};

/**
 * struct tap_cable - this end of the cable
 * @peer: this side in the library
 * @other: id of the other one
 * @layout: of the sections
 * @iface: where frames come from and go to
 * @verbose: log changes of the link
 * @extended: @offer is made
 * @offer: what this side takes
 * @state: what was set last
 * @blocked: no room for frames of the interface; a doorbell will tell
 * @held_ms: stay in RESET until this time, because the peer broke a rule
 * @agreed: what holds while the link is up
 * @tx: sending end
 * @rx: receiving end
 * @slots: private memory of @tx
 * @features: IVSHMEM_NET_F_* that frames to the peer may use
 * @limit: bytes of the largest frame that may be sent
 * @gso_limit: likewise of the largest that the peer is to segment
 * @room: bytes to reserve for the next frame of the interface, whose length is
 *	not known: as many as the largest of this link needed
 * @stats: since the start
 * @complained_ms: when the peer's faults were logged last
 * @faults: of the peer since then
 */
struct tap_cable {
	struct ivshmem_peer *peer;
	uint32_t other;
	struct ivn_ring_layout layout;
	struct tap_iface *iface;
	bool verbose;
	bool extended;
	struct ivn_link_offer offer;
	enum ivn_link_state state;
	bool blocked;
	int64_t held_ms;
	struct ivn_link_agreed agreed;
	struct ivn_ring_tx tx;
	struct ivn_ring_rx rx;
	void *slots;
	uint32_t features;
	uint32_t limit;
	uint32_t gso_limit;
	uint32_t room;
	struct tap_stats stats;
	int64_t complained_ms;
	unsigned int faults;
};

/* Become a peer of the link; logs what failed. Return: 0 or -errno */
int tap_cable_open(struct tap_cable *cable, const char *device,
		   struct tap_iface *iface, bool extensions);
/* Tells the peer first */
void tap_cable_close(struct tap_cable *cable);

bool tap_cable_is_up(const struct tap_cable *cable);

/* Look at the peer's state and follow; at least once a second, too */
void tap_cable_look(struct tap_cable *cable);

/*
 * Move some frames in both directions; @readable: the interface has some.
 * Return: true if there is more to do at once
 */
bool tap_cable_move(struct tap_cable *cable, bool readable);

#endif /* TAP_H */
