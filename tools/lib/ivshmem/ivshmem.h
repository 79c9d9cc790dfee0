/* SPDX-License-Identifier: LGPL-2.1 OR BSD-3-Clause */
/*
 * libivshmem: a peer of an ivshmem v2 link in user space, either in a guest
 * over /dev/uioN or on the host over the socket of an ivshmem2-server. What
 * runs on one of them runs on the other. The library moves no payload and
 * knows no protocol: it maps the sections, rings doorbells, keeps the State
 * and turns interrupts into events.
 *
 * Implements Documentation/ivshmem/device.rst as seen by a driver and
 * Documentation/ivshmem/server-protocol.rst as a client.
 *
 * Errors: functions that can fail return a negative errno, and
 * ivshmem_error() tells in words what failed and what to do about it.
 *
 * Threads: the functions that fetch events, ivshmem_vector_fd() and
 * ivshmem_close() are for one thread at a time. Doorbells, States, presence
 * and the fields of struct ivshmem_peer are for any thread at any time.
 *
 * fork(): every descriptor is close-on-exec. A child that goes on without
 * exec may only call ivshmem_close(), which then leaves the link alone.
 *
 * Shared memory belongs to the others as well: read a value once into a
 * local, check the local, use the local. Order accesses with the __atomic
 * loads, stores and fences, never with atomic read-modify-write: another
 * guest may have patched its lock prefixes away.
 */
#ifndef IVSHMEM_IVSHMEM_H
#define IVSHMEM_IVSHMEM_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct ivshmem_peer - this peer, and where the sections lie
 * @id: this peer's id, 0..@max_peers-1, constant
 * @max_peers: 2..65536, constant
 * @vectors: of this peer, and by convention of every other, 1..2048
 * @protocol: protocol type of the link, 16 bits
 * @registers: BAR 0 (device.rst, "Registers"), NULL where no device is
 * @state_table: read only; u32 per peer, little endian: ivshmem_get_state()
 * @state_table_size: bytes, at least 4 a peer
 * @rw: R/W section, NULL if there is none
 * @rw_size: bytes, 0 if there is none
 * @output: this peer's own output section, NULL if there is none
 * @input: output section of peer 0, read only; those of the others follow:
 *	   ivshmem_input(). NULL if there is none
 * @output_size: bytes of one peer's output section, 0 if there is none
 *
 * To be read, never to be written, by the user of the library. The library's
 * own part follows behind it: never copy or allocate one.
 */
struct ivshmem_peer {
	uint32_t id;
	uint32_t max_peers;
	uint32_t vectors;
	uint32_t protocol;
	volatile uint32_t *registers;
	const volatile uint32_t *state_table;
	size_t state_table_size;
	void *rw;
	size_t rw_size;
	void *output;
	const void *input;
	size_t output_size;
};

/**
 * enum ivshmem_event_type - what an event tells
 * @IVSHMEM_EVENT_VECTOR: @vector was interrupted; /dev/uioN does not know
 *	which one and says %IVSHMEM_VECTOR_ANY. Interrupts are enabled again
 *	when the event is handed out: look at the shared memory after it
 * @IVSHMEM_EVENT_STATE: the State of @peer changed from @old_state to
 *	@new_state; changes in between may have gone unseen
 * @IVSHMEM_EVENT_ARRIVED: @peer is there (never with /dev/uioN)
 * @IVSHMEM_EVENT_GONE: @peer is gone; its change to State 0 was reported
 *	before (never with /dev/uioN)
 * @IVSHMEM_EVENT_SERVER_GONE: the server is gone (@error 0), broke the
 *	protocol (-EPROTO) or sent more descriptors than the process may have
 *	(-EMFILE). The peers known so far can still be reached; arrivals and
 *	departures are not noticed any more. Close and open to start over
 * @IVSHMEM_EVENT_DEVICE_GONE: the device was unplugged or unbound. Last
 *	event; the functions that fetch events fail with -ENODEV from now on.
 *	All sections are zero and lead nowhere now; between the loss of the
 *	device and this event an access raises SIGBUS
 */
enum ivshmem_event_type {
	IVSHMEM_EVENT_VECTOR,
	IVSHMEM_EVENT_STATE,
	IVSHMEM_EVENT_ARRIVED,
	IVSHMEM_EVENT_GONE,
	IVSHMEM_EVENT_SERVER_GONE,
	IVSHMEM_EVENT_DEVICE_GONE
};

#define IVSHMEM_VECTOR_ANY	UINT32_MAX

/**
 * struct ivshmem_event - one event; what is not named stays 0
 * @type: which of the fields below have a meaning
 * @peer: id of the peer (state, arrived, gone)
 * @vector: 0..vectors-1 or %IVSHMEM_VECTOR_ANY (vector)
 * @old_state: State last reported (state)
 * @new_state: State now (state)
 * @error: 0 or a negative errno (server gone, device gone)
 */
struct ivshmem_event {
	enum ivshmem_event_type type;
	uint32_t peer;
	uint32_t vector;
	uint32_t old_state;
	uint32_t new_state;
	int error;
};

/**
 * ivshmem_open() - become a peer
 * @peer: set on success
 * @device: "/dev/uioN", a symbolic link to it, or "unix:SOCKET"
 * @timeout_ms: limit for the server to answer, -1 = none; a device answers
 *	at once
 *
 * A peer over a socket starts with State 0. A device that another process has
 * open too keeps the State it has. Interrupts are enabled on return; what lay
 * in the shared memory before gives no event.
 *
 * The first events report the other peers that are there and those of their
 * States that are not 0.
 *
 * Implements server-protocol.rst, "Connection", and device.rst, "Layout".
 *
 * Return: 0, or
 * -EINVAL: @device is neither form, or its sizes make no sense;
 * -ENOENT, -ENXIO, -ENODEV: no such device or socket;
 * -EACCES, -EPERM: no permission;
 * -ECONNREFUSED: nobody serves the socket;
 * -ECONNRESET: the server closed the connection, for want of a free id;
 * -ETIMEDOUT: the server did not finish in time;
 * -EPROTO: it broke the protocol;
 * -EPROTONOSUPPORT: it speaks another version;
 * -EINTR: a signal came while waiting for it;
 * -EMFILE, -ENFILE, -ENOMEM: out of descriptors or memory;
 * or what open(2), mmap(2) and connect(2) return otherwise.
 */
int ivshmem_open(struct ivshmem_peer **peer, const char *device,
		 int timeout_ms);

/**
 * ivshmem_close() - leave
 * @peer: from ivshmem_open(), or NULL; not valid any more afterwards
 *
 * Sets the State to 0 (with /dev/uioN the driver does, at the last close) and
 * unmaps the sections. In a fork()ed child it only releases the memory and
 * the descriptors of the child.
 */
void ivshmem_close(struct ivshmem_peer *peer);

/**
 * ivshmem_error() - what failed, and what to do about it
 *
 * Return: words without a newline for the last function of this library that
 * failed in this thread; valid until the next one fails.
 */
const char *ivshmem_error(void);

/**
 * ivshmem_fd() - the descriptor to poll, epoll or select on
 * @peer: from ivshmem_open()
 *
 * Readable when ivshmem_next_event() has something to report. Level
 * triggered; only to be polled, never to be read or closed. Call
 * ivshmem_next_event() until it returns 0 once before the first poll.
 *
 * Return: the descriptor, never negative, constant.
 */
int ivshmem_fd(const struct ivshmem_peer *peer);

/**
 * ivshmem_vector_fd() - take a vector out of the events
 * @peer: from ivshmem_open()
 * @vector: 1..vectors-1; vector 0 also tells State changes and stays
 *
 * For a thread that serves this vector alone: the vector gives no more events,
 * the caller polls the descriptor and reads 8 bytes from it to clear it. The
 * library closes it.
 *
 * Return: an eventfd, non-blocking, or
 * -EOPNOTSUPP: /dev/uioN has one descriptor for all vectors;
 * -EINVAL: no such vector, or vector 0.
 */
int ivshmem_vector_fd(struct ivshmem_peer *peer, uint32_t vector);

/**
 * ivshmem_next_event() - fetch an event without waiting
 * @peer: from ivshmem_open()
 * @event: filled if there is one
 *
 * To be called until it returns 0 whenever ivshmem_fd() is readable. What
 * comes while the caller works through the events makes the descriptor
 * readable again, so that other descriptors get their turn.
 *
 * With a device this re-arms its one-shot interrupt before the first event is
 * handed out (device.rst, "One-shot mode"): whoever looks at the shared memory
 * after the event misses nothing.
 *
 * Return: 1 = an event, 0 = none, or -ENODEV after
 * %IVSHMEM_EVENT_DEVICE_GONE.
 */
int ivshmem_next_event(struct ivshmem_peer *peer, struct ivshmem_event *event);

/**
 * ivshmem_wait_event() - wait for an event
 * @peer: from ivshmem_open()
 * @event: filled if there is one
 * @timeout_ms: 0 = do not wait, -1 = without limit
 *
 * Return: 1 = an event, 0 = time is over, -EINTR if a signal came, or -ENODEV
 * after %IVSHMEM_EVENT_DEVICE_GONE.
 */
int ivshmem_wait_event(struct ivshmem_peer *peer, struct ivshmem_event *event,
		       int timeout_ms);

/**
 * ivshmem_set_state() - set this peer's State
 * @peer: from ivshmem_open()
 * @state: meaning is up to the protocol, but 0 always means reset
 *
 * What was written to the sections before is visible to whoever sees the new
 * State. If it differs from the old one every other peer gets vector 0
 * (device.rst, "State").
 */
void ivshmem_set_state(struct ivshmem_peer *peer, uint32_t state);

/**
 * ivshmem_present() - is a peer there?
 * @peer: from ivshmem_open()
 * @id: of the peer in question
 *
 * Return: 1 if it is, 0 if not, -EOPNOTSUPP if only its State can tell
 * (/dev/uioN).
 */
int ivshmem_present(struct ivshmem_peer *peer, uint32_t id);

/* The slow half of ivshmem_doorbell() */
void ivshmem_doorbell_eventfd(struct ivshmem_peer *peer, uint32_t id,
			      uint32_t vector);

/**
 * ivshmem_doorbell() - interrupt a peer
 * @peer: from ivshmem_open()
 * @id: of the target
 * @vector: of the target
 *
 * What was written to the sections before is visible to the target before the
 * interrupt arrives. A target or vector that is not there has no effect
 * (device.rst, "Doorbell"). Never blocks.
 */
static inline void ivshmem_doorbell(struct ivshmem_peer *peer, uint32_t id,
				    uint32_t vector)
{
	if (id > UINT16_MAX || vector > UINT16_MAX)
		return;
	if (!peer->registers) {
		ivshmem_doorbell_eventfd(peer, id, vector);
		return;
	}
	/* Payload before doorbell, and cached before uncached memory */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	/* IVSHMEM_REG_DOORBELL */
	peer->registers[3] = htole32(id << 16 | vector);
}

/**
 * ivshmem_get_state() - State of a peer
 * @peer: from ivshmem_open()
 * @id: of the peer in question, this one included
 *
 * What the other peer wrote to the sections before it set this State is
 * visible afterwards.
 *
 * Return: its State; 0 if it is reset, absent or gone, or @id is no peer.
 */
static inline uint32_t ivshmem_get_state(const struct ivshmem_peer *peer,
					 uint32_t id)
{
	if (id >= peer->max_peers)
		return 0;
	/* Pairs with whatever the other peer orders its State write with */
	return le32toh(__atomic_load_n(&peer->state_table[id],
				       __ATOMIC_ACQUIRE));
}

/**
 * ivshmem_input() - output section of a peer, to be read by this one
 * @peer: from ivshmem_open()
 * @id: of the peer that writes it, this one included
 *
 * Return: start of output_size bytes, read only; NULL if there are no output
 * sections or @id is no peer.
 */
static inline const void *ivshmem_input(const struct ivshmem_peer *peer,
					uint32_t id)
{
	if (!peer->input || id >= peer->max_peers)
		return NULL;
	return (const char *)peer->input + peer->output_size * id;
}

#ifdef __cplusplus
}
#endif

#endif /* IVSHMEM_IVSHMEM_H */
