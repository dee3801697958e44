"""Texts that strangers publish: MTA-STS policies and their DNS records, and a peer's words in a log line."""

from __future__ import annotations

from contextlib import suppress

from relay.message.reply import printable
from relay.route.sts import PolicyFault, parse_policy, policy_id


def run(octets: bytes) -> None:
    text = octets.decode("utf-8", "replace")
    with suppress(PolicyFault):
        parse_policy(octets)
    policy_id([text])
    assert printable(text).isprintable() or not text
