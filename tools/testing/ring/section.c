// SPDX-License-Identifier: GPL-2.0
/*
 * Sections in memory, with pages around them that nobody may touch.
 */
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "section.h"

#define RING_GUARD_BYTES	65536
#define RING_WORD_BYTES		4

/* The thread sanitizer takes two addresses for two memories */
#ifdef __has_feature
#define RING_ONE_MAPPING __has_feature(thread_sanitizer)
#elif defined(__SANITIZE_THREAD__)
#define RING_ONE_MAPPING 1
#else
#define RING_ONE_MAPPING 0
#endif

/* The end of the section touches the guard; its start does, if it has pages */
static void *ring_section_place(int fd, uint64_t bytes, int prot)
{
	uint8_t *base = mmap(NULL, bytes + 2 * RING_GUARD_BYTES, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ring_require(base != MAP_FAILED);
	base = mmap(base + RING_GUARD_BYTES, bytes, prot,
		    MAP_SHARED | MAP_FIXED, fd, 0);
	ring_require(base != MAP_FAILED);
	return base;
}

void ring_section_map(struct ring_section *section, uint64_t bytes)
{
	int fd = memfd_create("section", MFD_CLOEXEC);

	ring_require(fd >= 0 && !ftruncate(fd, bytes));
	section->bytes = bytes;
	section->mine = ring_section_place(fd, bytes, PROT_READ | PROT_WRITE);
	section->theirs = section->mine;
	if (!RING_ONE_MAPPING)
		section->theirs = ring_section_place(fd, bytes, PROT_READ);
	close(fd);
}

static void ring_section_remove(const void *place, uint64_t bytes)
{
	munmap((uint8_t *)place - RING_GUARD_BYTES, bytes + 2 * RING_GUARD_BYTES);
}

void ring_section_unmap(struct ring_section *section)
{
	if (section->theirs != section->mine)
		ring_section_remove(section->theirs, section->bytes);
	ring_section_remove(section->mine, section->bytes);
}

void ring_limit(unsigned int seconds)
{
	alarm(seconds);
}

unsigned int ring_seconds(int argc, char **argv)
{
	unsigned int seconds = argc > 1 ? strtoul(argv[1], NULL, 10) : 2;

	ring_limit(60 + 4 * seconds);
	return seconds;
}

uint64_t ring_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

/* splitmix64: any seed will do */
uint64_t ring_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint32_t ring_below(uint64_t *state, uint32_t limit)
{
	return ring_random(state) % limit;
}

static uint32_t ring_frame_word(uint32_t number, uint32_t i)
{
	return (number ^ i) * 2654435761u;
}

void ring_frame_fill(void *frame, uint32_t len, uint32_t number)
{
	uint32_t i, word;

	memset(frame, number, len);
	for (i = 0; i + RING_WORD_BYTES <= len; i += RING_WORD_BYTES) {
		word = ring_frame_word(number, len ^ i);
		memcpy((uint8_t *)frame + i, &word, RING_WORD_BYTES);
	}
}

bool ring_frame_check(const void *frame, uint32_t len, uint32_t number)
{
	uint32_t i, word;

	for (i = 0; i + RING_WORD_BYTES <= len; i += RING_WORD_BYTES) {
		memcpy(&word, (const uint8_t *)frame + i, RING_WORD_BYTES);
		if (word != ring_frame_word(number, len ^ i))
			return false;
	}
	for (; i < len; i++)
		if (((const uint8_t *)frame)[i] != (uint8_t)number)
			return false;
	return true;
}
