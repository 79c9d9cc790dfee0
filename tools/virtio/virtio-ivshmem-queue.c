// SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause
/*
 * What split and packed virtqueues have in common: their start and end, the
 * elements, what breaks them. See virtio-ivshmem-queue.h.
 */
#include <linux/virtio_ring.h>
#include <stdlib.h>

#include "virtio-ivshmem-queue.h"

void vib_break(struct vib_queue *queue, const char *why)
{
	if (queue->broken)
		return;
	queue->broken = true;
	vib_complain("queue %u: %s; ignored until the front end resets the device",
		     queue->index, why);
}

/* The area of a ring, NULL if it is nonsense */
static void *vib_queue_area(const struct vib_queue *queue, uint64_t addr,
			    size_t bytes, unsigned int align)
{
	if (addr < queue->memory->reserved || addr & (align - 1))
		return NULL;
	return vib_place(queue->memory, addr, bytes);
}

static const char *vib_queue_check(struct vib_queue *queue,
				   const struct vib_ring_ops *ring,
				   unsigned int max_size)
{
	const struct vib_registers *regs = &queue->regs;
	unsigned int size = regs->size;

	if (queue->ring)
		return "enabled twice";
	if (!size || size > max_size || size & (size - 1))
		return "size is not a power of two up to what was offered";
	queue->desc = vib_queue_area(queue, regs->desc, ring->desc_bytes(size),
				     16);
	queue->driver = vib_queue_area(queue, regs->driver,
				       ring->driver_bytes(size),
				       ring->driver_align);
	queue->device = vib_queue_area(queue, regs->device,
				       ring->device_bytes(size),
				       ring->device_align);
	if (!queue->desc || !queue->driver || !queue->device)
		return "ring is misaligned or not in the section";
	return NULL;
}

void vib_queue_enable(struct vib_queue *queue, unsigned int max_size,
		      bool packed, bool event_idx, bool indirect)
{
	const struct vib_ring_ops *ring = packed ? &vib_packed_ring :
						   &vib_split_ring;
	const char *why = vib_queue_check(queue, ring, max_size);

	if (why) {
		vib_break(queue, why);
		return;
	}
	queue->ring = ring;
	queue->size = queue->regs.size;
	queue->event_idx = event_idx;
	queue->indirect = indirect;
	queue->avail_wrap = true;
	queue->used_wrap = true;
	queue->kicked = true;
}

void vib_queue_disable(struct vib_queue *queue)
{
	queue->ring = NULL;
	queue->regs.enable = 0;
	queue->broken = false;
	queue->kicked = false;
	queue->quiet = false;
	queue->next_avail = 0;
	queue->next_used = 0;
	queue->unsignalled = 0;
}

static bool vib_queue_takes(const struct vib_queue *queue)
{
	return queue->ring && queue->regs.enable && !queue->broken &&
	       vib_device_takes(queue->dev);
}

bool vib_queue_due(struct vib_queue *queue)
{
	bool due = queue->kicked && vib_queue_takes(queue);

	queue->kicked = false;
	queue->budget = queue->size;
	return due;
}

void vib_notify_always(struct vib_queue *queue)
{
	queue->notify_always = true;
}

void vib_kick(struct vib_queue *queue)
{
	queue->kicked = true;
}

bool vib_queue_wants_signal(struct vib_queue *queue)
{
	bool wants;

	if (!queue->unsignalled || !queue->ring || queue->broken)
		return false;
	/* Used buffers before the front end's wish; it does the reverse */
	vib_full_fence();
	wants = queue->ring->wants(queue);
	queue->unsignalled = 0;
	return wants;
}

int vib_chain_add(struct vib_queue *queue, struct vib_chain *chain,
		  const struct vib_desc *desc)
{
	unsigned int n = chain->out_num + chain->in_num;
	void *place = vib_place(queue->memory, desc->addr, desc->len);
	const char *why = NULL;

	if (n == VIB_MAX_SEGMENTS)
		why = "buffer of too many segments";
	else if (!desc->len)
		why = "segment of no bytes";
	else if (!place)
		why = "segment is not in the section";
	else if (!(desc->flags & VRING_DESC_F_WRITE) && chain->in_num)
		why = "readable segment after a writable one";
	if (why) {
		vib_break(queue, why);
		return -1;
	}

	chain->iov[n].iov_base = place;
	chain->iov[n].iov_len = desc->len;
	if (desc->flags & VRING_DESC_F_WRITE) {
		chain->in_num++;
		chain->in_bytes += desc->len;
	} else {
		chain->out_num++;
		chain->out_bytes += desc->len;
	}
	return 0;
}

const char *vib_indirect_table(struct vib_queue *queue,
			       const struct vib_desc *desc,
			       unsigned int *entries)
{
	const char *table = vib_place(queue->memory, desc->addr, desc->len);
	const char *why = NULL;

	if (!queue->indirect)
		why = "indirect descriptor without that feature";
	else if (desc->flags & VRING_DESC_F_NEXT)
		why = "indirect descriptor with a successor";
	else if (!table)
		why = "indirect table is not in the section";
	else if (!desc->len || desc->len % sizeof(struct vring_desc))
		why = "indirect table of a broken size";
	else if (desc->len / sizeof(struct vring_desc) > VIB_MAX_SEGMENTS)
		why = "indirect table is too long";
	if (why) {
		vib_break(queue, why);
		return NULL;
	}
	*entries = desc->len / sizeof(struct vring_desc);
	return table;
}

/* The device's own copy of the chain, behind what it asked for */
static struct vib_element *vib_element_new(const struct vib_chain *chain,
					   size_t size)
{
	unsigned int n = chain->out_num + chain->in_num;
	struct vib_element *element;

	size = (size + sizeof(void *) - 1) & ~(sizeof(void *) - 1);
	element = malloc(size + n * sizeof(struct iovec));
	if (!element)
		return NULL;
	memset(element, 0, size);
	element->out = (struct iovec *)((char *)element + size);
	element->in = element->out + chain->out_num;
	memcpy(element->out, chain->iov, n * sizeof(struct iovec));
	element->out_num = chain->out_num;
	element->in_num = chain->in_num;
	element->out_bytes = chain->out_bytes;
	element->in_bytes = chain->in_bytes;
	return element;
}

static void vib_queue_suppress(struct vib_queue *queue, bool quiet)
{
	queue->quiet = quiet;
	queue->ring->suppress(queue, quiet);
}

/* Like next(), but asks to be notified of a later buffer before it says none */
static int vib_queue_next(struct vib_queue *queue, struct vib_chain *chain,
			  uint16_t *id, uint16_t *slots)
{
	int ret = queue->ring->next(queue, chain, id, slots);

	if (!ret) {
		vib_queue_suppress(queue, false);
		/* The wish before the ring; the front end does the reverse */
		vib_full_fence();
		ret = queue->ring->next(queue, chain, id, slots);
	}
	if (ret > 0 && (!queue->quiet || queue->notify_always))
		vib_queue_suppress(queue, !queue->notify_always);
	return ret;
}

/* A front end that uses a buffer again before it gets it back is found here */
static bool vib_queue_overrun(struct vib_queue *queue, unsigned int slots)
{
	if (slots <= queue->size - queue->slots_in_flight)
		return false;
	vib_break(queue, "more buffers are in flight than it has descriptors");
	return true;
}

void *vib_pop(struct vib_queue *queue, size_t size)
{
	struct vib_element *element;
	struct vib_chain chain;
	uint16_t id, slots;

	if (!vib_queue_takes(queue))
		return NULL;
	if (!queue->budget) {
		queue->kicked = true;
		return NULL;
	}
	chain.out_num = 0;
	chain.in_num = 0;
	chain.out_bytes = 0;
	chain.in_bytes = 0;
	if (vib_queue_next(queue, &chain, &id, &slots) <= 0 ||
	    vib_queue_overrun(queue, slots))
		return NULL;
	element = vib_element_new(&chain, size);
	if (!element) {
		vib_break(queue, "out of memory");
		return NULL;
	}
	element->queue = queue;
	element->id = id;
	element->slots = slots;
	queue->budget--;
	queue->in_flight++;
	queue->slots_in_flight += slots;
	return element;
}

void vib_drop(struct vib_element *element)
{
	struct vib_queue *queue = element->queue;

	queue->in_flight--;
	queue->slots_in_flight -= element->slots;
	free(element);
}

void vib_push(struct vib_element *element, size_t written)
{
	struct vib_queue *queue = element->queue;

	if (queue->ring && !queue->broken)
		queue->ring->use(queue, element, written);
	vib_drop(element);
}

size_t vib_iov_skip(struct iovec **iov, unsigned int *num, size_t len)
{
	size_t left = len, n;

	while (left && *num) {
		n = left < (*iov)->iov_len ? left : (*iov)->iov_len;
		(*iov)->iov_base = (char *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
		left -= n;
		if (!(*iov)->iov_len) {
			(*iov)++;
			(*num)--;
		}
	}
	return len - left;
}

size_t vib_read(struct vib_element *element, void *to, size_t len)
{
	size_t done = 0, n;

	while (done < len && element->out_num) {
		n = element->out->iov_len;
		n = n < len - done ? n : len - done;
		memcpy((char *)to + done, element->out->iov_base, n);
		done += vib_iov_skip(&element->out, &element->out_num, n);
	}
	element->out_bytes -= done;
	return done;
}

size_t vib_write(struct vib_element *element, const void *from, size_t len)
{
	size_t done = 0, n;

	while (done < len && element->in_num) {
		n = element->in->iov_len;
		n = n < len - done ? n : len - done;
		memcpy(element->in->iov_base, (const char *)from + done, n);
		done += vib_iov_skip(&element->in, &element->in_num, n);
	}
	element->in_bytes -= done;
	return done;
}
