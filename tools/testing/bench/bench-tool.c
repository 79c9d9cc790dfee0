// SPDX-License-Identifier: GPL-2.0
/*
 * What a benchmark does at one end: sends or receives a stream or datagrams,
 * or copies memory. Prints a rate in bytes per second; of datagrams, how many.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define BENCH_CHUNK_BYTES	65536
#define BENCH_COPY_BYTES	(1U << 20)
#define BENCH_PAGE_BYTES	4096
#define BENCH_SILENCE_MS	2000
#define BENCH_COPY_SECONDS	0.5
/* Places that are a multiple of this apart are slow together under TCG */
#define BENCH_ALIAS_BYTES	(4U << 20)
#define BENCH_DATAGRAMS		64	/* in a call */
#define BENCH_DATAGRAM_BYTES	2048
#define BENCH_DRAIN_MS		200

static const char bench_usage[] =
"Usage: bench-tool send|receive BYTES PATH    PATH: a terminal or unix:SOCKET\n"
"       bench-tool copy [to|from FILE OFFSET BYTES]\n"
"       bench-tool datagrams-send ADDRESS PORT SIZE SECONDS\n"
"       bench-tool datagrams-receive PORT\n"
"copy is between private memory, and that at OFFSET of FILE, which is mapped;\n"
"BYTES is a multiple of 1 MiB.\n"
"datagrams-send prints how many, and the seconds; datagrams-receive prints how\n"
"many at the end of its standard input.\n"
"send ends at the end of its standard input: QEMU loses what it has not read\n"
"from a socket that is closed.\n";

static void bench_die(const char *what)
{
	fprintf(stderr, "bench-tool: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static double bench_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static int bench_connect(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (strlen(path) >= sizeof(addr.sun_path)) {
		errno = ENAMETOOLONG;
		bench_die(path);
	}
	strcpy(addr.sun_path, path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		bench_die(path);
	return fd;
}

static int bench_open(const char *path)
{
	struct termios mode;
	int fd;

	if (!strncmp(path, "unix:", 5))
		return bench_connect(path + 5);
	fd = open(path, O_RDWR | O_NOCTTY);
	if (fd < 0 || tcgetattr(fd, &mode))
		bench_die(path);
	cfmakeraw(&mode);
	if (tcsetattr(fd, TCSANOW, &mode))
		bench_die(path);
	return fd;
}

/* Whoever sends must not begin before the terminal is raw */
static void bench_say_ready(void)
{
	puts("ready");
	fflush(stdout);
}

static void bench_say_rate(double bytes, double seconds)
{
	printf("%.0f\n", bytes / seconds);
}

/* Whether there is more, or a first byte, which may take its time */
static bool bench_has_more(int fd, bool begun)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, begun ? BENCH_SILENCE_MS : -1) > 0;
}

/*
 * From the first bytes on, for how long they took to come is not a rate; to the
 * last, for QEMU's console drops what its socket does not take at once.
 */
static void bench_receive(int fd, uint64_t bytes)
{
	static char chunk[BENCH_CHUNK_BYTES];
	uint64_t got = 0, first = 0;
	double start = 0, end = 0;
	ssize_t n;

	bench_say_ready();
	while (got < bytes && bench_has_more(fd, got)) {
		n = read(fd, chunk, sizeof(chunk));
		if (n <= 0)
			bench_die("receive");
		got += n;
		if (!first) {
			first = n;
			start = bench_now();
		}
		end = bench_now();
	}
	bench_say_rate(got - first, end - start);
}

static void bench_send(int fd, uint64_t bytes)
{
	static char chunk[BENCH_CHUNK_BYTES];
	double start = bench_now();
	uint64_t left = bytes;
	ssize_t n;

	memset(chunk, 'x', sizeof(chunk));
	bench_say_ready();
	while (left) {
		n = write(fd, chunk, left < sizeof(chunk) ? left : sizeof(chunk));
		if (n <= 0)
			bench_die("send");
		left -= n;
	}
	bench_say_rate(bytes, bench_now() - start);
	fflush(stdout);
	while (read(STDIN_FILENO, chunk, sizeof(chunk)) > 0)
		;
}

/* As the kernel's memcpy() does it on a CPU without ERMS: words, unrolled */
static void bench_copy_words(uint64_t *to, const uint64_t *from, size_t bytes)
{
	uint64_t a, b, c, d;
	size_t i;

	for (i = 0; i < bytes / sizeof(*to); i += 4) {
		a = from[i];
		b = from[i + 1];
		c = from[i + 2];
		d = from[i + 3];
		to[i] = a;
		to[i + 1] = b;
		to[i + 2] = c;
		to[i + 3] = d;
		/* again and again, though nobody reads it */
		__asm__ volatile("" : : : "memory");
	}
}

struct bench_area {
	char *start;
	size_t bytes;
};

/* A file that is mapped; without path private memory, which is there */
static struct bench_area bench_map(const char *path, off_t offset, size_t bytes,
				   int access)
{
	struct bench_area area = { .bytes = bytes };
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	if (path && fd < 0)
		bench_die(path);
	area.start = mmap(NULL, bytes, access, MAP_POPULATE |
			  (path ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS), fd, offset);
	if (area.start == MAP_FAILED)
		bench_die(path ? path : "memory");
	return area;
}

/*
 * Private memory for copies from or to what is at @other: by an odd number of
 * pages away from it, so that the two do not alias in the emulator.
 */
static char *bench_beside(const char *other)
{
	struct bench_area area = bench_map(NULL, 0, 2 * BENCH_ALIAS_BYTES + BENCH_COPY_BYTES,
					   PROT_READ | PROT_WRITE);
	size_t shift = (uintptr_t)other - (uintptr_t)area.start + BENCH_COPY_BYTES +
		       BENCH_PAGE_BYTES;

	return area.start + shift % BENCH_ALIAS_BYTES;
}

/* All of the area is used, as a ring uses all of a section */
static void bench_copy_all(struct bench_area area, char *own, bool to_area)
{
	char *place;

	for (place = area.start; place < area.start + area.bytes; place += BENCH_COPY_BYTES)
		bench_copy_words((uint64_t *)(to_area ? place : own),
				 (uint64_t *)(to_area ? own : place), BENCH_COPY_BYTES);
}

static void bench_copy(struct bench_area area, bool to_area)
{
	char *own = bench_beside(area.start);
	double start, done = 0;

	bench_copy_all(area, own, to_area);
	start = bench_now();
	while (bench_now() - start < BENCH_COPY_SECONDS) {
		bench_copy_all(area, own, to_area);
		done += area.bytes;
	}
	bench_say_rate(done, bench_now() - start);
}

static void bench_copy_file(const char *direction, const char *path, off_t offset,
			    size_t bytes)
{
	bool to_file = !strcmp(direction, "to");

	if (bytes % BENCH_COPY_BYTES) {
		errno = EINVAL;
		bench_die("BYTES is no multiple of 1 MiB");
	}
	bench_copy(bench_map(path, offset, bytes, to_file ? PROT_READ | PROT_WRITE : PROT_READ),
		   to_file);
}

static int bench_datagram_socket(const char *address, const char *port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(atoi(port)),
	};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	int err;

	if (fd < 0 || (address && inet_pton(AF_INET, address, &addr.sin_addr) != 1))
		bench_die("address");
	if (address)
		err = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
	else
		err = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	if (err)
		bench_die("socket");
	return fd;
}

/* The vector for as many datagrams as a call takes, all in one buffer */
static struct mmsghdr *bench_datagrams(size_t bytes)
{
	static char buffer[BENCH_DATAGRAM_BYTES];
	static struct mmsghdr messages[BENCH_DATAGRAMS];
	static struct iovec part;
	size_t i;

	part.iov_base = buffer;
	part.iov_len = bytes < sizeof(buffer) ? bytes : sizeof(buffer);
	for (i = 0; i < BENCH_DATAGRAMS; i++) {
		messages[i].msg_hdr.msg_iov = &part;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	return messages;
}

static void bench_send_datagrams(int fd, size_t bytes, double seconds)
{
	struct mmsghdr *messages = bench_datagrams(bytes);
	double start = bench_now();
	uint64_t sent = 0;
	int n;

	while (bench_now() - start < seconds) {
		n = sendmmsg(fd, messages, BENCH_DATAGRAMS, 0);
		/* A queue that is full for a moment is part of what is measured */
		if (n < 0 && errno != ENOBUFS)
			bench_die("send");
		sent += n > 0 ? n : 0;
	}
	printf("%" PRIu64 " %.6f\n", sent, bench_now() - start);
}

static int bench_take_datagrams(int fd)
{
	int n = recvmmsg(fd, bench_datagrams(BENCH_DATAGRAM_BYTES), BENCH_DATAGRAMS,
			 MSG_DONTWAIT, NULL);

	if (n < 0 && errno != EAGAIN)
		bench_die("receive");
	return n < 0 ? 0 : n;
}

/*
 * Until standard input ends, and then what is still on its way. The sender
 * knows how long that took: here it may look like one burst.
 */
static void bench_receive_datagrams(int fd)
{
	struct pollfd poll_fds[] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN },
	};
	uint64_t got = 0;

	bench_say_ready();
	while (poll(poll_fds, 2, -1) > 0 && !poll_fds[1].revents)
		got += bench_take_datagrams(fd);
	while (poll(poll_fds, 1, BENCH_DRAIN_MS) > 0)
		got += bench_take_datagrams(fd);
	printf("%" PRIu64 "\n", got);
}

static bool bench_is(int argc, char **argv, const char *command, int args)
{
	return argc == 2 + args && !strcmp(argv[1], command);
}

int main(int argc, char **argv)
{
	if (bench_is(argc, argv, "copy", 0)) {
		bench_copy(bench_map(NULL, 0, BENCH_COPY_BYTES, PROT_READ | PROT_WRITE), true);
	} else if (bench_is(argc, argv, "copy", 4)) {
		bench_copy_file(argv[2], argv[3], strtoull(argv[4], NULL, 0),
				strtoull(argv[5], NULL, 0));
	} else if (bench_is(argc, argv, "receive", 2)) {
		bench_receive(bench_open(argv[3]), strtoull(argv[2], NULL, 0));
	} else if (bench_is(argc, argv, "send", 2)) {
		bench_send(bench_open(argv[3]), strtoull(argv[2], NULL, 0));
	} else if (bench_is(argc, argv, "datagrams-send", 4)) {
		bench_send_datagrams(bench_datagram_socket(argv[2], argv[3]),
				     strtoull(argv[4], NULL, 0), atof(argv[5]));
	} else if (bench_is(argc, argv, "datagrams-receive", 1)) {
		bench_receive_datagrams(bench_datagram_socket(NULL, argv[2]));
	} else {
		fputs(bench_usage, stderr);
		return 2;
	}
	return EXIT_SUCCESS;
}
