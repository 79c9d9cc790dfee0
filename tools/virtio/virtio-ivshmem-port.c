// SPDX-License-Identifier: GPL-2.0
/*
 * Where the bytes of virtio-ivshmem-console come from and go to: see
 * virtio-ivshmem-port.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "virtio-ivshmem-backend.h"
#include "virtio-ivshmem-port.h"

static void port_init(struct port *port, enum port_kind kind)
{
	memset(port, 0, sizeof(*port));
	port->kind = kind;
	port->in = -1;
	port->out = -1;
	port->listener = -1;
	port->slave = -1;
	port->old_flags = -1;
}

static int port_fail(const char *what)
{
	int err = errno;

	vib_log(LOG_ERR, "%s: %s", what, strerror(err));
	return -err;
}

/* ---- standard input and output ---- */

static int port_make_raw(struct port *port)
{
	struct termios raw;

	if (!isatty(port->in))
		return 0;
	if (tcgetattr(port->in, &port->old_termios))
		return port_fail("terminal");
	raw = port->old_termios;
	cfmakeraw(&raw);
	if (tcsetattr(port->in, TCSANOW, &raw))
		return port_fail("terminal");
	port->is_terminal = true;
	return 0;
}

/* Input is read when there is some; only output has to be told not to block */
int port_open_stdio(struct port *port)
{
	port_init(port, PORT_STDIO);
	port->in = STDIN_FILENO;
	port->out = STDOUT_FILENO;
	port->old_flags = fcntl(port->out, F_GETFL);
	if (port->old_flags < 0 ||
	    fcntl(port->out, F_SETFL, port->old_flags | O_NONBLOCK))
		return port_fail("standard output");
	return port_make_raw(port);
}

bool port_window(const struct port *port, uint16_t *cols, uint16_t *rows)
{
	struct winsize window;

	if (!port->is_terminal || ioctl(port->in, TIOCGWINSZ, &window) ||
	    !window.ws_col || !window.ws_row)
		return false;
	*cols = window.ws_col;
	*rows = window.ws_row;
	return true;
}

/* ---- a pseudo terminal ---- */

/* Nothing is echoed or translated before somebody wants it */
static int port_open_slave(struct port *port, const char *name)
{
	struct termios raw;

	/* Held open: without it the master hangs up between two users */
	port->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (port->slave < 0 || tcgetattr(port->slave, &raw))
		return -1;
	cfmakeraw(&raw);
	return tcsetattr(port->slave, TCSANOW, &raw);
}

static int port_make_link(struct port *port, const char *link,
			  const char *name)
{
	struct stat st;

	if (!link)
		return 0;
	/* One of ours that was killed may have left it behind */
	if (!lstat(link, &st) && S_ISLNK(st.st_mode))
		unlink(link);
	if (symlink(name, link))
		return port_fail(link);
	port->path = link;
	return 0;
}

int port_open_pty(struct port *port, const char *link)
{
	char name[64];

	port_init(port, PORT_PTY);
	port->in = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (port->in < 0 || grantpt(port->in) || unlockpt(port->in) ||
	    ptsname_r(port->in, name, sizeof(name)) ||
	    fcntl(port->in, F_SETFL, O_RDWR | O_NONBLOCK) ||
	    port_open_slave(port, name))
		return port_fail("pseudo terminal");
	port->out = port->in;
	if (port_make_link(port, link, name))
		return -EEXIST;
	puts(name);
	fflush(stdout);
	return 0;
}

/* ---- a socket ---- */

/* A socket that nobody listens on is left over from one of ours */
static bool port_stale(const struct sockaddr_un *addr)
{
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool stale;

	stale = connect(sock, (const struct sockaddr *)addr, sizeof(*addr)) &&
		errno == ECONNREFUSED;
	close(sock);
	return stale;
}

int port_open_listen(struct port *port, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	mode_t mask;
	int ret;

	port_init(port, PORT_LISTEN);
	if (strlen(path) >= sizeof(addr.sun_path)) {
		errno = ENAMETOOLONG;
		return port_fail(path);
	}
	memcpy(addr.sun_path, path, strlen(path));
	port->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC |
					 SOCK_NONBLOCK, 0);
	if (port->listener < 0)
		return port_fail(path);
	if (port_stale(&addr))
		unlink(path);
	mask = umask(0077);
	ret = bind(port->listener, (struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	if (ret)
		return port_fail(path);
	port->path = path;
	return listen(port->listener, 1) ? port_fail(path) : 0;
}

int port_accept(struct port *port)
{
	int client = accept4(port->listener, NULL, NULL,
			     SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (client < 0)
		return 0;
	port->in = client;
	port->out = client;
	return 1;
}

void port_hang_up(struct port *port)
{
	close(port->in);
	port->in = -1;
	port->out = -1;
}

void port_close(struct port *port)
{
	if (port->is_terminal)
		tcsetattr(port->in, TCSADRAIN, &port->old_termios);
	if (port->old_flags >= 0)
		fcntl(STDOUT_FILENO, F_SETFL, port->old_flags);
	if (port->path)
		unlink(port->path);
	if (port->kind != PORT_STDIO && port->in >= 0)
		close(port->in);
	if (port->slave >= 0)
		close(port->slave);
	if (port->listener >= 0)
		close(port->listener);
}
