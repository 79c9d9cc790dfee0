/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the bytes of virtio-ivshmem-console come from and go to: standard
 * input and output, a terminal among them; a pseudo terminal; or whoever
 * connects to a socket. Descriptors only: what to do when they are ready or
 * not is up to the console.
 */
#ifndef VIRTIO_IVSHMEM_PORT_H
#define VIRTIO_IVSHMEM_PORT_H

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

enum port_kind { PORT_STDIO, PORT_PTY, PORT_LISTEN };

/**
 * struct port - a port, opened by one of the functions below
 * @kind: which
 * @in: to read from, -1 = nobody there
 * @out: to write to, -1 = nobody there
 * @is_terminal: @in is a terminal, and raw; @out has the window
 * @path: of the socket or the link, to be removed; NULL = none
 * @listener: the socket, else -1
 * @slave: of the pseudo terminal, else -1
 * @old_termios: of the terminal
 * @old_flags: of standard output, -1 = as it was
 */
struct port {
	enum port_kind kind;
	int in;
	int out;
	bool is_terminal;
	const char *path;
	int listener;
	int slave;
	struct termios old_termios;
	int old_flags;
};

/* All return 0 or -errno, and say what is wrong */
int port_open_stdio(struct port *port);
int port_open_pty(struct port *port, const char *link);
int port_open_listen(struct port *port, const char *path);

/* Somebody connects: 1 = a client is there now, 0 = not */
int port_accept(struct port *port);

/* The client is gone */
void port_hang_up(struct port *port);

/* The window of the terminal: false if it has none */
bool port_window(const struct port *port, uint16_t *cols, uint16_t *rows);

/* Leave everything as it was */
void port_close(struct port *port);

#endif /* VIRTIO_IVSHMEM_PORT_H */
