// SPDX-License-Identifier: GPL-2.0
/*
 * Two honest peers that follow the table, in all interleavings: every joint
 * state that can be reached is visited. A look and what it leads to are two
 * steps, so each acts on what may be old. Interfaces go up and down, and peers
 * die, at any moment.
 *
 * Proven of each of these states, and what can follow without further events:
 * the only rest is RUN on the sides that are up, READY on those that are down,
 * with carrier on both. Nobody clears a ring that the other works on. An action
 * is stale if the peer has moved since the look so that another would be right.
 * Between stale actions lie finitely many steps, whatever the order of looks.
 * (That stale actions follow each other for ever cannot be excluded: two peers
 * that always move between look and action of the other chase each other from
 * RESET to READY. The table is the historic one, and bound to stay.)
 *
 * Then the same with each entry of the table replaced by each other action:
 * that has to be found out.
 */
#include "section.h"

struct link_side {
	uint8_t state;
	uint8_t up;
	uint8_t carrier;
	uint8_t pending;	/* action decided, not acted on; WAIT = none */
	uint8_t knows;		/* has read what the peer prepared last */
};

struct link_pair {
	struct link_side side[2];
};

#define LINK_SIDE_CODES	(4 * 2 * 2 * 6 * 2)
#define LINK_CODES	(LINK_SIDE_CODES * LINK_SIDE_CODES)

enum link_step { LINK_LOOK, LINK_ACT, LINK_UP, LINK_DOWN, LINK_CRASH, LINK_STEPS };

static uint8_t link_table[IVN_LINK_STATES][IVN_LINK_STATES];
static uint8_t link_color[LINK_CODES];
static uint32_t link_queue[LINK_CODES];
static bool link_seen[IVN_LINK_STATES][IVN_LINK_STATES];
static const char *link_fault;

static uint32_t link_side_code(const struct link_side *s)
{
	return (((s->state * 2 + s->up) * 2 + s->carrier) * 6 + s->pending) * 2 +
	       s->knows;
}

static uint32_t link_code(const struct link_pair *p)
{
	return link_side_code(&p->side[0]) * LINK_SIDE_CODES +
	       link_side_code(&p->side[1]);
}

static void link_side_decode(struct link_side *s, uint32_t code)
{
	s->knows = code % 2;
	s->pending = code / 2 % 6;
	s->carrier = code / 12 % 2;
	s->up = code / 24 % 2;
	s->state = code / 48;
}

static struct link_pair link_decode(uint32_t code)
{
	struct link_pair p;

	link_side_decode(&p.side[0], code / LINK_SIDE_CODES);
	link_side_decode(&p.side[1], code % LINK_SIDE_CODES);
	return p;
}

static bool link_moves(uint8_t action)
{
	return action != IVN_LINK_WAIT && action != IVN_LINK_KEEP;
}

/* Whether the action changes anything: what does not is no step */
static bool link_effective(const struct link_side *s, uint8_t action)
{
	if (action == IVN_LINK_CONNECT)
		return !s->carrier || s->up || !s->knows;
	return link_moves(action);
}

static bool link_look(struct link_side *s, const struct link_side *peer)
{
	uint8_t action = link_table[s->state][peer->state];

	link_seen[s->state][peer->state] = true;
	if (s->pending || !link_effective(s, action))
		return false;
	s->pending = action;
	return true;
}

static void link_reset(struct link_side *s)
{
	s->state = IVN_LINK_STATE_RESET;
	s->carrier = 0;
	s->knows = 0;
	s->pending = IVN_LINK_WAIT;
}

static void link_prepare(struct link_side *s, struct link_side *peer)
{
	if (peer->carrier && peer->knows)
		link_fault = "clears a ring that the peer is connected to";
	peer->knows = 0;
	s->state = IVN_LINK_STATE_READY;
}

static void link_connect(struct link_side *s, const struct link_side *peer)
{
	if (peer->state == IVN_LINK_STATE_INIT)
		link_fault = "connects to a ring that is being cleared";
	s->carrier = 1;
	s->knows = 1;
	if (s->up)
		s->state = IVN_LINK_STATE_RUN;
}

static bool link_act(struct link_side *s, struct link_side *peer)
{
	uint8_t action = s->pending;

	s->pending = IVN_LINK_WAIT;
	switch (action) {
	case IVN_LINK_WAIT:
	case IVN_LINK_KEEP:
		return false;
	case IVN_LINK_INIT:
		s->state = IVN_LINK_STATE_INIT;
		return true;
	case IVN_LINK_PREPARE:
		link_prepare(s, peer);
		return true;
	case IVN_LINK_CONNECT:
		link_connect(s, peer);
		return true;
	default:
		link_reset(s);
		return true;
	}
}

static bool link_stale(const struct link_pair *p, unsigned int who)
{
	const struct link_side *s = &p->side[who];

	return s->pending != link_table[s->state][p->side[!who].state];
}

/* The interface cannot go up or down between a look and its action: one lock */
static bool link_step(struct link_pair *p, unsigned int who, enum link_step step)
{
	struct link_side *s = &p->side[who], *peer = &p->side[!who];

	switch (step) {
	case LINK_LOOK:
		return link_look(s, peer);
	case LINK_ACT:
		return link_act(s, peer);
	case LINK_UP:
		if (s->up || s->pending)
			return false;
		s->up = 1;
		return true;
	case LINK_DOWN:
		if (!s->up || s->pending)
			return false;
		s->up = 0;
		link_reset(s);
		return true;
	default:
		s->up = 0;
		link_reset(s);
		return true;
	}
}

/* Both connected, and to what the other prepared last */
static bool link_wanted(const struct link_pair *p)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		const struct link_side *s = &p->side[i];

		if (s->state != (s->up ? IVN_LINK_STATE_RUN : IVN_LINK_STATE_READY) ||
		    !s->carrier || !s->knows)
			return false;
	}
	return true;
}

static void link_invariant(const struct link_pair *p)
{
	const struct link_side *a = &p->side[0], *b = &p->side[1];

	if (a->state == IVN_LINK_STATE_RUN && b->state == IVN_LINK_STATE_RUN &&
	    !(a->knows && b->knows))
		link_fault = "both run on different rings";
}

/* Every state that looks, actions and events lead to */
static uint32_t link_reach(void)
{
	struct link_pair start = { 0 };
	uint32_t head = 0, tail = 0, i;

	memset(link_color, 0, sizeof(link_color));
	memset(link_seen, 0, sizeof(link_seen));
	link_queue[tail++] = link_code(&start);
	link_color[link_queue[0]] = 1;
	for (; head < tail; head++)
		for (i = 0; i < 2 * LINK_STEPS; i++) {
			struct link_pair p = link_decode(link_queue[head]);
			uint32_t code;

			if (!link_step(&p, i % 2, i / 2))
				continue;
			link_invariant(&p);
			code = link_code(&p);
			if (!link_color[code])
				link_queue[tail++] = code;
			link_color[code] = 1;
		}
	return tail;
}

/*
 * Without events: no end but the wanted one, and no cycle without a stale
 * action. Depth first; 2 = on the way, 3 = known to be good.
 */
static uint32_t link_settle(uint32_t code)
{
	uint32_t longest = 0;
	bool moved = false;
	unsigned int i;

	link_color[code] = 2;
	for (i = 0; i < 4 && !link_fault; i++) {
		struct link_pair p = link_decode(code);
		uint32_t next, depth;

		bool stale = i / 2 == LINK_ACT && link_stale(&p, i % 2);

		if (!link_step(&p, i % 2, i / 2))
			continue;
		moved = true;
		if (stale)
			continue;
		next = link_code(&p);
		if (link_color[next] == 2) {
			link_fault = "goes round in circles";
			return 0;
		}
		depth = link_settle(next) + 1;
		if (depth > longest)
			longest = depth;
	}
	if (!moved) {
		struct link_pair p = link_decode(code);

		if (!link_wanted(&p))
			link_fault = "comes to rest in a wrong state";
	}
	link_color[code] = 3;
	return longest;
}

static uint32_t link_explore(uint32_t *longest)
{
	uint32_t count, i, depth;

	link_fault = NULL;
	*longest = 0;
	count = link_reach();
	for (i = 0; i < count && !link_fault; i++) {
		depth = link_settle(link_queue[i]);
		if (depth > *longest)
			*longest = depth;
	}
	return count;
}

static void link_table_fill(void)
{
	unsigned int mine, peer;

	for (mine = 0; mine < IVN_LINK_STATES; mine++)
		for (peer = 0; peer < IVN_LINK_STATES; peer++)
			link_table[mine][peer] = ivn_link_decide(mine, peer);
}

/* As the specification has it, row by row; W C K I P R */
static const char link_spec[IVN_LINK_STATES][IVN_LINK_STATES + 1] = {
	"IIWW",
	"WPPP",
	"RWCC",
	"RRKK",
};

static bool link_check_spec(void)
{
	static const char names[] = "WIPCKR";
	static const uint32_t wild[] = { 4, 5, 0x80000000, 0xffffffff };
	unsigned int mine, peer, i;

	for (mine = 0; mine < IVN_LINK_STATES; mine++) {
		for (peer = 0; peer < IVN_LINK_STATES; peer++)
			if (names[ivn_link_decide(mine, peer)] != link_spec[mine][peer])
				return false;
		for (i = 0; i < RING_ARRAY_SIZE(wild); i++)
			if (ivn_link_decide(mine, wild[i]) != ivn_link_decide(mine, 0))
				return false;
	}
	return true;
}

/* Two that only shorten the way: the peer waits in RESET or INIT all the same */
static bool link_shortcut(uint32_t mine, uint32_t peer, uint32_t action)
{
	return action == IVN_LINK_PREPARE &&
	       ((mine == IVN_LINK_STATE_RESET && peer == IVN_LINK_STATE_INIT) ||
		(mine == IVN_LINK_STATE_RUN && peer == IVN_LINK_STATE_RESET));
}

static bool link_same(uint32_t a, uint32_t b)
{
	return a == b || (!link_moves(a) && !link_moves(b));
}

static unsigned int link_mutate(uint32_t mine, uint32_t peer, unsigned int *mutants)
{
	uint32_t action, longest, survivors = 0;

	for (action = 0; action <= IVN_LINK_RESET; action++) {
		link_table_fill();
		if (link_same(link_table[mine][peer], action) ||
		    link_shortcut(mine, peer, action))
			continue;
		link_table[mine][peer] = action;
		link_explore(&longest);
		(*mutants)++;
		if (link_fault)
			continue;
		survivors++;
		printf("WRONG: %u %u -> %u does no harm\n", mine, peer, action);
	}
	return survivors;
}

/* Entries that no honest peer gets to have no mutants */
static bool link_check_mutants(void)
{
	bool seen[IVN_LINK_STATES][IVN_LINK_STATES];
	uint32_t mine, peer, mutants = 0, survivors = 0;

	memcpy(seen, link_seen, sizeof(seen));
	for (mine = 0; mine < IVN_LINK_STATES; mine++)
		for (peer = 0; peer < IVN_LINK_STATES; peer++)
			if (seen[mine][peer])
				survivors += link_mutate(mine, peer, &mutants);
	printf("%s: %u wrong tables, %u not found out\n",
	       survivors ? "WRONG" : "ok", mutants, survivors);
	return !survivors && mutants;
}

int main(void)
{
	uint32_t count, longest;
	bool ok = link_check_spec();

	ring_limit(60);
	printf("%s: table is that of the specification\n", ok ? "ok" : "WRONG");
	link_table_fill();
	count = link_explore(&longest);
	printf("%s: %u joint states, at most %u steps between stale actions%s%s\n",
	       link_fault ? "WRONG" : "ok", count, longest,
	       link_fault ? ": " : "", link_fault ? link_fault : "");
	ok = ok && !link_fault;
	return link_check_mutants() && ok ? 0 : 1;
}
