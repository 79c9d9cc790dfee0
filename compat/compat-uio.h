/* SPDX-License-Identifier: GPL-2.0 */
/*
 * UIO's mmap_prepare() (7.1) on kernels that have mmap() instead: the same
 * callback, on a description that is applied to the vma when it returns.
 */
#ifndef _COMPAT_UIO_H
#define _COMPAT_UIO_H

#ifdef COMPAT_HAS_UIO_MMAP_PREPARE

#define UIO_MMAP_PREPARE(fn)						\
	static_assert(__same_type(fn, int (struct uio_info *,		\
					   struct vm_area_desc *)))
#define UIO_SET_MMAP_PREPARE(info, fn) ((info)->mmap_prepare = (fn))

#else

#include <linux/mm.h>

#ifndef COMPAT_HAS_VM_FLAGS_CLEAR	/* < 6.3 */
#define vm_flags_clear(vma, flags) ((vma)->vm_flags &= ~(flags))
#endif

/**
 * struct compat_vm_area_desc - what the drivers use of struct vm_area_desc
 * @vma: the mapping being made
 * @pgoff: index of the UIO map
 * @page_prot: to be set
 * @vm_ops: to be set
 * @pfn: first page, set by mmap_action_remap_full()
 */
struct compat_vm_area_desc {
	struct vm_area_struct *vma;
	unsigned long pgoff;
	pgprot_t page_prot;
	const struct vm_operations_struct *vm_ops;
	unsigned long pfn;
};

/* Kernels from 6.16 have another one, which UIO does not use yet */
#define vm_area_desc compat_vm_area_desc
#define VMA_WRITE_BIT VM_WRITE
#define VMA_MAYWRITE_BIT VM_MAYWRITE
#define vma_desc_test(desc, flag) ((desc)->vma->vm_flags & (flag))
#define vma_desc_clear_flags(desc, flag) vm_flags_clear((desc)->vma, flag)
#define mmap_action_remap_full(desc, first) ((desc)->pfn = (first))

static inline int
compat_uio_mmap(struct uio_info *info, struct vm_area_struct *vma,
		int (*prepare)(struct uio_info *, struct compat_vm_area_desc *))
{
	struct compat_vm_area_desc desc = {
		.vma = vma,
		.pgoff = vma->vm_pgoff,
		.page_prot = vma->vm_page_prot,
	};
	int err = prepare(info, &desc);

	if (err)
		return err;
	vma->vm_page_prot = desc.page_prot;
	vma->vm_ops = desc.vm_ops;
	return remap_pfn_range(vma, vma->vm_start, desc.pfn,
			       vma->vm_end - vma->vm_start, vma->vm_page_prot);
}

#define UIO_MMAP_PREPARE(fn)						\
static int fn##_compat(struct uio_info *info, struct vm_area_struct *vma) \
{									\
	return compat_uio_mmap(info, vma, fn);				\
}

#define UIO_SET_MMAP_PREPARE(info_, fn) ((info_)->mmap = fn##_compat)

#endif /* COMPAT_HAS_UIO_MMAP_PREPARE */
#endif /* _COMPAT_UIO_H */
