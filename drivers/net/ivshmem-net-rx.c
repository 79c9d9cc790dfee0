// SPDX-License-Identifier: GPL-2.0
/*
 * Receiving: NAPI copies frames out of the peer's section, gives their places
 * back, and hands them to XDP or to the stack.
 *
 * The peer can change a frame while it is copied. Nothing is decided by what
 * is still in the section: lengths and headers are looked at in the copy.
 *
 * Implements "Frames" of Documentation/ivshmem/net.rst.
 */
#include <linux/bpf_trace.h>
#include <linux/etherdevice.h>
#include <linux/filter.h>
#include <linux/virtio_net.h>

#include "compat-net.h"
#include "ivshmem-net.h"

/* Below it a page is not worth it */
#define IVSHMEM_NET_COPY_BREAK	256
/* In front of the pages, so that all headers are in one piece */
#define IVSHMEM_NET_HEAD_BYTES	256
/* The sender goes on while we are still at it */
#define IVSHMEM_NET_PUBLISH_FRAMES 8

#define IVSHMEM_NET_POOL_PAGES	1024

/* Such parts of such a time spent on polling are a load */
#define IVSHMEM_NET_LOAD_NS		(8 * NSEC_PER_MSEC)
#define IVSHMEM_NET_LOAD_DIVISOR	2
#define IVSHMEM_NET_LOAD_DIVISOR_THREAD	4	/* which has to share */

static struct sk_buff *ivshmem_net_rx_small(struct ivshmem_net_queue *q,
					    const void *data, u32 len)
{
	struct sk_buff *skb = napi_alloc_skb(&q->napi, len);

	if (skb)
		skb_put_data(skb, data, len);
	return skb;
}

/* The page becomes the skb; @offset bytes are free in front of the frame */
static struct sk_buff *ivshmem_net_rx_build(struct page *page, u32 offset, u32 len)
{
	struct sk_buff *skb = napi_build_skb(page_address(page), PAGE_SIZE);

	if (!skb)
		return NULL;
	skb_reserve(skb, offset);
	skb_put(skb, len);
	skb_mark_for_recycle(skb);
	return skb;
}

static struct sk_buff *ivshmem_net_rx_medium(struct ivshmem_net_queue *q,
					     const void *data, u32 len)
{
	struct page *page = page_pool_dev_alloc_pages(q->pages);
	struct sk_buff *skb;

	if (!page)
		return NULL;
	memcpy(page_address(page) + XDP_PACKET_HEADROOM, data, len);
	skb = ivshmem_net_rx_build(page, XDP_PACKET_HEADROOM, len);
	if (!skb)
		page_pool_put_full_page(q->pages, page, true);
	return skb;
}

static struct sk_buff *ivshmem_net_rx_large(struct ivshmem_net_queue *q,
					    const void *data, u32 len)
{
	struct sk_buff *skb = ivshmem_net_rx_small(q, data, IVSHMEM_NET_HEAD_BYTES);
	struct page *page;
	u32 part;

	if (!skb)
		return NULL;
	skb_mark_for_recycle(skb);
	for (data += IVSHMEM_NET_HEAD_BYTES, len -= IVSHMEM_NET_HEAD_BYTES; len;
	     data += part, len -= part) {
		part = min_t(u32, len, PAGE_SIZE);
		page = page_pool_dev_alloc_pages(q->pages);
		if (!page)
			goto err_free_skb;
		memcpy(page_address(page), data, part);
		skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, page, 0, part,
				PAGE_SIZE);
	}
	return skb;

err_free_skb:
	dev_kfree_skb_any(skb);
	return NULL;
}

static struct sk_buff *ivshmem_net_rx_skb(struct ivshmem_net_queue *q,
					  const void *data, u32 len)
{
	BUILD_BUG_ON(IVSHMEM_NET_MAX_FRAME >
		     IVSHMEM_NET_HEAD_BYTES + MAX_SKB_FRAGS * PAGE_SIZE);

	if (len <= IVSHMEM_NET_COPY_BREAK)
		return ivshmem_net_rx_small(q, data, len);
	if (len <= IVSHMEM_NET_XDP_FRAME)
		return ivshmem_net_rx_medium(q, data, len);
	return ivshmem_net_rx_large(q, data, len);
}

/* What is to be cut into many small frames costs us far more than the sender */
static bool ivshmem_net_rx_segments_valid(const struct virtio_net_hdr *hdr, u32 len)
{
	return hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE ||
	       len <= __virtio16_to_cpu(true, hdr->gso_size) * IVSHMEM_NET_MAX_SEGMENTS;
}

/* Not every kernel finds out before it cuts IPv4 as if it were IPv6 */
static bool ivshmem_net_rx_type_valid(const struct virtio_net_hdr *hdr,
				      const struct ethhdr *eth)
{
	if (eth_type_vlan(eth->h_proto))
		return true;
	switch (hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return eth->h_proto == htons(ETH_P_IP);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return eth->h_proto == htons(ETH_P_IPV6);
	default:
		return true;
	}
}

static void ivshmem_net_rx_deliver(struct ivshmem_net_queue *q, struct sk_buff *skb,
				   const struct virtio_net_hdr *hdr)
{
	skb_record_rx_queue(skb, q->index);
	u64_stats_update_begin(&q->rx_sync);
	u64_stats_inc(&q->rx_stats[IVSHMEM_NET_RX_PACKETS]);
	u64_stats_add(&q->rx_stats[IVSHMEM_NET_RX_BYTES], skb->len);
	u64_stats_update_end(&q->rx_sync);

	if (hdr->flags & VIRTIO_NET_HDR_F_DATA_VALID)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	if (!ivshmem_net_rx_segments_valid(hdr, skb->len) ||
	    !ivshmem_net_rx_type_valid(hdr, (const struct ethhdr *)skb->data) ||
	    virtio_net_hdr_to_skb(skb, hdr, true)) {
		ivshmem_net_rx_count(q, IVSHMEM_NET_RX_BAD_HEADER);
		dev_kfree_skb_any(skb);
		return;
	}
	skb->protocol = eth_type_trans(skb, q->in->dev);
	napi_gro_receive(&q->napi, skb);
}

/* Returns true if the frame in @xdp is for the stack */
static bool ivshmem_net_xdp_run(struct ivshmem_net_queue *q, struct bpf_prog *prog,
				struct xdp_buff *xdp, bool *redirected)
{
	struct net_device *dev = q->in->dev;
	u32 act = bpf_prog_run_xdp(prog, xdp);

	switch (act) {
	case XDP_PASS:
		return true;
	case XDP_TX:
		if (ivshmem_net_xdp_tx(q, xdp))
			break;
		ivshmem_net_rx_count(q, IVSHMEM_NET_RX_XDP_TX);
		goto recycle;
	case XDP_REDIRECT:
		if (xdp_do_redirect(dev, xdp, prog))
			break;
		*redirected = true;
		ivshmem_net_rx_count(q, IVSHMEM_NET_RX_XDP_REDIRECT);
		return false;
	case XDP_DROP:
		ivshmem_net_rx_count(q, IVSHMEM_NET_RX_XDP_DROP);
		goto recycle;
	default:
		bpf_warn_invalid_xdp_action(dev, prog, act);
		break;
	case XDP_ABORTED:
		break;
	}
	trace_xdp_exception(dev, prog, act);
	ivshmem_net_rx_count(q, IVSHMEM_NET_RX_XDP_ERRORS);
recycle:
	page_pool_recycle_direct(q->pages, virt_to_page(xdp->data_hard_start));
	return false;
}

static void ivshmem_net_rx_xdp(struct ivshmem_net_queue *q, struct bpf_prog *prog,
			       const void *data, u32 len, bool *redirected)
{
	static const struct virtio_net_hdr none;
	struct page *page = page_pool_dev_alloc_pages(q->pages);
	struct xdp_buff xdp;
	struct sk_buff *skb;

	if (!page) {
		ivshmem_net_rx_count(q, IVSHMEM_NET_RX_NO_MEMORY);
		return;
	}
	xdp_init_buff(&xdp, PAGE_SIZE, &q->xdp_rxq);
	xdp_prepare_buff(&xdp, page_address(page), XDP_PACKET_HEADROOM, len, true);
	memcpy(xdp.data, data, len);
	if (!ivshmem_net_xdp_run(q, prog, &xdp, redirected))
		return;

	skb = ivshmem_net_rx_build(page, xdp.data - xdp.data_hard_start,
				   xdp.data_end - xdp.data);
	if (!skb) {
		ivshmem_net_rx_count(q, IVSHMEM_NET_RX_NO_MEMORY);
		page_pool_recycle_direct(q->pages, page);
		return;
	}
	if (xdp.data != xdp.data_meta)
		skb_metadata_set(skb, xdp.data - xdp.data_meta);
	ivshmem_net_rx_deliver(q, skb, &none);
}

static void ivshmem_net_rx_frame(struct ivshmem_net_queue *q,
				 const struct ivn_ring_frame *f,
				 struct bpf_prog *prog, bool *redirected)
{
	u32 header = q->in->header;
	const void *data = f->data + header;
	struct virtio_net_hdr hdr = { };
	struct sk_buff *skb;
	u32 len;

	if (f->len < header + ETH_HLEN) {
		ivshmem_net_rx_count(q, IVSHMEM_NET_RX_BAD_HEADER);
		return;
	}
	len = f->len - header;
	if (len > (prog ? IVSHMEM_NET_XDP_FRAME : IVSHMEM_NET_MAX_FRAME)) {
		ivshmem_net_rx_count(q, IVSHMEM_NET_RX_TOO_LONG);
		return;
	}
	if (prog) {
		ivshmem_net_rx_xdp(q, prog, data, len, redirected);
		return;
	}
	memcpy(&hdr, f->data, header);
	skb = ivshmem_net_rx_skb(q, data, len);
	if (skb)
		ivshmem_net_rx_deliver(q, skb, &hdr);
	else
		ivshmem_net_rx_count(q, IVSHMEM_NET_RX_NO_MEMORY);
}

static void ivshmem_net_rx_publish(struct ivshmem_net_queue *q)
{
	if (!ivn_ring_rx_publish(&q->rx))
		return;
	ivshmem_net_rx_count(q, IVSHMEM_NET_RX_DOORBELLS);
	ivshmem_net_ring_doorbell(q);
}

/* Returns the number of frames, or -EPROTO */
static int ivshmem_net_receive(struct ivshmem_net_queue *q, int budget)
{
	struct bpf_prog *prog;
	struct ivn_ring_frame f;
	bool redirected = false;
	int done = 0, ret = 0;

	rcu_read_lock();
	prog = rcu_dereference(q->in->xdp);
	while (done < budget) {
		ret = ivn_ring_rx_next(&q->rx, &f);
		if (ret <= 0)
			break;
		ivshmem_net_rx_frame(q, &f, prog, &redirected);
		ivn_ring_rx_release(&q->rx, &f);
		if (!(++done % IVSHMEM_NET_PUBLISH_FRAMES))
			ivshmem_net_rx_publish(q);
	}
	if (redirected)
		xdp_do_flush();
	rcu_read_unlock();
	ivshmem_net_rx_publish(q);
	return ret < 0 ? ret : done;
}

/* Whether it is too early to sleep: looking again may be cheaper */
static bool ivshmem_net_rx_linger(struct ivshmem_net_queue *q, int done)
{
	u32 us = READ_ONCE(q->in->rx_poll_us);
	u64 now;

	if (!us)
		return false;
	now = ktime_get_ns();
	if (done)
		q->rx_ns = now;
	return now - q->rx_ns < (u64)us * NSEC_PER_USEC;
}

/*
 * Much of what few frames cost is in napi_complete_done(), and after that the
 * next poll may run on another processor: a sum may get lost, which is no harm.
 */
static void ivshmem_net_rx_measure(struct ivshmem_net_queue *q, u64 start)
{
	u64 now = ktime_get_ns();
	u64 window = now - READ_ONCE(q->load_ns);
	u64 busy = READ_ONCE(q->busy_ns) + now - start;

	if (window < IVSHMEM_NET_LOAD_NS) {
		WRITE_ONCE(q->busy_ns, busy);
		return;
	}
	if (busy > div_u64(window, in_serving_softirq() ?
			   IVSHMEM_NET_LOAD_DIVISOR :
			   IVSHMEM_NET_LOAD_DIVISOR_THREAD))
		ivshmem_net_loaded(q->in);
	WRITE_ONCE(q->load_ns, now);
	WRITE_ONCE(q->busy_ns, 0);
}

/* Polling is to go on in a thread, and this is not it */
static bool ivshmem_net_rx_moves(const struct ivshmem_net_queue *q)
{
	return test_bit(NAPI_STATE_THREADED, &q->napi.state) && in_serving_softirq();
}

int ivshmem_net_poll(struct napi_struct *napi, int budget)
{
	struct ivshmem_net_queue *q = container_of(napi, struct ivshmem_net_queue, napi);
	u64 start;
	int done;

	if (!budget) {
		ivshmem_net_tx_netpoll(q);
		return 0;
	}
	start = ktime_get_ns();
	ivshmem_net_tx_poll(q);
	done = READ_ONCE(q->in->broken) ? 0 : ivshmem_net_receive(q, budget);
	if (done < 0) {
		ivshmem_net_rx_count(q, IVSHMEM_NET_RX_VIOLATIONS);
		ivshmem_net_violation(q, "sent a descriptor that no honest peer sends");
		done = 0;
	}
	if (READ_ONCE(q->in->broken)) {
		napi_complete_done(napi, done);
		return done;
	}
	if (done)
		ivshmem_net_awake(q);
	if (done < budget && !ivshmem_net_rx_linger(q, done) &&
	    !ivn_ring_rx_arm(&q->rx)) {
		napi_complete_done(napi, done);
		ivshmem_net_rx_measure(q, start);
		return done;
	}
	ivshmem_net_rx_measure(q, start);
	if (!ivshmem_net_rx_moves(q))
		return budget;
	/* As if done, for only who is scheduled anew gets into the thread */
	done = min(done, budget - 1);
	napi_complete_done(napi, done);
	napi_schedule(napi);
	return done;
}

int ivshmem_net_rx_start(struct ivshmem_net_queue *q)
{
	struct page_pool_params params = {
		.pool_size = IVSHMEM_NET_POOL_PAGES,
		.nid = NUMA_NO_NODE,
		.dev = &q->in->ivd->pdev->dev,
	};
	int err;

	q->pages = page_pool_create(&params);
	if (IS_ERR(q->pages))
		return PTR_ERR(q->pages);
	err = xdp_rxq_info_reg(&q->xdp_rxq, q->in->dev, q->index, q->napi.napi_id);
	if (err)
		goto err_destroy_pool;
	err = xdp_rxq_info_reg_mem_model(&q->xdp_rxq, MEM_TYPE_PAGE_POOL, q->pages);
	if (err)
		goto err_unreg_rxq;
	return 0;

err_unreg_rxq:
	xdp_rxq_info_unreg(&q->xdp_rxq);
err_destroy_pool:
	page_pool_destroy(q->pages);
	return err;
}

void ivshmem_net_rx_stop(struct ivshmem_net_queue *q)
{
	xdp_rxq_info_unreg(&q->xdp_rxq);
	page_pool_destroy(q->pages);
}
