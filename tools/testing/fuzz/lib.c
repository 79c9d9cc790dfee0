// SPDX-License-Identifier: GPL-2.0
/*
 * libivshmem and a server that is none: any messages, with any descriptors, in
 * any order, cut into pieces at will. Opening fails or works; a peer that was
 * opened can be used until it is closed, and nothing of it is left then.
 *
 * The library connects to a socket pair whose other end holds all that the
 * input has to say.
 */
#include <sys/socket.h>

#include <ivshmem/ivshmem.h>

#include "../lib/pass-fds.h"
#include "message.h"

#define LIB_EVENTS_MAX		10000

int __wrap_socket(int domain, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct fuzz_input lib_input;
static int lib_server = -1;

static void lib_send(struct fuzz_input *in)
{
	struct fuzz_message m;

	fuzz_message_next(in, &m);
	/* It fails when the socket is full */
	if (pass_fds(lib_server, m.words, m.len, m.fds, m.num,
		     MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		in->size = 0;
}

int __wrap_socket(int domain, int type, int protocol)
{
	int fds[2];

	fuzz_require(!socketpair(domain, type, protocol, fds));
	lib_server = fds[1];
	return fds[0];
}

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	(void)fd;
	(void)addr;
	(void)len;
	while (lib_input.size)
		lib_send(&lib_input);
	/* The end of the stream, so that nobody waits for more */
	return shutdown(lib_server, SHUT_WR);
}

/* All calls, with numbers in range and out of it */
static void lib_use(struct ivshmem_peer *peer)
{
	struct ivshmem_event event;
	unsigned int n = 0;
	uint32_t i;

	fuzz_require(peer->id < peer->max_peers && peer->vectors);
	for (i = 0; i <= 8; i++) {
		ivshmem_doorbell(peer, i, i / 2);
		ivshmem_get_state(peer, i);
		ivshmem_present(peer, i);
		fuzz_require((ivshmem_vector_fd(peer, i) >= 0) ==
			     (i && i < peer->vectors));
	}
	ivshmem_set_state(peer, 1);
	if (peer->rw_size)
		memset(peer->rw, 1, peer->rw_size);
	if (peer->output_size)
		memset(peer->output, 1, peer->output_size);
	while (ivshmem_next_event(peer, &event) > 0)
		fuzz_require(++n < LIB_EVENTS_MAX);
	ivshmem_doorbell(peer, !peer->id, 0);
	ivshmem_set_state(peer, 2);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	unsigned int i;

	(void)argc;
	(void)argv;
	for (i = 0; i < FUZZ_MESSAGE_FDS; i++)
		fuzz_message_fd(i);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int free_fd = fuzz_free_fd();
	struct ivshmem_peer *peer;

	lib_input = (struct fuzz_input) { data, size };
	if (!ivshmem_open(&peer, "unix:fuzz", 1000)) {
		lib_use(peer);
		ivshmem_close(peer);
	} else {
		fuzz_require(*ivshmem_error());
	}
	close(lib_server);
	fuzz_require(fuzz_free_fd() == free_fd);
	return 0;
}
