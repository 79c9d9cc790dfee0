// SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause
/*
 * The packed ring, seen from the device: Virtual I/O Device (VIRTIO) 1.2,
 * section 2.8. Both sides write the same descriptors; two flags and a wrap
 * counter of each side tell whose a descriptor is.
 */
#include <linux/virtio_ring.h>

#include "virtio-ivshmem-queue.h"

#define PACKED_AVAIL	(1U << VRING_PACKED_DESC_F_AVAIL)
#define PACKED_USED	(1U << VRING_PACKED_DESC_F_USED)
#define PACKED_WRAP	(1U << VRING_PACKED_EVENT_F_WRAP_CTR)

static size_t packed_desc_bytes(unsigned int size)
{
	return size * sizeof(struct vring_packed_desc);
}

static size_t packed_event_bytes(unsigned int size)
{
	(void)size;
	return sizeof(struct vring_packed_desc_event);
}

static struct vring_packed_desc *packed_slot(const struct vib_queue *queue,
					     unsigned int slot)
{
	return (struct vring_packed_desc *)queue->desc + slot;
}

/* Here the id stands where a split descriptor has its flags */
static struct vib_desc packed_copy(const void *from)
{
	struct vib_desc desc = vib_copy_desc(from);
	uint16_t id = desc.flags;

	desc.flags = desc.next;
	desc.next = id;
	return desc;
}

static bool packed_available(const struct vib_queue *queue, uint16_t flags)
{
	return !!(flags & PACKED_AVAIL) == queue->avail_wrap &&
	       !!(flags & PACKED_USED) != queue->avail_wrap;
}

/* A table in the order of its entries; only whether they are writable counts */
static int packed_parse_indirect(struct vib_queue *queue,
				 struct vib_chain *chain,
				 const struct vib_desc *indirect)
{
	unsigned int entries, i;
	const char *table = vib_indirect_table(queue, indirect, &entries);
	struct vib_desc desc;

	if (!table)
		return -1;
	for (i = 0; i < entries; i++) {
		desc = packed_copy(table + i * sizeof(desc));
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			vib_break(queue, "indirect table in an indirect table");
			return -1;
		}
		if (vib_chain_add(queue, chain, &desc))
			return -1;
	}
	return 1;
}

/* 1, or -1 and a broken queue; the id is that of the last descriptor */
static int packed_parse(struct vib_queue *queue, struct vib_chain *chain,
			uint16_t *id, uint16_t *slots)
{
	unsigned int n, slot = queue->next_avail;
	struct vib_desc desc;

	for (n = 1; n <= queue->size; n++) {
		desc = packed_copy(packed_slot(queue, slot));
		*id = desc.next;
		*slots = n;
		if (desc.flags & VRING_DESC_F_INDIRECT && n > 1) {
			vib_break(queue, "indirect descriptor in a chain");
			return -1;
		}
		if (desc.flags & VRING_DESC_F_INDIRECT)
			return packed_parse_indirect(queue, chain, &desc);
		if (vib_chain_add(queue, chain, &desc))
			return -1;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return 1;
		slot = (slot + 1) & (queue->size - 1);
	}
	vib_break(queue, "chain has a loop");
	return -1;
}

static int packed_next(struct vib_queue *queue, struct vib_chain *chain,
		       uint16_t *id, uint16_t *slots)
{
	/* Acquire: what the flags publish is read after them */
	uint16_t flags = vib_load16(&packed_slot(queue, queue->next_avail)->flags);

	if (!packed_available(queue, flags))
		return 0;
	if (packed_parse(queue, chain, id, slots) < 0)
		return -1;
	queue->next_avail += *slots;
	if (queue->next_avail >= queue->size) {
		queue->next_avail -= queue->size;
		queue->avail_wrap = !queue->avail_wrap;
	}
	return 1;
}

static void packed_suppress(struct vib_queue *queue, bool quiet)
{
	struct vring_packed_desc_event *event = queue->device;
	uint16_t flags = VRING_PACKED_EVENT_FLAG_ENABLE;

	if (quiet) {
		flags = VRING_PACKED_EVENT_FLAG_DISABLE;
	} else if (queue->event_idx) {
		flags = VRING_PACKED_EVENT_FLAG_DESC;
		vib_store16(&event->off_wrap, queue->next_avail |
			    (queue->avail_wrap ? PACKED_WRAP : 0));
	}
	/* Release: where before how */
	vib_store16(&event->flags, flags);
}

static void packed_use(struct vib_queue *queue,
		       const struct vib_element *element, uint32_t written)
{
	struct vring_packed_desc *desc = packed_slot(queue, queue->next_used);
	uint16_t flags = written ? VRING_DESC_F_WRITE : 0;

	if (queue->used_wrap)
		flags |= PACKED_AVAIL | PACKED_USED;
	vib_store32(&desc->len, written);
	vib_store16(&desc->id, element->id);
	/* Release: the rest and the data before the flags */
	vib_store16(&desc->flags, flags);

	queue->unsignalled += element->slots;
	queue->next_used += element->slots;
	if (queue->next_used >= queue->size) {
		queue->next_used -= queue->size;
		queue->used_wrap = !queue->used_wrap;
	}
}

static bool packed_wants(struct vib_queue *queue)
{
	const struct vring_packed_desc_event *event = queue->driver;
	/* Acquire: the place is read after the flags that say it counts */
	uint16_t flags = vib_load16(&event->flags);
	uint16_t off_wrap = vib_load16(&event->off_wrap);
	uint16_t place = off_wrap & ~PACKED_WRAP;
	uint16_t old = queue->next_used - queue->unsignalled;

	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !queue->event_idx)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	if (!!(off_wrap & PACKED_WRAP) != queue->used_wrap)
		place -= queue->size;
	return vring_need_event(place, queue->next_used, old);
}

const struct vib_ring_ops vib_packed_ring = {
	.desc_bytes = packed_desc_bytes,
	.driver_bytes = packed_event_bytes,
	.device_bytes = packed_event_bytes,
	.driver_align = 4,
	.device_align = 4,
	.next = packed_next,
	.suppress = packed_suppress,
	.use = packed_use,
	.wants = packed_wants,
};
