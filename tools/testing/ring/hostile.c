// SPDX-License-Identifier: GPL-2.0
/*
 * A peer that writes what it likes. First each rule broken by itself; then
 * random values in random fields, between the steps of a victim whose other
 * neighbour is honest; then the same from a thread that never stops. The victim
 * gets -EPROTO or a frame in the data area, touches nothing else (the pages
 * around the sections cannot be), and after a new start all works.
 *
 * Usage: ring-hostile [SECONDS [SEED]]
 */
#include <pthread.h>
#include <sched.h>

#include "section.h"

#define HOSTILE_BYTES		65536	/* 256 descriptors, data from 6784 on */
#define HOSTILE_AVAIL		4096
#define HOSTILE_USED		4672
#define HOSTILE_FRAME_BYTES	100
#define HOSTILE_BATCH		20000

/* One poke in so many steps; a thread makes thousands while the victim sleeps */
#define HOSTILE_TURN_STEPS	64
#define HOSTILE_RACE_STEPS	8192

/* One side: its section and its ends */
struct hostile_side {
	struct ring_section section;
	struct ivn_ring_tx tx;
	struct ivn_ring_rx rx;
	void *private;
};

struct hostile {
	struct ivn_ring_layout l;
	struct hostile_side victim, peer;
	uint64_t seed, pokes, frames, returned, violations[2];
};

/* For the peer that has a thread: end, and start again */
static bool hostile_stop;
static unsigned int hostile_starts, hostile_started;

static void hostile_start_side(struct hostile *h, struct hostile_side *side,
			       const struct hostile_side *other)
{
	ivn_ring_clear(side->section.mine, HOSTILE_BYTES, 1);
	ivn_ring_tx_init(&side->tx, &h->l, side->section.mine,
			 other->section.theirs, side->private);
	ivn_ring_rx_init(&side->rx, &h->l, side->section.mine,
			 other->section.theirs);
}

static void hostile_start(struct hostile *h)
{
	hostile_start_side(h, &h->victim, &h->peer);
	hostile_start_side(h, &h->peer, &h->victim);
}

static void hostile_open(struct hostile *h, uint64_t seed)
{
	struct hostile_side *sides[] = { &h->victim, &h->peer };
	unsigned int i;

	memset(h, 0, sizeof(*h));
	h->seed = seed;
	ring_require(!ivn_ring_queue_layout(&h->l, HOSTILE_BYTES, 1, 0));
	for (i = 0; i < 2; i++) {
		ring_section_map(&sides[i]->section, HOSTILE_BYTES);
		sides[i]->private = malloc(ivn_ring_tx_bytes(h->l.qlen));
	}
	hostile_start(h);
}

static void hostile_close(struct hostile *h)
{
	ring_section_unmap(&h->victim.section);
	ring_section_unmap(&h->peer.section);
	free(h->victim.private);
	free(h->peer.private);
}

static bool hostile_send(struct hostile_side *side, uint32_t len, uint32_t number)
{
	void *place = ivn_ring_tx_reserve(&side->tx, len);

	if (!place)
		return false;
	ring_frame_fill(place, len, number);
	ivn_ring_tx_commit(&side->tx, len);
	ivn_ring_tx_publish(&side->tx);
	return true;
}

/* Takes a frame and gives it back */
static int hostile_receive(struct hostile_side *side, struct ivn_ring_frame *f)
{
	int got = ivn_ring_rx_next(&side->rx, f);

	if (got == 1) {
		ivn_ring_rx_release(&side->rx, f);
		ivn_ring_rx_publish(&side->rx);
	}
	return got;
}

/* From here on both are honest: all that is sent arrives, once around the ring */
static void hostile_works_one_way(struct hostile_side *from, struct hostile_side *to)
{
	struct ivn_ring_frame f;
	uint32_t number;
	__u64 bytes;

	for (number = 0; number < 300; number++) {
		ring_require(hostile_send(from, HOSTILE_FRAME_BYTES, number));
		ring_require(hostile_receive(to, &f) == 1);
		ring_require(f.len == HOSTILE_FRAME_BYTES &&
			     ring_frame_check(f.data, f.len, number));
		ring_require(ivn_ring_tx_reclaim(&from->tx, 1, &bytes) == 1 &&
			     bytes == HOSTILE_FRAME_BYTES);
	}
}

static void hostile_works(struct hostile *h)
{
	hostile_start(h);
	hostile_works_one_way(&h->victim, &h->peer);
	hostile_works_one_way(&h->peer, &h->victim);
	hostile_start(h);
}

/*
 * The rules one by one. The peer has sent three frames of 100 bytes, and has
 * given back two of three.
 */
struct hostile_case {
	const char *name;
	unsigned int offset, bytes;
	uint64_t value;
	int rx, tx;	/* what the victim gets */
};

static const struct hostile_case hostile_cases[] = {
	{ "nothing wrong", 14, 2, 0xffff, 1, 2 },
	{ "avail flags are not read", HOSTILE_AVAIL, 2, 0xffff, 1, 2 },
	{ "avail index a ring ahead", HOSTILE_AVAIL + 2, 2, 256, 1, 2 },
	{ "avail index more than a ring ahead", HOSTILE_AVAIL + 2, 2, 257, -EPROTO, 2 },
	{ "avail index behind", HOSTILE_AVAIL + 2, 2, 65535, -EPROTO, 2 },
	{ "descriptor that was not written", HOSTILE_AVAIL + 4, 2, 255, -EPROTO, 2 },
	{ "descriptor out of the table", HOSTILE_AVAIL + 4, 2, 256, -EPROTO, 2 },
	{ "descriptor far out of the table", HOSTILE_AVAIL + 4, 2, 65535, -EPROTO, 2 },
	{ "flags", 12, 2, 1, -EPROTO, 2 },
	{ "high flags", 12, 2, 0x8000, -EPROTO, 2 },
	{ "length 0", 8, 4, 0, -EPROTO, 2 },
	{ "length 13", 8, 4, 13, -EPROTO, 2 },
	{ "length 14", 8, 4, 14, 1, 2 },
	{ "length of all data", 8, 4, 58752, 1, 2 },
	{ "length one more than that", 8, 4, 58753, -EPROTO, 2 },
	{ "longest length", 8, 4, UINT32_MAX, -EPROTO, 2 },
	{ "frame in the rings", 0, 8, 6783, -EPROTO, 2 },
	{ "frame at 0", 0, 8, 0, -EPROTO, 2 },
	{ "frame up to the end", 0, 8, 65436, 1, 2 },
	{ "frame beyond the end", 0, 8, 65437, -EPROTO, 2 },
	{ "frame on the last byte", 0, 8, 65535, -EPROTO, 2 },
	{ "frame behind the section", 0, 8, 65536, -EPROTO, 2 },
	{ "frame 4 GiB further", 0, 8, 0x100001a80, -EPROTO, 2 },
	{ "frame whose end wraps", 0, 8, UINT64_MAX - 50, -EPROTO, 2 },
	{ "frame at the top", 0, 8, UINT64_MAX, -EPROTO, 2 },
	{ "used flags are not read", HOSTILE_USED, 2, 0xffff, 1, 2 },
	{ "used index stands still", HOSTILE_USED + 2, 2, 0, 1, 0 },
	{ "used index of what was not written", HOSTILE_USED + 2, 2, 3, 1, -EPROTO },
	{ "used index ahead of what was sent", HOSTILE_USED + 2, 2, 4, 1, -EPROTO },
	{ "used index a ring ahead", HOSTILE_USED + 2, 2, 256, 1, -EPROTO },
	{ "used index behind", HOSTILE_USED + 2, 2, 65535, 1, -EPROTO },
	{ "used out of order", HOSTILE_USED + 4, 4, 1, 1, -EPROTO },
	{ "used descriptor out of the table", HOSTILE_USED + 4, 4, 256, 1, -EPROTO },
	{ "used descriptor with high bits", HOSTILE_USED + 4, 4, 65536, 1, -EPROTO },
	{ "used length 0", HOSTILE_USED + 8, 4, 0, 1, -EPROTO },
	{ "used length 2", HOSTILE_USED + 8, 4, 2, 1, -EPROTO },
	{ "second used out of order", HOSTILE_USED + 12, 4, 0, 1, -EPROTO },
};

static void hostile_scene(struct hostile *h)
{
	struct ivn_ring_frame f;
	unsigned int i;

	hostile_start(h);
	for (i = 0; i < 3; i++) {
		ring_require(hostile_send(&h->peer, HOSTILE_FRAME_BYTES, i));
		ring_require(hostile_send(&h->victim, HOSTILE_FRAME_BYTES, i));
	}
	for (i = 0; i < 2; i++)
		ring_require(hostile_receive(&h->peer, &f) == 1);
}

static void hostile_write(struct hostile *h, unsigned int offset, unsigned int bytes,
			  uint64_t value)
{
	void *place = (uint8_t *)h->peer.section.mine + offset;

	switch (bytes) {
	case 2:
		WRITE_ONCE(*(__le16 *)place, cpu_to_le16(value));
		break;
	case 4:
		WRITE_ONCE(*(__le32 *)place, cpu_to_le32(value));
		break;
	default:
		WRITE_ONCE(*(__le64 *)place, cpu_to_le64(value));
		break;
	}
}

/* All that the victim was told to read */
static void hostile_read(struct hostile *h, const struct ivn_ring_frame *f)
{
	uint64_t at = (const uint8_t *)f->data - (const uint8_t *)h->peer.section.theirs;
	static uint8_t copy[HOSTILE_BYTES];

	ring_require(at >= h->l.data && at < HOSTILE_BYTES &&
		     f->len >= 14 && f->len <= HOSTILE_BYTES - at);
	memcpy(copy, f->data, f->len);
}

static bool hostile_check(struct hostile *h, const struct hostile_case *c)
{
	struct ivn_ring_frame f;
	__u64 bytes;
	bool ok;
	int rx;

	hostile_scene(h);
	hostile_write(h, c->offset, c->bytes, c->value);
	rx = ivn_ring_rx_next(&h->victim.rx, &f);
	if (rx == 1)
		hostile_read(h, &f);
	ok = rx == c->rx && ivn_ring_tx_reclaim(&h->victim.tx, 10, &bytes) == c->tx &&
	     (c->tx != 2 || bytes == 200);
	hostile_works(h);
	return ok;
}

/* Indices that go back behind what was done already */
static bool hostile_check_back(struct hostile *h)
{
	struct ivn_ring_frame f;
	__u64 bytes;
	bool ok;

	hostile_scene(h);
	ok = ivn_ring_rx_next(&h->victim.rx, &f) == 1 &&
	     ivn_ring_rx_next(&h->victim.rx, &f) == 1 &&
	     ivn_ring_rx_next(&h->victim.rx, &f) == 1 &&
	     ivn_ring_tx_reclaim(&h->victim.tx, 10, &bytes) == 2;
	hostile_write(h, HOSTILE_AVAIL + 2, 2, 2);
	hostile_write(h, HOSTILE_USED + 2, 2, 1);
	ok = ok && ivn_ring_rx_next(&h->victim.rx, &f) == -EPROTO &&
	     ivn_ring_tx_reclaim(&h->victim.tx, 10, &bytes) == -EPROTO;
	hostile_works(h);
	return ok;
}

/* Frames that come back before they were let go */
static bool hostile_check_early(struct hostile *h)
{
	__u64 bytes;
	bool ok;

	hostile_scene(h);
	ring_require(ivn_ring_tx_reserve(&h->victim.tx, HOSTILE_FRAME_BYTES));
	ivn_ring_tx_commit(&h->victim.tx, HOSTILE_FRAME_BYTES);
	hostile_write(h, HOSTILE_USED + 20, 4, 2);
	hostile_write(h, HOSTILE_USED + 24, 4, 1);
	hostile_write(h, HOSTILE_USED + 28, 4, 3);
	hostile_write(h, HOSTILE_USED + 32, 4, 1);
	hostile_write(h, HOSTILE_USED + 2, 2, 4);
	ok = ivn_ring_tx_reclaim(&h->victim.tx, 10, &bytes) == -EPROTO;
	hostile_write(h, HOSTILE_USED + 2, 2, 3);
	ok = ok && ivn_ring_tx_reclaim(&h->victim.tx, 10, &bytes) == 3;
	hostile_works(h);
	return ok;
}

static bool hostile_report(const char *name, bool ok)
{
	printf("%s: %s\n", ok ? "ok" : "WRONG", name);
	return ok;
}

/* A field, and a value for it */
static uint64_t hostile_value(uint64_t *seed, uint64_t now)
{
	static const uint64_t edges[] = {
		0, 1, 13, 14, 255, 256, 257, 6783, 6784, 65535, 65536,
		0x7fffffff, 0x80000000, UINT32_MAX, INT64_MAX, UINT64_MAX - 13,
		UINT64_MAX,
	};

	switch (ring_below(seed, 4)) {
	case 0:
		return ring_random(seed);
	case 1:
		return edges[ring_below(seed, RING_ARRAY_SIZE(edges))];
	case 2:
		return now + ring_below(seed, 4);
	default:
		return now ^ 1ULL << ring_below(seed, 64);
	}
}

static void hostile_poke(struct hostile *h, uint64_t *seed)
{
	static const struct {
		unsigned int offset, bytes, stride;
	} fields[] = {
		{ 0, 8, 16 }, { 8, 4, 16 }, { 12, 2, 16 }, { 14, 2, 16 },
		{ HOSTILE_AVAIL, 2, 0 }, { HOSTILE_AVAIL + 2, 2, 0 },
		{ HOSTILE_AVAIL + 4, 2, 2 }, { HOSTILE_AVAIL + 4 + 512, 2, 0 },
		{ HOSTILE_USED, 2, 0 }, { HOSTILE_USED + 2, 2, 0 },
		{ HOSTILE_USED + 4, 4, 8 }, { HOSTILE_USED + 8, 4, 8 },
		{ HOSTILE_USED + 4 + 2048, 2, 0 },
	};
	unsigned int i = ring_below(seed, RING_ARRAY_SIZE(fields));
	unsigned int offset = fields[i].offset +
			      fields[i].stride * ring_below(seed, h->l.qlen);
	uint64_t now = 0;

	memcpy(&now, (uint8_t *)h->peer.section.mine + offset, fields[i].bytes);
	hostile_write(h, offset, fields[i].bytes, hostile_value(seed, now));
}

/* One step of the victim; -EPROTO if it was wronged */
static int hostile_victim(struct hostile *h)
{
	unsigned int budget = ring_below(&h->seed, 32);
	struct hostile_side *v = &h->victim;
	struct ivn_ring_frame f;
	__u64 bytes;
	int got;

	switch (ring_below(&h->seed, 5)) {
	case 0:
		hostile_send(v, 14 + ring_below(&h->seed, 3000), 0);
		return 0;
	case 1:
		got = ivn_ring_tx_reclaim(&v->tx, budget, &bytes);
		ring_require(got == -EPROTO || (got >= 0 && got <= (int)budget));
		h->returned += got > 0 ? got : 0;
		h->violations[0] += got < 0;
		ring_require(ivn_ring_tx_pending(&v->tx) <= h->l.qlen);
		return got < 0 ? got : 0;
	case 2:
		ivn_ring_tx_arm(&v->tx, budget);
		ivn_ring_rx_arm(&v->rx);
		return 0;
	default:
		got = ivn_ring_rx_next(&v->rx, &f);
		ring_require(got == 0 || got == 1 || got == -EPROTO);
		h->violations[1] += got < 0;
		if (got != 1)
			return got;
		hostile_read(h, &f);
		ivn_ring_rx_release(&v->rx, &f);
		ivn_ring_rx_publish(&v->rx);
		h->frames++;
		return 0;
	}
}

static void hostile_peer(struct hostile *h, uint64_t *seed, unsigned int steps)
{
	struct ivn_ring_frame f;
	__u64 bytes;

	if (!ring_below(seed, steps)) {
		hostile_poke(h, seed);
		h->pokes++;
	} else if (ring_below(seed, 2)) {
		hostile_send(&h->peer, 14 + ring_below(seed, 3000), 0);
		ivn_ring_tx_reclaim(&h->peer.tx, 16, &bytes);
	} else {
		hostile_receive(&h->peer, &f);
	}
}

/* What the victim writes is lawful, whatever is done to it */
static void hostile_lawful(struct hostile *h)
{
	const uint8_t *section = h->victim.section.mine;
	const struct ivshmem_net_desc *desc = (const void *)section;
	unsigned int i;

	for (i = 0; i < h->l.qlen; i++) {
		uint64_t addr = le64_to_cpu(desc[i].addr);
		uint32_t len = le32_to_cpu(desc[i].len);

		ring_require(!desc[i].flags);
		ring_require(!len || (addr >= h->l.data && addr % 64 == 0 &&
				      addr + len <= HOSTILE_BYTES - 64));
	}
}

static void hostile_batch(struct hostile *h)
{
	unsigned int i;

	for (i = 0; i < HOSTILE_BATCH; i++) {
		hostile_peer(h, &h->seed, HOSTILE_TURN_STEPS);
		if (hostile_victim(h)) {
			hostile_lawful(h);
			hostile_start(h);
		}
	}
	hostile_works(h);
}

static void *hostile_thread(void *arg)
{
	struct hostile *h = arg;
	uint64_t seed = ~h->seed;
	unsigned int starts = 0, now;

	while (!READ_ONCE(hostile_stop)) {
		now = READ_ONCE(hostile_starts);
		if (now != starts)
			hostile_start_side(h, &h->peer, &h->victim);
		starts = now;
		WRITE_ONCE(hostile_started, now);
		hostile_peer(h, &seed, HOSTILE_RACE_STEPS);
	}
	return NULL;
}

static void hostile_restart(struct hostile *h)
{
	hostile_start_side(h, &h->victim, &h->peer);
	WRITE_ONCE(hostile_starts, hostile_starts + 1);
	while (READ_ONCE(hostile_started) != hostile_starts)
		sched_yield();
}

static void hostile_race(struct hostile *h, uint64_t end)
{
	pthread_t thread;
	unsigned int i;

	ring_require(!pthread_create(&thread, NULL, hostile_thread, h));
	do {
		for (i = 0; i < HOSTILE_BATCH; i++)
			if (hostile_victim(h))
				hostile_restart(h);
		hostile_lawful(h);
	} while (ring_now_ms() < end);
	WRITE_ONCE(hostile_stop, true);
	pthread_join(thread, NULL);
	hostile_works(h);
}

static bool hostile_counts(const char *what, const struct hostile *h)
{
	printf("%s: %llu pokes; %llu frames in, %llu refused; %llu back, %llu refused\n",
	       what, (unsigned long long)h->pokes,
	       (unsigned long long)h->frames,
	       (unsigned long long)h->violations[1],
	       (unsigned long long)h->returned,
	       (unsigned long long)h->violations[0]);
	return h->violations[0] && h->violations[1];
}

int main(int argc, char **argv)
{
	unsigned int seconds = ring_seconds(argc, argv);
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	uint64_t end = ring_now_ms() + seconds * 500ULL;
	static struct hostile h;
	unsigned int i;
	bool ok = true;

	hostile_open(&h, seed);
	for (i = 0; i < RING_ARRAY_SIZE(hostile_cases); i++)
		ok &= hostile_report(hostile_cases[i].name,
				     hostile_check(&h, &hostile_cases[i]));
	ok &= hostile_report("indices that go back", hostile_check_back(&h));
	ok &= hostile_report("used frame that was not published",
			     hostile_check_early(&h));

	printf("seed %llu\n", (unsigned long long)seed);
	do
		hostile_batch(&h);
	while (ring_now_ms() < end);
	ok &= hostile_counts("by turns", &h);
	hostile_close(&h);

	hostile_open(&h, seed);
	hostile_race(&h, ring_now_ms() + seconds * 500ULL);
	ok &= hostile_counts("at once", &h);
	hostile_close(&h);
	return ok ? 0 : 1;
}
