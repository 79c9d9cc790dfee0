// SPDX-License-Identifier: GPL-2.0
/*
 * drivers/net/ivshmem-net-ring.h: where the rings lie, frames through them when
 * indices and data wrap and when they are full, wake-ups, and a peer that
 * breaks each rule. KASAN guards the ends of the sections.
 */
#include <linux/limits.h>
#include <linux/sizes.h>

#include "../../../drivers/net/ivshmem-net-ring.h"
#include "net_ring_cases.h"
#include "table.h"

TABLE_PARAM(ring_layout_cases);

static void net_ring_test_layout(struct kunit *test)
{
	const struct ring_layout_case *c = test->param_value;
	struct ivn_ring_layout l;
	int err = c->n || c->q ? ivn_ring_queue_layout(&l, c->bytes, c->n, c->q) :
				 ivn_ring_layout(&l, c->bytes);

	KUNIT_ASSERT_EQ(test, err, c->expected_err);
	if (err)
		return;
	KUNIT_EXPECT_EQ(test, l.qlen, c->expected.qlen);
	KUNIT_EXPECT_EQ(test, l.header, c->expected.header);
	KUNIT_EXPECT_EQ(test, l.desc, c->expected.desc);
	KUNIT_EXPECT_EQ(test, l.avail, c->expected.avail);
	KUNIT_EXPECT_EQ(test, l.used, c->expected.used);
	KUNIT_EXPECT_EQ(test, l.data, c->expected.data);
	KUNIT_EXPECT_EQ(test, l.data_end, c->expected.data_end);
	KUNIT_EXPECT_EQ(test, l.send_end, c->expected.send_end);
}

/* header | queue 0 | ... | queue n-1 | extension, whatever the sizes are */
static void net_ring_test_queue_layout_apart(struct kunit *test)
{
	struct ivn_ring_layout whole, l;
	unsigned int n, q;
	u64 bytes, end;

	for (bytes = SZ_4K; bytes < SZ_4M; bytes += SZ_4K)
		for (n = 2; n <= ivn_ring_max_queues(bytes, 9); n++) {
			KUNIT_ASSERT_EQ(test, ivn_ring_layout(&whole, bytes), 0);
			end = whole.header;
			for (q = 0; q < n; q++, end = l.data_end) {
				KUNIT_ASSERT_EQ(test, ivn_ring_queue_layout(&l, bytes, n, q), 0);
				KUNIT_ASSERT_GE(test, l.desc, end);
				KUNIT_ASSERT_EQ(test, l.desc + l.header, l.data);
				KUNIT_ASSERT_GT(test, l.data_end, l.data);
			}
			KUNIT_ASSERT_LE(test, end, bytes - 64);
		}
}

TABLE_PARAM(ring_queues_cases);

static void net_ring_test_max_queues(struct kunit *test)
{
	const struct ring_queues_case *c = test->param_value;

	KUNIT_EXPECT_EQ(test, ivn_ring_max_queues(c->bytes, c->vectors), c->expected);
}

/* Two sides with 256 descriptors each, and offsets in their sections */
#define RING_BYTES	SZ_64K
#define RING_QLEN	256
#define RING_AVAIL	4096
#define RING_USED	4672
#define RING_DATA	6784
#define RING_FRAME	100
/* Indices have wrapped, and come to no round number */
#define RING_MANY	70001

struct ring_side {
	u8 *section;
	void *private;
	struct ivn_ring_tx tx;
	struct ivn_ring_rx rx;
};

struct ring_pair {
	struct ivn_ring_layout l;
	struct ring_side a, b;
};

static void ring_start_side(struct ring_pair *p, struct ring_side *side,
			    struct ring_side *other)
{
	ivn_ring_clear(side->section, RING_BYTES, 1);
	ivn_ring_tx_init(&side->tx, &p->l, side->section, other->section,
			 side->private);
	ivn_ring_rx_init(&side->rx, &p->l, side->section, other->section);
}

static void ring_start(struct ring_pair *p)
{
	ring_start_side(p, &p->a, &p->b);
	ring_start_side(p, &p->b, &p->a);
}

static void ring_alloc_side(struct kunit *test, struct ring_side *side)
{
	side->section = kunit_kmalloc(test, RING_BYTES, GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, side->section);
	memset(side->section, 0xff, RING_BYTES);
	side->private = kunit_kmalloc(test, ivn_ring_tx_bytes(RING_QLEN), GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, side->private);
}

static int net_ring_init(struct kunit *test)
{
	struct ring_pair *p = kunit_kzalloc(test, sizeof(*p), GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, p);
	KUNIT_ASSERT_EQ(test, ivn_ring_queue_layout(&p->l, RING_BYTES, 1, 0), 0);
	KUNIT_ASSERT_EQ(test, p->l.qlen, RING_QLEN);
	ring_alloc_side(test, &p->a);
	ring_alloc_side(test, &p->b);
	ring_start(p);
	test->priv = p;
	return 0;
}

static bool ring_commit(struct ring_side *side, u32 len, u8 number)
{
	void *frame = ivn_ring_tx_reserve(&side->tx, len);

	if (!frame)
		return false;
	memset(frame, number, len);
	ivn_ring_tx_commit(&side->tx, len);
	return true;
}

static bool ring_send(struct ring_side *side, u32 len, u8 number)
{
	bool sent = ring_commit(side, len, number);

	ivn_ring_tx_publish(&side->tx);
	return sent;
}

static void ring_expect(struct kunit *test, struct ring_side *side, u32 len, u8 number)
{
	struct ivn_ring_frame f;

	KUNIT_ASSERT_EQ(test, ivn_ring_rx_next(&side->rx, &f), 1);
	KUNIT_EXPECT_EQ(test, f.len, len);
	KUNIT_EXPECT_TRUE(test, !memchr_inv(f.data, number, f.len));
	ivn_ring_rx_release(&side->rx, &f);
	ivn_ring_rx_publish(&side->rx);
}

static void ring_expect_none(struct kunit *test, struct ring_side *side)
{
	struct ivn_ring_frame f;

	KUNIT_EXPECT_EQ(test, ivn_ring_rx_next(&side->rx, &f), 0);
}

static void ring_expect_back(struct kunit *test, struct ring_side *side, int frames,
			     u64 expected_bytes)
{
	u64 bytes;

	KUNIT_ASSERT_EQ(test, ivn_ring_tx_reclaim(&side->tx, 2 * RING_QLEN, &bytes),
			frames);
	KUNIT_EXPECT_EQ(test, bytes, expected_bytes);
}

/*
 * Frames of many lengths are in flight, 1 to 9 of them, until the indices have
 * wrapped; the data area has some hundred times.
 */
static void net_ring_test_frames_wrap(struct kunit *test)
{
	struct ring_pair *p = test->priv;
	u32 sent = 0, received = 0, len;
	u64 bytes;

	while (received < RING_MANY) {
		len = 14 + sent * 37 % 5000;
		while (sent - received < 1 + sent % 9 && ring_send(&p->a, len, sent)) {
			sent++;
			len = 14 + sent * 37 % 5000;
		}
		ring_expect(test, &p->b, 14 + received * 37 % 5000, received);
		received++;
		KUNIT_ASSERT_GE(test, ivn_ring_tx_reclaim(&p->a.tx, RING_QLEN, &bytes), 1);
	}
	KUNIT_EXPECT_EQ(test, ivn_ring_tx_pending(&p->a.tx), sent - received);
}

/* Between data and the extension, and over no frame in flight */
static void net_ring_test_reserve_place(struct kunit *test)
{
	struct ring_pair *p = test->priv;
	struct { u64 start, end; } flight[8] = { };
	unsigned int i, j;
	u8 *place;
	u32 len;

	for (i = 0; i < 5000; i++) {
		len = 14 + i * 61 % 6000;
		place = ivn_ring_tx_reserve(&p->a.tx, len);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, place);
		flight[i % 8].start = place - p->a.section;
		flight[i % 8].end = flight[i % 8].start + len;
		KUNIT_ASSERT_GE(test, flight[i % 8].start, (u64)RING_DATA);
		KUNIT_ASSERT_LE(test, flight[i % 8].end, (u64)RING_BYTES - 64);
		KUNIT_ASSERT_EQ(test, flight[i % 8].start % 64, 0ULL);
		for (j = 1; j < 8; j++)
			KUNIT_ASSERT_TRUE(test,
					  flight[(i + j) % 8].end <= flight[i % 8].start ||
					  flight[(i + j) % 8].start >= flight[i % 8].end);
		KUNIT_ASSERT_TRUE(test, ring_send(&p->a, len, i));
		if (i < 7)
			continue;
		ring_expect(test, &p->b, 14 + (i - 7) * 61 % 6000, i - 7);
		ring_expect_back(test, &p->a, 1, 14 + (i - 7) * 61 % 6000);
	}
}

static void net_ring_test_reserve_without_descriptor(struct kunit *test)
{
	struct ring_pair *p = test->priv;
	unsigned int i;

	for (i = 0; i < RING_QLEN; i++)
		KUNIT_ASSERT_TRUE(test, ring_send(&p->a, 14, i));
	KUNIT_EXPECT_EQ(test, ivn_ring_tx_pending(&p->a.tx), RING_QLEN);
	KUNIT_EXPECT_FALSE(test, ivn_ring_tx_room(&p->a.tx, 14));
	KUNIT_EXPECT_TRUE(test, !ivn_ring_tx_reserve(&p->a.tx, 14));

	ring_expect(test, &p->b, 14, 0);
	KUNIT_EXPECT_TRUE(test, !ivn_ring_tx_reserve(&p->a.tx, 14));
	ring_expect_back(test, &p->a, 1, 14);
	KUNIT_EXPECT_TRUE(test, ring_send(&p->a, 14, 0));
	KUNIT_EXPECT_FALSE(test, ring_send(&p->a, 14, 0));
	for (i = 1; i <= RING_QLEN; i++)
		ring_expect(test, &p->b, 14, i);
	ring_expect_none(test, &p->b);
	ring_expect_back(test, &p->a, RING_QLEN, RING_QLEN * 14);
}

static void net_ring_test_reserve_without_room(struct kunit *test)
{
	struct ring_pair *p = test->priv;
	/* two fill the data area to the last 64 bytes */
	u32 half = (RING_BYTES - 64 - RING_DATA) / 2 / 64 * 64 - 18;

	KUNIT_EXPECT_TRUE(test, ring_send(&p->a, half, 1));
	KUNIT_EXPECT_TRUE(test, ring_send(&p->a, half, 2));
	KUNIT_EXPECT_FALSE(test, ivn_ring_tx_room(&p->a.tx, 47));
	KUNIT_EXPECT_FALSE(test, ring_send(&p->a, 47, 3));

	ring_expect(test, &p->b, half, 1);
	ring_expect_back(test, &p->a, 1, half);
	KUNIT_EXPECT_FALSE(test, ring_send(&p->a, half + 1, 3));
	KUNIT_EXPECT_TRUE(test, ring_send(&p->a, half, 3));
	KUNIT_EXPECT_FALSE(test, ring_send(&p->a, 14, 4));
	ring_expect(test, &p->b, half, 2);
	ring_expect(test, &p->b, half, 3);
	ring_expect_back(test, &p->a, 2, 2 * half);
}

static void net_ring_test_fits_largest(struct kunit *test)
{
	struct ring_pair *p = test->priv;
	u32 largest = RING_BYTES - 64 - RING_DATA - 18;

	KUNIT_EXPECT_TRUE(test, ivn_ring_tx_fits(&p->a.tx, largest));
	KUNIT_EXPECT_FALSE(test, ivn_ring_tx_fits(&p->a.tx, largest + 1));
	KUNIT_EXPECT_FALSE(test, ivn_ring_tx_fits(&p->a.tx, U32_MAX));
	KUNIT_EXPECT_FALSE(test, ring_send(&p->a, largest + 1, 1));
	KUNIT_EXPECT_FALSE(test, ring_send(&p->a, U32_MAX, 1));
	KUNIT_EXPECT_TRUE(test, ring_send(&p->a, largest, 1));
	ring_expect(test, &p->b, largest, 1);
}

static void net_ring_test_publish_many_at_once(struct kunit *test)
{
	struct ring_pair *p = test->priv;
	unsigned int i;

	for (i = 0; i < 10; i++)
		KUNIT_ASSERT_TRUE(test, ring_commit(&p->a, RING_FRAME, i));
	ring_expect_none(test, &p->b);
	KUNIT_EXPECT_TRUE(test, ivn_ring_tx_publish(&p->a.tx));
	KUNIT_EXPECT_FALSE(test, ivn_ring_tx_publish(&p->a.tx));
	for (i = 0; i < 10; i++)
		ring_expect(test, &p->b, RING_FRAME, i);
}

static void net_ring_test_reclaim_within_budget(struct kunit *test)
{
	struct ring_pair *p = test->priv;
	unsigned int i;
	u64 bytes;

	for (i = 0; i < 5; i++) {
		KUNIT_ASSERT_TRUE(test, ring_send(&p->a, RING_FRAME + i, i));
		ring_expect(test, &p->b, RING_FRAME + i, i);
	}
	KUNIT_EXPECT_EQ(test, ivn_ring_tx_reclaim(&p->a.tx, 0, &bytes), 0);
	KUNIT_EXPECT_EQ(test, bytes, 0ULL);
	KUNIT_EXPECT_EQ(test, ivn_ring_tx_reclaim(&p->a.tx, 2, &bytes), 2);
	KUNIT_EXPECT_EQ(test, bytes, 2 * RING_FRAME + 1ULL);
	ring_expect_back(test, &p->a, 3, 3 * RING_FRAME + 2 + 3 + 4);
}

/* The peer asks for a doorbell with the next frame, and gets no other */
static void net_ring_test_publish_rings_if_armed(struct kunit *test)
{
	struct ring_pair *p = test->priv;
	unsigned int i;

	for (i = 0; i < RING_MANY; i++) {
		KUNIT_ASSERT_FALSE(test, ivn_ring_rx_arm(&p->b.rx));
		ring_commit(&p->a, 14, i);
		KUNIT_ASSERT_TRUE(test, ivn_ring_tx_publish(&p->a.tx));
		ring_commit(&p->a, 14, i + 1);
		KUNIT_ASSERT_FALSE(test, ivn_ring_tx_publish(&p->a.tx));
		KUNIT_ASSERT_TRUE(test, ivn_ring_rx_arm(&p->b.rx));
		ring_expect(test, &p->b, 14, i);
		ring_expect(test, &p->b, 14, i + 1);
		ring_expect_back(test, &p->a, 2, 28);
	}
}

static void net_ring_test_release_rings_after(struct kunit *test)
{
	struct ring_pair *p = test->priv;
	struct ivn_ring_frame f;
	unsigned int i;

	for (i = 0; i < 8; i++)
		ring_send(&p->a, 14, i);
	KUNIT_EXPECT_FALSE(test, ivn_ring_tx_arm(&p->a.tx, 3));
	for (i = 0; i < 8; i++) {
		KUNIT_ASSERT_EQ(test, ivn_ring_rx_next(&p->b.rx, &f), 1);
		ivn_ring_rx_release(&p->b.rx, &f);
		KUNIT_EXPECT_EQ(test, ivn_ring_rx_publish(&p->b.rx), i == 3);
	}
	KUNIT_EXPECT_TRUE(test, ivn_ring_tx_arm(&p->a.tx, 0));
}

/* More than is in flight would never come back */
static void net_ring_test_release_rings_at_last(struct kunit *test)
{
	struct ring_pair *p = test->priv;
	struct ivn_ring_frame f;
	unsigned int i;

	ring_send(&p->a, 14, 0);
	ring_send(&p->a, 14, 1);
	KUNIT_EXPECT_FALSE(test, ivn_ring_tx_arm(&p->a.tx, U16_MAX));
	for (i = 0; i < 2; i++) {
		KUNIT_ASSERT_EQ(test, ivn_ring_rx_next(&p->b.rx, &f), 1);
		ivn_ring_rx_release(&p->b.rx, &f);
		KUNIT_EXPECT_EQ(test, ivn_ring_rx_publish(&p->b.rx), i == 1);
	}
}

/*
 * B has sent three frames, of which A has taken none, and returned two of the
 * three that A has sent. Then B writes one field, and A looks at both rings.
 */
struct ring_violation_case {
	const char *name;
	unsigned int offset, bytes;
	u64 value;
	int expected_next;
	int expected_reclaim;
};

static const struct ring_violation_case ring_violation_cases[] = {
	{ "nothing wrong", RING_AVAIL + 2, 2, 3, 1, 2 },
	{ "flags of the avail ring are not ours", RING_AVAIL, 2, 0xffff, 1, 2 },
	{ "avail index stands still", RING_AVAIL + 2, 2, 0, 0, 2 },
	{ "avail index a ring ahead", RING_AVAIL + 2, 2, 256, 1, 2 },
	{ "avail index more than a ring ahead", RING_AVAIL + 2, 2, 257, -EPROTO, 2 },
	{ "avail index half of all ahead", RING_AVAIL + 2, 2, 0x8000, -EPROTO, 2 },
	{ "avail index behind", RING_AVAIL + 2, 2, 0xffff, -EPROTO, 2 },
	{ "descriptor of another frame", RING_AVAIL + 4, 2, 1, 1, 2 },
	{ "descriptor behind the table", RING_AVAIL + 4, 2, 256, -EPROTO, 2 },
	{ "descriptor far behind the table", RING_AVAIL + 4, 2, 0xffff, -EPROTO, 2 },
	{ "flags of a descriptor", 12, 2, 1, -EPROTO, 2 },
	{ "high flags of a descriptor", 12, 2, 0x8000, -EPROTO, 2 },
	{ "next is the sender's affair", 14, 2, 0xffff, 1, 2 },
	{ "frame of 0 bytes", 8, 4, 0, -EPROTO, 2 },
	{ "frame of 13 bytes", 8, 4, 13, -EPROTO, 2 },
	{ "frame of 14 bytes", 8, 4, 14, 1, 2 },
	{ "frame is all data", 8, 4, RING_BYTES - RING_DATA, 1, 2 },
	{ "frame is one byte more", 8, 4, RING_BYTES - RING_DATA + 1, -EPROTO, 2 },
	{ "frame of 4 GiB", 8, 4, U32_MAX, -EPROTO, 2 },
	{ "frame begins in the rings", 0, 8, RING_DATA - 1, -EPROTO, 2 },
	{ "frame at 0", 0, 8, 0, -EPROTO, 2 },
	{ "frame ends with the section", 0, 8, RING_BYTES - RING_FRAME, 1, 2 },
	{ "frame ends behind it", 0, 8, RING_BYTES - RING_FRAME + 1, -EPROTO, 2 },
	{ "frame begins behind it", 0, 8, RING_BYTES, -EPROTO, 2 },
	{ "frame 4 GiB behind its place", 0, 8, BIT_ULL(32) | RING_DATA, -EPROTO, 2 },
	{ "frame in the other half", 0, 8, BIT_ULL(63) | RING_DATA, -EPROTO, 2 },
	{ "end of the frame overflows", 0, 8, U64_MAX - 50, -EPROTO, 2 },
	{ "flags of the used ring are not read", RING_USED, 2, 0xffff, 1, 2 },
	{ "used index stands still", RING_USED + 2, 2, 0, 1, 0 },
	{ "used index beyond what is written", RING_USED + 2, 2, 3, 1, -EPROTO },
	{ "used index beyond what was sent", RING_USED + 2, 2, 4, 1, -EPROTO },
	{ "used index a ring ahead", RING_USED + 2, 2, 256, 1, -EPROTO },
	{ "used index behind", RING_USED + 2, 2, 0xffff, 1, -EPROTO },
	{ "frame comes back out of order", RING_USED + 4, 4, 1, 1, -EPROTO },
	{ "second frame comes back out of order", RING_USED + 12, 4, 0, 1, -EPROTO },
	{ "descriptor that comes back is none", RING_USED + 4, 4, 256, 1, -EPROTO },
	{ "descriptor that comes back is 64 Ki too high", RING_USED + 4, 4, SZ_64K,
	  1, -EPROTO },
	{ "length that comes back is 0", RING_USED + 8, 4, 0, 1, -EPROTO },
	{ "length that comes back is 2", RING_USED + 8, 4, 2, 1, -EPROTO },
};

TABLE_PARAM(ring_violation_cases);

static void net_ring_test_violation(struct kunit *test)
{
	const struct ring_violation_case *c = test->param_value;
	struct ring_pair *p = test->priv;
	__le64 value = cpu_to_le64(c->value);
	struct ivn_ring_frame f;
	unsigned int i;
	u64 bytes;

	for (i = 0; i < 3; i++) {
		ring_send(&p->b, RING_FRAME, i);
		ring_send(&p->a, RING_FRAME, i);
	}
	ring_expect(test, &p->b, RING_FRAME, 0);
	ring_expect(test, &p->b, RING_FRAME, 1);
	memcpy(p->b.section + c->offset, &value, c->bytes);

	KUNIT_ASSERT_EQ(test, ivn_ring_rx_next(&p->a.rx, &f), c->expected_next);
	if (c->expected_next == 1)	/* KASAN sees it if it lies elsewhere */
		memchr_inv(f.data, 0, f.len);
	KUNIT_EXPECT_EQ(test, ivn_ring_tx_reclaim(&p->a.tx, 10, &bytes),
			c->expected_reclaim);

	ring_start(p);
	ring_send(&p->b, RING_FRAME, 7);
	ring_expect(test, &p->a, RING_FRAME, 7);
}

/* What was taken and what came back stays so */
static void net_ring_test_violation_going_back(struct kunit *test)
{
	struct ring_pair *p = test->priv;
	struct ivshmem_net_avail *avail = (void *)(p->b.section + RING_AVAIL);
	struct ivshmem_net_used *used = (void *)(p->b.section + RING_USED);
	struct ivn_ring_frame f;
	unsigned int i;
	u64 bytes;

	for (i = 0; i < 3; i++) {
		ring_send(&p->b, RING_FRAME, i);
		ring_send(&p->a, RING_FRAME, i);
		ring_expect(test, &p->b, RING_FRAME, i);
		KUNIT_ASSERT_EQ(test, ivn_ring_rx_next(&p->a.rx, &f), 1);
	}
	ring_expect_back(test, &p->a, 3, 3 * RING_FRAME);
	avail->idx = cpu_to_le16(2);
	used->idx = cpu_to_le16(2);
	KUNIT_EXPECT_EQ(test, ivn_ring_rx_next(&p->a.rx, &f), -EPROTO);
	KUNIT_EXPECT_EQ(test, ivn_ring_tx_reclaim(&p->a.tx, 10, &bytes), -EPROTO);
}

/* A frame that was committed but not published cannot come back */
static void net_ring_test_violation_too_early(struct kunit *test)
{
	struct ring_pair *p = test->priv;
	struct ivshmem_net_used *used = (void *)(p->b.section + RING_USED);
	u64 bytes;

	ring_commit(&p->a, RING_FRAME, 0);
	used->ring[0].len = cpu_to_le32(IVSHMEM_NET_USED_LEN);
	used->idx = cpu_to_le16(1);
	KUNIT_EXPECT_EQ(test, ivn_ring_tx_reclaim(&p->a.tx, 10, &bytes), -EPROTO);
	ivn_ring_tx_publish(&p->a.tx);
	KUNIT_EXPECT_EQ(test, ivn_ring_tx_reclaim(&p->a.tx, 10, &bytes), 1);
}

/*
 * Behind the table is the avail ring. It can read like a descriptor, with its
 * flags for an address, where the index has just wrapped.
 */
static void net_ring_test_violation_behind_table(struct kunit *test)
{
	struct ring_pair *p = test->priv;
	struct ivshmem_net_avail *avail = (void *)(p->b.section + RING_AVAIL);
	struct ivshmem_net_desc *desc = (void *)p->b.section;
	struct ivn_ring_rx *rx = &p->a.rx;
	struct ivn_ring_frame f;

	rx->seen = U16_MAX;
	rx->taken = U16_MAX;
	rx->released = U16_MAX;
	rx->published = U16_MAX;
	avail->flags = cpu_to_le16(RING_DATA);
	avail->ring[2] = cpu_to_le16(RING_FRAME);
	desc[0].addr = cpu_to_le64(RING_DATA);
	desc[0].len = cpu_to_le32(RING_FRAME);
	avail->ring[RING_QLEN - 1] = cpu_to_le16(RING_QLEN);
	KUNIT_EXPECT_EQ(test, ivn_ring_rx_next(rx, &f), -EPROTO);
	avail->ring[RING_QLEN - 1] = 0;
	KUNIT_EXPECT_EQ(test, ivn_ring_rx_next(rx, &f), 1);
}

static struct kunit_case net_ring_cases[] = {
	KUNIT_CASE_PARAM(net_ring_test_layout, ring_layout_cases_gen_params),
	KUNIT_CASE(net_ring_test_queue_layout_apart),
	KUNIT_CASE_PARAM(net_ring_test_max_queues, ring_queues_cases_gen_params),
	KUNIT_CASE(net_ring_test_frames_wrap),
	KUNIT_CASE(net_ring_test_reserve_place),
	KUNIT_CASE(net_ring_test_reserve_without_descriptor),
	KUNIT_CASE(net_ring_test_reserve_without_room),
	KUNIT_CASE(net_ring_test_fits_largest),
	KUNIT_CASE(net_ring_test_publish_many_at_once),
	KUNIT_CASE(net_ring_test_reclaim_within_budget),
	KUNIT_CASE(net_ring_test_publish_rings_if_armed),
	KUNIT_CASE(net_ring_test_release_rings_after),
	KUNIT_CASE(net_ring_test_release_rings_at_last),
	KUNIT_CASE_PARAM(net_ring_test_violation, ring_violation_cases_gen_params),
	KUNIT_CASE(net_ring_test_violation_going_back),
	KUNIT_CASE(net_ring_test_violation_too_early),
	KUNIT_CASE(net_ring_test_violation_behind_table),
	{}
};

static struct kunit_suite net_ring_suite = {
	.name = "ivshmem_net_ring",
	.init = net_ring_init,
	.test_cases = net_ring_cases,
};

kunit_test_suite(net_ring_suite);
