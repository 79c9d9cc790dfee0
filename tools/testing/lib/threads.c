// SPDX-License-Identifier: GPL-2.0
/*
 * What ivshmem.h allows to every thread, done by one thread while another one
 * takes the events of peers that come and go. For the thread sanitizer, whose
 * findings end it with an exit code.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <ivshmem/ivshmem.h>

#define THREADS_ROUNDS		50
#define THREADS_OPEN_MS		10000
#define THREADS_EVENT_MS	10000

static struct ivshmem_peer *threads_peer;
static bool threads_stop;

static void *threads_ring(void *arg)
{
	uint32_t id, state = 0;

	(void)arg;
	while (!__atomic_load_n(&threads_stop, __ATOMIC_RELAXED)) {
		for (id = 0; id < threads_peer->max_peers; id++)
			if (id != threads_peer->id) {
				ivshmem_doorbell(threads_peer, id, 0);
				ivshmem_present(threads_peer, id);
				ivshmem_get_state(threads_peer, id);
			}
		ivshmem_set_state(threads_peer, state++);
	}
	return NULL;
}

static bool threads_await(enum ivshmem_event_type type)
{
	struct ivshmem_event event;

	while (ivshmem_wait_event(threads_peer, &event, THREADS_EVENT_MS) == 1)
		if (event.type == type)
			return true;
	return false;
}

/* Another peer comes and goes */
static bool threads_round(const char *device)
{
	struct ivshmem_peer *other;

	if (ivshmem_open(&other, device, THREADS_OPEN_MS))
		return false;
	ivshmem_set_state(other, 1);
	if (!threads_await(IVSHMEM_EVENT_ARRIVED))
		return false;
	ivshmem_doorbell(other, threads_peer->id, 0);
	ivshmem_close(other);
	return threads_await(IVSHMEM_EVENT_GONE);
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int i;

	if (argc != 2 || ivshmem_open(&threads_peer, argv[1], THREADS_OPEN_MS) ||
	    pthread_create(&thread, NULL, threads_ring, NULL))
		return EXIT_FAILURE;
	for (i = 0; i < THREADS_ROUNDS && threads_round(argv[1]); i++)
		;
	__atomic_store_n(&threads_stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	ivshmem_close(threads_peer);
	printf("%d rounds\n", i);
	return i == THREADS_ROUNDS ? EXIT_SUCCESS : EXIT_FAILURE;
}
