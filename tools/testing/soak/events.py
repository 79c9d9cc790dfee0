# SPDX-License-Identifier: GPL-2.0
"""What happens to the rig: each event does its harm and puts right what only an
administrator can. The rest has to come back by itself, which rig.recovered()
waits for.

The schedule is a deck of all kinds, shuffled anew when it is used up, with a
target for each at random: the same for the same seed, however fast it goes.
"""

import random
import signal
import time
from collections import namedtuple

from rig import LINKS, PLUGS

Step = namedtuple("Step", "kind target seconds rest_s")

STOP_S = 0.5, 3.0       # the console drops what nobody takes for 4 s
REST_S = 0.0, 0.5


def kill_back_end(rig, target, _):
    """In a guest, its load starts it again."""
    if target == "disk":
        rig.stop_back_end()
        rig.start_back_end()
    else:
        rig.guests["a"].wait_for("kill -9 $(pidof virtio-ivshmem-console)")


def kill_uio_user(rig, target, _):
    letter = {"ping": "a", "pong": "b"}[target]
    rig.guests[letter].wait_for("kill -9 $(pidof ivshmem)")     # there may be none now


def kill_guest(rig, letter, _):
    rig.guests[letter].kill()
    if letter == "a":
        rig.kept()
    rig.guests[letter].boot()
    rig.settle(letter)


def reset_guest(rig, letter, _):
    rig.guests[letter].reset()
    rig.net_up(letter)
    rig.start_loads(letter)


def kill_server(rig, link, _):
    """Guests go on without it; the next one has a link of its own."""
    rig.stop_server(link)
    if link != "disk":      # whose back end, of the host, ends with its server
        rig.recovered()
    for letter in PLUGS[link]:
        rig.unplug(link, letter)
    rig.start_server(link)
    for letter in PLUGS[link]:
        rig.plug(link, letter)


def unplug(rig, target, _):
    link, letter = target.split()
    rig.unplug(link, letter)
    rig.plug(link, letter)


def reload(rig, target, _):
    module, letter = target.split()
    # That of uio is in use, again and again
    rig.guests[letter].wait_for(f"rmmod {module} || {{ kill -9 $(pidof ivshmem "
                                "virtio-ivshmem-console); false; }")
    rig.guests[letter].check(f"modprobe {module}")
    if module == "ivshmem_net":
        rig.net_up(letter)


def interface(rig, letters, _):
    for letter in letters:
        rig.ends[letter].down()
    for letter in letters:
        rig.ends[letter].up()


def stop(rig, target, seconds):
    """Neither dead nor alive, for a while."""
    what, *name = target.split()
    process = {"guest": lambda: rig.guests[name[0]].process,
               "server": lambda: rig.servers[name[0]],
               "disk": lambda: rig.back_end}[what]()
    process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        process.send_signal(signal.SIGCONT)


def each(link):
    return [f"{link} {letter}" for letter in PLUGS[link]]


MODULES = ("ivshmem_net", "virtio_ivshmem", "uio_ivshmem")

#: kind -> (what does it, to which one of these)
EVENTS = {
    "kill back end": (kill_back_end, ["disk", "console"]),
    "kill uio user": (kill_uio_user, ["ping", "pong"]),
    "kill guest": (kill_guest, ["a", "b"]),
    "reset guest": (reset_guest, ["a", "b"]),
    "kill server": (kill_server, list(LINKS)),
    "unplug": (unplug, [target for link in PLUGS for target in each(link)]),
    "reload module": (reload, [f"{module} {letter}" for module in MODULES for letter in "ab"]),
    "ifdown, ifup": (interface, ["a", "b", "ab", "ba"]),
    "stop": (stop, ["guest a", "guest b", "disk back end"] + [f"server {l}" for l in LINKS]),
}


def schedule(seed):
    """Steps without end."""
    dice = random.Random(seed)
    while True:
        kinds = list(EVENTS)
        dice.shuffle(kinds)
        for kind in kinds:
            yield Step(kind, dice.choice(EVENTS[kind][1]),
                       round(dice.uniform(*STOP_S), 1), round(dice.uniform(*REST_S), 1))


def run(rig, step):
    """Let it happen and wait; the seconds until all was well again."""
    EVENTS[step.kind][0](rig, step.target, step.seconds)
    return rig.recovered()
