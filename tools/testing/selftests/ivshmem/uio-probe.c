// SPDX-License-Identifier: GPL-2.0
/*
 * Holds a /dev/uioN open and does to it what standard input says, one command
 * a line, one line of answer to each: a value, "ok", or the name of an errno.
 *
 *   map NAME r|rw          map the section of that name, shared
 *   protect NAME           make an existing mapping writable
 *   get NAME OFFSET        a 32-bit value out of a mapping
 *   set NAME OFFSET VALUE  and into it; "SIGBUS" if nothing is there any more
 *   irq VALUE              write the value to the device
 *   read                   wait for an event: the event count
 *   poll                   "event" if read would not wait, else "quiet"
 *
 * The first line of the output is the answer to opening the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROBE_MAX_MAPS	5
#define PROBE_MAX_WORDS	4

/**
 * struct probe_map - one of the device's maps
 * @name: as sysfs says
 * @size: bytes
 * @base: where it is mapped, NULL if it is not
 */
struct probe_map {
	char name[32];
	unsigned long size;
	void *base;
};

static struct probe_map probe_maps[PROBE_MAX_MAPS];
static int probe_fd;
static sigjmp_buf probe_fault;

static const char *probe_answer(int failed)
{
	return failed ? strerrorname_np(errno) : "ok";
}

static bool probe_attribute(const char *uio, int map, const char *attribute,
			    char value[32])
{
	char path[PATH_MAX];
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/sys/class/uio/%s/maps/map%d/%s", uio,
		 map, attribute);
	f = fopen(path, "r");
	if (!f)
		return false;
	n = fscanf(f, "%31s", value);
	fclose(f);
	return n == 1;
}

static void probe_read_maps(const char *device)
{
	char path[PATH_MAX], size[32];

	if (!realpath(device, path))
		return;
	for (int i = 0; i < PROBE_MAX_MAPS; i++) {
		struct probe_map *m = &probe_maps[i];

		if (probe_attribute(basename(path), i, "name", m->name) &&
		    probe_attribute(basename(path), i, "size", size))
			m->size = strtoul(size, NULL, 0);
	}
}

static struct probe_map *probe_find(const char *name)
{
	for (int i = 0; i < PROBE_MAX_MAPS; i++)
		if (*name && !strcmp(probe_maps[i].name, name))
			return &probe_maps[i];
	return NULL;
}

static const char *probe_mmap(struct probe_map *m, const char *access)
{
	int prot = strcmp(access, "rw") ? PROT_READ : PROT_READ | PROT_WRITE;
	void *base = mmap(NULL, m->size, prot, MAP_SHARED, probe_fd,
			  (m - probe_maps) * sysconf(_SC_PAGESIZE));

	if (base != MAP_FAILED)
		m->base = base;
	return probe_answer(base == MAP_FAILED);
}

static void probe_bus_error(int signal)
{
	siglongjmp(probe_fault, signal);
}

static volatile uint32_t *probe_word(struct probe_map *m, const char *offset)
{
	return (volatile uint32_t *)((char *)m->base + strtoul(offset, NULL, 0));
}

static const char *probe_access(struct probe_map *m, char **words)
{
	static char value[16];

	if (sigsetjmp(probe_fault, 1))
		return "SIGBUS";
	if (words[3]) {
		*probe_word(m, words[2]) = strtoul(words[3], NULL, 0);
		return "ok";
	}
	snprintf(value, sizeof(value), "%#x", *probe_word(m, words[2]));
	return value;
}

static const char *probe_read(void)
{
	static char count[16];
	uint32_t events;

	if (read(probe_fd, &events, sizeof(events)) != sizeof(events))
		return probe_answer(-1);
	snprintf(count, sizeof(count), "%u", events);
	return count;
}

static const char *probe_poll(void)
{
	struct pollfd p = { .fd = probe_fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0 ? "event" : "quiet";
}

static const char *probe_irq(const char *text)
{
	int32_t value = strtol(text, NULL, 0);

	return probe_answer(write(probe_fd, &value, sizeof(value)) < 0);
}

static const char *probe_section(char **words)
{
	struct probe_map *m = probe_find(words[1]);

	if (!m)
		return "no such section";
	if (!strcmp(words[0], "map") && words[2])
		return probe_mmap(m, words[2]);
	if (!m->base)
		return "not mapped";
	if (!strcmp(words[0], "protect"))
		return probe_answer(mprotect(m->base, m->size,
					     PROT_READ | PROT_WRITE));
	if ((!strcmp(words[0], "get") || !strcmp(words[0], "set")) && words[2])
		return probe_access(m, words);
	return "what?";
}

static const char *probe_command(char *line)
{
	char *words[PROBE_MAX_WORDS] = { NULL };
	char *save = NULL;

	for (int i = 0; i < PROBE_MAX_WORDS; i++)
		words[i] = strtok_r(i ? NULL : line, " \n", &save);
	if (!words[0])
		return "what?";
	if (!strcmp(words[0], "read"))
		return probe_read();
	if (!strcmp(words[0], "poll"))
		return probe_poll();
	if (!words[1])
		return "what?";
	if (!strcmp(words[0], "irq"))
		return probe_irq(words[1]);
	return probe_section(words);
}

int main(int argc, char **argv)
{
	char line[256];

	if (argc != 2) {
		fprintf(stderr, "usage: uio-probe DEVICE\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGBUS, probe_bus_error);
	probe_fd = open(argv[1], O_RDWR);
	puts(probe_answer(probe_fd < 0));
	if (probe_fd < 0)
		return 1;
	probe_read_maps(argv[1]);
	while (fgets(line, sizeof(line), stdin))
		puts(probe_command(line));
	return 0;
}
