// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem2-server as its clients see it: they come, read or do not, send bytes
 * and descriptors that nobody asked for, close one direction or both, and ask
 * for the status. What each of them reads is well-formed; when all have gone,
 * so have their State Table entries, and every descriptor.
 *
 * The real loop runs; the input takes its turn when nothing else is to be done.
 */
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "server.h"

#include "../lib/pass-fds.h"
#include "input.h"

#define SERVER_PEERS		3
#define SERVER_VECTORS		2
#define SERVER_CLIENTS		6
#define SERVER_FDS_MAX		8

int LLVMFuzzerInitialize(int *argc, char ***argv);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int max, int timeout);
int __real_epoll_wait(int epoll, struct epoll_event *events, int max, int timeout);

static struct server fuzz_server;
static struct fuzz_input server_input;
static struct server_error server_why;

static struct server_peer_end {
	int fd;
	bool init;
	bool spoke;
} server_ends[SERVER_CLIENTS];

/* ---- in place of server-log.c and server-daemon.c ---- */

int server_error(struct server_error *err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	return -1;
}

void server_log(int priority, const char *fmt, ...)
{
	(void)priority;
	(void)fmt;
}

void server_log_client(const char *fmt, ...)
{
	(void)fmt;
}

void server_daemon_notify(const char *fmt, ...)
{
	(void)fmt;
}

/* ---- the clients ---- */

static void server_connect(struct server_listener *l, struct server_peer_end *end)
{
	int fds[2];

	if (end->fd >= 0)
		return;
	fuzz_require(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
	end->fd = fds[1];
	end->init = false;
	end->spoke = false;
	l->accepted(&fuzz_server, fds[0]);
}

static void server_hang_up(struct server_peer_end *end)
{
	if (end->fd >= 0)
		close(end->fd);
	end->fd = -1;
}

static void server_send(struct server_peer_end *end, struct fuzz_input *in)
{
	size_t len = 1 + fuzz_u8(in) % 64, n = fuzz_u8(in) % SERVER_FDS_MAX;
	static const int fds[SERVER_FDS_MAX];	/* standard input, each */
	uint8_t data[64];

	fuzz_take(in, data, len);
	/* A refusal, as for want of an end, is as good */
	if (end->fd >= 0)
		end->spoke |= pass_fds(end->fd, data, len, fds, n,
				       MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
}

/* Bytes read; a descriptor that comes with them is closed and counted */
static ssize_t server_receive(int fd, void *data, size_t len, unsigned int *fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { data, len };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	ssize_t got = recvmsg(fd, &msg, MSG_DONTWAIT);
	int passed;

	if (got < 0 || !CMSG_FIRSTHDR(&msg))
		return got;
	fuzz_require(!(msg.msg_flags & MSG_CTRUNC));
	memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(passed));
	close(passed);
	++*fds;
	return got;
}

static void server_check_message(struct server_peer_end *end,
				 const struct ivshmem_msg_init *msg, unsigned int fds)
{
	uint32_t type = le32toh(msg->header.type), len = le32toh(msg->header.len);
	const struct ivshmem_msg_event_fd *event_fd = (const void *)msg;

	fuzz_require(end->init == (type != IVSHMEM_MSG_INIT));
	end->init = true;
	switch (type) {
	case IVSHMEM_MSG_INIT:
		fuzz_require(len == sizeof(*msg) && fds == 1);
		fuzz_require(le32toh(msg->id) < SERVER_PEERS);
		break;
	case IVSHMEM_MSG_EVENT_FD:
		fuzz_require(len == sizeof(*event_fd) && fds == 1);
		fuzz_require(le32toh(event_fd->id) < SERVER_PEERS &&
			     le32toh(event_fd->vector) < SERVER_VECTORS);
		break;
	case IVSHMEM_MSG_PEER_GONE:
		fuzz_require(len == sizeof(struct ivshmem_msg_peer_gone) && !fds);
		break;
	default:
		fuzz_require(!"type of a message");
	}
}

/* One message, if there is one; messages come whole */
static bool server_read(struct server_peer_end *end)
{
	struct ivshmem_msg_init msg;
	size_t rest, head = sizeof(msg.header);
	unsigned int fds = 0;
	ssize_t got;

	if (end->fd < 0)
		return false;
	got = server_receive(end->fd, &msg, head, &fds);
	if (got <= 0)
		return false;
	fuzz_require(got == (ssize_t)head);
	rest = le32toh(msg.header.len) - head;
	fuzz_require(rest <= sizeof(msg) - head);
	got = server_receive(end->fd, (char *)&msg + head, rest, &fds);
	fuzz_require(got == (ssize_t)rest);
	server_check_message(end, &msg, fds);
	return true;
}

static void server_ask_status(void)
{
	struct server_peer_end end = { .fd = -1 };
	unsigned int fds = 0;
	char byte;

	server_connect(&fuzz_server.status, &end);
	fuzz_require(server_receive(end.fd, &byte, 1, &fds) == 1 && fds == 1);
	server_hang_up(&end);
}

/* A State of a peer that is there; it has to be 0 when the peer has gone */
static void server_write_state(uint32_t id, uint32_t state)
{
	if (fuzz_server.clients[id])
		fuzz_require(pwrite(fuzz_server.shm.fd, &state, sizeof(state),
				    4 * id) == sizeof(state));
}

static void server_turn(struct fuzz_input *in)
{
	uint8_t op = fuzz_u8(in);
	struct server_peer_end *end = &server_ends[op / 16 % SERVER_CLIENTS];

	switch (op % 16) {
	case 0 ... 3:
		return server_connect(&fuzz_server.listener, end);
	case 4 ... 5:
		return server_hang_up(end);
	case 6 ... 7:
		return server_send(end, in);
	case 8:
		shutdown(end->fd, fuzz_u8(in) % 3);
		return;
	case 9:
		return server_ask_status();
	case 10:
		return server_write_state(op / 16 % SERVER_PEERS, fuzz_u8(in));
	case 11:
		server_read(end);
		return;
	default:
		while (server_read(end))
			;
	}
}

/* Nothing is left to be done: whoever spoke has been dropped */
static void server_end(void)
{
	unsigned int i, silent = 0;

	for (i = 0; i < SERVER_CLIENTS; i++)
		silent += server_ends[i].fd >= 0 && !server_ends[i].spoke;
	fuzz_require(fuzz_server.connected <= silent);
	for (i = 0; i < SERVER_CLIENTS; i++)
		server_hang_up(&server_ends[i]);
	fuzz_server.stop = !fuzz_server.connected;
}

/* ---- the loop ---- */

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int max, int timeout)
{
	int n = __real_epoll_wait(epoll, events, max, 0);

	(void)timeout;
	if (n)
		return n;
	if (server_input.size)
		server_turn(&server_input);
	else
		server_end();
	errno = EINTR;
	return -1;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static char directory[] = "/tmp/fuzz-server-XXXXXX", path[64];
	static struct server_config config = {
		.socket_path = path, .socket_mode = 0600, .socket_gid = (gid_t)-1,
		.asked_bytes = 65536, .output_bytes = 4096,
		.max_peers = SERVER_PEERS, .vectors = SERVER_VECTORS,
	};
	unsigned int i;
	sigset_t none;

	(void)argc;
	(void)argv;
	for (i = 0; i < SERVER_CLIENTS; i++)
		server_ends[i].fd = -1;
	fuzz_require(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/socket", directory);
	fuzz_require(!server_open(&fuzz_server, &config, &server_why));
	/* Who interrupts the fuzzer does not mean the server, which takes signals */
	sigemptyset(&none);
	fuzz_require(!sigprocmask(SIG_SETMASK, &none, NULL));
	/* Connections are made without the file system; leave nothing there */
	server_socket_close(&fuzz_server.listener);
	server_socket_close(&fuzz_server.status);
	fuzz_require(!rmdir(directory));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int free_fd = fuzz_free_fd();
	uint32_t id, state;

	server_input = (struct fuzz_input) { data, size };
	fuzz_server.stop = false;
	fuzz_require(!server_run(&fuzz_server, &server_why));
	for (id = 0; id < SERVER_PEERS; id++)
		fuzz_require(server_shm_state(&fuzz_server.shm, id, &state) && !state);
	fuzz_require(fuzz_free_fd() == free_fd);
	return 0;
}
