// SPDX-License-Identifier: GPL-2.0
/* Command line options that all back ends have */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "virtio-ivshmem-options.h"

void vib_usage(const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\nTry '%s --help'.\n", program_invocation_short_name);
	exit(VIB_EXIT_USAGE);
}

unsigned long vib_number(const char *what, const char *text,
			 unsigned long min, unsigned long max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 0);
	if (errno || end == text || *end || value < min || value > max)
		vib_usage("%s is %lu..%lu, not '%s'", what, min, max, text);
	return value;
}

static unsigned int vib_queue_size(const char *text)
{
	unsigned long size = vib_number("queue size", text, 2,
					VIB_MAX_QUEUE_SIZE);

	if (size & (size - 1))
		vib_usage("queue size %lu is no power of two", size);
	return size;
}

void vib_option(struct vib_options *options, int opt, const char *usage)
{
	switch (opt) {
	case VIB_OPT_NO_PACKED:
		options->packed = false;
		break;
	case VIB_OPT_NO_EVENT_IDX:
		options->event_idx = false;
		break;
	case VIB_OPT_NO_INDIRECT:
		options->indirect = false;
		break;
	case VIB_OPT_QUEUE_SIZE:
		options->queue_size = vib_queue_size(optarg);
		break;
	case 'v':
		vib_log_verbose(true);
		break;
	case 'h':
		fputs(usage, stdout);
		exit(EXIT_SUCCESS);
	case VIB_OPT_VERSION:
		printf("%s %s\n", program_invocation_short_name,
		       IVSHMEM_VERSION);
		exit(EXIT_SUCCESS);
	default:	/* getopt has said what is wrong */
		fprintf(stderr, "Try '%s --help'.\n",
			program_invocation_short_name);
		exit(VIB_EXIT_USAGE);
	}
}
