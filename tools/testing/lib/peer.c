// SPDX-License-Identifier: GPL-2.0
/*
 * A peer on a string: one command a line on stdin, one line of answer on
 * stdout, so that a test can play several peers step by step. Everything goes
 * through the public header, its inline functions included.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ivshmem/ivshmem.h>

#define PEER_ARGS_MAX	4
#define PEER_FDS_MAX	1024

static struct ivshmem_peer *peer;
static int peer_epoll = -1;
static int peer_vector = -1;

static void peer_answer_error(int err)
{
	printf("error %s %s\n", strerrorname_np(-err), ivshmem_error());
}

static void peer_open(char **args)
{
	struct epoll_event event = { .events = EPOLLIN };
	int ret = ivshmem_open(&peer, args[0], atoi(args[1]));

	if (ret) {
		peer_answer_error(ret);
		return;
	}
	peer_epoll = epoll_create1(EPOLL_CLOEXEC);
	epoll_ctl(peer_epoll, EPOLL_CTL_ADD, ivshmem_fd(peer), &event);
	printf("open %u %u %u %u %zu %zu\n", peer->id, peer->max_peers,
	       peer->vectors, peer->protocol, peer->rw_size,
	       peer->output_size);
}

static void peer_close(char **args)
{
	(void)args;
	close(peer_epoll);
	ivshmem_close(peer);
	peer = NULL;
	puts("ok");
}

static void peer_answer_event(int ret, const struct ivshmem_event *ev)
{
	if (ret < 0) {
		peer_answer_error(ret);
		return;
	}
	if (!ret) {
		puts("none");
		return;
	}
	switch (ev->type) {
	case IVSHMEM_EVENT_VECTOR:
		printf("vector %u\n", ev->vector);
		break;
	case IVSHMEM_EVENT_STATE:
		printf("state %u %u %u\n", ev->peer, ev->old_state,
		       ev->new_state);
		break;
	case IVSHMEM_EVENT_ARRIVED:
		printf("arrived %u\n", ev->peer);
		break;
	case IVSHMEM_EVENT_GONE:
		printf("gone %u\n", ev->peer);
		break;
	case IVSHMEM_EVENT_SERVER_GONE:
		printf("server-gone %d\n", ev->error);
		break;
	case IVSHMEM_EVENT_DEVICE_GONE:
		printf("device-gone %d\n", ev->error);
		break;
	}
}

static void peer_next(char **args)
{
	struct ivshmem_event ev;
	int ret = ivshmem_next_event(peer, &ev);

	(void)args;
	peer_answer_event(ret, &ev);
}

static void peer_wait(char **args)
{
	struct ivshmem_event ev;
	int ret = ivshmem_wait_event(peer, &ev, atoi(args[0]));

	peer_answer_event(ret, &ev);
}

/* As an event loop sees the peer: through an epoll set of its own */
static void peer_poll(char **args)
{
	struct epoll_event event;

	puts(epoll_wait(peer_epoll, &event, 1, atoi(args[0])) ? "ready" :
								 "idle");
}

static void peer_set(char **args)
{
	ivshmem_set_state(peer, strtoul(args[0], NULL, 0));
	puts("ok");
}

static void peer_get(char **args)
{
	printf("%u\n", ivshmem_get_state(peer, strtoul(args[0], NULL, 0)));
}

static void peer_ring(char **args)
{
	ivshmem_doorbell(peer, strtoul(args[0], NULL, 0),
			 strtoul(args[1], NULL, 0));
	puts("ok");
}

static void peer_present(char **args)
{
	printf("%d\n", ivshmem_present(peer, strtoul(args[0], NULL, 0)));
}

static void peer_take(char **args)
{
	int fd = ivshmem_vector_fd(peer, strtoul(args[0], NULL, 0));

	if (fd < 0) {
		peer_answer_error(fd);
		return;
	}
	peer_vector = fd;
	puts("ok");
}

/* What a thread with a vector of its own does */
static void peer_drain(char **args)
{
	struct pollfd pfd = { .fd = peer_vector, .events = POLLIN };
	uint64_t count = 0;

	poll(&pfd, 1, atoi(args[0]));
	if (read(peer_vector, &count, sizeof(count)) < 0)
		count = 0;
	printf("%llu\n", (unsigned long long)count);
}

static char *peer_section(const char *name, const char *offset)
{
	char *base = NULL;

	if (!strcmp(name, "rw"))
		base = peer->rw;
	else if (!strcmp(name, "output"))
		base = peer->output;
	else if (!strcmp(name, "table"))
		base = (char *)peer->state_table;
	else if (!strncmp(name, "input:", 6))
		base = (char *)ivshmem_input(peer, atoi(name + 6));
	return base ? base + strtoul(offset, NULL, 0) : NULL;
}

static void peer_peek(char **args)
{
	const volatile char *p = peer_section(args[0], args[1]);

	printf("%d\n", p ? *p : -1);
}

static void peer_poke(char **args)
{
	volatile char *p = peer_section(args[0], args[1]);

	*p = atoi(args[2]);
	puts("ok");
}

static void peer_fork_close(char **args)
{
	int status = -1;
	pid_t pid = fork();

	(void)args;
	if (!pid) {
		ivshmem_close(peer);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	printf("%d\n", status);
}

/* How many descriptors a child would inherit, and how many are open */
static void peer_descriptors(char **args)
{
	int fd, flags, inherited = 0, open = 0;

	(void)args;
	for (fd = 3; fd < PEER_FDS_MAX; fd++) {
		flags = fcntl(fd, F_GETFD);
		open += flags >= 0;
		inherited += flags >= 0 && !(flags & FD_CLOEXEC);
	}
	printf("%d %d\n", inherited, open);
}

static const struct peer_command {
	const char *name;
	int args;
	void (*run)(char **args);
} peer_commands[] = {
	{ "open", 2, peer_open },
	{ "close", 0, peer_close },
	{ "next", 0, peer_next },
	{ "wait", 1, peer_wait },
	{ "poll", 1, peer_poll },
	{ "set", 1, peer_set },
	{ "get", 1, peer_get },
	{ "ring", 2, peer_ring },
	{ "present", 1, peer_present },
	{ "take", 1, peer_take },
	{ "drain", 1, peer_drain },
	{ "peek", 2, peer_peek },
	{ "poke", 3, peer_poke },
	{ "fork-close", 0, peer_fork_close },
	{ "descriptors", 0, peer_descriptors },
};

#define PEER_COMMANDS	(sizeof(peer_commands) / sizeof(peer_commands[0]))

static void peer_run(char *line)
{
	char *args[PEER_ARGS_MAX + 1] = { 0 }, *word, *rest;
	int n = 0;
	size_t i;

	for (word = strtok_r(line, " \n", &rest); word && n <= PEER_ARGS_MAX;
	     word = strtok_r(NULL, " \n", &rest))
		args[n++] = word;
	for (i = 0; i < PEER_COMMANDS; i++) {
		if (!n || strcmp(peer_commands[i].name, args[0]) ||
		    peer_commands[i].args != n - 1)
			continue;
		peer_commands[i].run(args + 1);
		return;
	}
	puts("what?");
}

int main(void)
{
	char line[512];

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin))
		peer_run(line);
	ivshmem_close(peer);
	return 0;
}
