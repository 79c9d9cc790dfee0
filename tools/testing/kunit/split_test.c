// SPDX-License-Identifier: GPL-2.0
/*
 * drivers/virtio/virtio_ivshmem_split.c: what the back end used comes to
 * virtio_ring once and only if it was given, and nothing is left when the back
 * end is gone. The test is the driver, on top, and the back end, below.
 */
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "../../../drivers/virtio/virtio_ivshmem_split.h"
#include "table.h"

#define SPLIT_NUM	8
#define SPLIT_ALIGN	64
#define SPLIT_LEN	100

struct split_test {
	struct virtio_device vdev;
	struct virtqueue *vq;
	void *own;
	void *shared;
	struct vi_split split;
	char token[SPLIT_NUM];
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
	return vi_split_init(&t->split, t->vq, t->shared, SPLIT_ALIGN, false);
}

static void split_exit(struct kunit *test)
{
	struct split_test *t = test->priv;

	if (!t)
		return;
	vi_split_exit(&t->split);
	vring_del_virtqueue(t->vq);
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

static struct kunit_case split_cases[] = {
	KUNIT_CASE(split_test_pull_keeps_the_order_of_use),
	KUNIT_CASE_PARAM(split_test_pull_refuses_what_was_not_given,
			 split_lie_cases_gen_params),
	KUNIT_CASE(split_test_swallow_uses_each_once),
	{}
};

static struct kunit_suite split_suite = {
	.name = "virtio_ivshmem_split",
	.init = split_init,
	.exit = split_exit,
	.test_cases = split_cases,
};

kunit_test_suite(split_suite);
