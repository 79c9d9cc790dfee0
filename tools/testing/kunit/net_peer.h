/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The other end of the cable, for the suites of drivers/net/ivshmem-net*.c: a
 * fake device, and a peer that the test moves step by step. The peer's ends of
 * the rings are those of the driver, which have a suite of their own.
 */
#ifndef _IVSHMEM_KUNIT_NET_PEER_H
#define _IVSHMEM_KUNIT_NET_PEER_H

#include <linux/netdevice.h>
#include <linux/sizes.h>
#include <linux/virtio_net.h>

#include "../../../drivers/net/ivshmem-net-link.h"
#include "fake.h"

#define NT_PEER			0
#define NT_SECTION_BYTES	SZ_256K
#define NT_PROTOCOL		0x88b5	/* for experiments */
#define NT_MAX_FRAME		2000
#define NT_HEADER		sizeof(struct virtio_net_hdr)

/**
 * struct net_test - a cable
 * @fake: the device
 * @dev: what the driver made of it
 * @l: where the peer's queue is, in both sections
 * @tx: the peer sends
 * @rx: the peer receives
 * @private: of @tx
 * @header: bytes in front of each frame
 * @packets: gets what the stack receives
 * @received: how many that were
 * @received_len: of the last one, without its Ethernet header
 * @received_byte: its last byte
 * @received_gso: bytes of its segments, 0 = it has none
 * @received_summed: CHECKSUM_* of it
 */
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
	unsigned int received_gso;
	u8 received_summed;
};

extern const struct fake_spec nt_spec;
extern const struct ivn_link_offer nt_offer;

int nt_init(struct kunit *test);
void nt_exit(struct kunit *test);

void nt_plug(struct kunit *test, const struct fake_spec *spec);
int nt_open(struct net_test *t);
void nt_close(struct net_test *t);

void nt_step(struct kunit *test, u32 peer, u32 expected);
void nt_connect(struct kunit *test, const struct ivn_link_offer *offer);
void nt_up(struct kunit *test, const struct fake_spec *spec,
	   const struct ivn_link_offer *offer);
void nt_use_queue(struct kunit *test, unsigned int n, unsigned int q);

struct sk_buff *nt_alloc_skb(struct kunit *test, u16 protocol, u32 len, u8 byte);
netdev_tx_t nt_start_xmit(struct net_test *t, struct sk_buff *skb);
void nt_transmit(struct kunit *test, u32 len, u8 byte);
u8 *nt_reserve(struct kunit *test, u16 protocol, u32 len, u8 byte);
void nt_send(struct kunit *test, u32 len, u8 byte);

u64 nt_stat(struct net_test *t, size_t offset);
#define NT_STAT(t, name) nt_stat(t, offsetof(struct rtnl_link_stats64, name))

#endif /* _IVSHMEM_KUNIT_NET_PEER_H */
