// SPDX-License-Identifier: GPL-2.0
/*
 * Prints how many kHz the TSC of this machine counts, which is what guests
 * see under TCG. A guest that measures it itself while the machine is busy gets
 * it wrong by any factor, and its clock with it. Runs on the host.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define TSC_PAUSE_NS		50000000
#define TSC_TRIES		1000

static uint64_t tsc_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* Both clocks at one moment: of many looks, the one that took least time */
static void tsc_read(uint64_t *ns, uint64_t *ticks)
{
	uint64_t before, after, now, best = UINT64_MAX;
	int i;

	for (i = 0; i < TSC_TRIES; i++) {
		before = __rdtsc();
		now = tsc_ns();
		after = __rdtsc();
		if (after - before >= best)
			continue;
		best = after - before;
		*ns = now;
		*ticks = before + best / 2;
	}
}

int main(void)
{
	const struct timespec pause = { .tv_nsec = TSC_PAUSE_NS };
	uint64_t ns[2], ticks[2];

	tsc_read(&ns[0], &ticks[0]);
	nanosleep(&pause, NULL);
	tsc_read(&ns[1], &ticks[1]);
	printf("%.0f\n", (double)(ticks[1] - ticks[0]) * 1000000 / (ns[1] - ns[0]));
	return 0;
}
