// SPDX-License-Identifier: GPL-2.0
/*
 * Table tests of what is pure arithmetic: where rings and queues lie, against
 * numbers computed by hand; how many queues are offered; what two offers come
 * to. Sizes and offsets of the wire format are pinned against literals.
 * Prints one line a case, exits 1 if one is wrong.
 */
#include "section.h"
#include "../kunit/net_link_cases.h"
#include "../kunit/net_ring_cases.h"

#define KIB 1024ULL
#define MIB (1024 * KIB)

static bool layout_check(const struct ring_layout_case *c)
{
	const struct ivn_ring_layout *e = &c->expected;
	struct ivn_ring_layout l;
	int err = c->n || c->q ?
		  ivn_ring_queue_layout(&l, c->bytes, c->n, c->q) :
		  ivn_ring_layout(&l, c->bytes);

	if (c->expected_err)
		return err == c->expected_err;
	return !err && l.qlen == e->qlen && l.header == e->header &&
	       l.desc == e->desc && l.avail == e->avail && l.used == e->used &&
	       l.data == e->data && l.data_end == e->data_end &&
	       l.send_end == e->send_end;
}

/*
 * The flags that announce the extension, and the extension, lie in nobody's
 * rings or data; queues do not overlap.
 */
static bool layout_apart(uint64_t bytes, unsigned int n)
{
	struct ivn_ring_layout whole, l;
	uint64_t end;
	unsigned int q;

	if (ivn_ring_layout(&whole, bytes))
		return false;
	for (q = 0, end = whole.header; q < n; q++, end = l.send_end) {
		if (ivn_ring_queue_layout(&l, bytes, n, q) || l.desc < end ||
		    l.data != l.desc + l.header || l.send_end <= l.data)
			return false;
	}
	return end <= bytes - 64;
}

static bool layout_all_apart(void)
{
	uint64_t bytes;
	unsigned int n;

	for (bytes = 4 * KIB; bytes < 4 * MIB; bytes += 4 * KIB)
		for (n = 2; n <= ivn_ring_max_queues(bytes, 9); n++)
			if (!layout_apart(bytes, n))
				return false;
	return true;
}

static bool agree_check(const struct link_agree_case *c)
{
	struct ivn_link_agreed a;

	ivn_link_agree(&a, c->mine.queues ? &c->mine : NULL,
		       c->peer.queues ? &c->peer : NULL, 9);
	return a.queues == c->expected.queues && a.vectors == c->expected.vectors &&
	       a.vnet_hdr == c->expected.vnet_hdr &&
	       a.features == c->expected.features &&
	       a.max_frame == c->expected.max_frame &&
	       a.max_gso == c->expected.max_gso &&
	       ivn_link_vector(&a, a.queues - 1) == c->expected_last_vector;
}

/* The extension, written and read back, then one byte of it another one */
static bool ext_check(const struct link_offer_case *c)
{
	struct ivn_link_offer peer;
	uint8_t *section = malloc(LINK_SECTION_BYTES);
	bool ok;

	memset(section, 0xff, LINK_SECTION_BYTES);
	ok = !ivn_link_prepare(section, LINK_SECTION_BYTES, &link_offer) &&
	     ivn_link_read_offer(&peer, section, LINK_SECTION_BYTES) &&
	     !memcmp(&link_offer, &peer, sizeof(peer));
	section[c->offset] = c->value;
	ok = ok && ivn_link_read_offer(&peer, section, LINK_SECTION_BYTES) == c->expected;
	free(section);
	return ok;
}

/* What is cleared: the rings of every layout offered, and nothing that is data */
static bool prepare_check(unsigned int offered)
{
	const struct ivn_link_offer mine = { offered, 0, 100, 0, 9 };
	uint8_t *section = malloc(MIB), *zero = calloc(1, MIB);
	struct ivn_ring_layout l;
	unsigned int n, q;
	bool ok = true;

	memset(section, 0xff, MIB);
	ivn_link_prepare(section, MIB, &mine);
	section[65537] = 0;	/* IVSHMEM_NET_AVAIL_F_EXT */
	for (n = 1; n <= offered; n++)
		for (q = 0; q < n; q++) {
			ivn_ring_queue_layout(&l, MIB, n, q);
			ok = ok && !memcmp(section + l.desc, zero, l.header);
		}
	ok = ok && section[106624] == 0xff && section[MIB - 65] == 0xff &&
	     section[MIB - 1] == 0;
	free(section);
	free(zero);
	return ok;
}

static bool prepare_plain_check(void)
{
	uint8_t *section = malloc(4 * KIB);
	struct ivn_link_offer peer;
	bool ok;

	memset(section, 0xff, 4 * KIB);
	ok = !ivn_link_prepare(section, 4 * KIB, NULL) &&
	     !section[0] && !section[959] && section[960] == 0xff &&
	     !section[512] && !section[513] && !section[4 * KIB - 64] &&
	     !ivn_link_read_offer(&peer, section, 4 * KIB) &&
	     ivn_link_prepare(section, KIB, NULL) == -ENOSPC;
	free(section);
	return ok;
}

/* The wire format, byte for byte */
#define PIN(type, member, offset) \
	_Static_assert(offsetof(struct type, member) == (offset), #member)

PIN(ivshmem_net_desc, addr, 0);
PIN(ivshmem_net_desc, len, 8);
PIN(ivshmem_net_desc, flags, 12);
PIN(ivshmem_net_desc, next, 14);
_Static_assert(sizeof(struct ivshmem_net_desc) == 16, "descriptor");
PIN(ivshmem_net_avail, flags, 0);
PIN(ivshmem_net_avail, idx, 2);
PIN(ivshmem_net_avail, ring, 4);
PIN(ivshmem_net_used, flags, 0);
PIN(ivshmem_net_used, idx, 2);
PIN(ivshmem_net_used, ring, 4);
PIN(ivshmem_net_used_elem, id, 0);
PIN(ivshmem_net_used_elem, len, 4);
_Static_assert(sizeof(struct ivshmem_net_used_elem) == 8, "used element");
PIN(ivshmem_net_ext, magic, 0);
PIN(ivshmem_net_ext, version, 4);
PIN(ivshmem_net_ext, queues, 6);
PIN(ivshmem_net_ext, features, 8);
PIN(ivshmem_net_ext, max_frame, 12);
PIN(ivshmem_net_ext, max_gso, 16);
PIN(ivshmem_net_ext, vectors, 20);
PIN(ivshmem_net_ext, reserved, 24);
_Static_assert(sizeof(struct ivshmem_net_ext) == 64, "extension");
_Static_assert(IVSHMEM_NET_EXT_MAGIC == 0x584e5649 &&
	       IVSHMEM_NET_AVAIL_F_EXT == 0x8000 && IVSHMEM_NET_MAX_QUEUES == 8,
	       "extension");
_Static_assert(IVSHMEM_NET_STATE_RESET == 0 && IVSHMEM_NET_STATE_INIT == 1 &&
	       IVSHMEM_NET_STATE_READY == 2 && IVSHMEM_NET_STATE_RUN == 3, "states");
_Static_assert(IVSHMEM_NET_F_VNET_HDR == 1 && IVSHMEM_NET_F_CSUM == 2 &&
	       IVSHMEM_NET_F_TSO4 == 4 && IVSHMEM_NET_F_TSO6 == 8 &&
	       IVSHMEM_NET_F_USO == 16, "features");

static unsigned int layout_bad;

static void layout_report(const char *what, const char *name, bool ok)
{
	printf("%s: %s: %s\n", ok ? "ok" : "WRONG", what, name);
	layout_bad += !ok;
}

/* The events lie where a split virtqueue has them */
static bool layout_events(void)
{
	static uint8_t section[64 * 1024] __attribute__((aligned(64)));
	struct ivn_ring_layout l;

	ivn_ring_layout(&l, sizeof(section));
	return (uint8_t *)ivn_ring_used_event(section, &l) == section + 4612 &&
	       (uint8_t *)ivn_ring_avail_event(section, &l) == section + 6724;
}

int main(void)
{
	unsigned int i;

	for (i = 0; i < RING_ARRAY_SIZE(ring_layout_cases); i++)
		layout_report("layout", ring_layout_cases[i].name,
			      layout_check(&ring_layout_cases[i]));
	layout_report("layout", "queues overlap neither each other nor the extension",
		      layout_all_apart());
	layout_report("layout", "events", layout_events());
	for (i = 0; i < RING_ARRAY_SIZE(ring_queues_cases); i++)
		layout_report("offer", ring_queues_cases[i].name,
			      ivn_ring_max_queues(ring_queues_cases[i].bytes,
						  ring_queues_cases[i].vectors) ==
			      ring_queues_cases[i].expected);
	for (i = 0; i < RING_ARRAY_SIZE(link_agree_cases); i++)
		layout_report("agree", link_agree_cases[i].name,
			      agree_check(&link_agree_cases[i]));
	for (i = 0; i < RING_ARRAY_SIZE(link_offer_cases); i++)
		layout_report("extension", link_offer_cases[i].name,
			      ext_check(&link_offer_cases[i]));
	layout_report("prepare", "one queue offered", prepare_check(1));
	layout_report("prepare", "eight queues offered", prepare_check(8));
	layout_report("prepare", "no extension", prepare_plain_check());
	return layout_bad ? 1 : 0;
}
