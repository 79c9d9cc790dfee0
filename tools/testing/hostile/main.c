// SPDX-License-Identifier: GPL-2.0
/*
 * Somebody hostile, at native speed. "SEED MILLISECONDS" on standard input is an
 * attack of so long, whose steps the seed decides; the answer is how many
 * mutations that were. In between, and after it, nothing is done to anybody.
 *
 * Usage: hostile memory SERVER SOCKET   who connects to SOCKET is a peer of that
 *                                       server, in whose name we write
 *        hostile clients SERVER         clients of that server
 *        hostile server SOCKET          a server
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "hostile.h"

#define HOSTILE_IDLE_MS		20

uint64_t hostile_mutations;

static uint64_t hostile_state;

void hostile_die(const char *what)
{
	fprintf(stderr, "hostile: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- dice: splitmix64 ---- */

void hostile_seed(uint64_t seed)
{
	hostile_state = seed;
}

uint64_t hostile_random(void)
{
	uint64_t z = hostile_state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint64_t hostile_below(uint64_t n)
{
	return hostile_random() % n;
}

uint64_t hostile_value(uint64_t old, uint64_t bound)
{
	switch (hostile_below(10)) {
	case 0:		return 0;
	case 1:		return UINT64_MAX;
	case 2:		return old + 1 + hostile_below(4);
	case 3:		return old - 1 - hostile_below(4);
	case 4:		return old ^ UINT64_C(1) << hostile_below(64);
	case 5:		return old ^ UINT64_C(1) << hostile_below(16);
	case 6:		return hostile_below(16);
	case 7:		return bound + hostile_below(256);
	case 8:		return bound - hostile_below(256);
	default:	return hostile_random();
	}
}

/* ---- sockets ---- */

static int hostile_socket(const char *path, struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (fd < 0 || strlen(path) >= sizeof(addr->sun_path))
		hostile_die(path);
	strcpy(addr->sun_path, path);
	return fd;
}

int hostile_listen(const char *path)
{
	struct sockaddr_un addr;
	int fd = hostile_socket(path, &addr);

	if (bind(fd, (void *)&addr, sizeof(addr)) || listen(fd, 8))
		hostile_die(path);
	return fd;
}

int hostile_connect(const char *path)
{
	struct sockaddr_un addr;
	int fd = hostile_socket(path, &addr);

	if (!connect(fd, (void *)&addr, sizeof(addr)))
		return fd;
	close(fd);
	return -1;
}

bool hostile_send(int sock, const void *data, size_t len, const int *fds, unsigned int n)
{
	return pass_fds(sock, data, len, fds, n, MSG_NOSIGNAL) == (ssize_t)len;
}

bool hostile_readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, timeout_ms) > 0;
}

/* ---- attacks ---- */

static int64_t hostile_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

static void hostile_attack(const struct hostile_party *party, int64_t ms)
{
	int64_t end = hostile_now_ms() + ms;

	hostile_mutations = 0;
	while (hostile_now_ms() < end)
		party->turn();
	if (party->stop)
		party->stop();
	printf("%" PRIu64 "\n", hostile_mutations);
	fflush(stdout);
}

/* One command; false at the end of input */
static bool hostile_command(const struct hostile_party *party)
{
	char line[64];
	uint64_t seed;
	int64_t ms;

	/* Not buffered: poll() has to see what is left */
	ssize_t len = read(STDIN_FILENO, line, sizeof(line) - 1);

	if (len <= 0)
		return false;
	line[len] = '\0';
	if (sscanf(line, "%" SCNu64 " %" SCNd64, &seed, &ms) != 2)
		return false;
	hostile_seed(seed);
	hostile_attack(party, ms);
	return true;
}

static void hostile_run(const struct hostile_party *party)
{
	do {
		while (!hostile_readable(STDIN_FILENO, party->idle ? 0 : -1))
			party->idle(HOSTILE_IDLE_MS);
	} while (hostile_command(party));
}

int main(int argc, char **argv)
{
	static const struct hostile_party *const parties[] = {
		&hostile_memory, &hostile_clients, &hostile_server,
	};
	size_t i;

	signal(SIGPIPE, SIG_IGN);
	for (i = 0; i < sizeof(parties) / sizeof(parties[0]); i++) {
		if (argc < 2 || strcmp(argv[1], parties[i]->name) ||
		    (unsigned int)argc != 2 + parties[i]->paths)
			continue;
		parties[i]->open(argv + 2);
		hostile_run(parties[i]);
		return 0;
	}
	fprintf(stderr, "usage: hostile memory SERVER SOCKET | clients SERVER | server SOCKET\n");
	return 2;
}
