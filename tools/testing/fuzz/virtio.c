// SPDX-License-Identifier: GPL-2.0
/*
 * The back-end library of virtio, tools/virtio: its loop, header and rings over
 * a private section. The input is a front end: it writes fields, honestly and
 * not, posts buffers, split and packed, writes any bytes anywhere at any time,
 * comes and goes. The device holds buffers back and gives them back in any order.
 *
 * Between the library and the input stand the calls of libivshmem that it uses,
 * and epoll_wait(), in which the input takes its turn.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <ivshmem/ivshmem.h>
#include <linux/ivshmem.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ivshmem.h>
#include <linux/virtio_ring.h>

#include "virtio-ivshmem-backend.h"

#include "input.h"

#define VIRTIO_QUEUES		2
#define VIRTIO_QUEUE_SIZE	8
#define VIRTIO_SECTION_BYTES	8192
#define VIRTIO_ID		0x3f
#define VIRTIO_HELD_MAX		16
#define VIRTIO_ANY_FIELD	0xff00
#define VIRTIO_CONFIG_BYTES	24

/* Where an honest front end has its rings */
#define VIRTIO_RINGS		1024
#define VIRTIO_RING_BYTES	1024
#define VIRTIO_RING(q)		(VIRTIO_RINGS + (q) * VIRTIO_RING_BYTES)
#define VIRTIO_DRIVER		256
#define VIRTIO_DEVICE		512
#define VIRTIO_BUFFERS		4096

#define VIRTIO_STEPS		(sizeof(virtio_steps) / sizeof(virtio_steps[0]))
#define FIELD(name)	offsetof(struct virtio_ivshmem_header, name)

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int max, int timeout);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

static struct fuzz_input virtio_input;
static struct vib_device *virtio_dev;
static char *virtio_section;
static uint32_t virtio_states[2];
static int virtio_fd;
static struct ivshmem_event virtio_event;
static bool virtio_pending;
static uint8_t virtio_choice;
static unsigned int virtio_next_step;
static bool virtio_packed;
static uint16_t virtio_next[VIRTIO_QUEUES];
static struct vib_element *virtio_held[VIRTIO_HELD_MAX];
static unsigned int virtio_holds;

/* ---- libivshmem ---- */

int ivshmem_open(struct ivshmem_peer **peer, const char *device, int timeout_ms)
{
	static struct ivshmem_peer link;

	(void)device;
	(void)timeout_ms;
	link = (struct ivshmem_peer) {
		.max_peers = 2, .vectors = VIRTIO_QUEUES + 1,
		.protocol = IVSHMEM_PROTO_VIRTIO_BACK | VIRTIO_ID,
		.state_table = virtio_states,
		.state_table_size = sizeof(virtio_states),
		.rw = virtio_section, .rw_size = VIRTIO_SECTION_BYTES,
	};
	*peer = &link;
	return 0;
}

void ivshmem_close(struct ivshmem_peer *peer)
{
	(void)peer;
}

const char *ivshmem_error(void)
{
	return "";
}

int ivshmem_fd(const struct ivshmem_peer *peer)
{
	(void)peer;
	return virtio_fd;
}

int ivshmem_next_event(struct ivshmem_peer *peer, struct ivshmem_event *event)
{
	(void)peer;
	if (!virtio_pending)
		return 0;
	virtio_pending = false;
	*event = virtio_event;
	return 1;
}

void ivshmem_set_state(struct ivshmem_peer *peer, uint32_t state)
{
	virtio_states[peer->id] = state;
}

void ivshmem_doorbell_eventfd(struct ivshmem_peer *peer, uint32_t id, uint32_t vector)
{
	(void)vector;
	fuzz_require(id == !peer->id);
}

/* ---- the device ---- */

void vib_log(int priority, const char *fmt, ...)
{
	(void)priority;
	(void)fmt;
}

void vib_complain(const char *fmt, ...)
{
	(void)fmt;
}

static void virtio_get_config(void *opaque, void *config)
{
	(void)opaque;
	memset(config, 0x5a, VIRTIO_CONFIG_BYTES);
}

static void virtio_set_config(void *opaque, size_t offset, const void *from,
			      size_t len)
{
	static uint8_t copy[VIB_MAX_CONFIG_BYTES];

	(void)opaque;
	fuzz_require(len && offset + len == VIRTIO_CONFIG_BYTES);
	memcpy(copy, from, len);
}

/* Touch all that the device was told it may */
static void virtio_use(struct vib_element *element)
{
	static uint8_t copy[VIRTIO_SECTION_BYTES * 4];
	size_t out = element->out_bytes, in = element->in_bytes;
	unsigned int i;

	fuzz_require(element->out_num + element->in_num <= VIB_MAX_SEGMENTS);
	for (i = 0; i < element->out_num; i++)
		fuzz_require(element->out[i].iov_len <= VIRTIO_SECTION_BYTES);
	out = out < sizeof(copy) ? out : sizeof(copy);
	in = in < sizeof(copy) ? in : sizeof(copy);
	fuzz_require(vib_read(element, copy, out) == out);
	fuzz_require(vib_write(element, copy, in) == in);
}

static void virtio_give_back(unsigned int i, bool drop)
{
	struct vib_element *element = virtio_held[i];

	virtio_held[i] = virtio_held[--virtio_holds];
	if (drop)
		vib_drop(element);
	else
		vib_push(element, element->in_bytes);
}

static void virtio_process(void *opaque, struct vib_queue *queue)
{
	struct vib_element *element;

	(void)opaque;
	while (virtio_holds < VIRTIO_HELD_MAX) {
		element = vib_pop(queue, sizeof(*element));
		if (!element)
			return;
		virtio_held[virtio_holds++] = element;
		virtio_use(element);
	}
}

/* Half of them at once, the others when the input says so */
static void virtio_reset(void *opaque)
{
	(void)opaque;
	while (virtio_holds > 1)
		virtio_give_back(virtio_holds - 1, virtio_holds & 1);
}

/* ---- the front end ---- */

static void virtio_vector(uint32_t vector)
{
	virtio_pending = true;
	virtio_event = (struct ivshmem_event) {
		.type = IVSHMEM_EVENT_VECTOR, .vector = vector,
	};
}

static void virtio_field(uint32_t offset, const void *value, size_t len)
{
	memcpy(virtio_section + offset, value, len);
	memcpy(virtio_section + FIELD(write_transaction), &offset, sizeof(offset));
	virtio_vector(VIRTIO_IVSHMEM_VECTOR_CONFIG);
}

static void virtio_write(struct fuzz_input *in)
{
	static const uint16_t fields[] = {
		FIELD(device_features_sel), FIELD(driver_features),
		FIELD(driver_features_sel), FIELD(queue_sel), FIELD(queue_size),
		FIELD(queue_driver_vector), FIELD(queue_enable), FIELD(queue_desc),
		FIELD(queue_driver), FIELD(queue_device), FIELD(device_status),
		VIRTIO_IVSHMEM_CONFIG_OFFSET, VIRTIO_ANY_FIELD,
	};
	uint32_t offset = fields[fuzz_u8(in) % (sizeof(fields) / sizeof(fields[0]))];
	uint64_t value;

	if (offset == VIRTIO_IVSHMEM_CONFIG_OFFSET)
		offset += fuzz_u8(in);
	else if (offset == VIRTIO_ANY_FIELD)
		offset = fuzz_u8(in);
	value = fuzz_u64(in);
	virtio_field(offset, &value, offset < FIELD(queue_desc) ? 4 : 8);
}

/* How a driver brings the device up; the input says with which features */
#define VIRTIO_QUEUE_STEPS(q)						\
	{ FIELD(queue_sel), q },					\
	{ FIELD(queue_size), VIRTIO_QUEUE_SIZE },			\
	{ FIELD(queue_desc), VIRTIO_RING(q) },				\
	{ FIELD(queue_driver), VIRTIO_RING(q) + VIRTIO_DRIVER },	\
	{ FIELD(queue_device), VIRTIO_RING(q) + VIRTIO_DEVICE },	\
	{ FIELD(queue_driver_vector), (q) + 1 },			\
	{ FIELD(queue_enable), 1 }

static const struct virtio_step {
	uint32_t offset;
	uint32_t value;
} virtio_steps[] = {
	{ FIELD(device_status), 0 },
	{ FIELD(driver_features_sel), 0 },
	{ FIELD(driver_features), 1U << VIRTIO_RING_F_EVENT_IDX |
				  1U << VIRTIO_RING_F_INDIRECT_DESC },
	{ FIELD(driver_features_sel), 1 },
	{ FIELD(driver_features), 1U << (VIRTIO_F_VERSION_1 - 32) |
				  1U << (VIRTIO_F_RING_PACKED - 32) },
	{ FIELD(device_status), VIRTIO_CONFIG_S_FEATURES_OK },
	VIRTIO_QUEUE_STEPS(0),
	VIRTIO_QUEUE_STEPS(1),
	{ FIELD(device_status), VIRTIO_CONFIG_S_FEATURES_OK |
				VIRTIO_CONFIG_S_DRIVER_OK },
};

static void virtio_step(unsigned int step)
{
	const struct virtio_step *s = &virtio_steps[step];
	uint64_t value = s->value;

	if (s->offset == FIELD(driver_features)) {
		if (virtio_choice & 1)
			value &= ~(1U << VIRTIO_RING_F_EVENT_IDX);
		if (virtio_choice & 2)
			value &= ~(1U << (VIRTIO_F_RING_PACKED - 32));
		if (virtio_choice & 4)
			value &= ~(1U << VIRTIO_RING_F_INDIRECT_DESC);
	}
	virtio_field(s->offset, &value, s->offset < FIELD(queue_desc) ? 4 : 8);
}

/* A descriptor in a table: of the ring, or anywhere */
static void virtio_describe(struct fuzz_input *in, size_t place)
{
	struct vring_desc desc = {
		.addr = VIRTIO_BUFFERS + fuzz_u8(in) * 16, .len = fuzz_u8(in),
	};
	uint16_t flags = fuzz_u8(in), next = fuzz_u8(in);

	if (flags & 0x40)
		desc.addr = fuzz_u64(in);
	if (flags & 0x20)
		desc.len = fuzz_u32(in);
	if (flags & VRING_DESC_F_INDIRECT)
		desc.len &= ~15U;
	desc.flags = flags & 7;
	desc.next = next % (VIRTIO_QUEUE_SIZE + 1);
	if (flags & 0x10)
		desc.next = next << 8;
	memcpy(virtio_section + place % (VIRTIO_SECTION_BYTES - sizeof(desc)), &desc,
	       sizeof(desc));
}

static void virtio_post_split(struct fuzz_input *in, unsigned int q)
{
	char *avail = virtio_section + VIRTIO_RING(q) + VIRTIO_DRIVER;
	uint16_t head = fuzz_u8(in) % (VIRTIO_QUEUE_SIZE + 1);
	unsigned int slot = virtio_next[q] % VIRTIO_QUEUE_SIZE;

	memcpy(avail + 4 + 2 * slot, &head, sizeof(head));
	virtio_next[q]++;
	memcpy(avail + 2, &virtio_next[q], sizeof(virtio_next[q]));
}

static void virtio_post_packed(struct fuzz_input *in, unsigned int q)
{
	unsigned int slot = virtio_next[q]++ % VIRTIO_QUEUE_SIZE;
	size_t place = VIRTIO_RING(q) + 16 * slot;
	uint8_t choice = fuzz_u8(in);
	uint16_t flags = choice & 7, id = choice >> 4;

	virtio_describe(in, place);
	flags |= choice & 8 ? 1 << VRING_PACKED_DESC_F_USED :
			      1 << VRING_PACKED_DESC_F_AVAIL;
	memcpy(virtio_section + place + 12, &id, sizeof(id));
	memcpy(virtio_section + place + 14, &flags, sizeof(flags));
}

static void virtio_post(struct fuzz_input *in)
{
	unsigned int q = fuzz_u8(in) % VIRTIO_QUEUES;

	if (virtio_packed)
		virtio_post_packed(in, q);
	else
		virtio_post_split(in, q);
	virtio_vector(q + 1);
}

static void virtio_poke(struct fuzz_input *in)
{
	uint16_t place = fuzz_u16(in) % VIRTIO_SECTION_BYTES;
	uint64_t value = fuzz_u64(in);
	size_t room = VIRTIO_SECTION_BYTES - place;

	memcpy(virtio_section + place, &value, room < sizeof(value) ? room : sizeof(value));
}

static void virtio_turn(struct fuzz_input *in)
{
	switch (fuzz_u8(in) % 11) {
	case 0:
		return virtio_write(in);
	case 1:
		return virtio_step(fuzz_u8(in) % VIRTIO_STEPS);
	case 2 ... 3:
		return virtio_describe(in, VIRTIO_RINGS + fuzz_u8(in) * 16);
	case 4 ... 5:
		return virtio_post(in);
	case 6:
		return virtio_poke(in);
	case 7:
		virtio_states[1] = fuzz_u8(in) % 3;
		return virtio_vector(0);
	case 8:
		return virtio_vector(fuzz_u8(in) % (VIRTIO_QUEUES + 2));
	case 9:
		return vib_config_changed(virtio_dev);
	default:
		if (virtio_holds)
			virtio_give_back(fuzz_u8(in) % virtio_holds, fuzz_u8(in) & 1);
	}
}

static void virtio_end(void)
{
	vib_stop(virtio_dev);
	while (virtio_holds)
		virtio_give_back(0, false);
}

/* ---- the loop ---- */

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int max, int timeout)
{
	(void)epoll;
	(void)timeout;
	fuzz_require(max);
	if (virtio_next_step < VIRTIO_STEPS) {
		virtio_states[1] = VIRTIO_IVSHMEM_STATE_READY;
		virtio_step(virtio_next_step++);
	} else if (virtio_input.size) {
		virtio_turn(&virtio_input);
	} else {
		virtio_end();
	}
	if (!virtio_pending)
		return 0;
	events[0] = (struct epoll_event) { .events = EPOLLIN, .data.fd = virtio_fd };
	return 1;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	static time_t seconds;

	(void)clock;
	*now = (struct timespec) { .tv_sec = ++seconds };
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct vib_ops ops = {
		.id = VIRTIO_ID, .queues = VIRTIO_QUEUES,
		.config_bytes = VIRTIO_CONFIG_BYTES,
		.get_config = virtio_get_config, .set_config = virtio_set_config,
		.process = virtio_process, .reset = virtio_reset,
	};
	const struct vib_options options = { VIRTIO_QUEUE_SIZE, true, true, true };
	int free_fd = fuzz_free_fd();

	virtio_input = (struct fuzz_input) { data, size };
	virtio_section = fuzz_section(VIRTIO_SECTION_BYTES);
	virtio_fd = eventfd(0, 0);
	virtio_pending = false;
	virtio_choice = fuzz_u8(&virtio_input);
	virtio_packed = !(virtio_choice & 2);
	virtio_next_step = virtio_choice & 8 ? VIRTIO_STEPS : 0;
	virtio_states[1] = VIRTIO_IVSHMEM_STATE_RESET;
	memset(virtio_next, 0, sizeof(virtio_next));
	fuzz_require(!vib_open(&virtio_dev, "", &ops, &options, NULL));
	fuzz_require(!vib_run(virtio_dev));
	vib_close(virtio_dev);
	close(virtio_fd);
	free(virtio_section);
	fuzz_require(fuzz_free_fd() == free_fd);
	return 0;
}
