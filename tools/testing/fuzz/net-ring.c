// SPDX-License-Identifier: GPL-2.0
/*
 * The rings and the link of ivshmem-net, drivers/net/ivshmem-net-{ring,link}.h:
 * a peer that writes what it likes where it likes in its section, at any time.
 * The victim stays in both sections, and what it writes itself stays lawful.
 */
#include "ivshmem-net-link.h"

#include "input.h"

#define NET_OFFER_BYTES		1518
#define NET_VECTORS		9

struct net_victim {
	uint64_t bytes;
	uint8_t *mine;
	uint8_t *theirs;
	struct ivn_ring_layout l;
	struct ivn_ring_tx tx;
	struct ivn_ring_rx rx;
	void *slots;
};

/* What ivn_link_agree() leaves is one of the layouts that were offered */
static void net_start(struct net_victim *v, unsigned int queues, unsigned int q)
{
	struct ivn_link_offer mine = {
		.queues = queues, .features = ~0U, .vectors = NET_VECTORS,
		.max_frame = NET_OFFER_BYTES, .max_gso = 65536,
	};
	struct ivn_link_offer peer;
	struct ivn_link_agreed agreed;
	bool extended;

	fuzz_require(!ivn_link_prepare(v->mine, v->bytes, &mine));
	extended = ivn_link_read_offer(&peer, v->theirs, v->bytes);
	ivn_link_agree(&agreed, &mine, extended ? &peer : NULL, NET_VECTORS);
	fuzz_require(agreed.queues >= 1 && agreed.queues <= queues);
	fuzz_require(!extended || agreed.max_frame >= IVSHMEM_NET_MIN_MAX_FRAME);
	fuzz_require(!(agreed.features & ~(IVSHMEM_NET_F_CSUM | IVSHMEM_NET_F_TSO4 |
					   IVSHMEM_NET_F_TSO6 | IVSHMEM_NET_F_USO)));
	q %= agreed.queues;
	if (extended)
		fuzz_require(!ivn_ring_queue_layout(&v->l, v->bytes, agreed.queues, q));
	else
		fuzz_require(!ivn_ring_layout(&v->l, v->bytes));
	free(v->slots);
	v->slots = calloc(1, ivn_ring_tx_bytes(v->l.qlen));
	ivn_ring_tx_init(&v->tx, &v->l, v->mine, v->theirs, v->slots);
	ivn_ring_rx_init(&v->rx, &v->l, v->mine, v->theirs);
}

/* Offset of one of the fields that matter, or of any byte */
static uint64_t net_place(const struct net_victim *v, struct fuzz_input *in)
{
	unsigned int i = fuzz_u8(in) % v->l.qlen;

	switch (fuzz_u8(in) % 8) {
	case 0:
		return v->l.avail + offsetof(struct ivshmem_net_avail, idx);
	case 1:
		return v->l.avail + sizeof(struct ivshmem_net_avail) + 2 * i;
	case 2:
		return v->l.desc + sizeof(struct ivshmem_net_desc) * i;
	case 3:
		return v->l.desc + sizeof(struct ivshmem_net_desc) * i + 8;
	case 4:
		return v->l.used + offsetof(struct ivshmem_net_used, idx);
	case 5:
		return v->l.used + sizeof(struct ivshmem_net_used) + 8 * i;
	case 6:
		return v->bytes - IVSHMEM_NET_EXT_BYTES + i % IVSHMEM_NET_EXT_BYTES;
	default:
		return fuzz_u32(in);
	}
}

static void net_poke(struct net_victim *v, struct fuzz_input *in)
{
	uint64_t place = net_place(v, in) % v->bytes;
	size_t len = 1 + fuzz_u8(in) % 16;
	uint8_t value[16];

	fuzz_take(in, value, len);
	if (len > v->bytes - place)
		len = v->bytes - place;
	memcpy(v->theirs + place, value, len);
}

/* An honest frame, so that what is behind the checks is reached */
static void net_frame(struct net_victim *v, struct fuzz_input *in)
{
	struct ivshmem_net_desc *desc = (void *)(v->theirs + v->l.desc);
	struct ivshmem_net_avail *avail = (void *)(v->theirs + v->l.avail);
	uint16_t idx = le16_to_cpu(avail->idx), id = idx & (v->l.qlen - 1);

	desc[id].addr = cpu_to_le64(v->l.data + fuzz_u8(in));
	desc[id].len = cpu_to_le32(fuzz_u8(in));
	desc[id].flags = 0;
	avail->ring[id] = cpu_to_le16(id);
	avail->idx = cpu_to_le16(idx + 1);
}

static void net_return(struct net_victim *v)
{
	struct ivshmem_net_used *used = (void *)(v->theirs + v->l.used);
	uint16_t idx = le16_to_cpu(used->idx), id = idx & (v->l.qlen - 1);

	used->ring[id].id = cpu_to_le32(id);
	used->ring[id].len = cpu_to_le32(IVSHMEM_NET_USED_LEN);
	used->idx = cpu_to_le16(idx + 1);
}

static void net_receive(struct net_victim *v, bool release)
{
	static uint8_t copy[1 << 20];
	struct ivn_ring_frame f;
	int got = ivn_ring_rx_next(&v->rx, &f);

	fuzz_require(got == 0 || got == 1 || got == -EPROTO);
	if (got != 1)
		return;
	fuzz_require(f.len >= IVN_RING_MIN_FRAME && f.len <= v->bytes &&
		     f.id < v->l.qlen);
	memcpy(copy, f.data, f.len);
	if (!release || v->rx.released != (uint16_t)(v->rx.taken - 1))
		return;
	ivn_ring_rx_release(&v->rx, &f);
	ivn_ring_rx_publish(&v->rx);
}

static void net_send(struct net_victim *v, uint32_t len)
{
	void *frame = ivn_ring_tx_reserve(&v->tx, len);

	fuzz_require(!frame == !ivn_ring_tx_room(&v->tx, len));
	if (!frame)
		return;
	memset(frame, 0x55, len);
	ivn_ring_tx_commit(&v->tx, len);
}

static void net_reclaim(struct net_victim *v, unsigned int budget)
{
	__u64 bytes;
	int got = ivn_ring_tx_reclaim(&v->tx, budget, &bytes);

	fuzz_require(got == -EPROTO || (got >= 0 && got <= (int)budget));
	fuzz_require(ivn_ring_tx_pending(&v->tx) <= v->l.qlen);
}

static void net_step(struct net_victim *v, struct fuzz_input *in)
{
	switch (fuzz_u8(in) % 11) {
	case 0 ... 1:
		return net_poke(v, in);
	case 2:
		return net_frame(v, in);
	case 3:
		return net_return(v);
	case 4:
		return net_receive(v, true);
	case 5:
		return net_receive(v, fuzz_u8(in) & 1);
	case 6:
		return net_send(v, fuzz_u16(in) % (v->bytes / 2));
	case 7:
		ivn_ring_tx_publish(&v->tx);
		return;
	case 8:
		return net_reclaim(v, fuzz_u8(in));
	case 9:
		ivn_ring_rx_arm(&v->rx);
		ivn_ring_tx_arm(&v->tx, fuzz_u8(in));
		return;
	default:
		return net_start(v, 1 + fuzz_u8(in) % ivn_ring_max_queues(v->bytes, NET_VECTORS),
				 fuzz_u8(in));
	}
}

/* What the peer is shown, whatever it did */
static void net_lawful(const struct net_victim *v)
{
	const struct ivshmem_net_desc *desc = (const void *)(v->mine + v->l.desc);
	unsigned int i;

	for (i = 0; i < v->l.qlen; i++) {
		uint64_t addr = le64_to_cpu(desc[i].addr);
		uint32_t len = le32_to_cpu(desc[i].len);

		fuzz_require(!desc[i].flags);
		fuzz_require(!addr || (addr >= v->l.data && addr <= v->l.send_end &&
				       len <= v->l.send_end - addr));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t sizes[] = { 4096, 8192, 20480, 65536 };
	struct fuzz_input in = { data, size };
	struct net_victim v = { 0 };

	v.bytes = sizes[fuzz_u8(&in) % (sizeof(sizes) / sizeof(sizes[0]))];
	v.mine = fuzz_section(v.bytes);
	v.theirs = fuzz_section(v.bytes);
	net_start(&v, 1, 0);
	while (in.size)
		net_step(&v, &in);
	net_lawful(&v);
	free(v.slots);
	free(v.theirs);
	free(v.mine);
	return 0;
}
