/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Messages of a server, from the input: most of them right in their form, with
 * numbers that are in range or nearly so, and any of them wrong in some way.
 */
#ifndef _FUZZ_MESSAGE_H
#define _FUZZ_MESSAGE_H

#include <endian.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <linux/ivshmem_server.h>

#include "input.h"

#define FUZZ_MESSAGE_BYTES	128
#define FUZZ_MESSAGE_FDS	8

/**
 * struct fuzz_message - what a server sends in one go
 * @words: the message, or any bytes
 * @len: bytes of it
 * @fds: descriptors to go with it
 * @num: how many, 0..2
 */
struct fuzz_message {
	uint32_t words[FUZZ_MESSAGE_BYTES / 4];
	size_t len;
	int fds[2];
	unsigned int num;
};

/* Memory of several sizes, eventfds, and neither */
static inline int fuzz_message_fd(unsigned int i)
{
	static const size_t sizes[] = { 4096, 16384, 65536, 6000 };
	static int fds[FUZZ_MESSAGE_FDS];

	if (fds[i])
		return fds[i];
	if (i < 4)
		fds[i] = memfd_create("fuzz", 0);
	else
		/* cppcheck-suppress arrayIndexOutOfBoundsCond; loops end before 8 */
		fds[i] = i < 7 ? eventfd(0, 0) : open("/dev/null", O_RDWR);
	fuzz_require(fds[i] > 0 && (i >= 4 || !ftruncate(fds[i], sizes[i])));
	return fds[i];
}

static inline void fuzz_message_words(struct fuzz_input *in,
				      struct fuzz_message *m, uint32_t type)
{
	unsigned int i, n = type == IVSHMEM_MSG_EVENT_FD ? 4 : 3;

	if (type == IVSHMEM_MSG_INIT) {
		n = sizeof(struct ivshmem_msg_init) / 4;
		m->words[8] = htole32(fuzz_u8(in) * 1024);
	}
	for (i = 2; i < n && i < 8; i++)
		m->words[i] = htole32(fuzz_u8(in) & 7);
	if (type == IVSHMEM_MSG_INIT) {
		m->words[2] = htole32(IVSHMEM_SERVER_VERSION);
		m->words[3] = htole32(IVSHMEM_SERVER_VERSION);
	}
	m->words[0] = htole32(type);
	m->words[1] = htole32(n * 4);
	m->len = n * 4;
}

static inline void fuzz_message_next(struct fuzz_input *in, struct fuzz_message *m)
{
	uint8_t kind = fuzz_u8(in), with = fuzz_u8(in), wrong;

	memset(m, 0, sizeof(*m));
	m->num = with & 0xc0 ? with >> 7 : 1;
	m->num += with >= 0xf0;
	m->fds[0] = fuzz_message_fd(with & 7);
	m->fds[1] = fuzz_message_fd(with >> 3 & 7);
	if (kind & 4) {
		m->len = 1 + fuzz_u8(in) % FUZZ_MESSAGE_BYTES;
		fuzz_take(in, m->words, m->len);
		return;
	}
	fuzz_message_words(in, m, kind & 3);
	for (wrong = kind >> 6; wrong; wrong--)
		m->words[fuzz_u8(in) % (m->len / 4)] = fuzz_u32(in);
}

#endif /* _FUZZ_MESSAGE_H */
