/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Forced into every source file: makes an older kernel look like the newest
 * one we support. COMPAT_HAS_* come from compat/Kbuild.include, which probes
 * the headers; distribution kernels carry backports, so a version number
 * proves nothing. What only one subsystem needs has a compat-*.h of its own.
 */
#ifndef _COMPAT_H
#define _COMPAT_H

#ifndef __ASSEMBLY__
#include <linux/pci.h>

/* < 6.8 */
#ifndef PCI_IRQ_INTX
#define PCI_IRQ_INTX PCI_IRQ_LEGACY
#endif

#endif /* __ASSEMBLY__ */

#endif /* _COMPAT_H */
