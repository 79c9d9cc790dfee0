// SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause
/*
 * Where the back ends' words go: standard error, with priorities for the
 * journal. The terminal may be in raw mode, so lines end with a return there.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "virtio-ivshmem-backend.h"

/* What the front end causes is logged at most so often */
#define VIB_LOG_BURST		20
#define VIB_LOG_PERIOD_S	10

static bool vib_log_debug;

void vib_log_verbose(bool verbose)
{
	vib_log_debug = verbose;
}

/* systemd names device and inode of the stream that it reads as a journal */
static bool vib_log_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       !fstat(STDERR_FILENO, &st) && st.st_dev == dev &&
	       st.st_ino == ino;
}

__attribute__((format(printf, 2, 0)))
static void vib_log_args(int priority, const char *fmt, va_list args)
{
	char line[1024];

	if (priority == LOG_DEBUG && !vib_log_debug)
		return;
	vsnprintf(line, sizeof(line), fmt, args);
	if (vib_log_is_journal())
		fprintf(stderr, "<%d>%s\n", priority, line);
	else
		fprintf(stderr, "%s: %s%s\n", program_invocation_short_name,
			line, isatty(STDERR_FILENO) ? "\r" : "");
}

void vib_log(int priority, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vib_log_args(priority, fmt, args);
	va_end(args);
}

void vib_complain(const char *fmt, ...)
{
	static unsigned int lines, suppressed;
	static time_t since;
	struct timespec now;
	va_list args;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec - since >= VIB_LOG_PERIOD_S) {
		if (suppressed)
			vib_log(LOG_WARNING, "%u more lines like these",
				suppressed);
		since = now.tv_sec;
		lines = 0;
		suppressed = 0;
	}
	if (lines++ >= VIB_LOG_BURST) {
		suppressed++;
		return;
	}
	va_start(args, fmt);
	vib_log_args(LOG_WARNING, fmt, args);
	va_end(args);
}
