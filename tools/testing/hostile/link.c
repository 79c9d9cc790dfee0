// SPDX-License-Identifier: GPL-2.0
/*
 * Passes messages of Documentation/ivshmem/server-protocol.rst on, one peer at
 * a time, and keeps a copy of each descriptor. The server is honest here, and so
 * is the peer: whoever is not ends the link.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/ivshmem_server.h>

#include "hostile.h"
#include "link.h"

struct link hostile_link;

static const char *link_server_path;
static int link_listener, link_server = -1, link_client = -1;

static void link_drop_peer(uint32_t id)
{
	unsigned int v;

	for (v = 0; id < LINK_PEERS && v < LINK_VECTORS; v++) {
		if (hostile_link.bells[id][v] >= 0)
			close(hostile_link.bells[id][v]);
		hostile_link.bells[id][v] = -1;
	}
}

static void link_drop(void)
{
	uint32_t id;

	for (id = 0; id < LINK_PEERS; id++)
		link_drop_peer(id);
	if (hostile_link.memory)
		munmap(hostile_link.memory, hostile_link.size);
	hostile_link.memory = NULL;
	if (link_server >= 0)
		close(link_server);
	if (link_client >= 0)
		close(link_client);
	link_server = -1;
	link_client = -1;
}

static void link_accept(void)
{
	link_client = accept(link_listener, NULL, NULL);
	link_server = hostile_connect(link_server_path);
	if (link_client < 0 || link_server < 0)
		link_drop();
}

/* All @len bytes and the descriptor that comes with them, if any */
static bool link_receive(void *data, size_t len, int *passed)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	size_t have = 0;

	while (have < len) {
		struct iovec iov = { (char *)data + have, len - have };
		struct msghdr msg = {
			.msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = &control, .msg_controllen = sizeof(control),
		};
		ssize_t got = recvmsg(link_server, &msg, MSG_CMSG_CLOEXEC);

		if (got <= 0)
			return false;
		if (CMSG_FIRSTHDR(&msg))
			memcpy(passed, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(*passed));
		have += got;
	}
	return true;
}

static bool link_init(const struct ivshmem_msg_init *init, int memory)
{
	struct link *l = &hostile_link;
	uint32_t peers = le32toh(init->max_peers);
	size_t table = (4ULL * peers + IVSHMEM_SERVER_TABLE_ALIGN - 1) &
		       ~(size_t)(IVSHMEM_SERVER_TABLE_ALIGN - 1);
	struct stat st;

	if (memory < 0 || fstat(memory, &st))
		return false;
	l->id = le32toh(init->id);
	l->protocol = le32toh(init->protocol);
	l->size = st.st_size;
	l->output_size = le64toh(init->output_section_size);
	l->rw = table;
	l->rw_size = l->size - table - peers * l->output_size;
	l->output = table + l->rw_size + l->id * l->output_size;
	l->memory = mmap(NULL, l->size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (l->memory == MAP_FAILED)
		l->memory = NULL;
	close(memory);
	return l->memory;
}

static bool link_note(const void *data, int passed)
{
	const struct ivshmem_msg_header *header = data;
	const struct ivshmem_msg_event_fd *event = data;
	const struct ivshmem_msg_peer_gone *gone = data;
	uint32_t id, vector;

	switch (le32toh(header->type)) {
	case IVSHMEM_MSG_INIT:
		return link_init(data, passed);
	case IVSHMEM_MSG_EVENT_FD:
		id = le32toh(event->id);
		vector = le32toh(event->vector);
		if (id >= LINK_PEERS || vector >= LINK_VECTORS)
			return false;
		hostile_link.bells[id][vector] = passed;
		return true;
	case IVSHMEM_MSG_PEER_GONE:
		link_drop_peer(le32toh(gone->id));
		return true;
	default:
		return false;
	}
}

static bool link_pass_on(void)
{
	union {
		struct ivshmem_msg_header header;
		struct ivshmem_msg_init init;
		char bytes[64];
	} msg;
	int passed = -1;
	size_t len;

	if (!link_receive(&msg, sizeof(msg.header), &passed))
		return false;
	len = le32toh(msg.header.len);
	if (len < sizeof(msg.header) || len > sizeof(msg) ||
	    !link_receive(msg.bytes + sizeof(msg.header), len - sizeof(msg.header), &passed))
		return false;
	return hostile_send(link_client, &msg, len, &passed, passed >= 0) &&
	       link_note(&msg, passed);
}

void link_open(const char *server, const char *path)
{
	memset(hostile_link.bells, -1, sizeof(hostile_link.bells));
	link_server_path = server;
	link_listener = hostile_listen(path);
}

void link_serve(int timeout_ms)
{
	struct pollfd fds[] = {
		{ .fd = link_client < 0 ? link_listener : -1, .events = POLLIN },
		{ .fd = link_server, .events = POLLIN },
		{ .fd = link_client, .events = POLLIN },
	};

	if (poll(fds, 3, timeout_ms) <= 0)
		return;
	if (fds[0].revents)
		link_accept();
	else if (fds[2].revents || (fds[1].revents && !link_pass_on()))
		link_drop();
}

void link_ring(unsigned int vector)
{
	uint64_t one = 1;
	int fd = hostile_link.bells[!hostile_link.id][vector % LINK_VECTORS];

	/* Full is as good */
	if (fd >= 0 && write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		hostile_die("doorbell");
}
