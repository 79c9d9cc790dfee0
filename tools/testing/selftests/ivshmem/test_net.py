# SPDX-License-Identifier: GPL-2.0
"""What Ethernet over ivshmem can do, between guests."""

import pytest

from harness import net
from harness.net import Cable

pytestmark = pytest.mark.guest
GUEST = net.GUEST


@pytest.fixture
def cable(pair, server):
    return Cable(server, *pair).up()


def test_pings_are_answered_both_ways(pair, cable):
    for guest in pair:
        cable.ping(guest)


def test_pings_are_answered_under_tcp_traffic(pair, cable):
    with cable.traffic(pair[0]):
        cable.ping(pair[1])
    assert cable.b.count("rx_packets") > 100
