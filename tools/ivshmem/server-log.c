// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem2-server: where its words go. stderr while somebody may look there,
 * with priorities for the journal; syslog once detached.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "server.h"

/* What clients cause is logged at most so often */
#define SERVER_LOG_BURST	20
#define SERVER_LOG_PERIOD_S	10

enum server_log_style {
	SERVER_LOG_PLAIN,
	SERVER_LOG_JOURNAL,
	SERVER_LOG_SYSLOG,
};

static enum server_log_style server_log_style;
static bool server_log_verbose;

int server_error(struct server_error *err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	return -1;
}

/* systemd names device and inode of the stream that it reads as a journal */
static bool server_log_is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       !fstat(fd, &st) && st.st_dev == dev && st.st_ino == ino;
}

void server_log_open(bool verbose)
{
	server_log_verbose = verbose;
	if (server_log_is_journal(fileno(stderr)))
		server_log_style = SERVER_LOG_JOURNAL;
}

void server_log_to_syslog(void)
{
	openlog(SERVER_NAME, LOG_PID, LOG_DAEMON);
	server_log_style = SERVER_LOG_SYSLOG;
}

__printf(2, 0)
static void server_log_args(int priority, const char *fmt, va_list args)
{
	char line[2048];

	if (priority == LOG_DEBUG && !server_log_verbose)
		return;
	vsnprintf(line, sizeof(line), fmt, args);
	if (server_log_style == SERVER_LOG_SYSLOG)
		syslog(priority, "%s", line);
	else if (server_log_style == SERVER_LOG_JOURNAL)
		fprintf(stderr, "<%d>%s\n", priority, line);
	else
		fprintf(stderr, SERVER_NAME ": %s\n", line);
}

void server_log(int priority, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	server_log_args(priority, fmt, args);
	va_end(args);
}

void server_log_client(const char *fmt, ...)
{
	static unsigned int lines, suppressed;
	static time_t since;
	struct timespec now;
	va_list args;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec - since >= SERVER_LOG_PERIOD_S) {
		if (suppressed)
			server_log(LOG_WARNING, "%u more lines like these",
				   suppressed);
		since = now.tv_sec;
		lines = 0;
		suppressed = 0;
	}
	if (lines++ >= SERVER_LOG_BURST) {
		suppressed++;
		return;
	}
	va_start(args, fmt);
	server_log_args(LOG_WARNING, fmt, args);
	va_end(args);
}
