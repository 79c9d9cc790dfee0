// SPDX-License-Identifier: GPL-2.0
/*
 * What a benchmark does at one end: sends or receives a stream, or copies
 * memory. Prints a rate in bytes per second.
 */
#include <errno.h>
#include <fcntl.h>
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

static const char bench_usage[] =
"Usage: bench-tool send|receive BYTES PATH    PATH: a terminal or unix:SOCKET\n"
"       bench-tool copy\n"
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

/* An odd page between the two, so that they do not alias in the emulator */
static void bench_copy(void)
{
	size_t bytes = 2 * BENCH_COPY_BYTES + BENCH_PAGE_BYTES;
	char *from = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	char *to = from + BENCH_COPY_BYTES + BENCH_PAGE_BYTES;
	double start, done = 0;

	if (from == MAP_FAILED)
		bench_die("memory");
	bench_copy_words((uint64_t *)to, (uint64_t *)from, BENCH_COPY_BYTES);
	start = bench_now();
	while (bench_now() - start < BENCH_COPY_SECONDS) {
		bench_copy_words((uint64_t *)to, (uint64_t *)from,
				 BENCH_COPY_BYTES);
		done += BENCH_COPY_BYTES;
	}
	bench_say_rate(done, bench_now() - start);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "copy")) {
		bench_copy();
	} else if (argc == 4 && !strcmp(argv[1], "receive")) {
		bench_receive(bench_open(argv[3]), strtoull(argv[2], NULL, 0));
	} else if (argc == 4 && !strcmp(argv[1], "send")) {
		bench_send(bench_open(argv[3]), strtoull(argv[2], NULL, 0));
	} else {
		fputs(bench_usage, stderr);
		return 2;
	}
	return EXIT_SUCCESS;
}
