// SPDX-License-Identifier: GPL-2.0
/*
 * XDP programs for tests of ivshmem-net, one for each verdict. Built with
 * clang -target bpf; REDIRECT_TO is the number of an interface.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>

#define SEC(name) __attribute__((section(name), used))

#define IP_PROTO_ICMP	1
#define ICMP_ECHO	8	/* linux/icmp.h wants more of libc than there is */
#define ICMP_ECHOREPLY	0
#define TAG_BYTES	4
#define UNKNOWN_VERDICT	42

/* Numbers of the kernel's helpers, as linux/bpf.h has them */
static long (*const bpf_redirect)(__u32 ifindex, __u64 flags) =
	(void *)BPF_FUNC_redirect;
static long (*const bpf_xdp_adjust_head)(struct xdp_md *ctx, int delta) =
	(void *)BPF_FUNC_xdp_adjust_head;

struct net_xdp_echo {
	struct ethhdr eth;
	struct iphdr ip;
	struct {
		__u8 type, code;
		__u16 checksum;
	} icmp;
} __attribute__((packed));

/* NULL if the frame is no echo request over IPv4 */
static inline struct net_xdp_echo *net_xdp_request(struct xdp_md *ctx)
{
	struct net_xdp_echo *echo = (void *)(long)ctx->data;

	if ((void *)(echo + 1) > (void *)(long)ctx->data_end ||
	    echo->eth.h_proto != __builtin_bswap16(ETH_P_IP) || echo->ip.ihl != 5 ||
	    echo->ip.protocol != IP_PROTO_ICMP || echo->icmp.type != ICMP_ECHO)
		return 0;
	return echo;
}

SEC("xdp") int net_xdp_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* Of echo requests only, as those below */
SEC("xdp") int net_xdp_drop(struct xdp_md *ctx)
{
	return net_xdp_request(ctx) ? XDP_DROP : XDP_PASS;
}

SEC("xdp") int net_xdp_aborted(struct xdp_md *ctx)
{
	return net_xdp_request(ctx) ? XDP_ABORTED : XDP_PASS;
}

SEC("xdp") int net_xdp_unknown(struct xdp_md *ctx)
{
	return net_xdp_request(ctx) ? UNKNOWN_VERDICT : XDP_PASS;
}

/* Answers, in the place of the stack */
SEC("xdp") int net_xdp_tx(struct xdp_md *ctx)
{
	struct net_xdp_echo *echo = net_xdp_request(ctx);
	__u8 mac[ETH_ALEN];
	__u32 address, sum;

	if (!echo)
		return XDP_PASS;
	__builtin_memcpy(mac, echo->eth.h_source, ETH_ALEN);
	__builtin_memcpy(echo->eth.h_source, echo->eth.h_dest, ETH_ALEN);
	__builtin_memcpy(echo->eth.h_dest, mac, ETH_ALEN);
	address = echo->ip.saddr;
	echo->ip.saddr = echo->ip.daddr;
	echo->ip.daddr = address;
	echo->icmp.type = ICMP_ECHOREPLY;
	sum = echo->icmp.checksum + __builtin_bswap16(ICMP_ECHO << 8);
	echo->icmp.checksum = sum + (sum >> 16);
	return XDP_TX;
}

#ifdef REDIRECT_TO
SEC("xdp") int net_xdp_redirect(struct xdp_md *ctx)
{
	return bpf_redirect(REDIRECT_TO, 0);
}
#endif

/* Puts a VLAN tag, number 7, in front of what comes */
SEC("xdp") int net_xdp_tag(struct xdp_md *ctx)
{
	struct {
		__u8 macs[2 * ETH_ALEN];
		__be16 proto, tci;
	} *new;
	__u8 macs[2 * ETH_ALEN];

	if (bpf_xdp_adjust_head(ctx, -TAG_BYTES))
		return XDP_ABORTED;
	new = (void *)(long)ctx->data;
	if ((void *)(new + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__builtin_memcpy(macs, (__u8 *)new + TAG_BYTES, sizeof(macs));
	__builtin_memcpy(new->macs, macs, sizeof(macs));
	new->proto = __builtin_bswap16(ETH_P_8021Q);
	new->tci = __builtin_bswap16(7);
	return XDP_PASS;
}

char net_xdp_license[] SEC("license") = "GPL";
