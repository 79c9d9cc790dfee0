// SPDX-License-Identifier: GPL-2.0
/*
 * virtio-ivshmem-console: the other end of a guest's /dev/hvc0 over ivshmem.
 *
 * A guest's driver spins until its buffer is used, so output is taken at once
 * while there is room here. Without room the buffer is held back, and nothing
 * is lost, but only as long as somebody takes the output on our side: after
 * --wait seconds in which not a byte went, what does not fit is dropped and
 * counted, until it goes on.
 *
 * Implements the device of Virtual I/O Device (VIRTIO) 1.2, section 5.3, with
 * one port.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <syslog.h>
#include <unistd.h>

#include "virtio-ivshmem-options.h"
#include "virtio-ivshmem-port.h"

#define CONSOLE_IN_BYTES	(64U << 10)
#define CONSOLE_OUT_BYTES	(1U << 20)

/* A reset waits as long, and the front end waits for that only some seconds */
#define CONSOLE_WAIT_S		2
#define CONSOLE_MAX_WAIT_S	4

#define CONSOLE_ESCAPE		0x1d	/* Ctrl-] */
#define CONSOLE_NO_ESCAPE	-1

enum { CONSOLE_RECEIVEQ, CONSOLE_TRANSMITQ, CONSOLE_QUEUES };

static const char console_usage[] =
"Usage: virtio-ivshmem-console [options] DEVICE\n"
"\n"
"Connects the virtio console of a guest over ivshmem with standard input and\n"
"output. On a terminal, Ctrl-] then . ends.\n"
"\n"
"  -e, --escape=KEY       another escape key: ^A .. ^_, or none\n"
"  -L, --listen=unix:PATH serve whoever connects to that socket, one at a time\n"
"  -l, --log=FILE         append the output to FILE, too\n"
"  -p, --pty[=LINK]       a pseudo terminal; LINK will point to it\n"
"  -s, --size=COLSxROWS   window size (default: that of the terminal)\n"
"  -w, --wait=SECONDS     drop output when nobody took any for so long, 0..4 (2)\n"
VIB_OPTIONS_USAGE;

/**
 * struct console_fifo - bytes on their way
 * @data: @size bytes
 * @size: of @data
 * @start: of the first
 * @len: of them
 */
struct console_fifo {
	char *data;
	size_t size;
	size_t start;
	size_t len;
};

/**
 * struct console - the device
 * @dev: its link
 * @port: our side
 * @in: from @port to the guest
 * @out: the reverse
 * @held: output that found no room in @out; it is in flight
 * @blocked: @port takes no output for now; @timer is armed
 * @moved: it took some since
 * @stalled: nobody has taken output for too long
 * @dropped: bytes, since @stalled
 * @wait_s: how long is too long
 * @timer: expires then
 * @signals: SIGWINCH
 * @log: descriptor, -1 = none
 * @log_path: its name
 * @escape: key, or %CONSOLE_NO_ESCAPE
 * @escaped: it was typed
 * @in_unwatched: input cannot be waited for, it is always there: a file,
 *	or what is left when the other side has closed
 * @in_ended: there is no more
 * @cols: of the window, 0 = unknown
 * @rows: likewise
 * @failed: the exit code
 */
struct console {
	struct vib_device *dev;
	struct port port;
	struct console_fifo in;
	struct console_fifo out;
	struct vib_element *held;
	bool blocked;
	bool moved;
	bool stalled;
	unsigned long long dropped;
	unsigned int wait_s;
	int timer;
	int signals;
	int log;
	const char *log_path;
	int escape;
	bool escaped;
	bool in_unwatched;
	bool in_ended;
	uint16_t cols;
	uint16_t rows;
	bool failed;
};

/* ---- bytes on their way ---- */

/* Where the next bytes go, and how many do in one piece */
static char *console_fifo_tail(const struct console_fifo *fifo, size_t *len)
{
	size_t tail = (fifo->start + fifo->len) % fifo->size;
	size_t room = fifo->size - fifo->len;

	*len = room < fifo->size - tail ? room : fifo->size - tail;
	return fifo->data + tail;
}

static const char *console_fifo_head(const struct console_fifo *fifo,
				     size_t *len)
{
	size_t end = fifo->size - fifo->start;

	*len = fifo->len < end ? fifo->len : end;
	return fifo->data + fifo->start;
}

static void console_fifo_remove(struct console_fifo *fifo, size_t len)
{
	fifo->start = (fifo->start + len) % fifo->size;
	fifo->len -= len;
}

/* ---- output: from the guest ---- */

static void console_set_timer(struct console *c, bool on)
{
	struct itimerspec when = { .it_value.tv_sec = on ? c->wait_s : 0 };

	/* No time at all is still a moment */
	if (on && !c->wait_s)
		when.it_value.tv_nsec = 1000000;
	timerfd_settime(c->timer, 0, &when, NULL);
}

static void console_log(struct console *c, const char *data, size_t len)
{
	ssize_t ret;

	while (c->log >= 0 && len) {
		ret = write(c->log, data, len);
		if (ret < 0 && errno == EINTR)
			continue;
		if (ret < 0) {
			vib_log(LOG_ERR, "%s: %s; no more is logged",
				c->log_path, strerror(errno));
			close(c->log);
			c->log = -1;
			return;
		}
		data += ret;
		len -= ret;
	}
}

/* Move what fits, or everything to nowhere if there is nobody to take it */
static void console_take(struct console *c, struct vib_element *element)
{
	size_t len;
	char *tail;

	while (element->out_num) {
		tail = console_fifo_tail(&c->out, &len);
		len = vib_read(element, tail, len);
		if (!len)
			return;
		console_log(c, tail, len);
		if (c->port.out >= 0)
			c->out.len += len;
	}
}

/* Only the log still wants it */
static void console_drop(struct console *c, struct vib_element *element)
{
	char data[4096];
	size_t len;

	if (!c->dropped)
		vib_log(LOG_WARNING, "nobody takes the output: dropping what does not fit");
	while ((len = vib_read(element, data, sizeof(data)))) {
		console_log(c, data, len);
		c->dropped += len;
	}
}

/* True if it is done with */
static bool console_use(struct console *c, struct vib_element *element)
{
	console_take(c, element);
	if (element->out_num && c->stalled)
		console_drop(c, element);
	if (element->out_num)
		return false;
	vib_push(element, 0);
	return true;
}

static void console_fetch(struct console *c)
{
	struct vib_queue *queue = vib_queue(c->dev, CONSOLE_TRANSMITQ);

	if (!c->held)
		c->held = vib_pop(queue, sizeof(*c->held));
	while (c->held && console_use(c, c->held))
		c->held = vib_pop(queue, sizeof(*c->held));
}

static void console_moved(struct console *c)
{
	if (c->dropped)
		vib_log(LOG_WARNING, "%llu bytes of output were dropped",
			c->dropped);
	c->dropped = 0;
	c->stalled = false;
	c->moved = true;
}

/* 1 = all of it, 0 = the port takes no more for now, -1 = error */
static int console_write(struct console *c)
{
	const char *head;
	ssize_t ret;
	size_t len;

	while (c->out.len) {
		head = console_fifo_head(&c->out, &len);
		ret = write(c->port.out, head, len);
		if (ret < 0 && errno == EINTR)
			continue;
		if (ret < 0)
			return errno == EAGAIN ? 0 : -1;
		console_fifo_remove(&c->out, ret);
		console_moved(c);
	}
	return 1;
}

/* What to wait for at the port */
static void console_watch(struct console *c)
{
	bool want = !c->in_ended && !c->in_unwatched && c->in.len < c->in.size;
	uint32_t in = want ? EPOLLIN : 0;
	uint32_t out = c->blocked ? EPOLLOUT : 0;

	if (c->port.in == c->port.out)
		in |= out;
	else
		vib_rewatch(c->dev, c->port.out, out);
	vib_rewatch(c->dev, c->port.in, in);
}

static void console_set_blocked(struct console *c, bool blocked)
{
	if (blocked ? c->moved || !c->blocked : c->blocked)
		console_set_timer(c, blocked);
	c->moved = false;
	c->blocked = blocked;
	console_watch(c);
}

/* A client that left has its place to give to the next */
static void console_hang_up(struct console *c)
{
	vib_log(LOG_DEBUG, "client has left");
	vib_unwatch(c->dev, c->port.in);
	port_hang_up(&c->port);
	c->out.len = 0;
	console_moved(c);
	vib_rewatch(c->dev, c->port.listener, EPOLLIN);
}

static void console_output_failed(struct console *c)
{
	if (c->port.kind == PORT_LISTEN) {
		console_hang_up(c);
		return;
	}
	vib_log(LOG_ERR, "output: %s", strerror(errno));
	vib_unwatch(c->dev, c->port.out);
	c->failed = true;
	c->out.len = 0;
	c->port.out = -1;
	vib_stop(c->dev);
}

/* Until the guest has no more, or the port takes no more */
static void console_output(struct console *c)
{
	size_t before;
	int ret;

	do {
		console_fetch(c);
		before = c->out.len;
		ret = before && c->port.out >= 0 ? console_write(c) : 1;
	} while (ret >= 0 && c->out.len < before);
	if (ret < 0) {
		console_output_failed(c);
		console_fetch(c);	/* to nowhere */
	}
	console_set_blocked(c, !ret);
}

static void console_out_ready(void *opaque, uint32_t events)
{
	struct console *c = opaque;

	if (events & (EPOLLERR | EPOLLHUP) && !c->out.len) {
		errno = EPIPE;
		console_output_failed(c);
		return;
	}
	console_output(c);
}

/* Nobody took anything for too long: let the guest go on without us */
static void console_timer(void *opaque, uint32_t events)
{
	struct console *c = opaque;
	uint64_t count;

	(void)events;
	if (read(c->timer, &count, sizeof(count)) != sizeof(count))
		return;
	c->stalled = true;
	console_output(c);
}

/* ---- input: to the guest ---- */

/* Takes what follows the escape key out of the bytes; returns what is left */
static size_t console_filter(struct console *c, char *data, size_t len)
{
	size_t i, n = 0;

	if (!c->port.is_terminal || c->escape == CONSOLE_NO_ESCAPE)
		return len;
	for (i = 0; i < len; i++) {
		if (!c->escaped && data[i] == c->escape) {
			c->escaped = true;
			continue;
		}
		if (c->escaped && data[i] == '.')
			vib_stop(c->dev);
		else
			data[n++] = data[i];
		c->escaped = false;
	}
	return n;
}

static void console_in_end(struct console *c)
{
	c->in_ended = true;
	if (c->port.kind == PORT_LISTEN && c->port.out < 0)
		console_hang_up(c);
	else if (c->port.kind == PORT_STDIO)
		vib_unwatch(c->dev, c->port.in);
	if (c->port.is_terminal)
		vib_stop(c->dev);
}

/* What one read(2) gives; false = nothing */
static bool console_read(struct console *c)
{
	ssize_t ret;
	size_t len;
	char *tail = console_fifo_tail(&c->in, &len);

	if (c->in_ended || c->port.in < 0 || !len)
		return false;
	ret = read(c->port.in, tail, len);
	if (ret < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (ret <= 0) {
		console_in_end(c);
		return false;
	}
	c->in.len += console_filter(c, tail, ret);
	return true;
}

static size_t console_fill(struct console *c, struct vib_element *element)
{
	size_t len, n, written = 0;
	const char *head;

	while (c->in.len && element->in_num) {
		head = console_fifo_head(&c->in, &len);
		n = vib_write(element, head, len);
		console_fifo_remove(&c->in, n);
		written += n;
	}
	return written;
}

static void console_feed(struct console *c)
{
	struct vib_queue *queue = vib_queue(c->dev, CONSOLE_RECEIVEQ);
	struct vib_element *element;

	while (c->in.len) {
		element = vib_pop(queue, sizeof(*element));
		if (!element)
			return;
		vib_push(element, console_fill(c, element));
	}
}

static void console_input(struct console *c)
{
	do
		console_feed(c);
	while (c->in_unwatched && console_read(c));
	console_watch(c);
}

static void console_in_ready(void *opaque, uint32_t events)
{
	struct console *c = opaque;

	/* Would be reported for ever; what is left is read without waiting */
	if (events & (EPOLLHUP | EPOLLERR)) {
		vib_unwatch(c->dev, c->port.in);
		c->in_unwatched = true;
		if (c->port.kind == PORT_LISTEN) {
			c->port.out = -1;
			c->out.len = 0;
		}
		if (c->in_ended)
			console_in_end(c);
	} else if (events & EPOLLIN) {
		console_read(c);
	}
	console_input(c);
	console_output(c);
}

static void console_client(void *opaque, uint32_t events)
{
	struct console *c = opaque;

	(void)events;
	if (c->port.in >= 0 || !port_accept(&c->port))
		return;
	vib_log(LOG_DEBUG, "client has connected");
	c->in_ended = false;
	c->in_unwatched = false;
	vib_rewatch(c->dev, c->port.listener, 0);
	vib_watch(c->dev, c->port.in, EPOLLIN, console_in_ready);
}

/* ---- the device ---- */

static void console_process(void *opaque, struct vib_queue *queue)
{
	struct console *c = opaque;

	if (vib_queue_index(queue) == CONSOLE_TRANSMITQ)
		console_output(c);
	else
		console_input(c);
}

static void console_get_config(void *opaque, void *data)
{
	const struct console *c = opaque;
	struct virtio_console_config config = {
		.cols = htole16(c->cols),
		.rows = htole16(c->rows),
	};

	memcpy(data, &config, sizeof(config));
}

/* A byte at a time from a guest that has no queues yet, or no more */
static void console_set_config(void *opaque, size_t offset, const void *data,
			       size_t len)
{
	struct console *c = opaque;
	char *tail = console_fifo_tail(&c->out, &len);

	if (offset != offsetof(struct virtio_console_config, emerg_wr) || !len)
		return;
	*tail = *(const char *)data;
	console_log(c, tail, 1);
	if (c->port.out >= 0)
		c->out.len++;
	console_output(c);
}

/*
 * Linux up to 6.1 reads the size of the window only when it changes. A change
 * between DRIVER_OK and the end of its probe is kept until then.
 */
static void console_started(void *opaque, uint64_t features)
{
	struct console *c = opaque;

	if (features & 1ULL << VIRTIO_CONSOLE_F_SIZE)
		vib_config_changed(c->dev);
}

static void console_window(void *opaque, uint32_t events)
{
	struct console *c = opaque;
	struct signalfd_siginfo info;

	(void)events;
	while (read(c->signals, &info, sizeof(info)) == sizeof(info))
		;
	if (port_window(&c->port, &c->cols, &c->rows))
		vib_config_changed(c->dev);
}

/* ---- start and end ---- */

/* What the guest wrote before the end shall not be lost at the end */
static void console_flush(struct console *c)
{
	struct pollfd pfd = { .fd = c->port.out, .events = POLLOUT };

	while (c->port.out >= 0 && !console_write(c))
		if (poll(&pfd, 1, 1000 * c->wait_s) <= 0)
			break;
	if (c->out.len)
		vib_log(LOG_WARNING, "%zu bytes of output were dropped: nobody took them",
			c->out.len);
}

static int console_watch_port(struct console *c)
{
	int ret;

	if (c->port.kind == PORT_LISTEN)
		return vib_watch(c->dev, c->port.listener, EPOLLIN,
				 console_client);
	ret = vib_watch(c->dev, c->port.in, EPOLLIN, console_in_ready);
	if (ret && ret != -EPERM)
		return ret;
	c->in_unwatched = ret;
	/* A file takes everything at once */
	if (c->port.out != c->port.in) {
		ret = vib_watch(c->dev, c->port.out, 0, console_out_ready);
		if (ret && ret != -EPERM)
			return ret;
	}
	return 0;
}

static int console_open_signals(struct console *c)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	c->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return vib_watch(c->dev, c->signals, EPOLLIN, console_window) ||
	       vib_watch(c->dev, c->timer, EPOLLIN, console_timer);
}

static int console_serve(struct console *c)
{
	int ret = console_open_signals(c);

	if (!ret)
		ret = console_watch_port(c);
	if (!ret)
		ret = vib_run(c->dev);
	console_flush(c);
	return ret;
}

static int console_run(struct console *c, const char *device,
		       const struct vib_options *options)
{
	struct vib_ops ops = {
		.id = VIRTIO_ID_CONSOLE,
		.queues = CONSOLE_QUEUES,
		.features = 1ULL << VIRTIO_CONSOLE_F_EMERG_WRITE,
		.config_bytes = sizeof(struct virtio_console_config),
		.get_config = console_get_config,
		.set_config = console_set_config,
		.started = console_started,
		.process = console_process,
	};
	int ret;

	if (port_window(&c->port, &c->cols, &c->rows) || c->cols)
		ops.features |= 1ULL << VIRTIO_CONSOLE_F_SIZE;
	ret = vib_open(&c->dev, device, &ops, options, c);
	if (!ret) {
		/* The driver looks after us only while it notifies */
		vib_notify_always(vib_queue(c->dev, CONSOLE_TRANSMITQ));
		ret = console_serve(c);
	}
	vib_close(c->dev);
	if (ret)
		vib_log(LOG_ERR, "%s", vib_error());
	return ret || c->failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/**
 * struct console_options - the command line
 * @vib: what all back ends have
 * @kind: of port
 * @path: of the socket or the link, NULL = none
 */
struct console_options {
	struct vib_options vib;
	enum port_kind kind;
	const char *path;
};

static const struct option console_long_options[] = {
	VIB_LONG_OPTIONS,
	{ "escape",	required_argument, NULL, 'e' },
	{ "listen",	required_argument, NULL, 'L' },
	{ "log",	required_argument, NULL, 'l' },
	{ "pty",	optional_argument, NULL, 'p' },
	{ "size",	required_argument, NULL, 's' },
	{ "wait",	required_argument, NULL, 'w' },
	{ 0 }
};

static int console_parse_escape(const char *text)
{
	if (!strcmp(text, "none"))
		return CONSOLE_NO_ESCAPE;
	if (text[0] != '^' || text[1] < 'A' || text[1] > '_' || text[2])
		vib_usage("escape key is ^A .. ^_ or none, not '%s'", text);
	return text[1] - '@';
}

static void console_parse_size(struct console *c, const char *text)
{
	char end;

	if (sscanf(text, "%hux%hu%c", &c->cols, &c->rows, &end) != 2 ||
	    !c->cols || !c->rows)
		vib_usage("window size is COLSxROWS, not '%s'", text);
}

static void console_parse_listen(struct console_options *options,
				 const char *text)
{
	if (strncmp(text, "unix:", 5) || !text[5])
		vib_usage("only unix:PATH can be listened on, not '%s'", text);
	options->kind = PORT_LISTEN;
	options->path = text + 5;
}

static void console_parse(struct console *c, struct console_options *options,
			  int argc, char **argv)
{
	int opt;

	while ((opt = getopt_long(argc, argv, "hve:L:l:p::s:w:",
				  console_long_options, NULL)) >= 0) {
		switch (opt) {
		case 'e':
			c->escape = console_parse_escape(optarg);
			break;
		case 'L':
			console_parse_listen(options, optarg);
			break;
		case 'l':
			c->log_path = optarg;
			break;
		case 'p':
			options->kind = PORT_PTY;
			options->path = optarg;
			break;
		case 's':
			console_parse_size(c, optarg);
			break;
		case 'w':
			c->wait_s = vib_number("time to wait", optarg, 0,
					       CONSOLE_MAX_WAIT_S);
			break;
		default:
			vib_option(&options->vib, opt, console_usage);
		}
	}
	if (argc - optind != 1)
		vib_usage("one DEVICE is needed");
}

static int console_open_port(struct console *c,
			     const struct console_options *options)
{
	switch (options->kind) {
	case PORT_PTY:
		return port_open_pty(&c->port, options->path);
	case PORT_LISTEN:
		return port_open_listen(&c->port, options->path);
	default:
		return port_open_stdio(&c->port);
	}
}

static int console_open_log(struct console *c)
{
	if (!c->log_path)
		return 0;
	c->log = open(c->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
		      0600);
	if (c->log < 0)
		vib_log(LOG_ERR, "%s: %s", c->log_path, strerror(errno));
	return c->log < 0;
}

int main(int argc, char **argv)
{
	static char in[CONSOLE_IN_BYTES], out[CONSOLE_OUT_BYTES];
	struct console_options options = { .vib = VIB_OPTIONS_DEFAULT };
	struct console c = {
		.in = { .data = in, .size = sizeof(in) },
		.out = { .data = out, .size = sizeof(out) },
		.wait_s = CONSOLE_WAIT_S,
		.escape = CONSOLE_ESCAPE,
		.log = -1,
	};
	int ret = EXIT_FAILURE;

	console_parse(&c, &options, argc, argv);
	if (console_open_log(&c))
		return ret;
	if (!console_open_port(&c, &options))
		ret = console_run(&c, argv[optind], &options.vib);
	port_close(&c.port);
	return ret;
}
