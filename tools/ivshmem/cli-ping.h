/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where ping and pong meet: an area at the end of each peer's own section.
 *
 *   +----+------------------+ all little endian
 *   | 00 | u32 ping magic   | "PING" while the owner pings, else 0
 *   | 04 | u32 target       | id of the peer that shall answer
 *   | 08 | u32 sequence     | of the latest request, 0 = none
 *   | 0c | u32 pong magic   | "PONG" while the owner answers, "DONE" after
 *   | 10 | u32 answer[n]    | latest request of peer n that the owner answered
 *   +----+------------------+ rounded up to 64 bytes: 64 for 2..12 peers
 *
 * It lies at the end of the peer's output section, which nobody else can
 * write. Without output sections the R/W section ends with the areas of all
 * peers, in the order of the ids.
 *
 * A request is: store the target, then the sequence, then ring vector 0 of
 * the target. The target compares the sequences of everybody who names it
 * with what it answered last, stores, and rings vector 0 back. Each word has
 * one writer, so any number of peers may ping one.
 */
#ifndef CLI_PING_H
#define CLI_PING_H

#include "cli.h"

#define PING_MAGIC_PING		0x474e4950
#define PING_MAGIC_PONG		0x474e4f50
#define PING_MAGIC_DONE		0x454e4f44
#define PING_VECTOR		0

struct ping_area {
	uint32_t ping_magic;
	uint32_t target;
	uint32_t sequence;
	uint32_t pong_magic;
	uint32_t answer[];
};

/* Bytes of one area, and a description of where it lies */
uint64_t ping_area_size(const struct ivshmem_peer *peer);
const char *ping_area_place(const struct ivshmem_peer *peer);

/* The area of a peer, once ping_area_claim() has found that there is room */
const struct ping_area *ping_area_of(const struct ivshmem_peer *peer,
				     uint32_t id);

/*
 * The own one, if there is room and it holds nothing else, or if forced.
 * CLI_OK or CLI_FAILED.
 */
int ping_area_claim(struct ivshmem_peer *peer, bool force,
		    struct ping_area **area);

static inline uint32_t ping_load(const uint32_t *word)
{
	/* Pairs with ping_store() of the other side */
	return le32toh(__atomic_load_n(word, __ATOMIC_ACQUIRE));
}

static inline void ping_store(uint32_t *word, uint32_t value)
{
	/* Pairs with ping_load() of the other side */
	__atomic_store_n(word, htole32(value), __ATOMIC_RELEASE);
}

#endif /* CLI_PING_H */
