"""HELP STATUS and ETRN: what a client asks about the queue (RFC 5321 §4.1.1.8, RFC 1985)."""

from __future__ import annotations

from relay.message.address import domain_key, is_domain
from relay.message.reply import BAD_ARGUMENTS, Reply, reply
from relay.policy.client import Client
from relay.policy.policy import Policy
from relay.queue.store import Counts, State

ETRN_STARTED = reply(250, "2.0.0", "OK, queuing started")
ETRN_NOTHING = reply(251, "2.0.0", "OK, no messages waiting")
ETRN_COUNTED = reply(253, "2.0.0", "OK, pending messages started")
ETRN_UNABLE = reply(458, "4.3.0", "Unable to start the queue now")
ETRN_NOT_ALLOWED = reply(459, "4.7.1", "Not allowed")
ETRN_NO_NAMED_QUEUE = reply(501, "5.5.4", "Syntax error: there are no named queues here")


def status(counts: Counts, now: float) -> Reply:
    """HELP STATUS: the queue in numbers (211)."""
    by_state = counts.recipients
    lines = [
        f"Queue: {counts.messages} messages, {counts.octets} octets",
        f"Recipients: {by_state.get(State.WAITING, 0)} waiting, {by_state.get(State.HELD, 0)} held",
    ]
    if counts.oldest_at is not None:
        lines.append(f"Oldest message: accepted {max(0, now - counts.oldest_at):.0f} s ago")
    if counts.set_aside:
        lines.append(f"Set aside: {counts.set_aside}")
    return reply(211, "2.0.0", *lines)


def etrn_domain(node: str) -> tuple[str, bool] | Reply:
    """The domain that ETRN names, in look-up form, and whether those below it are meant (RFC 1985 §5.3)."""
    if node.startswith("#"):
        return ETRN_NO_NAMED_QUEUE
    name = node.removeprefix("@")
    return (domain_key(name), name != node) if is_domain(name) else BAD_ARGUMENTS


def etrn_refusal(policy: Policy, client: Client, domain: str) -> Reply | None:
    """Why this client may not start the queue for this domain; others than the trusted never for foreign ones."""
    if not policy.settings.etrn_for.includes(client.trusted):
        return ETRN_NOT_ALLOWED.saying(f"Node {domain} not allowed: your network is not in accept.networks")
    if not client.trusted and not policy.is_own(domain):
        return ETRN_NOT_ALLOWED.saying(f"Node {domain} not allowed: it is none of our domains")
    return None


def etrn_answer(node: str, waiting: int | None) -> Reply:
    """What ETRN found; ``waiting`` is None when it was not counted (RFC 1985 §5.2)."""
    if waiting is None:
        return ETRN_STARTED.saying(f"OK, queuing for node {node} started")
    if waiting == 0:
        return ETRN_NOTHING.saying(f"OK, no messages waiting for node {node}")
    return ETRN_COUNTED.saying(f"OK, {waiting} pending messages for node {node} started")
