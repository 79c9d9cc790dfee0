// SPDX-License-Identifier: GPL-2.0
/* Arguments, errors, names and waiting: what every subcommand needs. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#include "cli.h"

#define CLI_ERROR_BYTES		512
#define CLI_OPEN_MS		5000
#define CLI_SECONDS_MAX		1e6

static char cli_error_text[CLI_ERROR_BYTES];

static int cli_signals = -1;

int cli_fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(cli_error_text, CLI_ERROR_BYTES, fmt, args);
	va_end(args);
	return CLI_FAILED;
}

int cli_misuse(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(cli_error_text, CLI_ERROR_BYTES, fmt, args);
	va_end(args);
	return CLI_MISUSED;
}

const char *cli_error(void)
{
	return cli_error_text;
}

int cli_getopt(int argc, char **argv, const char *options,
	       const struct option *long_options)
{
	int option;

	opterr = 0;
	option = getopt_long(argc, argv, options, long_options, NULL);
	if (option == '?')
		cli_misuse("unknown option or missing value: %s",
			   argv[optind - 1]);
	return option;
}

int cli_check_args(int argc, int min, int max)
{
	if (argc - optind < min)
		return cli_misuse("missing argument");
	if (argc - optind > max)
		return cli_misuse("too many arguments");
	return CLI_OK;
}

static int cli_bad(const char *what, const char *text)
{
	return cli_misuse("%s: %s", what, text);
}

int cli_parse_number(const char *text, const char *what, uint64_t max,
		     uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 0);
	if (errno || end == text || *end || strchr(text, '-'))
		return cli_bad(what, text);
	if (*number > max)
		return cli_misuse("%s: %s is more than %llu", what, text,
				  (unsigned long long)max);
	return CLI_OK;
}

int cli_parse_size(const char *text, const char *what, uint64_t *size)
{
	static const char units[] = "KMG";
	const char *unit;
	char *end;

	errno = 0;
	*size = strtoull(text, &end, 0);
	if (errno || end == text || strchr(text, '-'))
		return cli_bad(what, text);
	if (!*end)
		return CLI_OK;
	unit = strchr(units, *end);
	if (!unit || end[1] ||
	    __builtin_mul_overflow(*size, 1024ULL << 10 * (unit - units), size))
		return cli_bad(what, text);
	return CLI_OK;
}

int cli_parse_seconds(const char *text, const char *what, int64_t *ms)
{
	double seconds;
	char *end;

	seconds = strtod(text, &end);
	if (end == text || *end || !(seconds >= 0 && seconds <= CLI_SECONDS_MAX))
		return cli_bad(what, text);
	*ms = seconds * 1000;
	return CLI_OK;
}

int cli_open(const char *device, struct ivshmem_peer **peer)
{
	if (ivshmem_open(peer, device, CLI_OPEN_MS))
		return cli_fail("%s", ivshmem_error());
	return CLI_OK;
}

static const char *cli_virtio_name(uint32_t id)
{
	static const char *const names[] = {
		[1] = "network", [2] = "block", [3] = "console",
		[4] = "entropy", [5] = "balloon", [8] = "SCSI", [9] = "9P",
		[16] = "GPU", [18] = "input", [19] = "socket",
		[20] = "crypto", [25] = "sound", [26] = "file system",
	};

	return id < sizeof(names) / sizeof(names[0]) ? names[id] : NULL;
}

static const char *cli_virtio_protocol(uint32_t protocol)
{
	uint32_t id = protocol & IVSHMEM_PROTO_VIRTIO_ID;
	const char *device = cli_virtio_name(id);
	static char name[64];

	if (device)
		snprintf(name, sizeof(name), "virtio %s", device);
	else
		snprintf(name, sizeof(name), "virtio device %u", id);
	strcat(name, protocol & IVSHMEM_PROTO_VIRTIO_ROLE ? " back end" :
							    " front end");
	return name;
}

const char *cli_protocol_name(uint32_t protocol)
{
	static char name[32];

	if (protocol == IVSHMEM_PROTO_UNDEFINED)
		return "undefined";
	if (protocol == IVSHMEM_PROTO_NET)
		return "Ethernet";
	if (protocol >= IVSHMEM_PROTO_VIRTIO_FRONT)
		return cli_virtio_protocol(protocol);
	snprintf(name, sizeof(name), "%s %04x",
		 protocol < IVSHMEM_PROTO_USER_FIRST ? "reserved" :
						       "user-defined",
		 protocol);
	return name;
}

int cli_catch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return cli_fail("signals: %s", strerror(errno));
	cli_signals = signalfd(-1, &set, SFD_CLOEXEC);
	if (cli_signals < 0)
		return cli_fail("signals: %s", strerror(errno));
	return CLI_OK;
}

int64_t cli_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Rounded up, so that nobody polls without a pause before the time */
static int cli_time_left(int64_t deadline_ns)
{
	int64_t left;

	if (deadline_ns < 0)
		return -1;
	left = deadline_ns - cli_now_ns();
	return left > 0 ? (left + 999999) / 1000000 : 0;
}

enum cli_waited cli_wait(struct ivshmem_peer *peer,
			 struct ivshmem_event *event, int64_t timeout_ms)
{
	struct pollfd pfds[] = {
		{ .fd = ivshmem_fd(peer), .events = POLLIN },
		{ .fd = cli_signals, .events = POLLIN },
	};
	int64_t deadline = -1;
	int ret;

	if (timeout_ms >= 0)
		deadline = cli_now_ns() + timeout_ms * 1000000;
	for (;;) {
		/* A flood of events must not keep us from ending */
		if (poll(&pfds[1], 1, 0) > 0)
			return CLI_WAIT_SIGNAL;
		ret = ivshmem_next_event(peer, event);
		if (ret < 0)
			cli_fail("%s", ivshmem_error());
		if (ret)
			return ret < 0 ? CLI_WAIT_FAILED : CLI_WAIT_EVENT;
		ret = poll(pfds, 2, cli_time_left(deadline));
		if (ret < 0 && errno != EINTR) {
			cli_fail("poll: %s", strerror(errno));
			return CLI_WAIT_FAILED;
		}
		if (!ret)
			return CLI_WAIT_TIMEOUT;
	}
}

static int cli_find_input(struct ivshmem_peer *peer, const char *name,
			  struct cli_section *section)
{
	uint64_t id;
	int status;

	status = cli_parse_number(name, "input section", peer->max_peers - 1,
				  &id);
	if (status)
		return status;
	section->start = (char *)ivshmem_input(peer, id);
	section->size = peer->output_size;
	return CLI_OK;
}

int cli_find_section(struct ivshmem_peer *peer, const char *name,
		     struct cli_section *section)
{
	int status = CLI_OK;

	*section = (struct cli_section){ 0 };
	if (!strcmp(name, "state")) {
		section->start = (char *)peer->state_table;
		section->size = peer->state_table_size;
	} else if (!strcmp(name, "rw")) {
		section->start = peer->rw;
		section->size = peer->rw_size;
		section->writable = true;
	} else if (!strcmp(name, "output")) {
		section->start = peer->output;
		section->size = peer->output_size;
		section->writable = true;
	} else if (!strncmp(name, "input:", 6)) {
		status = cli_find_input(peer, name + 6, section);
	} else {
		return cli_misuse("%s: no section state, rw, output or input:PEER",
				  name);
	}
	if (!status && !section->start)
		return cli_fail("the device has no section %s", name);
	return status;
}
