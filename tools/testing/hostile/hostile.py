#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""make hostile: attack each target for a while, and see what it stands.

Attacks of about a second, while real traffic runs; after each an honest party
comes, the victim has to work with it, and nobody may have complained. During the
attacks somebody gives commands and looks how long they take. A line for each
target; the exit code is 0 if all of them are ok.
"""

import argparse
import contextlib
import pathlib
import random
import select
import statistics
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "selftests/ivshmem"))

from harness.guest import GuestDied  # noqa: E402
from harness.process import limit, run  # noqa: E402
from harness.qmp import QmpError  # noqa: E402
from targets import TARGETS, Failed  # noqa: E402

FAILURES = (Failed, GuestDied, TimeoutError, AssertionError, QmpError, EOFError, OSError)
REST_ANSWERS = 10
ATTACK_MS = 200, 1500
LATE_S = 30
# A command is to take a second at most, plus what this machine lacks of a free one
HUNG_S = 3


def parse(argv):
    parser = argparse.ArgumentParser(description="hostile peers, clients and servers")
    parser.add_argument("--time", type=float, default=420, metavar="SECONDS",
                        help="divided among the targets (420)")
    parser.add_argument("--seed", type=int, help="of the attacks (random)")
    parser.add_argument("--kver", default="6.12", help="kernel of the guest (6.12)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=" ".join(TARGETS))
    options = parser.parse_args(argv)
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are: {', '.join(TARGETS)}")
    return options


class Answers:
    """Gives one command after the other, from a thread, while it is asked to."""

    def __init__(self, target):
        self.target = target
        self.seconds = []
        self.error = None

    def once(self):
        start = time.monotonic()
        self.target.answer()
        return time.monotonic() - start

    def _loop(self, over):
        try:
            while not over.is_set():
                self.seconds.append(self.once())
        except FAILURES as error:
            self.error = error

    @contextlib.contextmanager
    def counted(self):
        over = threading.Event()
        thread = threading.Thread(target=self._loop, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if self.error:
            raise Failed(f"no answer: {self.error}")


def readable(stream):
    return select.select([stream], [], [], 0)[0]


class Attack:
    """One target, as long as its time lasts."""

    def __init__(self, options, name, seconds):
        self.options = options
        self.name = name
        self.seconds = seconds
        self.dice = random.Random(f"{options.seed} {name}")
        self.mutations = self.recoveries = 0
        self.rest = self.worst = self.median = self.longest = 0.0
        self.start = time.monotonic()

    def run(self):
        """None, or what failed."""
        try:
            with contextlib.ExitStack() as stack:
                self.live(TARGETS[self.name](stack, self.options.kver))
        except FAILURES as error:
            return error
        return None

    def live(self, target):
        answers = Answers(target)
        self.rest = statistics.median(answers.once() for _ in range(REST_ANSWERS))
        self.start = time.monotonic()
        while time.monotonic() < self.start + self.seconds:
            with answers.counted():
                self.once(target)
            self.median, self.worst = statistics.median(answers.seconds), max(answers.seconds)
            if self.worst > limit(HUNG_S):
                raise Failed("a command took too long")
            begun = time.monotonic()
            target.recover()
            self.longest = max(self.longest, time.monotonic() - begun)
            self.recoveries += 1
            target.healthy()

    def once(self, target):
        ms = self.dice.randint(*ATTACK_MS)
        target.begin(self.dice.randrange(1 << 64), ms)
        late = time.monotonic() + ms / 1000 + LATE_S
        while not readable(target.hostile.stdout):
            if time.monotonic() > late:
                raise Failed("the attack does not end")
            target.attacked()
        line = target.hostile.stdout.readline()
        if not line:
            raise Failed(f"the attacker is gone: exit {target.hostile.wait()}")
        self.mutations += int(line)

    def line(self, error):
        return (f"hostile: {self.name:13} seed {self.options.seed} "
                f"{time.monotonic() - self.start:5.0f} s {self.mutations:9} mutations "
                f"{self.recoveries:4} recoveries (longest {1000 * self.longest:5.0f} ms), "
                f"answers {1000 * self.median:4.0f} ms, worst {1000 * self.worst:5.0f} ms, "
                f"at rest {1000 * self.rest:4.0f} ms: "
                + (f"FAILED: {type(error).__name__}: {error}" if error else "ok"))


def main(argv):
    options = parse(argv)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    run(["make", "-s", "-C", HERE], check=True, capture_output=False)
    names = options.targets or list(TARGETS)
    failed = 0
    for name in names:
        attack = Attack(options, name, options.time / len(names))
        error = attack.run()
        failed += error is not None
        print(attack.line(error), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
