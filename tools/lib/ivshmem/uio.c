// SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause
/*
 * A peer in a guest, over /dev/uioN of the driver uio_ivshmem: finds the
 * sections by the names of the UIO maps and leaves protection to the kernel.
 * All vectors of the device feed the one event count of the UIO device.
 *
 * Implements the driver's side of Documentation/ivshmem/device.rst,
 * "Registers" and "One-shot mode".
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/ivshmem.h>

#include "peer.h"

/* ivshmem.h does without <linux/ivshmem.h>, which is not installed */
_Static_assert(IVSHMEM_REG_DOORBELL == 3 * 4, "register of ivshmem_doorbell()");
_Static_assert(IVSHMEM_DOORBELL_ID_SHIFT == 16, "layout of a doorbell");

#define UIO_MAPS_MAX	5	/* as in the kernel's uio_driver.h */
#define UIO_PATH_BYTES	128
#define UIO_VALUE_BYTES	64

/**
 * struct ivshmem_uio - a peer over /dev/uioN
 * @impl: first; its fd is the UIO device
 * @registers_size: bytes mapped at peer.registers
 * @sysfs: directory of the UIO device, with a slash at its end
 */
struct ivshmem_uio {
	struct ivshmem_impl impl;
	size_t registers_size;
	char sysfs[UIO_PATH_BYTES];
};

static struct ivshmem_uio *to_uio(struct ivshmem_impl *impl)
{
	return (struct ivshmem_uio *)impl;
}

static uint32_t uio_readl(struct ivshmem_impl *impl, unsigned int reg)
{
	return le32toh(impl->peer.registers[reg / 4]);
}

static void uio_writel(struct ivshmem_impl *impl, unsigned int reg,
		       uint32_t value)
{
	impl->peer.registers[reg / 4] = htole32(value);
}

/* The first line of a sysfs attribute. 0, or -errno without words */
static int uio_read_attr(const char *dir, const char *attr, char *value)
{
	char path[2 * UIO_PATH_BYTES];
	FILE *file;
	int ret = 0;

	snprintf(path, sizeof(path), "%s%s", dir, attr);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	if (!fgets(value, UIO_VALUE_BYTES, file))
		ret = -EIO;
	else
		value[strcspn(value, "\n")] = '\0';
	fclose(file);
	return ret;
}

static int uio_read_number(const char *dir, const char *attr, uint64_t *number)
{
	char value[UIO_VALUE_BYTES], *end;
	int ret;

	ret = uio_read_attr(dir, attr, value);
	if (ret)
		return ret;
	errno = 0;
	*number = strtoull(value, &end, 0);
	return errno || end == value || *end ? -EINVAL : 0;
}

/* Index and size of the map of this name; -ENOENT, silently, if there is none */
static int uio_find_map(struct ivshmem_uio *uio, const char *name, size_t *size)
{
	char dir[UIO_PATH_BYTES + 32], value[UIO_VALUE_BYTES];
	uint64_t bytes, offset;
	int i;

	for (i = 0; i < UIO_MAPS_MAX; i++) {
		snprintf(dir, sizeof(dir), "%smaps/map%d/", uio->sysfs, i);
		if (uio_read_attr(dir, "name", value) || strcmp(value, name))
			continue;
		if (uio_read_number(dir, "size", &bytes) ||
		    uio_read_number(dir, "offset", &offset) || !bytes ||
		    bytes > SIZE_MAX || offset)
			return ivshmem_fail(EINVAL, "%s: bad size or offset", dir);
		*size = bytes;
		return i;
	}
	return -ENOENT;
}

/* Map a section by its name. 0 also if it is absent: *map stays NULL then */
static int uio_map(struct ivshmem_uio *uio, const char *name, int prot,
		   void **map, size_t *size)
{
	int index = uio_find_map(uio, name, size);

	if (index == -ENOENT)
		return 0;
	if (index < 0)
		return index;
	*map = ivshmem_map(uio->impl.fd, (off_t)index * sysconf(_SC_PAGESIZE),
			   *size, prot, name);
	return *map ? 0 : -errno;
}

static int uio_map_registers(struct ivshmem_uio *uio)
{
	struct ivshmem_peer *peer = &uio->impl.peer;
	void *map = NULL;
	int ret;

	ret = uio_map(uio, "registers", PROT_READ | PROT_WRITE, &map,
		      &uio->registers_size);
	if (ret)
		return ret;
	if (!map)
		return ivshmem_fail(ENODEV,
				    "no ivshmem v2 device: it has no registers; bind it to the driver uio_ivshmem");
	peer->registers = map;
	peer->id = uio_readl(&uio->impl, IVSHMEM_REG_ID);
	peer->max_peers = uio_readl(&uio->impl, IVSHMEM_REG_MAX_PEERS);
	if (peer->max_peers < IVSHMEM_MIN_PEERS ||
	    peer->max_peers > IVSHMEM_MAX_PEERS || peer->id >= peer->max_peers)
		return ivshmem_fail(EINVAL,
				    "the device claims to be peer %u of %u",
				    peer->id, peer->max_peers);
	return 0;
}

static int uio_map_table(struct ivshmem_uio *uio)
{
	struct ivshmem_peer *peer = &uio->impl.peer;
	void *map = NULL;
	int ret;

	ret = uio_map(uio, "state_table", PROT_READ, &map, &peer->state_table_size);
	if (ret)
		return ret;
	peer->state_table = map;
	if (!map || peer->state_table_size < 4ULL * peer->max_peers)
		return ivshmem_fail(EINVAL,
				    "the device has no State Table for %u peers",
				    peer->max_peers);
	return 0;
}

static int uio_map_outputs(struct ivshmem_uio *uio)
{
	struct ivshmem_peer *peer = &uio->impl.peer;
	void *own = NULL, *all = NULL;
	size_t size = 0, total = 0;
	int ret;

	ret = uio_map(uio, "output_section", PROT_READ | PROT_WRITE, &own,
		      &size);
	peer->output = own;
	peer->output_size = size;
	if (ret)
		return ret;
	ret = uio_map(uio, "input_sections", PROT_READ, &all, &total);
	if (ret)
		return ret;
	if (total / peer->max_peers != size || total % peer->max_peers) {
		if (all)
			munmap(all, total);
		return ivshmem_fail(EINVAL,
				    "%zu bytes of input sections are not %u output sections of %zu",
				    total, peer->max_peers, size);
	}
	peer->input = all;
	return 0;
}

static int uio_map_sections(struct ivshmem_uio *uio)
{
	struct ivshmem_peer *peer = &uio->impl.peer;
	int ret;

	ret = uio_map_registers(uio);
	if (ret)
		return ret;
	ret = uio_map_table(uio);
	if (ret)
		return ret;
	ret = uio_map(uio, "rw_section", PROT_READ | PROT_WRITE, &peer->rw,
		      &peer->rw_size);
	if (ret)
		return ret;
	return uio_map_outputs(uio);
}

/* One entry for each MSI-X vector; no such directory with INTx */
static uint32_t uio_count_vectors(struct ivshmem_uio *uio)
{
	char path[UIO_PATH_BYTES + 32];
	struct dirent *entry;
	uint32_t count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%sdevice/msi_irqs", uio->sysfs);
	dir = opendir(path);
	if (!dir)
		return 1;
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	closedir(dir);
	if (count > IVSHMEM_VECTORS_MAX)
		return IVSHMEM_VECTORS_MAX;
	return count ? count : 1;
}

static int uio_read_sysfs(struct ivshmem_uio *uio)
{
	struct ivshmem_peer *peer = &uio->impl.peer;
	uint64_t class;
	int ret;

	ret = uio_read_number(uio->sysfs, "device/class", &class);
	if (ret)
		return ivshmem_fail(-ret, "%sdevice/class: %s; is it a PCI device?",
				    uio->sysfs, strerror(-ret));
	peer->protocol = class & 0xffff;
	peer->vectors = uio_count_vectors(uio);
	return 0;
}

static int uio_open_error(int err, const char *device)
{
	switch (err) {
	case EACCES:
	case EPERM:
		return ivshmem_fail(err,
				    "%s: no permission: join the group ivshmem or run as root",
				    device);
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return ivshmem_fail(err,
				    "%s: no such device: modprobe uio_ivshmem; see ivshmem list",
				    device);
	default:
		return ivshmem_fail(err, "%s: %s", device, strerror(err));
	}
}

static int uio_open_device(struct ivshmem_uio *uio, const char *device)
{
	struct stat st;

	/* Look first: opening may have an effect on what is not ours */
	if (stat(device, &st))
		return uio_open_error(errno, device);
	if (!S_ISCHR(st.st_mode))
		return ivshmem_fail(EINVAL, "%s: not a UIO device; a socket is unix:%s",
				    device, device);
	snprintf(uio->sysfs, sizeof(uio->sysfs), "/sys/dev/char/%u:%u/",
		 major(st.st_rdev), minor(st.st_rdev));
	if (access(uio->sysfs, F_OK))
		return ivshmem_fail(ENODEV, "%s: no device behind this node, or no sysfs at /sys",
				    device);

	uio->impl.fd = open(device, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (uio->impl.fd < 0)
		return uio_open_error(errno, device);
	return 0;
}

/*
 * Enable the one interrupt that the device delivers before it disables
 * itself. Events are dropped until then, so whatever is looked at to find
 * them has to be looked at afterwards.
 */
static void uio_arm(struct ivshmem_impl *impl)
{
	uio_writel(impl, IVSHMEM_REG_INT_CONTROL, IVSHMEM_INT_ENABLE);
	/* The store has reached the device before any later load */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void uio_replace(const volatile void *map, size_t size, int prot)
{
	/* If it fails, what is left there raises SIGBUS, as it did before */
	if (map)
		/* cppcheck-suppress leakReturnValNotUsed; it is where the old one was */
		mmap((void *)map, size, prot,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/*
 * The driver has revoked the mappings. Put empty memory in their place: who
 * cleans up, in whatever thread, may look at a State or ring a doorbell.
 */
static void uio_lose_device(struct ivshmem_impl *impl, int error)
{
	struct ivshmem_peer *peer = &impl->peer;

	impl->device_error = error;
	uio_replace(peer->registers, to_uio(impl)->registers_size,
		    PROT_READ | PROT_WRITE);
	uio_replace(peer->state_table, peer->state_table_size, PROT_READ);
	uio_replace(peer->rw, peer->rw_size, PROT_READ | PROT_WRITE);
	uio_replace(peer->output, peer->output_size, PROT_READ | PROT_WRITE);
	uio_replace(peer->input, peer->output_size * peer->max_peers, PROT_READ);
}

static int uio_fetch(struct ivshmem_impl *impl, int timeout_ms)
{
	struct pollfd pfd = { .fd = impl->fd, .events = POLLIN };
	uint32_t count;

	if (timeout_ms && poll(&pfd, 1, timeout_ms) < 0)
		return ivshmem_fail(errno, "poll: %s", strerror(errno));
	if (read(impl->fd, &count, sizeof(count)) == sizeof(count)) {
		uio_arm(impl);
		impl->fired_any = true;
		impl->scan = 0;
		return 1;
	}
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	uio_lose_device(impl, -errno);
	return 1;
}

static void uio_set_state(struct ivshmem_impl *impl, uint32_t state)
{
	/* What the sections hold before the State that announces it */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	uio_writel(impl, IVSHMEM_REG_STATE, state);
}

static int uio_vector_fd(struct ivshmem_impl *impl, uint32_t vector)
{
	(void)impl;
	return ivshmem_fail(EOPNOTSUPP, "UIO has no descriptor for vector %u alone",
			    vector);
}

static int uio_present(struct ivshmem_impl *impl, uint32_t id)
{
	(void)impl;
	return ivshmem_fail(EOPNOTSUPP, "only the State of peer %u tells whether it is there",
			    id);
}

/* The driver resets State and interrupts when the last descriptor closes */
static void uio_close(struct ivshmem_impl *impl, bool own_process)
{
	struct ivshmem_uio *uio = to_uio(impl);

	(void)own_process;
	if (impl->peer.registers)
		munmap((void *)impl->peer.registers, uio->registers_size);
	ivshmem_release(impl);
	if (impl->fd >= 0)
		close(impl->fd);
	free(uio);
}

static const struct ivshmem_backend uio_backend = {
	.fetch		= uio_fetch,
	.set_state	= uio_set_state,
	.vector_fd	= uio_vector_fd,
	.present	= uio_present,
	.close		= uio_close,
};

int ivshmem_uio_open(struct ivshmem_impl **impl, const char *device)
{
	struct ivshmem_uio *uio = calloc(1, sizeof(*uio));
	int ret;

	if (!uio)
		return ivshmem_fail(ENOMEM, "out of memory");
	uio->impl.backend = &uio_backend;
	uio->impl.owner = getpid();
	uio->impl.fd = -1;
	*impl = &uio->impl;

	ret = uio_open_device(uio, device);
	if (ret)
		return ret;
	ret = uio_map_sections(uio);
	if (ret)
		return ret;
	ret = uio_read_sysfs(uio);
	if (ret)
		return ret;
	ret = ivshmem_init_states(&uio->impl);
	if (ret)
		return ret;
	uio_arm(&uio->impl);
	return 0;
}
