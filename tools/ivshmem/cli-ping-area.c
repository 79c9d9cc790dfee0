// SPDX-License-Identifier: GPL-2.0
/* Finds the area of cli-ping.h, and makes sure that it is nobody else's. */
#include <inttypes.h>

#include "cli-ping.h"

#define PING_AREA_ALIGN		64ULL

uint64_t ping_area_size(const struct ivshmem_peer *peer)
{
	uint64_t size = sizeof(struct ping_area) + 4ULL * peer->max_peers;

	return (size + PING_AREA_ALIGN - 1) & ~(PING_AREA_ALIGN - 1);
}

const char *ping_area_place(const struct ivshmem_peer *peer)
{
	return peer->output_size ? "output section" : "R/W section";
}

/* Distance from the end of whatever section it is in */
static uint64_t ping_area_back(const struct ivshmem_peer *peer, uint32_t id)
{
	if (peer->output_size)
		return ping_area_size(peer);
	return ping_area_size(peer) * (peer->max_peers - id);
}

const struct ping_area *ping_area_of(const struct ivshmem_peer *peer,
				     uint32_t id)
{
	const char *section = peer->rw;
	uint64_t size = peer->rw_size;

	if (peer->output_size) {
		section = ivshmem_input(peer, id);
		size = peer->output_size;
	}
	return (const void *)(section + size - ping_area_back(peer, id));
}

static struct ping_area *ping_area_own(struct ivshmem_peer *peer)
{
	char *section = peer->output_size ? peer->output : peer->rw;
	uint64_t size = peer->output_size ? peer->output_size : peer->rw_size;

	return (void *)(section + size - ping_area_back(peer, peer->id));
}

/* Either free, or left behind by one of us */
static bool ping_area_usable(const struct ivshmem_peer *peer,
			     const struct ping_area *area)
{
	const uint32_t *words = (const uint32_t *)area;
	uint32_t ping = ping_load(&area->ping_magic);
	uint32_t pong = ping_load(&area->pong_magic);
	uint64_t i;

	if (ping || pong)
		return (!ping || ping == PING_MAGIC_PING) &&
		       (!pong || pong == PING_MAGIC_PONG ||
			pong == PING_MAGIC_DONE);
	for (i = 0; i < ping_area_size(peer) / sizeof(*words); i++)
		if (words[i])
			return false;
	return true;
}

int ping_area_claim(struct ivshmem_peer *peer, bool force,
		    struct ping_area **area)
{
	uint64_t size = peer->output_size ? peer->output_size : peer->rw_size;
	uint64_t i;

	if (!size)
		return cli_fail("neither output sections nor a R/W section: no place for a ping");
	if (ping_area_back(peer, 0) > size)
		return cli_fail("%" PRIu64 " bytes of %s are too few for a ping among %u peers",
				size, ping_area_place(peer), peer->max_peers);
	*area = ping_area_own(peer);
	if (ping_area_usable(peer, *area))
		return CLI_OK;
	if (!force)
		return cli_fail("--force would overwrite data in the last %" PRIu64 " bytes of the %s",
				ping_area_back(peer, peer->id),
				ping_area_place(peer));
	for (i = 0; i < ping_area_size(peer) / sizeof(uint32_t); i++)
		ping_store((uint32_t *)*area + i, 0);
	return CLI_OK;
}
