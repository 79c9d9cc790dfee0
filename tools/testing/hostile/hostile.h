/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the hostile parties share: dice that a seed gives again, a count of what
 * was done to somebody, and sockets.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../lib/pass-fds.h"

extern uint64_t hostile_mutations;

/* Ends the program with words and errno, if that is not 0 */
void hostile_die(const char *what) __attribute__((noreturn));

void hostile_seed(uint64_t seed);
uint64_t hostile_random(void);

/* 0..@n-1, @n > 0 */
uint64_t hostile_below(uint64_t n);

/* Once in @n times */
static inline bool hostile_one_in(unsigned int n)
{
	return !hostile_below(n);
}

/*
 * In place of @old: near it, an extreme, a bit of it, or anything; now and then
 * near @bound, which is where something ends.
 */
uint64_t hostile_value(uint64_t old, uint64_t bound);

/* A UNIX socket that is bound to @path and listens, or is connected to it */
int hostile_listen(const char *path);
int hostile_connect(const char *path);

/* Send it all with so many descriptors; false if that did not work */
bool hostile_send(int sock, const void *data, size_t len, const int *fds, unsigned int n);

/* Wait for @fd to be readable; false if it is not within @timeout_ms */
bool hostile_readable(int fd, int timeout_ms);

/**
 * struct hostile_party - one kind of hostility
 * @name: for the command line
 * @paths: how many it takes there
 * @open: once, with these
 * @turn: some mutations, soon back
 * @idle: pass on what honest ones say, for a moment; NULL if there is nothing to do
 * @stop: end what a turn has left, NULL likewise
 */
struct hostile_party {
	const char *name;
	unsigned int paths;
	void (*open)(char **paths);
	void (*turn)(void);
	void (*idle)(int timeout_ms);
	void (*stop)(void);
};

extern const struct hostile_party hostile_memory, hostile_clients, hostile_server;

#endif /* HOSTILE_H */
