// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem2-server: listening sockets in the file system, and small messages
 * with a descriptor over them.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server.h"

/* How long another server may take to claim a socket in the same directory */
#define SERVER_SOCKET_LOCK_TRIES	100
#define SERVER_SOCKET_LOCK_MS		10

static struct sockaddr_un server_socket_addr(const char *path,
					     const char *suffix)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s%s", path, suffix);
	return addr;
}

/*
 * Between "nobody listens" and our own listen() no other server may draw the
 * same conclusion: a lock on the directory, which leaves no file behind.
 */
static int server_socket_lock(const char *path, struct server_error *err)
{
	char *copy = strdup(path);
	int tries, fd;

	if (!copy)
		return server_error(err, "%s: out of memory", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (fd < 0)
		return server_error(err, "directory of %s: %m", path);
	for (tries = 0; flock(fd, LOCK_EX | LOCK_NB); tries++) {
		if (errno != EWOULDBLOCK || tries == SERVER_SOCKET_LOCK_TRIES) {
			server_error(err, "lock on the directory of %s: %m", path);
			close(fd);
			return -1;
		}
		poll(NULL, 0, SERVER_SOCKET_LOCK_MS);
	}
	return fd;
}

/* A socket file is in the way: 0 if nobody listens on it */
static int server_socket_check_stale(const struct sockaddr_un *addr,
				     struct server_error *err)
{
	const char *path = addr->sun_path;
	struct stat st;
	int fd, ret;

	if (!lstat(path, &st) && !S_ISSOCK(st.st_mode))
		return server_error(err, "%s exists and is not a socket", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return server_error(err, "socket: %m");
	if (!connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) ||
	    errno == EAGAIN)
		ret = server_error(err, "%s: another server is listening", path);
	else if (errno == ECONNREFUSED || errno == ENOENT)
		ret = 0;
	else
		ret = server_error(err, "%s: cannot see whether a server listens: %m",
				   path);
	close(fd);
	return ret;
}

/* Nobody but us until permissions and group are what was asked for */
static int server_socket_bind(int fd, const struct sockaddr_un *addr)
{
	mode_t mask = umask(0177);
	int ret = bind(fd, (const struct sockaddr *)addr, sizeof(*addr));

	umask(mask);
	return ret;
}

static int server_socket_claim(int fd, const struct sockaddr_un *addr,
			       struct server_error *err)
{
	if (!server_socket_bind(fd, addr))
		return 0;
	if (errno != EADDRINUSE)
		return server_error(err, "%s: %m", addr->sun_path);
	if (server_socket_check_stale(addr, err))
		return -1;
	if (unlink(addr->sun_path) && errno != ENOENT)
		return server_error(err, "cannot remove stale %s: %m",
				    addr->sun_path);
	if (server_socket_bind(fd, addr))
		return server_error(err, "%s: %m", addr->sun_path);
	return 0;
}

static int server_socket_publish(struct server_listener *l,
				 const struct server_config *config,
				 struct server_error *err)
{
	const char *path = l->addr.sun_path;
	struct stat st;

	if (stat(path, &st))
		return server_error(err, "%s: %m", path);
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	if (config->socket_gid != (gid_t)-1 &&
	    chown(path, -1, config->socket_gid))
		return server_error(err, "%s: cannot give it to group %u: %m",
				    path, (unsigned int)config->socket_gid);
	if (chmod(path, config->socket_mode))
		return server_error(err, "%s: cannot set mode %o: %m", path,
				    (unsigned int)config->socket_mode);
	if (listen(l->source.fd, SOMAXCONN))
		return server_error(err, "%s: %m", path);
	return 0;
}

int server_socket_check_free(const struct server_config *config,
			     const char *suffix, struct server_error *err)
{
	struct sockaddr_un addr = server_socket_addr(config->socket_path, suffix);

	return server_socket_check_stale(&addr, err);
}

int server_socket_listen(struct server_listener *l,
			 const struct server_config *config, const char *suffix,
			 struct server_error *err)
{
	int lock, ret;

	l->addr = server_socket_addr(config->socket_path, suffix);
	lock = server_socket_lock(l->addr.sun_path, err);
	if (lock < 0)
		return -1;
	l->source.fd = socket(AF_UNIX,
			      SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->source.fd < 0)
		ret = server_error(err, "socket: %m");
	else
		ret = server_socket_claim(l->source.fd, &l->addr, err);
	if (!ret)
		ret = server_socket_publish(l, config, err);
	close(lock);
	return ret;
}

void server_socket_close(struct server_listener *l)
{
	struct stat st;

	if (l->source.fd < 0)
		return;
	if (!lstat(l->addr.sun_path, &st) && st.st_dev == l->dev &&
	    st.st_ino == l->ino)
		unlink(l->addr.sun_path);
	close(l->source.fd);
}

int server_socket_connect(const char *path, const char *suffix,
			  struct server_error *err)
{
	struct sockaddr_un addr = server_socket_addr(path, suffix);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return server_error(err, "socket: %m");
	if (!connect(fd, (const struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	server_error(err, "no server at %s: %m", path);
	close(fd);
	return -1;
}

int server_socket_send(int fd, const void *data, size_t len, int pass_fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { };
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;
	ssize_t sent;

	if (pass_fd >= 0) {
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &pass_fd, sizeof(int));
	}
	sent = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0)
		return -errno;
	/* So small a message is one buffer of the kernel's: all or nothing */
	return (size_t)sent == len ? 0 : -EIO;
}
