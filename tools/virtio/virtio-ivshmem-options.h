/* SPDX-License-Identifier: GPL-2.0 */
/* Command line options that all back ends have */
#ifndef VIRTIO_IVSHMEM_OPTIONS_H
#define VIRTIO_IVSHMEM_OPTIONS_H

#include <getopt.h>

#include "virtio-ivshmem-backend.h"

#define VIB_EXIT_USAGE	2

/* Values of the long options; those of a back end itself start at the last */
enum {
	VIB_OPT_NO_PACKED = 256,
	VIB_OPT_NO_EVENT_IDX,
	VIB_OPT_NO_INDIRECT,
	VIB_OPT_QUEUE_SIZE,
	VIB_OPT_VERSION,
	VIB_OPT_OWN,
};

#define VIB_LONG_OPTIONS						\
	{ "help",	  no_argument,	     NULL, 'h' },		\
	{ "verbose",	  no_argument,	     NULL, 'v' },		\
	{ "version",	  no_argument,	     NULL, VIB_OPT_VERSION },	\
	{ "no-packed",	  no_argument,	     NULL, VIB_OPT_NO_PACKED },	\
	{ "no-event-idx", no_argument,	     NULL, VIB_OPT_NO_EVENT_IDX }, \
	{ "no-indirect",  no_argument,	     NULL, VIB_OPT_NO_INDIRECT }, \
	{ "queue-size",	  required_argument, NULL, VIB_OPT_QUEUE_SIZE }

#define VIB_OPTIONS_USAGE						\
"      --queue-size=N     descriptors of a queue, a power of two, 2..1024 (256)\n" \
"      --no-packed        do not offer packed rings\n"			\
"      --no-event-idx     do not offer event indices\n"			\
"      --no-indirect      do not offer indirect descriptors\n"		\
"  -v, --verbose          tell what the front end does\n"		\
"  -h, --help             show this text\n"				\
"      --version          show the version\n"				\
"\n"									\
"DEVICE is /dev/uioN, or unix:SOCKET of an ivshmem2-server.\n"

/* One of the options above; ends the program for --help, or a wrong one */
void vib_option(struct vib_options *options, int opt, const char *usage);

/* A wrong call: say so and exit */
void vib_usage(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

/* A number from the command line, or a wrong call */
unsigned long vib_number(const char *what, const char *text,
			 unsigned long min, unsigned long max);

#endif /* VIRTIO_IVSHMEM_OPTIONS_H */
