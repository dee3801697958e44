"""What can be set about the way out, with the defaults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """Limits of the way out.  Time-outs of the dialogue are the law's (RFC 5321 §4.5.3.2) and not set here.

    hosts_per_attempt           at most so many hosts of a route are tried in one attempt
    addresses_per_host          at most so many addresses of one host are tried
    connect_timeout_s           for one address
    stagger_s                   the next address is tried beside the first after this long (RFC 8305 §5)
    connections                 open at once, all hops together
    connections_per_hop         open at once to one host
    messages_per_connection     then it is closed; LIMITS MAILMAX makes it less
    connection_age_s            an older one is not used again
    idle_s                      a kept connection without work is closed after this long
    recipients_per_transaction  more go in further transactions (RFC 5321 §4.5.3.1.8: every host takes 100)
    convert_limit_octets        a larger message is not converted for a hop that lacks 8BITMIME or BINARYMIME,
                                for that needs it whole in memory; it fails with 5.6.3
    """

    hosts_per_attempt: int = 5
    addresses_per_host: int = 6
    connect_timeout_s: float = 30.0
    stagger_s: float = 0.25
    connections: int = 300
    connections_per_hop: int = 10
    messages_per_connection: int = 200
    connection_age_s: float = 300.0
    idle_s: float = 10.0
    recipients_per_transaction: int = 100
    convert_limit_octets: int = 32 * 1024 * 1024
