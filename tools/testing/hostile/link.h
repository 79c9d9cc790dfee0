/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between a peer and its server: the peer connects to us, we connect to the
 * server, and pass on what that says. So we have what the peer has, memory and
 * eventfds, and can do in its name all that it could, while it is honest.
 */
#ifndef HOSTILE_LINK_H
#define HOSTILE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_PEERS	2
#define LINK_VECTORS	16

/**
 * struct link - the peer's link, as long as it is connected
 * @memory: all of the shared memory, NULL if there is no peer
 * @size: of that
 * @id: of the peer
 * @protocol: of the link
 * @rw: where the R/W section begins
 * @rw_size: its bytes
 * @output: where the peer's output section begins
 * @output_size: its bytes
 * @bells: eventfd for each vector of either peer, or -1
 */
struct link {
	uint8_t *memory;
	size_t size;
	uint32_t id;
	uint32_t protocol;
	size_t rw, rw_size;
	size_t output, output_size;
	int bells[LINK_PEERS][LINK_VECTORS];
};

extern struct link hostile_link;

void link_open(const char *server, const char *path);

/* Pass on what there is; wait for it as long as that */
void link_serve(int timeout_ms);

/* Interrupt the other peer */
void link_ring(unsigned int vector);

#endif /* HOSTILE_LINK_H */
