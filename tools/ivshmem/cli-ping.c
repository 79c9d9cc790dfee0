// SPDX-License-Identifier: GPL-2.0
/* ivshmem ping: doorbell round trips to a peer that runs ivshmem pong. */
#include <inttypes.h>
#include <string.h>

#include "cli-ping.h"

#define PING_NS_PER_MS		1000000

struct ping_options {
	uint64_t count;		/* 0 = without limit */
	int64_t interval_ms;
	int64_t timeout_ms;
	uint64_t target;
	bool quiet;
	bool force;
};

/**
 * struct ping - a run of ping
 * @peer: own one
 * @o: from the command line
 * @own: where requests go
 * @target: where answers come from
 * @sequence: of the latest request in the area
 * @ended: by a signal
 * @sent: requests so far
 * @received: answers so far
 * @min_ns: shortest round trip
 * @max_ns: longest
 * @sum_ns: of all
 * @squares: sum of the squares, in ns^2, for the deviation
 */
struct ping {
	struct ivshmem_peer *peer;
	const struct ping_options *o;
	struct ping_area *own;
	const struct ping_area *target;
	uint32_t sequence;
	bool ended;
	uint64_t sent;
	uint64_t received;
	int64_t min_ns;
	int64_t max_ns;
	int64_t sum_ns;
	double squares;
};

/* Newton's method, for want of libm */
static double ping_sqrt(double x)
{
	double root = x > 1 ? x : 1;
	int i;

	for (i = 0; i < 100; i++)
		root = (root + x / root) / 2;
	return root;
}

static void ping_count_answer(struct ping *p, int64_t rtt_ns)
{
	if (!p->received || rtt_ns < p->min_ns)
		p->min_ns = rtt_ns;
	if (rtt_ns > p->max_ns)
		p->max_ns = rtt_ns;
	p->sum_ns += rtt_ns;
	p->squares += (double)rtt_ns * rtt_ns;
	p->received++;
	if (!p->o->quiet)
		printf("answer from peer %" PRIu64 ": seq=%" PRIu64 " time=%.3f ms\n",
		       p->o->target, p->sent, rtt_ns / 1e6);
}

static void ping_print_loss(const struct ping *p)
{
	const char *why = "";

	if (p->o->quiet)
		return;
	if (ping_load(&p->target->pong_magic) != PING_MAGIC_PONG)
		why = " (no pong runs there)";
	printf("no answer from peer %" PRIu64 ": seq=%" PRIu64 "%s\n",
	       p->o->target, p->sent, why);
}

static void ping_request(struct ping *p)
{
	p->sequence = p->sequence + 1 ? p->sequence + 1 : 1;
	p->sent++;
	ping_store(&p->own->sequence, p->sequence);
	ivshmem_doorbell(p->peer, p->o->target, PING_VECTOR);
}

static bool ping_answered(const struct ping *p)
{
	return ping_load(&p->target->answer[p->peer->id]) == p->sequence;
}

/*
 * Let time pass until the deadline, until the answer is there if that is what
 * we wait for, or until a signal. The doorbell only wakes us up: what counts
 * is the sequence.
 */
static int ping_sleep(struct ping *p, int64_t deadline_ns, bool for_answer)
{
	struct ivshmem_event event;
	int64_t left;

	while (!p->ended && !(for_answer && ping_answered(p))) {
		left = deadline_ns - cli_now_ns();
		if (left <= 0)
			break;
		switch (cli_wait(p->peer, &event,
				 (left + PING_NS_PER_MS - 1) / PING_NS_PER_MS)) {
		case CLI_WAIT_FAILED:
			return CLI_FAILED;
		case CLI_WAIT_SIGNAL:
			p->ended = true;
			break;
		default:
			break;
		}
	}
	return CLI_OK;
}

static int ping_once(struct ping *p)
{
	int64_t start = cli_now_ns();
	int status;

	ping_request(p);
	status = ping_sleep(p, start + p->o->timeout_ms * PING_NS_PER_MS, true);
	if (status)
		return status;
	if (ping_answered(p))
		ping_count_answer(p, cli_now_ns() - start);
	else if (!p->ended)
		ping_print_loss(p);
	fflush(stdout);
	if (p->o->count && p->sent >= p->o->count)
		return CLI_OK;
	return ping_sleep(p, start + p->o->interval_ms * PING_NS_PER_MS, false);
}

static void ping_print_summary(const struct ping *p, int64_t start_ns)
{
	double mean, variance;

	printf("\n--- peer %" PRIu64 " ping statistics ---\n", p->o->target);
	printf("%" PRIu64 " transmitted, %" PRIu64 " received, ", p->sent,
	       p->received);
	printf("%" PRIu64 "%% loss, time %" PRId64 " ms\n",
	       p->sent ? (p->sent - p->received) * 100 / p->sent : 0,
	       (cli_now_ns() - start_ns) / PING_NS_PER_MS);
	if (!p->received)
		return;
	mean = (double)p->sum_ns / p->received;
	variance = p->squares / p->received - mean * mean;
	printf("rtt min/avg/max/mdev = %.3f/%.3f/%.3f/%.3f ms\n",
	       p->min_ns / 1e6, mean / 1e6, p->max_ns / 1e6,
	       variance > 0 ? ping_sqrt(variance) / 1e6 : 0);
}

static void ping_begin(struct ping *p)
{
	/* Not what it may have answered to a former run */
	p->sequence = ping_load(&p->target->answer[p->peer->id]);
	ping_store(&p->own->sequence, 0);
	ping_store(&p->own->target, p->o->target);
	ping_store(&p->own->ping_magic, PING_MAGIC_PING);
}

static void ping_end(struct ping *p)
{
	ping_store(&p->own->ping_magic, 0);
	ping_store(&p->own->sequence, 0);
	ping_store(&p->own->target, 0);
}

static int ping_check_target(const struct ivshmem_peer *peer, uint64_t target)
{
	if (target >= peer->max_peers)
		return cli_fail("no peer %" PRIu64 ", ids are 0..%u", target,
				peer->max_peers - 1);
	if (target == peer->id)
		return cli_fail("peer %" PRIu64 " is this one", target);
	return CLI_OK;
}

static int ping_peer(struct ivshmem_peer *peer, const struct ping_options *o)
{
	struct ping p = { .peer = peer, .o = o };
	int64_t start = cli_now_ns();
	int status;

	status = ping_check_target(peer, o->target);
	if (!status)
		status = ping_area_claim(peer, o->force, &p.own);
	if (status)
		return status;
	p.target = ping_area_of(peer, o->target);
	printf("PING peer %" PRIu64 " from peer %u through the last bytes of the %s\n",
	       o->target, peer->id, ping_area_place(peer));
	ping_begin(&p);
	while (!status && !p.ended && (!o->count || p.sent < o->count))
		status = ping_once(&p);
	ping_end(&p);
	ping_print_summary(&p, start);
	if (!status && !p.received)
		status = cli_fail("no answer");
	return status;
}

static int ping_parse_option(int option, struct ping_options *o)
{
	switch (option) {
	case 'c':
		return cli_parse_number(optarg, "count", UINT64_MAX, &o->count);
	case 'i':
		return cli_parse_seconds(optarg, "interval", &o->interval_ms);
	case 'W':
		return cli_parse_seconds(optarg, "timeout", &o->timeout_ms);
	case 'q':
		o->quiet = true;
		return CLI_OK;
	case 'f':
		o->force = true;
		return CLI_OK;
	default:
		return CLI_MISUSED;
	}
}

static int ping_parse(int argc, char **argv, struct ping_options *o)
{
	static const struct option options[] = {
		{ "count", required_argument, NULL, 'c' },
		{ "interval", required_argument, NULL, 'i' },
		{ "timeout", required_argument, NULL, 'W' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "force", no_argument, NULL, 'f' },
		{ }
	};
	int option, status;

	while ((option = cli_getopt(argc, argv, "c:i:W:qf", options)) != -1) {
		status = ping_parse_option(option, o);
		if (status)
			return status;
	}
	status = cli_check_args(argc, 2, 2);
	if (status)
		return status;
	return cli_parse_number(argv[optind + 1], "peer", UINT16_MAX,
				&o->target);
}

static int ping_run(int argc, char **argv)
{
	struct ping_options o = { .interval_ms = 1000, .timeout_ms = 1000 };
	struct ivshmem_peer *peer;
	int status;

	status = ping_parse(argc, argv, &o);
	if (!status)
		status = cli_catch_signals();
	if (!status)
		status = cli_open(argv[optind], &peer);
	if (status)
		return status;
	status = ping_peer(peer, &o);
	ivshmem_close(peer);
	return status;
}

const struct cli_command cli_ping = {
	.name = "ping",
	.args = "[-qf] [-c COUNT] [-i SECONDS] [-W SECONDS] DEVICE PEER",
	.summary = "Measure doorbell round trips to a peer that runs ivshmem pong",
	.help = "  -c, --count COUNT       end after that many requests\n"
		"  -i, --interval SECONDS  between requests, default 1\n"
		"  -W, --timeout SECONDS   wait that long for an answer, default 1\n"
		"  -q, --quiet             only the summary\n"
		"  -f, --force             overwrite data in the place for pings\n",
	.run = ping_run,
};
