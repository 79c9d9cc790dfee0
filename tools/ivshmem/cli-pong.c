// SPDX-License-Identifier: GPL-2.0
/* ivshmem pong: answers every peer that runs ivshmem ping. */
#include <inttypes.h>

#include "cli-ping.h"

struct pong_options {
	uint64_t count;		/* 0 = without limit */
	bool verbose;
	bool force;
};

/* True if the peer asked for something that was not answered yet */
static bool pong_answer(struct ivshmem_peer *peer, struct ping_area *own,
			uint32_t id)
{
	const struct ping_area *area = ping_area_of(peer, id);
	uint32_t sequence;

	if (ping_load(&area->ping_magic) != PING_MAGIC_PING)
		return false;
	/* Before the target, which was stored first */
	sequence = ping_load(&area->sequence);
	if (!sequence || ping_load(&area->target) != peer->id ||
	    sequence == ping_load(&own->answer[id]))
		return false;
	ping_store(&own->answer[id], sequence);
	ivshmem_doorbell(peer, id, PING_VECTOR);
	return true;
}

static uint64_t pong_answer_all(struct ivshmem_peer *peer,
				struct ping_area *own,
				const struct pong_options *o)
{
	uint64_t answered = 0;
	uint32_t id;

	for (id = 0; id < peer->max_peers; id++) {
		if (id == peer->id || !pong_answer(peer, own, id))
			continue;
		answered++;
		if (o->verbose)
			printf("answered peer %u\n", id);
	}
	fflush(stdout);
	return answered;
}

static int pong_serve(struct ivshmem_peer *peer, struct ping_area *own,
		      const struct pong_options *o, uint64_t *answered)
{
	struct ivshmem_event event;

	for (;;) {
		*answered += pong_answer_all(peer, own, o);
		if (o->count && *answered >= o->count)
			return CLI_OK;
		switch (cli_wait(peer, &event, -1)) {
		case CLI_WAIT_FAILED:
			return CLI_FAILED;
		case CLI_WAIT_SIGNAL:
			return CLI_OK;
		default:
			/* What it asked for may be answered, but could not be rung */
			if (event.type == IVSHMEM_EVENT_ARRIVED)
				ivshmem_doorbell(peer, event.peer, PING_VECTOR);
			break;
		}
	}
}

static void pong_clear(struct ivshmem_peer *peer, struct ping_area *own)
{
	uint32_t id;

	for (id = 0; id < peer->max_peers; id++)
		ping_store(&own->answer[id], 0);
}

static int pong_peer(struct ivshmem_peer *peer, const struct pong_options *o)
{
	struct ping_area *own;
	uint64_t answered = 0;
	int status;

	status = ping_area_claim(peer, o->force, &own);
	if (status)
		return status;
	pong_clear(peer, own);
	ping_store(&own->pong_magic, PING_MAGIC_PONG);
	printf("PONG as peer %u through the last bytes of the %s\n", peer->id,
	       ping_area_place(peer));
	status = pong_serve(peer, own, o, &answered);
	/* The last answer may not have been read yet: it stays */
	ping_store(&own->pong_magic, PING_MAGIC_DONE);
	printf("%" PRIu64 " answered\n", answered);
	return status;
}

static int pong_parse(int argc, char **argv, struct pong_options *o)
{
	static const struct option options[] = {
		{ "count", required_argument, NULL, 'c' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "force", no_argument, NULL, 'f' },
		{ }
	};
	int option, status = CLI_OK;

	while ((option = cli_getopt(argc, argv, "c:vf", options)) != -1) {
		if (option == 'c')
			status = cli_parse_number(optarg, "count", UINT64_MAX,
						  &o->count);
		else if (option == 'v')
			o->verbose = true;
		else if (option == 'f')
			o->force = true;
		else
			status = CLI_MISUSED;
		if (status)
			return status;
	}
	return cli_check_args(argc, 1, 1);
}

static int pong_run(int argc, char **argv)
{
	struct pong_options o = { 0 };
	struct ivshmem_peer *peer;
	int status;

	status = pong_parse(argc, argv, &o);
	if (!status)
		status = cli_catch_signals();
	if (!status)
		status = cli_open(argv[optind], &peer);
	if (status)
		return status;
	status = pong_peer(peer, &o);
	ivshmem_close(peer);
	return status;
}

const struct cli_command cli_pong = {
	.name = "pong",
	.args = "[-vf] [-c COUNT] DEVICE",
	.summary = "Answer the peers that run ivshmem ping",
	.help = "  -c, --count COUNT  end after that many answers\n"
		"  -v, --verbose      a line for each\n"
		"  -f, --force        overwrite data in the place for pings\n",
	.run = pong_run,
};
