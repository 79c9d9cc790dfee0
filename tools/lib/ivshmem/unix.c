// SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause
/*
 * A peer on the host: a client of the server that acts like the device model
 * of a virtual machine, so that nobody can tell it from a guest. It maps what
 * a guest could not write as read only, to the same end: the State Table is
 * writable to ivshmem_set_state() alone, through a mapping of its own.
 *
 * Implements the client of Documentation/ivshmem/server-protocol.rst. Of the
 * server it believes nothing but that it leaves the memory its size.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
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

#include "message.h"
#include "peer.h"

#define UNIX_EPOLL_BATCH	32
#define UNIX_EPOLL_SERVER	UINT32_MAX	/* other values are vectors */
#define UNIX_MESSAGES_MAX	64		/* of one batch of events */

/**
 * struct unix_target - a peer as its doorbells see it
 * @fds: its eventfds, NULL if the peer is not there
 * @count: how many of them have come; it is present with all of them
 */
struct unix_target {
	int *fds;
	uint32_t count;
};

/**
 * struct ivshmem_unix - a peer over the server's socket
 * @impl: first; its fd is the epoll instance
 * @sock: connection
 * @msg: what is being received
 * @memory: the shared memory, -1 once it is mapped
 * @layout: where the sections lie
 * @lock: protects @targets, @targets_end and @state; the events are taken
 *	under no lock, since only one thread may take them
 * @targets: of every id
 * @targets_end: no target at or above it
 * @state: own State, what the State register of a device would hold
 * @own_entry: own entry of the State Table, writable
 * @own_page: the mapping it lies in
 * @announce: next id to announce after the handshake, max_peers = done
 * @messages: that may be taken in this batch; > 0: the socket is readable
 * @lost: the connection broke and nobody was told, @lost_error says why
 * @gone: id + 1 of the peer whose departure is told next, 0 = none
 */
struct ivshmem_unix {
	struct ivshmem_impl impl;
	int sock;
	struct ivshmem_message msg;
	int memory;
	struct ivshmem_layout layout;
	pthread_mutex_t lock;
	struct unix_target *targets;
	uint32_t targets_end;
	uint32_t state;
	uint32_t *own_entry;
	void *own_page;
	uint32_t announce;
	unsigned int messages;
	bool lost;
	int lost_error;
	uint32_t gone;
};

static struct ivshmem_unix *to_unix(struct ivshmem_impl *impl)
{
	return (struct ivshmem_unix *)impl;
}

static bool unix_complete(const struct ivshmem_unix *u, uint32_t id)
{
	return u->targets[id].count == u->impl.peer.vectors;
}

/* Full means that the interrupt is pending already */
static void unix_signal(const struct unix_target *target, uint32_t vector)
{
	const uint64_t one = 1;
	ssize_t ret;

	if (vector >= target->count)
		return;
	ret = write(target->fds[vector], &one, sizeof(one));
	(void)ret;
}

static void unix_doorbell(struct ivshmem_impl *impl, uint32_t id,
			  uint32_t vector)
{
	struct ivshmem_unix *u = to_unix(impl);

	if (id >= impl->peer.max_peers)
		return;
	/* The kernel orders the payload: write() publishes under a lock */
	pthread_mutex_lock(&u->lock);
	unix_signal(&u->targets[id], vector);
	pthread_mutex_unlock(&u->lock);
}

/* What the write to a device's State register does */
static void unix_set_state(struct ivshmem_impl *impl, uint32_t state)
{
	struct ivshmem_unix *u = to_unix(impl);
	uint32_t id;

	pthread_mutex_lock(&u->lock);
	/* Pairs with the acquire in ivshmem_get_state() of the others */
	__atomic_store_n(u->own_entry, htole32(state), __ATOMIC_RELEASE);
	if (state != u->state) {
		u->state = state;
		for (id = 0; id < u->targets_end; id++)
			if (id != impl->peer.id)
				unix_signal(&u->targets[id],
					    IVSHMEM_VECTOR_STATE);
	}
	pthread_mutex_unlock(&u->lock);
}

static int unix_vector_fd(struct ivshmem_impl *impl, uint32_t vector)
{
	struct ivshmem_unix *u = to_unix(impl);
	int fd = u->targets[impl->peer.id].fds[vector];

	/* Asked twice is answered twice: then it is out already */
	epoll_ctl(impl->fd, EPOLL_CTL_DEL, fd, NULL);
	impl->fired[vector / 64] &= ~(1ULL << vector % 64);
	return fd;
}

static int unix_present(struct ivshmem_impl *impl, uint32_t id)
{
	struct ivshmem_unix *u = to_unix(impl);
	int present;

	pthread_mutex_lock(&u->lock);
	present = unix_complete(u, id);
	pthread_mutex_unlock(&u->lock);
	return present;
}

static int unix_watch(struct ivshmem_unix *u, int fd, uint32_t tag)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = tag };

	if (epoll_ctl(u->impl.fd, EPOLL_CTL_ADD, fd, &event))
		return ivshmem_fail(errno, "epoll: %s", strerror(errno));
	return 0;
}

static void unix_free_target(struct unix_target *target)
{
	while (target->count)
		close(target->fds[--target->count]);
	free(target->fds);
	target->fds = NULL;
}

static void unix_drop_target(struct ivshmem_unix *u, uint32_t id)
{
	pthread_mutex_lock(&u->lock);
	unix_free_target(&u->targets[id]);
	while (u->targets_end && !u->targets[u->targets_end - 1].fds)
		u->targets_end--;
	pthread_mutex_unlock(&u->lock);
}

/*
 * An eventfd has no file type. Pipes and sockets must not pass: a write to
 * them could raise SIGPIPE. Whoever writes must not block on a full counter.
 */
static int unix_check_eventfd(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (fstat(fd, &st) || st.st_mode & S_IFMT ||
	    (flags & O_ACCMODE) != O_RDWR)
		return ivshmem_fail(EPROTO, "the server sent something that is no eventfd");
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK))
		return ivshmem_fail(errno, "eventfd: %s", strerror(errno));
	return 0;
}

static int unix_add_eventfd(struct ivshmem_unix *u, uint32_t id)
{
	struct unix_target *target = &u->targets[id];
	uint32_t vectors = u->impl.peer.vectors;
	int ret = 0;

	pthread_mutex_lock(&u->lock);
	if (!target->fds)
		target->fds = calloc(vectors, sizeof(*target->fds));
	if (target->fds)
		target->fds[target->count++] = ivshmem_message_take_fd(&u->msg);
	else
		ret = ivshmem_fail(ENOMEM, "out of memory");
	if (u->targets_end <= id)
		u->targets_end = id + 1;
	pthread_mutex_unlock(&u->lock);
	return ret;
}

/* 1 = an event, 0 = none, or -errno */
static int unix_handle_event_fd(struct ivshmem_unix *u,
				struct ivshmem_event *event)
{
	uint32_t id = le32toh(u->msg.event_fd.id);
	uint32_t vector = le32toh(u->msg.event_fd.vector);
	struct ivshmem_peer *peer = &u->impl.peer;
	int ret;

	if (id >= peer->max_peers)
		return ivshmem_fail(EPROTO, "the server named peer %u of %u",
				    id, peer->max_peers);
	if (vector >= peer->vectors || vector != u->targets[id].count)
		return ivshmem_fail(EPROTO, "the server sent vector %u of peer %u out of order",
				    vector, id);
	ret = unix_check_eventfd(u->msg.fd);
	if (ret)
		return ret;
	ret = unix_add_eventfd(u, id);
	if (ret)
		return ret;
	if (id == peer->id)
		return unix_watch(u, u->targets[id].fds[vector], vector);
	if (!unix_complete(u, id))
		return 0;
	event->type = IVSHMEM_EVENT_ARRIVED;
	event->peer = id;
	return 1;
}

static bool unix_take_gone(struct ivshmem_unix *u, struct ivshmem_event *event)
{
	if (!u->gone)
		return false;
	event->type = IVSHMEM_EVENT_GONE;
	event->peer = u->gone - 1;
	u->gone = 0;
	return true;
}

/* Two events if the peer had a State: that it is 0 now, and the departure */
static int unix_handle_peer_gone(struct ivshmem_unix *u,
				 struct ivshmem_event *event)
{
	uint32_t id = le32toh(u->msg.peer_gone.id);
	uint32_t *seen = u->impl.seen;

	if (id >= u->impl.peer.max_peers || id == u->impl.peer.id)
		return ivshmem_fail(EPROTO, "the server says that peer %u is gone",
				    id);
	if (unix_complete(u, id))
		u->gone = id + 1;
	unix_drop_target(u, id);
	/* The id may be in use again before the table is looked at */
	u->impl.scan = 0;
	if (!seen[id])
		return unix_take_gone(u, event);
	event->type = IVSHMEM_EVENT_STATE;
	event->peer = id;
	event->old_state = seen[id];
	seen[id] = 0;
	return 1;
}

static int unix_handle(struct ivshmem_unix *u, struct ivshmem_event *event)
{
	switch (le32toh(u->msg.header.type)) {
	case IVSHMEM_MSG_EVENT_FD:
		return unix_handle_event_fd(u, event);
	case IVSHMEM_MSG_PEER_GONE:
		return unix_handle_peer_gone(u, event);
	default:
		return ivshmem_fail(EPROTO, "the server introduced itself twice");
	}
}

/*
 * Stop listening, but keep the connection: to close it would free our id while
 * we go on under it.
 */
static void unix_lose_server(struct ivshmem_unix *u, int error)
{
	epoll_ctl(u->impl.fd, EPOLL_CTL_DEL, u->sock, NULL);
	ivshmem_message_reset(&u->msg);
	u->messages = 0;
	u->lost = true;
	u->lost_error = error == -ECONNRESET ? 0 : error;
}

static bool unix_take_lost(struct ivshmem_unix *u, struct ivshmem_event *event)
{
	if (!u->lost)
		return false;
	u->lost = false;
	event->type = IVSHMEM_EVENT_SERVER_GONE;
	event->error = u->lost_error;
	return true;
}

/* Who was there before us came with the handshake */
static bool unix_take_announce(struct ivshmem_unix *u,
			       struct ivshmem_event *event)
{
	uint32_t id;

	while (u->announce < u->impl.peer.max_peers) {
		id = u->announce++;
		if (id == u->impl.peer.id || !unix_complete(u, id))
			continue;
		event->type = IVSHMEM_EVENT_ARRIVED;
		event->peer = id;
		return true;
	}
	return false;
}

static bool unix_take_message(struct ivshmem_unix *u,
			      struct ivshmem_event *event)
{
	int ret;

	while (u->messages) {
		u->messages--;
		ret = ivshmem_message_receive(&u->msg, u->sock);
		if (!ret)
			u->messages = 0;
		if (ret > 0) {
			ret = unix_handle(u, event);
			ivshmem_message_reset(&u->msg);
		}
		if (ret < 0)
			unix_lose_server(u, ret);
		if (ret > 0)
			return true;
	}
	return false;
}

static bool unix_take(struct ivshmem_impl *impl, struct ivshmem_event *event)
{
	struct ivshmem_unix *u = to_unix(impl);

	return unix_take_gone(u, event) || unix_take_announce(u, event) ||
	       unix_take_message(u, event) || unix_take_lost(u, event);
}

static void unix_vector_fired(struct ivshmem_unix *u, uint32_t vector)
{
	int fd = u->targets[u->impl.peer.id].fds[vector];
	uint64_t count;

	if (read(fd, &count, sizeof(count)) != sizeof(count))
		return;
	u->impl.fired[vector / 64] |= 1ULL << vector % 64;
	if (vector == IVSHMEM_VECTOR_STATE)
		u->impl.scan = 0;
}

static int unix_fetch(struct ivshmem_impl *impl, int timeout_ms)
{
	struct epoll_event ready[UNIX_EPOLL_BATCH];
	struct ivshmem_unix *u = to_unix(impl);
	int n, i;

	n = epoll_wait(impl->fd, ready, UNIX_EPOLL_BATCH, timeout_ms);
	if (n < 0)
		return ivshmem_fail(errno, "epoll: %s", strerror(errno));
	for (i = 0; i < n; i++) {
		if (ready[i].data.u32 == UNIX_EPOLL_SERVER)
			u->messages = UNIX_MESSAGES_MAX;
		else
			unix_vector_fired(u, ready[i].data.u32);
	}
	return n;
}

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
static int unix_place_sections(struct ivshmem_unix *u,
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
	if (fstat(u->memory, &st) || !S_ISREG(st.st_mode))
		return ivshmem_fail(EPROTO, "the server sent no shared memory");
	if (__builtin_mul_overflow(output, peers, &outputs) ||
	    __builtin_sub_overflow((uint64_t)st.st_size, table, &rw) ||
	    __builtin_sub_overflow(rw, outputs, &rw))
		return ivshmem_fail(EPROTO,
				    "%lld bytes of shared memory cannot hold %u output sections of %llu",
				    (long long)st.st_size, peers,
				    (unsigned long long)output);
	why = ivshmem_layout_place(&u->layout, table, rw, output, peers,
				   sysconf(_SC_PAGESIZE));
	return why ? ivshmem_fail(EPROTO, "from the server: %s", why) : 0;
}

static int unix_map_table(struct ivshmem_unix *u)
{
	struct ivshmem_peer *peer = &u->impl.peer;
	size_t page_size = sysconf(_SC_PAGESIZE);
	size_t offset = 4UL * peer->id;
	void *map;

	map = ivshmem_map(u->memory, 0, u->layout.state_table_size, PROT_READ,
			  "State Table");
	if (!map)
		return -errno;
	peer->state_table = map;
	peer->state_table_size = u->layout.state_table_size;

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

static int unix_map_outputs(struct ivshmem_unix *u)
{
	const struct ivshmem_layout *l = &u->layout;
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

static int unix_map_sections(struct ivshmem_unix *u)
{
	const struct ivshmem_layout *l = &u->layout;
	struct ivshmem_peer *peer = &u->impl.peer;
	int ret;

	ret = unix_map_table(u);
	if (ret)
		return ret;
	if (l->rw_size) {
		peer->rw = ivshmem_map(u->memory, l->rw_offset, l->rw_size,
				       PROT_READ | PROT_WRITE, "R/W section");
		if (!peer->rw)
			return -errno;
		peer->rw_size = l->rw_size;
	}
	return l->output_size ? unix_map_outputs(u) : 0;
}

/* Everything that INIT says */
static int unix_initialize(struct ivshmem_unix *u)
{
	const struct ivshmem_msg_init *init = &u->msg.init;
	struct ivshmem_peer *peer = &u->impl.peer;
	int ret;

	ret = unix_check_init(init);
	if (ret)
		return ret;
	u->memory = ivshmem_message_take_fd(&u->msg);
	ret = unix_place_sections(u, init);
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
	ret = unix_map_sections(u);
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
	while (!ret && !unix_complete(u, u->impl.peer.id)) {
		ret = unix_await_message(u, deadline);
		if (ret)
			return ret;
		/* Whoever comes or goes by now is announced afterwards */
		ret = unix_handle(u, &event);
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

/* Without the lock: after fork() it may be held by a thread that is not here */
static void unix_free_targets(struct ivshmem_unix *u)
{
	uint32_t id;

	for (id = 0; id < u->targets_end; id++)
		unix_free_target(&u->targets[id]);
	free(u->targets);
}

static void unix_close(struct ivshmem_impl *impl, bool own_process)
{
	struct ivshmem_unix *u = to_unix(impl);

	/* The server does it too, but it may have died before us */
	if (own_process && u->own_entry)
		unix_set_state(impl, IVSHMEM_STATE_RESET);
	unix_free_targets(u);
	if (u->own_page)
		munmap(u->own_page, sysconf(_SC_PAGESIZE));
	ivshmem_release(impl);
	ivshmem_message_reset(&u->msg);
	if (u->memory >= 0)
		close(u->memory);
	if (u->sock >= 0)
		close(u->sock);
	if (impl->fd >= 0)
		close(impl->fd);
	free(u);
}

static const struct ivshmem_backend unix_backend = {
	.fetch		= unix_fetch,
	.take		= unix_take,
	.set_state	= unix_set_state,
	.doorbell	= unix_doorbell,
	.vector_fd	= unix_vector_fd,
	.present	= unix_present,
	.close		= unix_close,
};

int ivshmem_unix_open(struct ivshmem_impl **impl, const char *path,
		      int timeout_ms)
{
	struct ivshmem_unix *u = calloc(1, sizeof(*u));
	int64_t deadline = ivshmem_deadline(timeout_ms);
	int ret;

	if (!u)
		return ivshmem_fail(ENOMEM, "out of memory");
	u->impl.backend = &unix_backend;
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
	return unix_watch(u, u->sock, UNIX_EPOLL_SERVER);
}
