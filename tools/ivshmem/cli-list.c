// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem list: the devices of this machine, from sysfs, without privileges
 * and without a driver.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#include "cli.h"

#define LIST_NAME_BYTES	64

/**
 * struct list_device - what sysfs tells of one device
 * @address: on the PCI bus
 * @protocol: its type
 * @driver: bound to it, "" if none
 * @uio: uioN, "" if none
 */
struct list_device {
	char address[LIST_NAME_BYTES];
	uint32_t protocol;
	char driver[LIST_NAME_BYTES];
	char uio[LIST_NAME_BYTES];
};

/* The following take the directory of a device as a descriptor */

static long list_read_hex(int dir, const char *attr)
{
	char value[LIST_NAME_BYTES];
	ssize_t len;
	int fd;

	fd = openat(dir, attr, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	len = read(fd, value, sizeof(value) - 1);
	close(fd);
	if (len <= 0)
		return -1;
	value[len] = '\0';
	return strtol(value, NULL, 16);
}

static void list_read_driver(int dir, char *driver)
{
	char target[PATH_MAX];
	const char *name;
	ssize_t len;

	len = readlinkat(dir, "driver", target, sizeof(target) - 1);
	if (len < 0)
		return;
	target[len] = '\0';
	name = strrchr(target, '/');
	snprintf(driver, LIST_NAME_BYTES, "%.63s", name ? name + 1 : target);
}

static void list_read_uio(int device, char *uio)
{
	int fd = openat(device, "uio", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	DIR *dir;

	if (fd < 0)
		return;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return;
	}
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, "uio", 3))
			snprintf(uio, LIST_NAME_BYTES, "%.63s", entry->d_name);
	closedir(dir);
}

static bool list_read_device(int bus, const char *address,
			     struct list_device *d)
{
	int dir = openat(bus, address, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool found;

	if (dir < 0)
		return false;
	found = list_read_hex(dir, "vendor") == IVSHMEM_VENDOR_ID &&
		list_read_hex(dir, "device") == IVSHMEM_DEVICE_ID;
	if (found) {
		*d = (struct list_device){ 0 };
		snprintf(d->address, sizeof(d->address), "%.63s", address);
		d->protocol = list_read_hex(dir, "class") & 0xffff;
		list_read_driver(dir, d->driver);
		list_read_uio(dir, d->uio);
	}
	close(dir);
	return found;
}

static void list_print(const struct list_device *d, int index)
{
	if (!index)
		printf("%-13s %-30s %-15s %s\n", "PCI address", "protocol",
		       "driver", "device");
	printf("%-13s %-30s %-15s %s%s\n", d->address,
	       cli_protocol_name(d->protocol), *d->driver ? d->driver : "-",
	       *d->uio ? "/dev/" : "-", d->uio);
}

static void list_print_json_name(const char *key, const char *prefix,
				 const char *name)
{
	if (*name)
		printf(", \"%s\": \"%s%s\"", key, prefix, name);
	else
		printf(", \"%s\": null", key);
}

static void list_print_json(const struct list_device *d, int index)
{
	printf("%s\n  {\"address\": \"%s\", \"protocol\": %u, \"protocol_name\": \"%s\"",
	       index ? "," : "", d->address, d->protocol,
	       cli_protocol_name(d->protocol));
	list_print_json_name("driver", "", d->driver);
	list_print_json_name("device", "/dev/", d->uio);
	putchar('}');
}

/* Returns how many there are; without a PCI bus none */
static int list_bus(int bus, bool json)
{
	struct dirent **entries;
	struct list_device d;
	int n, i, found = 0;

	n = scandirat(bus, ".", &entries, NULL, alphasort);
	if (n < 0)
		return 0;
	for (i = 0; i < n; i++) {
		if (list_read_device(bus, entries[i]->d_name, &d)) {
			if (json)
				list_print_json(&d, found++);
			else
				list_print(&d, found++);
		}
		free(entries[i]);
	}
	free(entries);
	return found;
}

static int list_devices(const char *sysfs, bool json)
{
	char path[PATH_MAX];
	int bus, found;

	snprintf(path, sizeof(path), "%s/bus/pci/devices", sysfs);
	bus = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (bus < 0 && errno != ENOENT)
		return cli_fail("%s: %s", path, strerror(errno));
	if (json)
		putchar('[');
	found = list_bus(bus, json);
	if (json)
		puts(found ? "\n]" : "]");
	else if (!found)
		puts("no ivshmem v2 device (PCI 110a:4106) in this machine");
	if (bus >= 0)
		close(bus);
	return CLI_OK;
}

static int list_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "sysfs", required_argument, NULL, 's' },
		{ }
	};
	const char *sysfs = "/sys";
	bool json = false;
	int option, status;

	while ((option = cli_getopt(argc, argv, "j", options)) != -1) {
		if (option == 'j')
			json = true;
		else if (option == 's')
			sysfs = optarg;
		else
			return CLI_MISUSED;
	}
	status = cli_check_args(argc, 0, 0);
	return status ? status : list_devices(sysfs, json);
}

const struct cli_command cli_list = {
	.name = "list",
	.args = "[--json]",
	.summary = "List the ivshmem v2 devices of this machine",
	.help = "  -j, --json  for programs\n",
	.run = list_run,
};
