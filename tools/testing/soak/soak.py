#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""make soak: traffic on all devices of two guests, and one misfortune after the
other, for as long as asked.

A line for each event: when, what, and how long until data moved again on all
devices, intact and without a word of complaint from either kernel. Then a table
and a verdict. Exit code 0 if there were events and nothing failed. After a failure
it goes on with guests that are new; an interrupt ends it early, with the verdict.
"""

import argparse
import collections
import contextlib
import pathlib
import random
import signal
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "selftests/ivshmem"))

import events  # noqa: E402
from harness.guest import GuestDied  # noqa: E402
from harness.qmp import QmpError  # noqa: E402
from rig import Rig, Wrong  # noqa: E402

FAILURES = (Wrong, GuestDied, TimeoutError, AssertionError, QmpError, EOFError, OSError)
KERNELS = {"6.1": ("6.1", "6.1"), "6.12": ("6.12", "6.12"), "both": ("6.1", "6.12")}


def parse(argv):
    parser = argparse.ArgumentParser(description="traffic, deaths and returns")
    parser.add_argument("--time", type=float, default=600, metavar="SECONDS",
                        help="how long, not counting the first boot (600)")
    parser.add_argument("--seed", type=int, help="of the schedule (random)")
    parser.add_argument("--kver", choices=KERNELS, default="both",
                        help="kernels of the guests (both: one of each)")
    parser.add_argument("--steps", type=int, metavar="N",
                        help="print the first N steps of the schedule, do nothing")
    return parser.parse_args(argv)


class Soak:
    """One run, over as many rigs as failures make necessary."""

    def __init__(self, options):
        self.options = options
        self.start = None
        self.schedule = events.schedule(options.seed)
        self.count = collections.Counter()
        self.failures = collections.Counter()
        self.seconds = collections.defaultdict(list)
        self.moved = collections.Counter()
        self.rounds = collections.Counter()
        self.rigs = 0

    def elapsed(self):
        return time.monotonic() - self.start if self.start else 0.0

    def over(self):
        return self.elapsed() >= self.options.time

    def say(self, text):
        print(f"{self.elapsed():7.1f} s  {text}", flush=True)

    def fail(self, kind, error):
        self.failures[kind] += 1
        self.say(f"{kind}: FAILED: {type(error).__name__}: {error}")

    def run(self):
        print(f"soak: seed {self.options.seed}, {self.options.time:.0f} s, "
              f"kernels {' and '.join(KERNELS[self.options.kver])}", flush=True)
        while not self.over():
            with contextlib.ExitStack() as stack:
                self.live(stack)

    def live(self, stack):
        """With one rig, until the end or a failure."""
        name = f"soak{self.rigs or ''}"
        self.rigs += 1
        rig = Rig(stack, name, KERNELS[self.options.kver])
        try:
            seconds = rig.start()
            self.start = self.start or time.monotonic()
            self.say(f"all loads work, {1000 * seconds:.0f} ms after the last one began")
            while not self.over() and self.step(rig, next(self.schedule)):
                pass
        except FAILURES as error:
            self.start = self.start or time.monotonic()
            self.fail("start", error)
        finally:
            for load in rig.watched:
                self.moved[load.name] += load.bytes
                self.rounds[load.name] += load.rounds

    def step(self, rig, step):
        """False if it failed."""
        what = step.kind
        try:
            seconds = events.run(rig, step)
            self.count[step.kind] += 1
            self.seconds[step.kind].append(seconds)
            what = f"{step.kind}: {step.target}" + \
                (f" for {step.seconds} s" if step.kind == "stop" else "")
            self.say(f"{what:32} back in {1000 * seconds:6.0f} ms")
            rig.rest(step.rest_s)
        except FAILURES as error:
            self.fail(step.kind, error)
            return False
        return True

    def table(self):
        yield f"{'event':16} {'count':>6} {'failed':>7} {'median':>8} {'longest':>8}"
        for kind in events.EVENTS:
            ms = [1000 * s for s in self.seconds[kind]]
            times = f"{statistics.median(ms):5.0f} ms {max(ms):5.0f} ms" if ms else ""
            yield f"{kind:16} {self.count[kind]:6} {self.failures[kind]:7} {times}"
        yield f"{'load':16} {'rounds':>6} {'kB, checked':>16}"
        for name in self.rounds:
            yield f"{name:16} {self.rounds[name]:6} {self.moved[name] / 1000:16.1f}"

    def verdict(self):
        return (f"soak: {self.elapsed():.0f} s, seed {self.options.seed}, "
                f"{sum(self.count.values())} events, {sum(self.failures.values())} failures")


def main(argv):
    options = parse(argv)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    if options.steps:
        for step, _ in zip(events.schedule(options.seed), range(options.steps)):
            print(*step, sep="; ")
        return 0
    soak = Soak(options)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        soak.run()
    print("\n" + "\n".join(soak.table()))
    print(soak.verdict(), flush=True)
    return 1 if soak.failures or not soak.count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
