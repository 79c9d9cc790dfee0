/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The handshake of Documentation/ivshmem/net.rst, "States", with the interrupts
 * that carry it: two ends that sleep until vector 0 comes, whose interfaces go
 * up and down and whose machines die at any moment, EVENTS times in all. To
 * read the peer's State and to act on it are two steps; so are the ring and the
 * State that announces it.
 *
 * Proven: nobody clears a ring that the other one works on, and when both sleep
 * the link is up. With ONE_STEP, in which looks are never late, moreover that
 * they do come to rest (net.rst says why late looks can go on for ever).
 *
 * BUG_RESET is the fault to be found: from RESET to INIT at once, whether or
 * not the peer has noticed the reset.
 */
#ifndef EVENTS
#define EVENTS 3
#endif

#define RESET 0
#define INIT 1
#define READY 2
#define RUN 3

byte state[2];		/* the State Table */
bool kick[2];		/* an interrupt of vector 0 that is pending */
bool want[2];		/* the interface, as its administrator wants it */
bool up[2];		/* and as it is */
bool works[2];		/* has carrier, works on both rings */
bool dies[2];

#define OTHER (1 - me)

/* The device interrupts the peer of who changes its State */
inline set_state(s)
{
	atomic { state[me] = s; kick[OTHER] = true }
}

inline stop()
{
	works[me] = false;
	set_state(RESET)
}

inline prepare()
{
	assert(!works[OTHER]);
	set_state(READY)
}

inline connect()
{
	works[me] = true;
	if
	:: up[me] -> set_state(RUN)
	:: else
	fi
}

#ifdef BUG_RESET
#define MAY_INIT true
#else
#define MAY_INIT (peer <= INIT)
#endif

inline act()
{
	if
	:: state[me] == RESET && MAY_INIT -> set_state(INIT); again = true
	:: state[me] == INIT && peer != RESET -> prepare(); again = true
	:: state[me] == READY && peer == RESET -> stop(); again = true
	:: state[me] == READY && peer >= READY -> connect()
	:: state[me] == RUN && peer <= INIT -> stop(); again = true
	:: else
	fi
}

/* The worker: one look, and another one after each move of its own */
inline look()
{
	do
	::
#ifdef ONE_STEP
		atomic { again = false; peer = state[OTHER]; act() };
#else
		atomic { again = false; peer = state[OTHER] };
		act();
#endif
		if
		:: again
		:: else -> break
		fi
	od
}

/* What a machine that dies leaves: its State, set to RESET by the device */
inline die()
{
	atomic {
		dies[me] = false;
		works[me] = false;
		up[me] = false;
		set_state(RESET)
	}
}

proctype side(bit me)
{
	byte peer;
	bool again;

boot:
	{
		look();
		do
		:: atomic { kick[me] -> kick[me] = false }; look()
		:: atomic { want[me] && !up[me] -> up[me] = true }; look()
		:: atomic { !want[me] && up[me] -> up[me] = false }; stop(); look()
		od
	} unless {
		atomic { dies[me] -> die(); goto boot }
	}
}

/* At any step, whatever the others are at */
proctype fate()
{
	byte events = EVENTS;

	do
	:: atomic { events > 0 -> events--; want[0] = !want[0] }
	:: atomic { events > 0 -> events--; want[1] = !want[1] }
	:: atomic { events > 0 -> events--; dies[0] = true }
	:: atomic { events > 0 -> events--; dies[1] = true }
	:: break
	od
}

#define GOOD(who) (works[who] && ((want[who] && state[who] == RUN) || \
				  (!want[who] && state[who] == READY)))

active proctype rest()
{
	timeout -> assert(GOOD(0) && GOOD(1))
}

#ifdef ONE_STEP
ltl comes_to_rest { <>[] (GOOD(0) && GOOD(1)) }
#endif

init
{
	atomic { want[0] = true; run side(0); run side(1); run fate() }
}
