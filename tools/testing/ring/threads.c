// SPDX-License-Identifier: GPL-2.0
/*
 * The ends of rings in threads of their own, a pair for each queue. Who has
 * nothing to do asks for a doorbell and sleeps until it rings, so a lost
 * wake-up shows as a sleep that nobody ends. Frames carry their number and are
 * checked to the last byte. Threads yield and dawdle at random.
 *
 * Usage: ring-threads [SECONDS [SEED]]
 */
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "section.h"

#define THREADS_BATCH		64
#define THREADS_LOST_MS		10000	/* nobody sleeps for so long */
#define THREADS_SPINS		1024

/* Nothing else: no lock and no order that could stand in for a barrier */
struct threads_bell {
	bool rung;
};

/* The first has more frames than the indices can count */
struct threads_case {
	uint64_t bytes;
	unsigned int n;
	uint32_t frames;
};

static const struct threads_case threads_cases[] = {
	{ 16384, 1, 70000 }, { 65536, 1, 20000 }, { 65536, 3, 10000 },
	{ 1048576, 2, 20000 }, { 16777216, 1, 20000 },
};

struct threads_queue {
	struct ivn_ring_tx tx;
	struct ivn_ring_rx rx;
	void *private;
	uint32_t frames, longest;
	uint64_t tx_seed, rx_seed;
	struct threads_bell tx_bell, rx_bell;
	uint64_t tx_sleeps, rx_sleeps;	/* each its thread's */
	pthread_t sender, receiver;
};

static void threads_ring(struct threads_bell *bell)
{
	virt_store_release(&bell->rung, true); /* index before bell; threads_listen() */
}

/* Looks at the bell alone, closely: most wake-ups are lost in the first moment */
static void threads_sleep(struct threads_bell *bell, const char *who)
{
	uint64_t limit = ring_now_ms() + THREADS_LOST_MS;
	unsigned int i;

	for (i = 1; !READ_ONCE(bell->rung); i++) {
		if (i % THREADS_SPINS)
			continue;
		usleep(1);
		if (ring_now_ms() < limit)
			continue;
		printf("the %s sleeps for ever\n", who);
		ring_require(false);
	}
}

/* What rings from here on ends the sleep; before the look that goes with arming */
static void threads_listen(struct threads_bell *bell)
{
	WRITE_ONCE(bell->rung, false);
}

static void threads_dawdle(uint64_t *seed)
{
	uint32_t n = ring_below(seed, 512);

	if (!n)
		sched_yield();
	for (n = n < 4 ? 5000 : n % 256; n; n--)
		__asm__ volatile("");
}

static void threads_reclaim(struct threads_queue *q)
{
	__u64 bytes;

	ring_require(ivn_ring_tx_reclaim(&q->tx, 1 + ring_below(&q->tx_seed, 256),
					 &bytes) >= 0);
	threads_dawdle(&q->tx_seed);
}

static void threads_publish(struct threads_queue *q)
{
	if (ivn_ring_tx_publish(&q->tx))
		threads_ring(&q->rx_bell);
	threads_dawdle(&q->tx_seed);
}

/* Room for a frame, asleep as long as there is none */
static void *threads_reserve(struct threads_queue *q, uint32_t len)
{
	void *place;

	for (;;) {
		place = ivn_ring_tx_reserve(&q->tx, len);
		if (place)
			return place;
		threads_publish(q);
		threads_reclaim(q);
		if (ivn_ring_tx_room(&q->tx, len))
			continue;
		threads_listen(&q->tx_bell);
		if (ivn_ring_tx_arm(&q->tx, ring_below(&q->tx_seed, 128)))
			continue;
		threads_sleep(&q->tx_bell, "sender");
		q->tx_sleeps++;
	}
}

/* Until all are back: the receiver runs dry, too, and the last one wakes me */
static void threads_drain(struct threads_queue *q)
{
	threads_publish(q);
	for (;;) {
		threads_reclaim(q);
		if (!ivn_ring_tx_pending(&q->tx))
			return;
		threads_listen(&q->tx_bell);
		if (ivn_ring_tx_arm(&q->tx, ivn_ring_tx_pending(&q->tx)))
			continue;
		threads_sleep(&q->tx_bell, "sender");
		q->tx_sleeps++;
	}
}

static uint32_t threads_length(struct threads_queue *q)
{
	uint32_t most = ring_below(&q->tx_seed, 64) ? 256 : q->longest;

	return 14 + ring_below(&q->tx_seed, most - 13);
}

static void *threads_send(void *arg)
{
	struct threads_queue *q = arg;
	uint32_t number, len, batch = 0, most = 1;
	void *place;

	for (number = 0; number < q->frames; number++) {
		len = threads_length(q);
		place = threads_reserve(q, len);
		ring_frame_fill(place, len, number);
		ivn_ring_tx_commit(&q->tx, len);
		if (!batch--) {
			threads_publish(q);
			batch = ring_below(&q->tx_seed, most);
		}
		if (!ring_below(&q->tx_seed, 32))
			threads_reclaim(q);
		if (!ring_below(&q->tx_seed, most == 1 ? 4 : 256))
			threads_drain(q);
		if (!ring_below(&q->tx_seed, 512))
			most = ring_below(&q->tx_seed, 2) ? 1 : THREADS_BATCH;
	}
	threads_drain(q);
	return NULL;
}

static void threads_return(struct threads_queue *q)
{
	if (ivn_ring_rx_publish(&q->rx))
		threads_ring(&q->tx_bell);
	threads_dawdle(&q->rx_seed);
}

/* The next frame, asleep as long as there is none */
static void threads_next(struct threads_queue *q, struct ivn_ring_frame *f)
{
	int got;

	for (;;) {
		got = ivn_ring_rx_next(&q->rx, f);
		ring_require(got >= 0);
		if (got)
			return;
		threads_return(q);
		threads_listen(&q->rx_bell);
		if (ivn_ring_rx_arm(&q->rx))
			continue;
		threads_sleep(&q->rx_bell, "receiver");
		q->rx_sleeps++;
	}
}

static void *threads_receive(void *arg)
{
	struct threads_queue *q = arg;
	struct ivn_ring_frame f;
	uint32_t number;

	for (number = 0; number < q->frames; number++) {
		threads_next(q, &f);
		threads_dawdle(&q->rx_seed);
		ring_require(ring_frame_check(f.data, f.len, number));
		ivn_ring_rx_release(&q->rx, &f);
		if (!ring_below(&q->rx_seed, 16))
			threads_return(q);
	}
	threads_return(q);
	return NULL;
}

static void threads_start(struct threads_queue *q, const struct ivn_ring_layout *l,
			  const struct ring_section *a, const struct ring_section *b,
			  uint64_t seed)
{
	q->private = malloc(ivn_ring_tx_bytes(l->qlen));
	ivn_ring_tx_init(&q->tx, l, a->mine, b->theirs, q->private);
	ivn_ring_rx_init(&q->rx, l, b->mine, a->theirs);
	q->longest = l->send_end - l->data - 64;
	if (q->longest > 9000)
		q->longest = 9000;
	q->tx_seed = seed;
	q->rx_seed = ~seed;
	ring_require(!pthread_create(&q->sender, NULL, threads_send, q));
	ring_require(!pthread_create(&q->receiver, NULL, threads_receive, q));
}

static void threads_finish(struct threads_queue *q)
{
	pthread_join(q->sender, NULL);
	pthread_join(q->receiver, NULL);
	free(q->private);
}

/* Returns the number of frames */
static uint32_t threads_run(const struct threads_case *c, uint64_t seed)
{
	struct threads_queue queue[IVSHMEM_NET_MAX_QUEUES] = { 0 };
	uint64_t tx_sleeps = 0, rx_sleeps = 0;
	struct ring_section a, b;
	struct ivn_ring_layout l;
	unsigned int q;

	ring_section_map(&a, c->bytes);
	ring_section_map(&b, c->bytes);
	ivn_ring_clear(a.mine, c->bytes, c->n);
	ivn_ring_clear(b.mine, c->bytes, c->n);
	for (q = 0; q < c->n; q++) {
		ring_require(!ivn_ring_queue_layout(&l, c->bytes, c->n, q));
		queue[q].frames = c->frames;
		threads_start(&queue[q], &l, &a, &b, ring_random(&seed));
	}
	for (q = 0; q < c->n; q++) {
		threads_finish(&queue[q]);
		tx_sleeps += queue[q].tx_sleeps;
		rx_sleeps += queue[q].rx_sleeps;
	}
	ring_section_unmap(&a);
	ring_section_unmap(&b);
	printf("%llu bytes, %u queues: %u frames, senders slept %llu times, receivers %llu\n",
	       (unsigned long long)c->bytes, c->n, c->n * c->frames,
	       (unsigned long long)tx_sleeps, (unsigned long long)rx_sleeps);
	ring_require(tx_sleeps && rx_sleeps);
	return c->n * c->frames;
}

int main(int argc, char **argv)
{
	uint64_t end = ring_now_ms() + ring_seconds(argc, argv) * 1000ULL;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	uint64_t frames = 0;
	unsigned int i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	do {
		printf("seed %llu\n", (unsigned long long)seed);
		for (i = 0; i < RING_ARRAY_SIZE(threads_cases); i++)
			frames += threads_run(&threads_cases[i], seed);
		seed++;
	} while (ring_now_ms() < end);
	printf("ok: %llu frames\n", (unsigned long long)frames);
	return 0;
}
