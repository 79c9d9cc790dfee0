/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The life cycle of Documentation/ivshmem/virtio.rst: a back end and a front end
 * that look at each other's State, sleep until vector 0 comes, and die at any
 * step, EVENTS times in all. Either one can be late. Also the front end's driver
 * is taken away at any step, and comes back.
 *
 * The front end brings its device up as Linux does, with a reset and then the
 * features and the status as transactions: field, then write_transaction, then
 * the doorbell, then the wait for 0, which ends if the back end leaves.
 *
 * Proven: the header is cleared only while the front end does not use it, no
 * transaction is lost, and when both sleep the driver is running with a back end
 * that serves it. With ONE_STEP, in which the front end is never late, moreover
 * that they do come to that: one that is, each time, and leaves just when the
 * back end has come back, can go on so for ever.
 *
 * The faults to be found: BUG_RESET, a back end that fills its header without
 * the wait for the front end to have left; BUG_EARLY, one that looks for that
 * before it sets its own State to 0; BUG_LOOK, a front end that does not look
 * at the back end again after it has set its State to 1.
 */
#ifndef EVENTS
#define EVENTS 2
#endif

/* What a transaction is about, and how far the device is */
#define NONE 0
#define RESET 1
#define FEATURES 2
#define DRIVER_OK 3

bool back, front;		/* State: 0 reset, 1 ready */
bool back_kick, front_kick;	/* vector 0 */
byte transaction;		/* write_transaction */
byte status = NONE;		/* of the device, as the back end has it */
bool filled;			/* the header */
bool uses;			/* the front end has a device */
bool serves;			/* the back end serves it */
bool ok;			/* the driver is running */
bool back_dies, front_dies, driver_leaves;

inline set_back(s) { atomic { back = s; front_kick = true } }
inline set_front(s) { atomic { front = s; back_kick = true } }

/* ---- the back end ---- */

inline fill()
{
	atomic { assert(!uses); filled = false };
	atomic { transaction = NONE; status = NONE };
	filled = true
}

/* The back end reads the field, acts, and answers */
inline answer()
{
	atomic {
		if
		:: transaction == RESET -> status = RESET
		:: transaction == FEATURES && status == RESET -> status = FEATURES
		:: transaction == DRIVER_OK && status == FEATURES -> status = DRIVER_OK
		fi
	};
	transaction = NONE
}

active proctype back_end()
{
	bool gone;

boot:
	{
		do
		:: /* what is in flight comes back, then the State says so */
#ifdef BUG_EARLY
			gone = !front;
			set_back(0);
#else
			set_back(0);
			gone = !front;
#endif
#ifdef BUG_RESET
			gone = true;
#endif
			do
			:: gone -> break
			:: else -> atomic { back_kick -> back_kick = false }; gone = !front
			od;
			fill();
			set_back(1);
			do
			:: front -> break
			:: else -> atomic { back_kick -> back_kick = false }
			od;
			serves = true;
			do
			:: !front -> break
			:: front && transaction != NONE -> answer()
			:: front && transaction == NONE && back_kick -> back_kick = false
			od;
			serves = false
		od
	} unless {
		atomic {
			back_dies -> back_dies = false; serves = false;
			set_back(0);
			goto boot
		}
	}
}

/* ---- the front end ---- */

inline transact(what)
{
	if
	:: transaction == NONE
	:: transaction != NONE && !back -> goto leave
	fi;
	atomic { transaction = what; back_kick = true };
	if
	:: transaction == NONE
	:: transaction != NONE && !back -> goto leave
	fi
}

active proctype front_end()
{
boot:
	{
		do
#ifdef ONE_STEP
		:: atomic { back -> set_front(1); break }
#else
		:: back -> set_front(1); break
#endif
		:: !back -> atomic { front_kick -> front_kick = false }
		od;
#ifndef BUG_LOOK
		/* The back end that was seen may be gone, and the next one at work */
		if
		:: back
		:: else -> goto leave
		fi;
#endif
		atomic { assert(filled); uses = true };
		transact(RESET);
		atomic { assert(status == RESET || !back || !filled) };
		transact(FEATURES);
		transact(DRIVER_OK);
		ok = true;
		do
		:: !back || driver_leaves -> break
		:: else -> atomic { front_kick -> front_kick = false }
		od;
leave:
		atomic { uses = false; ok = false; driver_leaves = false };
		set_front(0);
		goto boot
	} unless {
		atomic {
			front_dies ->
			front_dies = false; driver_leaves = false;
			uses = false; ok = false;
			set_front(0);
			goto boot
		}
	}
}

/* At any step, whatever the others are at */
active proctype fate()
{
	byte events = EVENTS;

	do
	:: atomic { events > 0 -> events--; back_dies = true }
	:: atomic { events > 0 -> events--; front_dies = true }
	:: atomic { events > 0 -> events--; driver_leaves = true; front_kick = true }
	:: break
	od
}

active proctype rest()
{
	timeout -> assert(ok && serves && status == DRIVER_OK)
}

#ifdef ONE_STEP
ltl comes_back { <>[] (ok && serves && status == DRIVER_OK) }
#endif
