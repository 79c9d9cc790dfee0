// SPDX-License-Identifier: GPL-2.0
/*
 * The least that can be done with a frame: XDP drops it.
 */
#include <linux/bpf.h>

int bench_drop(struct xdp_md *frame);

__attribute__((section("xdp"), used))
int bench_drop(struct xdp_md *frame)
{
	(void)frame;
	return XDP_DROP;
}

char bench_license[] __attribute__((section("license"), used)) = "GPL";
