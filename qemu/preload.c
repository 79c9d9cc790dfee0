/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Only for the preloaded device: programs that QEMU starts are no QEMUs and
 * must not get the device.
 */
#include "qemu/osdep.h"

/* The wrapper keeps here what LD_PRELOAD was before */
#define PRELOAD_SAVED "IVSHMEM_SAVED_LD_PRELOAD"

static void __attribute__((constructor)) preload_restore(void)
{
    const char *saved = getenv(PRELOAD_SAVED);

    if (saved && *saved) {
        setenv("LD_PRELOAD", saved, 1);
    } else {
        unsetenv("LD_PRELOAD");
    }
    unsetenv(PRELOAD_SAVED);
}
