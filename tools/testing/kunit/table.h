/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tests that run once for each case of a table.
 */
#ifndef _IVSHMEM_KUNIT_TABLE_H
#define _IVSHMEM_KUNIT_TABLE_H

#include <kunit/test.h>
#include <linux/string.h>

/**
 * TABLE_PARAM() - the cases of a table as parameters of a test
 * @table: an array of structures with a member name
 *
 * Defines the generator @table_gen_params, for KUNIT_CASE_PARAM().
 */
#define TABLE_PARAM(table)						\
static void table##_name(typeof(&(table)[0]) c, char *name)		\
{									\
	strscpy(name, c->name, KUNIT_PARAM_DESC_SIZE);			\
}									\
KUNIT_ARRAY_PARAM(table, table, table##_name)

#endif /* _IVSHMEM_KUNIT_TABLE_H */
