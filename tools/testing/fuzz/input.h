/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The input of a fuzzer as numbers; behind its end are zeros.
 */
#ifndef _FUZZ_INPUT_H
#define _FUZZ_INPUT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/**
 * struct fuzz_input - what is left of the input
 * @data: next byte
 * @size: bytes left
 */
struct fuzz_input {
	const uint8_t *data;
	size_t size;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define fuzz_require(what)						\
do {									\
	if (!(what)) {							\
		fprintf(stderr, "WRONG: %s:%d: %s\n", __FILE__, __LINE__, #what); \
		abort();						\
	}								\
} while (0)

static inline void fuzz_take(struct fuzz_input *in, void *to, size_t len)
{
	size_t n = len < in->size ? len : in->size;

	memset(to, 0, len);
	if (!n)
		return;
	memcpy(to, in->data, n);
	in->data += n;
	in->size -= n;
}

static inline uint8_t fuzz_u8(struct fuzz_input *in)
{
	uint8_t value;

	fuzz_take(in, &value, sizeof(value));
	return value;
}

static inline uint16_t fuzz_u16(struct fuzz_input *in)
{
	uint16_t value;

	fuzz_take(in, &value, sizeof(value));
	return value;
}

static inline uint32_t fuzz_u32(struct fuzz_input *in)
{
	uint32_t value;

	fuzz_take(in, &value, sizeof(value));
	return value;
}

static inline uint64_t fuzz_u64(struct fuzz_input *in)
{
	uint64_t value;

	fuzz_take(in, &value, sizeof(value));
	return value;
}

/* Memory of exactly that size: the sanitizer sees the first byte beyond */
static inline void *fuzz_section(size_t bytes)
{
	void *section = aligned_alloc(4096, bytes);

	fuzz_require(section);
	return memset(section, 0, bytes);
}

/* The lowest free descriptor: another one than before is a leak */
static inline int fuzz_free_fd(void)
{
	int fd = dup(STDIN_FILENO);

	fuzz_require(fd >= 0);
	close(fd);
	return fd;
}

#endif /* _FUZZ_INPUT_H */
