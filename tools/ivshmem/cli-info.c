// SPDX-License-Identifier: GPL-2.0
/* ivshmem info: layout and states of a link. */
#include <string.h>

#include "cli.h"

struct info_section {
	const char *name;
	uint64_t offset;
	uint64_t size;
};

static bool info_state_shown(struct ivshmem_peer *peer, uint32_t id, bool all)
{
	return all || id == peer->id || ivshmem_get_state(peer, id) ||
	       ivshmem_present(peer, id) == 1;
}

/* State Table, R/W section, output sections as one; sizes may be 0 */
static void info_layout(const struct ivshmem_peer *peer,
			struct info_section sections[3])
{
	uint64_t rw = peer->state_table_size;

	sections[0] = (struct info_section){ "State Table", 0, rw };
	sections[1] = (struct info_section){ "R/W section", rw,
					     peer->rw_size };
	sections[2] = (struct info_section){
		"output sections", rw + peer->rw_size,
		(uint64_t)peer->output_size * peer->max_peers };
}

static void info_print_section(const char *name, uint64_t offset, uint64_t size)
{
	printf("  %-16s offset %#12llx  size %12llu\n", name,
	       (unsigned long long)offset, (unsigned long long)size);
}

static void info_print_layout(const struct ivshmem_peer *peer, bool all)
{
	struct info_section sections[3];
	char name[32];
	uint32_t id;
	int i;

	info_layout(peer, sections);
	for (i = 0; i < 3; i++)
		if (sections[i].size)
			info_print_section(sections[i].name, sections[i].offset,
					   sections[i].size);
	for (id = 0; peer->output_size && id < peer->max_peers; id++) {
		if (!all && id != peer->id)
			continue;
		snprintf(name, sizeof(name), "  of peer %u%s", id,
			 id == peer->id ? ", own" : "");
		info_print_section(name, sections[2].offset +
				   (uint64_t)peer->output_size * id,
				   peer->output_size);
	}
}

static void info_print(struct ivshmem_peer *peer, const char *device, bool all)
{
	uint32_t id;

	printf("%s: peer %u of %u\n", device, peer->id, peer->max_peers);
	printf("  protocol         %04x, %s\n", peer->protocol,
	       cli_protocol_name(peer->protocol));
	printf("  vectors          %u\n", peer->vectors);
	info_print_layout(peer, all);
	for (id = 0; id < peer->max_peers; id++) {
		if (!info_state_shown(peer, id, all))
			continue;
		printf("  peer %-11u state %#x%s%s\n", id,
		       ivshmem_get_state(peer, id),
		       id == peer->id ? ", own" : "",
		       ivshmem_present(peer, id) ? "" : ", not there");
	}
}

static void info_print_json(struct ivshmem_peer *peer, const char *device,
			    bool all)
{
	struct info_section s[3];
	const char *comma = "";
	uint32_t id;

	info_layout(peer, s);
	printf("{\"device\": \"%s\", \"id\": %u, \"max_peers\": %u, \"vectors\": %u,\n",
	       device, peer->id, peer->max_peers, peer->vectors);
	printf(" \"protocol\": %u, \"protocol_name\": \"%s\",\n",
	       peer->protocol, cli_protocol_name(peer->protocol));
	printf(" \"state_table_size\": %zu, \"rw_offset\": %llu, \"rw_size\": %zu,\n",
	       peer->state_table_size, (unsigned long long)s[1].offset,
	       peer->rw_size);
	printf(" \"output_offset\": %llu, \"output_size\": %zu,\n \"states\": {",
	       (unsigned long long)s[2].offset, peer->output_size);
	for (id = 0; id < peer->max_peers; id++) {
		if (!info_state_shown(peer, id, all))
			continue;
		printf("%s\"%u\": %u", comma, id, ivshmem_get_state(peer, id));
		comma = ", ";
	}
	puts("}}");
}

static int info_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "json", no_argument, NULL, 'j' },
		{ }
	};
	bool all = false, json = false;
	struct ivshmem_peer *peer;
	int option, status;

	while ((option = cli_getopt(argc, argv, "aj", options)) != -1) {
		if (option == 'a')
			all = true;
		else if (option == 'j')
			json = true;
		else
			return CLI_MISUSED;
	}
	status = cli_check_args(argc, 1, 1);
	if (status)
		return status;
	/* It goes into the JSON as it is, and no device is named like that */
	if (strpbrk(argv[optind], "\"\\"))
		return cli_misuse("name of the device has a quote in it");
	status = cli_open(argv[optind], &peer);
	if (status)
		return status;
	if (json)
		info_print_json(peer, argv[optind], all);
	else
		info_print(peer, argv[optind], all);
	ivshmem_close(peer);
	return CLI_OK;
}

const struct cli_command cli_info = {
	.name = "info",
	.args = "[-a] [--json] DEVICE",
	.summary = "Show layout and states of a link",
	.help = "  -a, --all   peers that are not there, too\n"
		"  -j, --json  for programs\n",
	.run = info_run,
};
