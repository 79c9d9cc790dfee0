// SPDX-License-Identifier: GPL-2.0
/*
 * A peer that is honest, but for one who writes to the same memory: into every
 * field that the peer may write, while it works. The tables say which there are,
 * and where; a field of a ring is mostly that of an entry in use.
 */
#include <endian.h>
#include <string.h>
#include <time.h>

#include <linux/virtio_ivshmem.h>

#include "ivshmem-net-ring.h"

#include "hostile.h"
#include "link.h"

#define MEMORY_BURST		32	/* mutations without a pause, at most */
#define MEMORY_PAUSE_US		2000
#define MEMORY_REST_US		50000	/* now and then: what broke can start over */
#define MEMORY_NEAR		4	/* entries from where an index is */
#define MEMORY_NOISE_BYTES	65536	/* of the R/W section: rings and first buffers */

/**
 * struct memory_field - something that is shared
 * @width: bytes
 * @place: its offset in the section, or -1
 * @offset: what @place gets to know
 */
struct memory_field {
	unsigned int width;
	int64_t (*place)(size_t offset);
	size_t offset;
};

static uint8_t *memory_base(void)
{
	struct link *l = &hostile_link;

	return l->memory + (l->output_size ? l->output : l->rw);
}

static size_t memory_bytes(void)
{
	return hostile_link.output_size ? hostile_link.output_size : hostile_link.rw_size;
}

static uint64_t memory_load(size_t at, unsigned int width)
{
	uint64_t value = 0;

	if (at < memory_bytes() && width <= memory_bytes() - at)
		memcpy(&value, memory_base() + at, width);
	return le64toh(value);
}

static void memory_store(size_t at, unsigned int width, uint64_t value)
{
	uint8_t *p = memory_base() + at;

	if (at >= memory_bytes() || width > memory_bytes() - at)
		return;
	hostile_mutations++;
	/* In one piece, as a CPU does it, where the place allows it */
	if (width == 2 && !(at & 1))
		__atomic_store_n((uint16_t *)p, htole16(value), __ATOMIC_RELEASE);
	else if (width == 4 && !(at & 3))
		__atomic_store_n((uint32_t *)p, htole32(value), __ATOMIC_RELEASE);
	else if (width == 8 && !(at & 7))
		__atomic_store_n((uint64_t *)p, htole64(value), __ATOMIC_RELEASE);
	else
		for (; width; width--, value >>= 8)
			*(volatile uint8_t *)p++ = value;
}

static int64_t memory_fixed(size_t offset)
{
	return offset;
}

/* An entry of a ring of @qlen: near @index, mostly */
static size_t memory_entry(uint64_t index, size_t qlen)
{
	if (hostile_one_in(4))
		return hostile_below(qlen);
	return (index - MEMORY_NEAR + hostile_below(2 * MEMORY_NEAR)) % qlen;
}

/* ---- ivshmem-net: the layout of one of the numbers of queues there may be ---- */

static struct ivn_ring_layout memory_net;

static void memory_net_look(void)
{
	static const unsigned int queues[] = { 1, 1, 1, 2, 4 };
	unsigned int n = queues[hostile_below(sizeof(queues) / sizeof(queues[0]))];

	if (ivn_ring_queue_layout(&memory_net, memory_bytes(), n, hostile_below(n)) &&
	    ivn_ring_queue_layout(&memory_net, memory_bytes(), 1, 0))
		memset(&memory_net, 0, sizeof(memory_net));
}

static size_t memory_net_slot(uint64_t ring)
{
	return memory_entry(memory_load(ring + 2, 2), memory_net.qlen);
}

static size_t memory_net_sent(void)
{
	return memory_load(memory_net.avail + 4 + 2 * memory_net_slot(memory_net.avail), 2) %
	       memory_net.qlen;
}

static int64_t memory_net_desc(size_t offset)
{
	return memory_net.desc + sizeof(struct ivshmem_net_desc) * memory_net_sent() + offset;
}

static int64_t memory_net_avail(size_t offset)
{
	return memory_net.avail + offset;
}

static int64_t memory_net_avail_entry(size_t offset)
{
	return memory_net.avail + 4 + 2 * memory_net_slot(memory_net.avail) + offset;
}

static int64_t memory_net_used_event(size_t offset)
{
	return memory_net.avail + 4 + 2 * memory_net.qlen + offset;
}

static int64_t memory_net_used(size_t offset)
{
	return memory_net.used + offset;
}

static int64_t memory_net_used_elem(size_t offset)
{
	return memory_net.used + 4 + 8 * memory_net_slot(memory_net.used) + offset;
}

static int64_t memory_net_avail_event(size_t offset)
{
	return memory_net.used + 4 + 8 * memory_net.qlen + offset;
}

static int64_t memory_net_ext(size_t offset)
{
	return memory_bytes() - IVSHMEM_NET_EXT_BYTES + offset;
}

/* A frame that is on its way, its virtio_net_hdr and headers */
static int64_t memory_net_frame(size_t bytes)
{
	return memory_load(memory_net_desc(0), 8) + hostile_below(bytes);
}

static const struct memory_field memory_net_fields[] = {
	{ 8, memory_net_desc, 0 },
	{ 4, memory_net_desc, 8 },
	{ 2, memory_net_desc, 12 },
	{ 2, memory_net_desc, 14 },
	{ 2, memory_net_avail, 0 },
	{ 2, memory_net_avail, 2 },
	{ 2, memory_net_avail_entry, 0 },
	{ 2, memory_net_used_event, 0 },
	{ 2, memory_net_used, 0 },
	{ 2, memory_net_used, 2 },
	{ 4, memory_net_used_elem, 0 },
	{ 4, memory_net_used_elem, 4 },
	{ 2, memory_net_avail_event, 0 },
	{ 1, memory_net_frame, 10 },
	{ 2, memory_net_frame, 64 },
	{ 4, memory_net_ext, 0 },
	{ 2, memory_net_ext, 4 },
	{ 2, memory_net_ext, 6 },
	{ 4, memory_net_ext, 8 },
	{ 4, memory_net_ext, 12 },
	{ 4, memory_net_ext, 16 },
	{ 4, memory_net_ext, 20 },
	{ 4, memory_net_ext, 24 },
};

/* ---- virtio: header, and the rings where the front end has put them ---- */

/* Of the queue that the header speaks of, as seen last; entries as in split rings */
static struct memory_virtio {
	uint64_t desc, driver, device;
	uint32_t qlen;
} memory_virtio;

#define MEMORY_HEADER(member)	offsetof(struct virtio_ivshmem_header, member)

/* What we wrote there ourselves leads nowhere, or to noise */
static void memory_virtio_look(void)
{
	struct memory_virtio v = {
		.desc = memory_load(MEMORY_HEADER(queue_desc), 8),
		.driver = memory_load(MEMORY_HEADER(queue_driver), 8),
		.device = memory_load(MEMORY_HEADER(queue_device), 8),
		.qlen = memory_load(MEMORY_HEADER(queue_size), 2),
	};

	if (v.desc && v.desc < memory_bytes() && v.driver && v.driver < memory_bytes() &&
	    v.device && v.device < memory_bytes() && v.qlen)
		memory_virtio = v;
}

static int64_t memory_virtio_desc(size_t offset)
{
	if (!memory_virtio.qlen)
		return -1;
	return memory_virtio.desc + 16 * hostile_below(memory_virtio.qlen) + offset;
}

static int64_t memory_virtio_driver(size_t offset)
{
	return memory_virtio.qlen ? (int64_t)(memory_virtio.driver + offset) : -1;
}

static int64_t memory_virtio_device(size_t offset)
{
	return memory_virtio.qlen ? (int64_t)(memory_virtio.device + offset) : -1;
}

static int64_t memory_virtio_driver_entry(size_t offset)
{
	if (!memory_virtio.qlen)
		return -1;
	return memory_virtio.driver + 4 + offset +
	       2 * memory_entry(memory_load(memory_virtio.driver + 2, 2), memory_virtio.qlen);
}

static int64_t memory_virtio_device_entry(size_t offset)
{
	if (!memory_virtio.qlen)
		return -1;
	return memory_virtio.device + 4 + offset +
	       8 * memory_entry(memory_load(memory_virtio.device + 2, 2), memory_virtio.qlen);
}

static int64_t memory_virtio_driver_event(size_t offset)
{
	return memory_virtio_driver(4 + 2 * memory_virtio.qlen + offset);
}

static int64_t memory_virtio_device_event(size_t offset)
{
	return memory_virtio_device(4 + 8 * memory_virtio.qlen + offset);
}

static int64_t memory_virtio_config(size_t bytes)
{
	return VIRTIO_IVSHMEM_CONFIG_OFFSET + hostile_below(bytes);
}

static int64_t memory_virtio_noise(size_t bytes)
{
	return hostile_below(hostile_one_in(4) ? memory_bytes() : bytes);
}

static const struct memory_field memory_virtio_fields[] = {
	{ 4, memory_fixed, MEMORY_HEADER(revision) },
	{ 4, memory_fixed, MEMORY_HEADER(size) },
	{ 4, memory_fixed, MEMORY_HEADER(write_transaction) },
	{ 4, memory_fixed, MEMORY_HEADER(device_features) },
	{ 4, memory_fixed, MEMORY_HEADER(device_features_sel) },
	{ 4, memory_fixed, MEMORY_HEADER(driver_features) },
	{ 4, memory_fixed, MEMORY_HEADER(driver_features_sel) },
	{ 4, memory_fixed, MEMORY_HEADER(queue_sel) },
	{ 2, memory_fixed, MEMORY_HEADER(queue_size) },
	{ 2, memory_fixed, MEMORY_HEADER(queue_device_vector) },
	{ 2, memory_fixed, MEMORY_HEADER(queue_driver_vector) },
	{ 2, memory_fixed, MEMORY_HEADER(queue_enable) },
	{ 8, memory_fixed, MEMORY_HEADER(queue_desc) },
	{ 8, memory_fixed, MEMORY_HEADER(queue_driver) },
	{ 8, memory_fixed, MEMORY_HEADER(queue_device) },
	{ 1, memory_fixed, MEMORY_HEADER(config_event) },
	{ 1, memory_fixed, MEMORY_HEADER(queue_event) },
	{ 2, memory_fixed, MEMORY_HEADER(reserved) },
	{ 4, memory_fixed, MEMORY_HEADER(device_status) },
	{ 4, memory_fixed, MEMORY_HEADER(config_generation) },
	{ 4, memory_virtio_config, 64 },
	{ 8, memory_virtio_desc, 0 },
	{ 4, memory_virtio_desc, 8 },
	{ 2, memory_virtio_desc, 12 },
	{ 2, memory_virtio_desc, 14 },
	{ 2, memory_virtio_driver, 0 },
	{ 2, memory_virtio_driver, 2 },
	{ 2, memory_virtio_driver_entry, 0 },
	{ 2, memory_virtio_driver_event, 0 },
	{ 2, memory_virtio_device, 0 },
	{ 2, memory_virtio_device, 2 },
	{ 4, memory_virtio_device_entry, 0 },
	{ 4, memory_virtio_device_entry, 4 },
	{ 2, memory_virtio_device_event, 0 },
	{ 8, memory_virtio_noise, MEMORY_NOISE_BYTES },
	{ 4, memory_virtio_noise, MEMORY_NOISE_BYTES },
};

/* ---- what every protocol has ---- */

static void memory_state(void)
{
	uint32_t *entry = (uint32_t *)hostile_link.memory + hostile_link.id;
	uint32_t state = hostile_one_in(4) ? hostile_random() : hostile_below(5);

	hostile_mutations++;
	__atomic_store_n(entry, htole32(state), __ATOMIC_RELEASE);
	link_ring(0);
}

static void memory_doorbells(void)
{
	unsigned int n = 1 + hostile_below(MEMORY_BURST);

	hostile_mutations += n;
	while (n--)
		link_ring(hostile_below(LINK_VECTORS));
}

static void memory_mutate(void)
{
	const struct memory_field *fields = memory_virtio_fields, *f;
	size_t n = sizeof(memory_virtio_fields) / sizeof(*f);
	int64_t at;

	if (hostile_link.output_size) {
		memory_net_look();
		if (!memory_net.qlen)
			return;
		fields = memory_net_fields;
		n = sizeof(memory_net_fields) / sizeof(*f);
	} else {
		memory_virtio_look();
	}
	f = &fields[hostile_below(n)];
	at = f->place(f->offset);
	if (at >= 0)
		memory_store(at, f->width, hostile_value(memory_load(at, f->width),
							 memory_bytes()));
}

static void memory_pause(unsigned int us)
{
	struct timespec t = { .tv_nsec = us * 1000L };

	nanosleep(&t, NULL);
}

/* What changes is seen only with a doorbell, often */
static void memory_turn(void)
{
	unsigned int n = 1 + hostile_below(MEMORY_BURST);

	link_serve(0);
	if (!hostile_link.memory) {
		memory_pause(MEMORY_PAUSE_US);
		return;
	}
	while (n--)
		memory_mutate();
	if (hostile_one_in(16))
		memory_state();
	if (hostile_one_in(4))
		memory_doorbells();
	memory_pause(hostile_below(hostile_one_in(64) ? MEMORY_REST_US : MEMORY_PAUSE_US));
}

static void memory_open(char **paths)
{
	link_open(paths[0], paths[1]);
}

const struct hostile_party hostile_memory = {
	.name = "memory", .paths = 2,
	.open = memory_open, .turn = memory_turn, .idle = link_serve,
};
