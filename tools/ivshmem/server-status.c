// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem2-server: what it says about itself, on SIGUSR1 into the log, on the
 * status socket to --status. There the report travels as a file in memory:
 * one message, so nothing has to wait for one who asks and does not read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "server.h"

#define SERVER_STATUS_TIMEOUT_S	5

static const char *server_status_role(__u32 protocol)
{
	if (protocol >= IVSHMEM_PROTO_VIRTIO_FRONT)
		return protocol & IVSHMEM_PROTO_VIRTIO_ROLE ? "back end" :
							      "front end";
	if (protocol >= IVSHMEM_PROTO_USER_FIRST)
		return "user defined";
	return protocol == IVSHMEM_PROTO_NET ? "Ethernet" : "peer";
}

static void server_status_print_client(const struct server *s,
				       const struct server_client *c, FILE *out)
{
	__u32 protocol = server_client_protocol(s->config, c->id);
	char state[16] = "-";
	__u32 value;

	if (server_shm_state(&s->shm, c->id, &value))
		snprintf(state, sizeof(state), "0x%08x", value);
	fprintf(out, "%-5u  %-7d  %-10u  0x%04x    %-12s  %-10s  %zu\n", c->id,
		(int)c->cred.pid, (unsigned int)c->cred.uid, protocol,
		server_status_role(protocol), state, c->queued);
}

static void server_status_print(const struct server *s, FILE *out)
{
	const struct ivshmem_layout *l = &s->shm.layout;
	__u32 id;

	fprintf(out, "socket    %s\n", s->config->socket_path);
	fprintf(out, "server    pid %d, version %s\n", (int)getpid(),
		IVSHMEM_VERSION);
	fprintf(out,
		"memory    %llu bytes (%s): State Table %llu, R/W section %llu, output sections %u x %llu\n",
		l->size, server_shm_kind(s->config),
		l->state_table_size,
		l->rw_size, s->config->max_peers,
		l->output_size);
	fprintf(out, "peers     %u of %u, %u vectors each\n\n", s->connected,
		s->config->max_peers, s->config->vectors);
	fputs("ID     PID      UID         PROTOCOL  ROLE          STATE       QUEUED\n",
	      out);
	for (id = 0; id < s->config->max_peers; id++)
		if (s->clients[id])
			server_status_print_client(s, s->clients[id], out);
}

/* The whole report in a file in memory: its descriptor, or -1 with errno */
static int server_status_report(const struct server *s)
{
	int fd = memfd_create("ivshmem-status", MFD_CLOEXEC);
	int copy = fd < 0 ? -1 : dup(fd);
	FILE *out = copy < 0 ? NULL : fdopen(copy, "w");

	if (out) {
		server_status_print(s, out);
		if (!fclose(out))
			return fd;
	} else if (copy >= 0) {
		close(copy);
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

void server_status_accepted(struct server *s, int fd)
{
	int report = server_status_report(s);
	int ret = report < 0 ? -errno : server_socket_send(fd, "", 1, report);

	/* EPIPE: a server that only wanted to know whether we are alive */
	if (ret && ret != -EPIPE)
		server_log_client("status report: %s", strerror(-ret));
	if (report >= 0)
		close(report);
	close(fd);
}

void server_status_log(const struct server *s)
{
	char *text = NULL, *line, *rest = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return;
	server_status_print(s, out);
	if (!fclose(out))
		for (line = strtok_r(text, "\n", &rest); line;
		     line = strtok_r(NULL, "\n", &rest))
			server_log(LOG_INFO, "%s", line);
	free(text);
}

/* The report's descriptor, or -1 with errno */
static int server_status_receive(int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = sizeof(byte) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct timeval limit = { .tv_sec = SERVER_STATUS_TIMEOUT_S };
	struct cmsghdr *cmsg;
	int report;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (recvmsg(fd, &msg, MSG_CMSG_CLOEXEC) < 0)
		return -1;
	errno = EPROTO;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET ||
	    cmsg->cmsg_type != SCM_RIGHTS ||
	    cmsg->cmsg_len != CMSG_LEN(sizeof(int)))
		return -1;
	memcpy(&report, CMSG_DATA(cmsg), sizeof(report));
	return report;
}

static int server_status_copy(int report, FILE *out, struct server_error *err)
{
	char buf[4096];
	off_t off = 0;
	ssize_t got;

	while ((got = pread(report, buf, sizeof(buf), off)) > 0) {
		fwrite(buf, 1, got, out);
		off += got;
	}
	if (got < 0 || fflush(out))
		return server_error(err, "report of the server: %m");
	return 0;
}

int server_status_ask(const char *path, FILE *out, struct server_error *err)
{
	int fd = server_socket_connect(path, SERVER_STATUS_SUFFIX, err);
	int report, ret;

	if (fd < 0)
		return -1;
	report = server_status_receive(fd);
	close(fd);
	if (report < 0)
		return server_error(err, "server at %s does not answer: %m", path);
	ret = server_status_copy(report, out, err);
	close(report);
	return ret;
}
