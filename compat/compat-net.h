/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What network drivers need on older kernels.
 */
#ifndef _COMPAT_NET_H
#define _COMPAT_NET_H

#include <linux/netdevice.h>
#include <linux/udp.h>
#include <linux/virtio_net.h>

/* < 6.6 */
#ifdef COMPAT_HAS_PAGE_POOL_HELPERS
#include <net/page_pool/helpers.h>
#else
#include <net/page_pool.h>
#endif

/* < 6.3: nobody asks which parts of XDP there are */
#ifndef COMPAT_HAS_XDP_FEATURES
#define NETDEV_XDP_ACT_BASIC		1
#define NETDEV_XDP_ACT_REDIRECT		2
#define NETDEV_XDP_ACT_NDO_XMIT		4

static inline void xdp_set_features_flag(struct net_device *dev, u32 val)
{
}
#endif

/* < 6.2: the header of virtio-net has no segments of UDP */
#ifndef COMPAT_HAS_VIRTIO_NET_USO

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

static inline int compat_virtio_net_hdr_from_skb(const struct sk_buff *skb,
						 struct virtio_net_hdr *hdr,
						 bool little_endian,
						 bool has_data_valid, int vlan_hlen)
{
	struct skb_shared_info *sinfo = skb_shinfo(skb);

	if (!skb_is_gso(skb) || !(sinfo->gso_type & SKB_GSO_UDP_L4))
		return virtio_net_hdr_from_skb(skb, hdr, little_endian,
					       has_data_valid, vlan_hlen);
	if (skb->ip_summed != CHECKSUM_PARTIAL)
		return -EINVAL;
	*hdr = (struct virtio_net_hdr) {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
		.hdr_len = __cpu_to_virtio16(little_endian, skb_headlen(skb)),
		.gso_size = __cpu_to_virtio16(little_endian, sinfo->gso_size),
		.csum_start = __cpu_to_virtio16(little_endian,
						skb_checksum_start_offset(skb) +
						vlan_hlen),
		.csum_offset = __cpu_to_virtio16(little_endian, skb->csum_offset),
	};
	return 0;
}

static inline int compat_virtio_net_hdr_to_skb(struct sk_buff *skb,
					       const struct virtio_net_hdr *hdr,
					       bool little_endian)
{
	u16 size = __virtio16_to_cpu(little_endian, hdr->gso_size);
	struct virtio_net_hdr csum = *hdr;
	unsigned int headers;

	if (hdr->gso_type != VIRTIO_NET_HDR_GSO_UDP_L4)
		return virtio_net_hdr_to_skb(skb, hdr, little_endian);
	csum.gso_type = VIRTIO_NET_HDR_GSO_NONE;
	if (!(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || !size ||
	    size == GSO_BY_FRAGS ||
	    virtio_net_hdr_to_skb(skb, &csum, little_endian) ||
	    skb->csum_offset != offsetof(struct udphdr, check))
		return -EINVAL;
	headers = skb_transport_offset(skb) + sizeof(struct udphdr);
	if (!pskb_may_pull(skb, headers) ||
	    skb->len - headers > (unsigned int)size * UDP_MAX_SEGMENTS)
		return -EINVAL;
	if (skb->len - headers > size) {
		skb_shinfo(skb)->gso_size = size;
		skb_shinfo(skb)->gso_type = SKB_GSO_UDP_L4 | SKB_GSO_DODGY;
		skb_shinfo(skb)->gso_segs = 0;
	}
	return 0;
}

#define virtio_net_hdr_from_skb compat_virtio_net_hdr_from_skb
#define virtio_net_hdr_to_skb compat_virtio_net_hdr_to_skb

#endif /* COMPAT_HAS_VIRTIO_NET_USO */

#endif /* _COMPAT_NET_H */
