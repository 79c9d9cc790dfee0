/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ivshmem2-server: what its files share. The server owns the memory of a
 * link, gives ids and hands every client the eventfds of all others; it is in
 * no data path. Documentation/ivshmem/server-protocol.rst is what it speaks.
 *
 * Nothing in here prints or exits but server-main.c: a function that fails
 * fills in a struct server_error and returns -1.
 */
#ifndef _IVSHMEM_SERVER_H
#define _IVSHMEM_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <syslog.h>

#include <linux/ivshmem-layout.h>
#include <linux/ivshmem_server.h>

#define SERVER_NAME		"ivshmem2-server"
#define SERVER_STATUS_SUFFIX	".status"

/* Longest path of a socket that leaves room for the suffix */
#define SERVER_PATH_MAX \
	(sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof(SERVER_STATUS_SUFFIX))

#ifndef __printf
#define __printf(a, b)	__attribute((format(printf, a, b)))
#endif

#define server_container(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

struct server;

/**
 * struct server_error - why something failed, in words
 * @text: one line without the newline
 */
struct server_error {
	char text[1024];
};

/**
 * enum server_action - what the command line asks for
 * @SERVER_RUN: be a server
 * @SERVER_STATUS: ask the running server at the socket
 * @SERVER_HELP: say how to be called
 * @SERVER_VERSION: say the version
 */
enum server_action {
	SERVER_RUN,
	SERVER_STATUS,
	SERVER_HELP,
	SERVER_VERSION,
};

/**
 * struct server_config - the command line, checked
 * @action: what to do
 * @verbose: log every connection
 * @foreground: do not detach
 * @pidfile: NULL = none
 * @socket_path: where clients connect, at most SERVER_PATH_MAX bytes
 * @socket_mode: permissions of both sockets
 * @socket_gid: group of both sockets, (gid_t)-1 = the caller's
 * @shm_name: POSIX shared memory object, NULL = none
 * @shm_dir: directory of an unlinked file, NULL = none. Neither: a memfd
 * @asked_bytes: size as it was asked for
 * @output_bytes: of one peer's output section, a multiple of the page size
 * @max_peers: 2..65536
 * @vectors: of each peer, 1..1024
 * @protocol: IVSHMEM_PROTO_*, of either role if it is a virtio one
 */
struct server_config {
	enum server_action action;
	bool verbose;
	bool foreground;
	const char *pidfile;
	const char *socket_path;
	mode_t socket_mode;
	gid_t socket_gid;
	const char *shm_name;
	const char *shm_dir;
	__u64 asked_bytes;
	__u64 output_bytes;
	__u32 max_peers;
	__u32 vectors;
	__u32 protocol;
};

/**
 * struct server_shm - the shared memory of the link
 * @fd: what clients receive
 * @lock_fd: of a POSIX object: holds the lock that says a server uses it
 * @zero_fd: /dev/zero, the source of a cleared State Table entry
 * @name: of the POSIX object, NULL = it has no name
 * @table: the State Table, mapped
 * @table_bytes: length of that mapping
 * @layout: where the sections lie; its size is that of the memory
 */
struct server_shm {
	int fd;
	int lock_fd;
	int zero_fd;
	const char *name;
	void *table;
	size_t table_bytes;
	struct ivshmem_layout layout;
};

/**
 * struct server_source - a descriptor that the loop watches
 * @fd: the descriptor
 * @ready: called with what epoll reports
 */
struct server_source {
	int fd;
	void (*ready)(struct server *s, struct server_source *source,
		      __u32 events);
};

/**
 * struct server_listener - a listening socket in the file system
 * @source: the socket; its fd is -1 before it listens
 * @addr: its path
 * @dev: device of the socket file, so that only our own is removed
 * @ino: inode likewise
 * @accepted: takes over the descriptor of a new connection
 */
struct server_listener {
	struct server_source source;
	struct sockaddr_un addr;
	dev_t dev;
	ino_t ino;
	void (*accepted)(struct server *s, int fd);
};

/**
 * struct server_vectors - the eventfds of one peer
 * @refs: its client, and each queue that still has to send some of them
 * @count: number of @fd
 * @fd: index = vector
 */
struct server_vectors {
	unsigned int refs;
	unsigned int count;
	int fd[];
};

struct server_event;

STAILQ_HEAD(server_queue, server_event);

/**
 * struct server_client - a connection and its peer
 * @doom: place in the list of those to drop
 * @source: the connection
 * @cred: who connected
 * @id: of the peer
 * @vectors: its eventfds
 * @queue: what it has to be told, oldest first
 * @queued: messages that @queue stands for
 * @held: the kernel could not take the next message, a retry is due
 * @doomed: on the list of those to drop
 */
struct server_client {
	STAILQ_ENTRY(server_client) doom;
	struct server_source source;
	struct ucred cred;
	__u32 id;
	struct server_vectors *vectors;
	struct server_queue queue;
	size_t queued;
	bool held;
	bool doomed;
};

STAILQ_HEAD(server_doomed, server_client);

/**
 * struct server - everything of a running server
 * @config: the command line
 * @shm: the memory
 * @epoll_fd: watches all sources
 * @signals: signalfd
 * @retry: timerfd, one shot, for what failed for want of a kernel resource
 * @listener: where clients connect
 * @status: where --status asks
 * @clients: index = id, NULL = free
 * @connected: number of clients
 * @doomed: clients to drop before the next event
 * @stop: a signal asked for the end
 */
struct server {
	const struct server_config *config;
	struct server_shm shm;
	int epoll_fd;
	struct server_source signals;
	struct server_source retry;
	struct server_listener listener;
	struct server_listener status;
	struct server_client **clients;
	__u32 connected;
	struct server_doomed doomed;
	bool stop;
};

/* server-log.c */

/**
 * server_error() - say why something failed
 * @err: filled in
 * @fmt: as of printf(), %m included
 *
 * Return: -1, for the caller to return.
 */
int server_error(struct server_error *err, const char *fmt, ...)
	__printf(2, 3);

/**
 * server_log_open() - log to stderr from now on
 * @verbose: LOG_DEBUG too
 *
 * Lines carry a priority prefix if stderr is the journal's.
 */
void server_log_open(bool verbose);

/* server_log_to_syslog() - stderr is going away */
void server_log_to_syslog(void);

void server_log(int priority, const char *fmt, ...)
	__printf(2, 3);

/* server_log_client() - what clients can cause: warns, but in bounds */
void server_log_client(const char *fmt, ...)
	__printf(1, 2);

/* server-options.c */

extern const char server_options_usage[];

/**
 * server_options_parse() - from argv to a config
 * @config: filled in; points into @argv
 * @argc: as of main()
 * @argv: as of main()
 * @err: on failure what is wrong with the call
 *
 * Return: 0 or -1.
 */
int server_options_parse(struct server_config *config, int argc, char **argv,
			 struct server_error *err);

/* server-shm.c */

/**
 * server_shm_layout() - place the sections that the config asks for
 * @layout: filled in
 * @config: checked by server_options_parse() for ranges
 * @unit_bytes: page size of the memory, a power of two: its least size
 * @err: on failure which numbers do not fit
 *
 * Return: 0 or -1.
 */
int server_shm_layout(struct ivshmem_layout *layout,
		      const struct server_config *config, __u64 unit_bytes,
		      struct server_error *err);

/**
 * server_shm_open() - create the memory
 * @shm: filled in
 * @config: what to create
 * @err: on failure what went wrong
 *
 * Return: 0 or -1.
 */
int server_shm_open(struct server_shm *shm, const struct server_config *config,
		    struct server_error *err);
void server_shm_close(struct server_shm *shm);

/* server_shm_clear_state() - a peer is gone: its State Table entry becomes 0 */
void server_shm_clear_state(const struct server_shm *shm, __u32 id);

/**
 * server_shm_state() - read a State Table entry
 * @shm: the memory
 * @id: of the peer
 * @state: filled in on success
 *
 * Return: false if a client cut the memory short.
 */
bool server_shm_state(const struct server_shm *shm, __u32 id,
		      __u32 *state);

/* server_shm_kind() - what the memory is, in words */
const char *server_shm_kind(const struct server_config *config);

/* server-socket.c */

/**
 * server_socket_check_free() - see that no server listens, by connecting
 * @config: path of the socket
 * @suffix: goes behind the path
 * @err: on failure what is there
 *
 * Return: 0 or -1.
 */
int server_socket_check_free(const struct server_config *config,
			     const char *suffix, struct server_error *err);

/**
 * server_socket_listen() - create a listening socket
 * @l: its source and address are filled in
 * @config: path, permissions and group
 * @suffix: goes behind the path
 * @err: on failure what went wrong
 *
 * A socket file that nobody listens on is replaced, anything else is not.
 *
 * Return: 0 or -1.
 */
int server_socket_listen(struct server_listener *l,
			 const struct server_config *config, const char *suffix,
			 struct server_error *err);

/* server_socket_close() - also removes the file, if it is still ours */
void server_socket_close(struct server_listener *l);

/**
 * server_socket_connect() - connect to a socket that a server listens on
 * @path: of the socket
 * @suffix: goes behind the path
 * @err: on failure what went wrong
 *
 * Return: the descriptor or -1.
 */
int server_socket_connect(const char *path, const char *suffix,
			  struct server_error *err);

/**
 * server_socket_send() - send a small message whole, never wait
 * @fd: a stream socket
 * @data: the message
 * @len: its length in bytes
 * @pass_fd: descriptor that goes with it, -1 = none
 *
 * Return: 0, -EAGAIN if the receiver has to read first, or another errno.
 */
int server_socket_send(int fd, const void *data, size_t len, int pass_fd);

/* server-client.c */

/**
 * server_client_new() - a peer for a connection
 * @s: the server
 * @fd: the connection; the client's on success, else still the caller's
 * @id: free
 *
 * Return: the client, or NULL with errno.
 */
struct server_client *server_client_new(struct server *s, int fd, __u32 id);
void server_client_free(struct server_client *c);

/*
 * Tell a client: server_client_tell_init() what link this is,
 * server_client_tell_peer() the eventfds of a peer, server_client_tell_gone()
 * that one left. They only queue.
 */
void server_client_tell_init(struct server *s, struct server_client *c);
void server_client_tell_peer(struct server *s, struct server_client *c,
			     const struct server_client *peer);
void server_client_tell_gone(struct server *s, struct server_client *c,
			     __u32 id);

/* server_client_protocol() - what a peer of that id is told */
__u32 server_client_protocol(const struct server_config *config, __u32 id);

/* server_client_retry() - forget that the kernel was out of something */
void server_client_retry(struct server *s, struct server_client *c);

/* server-status.c */

/* server_status_accepted() - answers --status */
void server_status_accepted(struct server *s, int fd);

/* server_status_log() - the same into the log */
void server_status_log(const struct server *s);

/**
 * server_status_ask() - ask a running server for its report
 * @path: of the server's socket
 * @out: where the report goes
 * @err: on failure what went wrong
 *
 * Return: 0 or -1.
 */
int server_status_ask(const char *path, FILE *out, struct server_error *err);

/* server-daemon.c */

/**
 * server_daemon_fork() - go on in a child, in a session of its own
 * @ready_fd: in the child: for server_daemon_ready()
 * @exit_code: in the caller: what to exit with, once the child is ready or dead
 * @err: on failure what went wrong
 *
 * Return: 0 in the child, 1 in the caller, -1 on failure.
 */
int server_daemon_fork(int *ready_fd, int *exit_code, struct server_error *err);

/* server_daemon_ready() - let the caller go and leave its terminal */
int server_daemon_ready(int ready_fd, struct server_error *err);

/**
 * server_daemon_pidfile() - write the pid into a locked file
 * @path: of the file
 * @err: on failure what went wrong
 *
 * Return: the descriptor that holds the lock, or -1.
 */
int server_daemon_pidfile(const char *path, struct server_error *err);

/**
 * server_daemon_limits() - raise the limit of open files as far as it goes
 * @config: how many peers with how many vectors
 * @err: on failure the numbers that do not fit
 *
 * Return: 0 or -1 if there are too few for two peers.
 */
int server_daemon_limits(const struct server_config *config,
			 struct server_error *err);

/* server_daemon_notify() - tell systemd, if it started us */
void server_daemon_notify(const char *fmt, ...)
	__printf(1, 2);

/* server.c */

/**
 * server_open() - create memory and sockets: clients can connect
 * @s: filled in
 * @config: must stay
 * @err: on failure what went wrong
 *
 * Return: 0 or -1; server_close() is due in both cases.
 */
int server_open(struct server *s, const struct server_config *config,
		struct server_error *err);

/**
 * server_run() - serve until a signal says stop
 * @s: opened
 * @err: on failure what went wrong
 *
 * Return: 0 or -1.
 */
int server_run(struct server *s, struct server_error *err);
void server_close(struct server *s);

/* server_doom() - drop the client before the next event */
void server_doom(struct server *s, struct server_client *c);

/* server_watch() - what the loop waits for on a source it knows already */
int server_watch(struct server *s, struct server_source *source,
		 __u32 events);

/* server_retry_later() - a kernel resource ran out: try again soon */
void server_retry_later(struct server *s);

#endif /* _IVSHMEM_SERVER_H */
