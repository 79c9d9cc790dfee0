// SPDX-License-Identifier: GPL-2.0
/* ivshmem read and ivshmem write: the bytes of a section. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define SECTION_CHUNK_BYTES	65536
#define SECTION_LINE_BYTES	16

static int section_check(const char *name, const struct cli_section *s,
			 uint64_t offset, uint64_t length)
{
	if (length > s->size || offset > s->size - length)
		return cli_fail("offset %llu and length %llu exceed section %s of %llu bytes",
				(unsigned long long)offset,
				(unsigned long long)length, name,
				(unsigned long long)s->size);
	return CLI_OK;
}

static void section_dump(const unsigned char *bytes, size_t n, uint64_t offset)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (i % SECTION_LINE_BYTES == 0)
			printf("%s%08llx ", i ? "\n" : "",
			       (unsigned long long)(offset + i));
		printf(" %02x", bytes[i]);
	}
	putchar('\n');
}

static void section_print(const struct cli_section *s, uint64_t offset,
			  uint64_t length, bool hex)
{
	unsigned char chunk[SECTION_CHUNK_BYTES];
	size_t n;

	while (length && !ferror(stdout)) {
		n = length < sizeof(chunk) ? length : sizeof(chunk);
		memcpy(chunk, s->start + offset, n);
		if (hex)
			section_dump(chunk, n, offset);
		else
			fwrite(chunk, 1, n, stdout);
		offset += n;
		length -= n;
	}
}

struct section_options {
	uint64_t offset;
	uint64_t length;
	bool length_given;
	bool hex;
	const char *data;
};

/* Reading and writing know different ones of them */
static int section_parse(int argc, char **argv, const char *shorts,
			 const struct option *longs, struct section_options *o)
{
	int option, status = CLI_OK;

	while ((option = cli_getopt(argc, argv, shorts, longs)) != -1) {
		if (option == 'o')
			status = cli_parse_size(optarg, "offset", &o->offset);
		else if (option == 'n')
			status = cli_parse_size(optarg, "length", &o->length);
		else if (option == 'x')
			o->hex = true;
		else if (option == 'd')
			o->data = optarg;
		else
			status = CLI_MISUSED;
		o->length_given |= option == 'n';
		if (status)
			return status;
	}
	return cli_check_args(argc, 2, 2);
}

static int section_read(struct ivshmem_peer *peer, const char *name,
			struct section_options *o)
{
	struct cli_section s;
	int status;

	status = cli_find_section(peer, name, &s);
	if (status)
		return status;
	if (!o->length_given && o->offset <= s.size)
		o->length = s.size - o->offset;
	status = section_check(name, &s, o->offset, o->length);
	if (status)
		return status;
	/* Not older than the State that said it is there */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	section_print(&s, o->offset, o->length, o->hex);
	return CLI_OK;
}

static int section_read_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "offset", required_argument, NULL, 'o' },
		{ "length", required_argument, NULL, 'n' },
		{ "hex", no_argument, NULL, 'x' },
		{ }
	};
	struct section_options o = { 0 };
	struct ivshmem_peer *peer;
	int status;

	status = section_parse(argc, argv, "o:n:x", options, &o);
	if (!status)
		status = cli_open(argv[optind], &peer);
	if (status)
		return status;
	status = section_read(peer, argv[optind + 1], &o);
	ivshmem_close(peer);
	return status;
}

const struct cli_command cli_read = {
	.name = "read",
	.args = "[-o OFFSET] [-n LENGTH] [-x] DEVICE SECTION",
	.summary = "Copy bytes of a section to the standard output",
	.help = "SECTION is state, rw, output or input:PEER.\n"
		"  -o, --offset OFFSET  start there, not at 0; K, M, G may follow\n"
		"  -n, --length LENGTH  so many bytes, not to the end\n"
		"  -x, --hex            for people\n",
	.run = section_read_run,
};

/* All of the input, or an error if it is more than max; to be freed */
static char *section_slurp(uint64_t max, uint64_t *length)
{
	uint64_t room = 0;
	char *data = NULL, *more;
	size_t n;

	*length = 0;
	do {
		room += SECTION_CHUNK_BYTES;
		more = realloc(data, room);
		if (!more) {
			free(data);
			cli_fail("out of memory");
			return NULL;
		}
		data = more;
		n = fread(data + *length, 1, room - *length, stdin);
		*length += n;
	} while (*length == room && *length <= max);
	if (ferror(stdin)) {
		free(data);
		cli_fail("cannot read the input: %s", strerror(errno));
		return NULL;
	}
	return data;
}

static int section_store(const char *name, const struct cli_section *s,
			 uint64_t offset, const char *data, uint64_t length)
{
	int status = section_check(name, s, offset, length);

	if (status)
		return status;
	memcpy(s->start + offset, data, length);
	return CLI_OK;
}

static int section_write(struct ivshmem_peer *peer, const char *name,
			 const struct section_options *o)
{
	struct cli_section s;
	uint64_t length;
	char *data;
	int status;

	status = cli_find_section(peer, name, &s);
	if (status)
		return status;
	if (!s.writable)
		return cli_fail("section %s is read only: rw and output are writable",
				name);
	if (o->data)
		return section_store(name, &s, o->offset, o->data,
				     strlen(o->data));
	data = section_slurp(s.size, &length);
	if (!data)
		return CLI_FAILED;
	status = section_store(name, &s, o->offset, data, length);
	free(data);
	return status;
}

static int section_write_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "offset", required_argument, NULL, 'o' },
		{ "data", required_argument, NULL, 'd' },
		{ }
	};
	struct section_options o = { 0 };
	struct ivshmem_peer *peer;
	int status;

	status = section_parse(argc, argv, "o:d:", options, &o);
	if (!status)
		status = cli_open(argv[optind], &peer);
	if (status)
		return status;
	status = section_write(peer, argv[optind + 1], &o);
	ivshmem_close(peer);
	return status;
}

const struct cli_command cli_write = {
	.name = "write",
	.args = "[-o OFFSET] [-d STRING] DEVICE SECTION",
	.summary = "Copy the standard input into a section",
	.help = "SECTION is rw or output. Writes all of it or nothing.\n"
		"  -o, --offset OFFSET  start there, not at 0; K, M, G may follow\n"
		"  -d, --data STRING    instead of the standard input\n",
	.run = section_write_run,
};
