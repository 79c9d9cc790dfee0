// SPDX-License-Identifier: GPL-2.0
/* ivshmem watch: what happens on a link, as it happens. */
#include <inttypes.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "cli.h"

struct watch_options {
	uint64_t count;		/* 0 = without limit */
	int64_t time_ms;	/* -1 = without limit */
	bool vectors;
};

static void watch_print_time(void)
{
	struct timeval tv;
	struct tm tm;
	char text[32];

	gettimeofday(&tv, NULL);
	localtime_r(&tv.tv_sec, &tm);
	strftime(text, sizeof(text), "%H:%M:%S", &tm);
	printf("%s.%06ld ", text, (long)tv.tv_usec);
}

static void watch_print_server_gone(const struct ivshmem_event *event)
{
	if (event->error)
		printf("server left alone: %s\n", ivshmem_error());
	else
		puts("server gone");
}

/* True if it was worth a line */
static bool watch_print(const struct ivshmem_event *event,
			const struct watch_options *o)
{
	if (event->type == IVSHMEM_EVENT_VECTOR && !o->vectors)
		return false;
	watch_print_time();
	switch (event->type) {
	case IVSHMEM_EVENT_VECTOR:
		if (event->vector == IVSHMEM_VECTOR_ANY)
			puts("interrupt");
		else
			printf("interrupt vector %u\n", event->vector);
		break;
	case IVSHMEM_EVENT_STATE:
		printf("peer %u state %#x -> %#x\n", event->peer,
		       event->old_state, event->new_state);
		break;
	case IVSHMEM_EVENT_ARRIVED:
		printf("peer %u arrived\n", event->peer);
		break;
	case IVSHMEM_EVENT_GONE:
		printf("peer %u gone\n", event->peer);
		break;
	case IVSHMEM_EVENT_SERVER_GONE:
		watch_print_server_gone(event);
		break;
	case IVSHMEM_EVENT_DEVICE_GONE:
		puts("device gone");
		break;
	}
	fflush(stdout);
	return true;
}

static int watch_link(struct ivshmem_peer *peer, const struct watch_options *o)
{
	int64_t end = cli_now_ns() / 1000000 + o->time_ms, left = -1;
	struct ivshmem_event event;
	uint64_t printed = 0;

	while (!o->count || printed < o->count) {
		if (o->time_ms >= 0) {
			left = end - cli_now_ns() / 1000000;
			if (left <= 0)
				return CLI_OK;
		}
		switch (cli_wait(peer, &event, left)) {
		case CLI_WAIT_FAILED:
			return CLI_FAILED;
		case CLI_WAIT_EVENT:
			printed += watch_print(&event, o);
			break;
		default:
			return CLI_OK;
		}
	}
	return CLI_OK;
}

static int watch_parse(int argc, char **argv, struct watch_options *o)
{
	static const struct option options[] = {
		{ "count", required_argument, NULL, 'n' },
		{ "time", required_argument, NULL, 't' },
		{ "verbose", no_argument, NULL, 'v' },
		{ }
	};
	int option, status = CLI_OK;

	while ((option = cli_getopt(argc, argv, "n:t:v", options)) != -1) {
		if (option == 'n')
			status = cli_parse_number(optarg, "count", UINT64_MAX,
						  &o->count);
		else if (option == 't')
			status = cli_parse_seconds(optarg, "time", &o->time_ms);
		else if (option == 'v')
			o->vectors = true;
		else
			status = CLI_MISUSED;
		if (status)
			return status;
	}
	return cli_check_args(argc, 1, 1);
}

static int watch_run(int argc, char **argv)
{
	struct watch_options o = { .time_ms = -1 };
	struct ivshmem_peer *peer;
	int status;

	status = watch_parse(argc, argv, &o);
	if (!status)
		status = cli_catch_signals();
	if (!status)
		status = cli_open(argv[optind], &peer);
	if (status)
		return status;
	status = watch_link(peer, &o);
	ivshmem_close(peer);
	return status;
}

const struct cli_command cli_watch = {
	.name = "watch",
	.args = "[-v] [-n COUNT] [-t SECONDS] DEVICE",
	.summary = "Print what happens on a link until interrupted",
	.help = "  -n, --count COUNT   end after that many lines\n"
		"  -t, --time SECONDS  end after that time\n"
		"  -v, --verbose       interrupts, too\n",
	.run = watch_run,
};
