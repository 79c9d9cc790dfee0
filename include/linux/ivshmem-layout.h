/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * From the sizes that a device or a server states to the places of the
 * sections: pure arithmetic that trusts none of its input. Builds in the
 * kernel and in user space (the core, libivshmem and the tests use it);
 * touches no hardware.
 *
 * Implements the layout of Documentation/ivshmem/device.rst.
 */
#ifndef _IVSHMEM_LAYOUT_H
#define _IVSHMEM_LAYOUT_H

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/types.h>
#include <asm/byteorder.h>
#include <uapi/linux/ivshmem.h>
#else
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <linux/ivshmem.h>
#define le32_to_cpu(x) le32toh(x)
#define le64_to_cpu(x) le64toh(x)
#endif

/**
 * struct ivshmem_layout - where the sections lie, in bytes from the base
 * @base_address: guest physical base, 0 if the region is BAR 2
 * @state_table_size: bytes; the State Table is at offset 0
 * @rw_offset: start of the R/W section
 * @rw_size: bytes, 0 = absent
 * @output_offset: start of peer 0's output section
 * @output_size: bytes of one peer's output section, 0 = absent
 * @size: bytes of all sections together
 */
struct ivshmem_layout {
	__u64 base_address;
	__u64 state_table_size;
	__u64 rw_offset;
	__u64 rw_size;
	__u64 output_offset;
	__u64 output_size;
	__u64 size;
};

/* Where the output section of peer @id lies; @id < max_peers */
static inline __u64 ivshmem_layout_output(const struct ivshmem_layout *l,
					  __u32 id)
{
	return l->output_offset + l->output_size * id;
}

static inline bool ivshmem_layout_aligned(__u64 size, __u64 page_size)
{
	return !(size & (page_size - 1));
}

/**
 * ivshmem_layout_place() - place the sections of the given sizes
 * @l: filled on success; @l->base_address is not touched
 * @table_size: bytes of the State Table
 * @rw_size: bytes of the R/W section
 * @output_size: bytes of each output section
 * @max_peers: number of output sections
 * @page_size: the unit of mapping, a power of two
 *
 * Return: NULL, or what is wrong with the numbers.
 */
static inline const char *
ivshmem_layout_place(struct ivshmem_layout *l, __u64 table_size, __u64 rw_size,
		     __u64 output_size, __u32 max_peers, __u64 page_size)
{
	__u64 outputs;

	if (max_peers < IVSHMEM_MIN_PEERS || max_peers > IVSHMEM_MAX_PEERS)
		return "maximum number of peers is not 2..65536";
	if (table_size < 4ULL * max_peers)
		return "State Table is too small for the number of peers";
	if (!ivshmem_layout_aligned(table_size, page_size))
		return "State Table size is not a multiple of the page size";
	if (!ivshmem_layout_aligned(rw_size, page_size))
		return "R/W section size is not a multiple of the page size";
	if (!ivshmem_layout_aligned(output_size, page_size))
		return "output section size is not a multiple of the page size";

	l->state_table_size = table_size;
	l->rw_offset = table_size;
	l->rw_size = rw_size;
	l->output_size = output_size;
	if (__builtin_add_overflow(table_size, rw_size, &l->output_offset) ||
	    __builtin_mul_overflow(output_size, max_peers, &outputs) ||
	    __builtin_add_overflow(l->output_offset, outputs, &l->size))
		return "sizes of the sections overflow";
	return NULL;
}

/**
 * ivshmem_layout_parse() - from a vendor capability to a layout
 * @l: filled on success
 * @cap: the capability as it was read from config space
 * @bar_size: bytes of BAR 2, 0 if there is none
 * @id: value of the ID register
 * @max_peers: value of the Maximum Peers register
 * @page_size: the unit of mapping, a power of two
 * @why: on failure what is wrong, in words
 *
 * Return: 0 or -EINVAL.
 */
static inline int
ivshmem_layout_parse(struct ivshmem_layout *l, const struct ivshmem_cap *cap,
		     __u64 bar_size, __u32 id, __u32 max_peers,
		     __u64 page_size, const char **why)
{
	__u64 end;

	*why = NULL;
	l->base_address = 0;
	if (cap->length < IVSHMEM_CAP_LENGTH_BAR)
		*why = "vendor capability is too short";
	else if (!bar_size && cap->length < IVSHMEM_CAP_LENGTH_BASE)
		*why = "neither BAR 2 nor a base address";
	else
		*why = ivshmem_layout_place(l, le32_to_cpu(cap->state_table_size),
					    le64_to_cpu(cap->rw_size),
					    le64_to_cpu(cap->output_size),
					    max_peers, page_size);
	if (*why)
		return -EINVAL;
	if (id >= max_peers)
		*why = "peer id is not below the maximum number of peers";
	else if (bar_size && l->size > bar_size)
		*why = "sections do not fit into BAR 2";
	if (*why || bar_size)
		return *why ? -EINVAL : 0;

	l->base_address = le64_to_cpu(cap->base_address);
	if (!l->base_address ||
	    !ivshmem_layout_aligned(l->base_address, page_size))
		*why = "base address is not a multiple of the page size";
	else if (__builtin_add_overflow(l->base_address, l->size, &end))
		*why = "base address and sizes overflow";
	return *why ? -EINVAL : 0;
}

#endif /* _IVSHMEM_LAYOUT_H */
