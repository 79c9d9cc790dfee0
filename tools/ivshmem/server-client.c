// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem2-server: one connection. What the client has to be told waits in a
 * queue; nobody ever waits for a client. Of peers that came and went meanwhile
 * it is told only that they are gone, once for each id, which bounds the queue.
 * Whatever bytes a client sends end its connection.
 *
 * Implements the messages of Documentation/ivshmem/server-protocol.rst.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "server.h"

/*
 * A client that does not read keeps the descriptors of unread messages in
 * flight, and the kernel bounds these per user: a small buffer, about 20
 * messages, leaves room for the others.
 */
#define SERVER_CLIENT_SNDBUF_BYTES	8192

/* Messages to one client before it is the turn of the others */
#define SERVER_CLIENT_BURST		64

/**
 * struct server_event - something that a client has to be told
 * @link: place in the queue
 * @type: IVSHMEM_MSG_*
 * @id: of the peer it is about
 * @vectors: for IVSHMEM_MSG_EVENT_FD: one message for each of them
 * @next: the first that was not sent yet
 */
struct server_event {
	STAILQ_ENTRY(server_event) link;
	__u32 type;
	__u32 id;
	struct server_vectors *vectors;
	__u32 next;
};

__u32 server_client_protocol(const struct server_config *config, __u32 id)
{
	if (config->protocol < IVSHMEM_PROTO_VIRTIO_FRONT)
		return config->protocol;
	if (id == 0)
		return config->protocol | IVSHMEM_PROTO_VIRTIO_ROLE;
	return config->protocol & ~IVSHMEM_PROTO_VIRTIO_ROLE;
}

static void server_client_put_vectors(struct server_vectors *v)
{
	if (!v || --v->refs)
		return;
	while (v->count)
		close(v->fd[--v->count]);
	free(v);
}

static struct server_vectors *server_client_new_vectors(unsigned int count)
{
	struct server_vectors *v = malloc(sizeof(*v) + count * sizeof(v->fd[0]));
	int saved_errno;

	if (!v)
		return NULL;
	v->refs = 1;
	for (v->count = 0; v->count < count; v->count++) {
		v->fd[v->count] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (v->fd[v->count] < 0) {
			saved_errno = errno;
			server_client_put_vectors(v);
			errno = saved_errno;
			return NULL;
		}
	}
	return v;
}

static void server_client_watch(struct server *s, struct server_client *c)
{
	bool sends = !c->held && !STAILQ_EMPTY(&c->queue);

	if (server_watch(s, &c->source, EPOLLIN | (sends ? EPOLLOUT : 0)))
		server_doom(s, c);
}

static __u32 server_client_messages(const struct server_event *e)
{
	return e->vectors ? e->vectors->count - e->next : 1;
}

static void server_client_tell(struct server *s, struct server_client *c,
			       __u32 type, __u32 id,
			       struct server_vectors *vectors)
{
	struct server_event *e;

	if (c->doomed)
		return;
	e = malloc(sizeof(*e));
	if (!e) {
		server_log_client("peer %u: dropped, out of memory", c->id);
		server_doom(s, c);
		return;
	}
	*e = (struct server_event) { .type = type, .id = id, .vectors = vectors };
	if (vectors)
		vectors->refs++;
	STAILQ_INSERT_TAIL(&c->queue, e, link);
	c->queued += server_client_messages(e);
	server_client_watch(s, c);
}

/* The first of its kind about that peer of which nothing was sent yet */
static struct server_event *server_client_find(struct server_client *c,
					       __u32 type, __u32 id)
{
	struct server_event *e;

	STAILQ_FOREACH(e, &c->queue, link)
		if (e->type == type && e->id == id && !e->next)
			break;
	return e;
}

static void server_client_untell(struct server_client *c, struct server_event *e)
{
	c->queued -= server_client_messages(e);
	STAILQ_REMOVE(&c->queue, e, server_event, link);
	server_client_put_vectors(e->vectors);
	free(e);
}

void server_client_tell_init(struct server *s, struct server_client *c)
{
	server_client_tell(s, c, IVSHMEM_MSG_INIT, c->id, NULL);
}

void server_client_tell_peer(struct server *s, struct server_client *c,
			     const struct server_client *peer)
{
	server_client_tell(s, c, IVSHMEM_MSG_EVENT_FD, peer->id, peer->vectors);
}

void server_client_tell_gone(struct server *s, struct server_client *c,
			     __u32 id)
{
	struct server_event *e = server_client_find(c, IVSHMEM_MSG_EVENT_FD, id);

	if (e)
		server_client_untell(c, e);
	/* Once for all that have gone; those may have had a State, told or not */
	if (!server_client_find(c, IVSHMEM_MSG_PEER_GONE, id))
		server_client_tell(s, c, IVSHMEM_MSG_PEER_GONE, id, NULL);
}

static struct ivshmem_msg_header server_client_header(__u32 type,
						      __u32 len)
{
	return (struct ivshmem_msg_header) { htole32(type), htole32(len) };
}

static int server_client_send_init(const struct server *s,
				   const struct server_client *c)
{
	const struct server_config *config = s->config;
	struct ivshmem_msg_init msg = {
		.header = server_client_header(IVSHMEM_MSG_INIT, sizeof(msg)),
		.version = htole32(IVSHMEM_SERVER_VERSION),
		.compatible_version = htole32(IVSHMEM_SERVER_VERSION),
		.id = htole32(c->id),
		.max_peers = htole32(config->max_peers),
		.vectors = htole32(config->vectors),
		.protocol = htole32(server_client_protocol(config, c->id)),
		.output_section_size = htole64(config->output_bytes),
	};

	return server_socket_send(c->source.fd, &msg, sizeof(msg), s->shm.fd);
}

static int server_client_send_event_fd(const struct server_client *c,
				       const struct server_event *e)
{
	struct ivshmem_msg_event_fd msg = {
		.header = server_client_header(IVSHMEM_MSG_EVENT_FD, sizeof(msg)),
		.id = htole32(e->id),
		.vector = htole32(e->next),
	};

	return server_socket_send(c->source.fd, &msg, sizeof(msg),
				  e->vectors->fd[e->next]);
}

static int server_client_send_peer_gone(const struct server_client *c,
					const struct server_event *e)
{
	struct ivshmem_msg_peer_gone msg = {
		.header = server_client_header(IVSHMEM_MSG_PEER_GONE, sizeof(msg)),
		.id = htole32(e->id),
	};

	return server_socket_send(c->source.fd, &msg, sizeof(msg), -1);
}

static int server_client_send(const struct server *s,
			      const struct server_client *c,
			      const struct server_event *e)
{
	switch (e->type) {
	case IVSHMEM_MSG_INIT:
		return server_client_send_init(s, c);
	case IVSHMEM_MSG_EVENT_FD:
		return server_client_send_event_fd(c, e);
	default:
		return server_client_send_peer_gone(c, e);
	}
}

static void server_client_pop(struct server_client *c)
{
	struct server_event *e = STAILQ_FIRST(&c->queue);

	STAILQ_REMOVE_HEAD(&c->queue, link);
	server_client_put_vectors(e->vectors);
	free(e);
}

/* One message left the queue: the event goes with its last one */
static void server_client_sent(struct server_client *c, struct server_event *e)
{
	c->queued--;
	e->next++;
	if (!e->vectors || e->next == e->vectors->count)
		server_client_pop(c);
}

static void server_client_flush(struct server *s, struct server_client *c)
{
	struct server_event *e;
	int burst, err = 0;

	for (burst = 0; burst < SERVER_CLIENT_BURST && !err; burst++) {
		e = STAILQ_FIRST(&c->queue);
		if (!e)
			break;
		err = server_client_send(s, c, e);
		if (!err)
			server_client_sent(c, e);
	}
	switch (err) {
	case 0:
	case -EAGAIN:
		break;
	case -ETOOMANYREFS:
	case -ENOBUFS:
	case -ENOMEM:
		server_log_client("peer %u: has to wait, the kernel says: %s",
				  c->id, strerror(-err));
		c->held = true;
		server_retry_later(s);
		break;
	default:
		server_log(LOG_DEBUG, "peer %u: %s", c->id, strerror(-err));
		server_doom(s, c);
		return;
	}
	server_client_watch(s, c);
}

void server_client_retry(struct server *s, struct server_client *c)
{
	if (!c->held)
		return;
	c->held = false;
	server_client_watch(s, c);
}

static void server_client_input(struct server *s, struct server_client *c)
{
	char byte;
	/* No room for descriptors: the kernel closes those that come along */
	ssize_t got = recv(c->source.fd, &byte, sizeof(byte), MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got > 0)
		server_log_client("peer %u: dropped, it sent data (pid %d, uid %u)",
				  c->id, (int)c->cred.pid,
				  (unsigned int)c->cred.uid);
	server_doom(s, c);
}

static void server_client_ready(struct server *s, struct server_source *source,
				__u32 events)
{
	struct server_client *c =
		server_container(source, struct server_client, source);

	if (events & ~EPOLLOUT)
		server_client_input(s, c);
	if (!c->doomed && events & EPOLLOUT)
		server_client_flush(s, c);
}

struct server_client *server_client_new(struct server *s, int fd, __u32 id)
{
	struct server_client *c = calloc(1, sizeof(*c));
	socklen_t len = sizeof(c->cred);
	int sndbuf = SERVER_CLIENT_SNDBUF_BYTES;

	if (!c)
		return NULL;
	c->source = (struct server_source) { fd, server_client_ready };
	c->id = id;
	STAILQ_INIT(&c->queue);
	c->vectors = server_client_new_vectors(s->config->vectors);
	if (!c->vectors)
		goto err_free;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->cred, &len) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf)))
		goto err_put_vectors;
	return c;

err_put_vectors:
	server_client_put_vectors(c->vectors);
err_free:
	free(c);
	return NULL;
}

void server_client_free(struct server_client *c)
{
	while (!STAILQ_EMPTY(&c->queue))
		server_client_pop(c);
	server_client_put_vectors(c->vectors);
	close(c->source.fd);
	free(c);
}
