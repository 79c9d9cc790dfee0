// SPDX-License-Identifier: GPL-2.0
/* ivshmem state and ivshmem doorbell: the two ways to interrupt a peer. */
#include <stdint.h>

#include "cli.h"

/* Until it is told to end; events of the link change nothing */
static int state_hold(struct ivshmem_peer *peer, int64_t hold_ms)
{
	int64_t end = cli_now_ns() / 1000000 + hold_ms, left = -1;
	struct ivshmem_event event;

	for (;;) {
		if (hold_ms >= 0)
			left = end - cli_now_ns() / 1000000;
		if (hold_ms >= 0 && left < 0)
			left = 0;
		switch (cli_wait(peer, &event, left)) {
		case CLI_WAIT_FAILED:
			return CLI_FAILED;
		case CLI_WAIT_EVENT:
			if (hold_ms < 0 || left > 0)
				continue;
			return CLI_OK;
		default:
			return CLI_OK;
		}
	}
}

static int state_set(struct ivshmem_peer *peer, uint32_t value, int64_t hold_ms)
{
	int status = cli_catch_signals();

	if (status)
		return status;
	ivshmem_set_state(peer, value);
	printf("peer %u state %#x\n", peer->id, value);
	fflush(stdout);
	return state_hold(peer, hold_ms);
}

static int state_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "hold", required_argument, NULL, 't' },
		{ }
	};
	struct ivshmem_peer *peer;
	int64_t hold_ms = -1;
	uint64_t value = 0;
	int option, status;

	while ((option = cli_getopt(argc, argv, "t:", options)) != -1) {
		if (option != 't')
			return CLI_MISUSED;
		status = cli_parse_seconds(optarg, "time to hold", &hold_ms);
		if (status)
			return status;
	}
	status = cli_check_args(argc, 1, 2);
	if (!status && argc - optind == 2)
		status = cli_parse_number(argv[optind + 1], "state", UINT32_MAX,
					  &value);
	if (!status)
		status = cli_open(argv[optind], &peer);
	if (status)
		return status;
	if (argc - optind == 2)
		status = state_set(peer, value, hold_ms);
	else
		printf("peer %u state %#x\n", peer->id,
		       ivshmem_get_state(peer, peer->id));
	ivshmem_close(peer);
	return status;
}

const struct cli_command cli_state = {
	.name = "state",
	.args = "DEVICE [VALUE] [-t SECONDS]",
	.summary = "Show this peer's State, or set and hold it",
	.help = "The State is 0 again when the command ends: on SIGINT or SIGTERM, or\n"
		"  -t, --hold SECONDS  after that time\n",
	.run = state_run,
};

static int doorbell_run(int argc, char **argv)
{
	struct ivshmem_peer *peer;
	uint64_t id, vector = 0;
	int status;

	if (cli_getopt(argc, argv, "", NULL) != -1)
		return CLI_MISUSED;
	status = cli_check_args(argc, 2, 3);
	if (!status)
		status = cli_parse_number(argv[optind + 1], "peer", UINT16_MAX,
					  &id);
	if (!status && argc - optind == 3)
		status = cli_parse_number(argv[optind + 2], "vector",
					  UINT16_MAX, &vector);
	if (!status)
		status = cli_open(argv[optind], &peer);
	if (status)
		return status;
	ivshmem_doorbell(peer, id, vector);
	ivshmem_close(peer);
	return CLI_OK;
}

const struct cli_command cli_doorbell = {
	.name = "doorbell",
	.args = "DEVICE PEER [VECTOR]",
	.summary = "Interrupt a vector of a peer, 0 by default",
	.help = "",
	.run = doorbell_run,
};
