// SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause
/*
 * Reassembles the messages of Documentation/ivshmem/server-protocol.rst from
 * the stream and checks their form: type, length, number of descriptors. What
 * the fields say is for the caller to check.
 *
 * Each recvmsg() asks for no more than the rest of one message, so that the
 * descriptors it returns belong to that message.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "message.h"
#include "peer.h"

#define MESSAGE_FDS_MAX		253	/* SCM_MAX_FD of the kernel */
#define MESSAGE_SKIP_BYTES	4096
#define MESSAGE_BYTES		sizeof(struct ivshmem_msg_init)
#define MESSAGE_HEADER_BYTES	sizeof(struct ivshmem_msg_header)

/* What can be read in one go, so that a flood cannot hold the caller */
#define MESSAGE_READS_MAX	256

/* What each known type looks like, by type */
static const struct message_form {
	uint32_t len_min;
	unsigned int fds;
} message_forms[] = {
	[IVSHMEM_MSG_INIT]	= { sizeof(struct ivshmem_msg_init), 1 },
	[IVSHMEM_MSG_EVENT_FD]	= { sizeof(struct ivshmem_msg_event_fd), 1 },
	[IVSHMEM_MSG_PEER_GONE]	= { sizeof(struct ivshmem_msg_peer_gone), 0 },
};

#define MESSAGE_TYPES	(sizeof(message_forms) / sizeof(message_forms[0]))

void ivshmem_message_reset(struct ivshmem_message *msg)
{
	if (msg->fd >= 0)
		close(msg->fd);
	*msg = (struct ivshmem_message){ .fd = -1 };
}

int ivshmem_message_take_fd(struct ivshmem_message *msg)
{
	int fd = msg->fd;

	msg->fd = -1;
	return fd;
}

static void message_add_fd(struct ivshmem_message *msg, int fd)
{
	msg->fds++;
	if (msg->fd < 0)
		msg->fd = fd;
	else
		close(fd);
}

static void message_add_fds(struct ivshmem_message *msg, struct msghdr *hdr)
{
	struct cmsghdr *cmsg;
	size_t n, i;
	int fd;

	for (cmsg = CMSG_FIRSTHDR(hdr); cmsg; cmsg = CMSG_NXTHDR(hdr, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET ||
		    cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(fd);
		for (i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd),
			       sizeof(fd));
			message_add_fd(msg, fd);
		}
	}
}

/* One recvmsg(); bytes received, 0 if there are none, or -errno */
static int message_read(struct ivshmem_message *msg, int sock, void *data,
			size_t size)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(MESSAGE_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = size };
	struct msghdr hdr = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	ssize_t got = recvmsg(sock, &hdr, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got < 0)
		return ivshmem_fail(errno, "cannot read from the server: %s",
				    strerror(errno));
	if (!got)
		return ivshmem_fail(ECONNRESET, "the server closed the connection");
	message_add_fds(msg, &hdr);
	if (hdr.msg_flags & MSG_CTRUNC)
		return ivshmem_fail(EMFILE,
				    "a descriptor of the server was lost: raise the limit on open files (ulimit -n)");
	return got;
}

static uint32_t message_len(const struct ivshmem_message *msg)
{
	return le32toh(msg->header.len);
}

static bool message_known(const struct ivshmem_message *msg)
{
	return le32toh(msg->header.type) < MESSAGE_TYPES;
}

/* Read towards the end of the message: header, what is known, what is not */
static int message_advance(struct ivshmem_message *msg, int sock)
{
	char skipped[MESSAGE_SKIP_BYTES];
	uint32_t end = MESSAGE_HEADER_BYTES;
	int got;

	if (msg->have >= MESSAGE_HEADER_BYTES)
		end = message_len(msg);
	if (msg->have < MESSAGE_BYTES) {
		if (end > MESSAGE_BYTES)
			end = MESSAGE_BYTES;
		got = message_read(msg, sock, (char *)msg + msg->have,
				   end - msg->have);
	} else {
		if (end - msg->have > sizeof(skipped))
			end = msg->have + sizeof(skipped);
		got = message_read(msg, sock, skipped, end - msg->have);
	}
	if (got > 0)
		msg->have += got;
	return got;
}

static int message_check_header(const struct ivshmem_message *msg)
{
	uint32_t min = MESSAGE_HEADER_BYTES;

	if (message_known(msg))
		min = message_forms[le32toh(msg->header.type)].len_min;
	if (message_len(msg) < min)
		return ivshmem_fail(EPROTO,
				    "message type %u of the server has %u bytes, not %u",
				    le32toh(msg->header.type),
				    message_len(msg), min);
	return 0;
}

static int message_check_fds(const struct ivshmem_message *msg)
{
	uint32_t type = le32toh(msg->header.type);

	if (msg->fds != message_forms[type].fds)
		return ivshmem_fail(EPROTO,
				    "message type %u of the server has %u descriptors, not %u",
				    type, msg->fds, message_forms[type].fds);
	return 1;
}

int ivshmem_message_receive(struct ivshmem_message *msg, int sock)
{
	int reads, ret;

	for (reads = 0; reads < MESSAGE_READS_MAX; reads++) {
		ret = message_advance(msg, sock);
		if (ret <= 0)
			return ret;
		if (msg->have < MESSAGE_HEADER_BYTES)
			continue;
		ret = message_check_header(msg);
		if (ret)
			return ret;
		if (msg->have < message_len(msg))
			continue;
		if (message_known(msg))
			return message_check_fds(msg);
		ivshmem_message_reset(msg);
	}
	return 0;
}
