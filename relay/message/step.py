"""The steps of a message's way, as they are told to whoever watches.

Log lines, metrics and the journal hang on this one hook.  A stage gets it in its
constructor and calls it once for each step::

    tell("delivered", id=message.id, recipient=str(address), hop=hop, reply=str(reply))

Field names are the same everywhere:

    id          the message's queue id             client      the client's IP address
    sender      the reverse-path, ``<>`` for null  helo        what the client called itself
    recipient   one recipient                      login       who logged in
    recipients  how many                           hop         the next hop, ``name [address]``
    size        octets                             destination the scheduler's name for the next hop
    reply       an SMTP reply as text              delay_s     seconds since acceptance
    next_at     next attempt, seconds since epoch  error       what went wrong, in words
    mechanism   of SASL, by which a client logs in
    protocol    as in Received                     message_id  the Message-ID field's value
    place       file:line or a key of the configuration

Steps: connected, disconnected, encrypted, logged_in, refused (a command answered 4yz or 5yz by policy), accepted,
delivered, unsecured (a hop without TLS, where it was wanted), unpoliced (a domain whose MTA-STS policy cannot be had),
deferred, failed, held, released, removed, expired, warned, reported, discarded, rested, woken,
set_aside, trouble (of our own), started, stopped, reloaded.
"""

from __future__ import annotations

from typing import Protocol


class Tell(Protocol):
    """Tells that a step was made.  Must be quick and must not raise."""

    def __call__(self, step: str, /, **fields: object) -> None: ...


def tell_nobody(step: str, /, **fields: object) -> None:
    """For those who are not interested."""
