// SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause
/*
 * How a process becomes a peer on the host: connect, be introduced, map. It
 * maps what a guest could not write as read only, to the same end: the State
 * Table is writable to ivshmem_set_state() alone, through a mapping of its
 * own. Of the server it believes nothing but that it leaves the memory its
 * size.
 *
 * Implements Documentation/ivshmem/server-protocol.rst, "Connection".
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/ivshmem.h>
#include <linux/ivshmem-layout.h>

#include "unix.h"

/* The next message within the deadline, whatever it is: 0 or -errno */
static int unix_await_message(struct ivshmem_unix *u, int64_t deadline)
{
	struct pollfd pfd = { .fd = u->sock, .events = POLLIN };
	int ret;

	ivshmem_message_reset(&u->msg);
	for (;;) {
		ret = poll(&pfd, 1, ivshmem_time_left(deadline));
		if (ret < 0)
			return ivshmem_fail(errno, "poll: %s", strerror(errno));
		if (!ret)
			return ivshmem_fail(ETIMEDOUT, "the server does not answer");
		ret = ivshmem_message_receive(&u->msg, u->sock);
		if (ret == -ECONNRESET)
			return ivshmem_fail(ECONNRESET,
					    "the server closed the connection: are all its peer ids taken?");
		if (ret)
			return ret < 0 ? ret : 0;
		if (!ivshmem_time_left(deadline))
			return ivshmem_fail(ETIMEDOUT, "the server takes too long");
	}
}

static int unix_check_init(const struct ivshmem_msg_init *init)
{
	uint32_t version = le32toh(init->version);
	uint32_t compatible = le32toh(init->compatible_version);
	uint32_t vectors = le32toh(init->vectors);

	if (le32toh(init->header.type) != IVSHMEM_MSG_INIT)
		return ivshmem_fail(EPROTO,
				    "the server does not introduce itself: is it an ivshmem2-server?");
	if (version < IVSHMEM_SERVER_VERSION ||
	    compatible > IVSHMEM_SERVER_VERSION)
		return ivshmem_fail(EPROTONOSUPPORT, "the server speaks versions %u..%u, not %u",
				    compatible, version,
				    IVSHMEM_SERVER_VERSION);
	if (!vectors || vectors > IVSHMEM_SERVER_MAX_VECTORS)
		return ivshmem_fail(EPROTO, "the server offers %u vectors",
				    vectors);
	if (le32toh(init->protocol) > UINT16_MAX)
		return ivshmem_fail(EPROTO, "the server names protocol %#x",
				    le32toh(init->protocol));
	if (le32toh(init->id) >= le32toh(init->max_peers))
		return ivshmem_fail(EPROTO, "the server makes us peer %u of %u",
				    le32toh(init->id),
				    le32toh(init->max_peers));
	return 0;
}

/* The memory minus the State Table minus the output sections is R/W */
static int unix_place_sections(struct ivshmem_layout *l, int memory,
			       const struct ivshmem_msg_init *init)
{
	uint64_t output = le64toh(init->output_section_size);
	uint32_t peers = le32toh(init->max_peers);
	uint64_t table, outputs, rw;
	const char *why;
	struct stat st;

	if (peers > IVSHMEM_MAX_PEERS)
		return ivshmem_fail(EPROTO, "the server offers %u peers", peers);
	table = (4ULL * peers + IVSHMEM_SERVER_TABLE_ALIGN - 1) &
		~(IVSHMEM_SERVER_TABLE_ALIGN - 1ULL);
	if (fstat(memory, &st) || !S_ISREG(st.st_mode))
		return ivshmem_fail(EPROTO, "the server sent no shared memory");
	if (__builtin_mul_overflow(output, peers, &outputs) ||
	    __builtin_sub_overflow((uint64_t)st.st_size, table, &rw) ||
	    __builtin_sub_overflow(rw, outputs, &rw))
		return ivshmem_fail(EPROTO,
				    "%lld bytes of shared memory cannot hold %u output sections of %llu",
				    (long long)st.st_size, peers,
				    (unsigned long long)output);
	why = ivshmem_layout_place(l, table, rw, output, peers,
				   sysconf(_SC_PAGESIZE));
	return why ? ivshmem_fail(EPROTO, "from the server: %s", why) : 0;
}

static int unix_map_table(struct ivshmem_unix *u,
			  const struct ivshmem_layout *l)
{
	struct ivshmem_peer *peer = &u->impl.peer;
	size_t page_size = sysconf(_SC_PAGESIZE);
	size_t offset = 4UL * peer->id;
	void *map;

	map = ivshmem_map(u->memory, 0, l->state_table_size, PROT_READ,
			  "State Table");
	if (!map)
		return -errno;
	peer->state_table = map;
	peer->state_table_size = l->state_table_size;

	u->own_page = ivshmem_map(u->memory, offset & ~(page_size - 1),
				  page_size, PROT_READ | PROT_WRITE,
				  "State Table");
	if (!u->own_page)
		return -errno;
	u->own_entry = (uint32_t *)((char *)u->own_page +
				    (offset & (page_size - 1)));
	__atomic_store_n(u->own_entry, 0, __ATOMIC_RELEASE);
	return 0;
}

static int unix_map_outputs(struct ivshmem_unix *u,
			    const struct ivshmem_layout *l)
{
	struct ivshmem_peer *peer = &u->impl.peer;

	peer->output = ivshmem_map(u->memory,
				   ivshmem_layout_output(l, peer->id),
				   l->output_size, PROT_READ | PROT_WRITE,
				   "output section");
	if (!peer->output)
		return -errno;
	peer->output_size = l->output_size;
	peer->input = ivshmem_map(u->memory, l->output_offset,
				  l->output_size * peer->max_peers, PROT_READ,
				  "input sections");
	return peer->input ? 0 : -errno;
}

static int unix_map_sections(struct ivshmem_unix *u,
			     const struct ivshmem_layout *l)
{
	struct ivshmem_peer *peer = &u->impl.peer;
	int ret;

	ret = unix_map_table(u, l);
	if (ret)
		return ret;
	if (l->rw_size) {
		peer->rw = ivshmem_map(u->memory, l->rw_offset, l->rw_size,
				       PROT_READ | PROT_WRITE, "R/W section");
		if (!peer->rw)
			return -errno;
		peer->rw_size = l->rw_size;
	}
	return l->output_size ? unix_map_outputs(u, l) : 0;
}

/* Everything that INIT says */
static int unix_initialize(struct ivshmem_unix *u)
{
	const struct ivshmem_msg_init *init = &u->msg.init;
	struct ivshmem_peer *peer = &u->impl.peer;
	struct ivshmem_layout layout = { 0 };
	int ret;

	ret = unix_check_init(init);
	if (ret)
		return ret;
	u->memory = ivshmem_message_take_fd(&u->msg);
	ret = unix_place_sections(&layout, u->memory, init);
	if (ret)
		return ret;

	peer->id = le32toh(init->id);
	peer->max_peers = le32toh(init->max_peers);
	peer->vectors = le32toh(init->vectors);
	peer->protocol = le32toh(init->protocol);
	u->targets = calloc(peer->max_peers, sizeof(*u->targets));
	if (!u->targets)
		return ivshmem_fail(ENOMEM, "out of memory");
	ret = ivshmem_init_states(&u->impl);
	if (ret)
		return ret;
	ret = unix_map_sections(u, &layout);
	close(u->memory);
	u->memory = -1;
	return ret;
}

/* Until the last of our own vectors, which come last of all */
static int unix_handshake(struct ivshmem_unix *u, int64_t deadline)
{
	struct ivshmem_event event;
	int ret;

	ret = unix_await_message(u, deadline);
	if (ret)
		return ret;
	ret = unix_initialize(u);
	while (!ret && !ivshmem_unix_complete(u, u->impl.peer.id)) {
		ret = unix_await_message(u, deadline);
		if (ret)
			return ret;
		/* Whoever comes or goes by now is announced afterwards */
		ret = ivshmem_unix_handle(u, &event);
		if (ret > 0)
			ret = 0;
	}
	ivshmem_message_reset(&u->msg);
	u->gone = 0;
	return ret;
}

static int unix_connect_error(int err, const char *path)
{
	switch (err) {
	case ENOENT:
	case ECONNREFUSED:
		return ivshmem_fail(err, "%s: no server there: start ivshmem2-server -S %s",
				    path, path);
	case EACCES:
	case EPERM:
		return ivshmem_fail(err,
				    "%s: no permission: only who may write to the socket can connect",
				    path);
	case EAGAIN:
		return ivshmem_fail(ETIMEDOUT, "%s: the server does not accept connections",
				    path);
	case EPROTOTYPE:
		return ivshmem_fail(err, "%s: not a stream socket", path);
	default:
		return ivshmem_fail(err, "%s: %s", path, strerror(err));
	}
}

static int unix_connect(struct ivshmem_unix *u, const char *path,
			int64_t deadline)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct timeval limit = { 0 };
	int left = ivshmem_time_left(deadline);

	if (!*path || strlen(path) >= sizeof(addr.sun_path))
		return ivshmem_fail(EINVAL, "path of the socket is not 1..%zu bytes long",
				    sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path));
	u->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (u->sock < 0)
		return ivshmem_fail(errno, "socket: %s", strerror(errno));

	/* Bounds connect() where the backlog is full; 0 would be no bound */
	if (left >= 0) {
		limit.tv_sec = left / 1000;
		limit.tv_usec = left % 1000 * 1000 + 1;
	}
	if (setsockopt(u->sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)))
		return ivshmem_fail(errno, "socket: %s", strerror(errno));
	if (connect(u->sock, (struct sockaddr *)&addr, sizeof(addr)))
		return unix_connect_error(errno, path);
	return 0;
}

int ivshmem_unix_open(struct ivshmem_impl **impl, const char *path,
		      int timeout_ms)
{
	struct ivshmem_unix *u = calloc(1, sizeof(*u));
	int64_t deadline = ivshmem_deadline(timeout_ms);
	int ret;

	if (!u)
		return ivshmem_fail(ENOMEM, "out of memory");
	u->impl.backend = &ivshmem_unix_backend;
	u->impl.owner = getpid();
	u->sock = -1;
	u->memory = -1;
	u->msg.fd = -1;
	pthread_mutex_init(&u->lock, NULL);
	*impl = &u->impl;

	u->impl.fd = epoll_create1(EPOLL_CLOEXEC);
	if (u->impl.fd < 0)
		return ivshmem_fail(errno, "epoll: %s", strerror(errno));
	ret = unix_connect(u, path, deadline);
	if (ret)
		return ret;
	ret = unix_handshake(u, deadline);
	if (ret)
		return ret;
	return ivshmem_unix_watch(u, u->sock, UNIX_EPOLL_SERVER);
}
