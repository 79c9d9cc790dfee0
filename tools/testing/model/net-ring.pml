/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who is woken when: one direction of the rings of ivshmem-net, with both its
 * events, as drivers/net/ivshmem-net-ring.h has them. The sender sends as long
 * as it likes, in batches; when the ring is full it asks for a doorbell, looks
 * once more, and sleeps. So does the receiver when the ring is empty.
 *
 * What an end stores is seen by the other one some time later, word for word in
 * any order; a full barrier waits for that. Indices are modulo INDICES instead
 * of 2^16.
 *
 * Proven: when both sleep, and no doorbell is on its way, the sender has said
 * all that it had to say, and the receiver has got it. Neither index passes the
 * other.
 *
 * BUG_LOOK and BUG_BARRIER are the faults to be found: the receiver sleeps
 * without another look, or looks before its event can be seen.
 */
#define QLEN 2
#define INDICES 4

#define MINUS(a, b) (((a) + INDICES - (b)) % INDICES)
#define PLUS(a, b) (((a) + (b)) % INDICES)

/* As vring_need_event(): the event lies between the old and the new index */
#define NEED_EVENT(event, new, old) \
	(MINUS(MINUS(new, event), 1) < MINUS(new, old))

/* Each word twice: as its writer has stored it, and as the other end sees it */
byte my_avail, avail, my_used_event, used_event;	/* written by the sender */
byte my_used, used, my_avail_event, avail_event;	/* and by the receiver */

bool doorbell_rx, doorbell_tx;
bool finished;
byte taken;

active proctype memory()
{
end:
	do
	:: avail != my_avail -> avail = my_avail
	:: used_event != my_used_event -> used_event = my_used_event
	:: used != my_used -> used = my_used
	:: avail_event != my_avail_event -> avail_event = my_avail_event
	od
}

#define SENDER_BARRIER avail == my_avail && used_event == my_used_event
#define RECEIVER_BARRIER used == my_used && avail_event == my_avail_event

/* ivn_ring_tx_*() */
active proctype sender()
{
	byte committed, reclaimed, event, seen;

	do
	:: /* reclaim */
		atomic {
			seen = used;
			assert(MINUS(seen, reclaimed) <= MINUS(my_avail, reclaimed));
			reclaimed = seen
		};
		if
		:: MINUS(committed, reclaimed) == QLEN ->
			/* full: after how many more frames is the sender's choice */
			if
			:: my_used_event = reclaimed
			:: my_used_event = PLUS(reclaimed, QLEN - 1)
			fi;
			SENDER_BARRIER;
			if
			:: used != reclaimed
			:: else -> atomic { doorbell_tx -> doorbell_tx = false }
			fi
		:: else ->
			/* commit one or two, publish, ring */
			committed = PLUS(committed, 1);
			if
			:: MINUS(committed, reclaimed) < QLEN ->
				committed = PLUS(committed, 1)
			:: true
			fi;
			d_step { seen = my_avail; my_avail = committed };
			SENDER_BARRIER;
			event = avail_event;
			if
			:: NEED_EVENT(event, my_avail, seen) -> doorbell_rx = true
			:: else
			fi
		fi
	:: finished = true; break
	od
}

/* ivn_ring_rx_*() */
active proctype receiver()
{
	byte released, event, seen;

	do
	:: atomic {
		seen = avail;
		assert(MINUS(seen, my_used) <= QLEN);
		assert(MINUS(seen, my_used) >= MINUS(taken, my_used))
	   };
	   if
	   :: taken != seen ->
		/* one frame, or all that there are; then give back and ring */
		if
		:: taken = PLUS(taken, 1)
		:: taken = seen
		fi;
		d_step { seen = my_used; my_used = taken };
		RECEIVER_BARRIER;
		event = used_event;
		if
		:: NEED_EVENT(event, my_used, seen) -> doorbell_tx = true
		:: else
		fi
	   :: else ->
		my_avail_event = taken;
#ifndef BUG_BARRIER
		RECEIVER_BARRIER;
#endif
		if
#ifndef BUG_LOOK
		:: avail != taken
#endif
		:: else -> atomic { doorbell_rx -> doorbell_rx = false }
		fi
	   fi
	od
}

active proctype rest()
{
	timeout -> assert(finished && taken == my_avail)
}
