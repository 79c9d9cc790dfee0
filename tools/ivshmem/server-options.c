// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem2-server: its command line. Ranges are checked here; whether sizes
 * fit each other depends on the memory and is server-shm.c's matter.
 */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>

#include "server.h"

#define SERVER_DEFAULT_SOCKET	"/tmp/ivshmem_socket"
#define SERVER_DEFAULT_BYTES	(4ULL << 20)

/* Memory is a power of two that off_t can say */
#define SERVER_MAX_BYTES	0x4000000000000000ULL

const char server_options_usage[] =
"Usage: " SERVER_NAME " [options]\n"
"       " SERVER_NAME " --status [-S socket]\n"
"\n"
"Connects virtual machines by shared memory (ivshmem version 2).\n"
"\n"
"  -F, --foreground           stay in the foreground (default: detach)\n"
"  -l, --size=SIZE            shared memory, K/M/G, a power of two (4M)\n"
"  -m, --shm-dir=DIR          memory is an unlinked file in DIR, e.g. hugetlbfs\n"
"  -M, --shm-name=NAME        memory is a POSIX shared memory object\n"
"                             (default: memory without a name)\n"
"  -n, --peers=N              most peers, 2..65536 (2)\n"
"  -o, --output-size=SIZE     output section of each peer, K/M/G (0)\n"
"  -p, --pidfile=FILE         write the process id to FILE\n"
"  -P, --protocol=TYPE        protocol type, e.g. 0x0001, 0x8003 (0)\n"
"  -S, --socket=PATH          where clients connect (" SERVER_DEFAULT_SOCKET ")\n"
"      --socket-group=GROUP   group of the socket\n"
"      --socket-mode=MODE     permissions of the socket, octal (600)\n"
"      --status               show the peers of the running server\n"
"  -v, --verbose              log every connection\n"
"  -V, --vectors=N            interrupt vectors of each peer, 1..1024 (1)\n"
"  -h, --help                 show this text\n"
"      --version              show the version\n";

enum {
	SERVER_OPT_MODE = 256,
	SERVER_OPT_GROUP,
	SERVER_OPT_STATUS,
	SERVER_OPT_VERSION,
};

static const char server_options_short[] = ":hvFp:S:M:m:l:o:n:V:P:";

static const struct option server_options_long[] = {
	{ "help",		no_argument,		NULL, 'h' },
	{ "verbose",		no_argument,		NULL, 'v' },
	{ "foreground",		no_argument,		NULL, 'F' },
	{ "pidfile",		required_argument,	NULL, 'p' },
	{ "socket",		required_argument,	NULL, 'S' },
	{ "shm-name",		required_argument,	NULL, 'M' },
	{ "shm-dir",		required_argument,	NULL, 'm' },
	{ "size",		required_argument,	NULL, 'l' },
	{ "output-size",	required_argument,	NULL, 'o' },
	{ "peers",		required_argument,	NULL, 'n' },
	{ "vectors",		required_argument,	NULL, 'V' },
	{ "protocol",		required_argument,	NULL, 'P' },
	{ "socket-mode",	required_argument,	NULL, SERVER_OPT_MODE },
	{ "socket-group",	required_argument,	NULL, SERVER_OPT_GROUP },
	{ "status",		no_argument,		NULL, SERVER_OPT_STATUS },
	{ "version",		no_argument,		NULL, SERVER_OPT_VERSION },
	{ }
};

/* strtoull() without the signs and blanks it lets pass; NULL = no number */
static const char *server_options_digits(const char *text, int base,
					 __u64 *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return NULL;
	errno = 0;
	*value = strtoull(text, &end, base);
	return errno ? NULL : end;
}

static int server_options_number(const char *what, const char *text,
				 __u32 min, __u32 max, __u32 *number,
				 struct server_error *err)
{
	__u64 value = 0;
	const char *end = server_options_digits(text, 0, &value);

	if (!end || *end || value < min || value > max)
		return server_error(err, "%s '%s' is not in %u..%u",
				    what, text, min, max);
	*number = value;
	return 0;
}

static unsigned int server_options_suffix(const char **end)
{
	switch (**end) {
	case 'k':
	case 'K':
		++*end;
		return 10;
	case 'm':
	case 'M':
		++*end;
		return 20;
	case 'g':
	case 'G':
		++*end;
		return 30;
	default:
		return 0;
	}
}

static int server_options_size(const char *what, const char *text,
			       __u64 *bytes, struct server_error *err)
{
	__u64 value = 0;
	const char *end = server_options_digits(text, 0, &value);
	unsigned int shift;

	if (!end)
		return server_error(err, "%s '%s' is not a size", what, text);
	shift = server_options_suffix(&end);
	if (*end)
		return server_error(err, "%s '%s' is not a size with K, M or G",
				    what, text);
	if (value > SERVER_MAX_BYTES >> shift)
		return server_error(err, "%s '%s' is more than %llu bytes",
				    what, text, SERVER_MAX_BYTES);
	*bytes = value << shift;
	return 0;
}

static int server_options_mode(const char *text, mode_t *mode,
			       struct server_error *err)
{
	__u64 value = 0;
	const char *end = server_options_digits(text, 8, &value);

	if (!end || *end || value > 0777)
		return server_error(err,
				    "socket mode '%s' is not an octal number in 0..777",
				    text);
	*mode = value;
	return 0;
}

static int server_options_group(const char *text, gid_t *gid,
				struct server_error *err)
{
	const struct group *group = getgrnam(text);
	__u64 value = 0;
	const char *end = server_options_digits(text, 10, &value);

	if (!group && (!end || *end || value >= (gid_t)-1))
		return server_error(err, "socket group '%s' is not known", text);
	*gid = group ? group->gr_gid : value;
	return 0;
}

/* A text that names something: not empty */
static int server_options_name(const char *what, const char *text,
			       const char **name, struct server_error *err)
{
	if (!*text)
		return server_error(err, "%s is empty", what);
	*name = text;
	return 0;
}

static int server_options_one(struct server_config *c, int opt,
			      struct server_error *err)
{
	switch (opt) {
	case 'h':
		c->action = SERVER_HELP;
		return 0;
	case SERVER_OPT_VERSION:
		c->action = SERVER_VERSION;
		return 0;
	case SERVER_OPT_STATUS:
		c->action = SERVER_STATUS;
		return 0;
	case 'v':
		c->verbose = true;
		return 0;
	case 'F':
		c->foreground = true;
		return 0;
	case 'p':
		return server_options_name("pidfile", optarg, &c->pidfile, err);
	case 'S':
		return server_options_name("socket", optarg, &c->socket_path, err);
	case 'M':
		return server_options_name("shared memory name", optarg,
					   &c->shm_name, err);
	case 'm':
		return server_options_name("shared memory directory", optarg,
					   &c->shm_dir, err);
	case 'l':
		return server_options_size("size", optarg, &c->asked_bytes, err);
	case 'o':
		return server_options_size("output section size", optarg,
					   &c->output_bytes, err);
	case 'n':
		return server_options_number("number of peers", optarg,
					     IVSHMEM_MIN_PEERS, IVSHMEM_MAX_PEERS,
					     &c->max_peers, err);
	case 'V':
		return server_options_number("number of vectors", optarg, 1,
					     IVSHMEM_SERVER_MAX_VECTORS,
					     &c->vectors, err);
	case 'P':
		return server_options_number("protocol", optarg, 0, UINT16_MAX,
					     &c->protocol, err);
	case SERVER_OPT_MODE:
		return server_options_mode(optarg, &c->socket_mode, err);
	case SERVER_OPT_GROUP:
		return server_options_group(optarg, &c->socket_gid, err);
	default:
		return -1;
	}
}

/* What getopt_long() found wrong: its ':' and '?' */
static int server_options_unknown(int opt, const char *arg,
				  struct server_error *err)
{
	if (opt == ':')
		return server_error(err, "option '%s' needs a value", arg);
	/* A letter that is known stands for its long name with a value too much */
	if (optopt && optopt < SERVER_OPT_MODE &&
	    !strchr(server_options_short, optopt))
		return server_error(err, "option '-%c' is not known", optopt);
	return server_error(err, "option '%s' is not known, ambiguous, or takes no value",
			    arg);
}

static int server_options_check(const struct server_config *c,
				struct server_error *err)
{
	if (strlen(c->socket_path) > SERVER_PATH_MAX)
		return server_error(err,
				    "socket path of %zu bytes is longer than %zu",
				    strlen(c->socket_path), SERVER_PATH_MAX);
	if (c->shm_name && c->shm_dir)
		return server_error(err,
				    "shared memory has a name (-M) or a directory (-m), not both");
	if (!c->asked_bytes)
		return server_error(err, "size 0 leaves no shared memory");
	if (c->protocol >= IVSHMEM_PROTO_VIRTIO_FRONT && c->max_peers != 2)
		return server_error(err,
				    "protocol 0x%04x is virtio: it has 2 peers, not %u",
				    c->protocol, c->max_peers);
	return 0;
}

int server_options_parse(struct server_config *config, int argc, char **argv,
			 struct server_error *err)
{
	int opt;

	*config = (struct server_config) {
		.socket_path = SERVER_DEFAULT_SOCKET,
		.socket_mode = 0600,
		.socket_gid = (gid_t)-1,
		.asked_bytes = SERVER_DEFAULT_BYTES,
		.max_peers = 2,
		.vectors = 1,
	};
	while ((opt = getopt_long(argc, argv, server_options_short,
				  server_options_long, NULL)) != -1) {
		if (opt == ':' || opt == '?')
			return server_options_unknown(opt, argv[optind - 1], err);
		if (server_options_one(config, opt, err))
			return -1;
	}
	if (optind < argc)
		return server_error(err, "argument '%s' is too much", argv[optind]);
	return server_options_check(config, err);
}
