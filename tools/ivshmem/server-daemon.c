// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem2-server: its place among the processes: detaching, pidfile, limits,
 * what systemd wants to know.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "server.h"

/* stdio, memory, listeners, epoll and the like */
#define SERVER_DAEMON_OTHER_FDS	32

/* In the caller: success once the child says so, else the child's exit code */
static int server_daemon_wait(pid_t child, int ready_fd)
{
	char byte;
	int status;

	if (read(ready_fd, &byte, 1) == 1)
		return 0;
	if (waitpid(child, &status, 0) == child && WIFEXITED(status))
		return WEXITSTATUS(status);
	return 1;
}

int server_daemon_fork(int *ready_fd, int *exit_code, struct server_error *err)
{
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC))
		return server_error(err, "pipe: %m");
	child = fork();
	if (child < 0) {
		close(ends[0]);
		close(ends[1]);
		return server_error(err, "fork: %m");
	}
	close(ends[child ? 1 : 0]);
	if (child) {
		*exit_code = server_daemon_wait(child, ends[0]);
		close(ends[0]);
		return 1;
	}
	setsid();
	*ready_fd = ends[1];
	return 0;
}

int server_daemon_ready(int ready_fd, struct server_error *err)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int fd;

	if (null < 0)
		return server_error(err, "/dev/null: %m");
	server_log_to_syslog();
	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	if (null > STDERR_FILENO)
		close(null);
	/* The caller may have been killed meanwhile: nobody to tell, then */
	if (write(ready_fd, "", 1) < 0)
		server_log(LOG_DEBUG, "the caller is gone");
	close(ready_fd);
	return 0;
}

/* A server that ends removes its file: a lock on a removed file is none */
static int server_daemon_lock_pidfile(const char *path)
{
	struct stat st;
	int fd;

	for (;;) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (fd < 0)
			return -1;
		if (flock(fd, LOCK_EX | LOCK_NB) || fstat(fd, &st)) {
			close(fd);
			errno = EWOULDBLOCK;
			return -1;
		}
		if (st.st_nlink)
			return fd;
		close(fd);
	}
}

int server_daemon_pidfile(const char *path, struct server_error *err)
{
	int fd = server_daemon_lock_pidfile(path);

	if (fd < 0 && errno == EWOULDBLOCK)
		return server_error(err, "pidfile %s: its server is running", path);
	if (fd < 0)
		return server_error(err, "pidfile %s: %m", path);
	if (ftruncate(fd, 0) || dprintf(fd, "%d\n", (int)getpid()) < 0) {
		server_error(err, "pidfile %s: %m", path);
		close(fd);
		return -1;
	}
	return fd;
}

int server_daemon_limits(const struct server_config *config,
			 struct server_error *err)
{
	rlim_t per_peer = config->vectors + 1;
	rlim_t need = config->max_peers * per_peer + SERVER_DAEMON_OTHER_FDS;
	rlim_t least = 2 * per_peer + SERVER_DAEMON_OTHER_FDS;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return server_error(err, "limit of open files: %m");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		return server_error(err, "limit of open files: %m");
	if (limit.rlim_max >= need)
		return 0;
	if (limit.rlim_max < least)
		return server_error(err,
				    "2 peers with %u vectors need %ju open files, the limit is %ju",
				    config->vectors, (uintmax_t)least,
				    (uintmax_t)limit.rlim_max);
	server_log(LOG_WARNING,
		   "%u peers with %u vectors need %ju open files, the limit is %ju: only %ju peers",
		   config->max_peers, config->vectors, (uintmax_t)need,
		   (uintmax_t)limit.rlim_max,
		   (uintmax_t)((limit.rlim_max - SERVER_DAEMON_OTHER_FDS) / per_peer));
	return 0;
}

void server_daemon_notify(const char *fmt, ...)
{
#ifdef HAVE_LIBSYSTEMD
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	sd_notify(0, text);
#else
	(void)fmt;
#endif
}
