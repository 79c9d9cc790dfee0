// SPDX-License-Identifier: GPL-2.0
/*
 * Both ends of a ring, driven at random by one thread, against a reference that
 * is too simple to be wrong: frames in a list, a map of 64-byte blocks, and
 * events that are found by counting. Each run is told by its seed.
 *
 * Usage: ring-model [SECONDS [SEED]]
 */
#include "section.h"

#define MODEL_STEPS		500000
#define MODEL_BLOCK		64
#define MODEL_MAX_BLOCKS	(1024 * 1024 / MODEL_BLOCK)
#define MODEL_NUMBERS		65536

struct model_frame {
	uint64_t block, blocks;
	uint32_t len;
};

/* Frames by number; the counters run from 0 and never wrap */
struct model {
	uint64_t seed;
	struct ring_section a, b;
	struct ivn_ring_layout l;
	struct ivn_ring_tx tx;
	struct ivn_ring_rx rx;
	void *private;
	struct model_frame frame[MODEL_NUMBERS];
	struct ivn_ring_frame held[IVSHMEM_NET_MAX_QLEN];
	bool used[MODEL_MAX_BLOCKS];
	uint64_t blocks, head;
	uint64_t committed, sent, taken, released, returned, reclaimed;
	uint64_t tx_event, rx_event;	/* doorbell when this one is passed */
	uint64_t doorbells;
};

static struct model_frame *model_frame(struct model *m, uint64_t number)
{
	return &m->frame[number % MODEL_NUMBERS];
}

static bool model_free(const struct model *m, uint64_t block, uint64_t blocks)
{
	uint64_t i;

	if (block + blocks > m->blocks)
		return false;
	for (i = block; i < block + blocks; i++)
		if (m->used[i])
			return false;
	return true;
}

/* Behind the youngest frame, else at the start; an empty ring starts over */
static bool model_find(const struct model *m, uint64_t blocks, uint64_t *block)
{
	if (m->committed - m->reclaimed == m->l.qlen)
		return false;
	*block = m->committed == m->reclaimed ? 0 : m->head;
	if (model_free(m, *block, blocks))
		return true;
	*block = 0;
	return model_free(m, 0, blocks);
}

static uint32_t model_length(struct model *m)
{
	uint32_t most = m->blocks * MODEL_BLOCK;

	switch (ring_below(&m->seed, 256)) {
	case 0:
		return 14 + ring_below(&m->seed, most);
	case 1:
		return 14 + ring_below(&m->seed, most / 4);
	default:
		return 14 + ring_below(&m->seed, 1501);
	}
}

static void model_mark(struct model *m, const struct model_frame *f, bool used)
{
	uint64_t i;

	for (i = f->block; i < f->block + f->blocks; i++)
		m->used[i] = used;
}

static void model_send(struct model *m)
{
	uint32_t len = model_length(m), less = len;
	struct model_frame *f = model_frame(m, m->committed);
	uint64_t block, blocks = (len + 18 + 63) / 64;
	bool fits = model_find(m, blocks, &block);
	uint8_t *place;

	ring_require(ivn_ring_tx_room(&m->tx, len) == fits);
	ring_require(ivn_ring_tx_fits(&m->tx, len) == (blocks <= m->blocks));
	place = ivn_ring_tx_reserve(&m->tx, len);
	ring_require(!!place == fits);
	if (!place)
		return;
	ring_require(place == (uint8_t *)m->a.mine + m->l.data + block * MODEL_BLOCK);
	if (!ring_below(&m->seed, 16))
		return;
	if (!ring_below(&m->seed, 4))
		less = 14 + ring_below(&m->seed, len - 13);

	ring_frame_fill(place, less, m->committed);
	ivn_ring_tx_commit(&m->tx, less);
	*f = (struct model_frame) { block, (less + 18 + 63) / 64, less };
	model_mark(m, f, true);
	m->head = f->block + f->blocks;
	m->committed++;
}

static void model_publish(struct model *m)
{
	bool wanted = m->rx_event >= m->sent && m->rx_event < m->committed;

	ring_require(ivn_ring_tx_publish(&m->tx) == wanted);
	m->sent = m->committed;
	m->doorbells += wanted;
}

static void model_take(struct model *m)
{
	struct ivn_ring_frame *f = &m->held[m->taken % IVSHMEM_NET_MAX_QLEN];
	struct model_frame *expected = model_frame(m, m->taken);
	int got = ivn_ring_rx_next(&m->rx, f);

	ring_require(got == (m->taken < m->sent));
	if (!got)
		return;
	ring_require(f->len == expected->len);
	ring_require(f->data == (const uint8_t *)m->a.theirs + m->l.data +
				expected->block * MODEL_BLOCK);
	ring_require(ring_frame_check(f->data, f->len, m->taken));
	m->taken++;
}

/* A frame that was taken stays what it is until it is released */
static void model_release(struct model *m)
{
	const struct ivn_ring_frame *f = &m->held[m->released % IVSHMEM_NET_MAX_QLEN];

	if (m->released == m->taken)
		return;
	ring_require(ring_frame_check(f->data, f->len, m->released));
	ivn_ring_rx_release(&m->rx, f);
	m->released++;
}

static void model_return(struct model *m)
{
	bool wanted = m->tx_event >= m->returned && m->tx_event < m->released;

	ring_require(ivn_ring_rx_publish(&m->rx) == wanted);
	m->returned = m->released;
	m->doorbells += wanted;
}

static void model_reclaim(struct model *m)
{
	uint64_t there = m->returned - m->reclaimed, sum = 0;
	unsigned int budget = ring_below(&m->seed, 64);
	__u64 bytes;
	int i, got = ivn_ring_tx_reclaim(&m->tx, budget, &bytes);

	ring_require(got >= 0 && (uint64_t)got == (there < budget ? there : budget));
	for (i = 0; i < got; i++, m->reclaimed++) {
		struct model_frame *f = model_frame(m, m->reclaimed);

		sum += f->len;
		model_mark(m, f, false);
	}
	ring_require(bytes == sum);
}

/* Never beyond what is in flight: such a doorbell would not come */
static void model_tx_arm(struct model *m)
{
	uint64_t flight = m->sent - m->reclaimed;
	uint32_t after = ring_below(&m->seed, 2 * m->l.qlen);

	ring_require(ivn_ring_tx_arm(&m->tx, after) == (m->returned > m->reclaimed));
	if (after >= flight)
		after = flight ? flight - 1 : 0;
	m->tx_event = m->reclaimed + after;
}

static void model_rx_arm(struct model *m)
{
	ring_require(ivn_ring_rx_arm(&m->rx) == (m->sent > m->taken));
	m->rx_event = m->taken;
}

/* An event means the next index that equals it, even 65536 later */
static void model_wrap(struct model *m)
{
	while (m->rx_event < m->sent)
		m->rx_event += 65536;
	while (m->tx_event < m->returned)
		m->tx_event += 65536;
}

static void model_step(struct model *m)
{
	static void (*const steps[])(struct model *) = {
		model_send, model_send, model_send, model_publish, model_take,
		model_take, model_release, model_release, model_return,
		model_reclaim, model_tx_arm, model_rx_arm,
	};

	model_wrap(m);
	steps[ring_below(&m->seed, RING_ARRAY_SIZE(steps))](m);
	ring_require(ivn_ring_tx_pending(&m->tx) == m->committed - m->reclaimed);
}

static const struct {
	uint64_t bytes;
	unsigned int n;
} model_sections[] = {
	{ 4096, 1 }, { 16384, 1 }, { 65536, 1 }, { 65536, 3 }, { 0x7e000, 2 },
	{ 1048576, 1 }, { 1048576, 8 },
};

static void model_open(struct model *m, uint64_t seed)
{
	unsigned int i = seed % RING_ARRAY_SIZE(model_sections);
	unsigned int n = model_sections[i].n;

	m->seed = seed;
	ring_section_map(&m->a, model_sections[i].bytes);
	ring_section_map(&m->b, model_sections[i].bytes);
	ring_require(!ivn_ring_queue_layout(&m->l, m->a.bytes, n,
					    ring_below(&m->seed, n)));
	ivn_ring_clear(m->a.mine, m->a.bytes, n);
	ivn_ring_clear(m->b.mine, m->b.bytes, n);
	m->private = malloc(ivn_ring_tx_bytes(m->l.qlen));
	ivn_ring_tx_init(&m->tx, &m->l, m->a.mine, m->b.theirs, m->private);
	ivn_ring_rx_init(&m->rx, &m->l, m->b.mine, m->a.theirs);
	m->blocks = (m->l.send_end - m->l.data) / MODEL_BLOCK;
}

static void model_close(struct model *m)
{
	ring_section_unmap(&m->a);
	ring_section_unmap(&m->b);
	free(m->private);
}

int main(int argc, char **argv)
{
	uint64_t end = ring_now_ms() + ring_seconds(argc, argv) * 1000ULL;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	uint64_t first = seed, steps = 0, frames = 0, doorbells = 0, most = 0;
	unsigned int i;

	do {
		struct model *m = calloc(1, sizeof(*m));

		printf("seed %llu\n", (unsigned long long)seed);
		model_open(m, seed++);
		for (i = 0; i < MODEL_STEPS; i++)
			model_step(m);
		model_close(m);
		steps += MODEL_STEPS;
		frames += m->taken;
		doorbells += m->doorbells;
		if (m->reclaimed > most)
			most = m->reclaimed;
		free(m);
	} while (seed - first < RING_ARRAY_SIZE(model_sections) || ring_now_ms() < end);
	printf("ok: %llu runs, %llu steps, %llu frames (%llu in one ring), %llu doorbells\n",
	       (unsigned long long)(seed - first), (unsigned long long)steps,
	       (unsigned long long)frames, (unsigned long long)most,
	       (unsigned long long)doorbells);
	return 0;
}
