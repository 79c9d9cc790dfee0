// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem2-server: the loop and the peers that come and go. One event at a
 * time, and the doomed are gone before the next one, so no event meets a
 * client that is not there any more and ids are free in the order in which
 * connections end.
 *
 * Implements the life of a connection of
 * Documentation/ivshmem/server-protocol.rst.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "server.h"

#define SERVER_RETRY_MS		100

static int server_add(struct server *s, struct server_source *source)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = source };

	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, source->fd, &ev);
}

int server_watch(struct server *s, struct server_source *source,
		 __u32 events)
{
	struct epoll_event ev = { .events = events, .data.ptr = source };

	return epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, source->fd, &ev);
}

void server_retry_later(struct server *s)
{
	struct itimerspec when = {
		.it_value.tv_nsec = SERVER_RETRY_MS * 1000000L,
	};

	timerfd_settime(s->retry.fd, 0, &when, NULL);
}

static void server_retry_ready(struct server *s, struct server_source *source,
			       __u32 events)
{
	__u64 expirations;
	__u32 id;

	(void)events;
	if (read(source->fd, &expirations, sizeof(expirations)) < 0)
		return;
	server_watch(s, &s->listener.source, EPOLLIN);
	server_watch(s, &s->status.source, EPOLLIN);
	for (id = 0; id < s->config->max_peers; id++)
		if (s->clients[id])
			server_client_retry(s, s->clients[id]);
}

void server_doom(struct server *s, struct server_client *c)
{
	if (c->doomed)
		return;
	c->doomed = true;
	STAILQ_INSERT_TAIL(&s->doomed, c, doom);
}

static void server_notify_status(const struct server *s)
{
	server_daemon_notify("STATUS=%u of %u peers", s->connected,
			     s->config->max_peers);
}

static void server_leave(struct server *s, struct server_client *c)
{
	__u32 id;

	s->clients[c->id] = NULL;
	s->connected--;
	server_shm_clear_state(&s->shm, c->id);
	for (id = 0; id < s->config->max_peers; id++)
		if (s->clients[id])
			server_client_tell_gone(s, s->clients[id], c->id);
	server_log(LOG_DEBUG, "peer %u: gone", c->id);
	server_client_free(c);
}

/* To tell the others that one is gone can doom the next */
static void server_reap(struct server *s)
{
	struct server_client *c;

	if (STAILQ_EMPTY(&s->doomed))
		return;
	while ((c = STAILQ_FIRST(&s->doomed))) {
		STAILQ_REMOVE_HEAD(&s->doomed, doom);
		server_leave(s, c);
	}
	server_notify_status(s);
}

static void server_greet(struct server *s, struct server_client *c)
{
	__u32 id;

	server_client_tell_init(s, c);
	for (id = 0; id < s->config->max_peers; id++)
		if (s->clients[id])
			server_client_tell_peer(s, s->clients[id], c);
	for (id = 0; id < s->config->max_peers; id++)
		if (s->clients[id])
			server_client_tell_peer(s, c, s->clients[id]);
	server_client_tell_peer(s, c, c);
}

static __u32 server_lowest_free_id(const struct server *s)
{
	__u32 id = 0;

	while (id < s->config->max_peers && s->clients[id])
		id++;
	return id;
}

static void server_accepted(struct server *s, int fd)
{
	__u32 id = server_lowest_free_id(s);
	struct server_client *c = NULL;

	if (id == s->config->max_peers) {
		server_log_client("connection refused: all %u peers are there",
				  s->config->max_peers);
		goto err_close;
	}
	c = server_client_new(s, fd, id);
	if (!c || server_add(s, &c->source)) {
		server_log_client("connection refused: %s", strerror(errno));
		goto err_close;
	}
	server_greet(s, c);
	s->clients[id] = c;
	s->connected++;
	server_log(LOG_DEBUG, "peer %u: here (pid %d, uid %u)", id,
		   (int)c->cred.pid, (unsigned int)c->cred.uid);
	server_notify_status(s);
	return;

err_close:
	if (c)
		server_client_free(c);
	else
		close(fd);
}

static void server_listener_ready(struct server *s,
				  struct server_source *source, __u32 events)
{
	struct server_listener *l =
		server_container(source, struct server_listener, source);
	int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd >= 0) {
		l->accepted(s, fd);
		return;
	}
	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	/* Out of descriptors or memory: asking again at once would only spin */
	server_log_client("accept: %s, retried in %d ms", strerror(errno),
			  SERVER_RETRY_MS);
	server_watch(s, source, 0);
	server_retry_later(s);
}

static void server_signals_ready(struct server *s, struct server_source *source,
				 __u32 events)
{
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGUSR1) {
		server_status_log(s);
		return;
	}
	server_log(LOG_INFO, "signal %u: stopping", info.ssi_signo);
	s->stop = true;
}

/* From here on a signal cannot end the process without cleaning up */
static int server_open_signals(struct server *s, struct server_error *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	s->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return s->signals.fd < 0 ? server_error(err, "signalfd: %m") : 0;
}

static int server_open_loop(struct server *s, struct server_error *err)
{
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll_fd < 0)
		return server_error(err, "epoll: %m");
	s->retry.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (s->retry.fd < 0)
		return server_error(err, "timerfd: %m");
	if (server_add(s, &s->signals) || server_add(s, &s->retry) ||
	    server_add(s, &s->listener.source) ||
	    server_add(s, &s->status.source))
		return server_error(err, "epoll: %m");
	return 0;
}

static void server_init(struct server *s, const struct server_config *config)
{
	*s = (struct server) {
		.config = config,
		.shm = { -1, -1, -1, .table = MAP_FAILED },
		.epoll_fd = -1,
		.signals = { -1, server_signals_ready },
		.retry = { -1, server_retry_ready },
		.listener = {
			.source = { -1, server_listener_ready },
			.accepted = server_accepted,
		},
		.status = {
			.source = { -1, server_listener_ready },
			.accepted = server_status_accepted,
		},
	};
	STAILQ_INIT(&s->doomed);
}

static void server_log_start(const struct server *s)
{
	const struct ivshmem_layout *l = &s->shm.layout;

	server_log(LOG_INFO,
		   "listening on %s: protocol 0x%04x, %u peers with %u vectors",
		   s->config->socket_path, s->config->protocol,
		   s->config->max_peers, s->config->vectors);
	server_log(LOG_INFO,
		   "%llu bytes (%s): State Table %llu, R/W section %llu, %u output sections of %llu",
		   l->size, server_shm_kind(s->config),
		   l->state_table_size,
		   l->rw_size, s->config->max_peers,
		   l->output_size);
}

int server_open(struct server *s, const struct server_config *config,
		struct server_error *err)
{
	server_init(s, config);
	s->clients = calloc(config->max_peers, sizeof(*s->clients));
	if (!s->clients)
		return server_error(err, "%u peers: out of memory",
				    config->max_peers);
	/*
	 * A running server is asked on its status socket: on the other one the
	 * question would be a peer that comes and goes.
	 */
	if (server_open_signals(s, err) ||
	    server_socket_check_free(config, SERVER_STATUS_SUFFIX, err) ||
	    server_shm_open(&s->shm, config, err) ||
	    server_socket_listen(&s->listener, config, "", err) ||
	    server_socket_listen(&s->status, config, SERVER_STATUS_SUFFIX, err) ||
	    server_open_loop(s, err))
		return -1;
	server_log_start(s);
	return 0;
}

int server_run(struct server *s, struct server_error *err)
{
	struct server_source *source;
	struct epoll_event ev;

	while (!s->stop) {
		if (epoll_wait(s->epoll_fd, &ev, 1, -1) < 0) {
			if (errno == EINTR)
				continue;
			return server_error(err, "epoll: %m");
		}
		source = ev.data.ptr;
		source->ready(s, source, ev.events);
		server_reap(s);
	}
	return 0;
}

/* The peers go on without us, so their State Table entries stay */
void server_close(struct server *s)
{
	__u32 id;

	server_socket_close(&s->listener);
	server_socket_close(&s->status);
	for (id = 0; s->clients && id < s->config->max_peers; id++)
		if (s->clients[id])
			server_client_free(s->clients[id]);
	free(s->clients);
	server_shm_close(&s->shm);
	if (s->retry.fd >= 0)
		close(s->retry.fd);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	if (s->signals.fd >= 0)
		close(s->signals.fd);
}
