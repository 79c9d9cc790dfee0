/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of the rings share: an output section as two virtual machines
 * see it, random numbers from a seed, frames that can be recognised.
 */
#ifndef _RING_SECTION_H
#define _RING_SECTION_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "ivshmem-net-link.h"

/**
 * struct ring_section - an output section between inaccessible pages
 * @mine: as its owner sees it
 * @theirs: as the peer sees it: read only
 * @bytes: its size
 */
struct ring_section {
	void *mine;
	const void *theirs;
	uint64_t bytes;
};

void ring_section_map(struct ring_section *section, uint64_t bytes);
void ring_section_unmap(struct ring_section *section);

/* Ends the program if it runs for longer */
void ring_limit(unsigned int seconds);
unsigned int ring_seconds(int argc, char **argv);
uint64_t ring_now_ms(void);

uint64_t ring_random(uint64_t *state);
uint32_t ring_below(uint64_t *state, uint32_t limit);

void ring_frame_fill(void *frame, uint32_t len, uint32_t number);
bool ring_frame_check(const void *frame, uint32_t len, uint32_t number);

#define RING_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define ring_require(what)						\
do {									\
	if (!(what)) {							\
		printf("WRONG: %s:%d: %s\n", __FILE__, __LINE__, #what);	\
		fflush(stdout);						\
		abort();						\
	}								\
} while (0)

#endif /* _RING_SECTION_H */
