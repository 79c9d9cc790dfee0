// SPDX-License-Identifier: GPL-2.0
/*
 * A data race, for test_kcsan.py to see that KCSAN reports it: as long as this
 * module is loaded, two threads on two processors count in the same variable.
 */

#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched.h>

static struct task_struct *ivshmem_race_threads[2];
static int ivshmem_race_count;

static int ivshmem_race_run(void *unused)
{
	while (!kthread_should_stop()) {
		ivshmem_race_count++;
		cond_resched();
	}
	return 0;
}

static void ivshmem_race_stop(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ivshmem_race_threads); i++)
		if (!IS_ERR_OR_NULL(ivshmem_race_threads[i]))
			kthread_stop(ivshmem_race_threads[i]);
}

static int __init ivshmem_race_init(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ivshmem_race_threads); i++) {
		ivshmem_race_threads[i] = kthread_run_on_cpu(ivshmem_race_run, NULL, i,
							     "ivshmem_race/%u");
		if (IS_ERR(ivshmem_race_threads[i])) {
			ivshmem_race_stop();
			return PTR_ERR(ivshmem_race_threads[i]);
		}
	}
	return 0;
}

module_init(ivshmem_race_init);
module_exit(ivshmem_race_stop);

MODULE_DESCRIPTION("ivshmem: a data race, on purpose");
MODULE_LICENSE("GPL");
