// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem-tap: the other end of a guest's Ethernet over ivshmem, connected to
 * a TAP interface of this machine. Addresses, MTU and bridges are up to ip(8).
 *
 * This file has the command line and the loop; tap-cable.c the link and the
 * rings, tap-iface.c the interface.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "tap.h"

#define TAP_EXIT_USAGE	2
#define TAP_LOOK_MS	1000	/* at the peer's state, if no doorbell comes */

static const char tap_usage[] =
"Usage: ivshmem-tap [options] DEVICE\n"
"\n"
"Connects Ethernet over ivshmem with a TAP interface.\n"
"\n"
"  -i, --interface=NAME  the interface, made if there is none (ivshmem%d)\n"
"      --no-extensions   offer no more than the first drivers know\n"
"  -v, --verbose         tell when the link goes up or down\n"
"  -h, --help            show this text\n"
"  -V, --version         show the version\n"
"\n"
"DEVICE is /dev/uioN, or unix:SOCKET of an ivshmem2-server -P 1.\n"
"SIGUSR1 shows how many frames were moved, and dropped.\n";

enum tap_source { TAP_SIGNAL, TAP_PEER, TAP_IFACE, TAP_SOURCES };

/**
 * struct tap - the program
 * @iface: one side
 * @cable: the other
 * @epoll: waits for all sources
 * @signals: SIGTERM, SIGINT, SIGHUP, SIGUSR1
 * @listens: to the interface
 * @ended: by a signal
 * @failed: by something else
 */
struct tap {
	struct tap_iface iface;
	struct tap_cable cable;
	int epoll;
	int signals;
	bool listens;
	bool ended;
	bool failed;
};

void tap_log(const char *fmt, ...)
{
	char line[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	fprintf(stderr, "ivshmem-tap: %s\n", line);
}

static void tap_fail(struct tap *t, const char *what)
{
	tap_log("%s", what);
	t->failed = true;
}

static void tap_log_stats(const struct tap_stats *s)
{
	tap_log("sent %llu received %llu, too long %llu unsendable %llu no room %llu refused %llu",
		(unsigned long long)s->sent, (unsigned long long)s->received,
		(unsigned long long)s->too_long, (unsigned long long)s->unsendable,
		(unsigned long long)s->no_room, (unsigned long long)s->refused);
}

static void tap_signal(struct tap *t)
{
	struct signalfd_siginfo info;

	while (read(t->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGUSR1)
			tap_log_stats(&t->cable.stats);
		else
			t->ended = true;
	}
}

/* States and vectors only wake up: every turn looks at the shared memory */
static void tap_events(struct tap *t)
{
	struct ivshmem_event event;
	int ret;

	while ((ret = ivshmem_next_event(t->cable.peer, &event)) > 0) {
		if (event.type == IVSHMEM_EVENT_SERVER_GONE)
			tap_fail(t, "the server is gone");
		else if (event.type == IVSHMEM_EVENT_DEVICE_GONE)
			tap_fail(t, "the device is gone");
	}
	if (ret < 0 && !t->failed)
		tap_fail(t, ivshmem_error());
}

/* While nothing can be sent, the kernel keeps the frames, or drops them */
static void tap_listen(struct tap *t)
{
	bool on = tap_cable_is_up(&t->cable) && !t->cable.blocked;
	struct epoll_event event = {
		.events = on ? EPOLLIN : 0,
		.data.u32 = TAP_IFACE,
	};

	if (on != t->listens)
		epoll_ctl(t->epoll, EPOLL_CTL_MOD, t->iface.fd, &event);
	t->listens = on;
}

/* Return: false if there is nothing to wait for any more */
static bool tap_wait(struct tap *t, int timeout_ms, bool *readable)
{
	struct epoll_event events[TAP_SOURCES];
	int i, n = epoll_wait(t->epoll, events, TAP_SOURCES, timeout_ms);

	*readable = false;
	for (i = 0; i < n; i++) {
		switch (events[i].data.u32) {
		case TAP_SIGNAL:
			tap_signal(t);
			break;
		case TAP_PEER:
			tap_events(t);
			break;
		default:
			*readable = events[i].events & EPOLLIN;
			t->iface.gone |= events[i].events & (EPOLLERR | EPOLLHUP);
		}
	}
	if (t->iface.gone && !t->failed)
		tap_fail(t, "the interface is gone");
	return !t->ended && !t->failed;
}

static void tap_run(struct tap *t)
{
	bool readable, more = false;

	/* The library wants to be asked once before it is polled */
	tap_events(t);
	tap_cable_look(&t->cable);
	while (tap_wait(t, more ? 0 : TAP_LOOK_MS, &readable)) {
		tap_cable_look(&t->cable);
		more = tap_cable_move(&t->cable, readable);
		tap_listen(t);
	}
}

static int tap_watch(struct tap *t, int fd, enum tap_source source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.u32 = source };

	return epoll_ctl(t->epoll, EPOLL_CTL_ADD, fd, &event);
}

static int tap_catch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int tap_open_loop(struct tap *t)
{
	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (t->epoll < 0 || t->signals < 0 ||
	    tap_watch(t, t->signals, TAP_SIGNAL, EPOLLIN) ||
	    tap_watch(t, ivshmem_fd(t->cable.peer), TAP_PEER, EPOLLIN) ||
	    tap_watch(t, t->iface.fd, TAP_IFACE, 0)) {
		tap_log("epoll: %s", strerror(errno));
		return -1;
	}
	return 0;
}

static int tap_serve(struct tap *t, const char *device, bool extensions)
{
	if (tap_cable_open(&t->cable, device, &t->iface, extensions))
		return EXIT_FAILURE;
	t->failed = tap_open_loop(t);
	if (!t->failed) {
		tap_log("%s is connected with %s", t->iface.name, device);
		tap_run(t);
	}
	tap_cable_close(&t->cable);
	if (t->cable.verbose)
		tap_log_stats(&t->cable.stats);
	return t->failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/**
 * struct tap_options - the command line
 * @interface: name, or pattern of a name
 * @extensions: offer them
 * @verbose: tell more
 */
struct tap_options {
	const char *interface;
	bool extensions;
	bool verbose;
};

static void tap_misused(const char *what)
{
	if (what)
		tap_log("%s", what);
	fputs("Try 'ivshmem-tap --help'.\n", stderr);
	exit(TAP_EXIT_USAGE);
}

static void tap_set_interface(struct tap_options *options, const char *name)
{
	if (!*name || strlen(name) >= IFNAMSIZ)
		tap_misused("an interface's name has 1 to 15 characters");
	options->interface = name;
}

static void tap_option(struct tap_options *options, int option)
{
	switch (option) {
	case 'i':
		tap_set_interface(options, optarg);
		break;
	case 'E':
		options->extensions = false;
		break;
	case 'v':
		options->verbose = true;
		break;
	case 'h':
		fputs(tap_usage, stdout);
		exit(EXIT_SUCCESS);
	case 'V':
		puts("ivshmem-tap " IVSHMEM_VERSION);
		exit(EXIT_SUCCESS);
	default:	/* getopt has said what is wrong */
		tap_misused(NULL);
	}
}

static void tap_parse(struct tap_options *options, int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "interface",		required_argument, NULL, 'i' },
		{ "no-extensions",	no_argument, NULL, 'E' },
		{ "verbose",		no_argument, NULL, 'v' },
		{ "help",		no_argument, NULL, 'h' },
		{ "version",		no_argument, NULL, 'V' },
		{ 0 }
	};
	int option;

	while ((option = getopt_long(argc, argv, "i:vhV", long_options, NULL)) >= 0)
		tap_option(options, option);
	if (argc - optind != 1)
		tap_misused("one DEVICE is needed");
}

int main(int argc, char **argv)
{
	struct tap_options options = { .interface = "ivshmem%d", .extensions = true };
	struct tap t = { .epoll = -1 };
	int ret;

	tap_parse(&options, argc, argv);
	t.cable.verbose = options.verbose;
	t.signals = tap_catch_signals();
	if (tap_iface_open(&t.iface, options.interface))
		return EXIT_FAILURE;
	ret = tap_serve(&t, argv[optind], options.extensions);
	tap_iface_close(&t.iface);
	return ret;
}
