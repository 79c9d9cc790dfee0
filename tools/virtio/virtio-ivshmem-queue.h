/* SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause */
/*
 * Virtqueues as the device sees them, split and packed, of a front end that
 * is not trusted. Inside the back-end library: what is above the rings uses
 * these functions, and each kind of ring is a struct vib_ring_ops.
 *
 * Rings lie in shared memory. They are read with acquire loads of what
 * publishes, then plain copies that the compiler cannot repeat; written with
 * release stores. Where a store must be seen before a later load (suppression
 * of notifications) stands a full fence. Never a read-modify-write.
 */
#ifndef VIRTIO_IVSHMEM_QUEUE_H
#define VIRTIO_IVSHMEM_QUEUE_H

#include <endian.h>
#include <string.h>

#include "virtio-ivshmem-backend.h"

/**
 * struct vib_desc - a descriptor as it was once
 * @addr: offset into the section
 * @len: bytes
 * @flags: VRING_DESC_F_*
 * @next: index (split) or buffer id (packed)
 */
struct vib_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

/**
 * struct vib_chain - a buffer while it is being parsed
 * @iov: its segments, out before in
 * @out_num: of them
 * @in_num: of them
 * @out_bytes: sum
 * @in_bytes: sum
 */
struct vib_chain {
	struct iovec iov[VIB_MAX_SEGMENTS];
	unsigned int out_num;
	unsigned int in_num;
	size_t out_bytes;
	size_t in_bytes;
};

/**
 * struct vib_registers - the banked fields of the header, for one queue
 * @size: descriptors, as offered or as chosen
 * @device_vector: ours
 * @driver_vector: the front end's
 * @enable: 1 = the queue is to be used
 * @desc: offset of the descriptors
 * @driver: offset of the avail ring or driver event area
 * @device: offset of the used ring or device event area
 */
struct vib_registers {
	uint16_t size;
	uint16_t device_vector;
	uint16_t driver_vector;
	uint16_t enable;
	uint64_t desc;
	uint64_t driver;
	uint64_t device;
};

/**
 * struct vib_memory - the section that addresses lie in
 * @base: where it is mapped
 * @size: bytes
 * @reserved: bytes at its start that are no place for rings: the header
 */
struct vib_memory {
	char *base;
	size_t size;
	size_t reserved;
};

/**
 * struct vib_queue - a virtqueue
 * @dev: whose it is
 * @index: of the queue
 * @regs: what the front end set, and what it reads back
 * @ring: the kind, NULL while the queue is not enabled
 * @memory: see there
 * @size: descriptors, a power of two for split rings
 * @desc: ring of descriptors
 * @driver: avail ring, or driver event area
 * @device: used ring, or device event area
 * @event_idx: negotiated
 * @indirect: negotiated
 * @broken: nonsense was seen; until the next reset
 * @kicked: to be processed in this round
 * @quiet: the front end was asked not to notify
 * @notify_always: it never is
 * @budget: buffers that may be popped in this round
 * @in_flight: elements popped and not given back
 * @slots_in_flight: what they take of the ring
 * @next_avail: split: free running; packed: slot
 * @next_used: likewise
 * @avail_wrap: packed: wrap counter of @next_avail
 * @used_wrap: packed: wrap counter of @next_used
 * @unsignalled: slots used (split: buffers) since the last vib_ring_wants
 */
struct vib_queue {
	struct vib_device *dev;
	unsigned int index;
	struct vib_registers regs;
	const struct vib_ring_ops *ring;
	const struct vib_memory *memory;
	unsigned int size;
	void *desc;
	void *driver;
	void *device;
	bool event_idx;
	bool indirect;
	bool broken;
	bool kicked;
	bool quiet;
	bool notify_always;
	unsigned int budget;
	unsigned int in_flight;
	unsigned int slots_in_flight;
	uint16_t next_avail;
	uint16_t next_used;
	bool avail_wrap;
	bool used_wrap;
	uint16_t unsignalled;
};

/**
 * struct vib_ring_ops - a kind of ring
 * @desc_bytes: of the three areas of a queue of that size
 * @driver_bytes: likewise
 * @device_bytes: likewise
 * @driver_align: of the areas; that of @desc is 16
 * @device_align: likewise
 * @next: parse the next buffer: 1, 0 = none, -1 = broken. @id and @slots set
 * @suppress: ask the front end (not) to notify; a full fence after asking is
 *	the caller's
 * @use: publish a used buffer
 * @wants: does the front end want to be told of what was used since? Called
 *	after a full fence
 */
struct vib_ring_ops {
	size_t (*desc_bytes)(unsigned int size);
	size_t (*driver_bytes)(unsigned int size);
	size_t (*device_bytes)(unsigned int size);
	unsigned int driver_align;
	unsigned int device_align;
	int (*next)(struct vib_queue *queue, struct vib_chain *chain,
		    uint16_t *id, uint16_t *slots);
	void (*suppress)(struct vib_queue *queue, bool quiet);
	void (*use)(struct vib_queue *queue, const struct vib_element *element,
		    uint32_t written);
	bool (*wants)(struct vib_queue *queue);
};

extern const struct vib_ring_ops vib_split_ring;
extern const struct vib_ring_ops vib_packed_ring;

/* Does the device as a whole take buffers now? In virtio-ivshmem-backend.c */
bool vib_device_takes(const struct vib_device *dev);

/* The front end set queue_enable: check its registers, or break the queue */
void vib_queue_enable(struct vib_queue *queue, unsigned int max_size,
		      bool packed, bool event_idx, bool indirect);

/* Back to what it was before; its elements are not in flight any more */
void vib_queue_disable(struct vib_queue *queue);

/* Call the device for the queue, if it was kicked */
bool vib_queue_due(struct vib_queue *queue);

/* To be signalled? Asks the ring once for everything used so far */
bool vib_queue_wants_signal(struct vib_queue *queue);

/* The place of @len bytes in the section, NULL if it is none */
static inline void *vib_place(const struct vib_memory *memory, uint64_t addr,
			      uint64_t len)
{
	if (len > memory->size || addr > memory->size - len)
		return NULL;
	return memory->base + addr;
}

/* Append a segment; -1 and a broken queue if it is not acceptable */
int vib_chain_add(struct vib_queue *queue, struct vib_chain *chain,
		  const struct vib_desc *desc);

/* The table that an indirect descriptor names: NULL and a broken queue */
const char *vib_indirect_table(struct vib_queue *queue,
			       const struct vib_desc *desc,
			       unsigned int *entries);

/*
 * Copy shared memory to a local that the compiler must not replace by reading
 * again; the source may have any alignment.
 */
static inline struct vib_desc vib_copy_desc(const void *from)
{
	struct vib_desc desc;

	memcpy(&desc, from, sizeof(desc));
	__asm__ volatile("" : "+m"(desc));
	desc.addr = le64toh(desc.addr);
	desc.len = le32toh(desc.len);
	desc.flags = le16toh(desc.flags);
	desc.next = le16toh(desc.next);
	return desc;
}

static inline uint16_t vib_load16(const void *from)
{
	return le16toh(__atomic_load_n((const uint16_t *)from,
				       __ATOMIC_ACQUIRE));
}

static inline void vib_store16(void *to, uint16_t value)
{
	__atomic_store_n((uint16_t *)to, htole16(value), __ATOMIC_RELEASE);
}

static inline uint32_t vib_load32(const void *from)
{
	return le32toh(__atomic_load_n((const uint32_t *)from,
				       __ATOMIC_ACQUIRE));
}

static inline void vib_store32(void *to, uint32_t value)
{
	__atomic_store_n((uint32_t *)to, htole32(value), __ATOMIC_RELEASE);
}

static inline uint64_t vib_load64(const void *from)
{
	return le64toh(__atomic_load_n((const uint64_t *)from,
				       __ATOMIC_ACQUIRE));
}

static inline void vib_store64(void *to, uint64_t value)
{
	__atomic_store_n((uint64_t *)to, htole64(value), __ATOMIC_RELEASE);
}

/* Partner of the store that published it: see before what it says */
static inline void vib_full_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#endif /* VIRTIO_IVSHMEM_QUEUE_H */
