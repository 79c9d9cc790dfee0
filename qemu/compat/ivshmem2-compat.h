/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes QEMU 7.2 and later look like the newest release to the ivshmem v2
 * device. Nothing else knows versions; in current QEMU this file is empty in
 * effect.
 */
#ifndef HW_MISC_IVSHMEM2_COMPAT_H
#define HW_MISC_IVSHMEM2_COMPAT_H

#include "qapi/error.h"
#include "migration/blocker.h"

#define IVSHMEM2_QEMU_SINCE(major, minor) \
    (QEMU_VERSION_MAJOR > (major) || \
     (QEMU_VERSION_MAJOR == (major) && QEMU_VERSION_MINOR >= (minor)))

/* Headers that moved */
#if __has_include("hw/pci/pci_device.h")
#include "hw/pci/pci_device.h"
#else
#include "hw/pci/pci.h"
#endif
#if __has_include("system/address-spaces.h")
#include "system/address-spaces.h"
#else
#include "exec/address-spaces.h"
#endif
#if __has_include("hw/core/qdev-properties.h")
#include "hw/core/qdev-properties.h"
#include "hw/core/qdev-properties-system.h"
#else
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#endif

/* The user's end of a character device got another name */
#if !IVSHMEM2_QEMU_SINCE(10, 2)
typedef struct CharBackend CharFrontend;
#endif

/* The data of class_init() became const */
#if IVSHMEM2_QEMU_SINCE(10, 1)
typedef const void IVShmemClassData;
#else
typedef void IVShmemClassData;
#endif

/* Property arrays had an end marker before they were const and had a length */
#ifdef DEFINE_PROP_END_OF_LIST
typedef Property IVShmemProperty;
#define IVSHMEM2_PROP_END DEFINE_PROP_END_OF_LIST(),
#else
typedef const Property IVShmemProperty;
#define IVSHMEM2_PROP_END
#endif

#if !IVSHMEM2_QEMU_SINCE(9, 2)
static inline void device_class_set_legacy_reset(DeviceClass *dc,
                                                 void (*reset)(DeviceState *))
{
    dc->reset = reset;
}
#endif

/* Who adds a migration blocker owned its text */
#if !IVSHMEM2_QEMU_SINCE(8, 2)
static inline int ivshmem2_compat_add_blocker(Error **reason, Error **errp)
{
    int ret = migrate_add_blocker(*reason, errp);

    if (ret < 0) {
        error_free(*reason);
        *reason = NULL;
    }
    return ret;
}

static inline void ivshmem2_compat_del_blocker(Error **reason)
{
    if (*reason) {
        migrate_del_blocker(*reason);
        error_free(*reason);
        *reason = NULL;
    }
}

#define migrate_add_blocker ivshmem2_compat_add_blocker
#define migrate_del_blocker ivshmem2_compat_del_blocker
#endif

#endif /* HW_MISC_IVSHMEM2_COMPAT_H */
