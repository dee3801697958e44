"""Limits of the way out change without a restart."""

from __future__ import annotations

from relay.deliver.settings import DeliverySettings
from tests.deliver.way_out import WayOut, message
from tests.fakes.next_hop import NextHop


def test_other_limits_hold_for_hops_already_known() -> None:
    """Scar: a reload broke half way, for the deliverer could not be told (simulation, seed 5)."""
    hop = NextHop()
    way_out = WayOut(hop, settings=DeliverySettings(messages_per_connection=100))
    way_out.send(message())
    way_out.deliverer.reconfigure(DeliverySettings(messages_per_connection=1))
    way_out.send(message())
    way_out.send(message())
    assert hop.sessions == 3
