// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem2-server: main. The only place that prints errors and exits: 0, 1
 * for what went wrong, 2 for a wrong call.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server.h"

#define SERVER_EXIT_USAGE	2

static int server_main_fail(const struct server_error *err)
{
	server_log(LOG_ERR, "%s", err->text);
	return EXIT_FAILURE;
}

/* The server is up: serve until the end. ready_fd < 0: in the foreground */
static int server_main_serve(struct server *s, int ready_fd,
			     struct server_error *err)
{
	int ret;

	if (ready_fd >= 0 && server_daemon_ready(ready_fd, err))
		return -1;
	server_daemon_notify("READY=1\nSTATUS=0 of %u peers",
			     s->config->max_peers);
	ret = server_run(s, err);
	server_daemon_notify("STOPPING=1");
	return ret;
}

static int server_main_open(const struct server_config *config, int ready_fd,
			    struct server_error *err)
{
	struct server s;
	int ret = server_open(&s, config, err);

	if (!ret)
		ret = server_main_serve(&s, ready_fd, err);
	server_close(&s);
	return ret;
}

/* The pidfile outlives everything else: who sees it gone can start anew */
static int server_main_run(const struct server_config *config, int ready_fd,
			   struct server_error *err)
{
	int pidfile = -1;
	int ret;

	if (server_daemon_limits(config, err))
		return -1;
	if (config->pidfile) {
		pidfile = server_daemon_pidfile(config->pidfile, err);
		if (pidfile < 0)
			return -1;
	}
	ret = server_main_open(config, ready_fd, err);
	if (pidfile >= 0) {
		unlink(config->pidfile);
		close(pidfile);
	}
	return ret;
}

static int server_main_start(const struct server_config *config)
{
	struct server_error err;
	int ready_fd = -1;
	int exit_code;
	int ret = 0;

	if (!config->foreground)
		ret = server_daemon_fork(&ready_fd, &exit_code, &err);
	if (ret > 0)
		return exit_code;
	if (!ret)
		ret = server_main_run(config, ready_fd, &err);
	return ret ? server_main_fail(&err) : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct server_config config;
	struct server_error err;
	int ret = server_options_parse(&config, argc, argv, &err);

	server_log_open(config.verbose);
	if (ret) {
		server_main_fail(&err);
		fputs("Try '" SERVER_NAME " --help'.\n", stderr);
		return SERVER_EXIT_USAGE;
	}
	switch (config.action) {
	case SERVER_HELP:
		fputs(server_options_usage, stdout);
		return EXIT_SUCCESS;
	case SERVER_VERSION:
		puts(SERVER_NAME " " IVSHMEM_VERSION);
		return EXIT_SUCCESS;
	case SERVER_STATUS:
		if (server_status_ask(config.socket_path, stdout, &err))
			return server_main_fail(&err);
		return EXIT_SUCCESS;
	default:
		return server_main_start(&config);
	}
}
