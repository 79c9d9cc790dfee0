// SPDX-License-Identifier: GPL-2.0
/*
 * drivers/virtio/virtio_ivshmem_pool.c: what is copied when and which way, what
 * is taken and given back, and what callers and peers cannot do to it.
 */
#include <linux/dma-mapping.h>
#include <linux/io.h>
#include <linux/sizes.h>

#include "../../../drivers/virtio/virtio_ivshmem_pool.h"
#include "table.h"

/* A section with a header of no round length; granules of 128 bytes */
#define POOL_SECTION	SZ_64K
#define POOL_START	100
#define POOL_FIRST	128
#define POOL_GRANULE	128
#define POOL_SIZE	(POOL_SECTION - POOL_FIRST)
#define POOL_SLOTS	(POOL_SIZE / POOL_GRANULE)
#define POOL_SHARE	(POOL_SIZE / 4 * 3)
#define POOL_BUF	1000

#define POOL_MINE	0x11
#define POOL_PEERS	0x22
#define POOL_STALE	0x33

struct pool_test {
	struct vi_pool *pool;
	u8 *section;
	u8 *buf;
};

static int pool_init(struct kunit *test)
{
	struct pool_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t);
	t->section = kunit_kmalloc(test, POOL_SECTION, GFP_KERNEL);
	t->buf = kunit_kmalloc(test, POOL_SECTION, GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->section);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->buf);
	memset(t->section, POOL_STALE, POOL_SECTION);
	memset(t->buf, POOL_MINE, POOL_SECTION);
	t->pool = vi_pool_create(t->section, POOL_START, POOL_SECTION);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->pool);
	test->priv = t;
	return 0;
}

static void pool_exit(struct kunit *test)
{
	struct pool_test *t = test->priv;

	if (t)
		vi_pool_destroy(t->pool);
}

static dma_addr_t pool_map(struct pool_test *t, size_t len,
			   enum dma_data_direction dir, unsigned long attrs)
{
	return vi_pool_map(t->pool, virt_to_phys(t->buf), len, dir, attrs);
}

static u64 pool_used(struct pool_test *t)
{
	struct vi_pool_stats stats;

	vi_pool_stats(t->pool, &stats);
	return stats.used;
}

static void pool_expect_bytes(struct kunit *test, const u8 *bytes, u8 value, size_t len)
{
	const u8 *wrong = memchr_inv(bytes, value, len);

	KUNIT_EXPECT_TRUE_MSG(test, !wrong, "byte %td is 0x%x, not 0x%x",
			      wrong ? wrong - bytes : 0, wrong ? *wrong : 0, value);
}

/* Which bytes are where after map, after the peer has written, after unmap */
struct pool_copy_case {
	const char *name;
	enum dma_data_direction dir;
	unsigned long map_attrs, unmap_attrs;
	u8 expected_mapped;
	u8 expected_unmapped;
};

static const struct pool_copy_case pool_copy_cases[] = {
	{ "to the device", DMA_TO_DEVICE, 0, 0, POOL_MINE, POOL_MINE },
	{ "from the device", DMA_FROM_DEVICE, 0, 0, POOL_STALE, POOL_PEERS },
	{ "both ways", DMA_BIDIRECTIONAL, 0, 0, POOL_MINE, POOL_PEERS },
	{ "to the device, later", DMA_TO_DEVICE, DMA_ATTR_SKIP_CPU_SYNC, 0,
	  POOL_STALE, POOL_MINE },
	{ "from the device, not at the end", DMA_FROM_DEVICE, 0,
	  DMA_ATTR_SKIP_CPU_SYNC, POOL_STALE, POOL_MINE },
	{ "both ways, but neither", DMA_BIDIRECTIONAL, DMA_ATTR_SKIP_CPU_SYNC,
	  DMA_ATTR_SKIP_CPU_SYNC, POOL_STALE, POOL_MINE },
};

TABLE_PARAM(pool_copy_cases);

static void pool_test_map_copies(struct kunit *test)
{
	const struct pool_copy_case *c = test->param_value;
	struct pool_test *t = test->priv;
	dma_addr_t addr = pool_map(t, POOL_BUF, c->dir, c->map_attrs);

	KUNIT_ASSERT_NE(test, addr, DMA_MAPPING_ERROR);
	pool_expect_bytes(test, t->section, POOL_STALE, addr);
	pool_expect_bytes(test, t->section + addr, c->expected_mapped, POOL_BUF);
	pool_expect_bytes(test, t->section + addr + POOL_BUF, POOL_STALE,
			  POOL_SECTION - addr - POOL_BUF);

	memset(t->section + addr, POOL_PEERS, POOL_BUF);
	vi_pool_unmap(t->pool, addr, c->unmap_attrs);
	pool_expect_bytes(test, t->buf, c->expected_unmapped, POOL_BUF);
	pool_expect_bytes(test, t->buf + POOL_BUF, POOL_MINE, POOL_SECTION - POOL_BUF);
	KUNIT_EXPECT_EQ(test, pool_used(t), 0ULL);
}

/*
 * A range of a mapping of POOL_BUF bytes, whose copy the peer has filled:
 * where the range ends up, or that nothing is touched.
 */
struct pool_sync_case {
	const char *name;
	enum dma_data_direction dir;
	size_t offset, len;
	bool for_cpu;
	bool expected;
};

static const struct pool_sync_case pool_sync_cases[] = {
	{ "all for the CPU", DMA_FROM_DEVICE, 0, POOL_BUF, true, true },
	{ "first byte for the CPU", DMA_FROM_DEVICE, 0, 1, true, true },
	{ "last byte for the CPU", DMA_FROM_DEVICE, POOL_BUF - 1, 1, true, true },
	{ "middle for the CPU, both ways", DMA_BIDIRECTIONAL, 333, 444, true, true },
	{ "for the CPU, but to the device", DMA_TO_DEVICE, 333, 444, true, false },
	{ "all for the device", DMA_TO_DEVICE, 0, POOL_BUF, false, true },
	{ "middle for the device", DMA_TO_DEVICE, 333, 444, false, true },
	{ "middle for the device, from the device", DMA_FROM_DEVICE, 333, 444, false,
	  true },
	{ "nothing", DMA_BIDIRECTIONAL, 333, 0, true, false },
	{ "a byte too many for the CPU", DMA_FROM_DEVICE, 0, POOL_BUF + 1, true, false },
	{ "a byte too many for the device", DMA_TO_DEVICE, 1, POOL_BUF, false, false },
	{ "length that overflows", DMA_BIDIRECTIONAL, 1, SIZE_MAX, false, false },
	{ "behind the mapping", DMA_BIDIRECTIONAL, 2 * POOL_BUF, 1, false, false },
	{ "behind the pool", DMA_BIDIRECTIONAL, POOL_SECTION, 1, true, false },
	{ "before the pool", DMA_BIDIRECTIONAL, -POOL_FIRST, 1, true, false },
};

TABLE_PARAM(pool_sync_cases);

static void pool_test_sync_copies(struct kunit *test)
{
	const struct pool_sync_case *c = test->param_value;
	struct pool_test *t = test->priv;
	dma_addr_t addr = pool_map(t, POOL_BUF, c->dir, 0);
	u8 *from = t->section + addr, *to = t->buf;
	u8 old = POOL_MINE, new = POOL_PEERS;
	size_t copied = c->expected ? c->len : 0;
	size_t offset = c->expected ? c->offset : 0;

	memset(t->section + addr, POOL_PEERS, POOL_BUF);
	vi_pool_sync(t->pool, addr + c->offset, c->len, c->for_cpu);
	if (!c->for_cpu) {
		swap(from, to);
		swap(old, new);
	}
	pool_expect_bytes(test, from, new, POOL_BUF);
	pool_expect_bytes(test, to, old, offset);
	pool_expect_bytes(test, to + offset, new, copied);
	pool_expect_bytes(test, to + offset + copied, old, POOL_BUF - offset - copied);
	vi_pool_unmap(t->pool, addr, 0);
}

/* As the ring code may do if a peer confuses it */
static void pool_test_unmap_twice(struct kunit *test)
{
	struct pool_test *t = test->priv;
	dma_addr_t first = pool_map(t, POOL_BUF, DMA_FROM_DEVICE, 0);
	dma_addr_t other = pool_map(t, POOL_BUF, DMA_TO_DEVICE, 0);

	vi_pool_unmap(t->pool, first, 0);
	memset(t->buf, POOL_MINE, POOL_BUF);
	vi_pool_unmap(t->pool, first, 0);
	pool_expect_bytes(test, t->buf, POOL_MINE, POOL_BUF);
	KUNIT_EXPECT_EQ(test, pool_used(t), 1024ULL);
	vi_pool_unmap(t->pool, other, 0);
	KUNIT_EXPECT_EQ(test, pool_used(t), 0ULL);
}

static void pool_test_unmap_foreign(struct kunit *test)
{
	struct pool_test *t = test->priv;
	dma_addr_t addr = pool_map(t, POOL_BUF, DMA_FROM_DEVICE, 0);
	dma_addr_t foreign[] = {
		0, 1, POOL_START, POOL_FIRST - 1, addr + 1, addr - 1,
		addr + POOL_GRANULE, addr + POOL_BUF, addr + 1024,
		POOL_SECTION - POOL_GRANULE, POOL_SECTION - 1, POOL_SECTION,
		POOL_SECTION + addr, BIT_ULL(32) + addr, BIT_ULL(63) + addr,
		DMA_MAPPING_ERROR,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(foreign); i++) {
		vi_pool_unmap(t->pool, foreign[i], 0);
		vi_pool_free(t->pool, foreign[i]);
	}
	vi_pool_free(t->pool, addr);	/* is no ring */
	pool_expect_bytes(test, t->buf, POOL_MINE, POOL_BUF);
	KUNIT_EXPECT_EQ(test, pool_used(t), 1024ULL);
	vi_pool_unmap(t->pool, addr, 0);
	KUNIT_EXPECT_EQ(test, pool_used(t), 0ULL);
}

struct pool_len_case {
	const char *name;
	size_t len;
	u64 expected_used;	/* 0 = refused */
};

static const struct pool_len_case pool_len_cases[] = {
	{ "nothing", 0, 0 },
	{ "one byte", 1, POOL_GRANULE },
	{ "one granule", POOL_GRANULE, POOL_GRANULE },
	{ "one byte more", POOL_GRANULE + 1, 2 * POOL_GRANULE },
	{ "all that one direction may have", POOL_SHARE / POOL_GRANULE * POOL_GRANULE,
	  POOL_SHARE / POOL_GRANULE * POOL_GRANULE },
	{ "more than that", POOL_SHARE + 1, 0 },
	{ "the whole pool", POOL_SIZE, 0 },
	{ "more than the pool", POOL_SIZE + 1, 0 },
	{ "4 GiB", BIT_ULL(32), 0 },
	{ "length that overflows", SIZE_MAX, 0 },
};

TABLE_PARAM(pool_len_cases);

/* Kept until it is unmapped and freed, and only if the peer does not write it */
static void pool_test_keep(struct kunit *test)
{
	struct pool_test *t = test->priv;
	dma_addr_t addr = pool_map(t, POOL_BUF, DMA_TO_DEVICE, 0);
	u64 used = pool_used(t);

	vi_pool_free(t->pool, addr);		/* not kept yet */
	vi_pool_keep(t->pool, addr + POOL_GRANULE);
	vi_pool_keep(t->pool, 0);
	vi_pool_keep(t->pool, POOL_SECTION);
	KUNIT_EXPECT_EQ(test, pool_used(t), used);
	vi_pool_keep(t->pool, addr);
	vi_pool_keep(t->pool, addr);
	vi_pool_unmap(t->pool, addr, 0);
	KUNIT_EXPECT_EQ(test, pool_used(t), used);
	pool_expect_bytes(test, t->section + addr, POOL_MINE, POOL_BUF);
	vi_pool_free(t->pool, addr);
	KUNIT_EXPECT_EQ(test, pool_used(t), 0ULL);
	vi_pool_keep(t->pool, addr);
	vi_pool_free(t->pool, addr);
	vi_pool_unmap(t->pool, addr, 0);
	KUNIT_EXPECT_EQ(test, pool_used(t), 0ULL);

	/* freed first: the place is nobody's before it is unmapped too */
	addr = pool_map(t, POOL_BUF, DMA_TO_DEVICE, 0);
	vi_pool_keep(t->pool, addr);
	vi_pool_free(t->pool, addr);
	KUNIT_EXPECT_EQ(test, pool_used(t), used);
	KUNIT_EXPECT_NE(test, pool_map(t, POOL_BUF, DMA_TO_DEVICE, 0), addr);
	vi_pool_unmap(t->pool, addr, 0);
	KUNIT_EXPECT_EQ(test, pool_used(t), used);
	KUNIT_EXPECT_EQ(test, pool_map(t, POOL_BUF, DMA_TO_DEVICE, 0), addr);
	vi_pool_unmap(t->pool, addr, 0);
	vi_pool_unmap(t->pool, addr + ALIGN(POOL_BUF, POOL_GRANULE), 0);
	KUNIT_EXPECT_EQ(test, pool_used(t), 0ULL);

	addr = pool_map(t, POOL_BUF, DMA_FROM_DEVICE, 0);
	vi_pool_keep(t->pool, addr);
	vi_pool_free(t->pool, addr);
	KUNIT_EXPECT_EQ(test, pool_used(t), used);
	vi_pool_unmap(t->pool, addr, 0);
	KUNIT_EXPECT_EQ(test, pool_used(t), 0ULL);
}

static void pool_test_map_length(struct kunit *test)
{
	const struct pool_len_case *c = test->param_value;
	struct pool_test *t = test->priv;
	dma_addr_t addr = pool_map(t, c->len, DMA_TO_DEVICE, DMA_ATTR_SKIP_CPU_SYNC);
	struct vi_pool_stats stats;

	vi_pool_stats(t->pool, &stats);
	KUNIT_EXPECT_EQ(test, addr != DMA_MAPPING_ERROR, c->expected_used > 0);
	KUNIT_EXPECT_EQ(test, stats.used, c->expected_used);
	KUNIT_EXPECT_EQ(test, stats.maps, (u64)!!c->expected_used);
	KUNIT_EXPECT_EQ(test, stats.failures, (u64)!c->expected_used);
	vi_pool_unmap(t->pool, addr, 0);
	KUNIT_EXPECT_EQ(test, pool_used(t), 0ULL);
}

/* Maps until it is refused; marks what it gets, so that nothing is given twice */
static unsigned int pool_fill(struct kunit *test, dma_addr_t *addrs,
			      enum dma_data_direction dir)
{
	struct pool_test *t = test->priv;
	unsigned int n;

	for (n = 0; n <= POOL_SLOTS; n++) {
		addrs[n] = pool_map(t, POOL_GRANULE, dir, DMA_ATTR_SKIP_CPU_SYNC);
		if (addrs[n] == DMA_MAPPING_ERROR)
			break;
		KUNIT_ASSERT_GE(test, addrs[n], (dma_addr_t)POOL_FIRST);
		KUNIT_ASSERT_LE(test, addrs[n], (dma_addr_t)POOL_SECTION - POOL_GRANULE);
		KUNIT_ASSERT_EQ(test, addrs[n] % POOL_GRANULE, 0ULL);
		pool_expect_bytes(test, t->section + addrs[n], POOL_STALE, POOL_GRANULE);
		memset(t->section + addrs[n], POOL_PEERS, POOL_GRANULE);
	}
	return n;
}

static void pool_drain(struct pool_test *t, const dma_addr_t *addrs, unsigned int n)
{
	while (n--)
		vi_pool_unmap(t->pool, addrs[n], DMA_ATTR_SKIP_CPU_SYNC);
}

/* No direction gets all, and what one leaves is there for the other */
static void pool_test_map_exhaustion(struct kunit *test)
{
	struct pool_test *t = test->priv;
	unsigned int in_all, out_all, round;
	struct vi_pool_stats stats;
	dma_addr_t *in, *out;

	in = kunit_kcalloc(test, POOL_SLOTS + 1, sizeof(*in), GFP_KERNEL);
	out = kunit_kcalloc(test, POOL_SLOTS + 1, sizeof(*out), GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, in);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, out);
	for (round = 0; round < 3; round++) {
		memset(t->section, POOL_STALE, POOL_SECTION);
		in_all = pool_fill(test, in, DMA_FROM_DEVICE);
		out_all = pool_fill(test, out, DMA_TO_DEVICE);
		KUNIT_EXPECT_EQ(test, in_all, (unsigned int)POOL_SHARE / POOL_GRANULE);
		KUNIT_EXPECT_EQ(test, in_all + out_all, (unsigned int)POOL_SLOTS);
		pool_expect_bytes(test, t->section, POOL_STALE, POOL_FIRST);
		pool_expect_bytes(test, t->section + POOL_FIRST, POOL_PEERS, POOL_SIZE);
		KUNIT_EXPECT_EQ(test, pool_map(t, 1, DMA_BIDIRECTIONAL, 0),
				DMA_MAPPING_ERROR);
		pool_drain(t, in, in_all);
		pool_drain(t, out, out_all);
		KUNIT_EXPECT_EQ(test, pool_used(t), 0ULL);
	}
	vi_pool_stats(t->pool, &stats);
	KUNIT_EXPECT_EQ(test, stats.size, (u64)POOL_SIZE);
	KUNIT_EXPECT_EQ(test, stats.peak, (u64)POOL_SIZE);
	KUNIT_EXPECT_EQ(test, stats.maps, 3ULL * POOL_SLOTS);
	KUNIT_EXPECT_EQ(test, stats.failures, 9ULL);
}

/* After that what the peer wrote is nothing that anybody should read */
static void pool_test_fail_refuses(struct kunit *test)
{
	struct pool_test *t = test->priv;
	dma_addr_t in = pool_map(t, POOL_BUF, DMA_FROM_DEVICE, 0);

	memset(t->section + in, POOL_PEERS, POOL_BUF);
	vi_pool_fail(t->pool);
	vi_pool_sync(t->pool, in, POOL_BUF, true);
	pool_expect_bytes(test, t->buf, POOL_MINE, POOL_BUF);
	vi_pool_unmap(t->pool, in, 0);
	pool_expect_bytes(test, t->buf, POOL_MINE, POOL_BUF - 1);
	KUNIT_EXPECT_EQ(test, t->buf[POOL_BUF - 1], (u8)1);
	KUNIT_EXPECT_EQ(test, pool_used(t), 0ULL);
}

static void pool_test_fail_leaves_output(struct kunit *test)
{
	struct pool_test *t = test->priv;
	dma_addr_t out = pool_map(t, POOL_BUF, DMA_TO_DEVICE, 0);
	dma_addr_t skip = pool_map(t, POOL_BUF, DMA_FROM_DEVICE, 0);

	vi_pool_fail(t->pool);
	vi_pool_unmap(t->pool, out, 0);
	vi_pool_unmap(t->pool, skip, DMA_ATTR_SKIP_CPU_SYNC);
	pool_expect_bytes(test, t->buf, POOL_MINE, POOL_BUF);
	KUNIT_EXPECT_EQ(test, pool_used(t), 0ULL);
}

static void pool_test_alloc_ring(struct kunit *test)
{
	struct pool_test *t = test->priv;
	dma_addr_t addr = 0;
	u8 *ring = vi_pool_alloc(t->pool, POOL_BUF, &addr);

	KUNIT_ASSERT_PTR_EQ(test, ring, t->section + addr);
	KUNIT_EXPECT_GE(test, addr, (dma_addr_t)POOL_FIRST);
	pool_expect_bytes(test, ring, 0, POOL_BUF);
	pool_expect_bytes(test, ring + POOL_BUF, POOL_STALE, POOL_GRANULE);

	/* only its owner frees it, and nothing of it is copied */
	vi_pool_unmap(t->pool, addr, 0);
	vi_pool_sync(t->pool, addr, POOL_BUF, false);
	vi_pool_sync(t->pool, addr, POOL_BUF, true);
	pool_expect_bytes(test, ring, 0, POOL_BUF);
	KUNIT_EXPECT_EQ(test, pool_used(t), 1024ULL);
	vi_pool_free(t->pool, addr + POOL_GRANULE);
	KUNIT_EXPECT_EQ(test, pool_used(t), 1024ULL);
	vi_pool_free(t->pool, addr);
	vi_pool_free(t->pool, addr);
	KUNIT_EXPECT_EQ(test, pool_used(t), 0ULL);
}

static void pool_test_alloc_limit(struct kunit *test)
{
	struct pool_test *t = test->priv;
	dma_addr_t addr, other;

	KUNIT_EXPECT_TRUE(test, !vi_pool_alloc(t->pool, POOL_SIZE + 1, &addr));
	KUNIT_EXPECT_TRUE(test, !vi_pool_alloc(t->pool, 0, &addr));
	KUNIT_ASSERT_TRUE(test, vi_pool_alloc(t->pool, POOL_SIZE, &addr));
	KUNIT_EXPECT_EQ(test, addr, (dma_addr_t)POOL_FIRST);
	pool_expect_bytes(test, t->section, POOL_STALE, POOL_FIRST);
	pool_expect_bytes(test, t->section + POOL_FIRST, 0, POOL_SIZE);
	KUNIT_EXPECT_TRUE(test, !vi_pool_alloc(t->pool, 1, &other));
	KUNIT_EXPECT_EQ(test, pool_map(t, 1, DMA_FROM_DEVICE, 0), DMA_MAPPING_ERROR);
	vi_pool_free(t->pool, addr);
}

/* What drivers leave behind goes with the pool */
static void pool_test_destroy_in_use(struct kunit *test)
{
	struct pool_test *t = test->priv;
	dma_addr_t addr;

	KUNIT_EXPECT_NE(test, pool_map(t, POOL_BUF, DMA_FROM_DEVICE, 0),
			DMA_MAPPING_ERROR);
	KUNIT_EXPECT_TRUE(test, vi_pool_alloc(t->pool, POOL_BUF, &addr));
	/* pool_exit() would say so if it did not */
}

/* Where no copy is made no memory is needed: pools of any size */
struct pool_size_case {
	const char *name;
	u64 start, end;
	u64 expected_first, expected_granule;
};

static const struct pool_size_case pool_size_cases[] = {
	{ "most slots of the smallest granule", 128, 128 + SZ_8M, 128, 128 },
	{ "one more slot than that", 128, 256 + SZ_8M, 256, 256 },
	{ "64 MiB", 76, SZ_64M, 1024, 1024 },
	{ "8 GiB", 4096, 8ULL * SZ_1G, SZ_128K, SZ_128K },
	{ "far up", 1ULL << 46, (1ULL << 46) + SZ_4G,
	  1ULL << 46, SZ_64K },
};

TABLE_PARAM(pool_size_cases);

static void pool_test_create_size(struct kunit *test)
{
	const struct pool_size_case *c = test->param_value;
	struct vi_pool *pool = vi_pool_create(NULL, c->start, c->end);
	dma_addr_t first, last, addr;
	struct vi_pool_stats stats;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, pool);
	first = vi_pool_map(pool, 0, 1, DMA_TO_DEVICE, DMA_ATTR_SKIP_CPU_SYNC);
	KUNIT_EXPECT_EQ(test, first, c->expected_first);
	vi_pool_stats(pool, &stats);
	KUNIT_EXPECT_EQ(test, stats.used, c->expected_granule);
	KUNIT_EXPECT_EQ(test, stats.size, round_down(c->end, c->expected_granule) -
					  c->expected_first);

	/* the last granule lies behind two halves of what is left */
	addr = vi_pool_map(pool, 0, stats.size / 2, DMA_TO_DEVICE,
			   DMA_ATTR_SKIP_CPU_SYNC);
	KUNIT_EXPECT_EQ(test, addr, first + c->expected_granule);
	do {
		last = addr;
		addr = vi_pool_map(pool, 0, c->expected_granule * 512, DMA_FROM_DEVICE,
				   DMA_ATTR_SKIP_CPU_SYNC);
	} while (addr != DMA_MAPPING_ERROR);
	KUNIT_EXPECT_GT(test, last + c->expected_granule * 1024, c->end - c->expected_granule);
	KUNIT_EXPECT_LE(test, last + c->expected_granule * 512, c->end);
	vi_pool_destroy(pool);
}

static struct kunit_case pool_cases[] = {
	KUNIT_CASE_PARAM(pool_test_map_copies, pool_copy_cases_gen_params),
	KUNIT_CASE_PARAM(pool_test_map_length, pool_len_cases_gen_params),
	KUNIT_CASE(pool_test_map_exhaustion),
	KUNIT_CASE_PARAM(pool_test_sync_copies, pool_sync_cases_gen_params),
	KUNIT_CASE(pool_test_unmap_twice),
	KUNIT_CASE(pool_test_unmap_foreign),
	KUNIT_CASE(pool_test_keep),
	KUNIT_CASE(pool_test_fail_refuses),
	KUNIT_CASE(pool_test_fail_leaves_output),
	KUNIT_CASE(pool_test_alloc_ring),
	KUNIT_CASE(pool_test_alloc_limit),
	KUNIT_CASE_PARAM(pool_test_create_size, pool_size_cases_gen_params),
	KUNIT_CASE(pool_test_destroy_in_use),
	{}
};

static struct kunit_suite pool_suite = {
	.name = "virtio_ivshmem_pool",
	.init = pool_init,
	.exit = pool_exit,
	.test_cases = pool_cases,
};

kunit_test_suite(pool_suite);
