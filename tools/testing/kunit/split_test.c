// SPDX-License-Identifier: GPL-2.0
/*
 * drivers/virtio/virtio_ivshmem_split.c: what the back end used comes to
 * virtio_ring once and only if it was given, what is posted comes back at once
 * and goes out once, and nothing is left when the back end is gone. The test is
 * the driver, on top, and the back end, below.
 */
#include <linux/scatterlist.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "../../../drivers/virtio/virtio_ivshmem_split.h"
#include "table.h"

#define SPLIT_NUM	8
#define SPLIT_ALIGN	64
#define SPLIT_LEN	100
#define SPLIT_SECTION	SZ_64K

struct split_test {
	struct virtio_device vdev;
	struct virtqueue *vq;
	void *own;
	void *shared;
	struct vi_split split;
	struct vi_pool *pool;
	char token[2 * SPLIT_NUM];
	u16 used;
};

static bool split_notify(struct virtqueue *vq)
{
	return true;
}

static int split_init(struct kunit *test)
{
	struct split_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	size_t size = vring_size(SPLIT_NUM, SPLIT_ALIGN);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t);
	t->own = kunit_kzalloc(test, size, GFP_KERNEL);
	t->shared = kunit_kzalloc(test, size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->own);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->shared);
	INIT_LIST_HEAD(&t->vdev.vqs);
	spin_lock_init(&t->vdev.vqs_list_lock);
	__virtio_set_bit(&t->vdev, VIRTIO_F_VERSION_1);
	t->vq = vring_new_virtqueue(0, SPLIT_NUM, SPLIT_ALIGN, &t->vdev, true, false,
				    t->own, split_notify, NULL, "split");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->vq);
	test->priv = t;
	return vi_split_init(&t->split, t->vq, t->shared, SPLIT_ALIGN, false, NULL);
}

/* Begin again, with a ring that posts */
static void split_init_posts(struct kunit *test)
{
	struct split_test *t = test->priv;
	void *section = kunit_kzalloc(test, SPLIT_SECTION, GFP_KERNEL);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, section);
	t->pool = vi_pool_create(section, SPLIT_ALIGN, SPLIT_SECTION);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, t->pool);
	vi_split_exit(&t->split);
	KUNIT_ASSERT_EQ(test, 0, vi_split_init(&t->split, t->vq, t->shared, SPLIT_ALIGN,
					       false, t->pool));
}

static void split_exit(struct kunit *test)
{
	struct split_test *t = test->priv;

	if (!t)
		return;
	vi_split_exit(&t->split);
	vring_del_virtqueue(t->vq);
	if (t->pool)
		vi_pool_destroy(t->pool);
}

/* The driver sends the tokens from @first to @end */
static void split_send(struct kunit *test, unsigned int first, unsigned int end)
{
	struct split_test *t = test->priv;
	struct scatterlist sg;

	for (; first < end; first++) {
		sg_init_one(&sg, &t->token[first], 1);
		KUNIT_ASSERT_EQ(test, 0, virtqueue_add_outbuf(t->vq, &sg, 1,
							      &t->token[first],
							      GFP_KERNEL));
	}
	virtqueue_kick(t->vq);
}

/* The head of the buffer that became available as the @index-th */
static u32 split_head(struct split_test *t, u16 index)
{
	return le16_to_cpu((__force __le16)t->split.shared.avail->ring[index % SPLIT_NUM]);
}

/* The back end says that it used @head; seen when it is pulled */
static void split_use(struct split_test *t, u32 head)
{
	struct vring_used *used = t->split.shared.used;

	used->ring[t->used % SPLIT_NUM].id = (__force __virtio32)cpu_to_le32(head);
	used->ring[t->used % SPLIT_NUM].len = (__force __virtio32)cpu_to_le32(SPLIT_LEN);
	used->idx = (__force __virtio16)cpu_to_le16(++t->used);
}

/* Which token the driver gets next, -1 if none */
static long split_get(struct split_test *t, unsigned int *len)
{
	char *token = virtqueue_get_buf(t->vq, len);

	return token ? token - t->token : -1;
}

static void split_test_pull_keeps_the_order_of_use(struct kunit *test)
{
	static const long order[] = { 2, 0, 1 };
	struct split_test *t = test->priv;
	unsigned int i, round, len;

	/* with 3 of 8, rounds begin anywhere in the ring */
	for (round = 0; round < 3 * SPLIT_NUM; round++) {
		split_send(test, 0, ARRAY_SIZE(order));
		vi_split_push(&t->split);
		for (i = 0; i < ARRAY_SIZE(order); i++)
			split_use(t, split_head(t, round * ARRAY_SIZE(order) + order[i]));
		KUNIT_EXPECT_EQ(test, 0, vi_split_pull(&t->split));
		for (i = 0; i < ARRAY_SIZE(order); i++) {
			KUNIT_EXPECT_EQ(test, order[i], split_get(t, &len));
			KUNIT_EXPECT_EQ(test, SPLIT_LEN, len);
		}
		KUNIT_EXPECT_EQ(test, -1, split_get(t, &len));
	}
}

/* Three are sent, two of them pushed; the first is used, then comes the lie */
struct split_lie_case {
	const char *name;
	u16 of;		/* a head that is */
	u32 plus;
};

static const struct split_lie_case split_lie_cases[] = {
	{ "once more", 0, 0 },
	{ "not pushed yet", 1, 1 },
	{ "never given", 1, 3 },
	{ "beyond the ring", 0, SPLIT_NUM },
	{ "beyond 16 bits", 1, 0x10000 },
	{ "beyond 31 bits", 1, 0x80000000 },
};

TABLE_PARAM(split_lie_cases);

static void split_test_pull_refuses_what_was_not_given(struct kunit *test)
{
	const struct split_lie_case *c = test->param_value;
	struct split_test *t = test->priv;
	unsigned int len;

	split_send(test, 0, 2);
	vi_split_push(&t->split);
	split_send(test, 2, 3);
	split_use(t, split_head(t, 0));
	split_use(t, split_head(t, c->of) + c->plus);
	KUNIT_EXPECT_EQ(test, -EPROTO, vi_split_pull(&t->split));

	/* what was right before it, and nothing else */
	KUNIT_EXPECT_EQ(test, 0, split_get(t, &len));
	KUNIT_EXPECT_EQ(test, -1, split_get(t, &len));
	KUNIT_EXPECT_FALSE(test, virtqueue_is_broken(t->vq));

	vi_split_swallow(&t->split);
	KUNIT_EXPECT_EQ(test, 1, split_get(t, &len));
	KUNIT_EXPECT_EQ(test, 2, split_get(t, &len));
	KUNIT_EXPECT_EQ(test, -1, split_get(t, &len));
}

static void split_test_swallow_uses_each_once(struct kunit *test)
{
	struct split_test *t = test->priv;
	unsigned int seen = 0, len;
	long token;

	split_send(test, 0, 6);
	vi_split_push(&t->split);
	split_send(test, 6, SPLIT_NUM);		/* not pushed */
	split_use(t, split_head(t, 3));		/* pulled and found */
	KUNIT_EXPECT_EQ(test, 0, vi_split_pull(&t->split));
	KUNIT_EXPECT_EQ(test, 3, split_get(t, &len));
	split_use(t, split_head(t, 5));		/* pulled, not found yet */
	KUNIT_EXPECT_EQ(test, 0, vi_split_pull(&t->split));
	split_use(t, split_head(t, 0));		/* not pulled */

	vi_split_swallow(&t->split);
	KUNIT_EXPECT_EQ(test, 5, split_get(t, &len));
	KUNIT_EXPECT_EQ(test, SPLIT_LEN, len);
	while ((token = split_get(t, &len)) >= 0) {
		KUNIT_EXPECT_EQ(test, 0, len);
		KUNIT_EXPECT_FALSE(test, seen & BIT(token));
		seen |= BIT(token);
	}
	KUNIT_EXPECT_EQ(test, 0xff & ~(BIT(3) | BIT(5)), seen);

	/* what comes later, too, and nothing twice */
	split_send(test, 4, 5);
	vi_split_swallow(&t->split);
	vi_split_swallow(&t->split);
	KUNIT_EXPECT_EQ(test, 4, split_get(t, &len));
	KUNIT_EXPECT_EQ(test, -1, split_get(t, &len));
}

/* The descriptor that the back end finds at @head, and the one after it */
static struct vring_desc *split_desc(struct split_test *t, u32 head)
{
	return &t->split.shared.desc[head];
}

static u32 split_next(struct split_test *t, u32 head)
{
	return le16_to_cpu((__force __le16)split_desc(t, head)->next);
}

static void split_expect_desc(struct kunit *test, u32 head, unsigned int token, bool more)
{
	struct split_test *t = test->priv;
	struct vring_desc *desc = split_desc(t, head);
	u16 flags = le16_to_cpu((__force __le16)desc->flags);

	KUNIT_EXPECT_EQ(test, le64_to_cpu((__force __le64)desc->addr),
			(u64)virt_to_phys(&t->token[token]));
	KUNIT_EXPECT_EQ(test, le32_to_cpu((__force __le32)desc->len), 1u);
	KUNIT_EXPECT_EQ(test, flags, (u16)(more ? VRING_DESC_F_NEXT : 0));
}

/* The driver gets these tokens, in this order, and no other */
static void split_expect_back(struct kunit *test, unsigned int first, unsigned int end)
{
	struct split_test *t = test->priv;
	unsigned int len;

	for (; first < end; first++) {
		KUNIT_EXPECT_EQ(test, (long)first, split_get(t, &len));
		KUNIT_EXPECT_EQ(test, 0u, len);
	}
	KUNIT_EXPECT_EQ(test, -1L, split_get(t, &len));
}

static void split_post(struct kunit *test, unsigned int first, unsigned int end)
{
	struct split_test *t = test->priv;

	split_send(test, first, end);
	KUNIT_EXPECT_TRUE(test, vi_split_push(&t->split));
	split_expect_back(test, first, end);
}

static void split_test_posts_come_back_at_once(struct kunit *test)
{
	struct split_test *t = test->priv;
	unsigned int round, i;

	split_init_posts(test);
	/* 5 of 8 each, 2 of them used before the next: anywhere in the ring */
	for (round = 0; round < 3 * SPLIT_NUM; round++) {
		split_post(test, 0, 2);
		split_post(test, 2, 5);
		KUNIT_EXPECT_EQ(test, 5u, vi_split_outstanding(&t->split));
		for (i = 0; i < 5; i++)
			split_expect_desc(test, split_head(t, round * 5 + i), i, false);
		for (i = 5; i-- > 0;)
			split_use(t, split_head(t, round * 5 + i));
		KUNIT_EXPECT_EQ(test, 0, vi_split_pull(&t->split));
		KUNIT_EXPECT_EQ(test, 0u, vi_split_outstanding(&t->split));
		split_expect_back(test, 0, 0);
	}
}

static void split_test_posts_wait_for_room(struct kunit *test)
{
	struct split_test *t = test->priv;
	u32 head[SPLIT_NUM];
	unsigned int i;

	split_init_posts(test);
	for (i = 0; i < SPLIT_NUM; i++) {
		split_post(test, i, i + 1);
		head[i] = split_head(t, i);
	}
	split_send(test, SPLIT_NUM, SPLIT_NUM + 2);
	KUNIT_EXPECT_FALSE(test, vi_split_push(&t->split));
	KUNIT_EXPECT_TRUE(test, vi_split_has_more(&t->split));
	split_expect_back(test, 0, 0);
	KUNIT_EXPECT_EQ(test, SPLIT_NUM, vi_split_outstanding(&t->split));

	split_use(t, head[3]);
	KUNIT_EXPECT_EQ(test, 0, vi_split_pull(&t->split));
	KUNIT_EXPECT_TRUE(test, vi_split_push(&t->split));
	KUNIT_EXPECT_TRUE(test, vi_split_has_more(&t->split));
	split_expect_back(test, SPLIT_NUM, SPLIT_NUM + 1);
	split_expect_desc(test, split_head(t, SPLIT_NUM), SPLIT_NUM, false);

	split_use(t, head[0]);
	KUNIT_EXPECT_EQ(test, 0, vi_split_pull(&t->split));
	KUNIT_EXPECT_TRUE(test, vi_split_push(&t->split));
	KUNIT_EXPECT_FALSE(test, vi_split_has_more(&t->split));
	split_expect_back(test, SPLIT_NUM + 1, SPLIT_NUM + 2);
	/* what was there before is as it was */
	split_expect_desc(test, head[1], 1, false);
	split_expect_desc(test, head[7], 7, false);
}

/* A buffer of 3 parts, whose token is that of the first */
static void split_send_chain(struct kunit *test, unsigned int first)
{
	struct split_test *t = test->priv;
	struct scatterlist sg[3];
	unsigned int i;

	sg_init_table(sg, ARRAY_SIZE(sg));
	for (i = 0; i < ARRAY_SIZE(sg); i++)
		sg_set_buf(&sg[i], &t->token[first + i], 1);
	KUNIT_ASSERT_EQ(test, 0, virtqueue_add_outbuf(t->vq, sg, ARRAY_SIZE(sg),
						      &t->token[first], GFP_KERNEL));
	virtqueue_kick(t->vq);
}

static void split_test_posts_chains(struct kunit *test)
{
	struct split_test *t = test->priv;
	unsigned int round, len;
	u32 a, b, c;

	split_init_posts(test);
	/* 4 of 8 each time */
	for (round = 0; round < 2 * SPLIT_NUM; round++) {
		split_post(test, 0, 1);
		split_send_chain(test, 4);
		KUNIT_EXPECT_TRUE(test, vi_split_push(&t->split));
		KUNIT_EXPECT_EQ(test, 4L, split_get(t, &len));
		KUNIT_EXPECT_EQ(test, 4u, vi_split_outstanding(&t->split));
		a = split_head(t, 2 * round + 1);
		b = split_next(t, a);
		c = split_next(t, b);
		split_expect_desc(test, a, 4, true);
		split_expect_desc(test, b, 5, true);
		split_expect_desc(test, c, 6, false);
		if (round % 2)
			split_use(t, a);
		split_use(t, split_head(t, 2 * round));
		if (round % 2 == 0)
			split_use(t, a);
		KUNIT_EXPECT_EQ(test, 0, vi_split_pull(&t->split));
		KUNIT_EXPECT_EQ(test, 0u, vi_split_outstanding(&t->split));
	}
}

static void split_test_posts_a_chain_whole_or_not(struct kunit *test)
{
	struct split_test *t = test->priv;
	unsigned int len;

	split_init_posts(test);
	split_post(test, 0, 6);		/* room for 2 */
	split_send_chain(test, 8);
	KUNIT_EXPECT_FALSE(test, vi_split_push(&t->split));
	KUNIT_EXPECT_EQ(test, 6u, vi_split_outstanding(&t->split));
	split_use(t, split_head(t, 5));
	KUNIT_EXPECT_EQ(test, 0, vi_split_pull(&t->split));
	KUNIT_EXPECT_TRUE(test, vi_split_push(&t->split));
	KUNIT_EXPECT_EQ(test, SPLIT_NUM, vi_split_outstanding(&t->split));
	KUNIT_EXPECT_EQ(test, 8L, split_get(t, &len));
}

static void split_test_posts_refuse_lies(struct kunit *test)
{
	struct split_test *t = test->priv;
	u32 head;

	split_init_posts(test);
	split_send_chain(test, 0);
	vi_split_push(&t->split);
	head = split_head(t, 0);
	split_use(t, split_next(t, head));	/* the middle of a buffer */
	KUNIT_EXPECT_EQ(test, -EPROTO, vi_split_pull(&t->split));
	KUNIT_EXPECT_EQ(test, 3u, vi_split_outstanding(&t->split));

	/* the chain that is freed is that which was posted */
	split_desc(t, head)->next = (__force __virtio16)cpu_to_le16(SPLIT_NUM - 1);
	t->used--;
	split_use(t, head);
	KUNIT_EXPECT_EQ(test, 0, vi_split_pull(&t->split));
	KUNIT_EXPECT_EQ(test, 0u, vi_split_outstanding(&t->split));
	split_use(t, head);			/* once more */
	KUNIT_EXPECT_EQ(test, -EPROTO, vi_split_pull(&t->split));
}

static void split_test_swallow_leaves_posts(struct kunit *test)
{
	struct split_test *t = test->priv;
	unsigned int len;

	split_init_posts(test);
	split_post(test, 0, 3);
	split_send(test, 3, 4);
	vi_split_push(&t->split);		/* back, not found yet */
	split_send(test, 4, 5);			/* not pushed */
	vi_split_swallow(&t->split);
	split_expect_back(test, 3, 5);
	split_send(test, 5, 6);
	vi_split_swallow(&t->split);
	vi_split_swallow(&t->split);
	KUNIT_EXPECT_EQ(test, 5L, split_get(t, &len));
	KUNIT_EXPECT_EQ(test, -1L, split_get(t, &len));
}

static struct kunit_case split_cases[] = {
	KUNIT_CASE(split_test_pull_keeps_the_order_of_use),
	KUNIT_CASE_PARAM(split_test_pull_refuses_what_was_not_given,
			 split_lie_cases_gen_params),
	KUNIT_CASE(split_test_swallow_uses_each_once),
	KUNIT_CASE(split_test_posts_come_back_at_once),
	KUNIT_CASE(split_test_posts_wait_for_room),
	KUNIT_CASE(split_test_posts_chains),
	KUNIT_CASE(split_test_posts_a_chain_whole_or_not),
	KUNIT_CASE(split_test_posts_refuse_lies),
	KUNIT_CASE(split_test_swallow_leaves_posts),
	{}
};

static struct kunit_suite split_suite = {
	.name = "virtio_ivshmem_split",
	.init = split_init,
	.exit = split_exit,
	.test_cases = split_cases,
};

kunit_test_suite(split_suite);
