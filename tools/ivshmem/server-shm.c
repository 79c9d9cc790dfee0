// SPDX-License-Identifier: GPL-2.0
/*
 * ivshmem2-server: the shared memory. Clients hold the same descriptor with
 * the same rights; whatever they do to the memory, even cutting it short,
 * must not reach the server, so it touches the memory by system calls alone,
 * which report a page that is not there where a store would be a signal.
 *
 * Implements the memory of Documentation/ivshmem/server-protocol.rst.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "server.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL		0x0008U
#endif

/* No client can resize the memory under the others, or forbid them to write */
#define SERVER_SHM_SEALS	(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static __u64 server_shm_align(__u64 value, __u64 unit)
{
	return (value + unit - 1) & ~(unit - 1);
}

static __u64 server_shm_power_of_two(__u64 value)
{
	return value < 2 ? 1 : 1ULL << (64 - __builtin_clzll(value - 1));
}

const char *server_shm_kind(const struct server_config *config)
{
	if (config->shm_name)
		return "POSIX object";
	return config->shm_dir ? "unlinked file" : "memfd";
}

int server_shm_layout(struct ivshmem_layout *layout,
		      const struct server_config *config, __u64 unit_bytes,
		      struct server_error *err)
{
	__u64 size = server_shm_power_of_two(config->asked_bytes);
	__u64 table = server_shm_align(4ULL * config->max_peers,
					  IVSHMEM_SERVER_TABLE_ALIGN);
	__u64 page = sysconf(_SC_PAGESIZE);
	__u64 outputs, need;
	const char *why;

	if (size < unit_bytes)
		size = unit_bytes;
	if (config->output_bytes & (page - 1))
		return server_error(err,
				    "output section size %llu is not a multiple of the page size %llu",
				    config->output_bytes,
				    page);
	if (__builtin_mul_overflow(config->output_bytes, config->max_peers,
				   &outputs) ||
	    __builtin_add_overflow(table, outputs, &need) || need > size)
		return server_error(err,
				    "a State Table of %llu bytes and %u output sections of %llu bytes do not fit into %llu bytes",
				    table, config->max_peers,
				    config->output_bytes,
				    size);
	memset(layout, 0, sizeof(*layout));
	why = ivshmem_layout_place(layout, table, size - need,
				   config->output_bytes, config->max_peers,
				   IVSHMEM_SERVER_TABLE_ALIGN);
	return why ? server_error(err, "%s", why) : 0;
}

static int server_shm_memfd(struct server_error *err)
{
	/* Kernels before 6.3 do not know the flag, later ones may insist on it */
	int fd = memfd_create("ivshmem", MFD_CLOEXEC | MFD_ALLOW_SEALING |
			      MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("ivshmem", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? server_error(err, "memfd: %m") : fd;
}

static int server_shm_file(const char *dir, struct server_error *err)
{
	char *path;
	int fd;

	if (asprintf(&path, "%s/ivshmem.XXXXXX", dir) < 0)
		return server_error(err, "%s: out of memory", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		server_error(err, "cannot create %s: %m", path);
	else
		unlink(path);
	free(path);
	return fd;
}

/* The lock counts only while the name is still that of the locked object */
static int server_shm_lock(const char *name)
{
	int fd = shm_open(name, O_RDWR, 0);
	struct stat st;

	if (fd < 0)
		return -1;
	if (!flock(fd, LOCK_EX | LOCK_NB) && !fstat(fd, &st) && st.st_nlink)
		return fd;
	close(fd);
	return -1;
}

/*
 * An object of that name without a lock is what a killed server left. Its
 * clients may still use the memory, so it is never reused: only its name is
 * freed. Somebody else's object is left alone.
 */
static int server_shm_remove_stale(const char *name, struct server_error *err)
{
	int fd = shm_open(name, O_RDWR, 0);
	struct stat st;
	int ret = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : server_error(err, "shared memory %s: %m", name);
	if (fstat(fd, &st) || st.st_uid != geteuid())
		ret = server_error(err, "shared memory %s belongs to uid %u",
				   name, (unsigned int)st.st_uid);
	else if (flock(fd, LOCK_EX | LOCK_NB))
		ret = server_error(err, "shared memory %s: another server uses it",
				   name);
	else if (shm_unlink(name) && errno != ENOENT)
		ret = server_error(err, "shared memory %s: %m", name);
	else
		server_log(LOG_WARNING, "shared memory %s: replaced what a dead server left",
			   name);
	close(fd);
	return ret;
}

static int server_shm_create_named(const char *name)
{
	return shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
}

/*
 * The lock is on a descriptor of the server's own: clients share the file
 * description of the one they get, and could unlock it.
 */
static int server_shm_named(struct server_shm *shm, const char *name,
			    struct server_error *err)
{
	int fd = server_shm_create_named(name);

	if (fd < 0 && errno == EEXIST) {
		if (server_shm_remove_stale(name, err))
			return -1;
		fd = server_shm_create_named(name);
	}
	if (fd < 0)
		return server_error(err, "shared memory %s: %m", name);
	shm->name = name;
	shm->lock_fd = server_shm_lock(name);
	if (shm->lock_fd < 0) {
		close(fd);
		return server_error(err, "shared memory %s: another server took it", name);
	}
	return fd;
}

static int server_shm_create(struct server_shm *shm,
			     const struct server_config *config,
			     struct server_error *err)
{
	if (config->shm_name)
		return server_shm_named(shm, config->shm_name, err);
	if (config->shm_dir)
		return server_shm_file(config->shm_dir, err);
	return server_shm_memfd(err);
}

static __u64 server_shm_huge_page(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) || fs.f_type != HUGETLBFS_MAGIC)
		return 0;
	return fs.f_bsize;
}

static int server_shm_size(struct server_shm *shm, __u64 huge_page,
			   struct server_error *err)
{
	unsigned long long size = shm->layout.size;

	if (ftruncate(shm->fd, size))
		return server_error(err, "shared memory of %llu bytes: %m", size);
	/* Better no server than guests that die of a page that is not there */
	if (huge_page && fallocate(shm->fd, 0, 0, size))
		return server_error(err, "%llu huge pages of %llu bytes: %m",
				    size / huge_page,
				    huge_page);
	return 0;
}

static int server_shm_map(struct server_shm *shm, __u64 huge_page,
			  struct server_error *err)
{
	shm->table_bytes = shm->layout.state_table_size;
	if (huge_page)
		shm->table_bytes = server_shm_align(shm->table_bytes, huge_page);
	shm->table = mmap(NULL, shm->table_bytes, PROT_READ | PROT_WRITE,
			  MAP_SHARED, shm->fd, 0);
	if (shm->table == MAP_FAILED)
		return server_error(err, "State Table of %zu bytes: %m",
				    shm->table_bytes);
	shm->zero_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (shm->zero_fd < 0)
		return server_error(err, "/dev/zero: %m");
	return 0;
}

int server_shm_open(struct server_shm *shm, const struct server_config *config,
		    struct server_error *err)
{
	__u64 huge_page;

	shm->fd = server_shm_create(shm, config, err);
	if (shm->fd < 0)
		return -1;
	huge_page = server_shm_huge_page(shm->fd);
	if (server_shm_layout(&shm->layout, config,
			      huge_page ? huge_page : (__u64)sysconf(_SC_PAGESIZE),
			      err) ||
	    server_shm_size(shm, huge_page, err))
		return -1;
	if (shm->layout.size != config->asked_bytes)
		server_log(LOG_INFO, "size %llu is rounded up to %llu bytes",
			   config->asked_bytes,
			   shm->layout.size);
	if (!config->shm_name && !config->shm_dir &&
	    fcntl(shm->fd, F_ADD_SEALS, SERVER_SHM_SEALS))
		return server_error(err, "cannot seal the memory: %m");
	return server_shm_map(shm, huge_page, err);
}

static void server_shm_unlink(const struct server_shm *shm)
{
	int fd = shm_open(shm->name, O_RDONLY, 0);
	struct stat ours, there;

	if (fd < 0)
		return;
	if (!fstat(shm->fd, &ours) && !fstat(fd, &there) &&
	    ours.st_ino == there.st_ino && ours.st_dev == there.st_dev)
		shm_unlink(shm->name);
	close(fd);
}

void server_shm_close(struct server_shm *shm)
{
	if (shm->table != MAP_FAILED)
		munmap(shm->table, shm->table_bytes);
	if (shm->fd >= 0 && shm->name)
		server_shm_unlink(shm);
	if (shm->lock_fd >= 0)
		close(shm->lock_fd);
	if (shm->zero_fd >= 0)
		close(shm->zero_fd);
	if (shm->fd >= 0)
		close(shm->fd);
}

void server_shm_clear_state(const struct server_shm *shm, __u32 id)
{
	char *entry = (char *)shm->table + 4UL * id;

	/* The kernel's store: no SIGBUS where a client cut the file short */
	if (read(shm->zero_fd, entry, 4) != 4)
		server_log_client("State Table entry of peer %u: memory is not there",
				  id);
}

bool server_shm_state(const struct server_shm *shm, __u32 id,
		      __u32 *state)
{
	__le32 value;

	if (pread(shm->fd, &value, sizeof(value), 4L * id) != sizeof(value))
		return false;
	*state = le32toh(value);
	return true;
}
