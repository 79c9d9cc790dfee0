// SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause
/*
 * The split ring, seen from the device: Virtual I/O Device (VIRTIO) 1.2,
 * section 2.7. Indices run freely, and wrap at 16 bits.
 */
#include <linux/virtio_ring.h>

#include "virtio-ivshmem-queue.h"

/* Both rings: flags, index, entries, then the other side's event index */
#define SPLIT_FLAGS		0
#define SPLIT_INDEX		2
#define SPLIT_ENTRIES		4
#define SPLIT_AVAIL_BYTES	2
#define SPLIT_USED_BYTES	8

static size_t split_desc_bytes(unsigned int size)
{
	return size * sizeof(struct vring_desc);
}

static size_t split_driver_bytes(unsigned int size)
{
	return SPLIT_ENTRIES + SPLIT_AVAIL_BYTES * size + sizeof(uint16_t);
}

static size_t split_device_bytes(unsigned int size)
{
	return SPLIT_ENTRIES + SPLIT_USED_BYTES * size + sizeof(uint16_t);
}

static char *split_driver(const struct vib_queue *queue, size_t offset)
{
	return (char *)queue->driver + offset;
}

static char *split_device(const struct vib_queue *queue, size_t offset)
{
	return (char *)queue->device + offset;
}

/* What the front end leaves for us to be told by, behind its ring */
static char *split_used_event(const struct vib_queue *queue)
{
	return split_driver(queue, SPLIT_ENTRIES +
				   SPLIT_AVAIL_BYTES * queue->size);
}

static char *split_avail_event(const struct vib_queue *queue)
{
	return split_device(queue, SPLIT_ENTRIES +
				   SPLIT_USED_BYTES * queue->size);
}

/* An indirect table is a chain of its own, and ends the buffer */
static int split_parse_indirect(struct vib_queue *queue,
				struct vib_chain *chain,
				const struct vib_desc *indirect)
{
	unsigned int entries, n, i = 0;
	const char *table = vib_indirect_table(queue, indirect, &entries);
	struct vib_desc desc;

	if (!table)
		return -1;
	for (n = 0; n < entries; n++) {
		desc = vib_copy_desc(table + i * sizeof(struct vring_desc));
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			vib_break(queue, "indirect table in an indirect table");
			return -1;
		}
		if (vib_chain_add(queue, chain, &desc))
			return -1;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return 1;
		i = desc.next;
		if (i >= entries) {
			vib_break(queue, "next descriptor is outside the indirect table");
			return -1;
		}
	}
	vib_break(queue, "chain in the indirect table has a loop");
	return -1;
}

/* 1, or -1 and a broken queue */
static int split_parse(struct vib_queue *queue, struct vib_chain *chain,
		       unsigned int head, uint16_t *slots)
{
	const char *table = queue->desc;
	struct vib_desc desc;
	unsigned int n, i = head;

	for (n = 1; n <= queue->size; n++) {
		if (i >= queue->size) {
			vib_break(queue, "descriptor index is outside the table");
			return -1;
		}
		desc = vib_copy_desc(table + i * sizeof(struct vring_desc));
		*slots = n;
		if (desc.flags & VRING_DESC_F_INDIRECT)
			return split_parse_indirect(queue, chain, &desc);
		if (vib_chain_add(queue, chain, &desc))
			return -1;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return 1;
		i = desc.next;
	}
	vib_break(queue, "chain has a loop");
	return -1;
}

static int split_next(struct vib_queue *queue, struct vib_chain *chain,
		      uint16_t *id, uint16_t *slots)
{
	/* Acquire: what the index publishes is read after it */
	uint16_t avail = vib_load16(split_driver(queue, SPLIT_INDEX));
	uint16_t count = avail - queue->next_avail;
	unsigned int slot = queue->next_avail & (queue->size - 1);

	if (!count)
		return 0;
	if (count > queue->size) {
		vib_break(queue, "avail index is ahead of the ring");
		return -1;
	}
	*id = vib_load16(split_driver(queue, SPLIT_ENTRIES +
					     SPLIT_AVAIL_BYTES * slot));
	if (split_parse(queue, chain, *id, slots) < 0)
		return -1;
	queue->next_avail++;
	return 1;
}

/* An event index that stays behind is as good as a flag */
static void split_suppress(struct vib_queue *queue, bool quiet)
{
	if (!queue->event_idx)
		vib_store16(split_device(queue, SPLIT_FLAGS),
			    quiet ? VRING_USED_F_NO_NOTIFY : 0);
	else if (!quiet)
		vib_store16(split_avail_event(queue), queue->next_avail);
}

static void split_use(struct vib_queue *queue,
		      const struct vib_element *element, uint32_t written)
{
	unsigned int slot = queue->next_used & (queue->size - 1);
	char *entry = split_device(queue, SPLIT_ENTRIES +
					  SPLIT_USED_BYTES * slot);

	vib_store32(entry, element->id);
	vib_store32(entry + sizeof(uint32_t), written);
	queue->next_used++;
	queue->unsignalled++;
	/* Release: the entry and the data before the index */
	vib_store16(split_device(queue, SPLIT_INDEX), queue->next_used);
}

static bool split_wants(struct vib_queue *queue)
{
	uint16_t old = queue->next_used - queue->unsignalled;

	if (queue->event_idx)
		return vring_need_event(vib_load16(split_used_event(queue)),
					queue->next_used, old);
	return !(vib_load16(split_driver(queue, SPLIT_FLAGS)) &
		 VRING_AVAIL_F_NO_INTERRUPT);
}

const struct vib_ring_ops vib_split_ring = {
	.desc_bytes = split_desc_bytes,
	.driver_bytes = split_driver_bytes,
	.device_bytes = split_device_bytes,
	.driver_align = 2,
	.device_align = 4,
	.next = split_next,
	.suppress = split_suppress,
	.use = split_use,
	.wants = split_wants,
};
