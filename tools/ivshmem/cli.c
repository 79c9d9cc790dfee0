// SPDX-License-Identifier: GPL-2.0
/* ivshmem: look at ivshmem v2 links and try them out. See ivshmem(1). */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const struct cli_command *const cli_commands[] = {
	&cli_list, &cli_info, &cli_ping, &cli_pong, &cli_watch,
	&cli_state, &cli_doorbell, &cli_read, &cli_write,
};

#define CLI_COMMANDS	(sizeof(cli_commands) / sizeof(cli_commands[0]))

static void cli_usage(FILE *out)
{
	size_t i;

	fputs("Usage: ivshmem COMMAND [ARGUMENTS]\n"
	      "Look at ivshmem v2 links and try them out.\n\n", out);
	for (i = 0; i < CLI_COMMANDS; i++)
		fprintf(out, "  %-9s %s\n", cli_commands[i]->name,
			cli_commands[i]->summary);
	fputs("\nDEVICE is /dev/uioN in a guest or unix:SOCKET on the host.\n"
	      "ivshmem COMMAND --help tells more.\n", out);
}

static void cli_help(const struct cli_command *command)
{
	printf("Usage: ivshmem %s %s\n%s.\n%s%s", command->name, command->args,
	       command->summary, *command->help ? "\n" : "", command->help);
}

static const struct cli_command *cli_find_command(const char *name)
{
	size_t i;

	for (i = 0; i < CLI_COMMANDS; i++)
		if (!strcmp(cli_commands[i]->name, name))
			return cli_commands[i];
	return NULL;
}

static bool cli_wants_help(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

static int cli_run(const struct cli_command *command, int argc, char **argv)
{
	int status;

	if (cli_wants_help(argc, argv)) {
		cli_help(command);
		return CLI_OK;
	}
	status = command->run(argc, argv);
	if (!status && (fflush(stdout) || ferror(stdout)))
		status = cli_fail("cannot write the output");
	if (status)
		fprintf(stderr, "ivshmem %s: %s\n", command->name,
			cli_error());
	if (status == CLI_MISUSED)
		fprintf(stderr, "Usage: ivshmem %s %s\n", command->name,
			command->args);
	return status;
}

int main(int argc, char **argv)
{
	const struct cli_command *command;

	if (argc < 2) {
		cli_usage(stderr);
		return CLI_MISUSED;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		cli_usage(stdout);
		return CLI_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("ivshmem " IVSHMEM_VERSION);
		return CLI_OK;
	}
	command = cli_find_command(argv[1]);
	if (!command) {
		fprintf(stderr, "ivshmem: no command %s\n", argv[1]);
		cli_usage(stderr);
		return CLI_MISUSED;
	}
	return cli_run(command, argc - 1, argv + 1);
}
