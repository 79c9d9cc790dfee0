/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the subcommands of ivshmem share. A subcommand prints its results and
 * nothing else: what goes wrong it leaves in words for main().
 */
#ifndef CLI_H
#define CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <ivshmem/ivshmem.h>

/* Exit codes */
#define CLI_OK		0
#define CLI_FAILED	1
#define CLI_MISUSED	2

/**
 * struct cli_command - one subcommand
 * @name: as typed
 * @args: what may follow it
 * @summary: one line
 * @help: its options, a line each, or more about it
 * @run: argv[0] is the name; returns an exit code
 */
struct cli_command {
	const char *name;
	const char *args;
	const char *summary;
	const char *help;
	int (*run)(int argc, char **argv);
};

/* Leave words for main(); return CLI_FAILED and CLI_MISUSED */
int cli_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int cli_misuse(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *cli_error(void);

/*
 * getopt_long() that keeps quiet: '?' after cli_misuse() for what it does not
 * know, -1 at the end. Takes options before, behind and between arguments.
 */
int cli_getopt(int argc, char **argv, const char *options,
	       const struct option *long_options);

/* What remains must be this many arguments; CLI_OK or CLI_MISUSED */
int cli_check_args(int argc, int min, int max);

/* CLI_OK or CLI_MISUSED; what names the argument in the message */
int cli_parse_number(const char *text, const char *what, uint64_t max,
		     uint64_t *number);
int cli_parse_size(const char *text, const char *what, uint64_t *size);
int cli_parse_seconds(const char *text, const char *what, int64_t *ms);

int cli_open(const char *device, struct ivshmem_peer **peer);

/* "virtio console front end"; valid until the next call */
const char *cli_protocol_name(uint32_t protocol);

enum cli_waited {
	CLI_WAIT_FAILED,	/* words are left */
	CLI_WAIT_TIMEOUT,
	CLI_WAIT_SIGNAL,	/* asked to end */
	CLI_WAIT_EVENT
};

/* From now on SIGINT, SIGTERM and SIGHUP only end cli_wait() */
int cli_catch_signals(void);
enum cli_waited cli_wait(struct ivshmem_peer *peer,
			 struct ivshmem_event *event, int64_t timeout_ms);

int64_t cli_now_ns(void);

/*
 * A section as it is named on the command line. Writable tells whether this
 * peer may write it.
 */
struct cli_section {
	char *start;
	uint64_t size;
	bool writable;
};

int cli_find_section(struct ivshmem_peer *peer, const char *name,
		     struct cli_section *section);

extern const struct cli_command cli_list;
extern const struct cli_command cli_info;
extern const struct cli_command cli_ping;
extern const struct cli_command cli_pong;
extern const struct cli_command cli_watch;
extern const struct cli_command cli_state;
extern const struct cli_command cli_doorbell;
extern const struct cli_command cli_read;
extern const struct cli_command cli_write;

#endif /* CLI_H */
