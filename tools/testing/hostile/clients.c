// SPDX-License-Identifier: GPL-2.0
/*
 * Clients of a server that come and go, in the middle of everything, read or do
 * not, say what nobody asked for, with descriptors, and write to the State Table.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile.h"

#define CLIENTS			8
#define CLIENTS_TABLE_BYTES	4096

static const char *clients_path;
static int clients_fds[CLIENTS], clients_null;
static uint8_t *clients_memory;

static void clients_connect(int *client)
{
	*client = hostile_connect(clients_path);
	if (*client >= 0)
		fcntl(*client, F_SETFL, O_NONBLOCK);
}

/* The descriptor may be that of the memory: then it is mapped once, and kept */
static void clients_keep(int fd)
{
	void *memory;

	if (!clients_memory) {
		memory = mmap(NULL, CLIENTS_TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (memory != MAP_FAILED)
			clients_memory = memory;
	}
	close(fd);
}

static void clients_read(int *client)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char data[64];
	struct iovec iov = { data, 1 + hostile_below(sizeof(data)) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	int fd;

	if (recvmsg(*client, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0 || !CMSG_FIRSTHDR(&msg))
		return;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	clients_keep(fd);
}

static void clients_say(int *client)
{
	int fds[PASS_FDS_MAX];
	uint32_t words[16];
	unsigned int i;

	for (i = 0; i < PASS_FDS_MAX; i++)
		fds[i] = clients_null;
	for (i = 0; i < 16; i++)
		words[i] = hostile_value(hostile_below(4), 40);
	hostile_send(*client, words, 1 + hostile_below(sizeof(words)), fds,
		     hostile_below(PASS_FDS_MAX));
}

static void clients_shut(int *client)
{
	shutdown(*client, hostile_below(2) ? SHUT_WR : SHUT_RD);
}

static void clients_leave(int *client)
{
	close(*client);
	*client = -1;
}

static void clients_scribble(int *client)
{
	size_t at = hostile_below(CLIENTS_TABLE_BYTES / 4);

	(void)client;
	if (clients_memory)
		((volatile uint32_t *)clients_memory)[at] = hostile_value(0, at);
}

static void clients_turn(void)
{
	static void (*const acts[])(int *client) = {
		clients_read, clients_read, clients_read, clients_say, clients_shut,
		clients_leave, clients_scribble,
	};
	int *client = &clients_fds[hostile_below(CLIENTS)];

	hostile_mutations++;
	if (*client < 0)
		clients_connect(client);
	else
		acts[hostile_below(sizeof(acts) / sizeof(acts[0]))](client);
}

static void clients_stop(void)
{
	unsigned int i;

	for (i = 0; i < CLIENTS; i++)
		if (clients_fds[i] >= 0)
			clients_leave(&clients_fds[i]);
}

static void clients_open(char **paths)
{
	clients_path = paths[0];
	memset(clients_fds, -1, sizeof(clients_fds));
	clients_null = open("/dev/null", O_RDWR | O_CLOEXEC);
}

const struct hostile_party hostile_clients = {
	.name = "clients", .paths = 1,
	.open = clients_open, .turn = clients_turn, .stop = clients_stop,
};
