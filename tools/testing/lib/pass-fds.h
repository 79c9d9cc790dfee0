/* SPDX-License-Identifier: GPL-2.0 */
/* Descriptors with a message, for what speaks to sockets as nobody should */
#ifndef _TESTING_PASS_FDS_H
#define _TESTING_PASS_FDS_H

#include <string.h>
#include <sys/socket.h>

#define PASS_FDS_MAX	16

/**
 * pass_fds() - send() with descriptors
 * @sock: the socket
 * @data: what to send
 * @len: bytes of it
 * @fds: the descriptors
 * @n: how many, up to PASS_FDS_MAX; with none there is no control message
 * @flags: those of send(2)
 *
 * Return: as sendmsg(2).
 */
static inline ssize_t pass_fds(int sock, const void *data, size_t len,
			       const int *fds, unsigned int n, int flags)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(PASS_FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, n * sizeof(int));
	}
	return sendmsg(sock, &msg, flags);
}

#endif /* _TESTING_PASS_FDS_H */
