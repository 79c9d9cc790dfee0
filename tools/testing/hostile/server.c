// SPDX-License-Identifier: GPL-2.0
/*
 * A server that lies to its clients: sizes, ids, vectors, lengths, types and
 * descriptors that are none, half messages, silence, and after a greeting that
 * was believed, the same at any time. It does not cut the memory short: who has
 * that descriptor can do so, and is trusted not to.
 */
#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/ivshmem_server.h>

#include "hostile.h"

#define SERVER_VECTORS		4
#define SERVER_PEERS		2
#define SERVER_FDS		8	/* of each kind, kept to be sent again */
#define SERVER_PAGE_BITS	12
#define SERVER_WAIT_MS		2
#define SERVER_PAUSE_US		2000

static int server_listener, server_conn = -1;
static int server_null, server_pipe[2], server_events[SERVER_FDS], server_memories[SERVER_FDS];

/* Of what it is told: as it should be, or not */
static bool server_honest;

static int server_memory(void)
{
	int fd = memfd_create("hostile", MFD_CLOEXEC);
	size_t size = (size_t)1 << (SERVER_PAGE_BITS + hostile_below(11));

	if (hostile_one_in(8))
		size += hostile_value(0, size) % size;
	if (fd < 0 || ftruncate(fd, size))
		hostile_die("memory");
	return fd;
}

static int server_any_fd(void)
{
	switch (hostile_below(5)) {
	case 0:		return server_null;
	case 1:		return server_pipe[hostile_below(2)];
	case 2:		return server_memories[hostile_below(SERVER_FDS)];
	default:	return server_events[hostile_below(SERVER_FDS)];
	}
}

static uint32_t server_lie(uint32_t truth, unsigned int rarity)
{
	return htole32(server_honest || !hostile_one_in(rarity) ? truth :
		       hostile_value(truth, truth));
}

static void server_drop(void)
{
	if (server_conn >= 0)
		close(server_conn);
	server_conn = -1;
}

/* Whole, in pieces, or not all of it */
static void server_say(const void *data, size_t len, const int *fds, unsigned int n)
{
	const char *p = data;
	size_t i;

	hostile_mutations += !server_honest;
	if (server_conn < 0)
		return;
	if (server_honest || !hostile_one_in(16)) {
		if (!hostile_send(server_conn, data, len, fds, n))
			server_drop();
		return;
	}
	len = hostile_below(2) ? len : hostile_below(len + 1);
	for (i = 0; i < len && server_conn >= 0; i++)
		if (!hostile_send(server_conn, p + i, 1, fds, i ? 0 : n))
			server_drop();
	if (hostile_one_in(4))
		server_drop();
}

static void server_say_init(void)
{
	static const uint32_t protocols[] = { 0, 1, 0x8002, 0x8003, 0xc002, 0x4000 };
	struct ivshmem_msg_init msg = {
		.header = { server_lie(IVSHMEM_MSG_INIT, 32), server_lie(sizeof(msg), 32) },
		.version = server_lie(IVSHMEM_SERVER_VERSION, 32),
		.compatible_version = server_lie(IVSHMEM_SERVER_VERSION, 32),
		.id = server_lie(0, 16),
		.max_peers = server_lie(SERVER_PEERS, 8),
		.vectors = server_lie(SERVER_VECTORS, 8),
		.protocol = htole32(protocols[hostile_below(6)]),
		.output_section_size = htole64(hostile_one_in(4) ? hostile_value(0, 1 << 16) :
					       hostile_below(2) << 16),
	};
	int fds[PASS_FDS_MAX];
	unsigned int i;

	for (i = 0; i < PASS_FDS_MAX; i++)
		fds[i] = server_any_fd();
	fds[0] = hostile_one_in(16) ? server_any_fd() :
		 server_memories[hostile_below(SERVER_FDS)];
	server_say(&msg, sizeof(msg), fds, hostile_one_in(16) ? hostile_below(PASS_FDS_MAX) : 1);
}

static void server_say_event_fd(uint32_t id, uint32_t vector)
{
	struct ivshmem_msg_event_fd msg = {
		.header = { htole32(IVSHMEM_MSG_EVENT_FD), server_lie(sizeof(msg), 64) },
		.id = server_lie(id, 32),
		.vector = server_lie(vector, 32),
	};
	int fd = hostile_one_in(32) ? server_any_fd() :
		 server_events[(id * SERVER_VECTORS + vector) % SERVER_FDS];

	server_say(&msg, sizeof(msg), &fd, hostile_one_in(64) ? 0 : 1);
}

static void server_say_anything(void)
{
	uint32_t words[16];
	int fds[PASS_FDS_MAX];
	unsigned int i;

	for (i = 0; i < PASS_FDS_MAX; i++)
		fds[i] = server_any_fd();
	for (i = 0; i < 16; i++)
		words[i] = htole32(hostile_value(hostile_below(4), sizeof(words)));
	words[0] = htole32(hostile_one_in(16) ? hostile_random() : hostile_below(3));
	words[1] = htole32(hostile_one_in(8) ? hostile_random() : 12 + 4 * hostile_below(9));
	server_say(words, hostile_one_in(4) ? 1 + hostile_below(sizeof(words)) :
		   le32toh(words[1]) % (sizeof(words) + 1), fds, hostile_below(3));
}

static void server_say_gone(void)
{
	struct ivshmem_msg_peer_gone msg = {
		.header = { htole32(IVSHMEM_MSG_PEER_GONE), htole32(sizeof(msg)) },
		.id = server_lie(1, 4),
	};

	server_say(&msg, sizeof(msg), NULL, 0);
}

/* Half of those who come are greeted well, so that more than greetings is seen */
static void server_greet(void)
{
	uint32_t id, vector;

	server_honest = hostile_below(2);
	if (!server_honest && hostile_one_in(16))
		return;
	server_say_init();
	for (id = SERVER_PEERS; id-- && server_conn >= 0;)
		for (vector = 0; vector < SERVER_VECTORS; vector++)
			server_say_event_fd(id, vector);
	server_honest = false;
}

/* Up to a count that is full; never beyond, where a receiver has made us wait */
static void server_interrupt(void)
{
	struct pollfd p = {
		.fd = server_events[hostile_below(SERVER_FDS)],
		.events = POLLIN | POLLOUT,
	};
	uint64_t count = 1;

	poll(&p, 1, 0);
	if (!(p.revents & POLLIN) && hostile_one_in(16))
		count = UINT64_MAX - 1;
	if (!(p.revents & POLLOUT))
		return;
	hostile_mutations++;
	if (write(p.fd, &count, sizeof(count)) < 0)
		hostile_die("eventfd");
}

/* The others' States, and those that there are not */
static void server_scribble(void)
{
	uint64_t value = hostile_random();
	off_t at = hostile_below(1 << SERVER_PAGE_BITS);

	hostile_mutations++;
	if (pwrite(server_memories[hostile_below(SERVER_FDS)], &value, 4, at & ~3) < 0)
		hostile_die("memory");
}

static void server_turn(void)
{
	static void (*const acts[])(void) = {
		server_interrupt, server_interrupt, server_interrupt, server_scribble,
		server_scribble, server_say_anything, server_say_gone,
	};
	struct timespec pause = { .tv_nsec = hostile_below(SERVER_PAUSE_US) * 1000L };
	char byte;

	if (server_conn < 0 && hostile_readable(server_listener, SERVER_WAIT_MS)) {
		/* Who has stopped to listen does not hold us */
		server_conn = accept4(server_listener, NULL, NULL, SOCK_NONBLOCK);
		server_greet();
	}
	if (server_conn < 0)
		return;
	if (hostile_one_in(64) && !recv(server_conn, &byte, 1, MSG_DONTWAIT)) {
		server_drop();
		return;
	}
	acts[hostile_below(sizeof(acts) / sizeof(acts[0]))]();
	nanosleep(&pause, NULL);
}

static void server_open(char **paths)
{
	unsigned int i;

	server_listener = hostile_listen(paths[0]);
	server_null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (server_null < 0 || pipe2(server_pipe, O_CLOEXEC))
		hostile_die("descriptors");
	for (i = 0; i < SERVER_FDS; i++) {
		server_memories[i] = server_memory();
		server_events[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
}

const struct hostile_party hostile_server = {
	.name = "server", .paths = 1,
	.open = server_open, .turn = server_turn, .stop = server_drop,
};
