"""What an explanation is made of: findings in the order in which a relay comes to them, and what was asked.

The details of each, by part and what:

    in     configuration  hostname running loaded_at changed_since
           listener       service tls login
           connection     trusted connections connections_limit of_client of_client_limit
           hello          helo encrypted must_encrypt must_log_in mechanisms; twice when TLS is begun
           certificate    is_trusted; where the client shows one
           login          mechanism assumed senders
           recipient      to: where its mail goes, after forwarding
           content        message_size header_size max_recipients max_hops
    out    route          recipients destination via, and of its rule to from
           dns            kind answer records secure canonical why ttl_s
           policy         mode mx id fetched_at expires_at, of MTA-STS
           host           preference addresses, and left_out: why; or number protocol tls{level whence …} login{user …}
           destination    is_known window in_flight waiting resting_until failures error, of all workers together
           times          attempts_at longest_s warns_at expires_at
    probe  host           dialogue[{at hop line}] recipients[{recipient decision reply}] tls{how is_known by why …}
           way            what all hosts together make of it
    queue  message        sender accepted_at size client client_name protocol login require_tls recipients
           recipient      state attempts destination destination_now place orcpt next_at attempts_at warned warns_at
                          expires_at
           attempt        the last on its way: began_at took_s hop tls recipients[{recipient step reply}]
                          dialogue[{hop tls lines[[after_s line]]}]
           gone           instead of all this, when it is no longer in the queue: as ``trace.find`` has it
    end    verdict        at: the finding that decided; is_queued
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from relay.message.reply import Reply

Decision = Literal["accepted", "refused", "temporary", "told"]
"""``temporary`` is a refusal for now (4yz); with ``told`` nothing was decided."""

Part = Literal["in", "out", "probe", "queue", "end"]

NOTHING: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was decided, or found out.

    part      in: the client's session; out: the way to the next hop; probe: the hosts asked in truth; queue: where a
              message stands; end: all of it together
    what      see the module; beside these tls and sender
    about     whom: an address, a name, a host
    rule      what decided, in words; place says where that stands: ``/etc/relay/relay.yaml:12``
    reply     word for word as on the wire
    remedy    what would let it pass, or change it
    details   whatever else is known, by name: plain data, times in seconds since the epoch
    """

    part: Part
    what: str
    about: str = ""
    decision: Decision = "told"
    rule: str = ""
    place: str = ""
    reply: str = ""
    remedy: str = ""
    details: Mapping[str, object] = field(default_factory=dict)

    def row(self) -> Mapping[str, object]:
        """As it goes over the control socket."""
        return {
            "part": self.part,
            "what": self.what,
            "about": self.about,
            "decision": self.decision,
            "rule": self.rule,
            "place": self.place,
            "reply": self.reply,
            "remedy": self.remedy,
            "details": dict(self.details),
        }


@dataclass(frozen=True, slots=True)
class Question:
    """Of what message of which client is asked.

    recipients  as a client writes them, without angle brackets
    sender      likewise; empty or ``<>`` is the null sender
    client      IP address; empty for a client on this machine by a unix socket
    helo        what it calls itself
    login       as whom it logs in; empty: it does not
    listener    the endpoint where it comes in, as the configuration has it; empty: the first that suits
    size        octets that it declares, or None
    tls         it begins TLS where it can
    probe       the next hops are to be asked in truth
    certificate  what the client shows when TLS begins: ``sha256:…``, or PEM; empty: nothing
    require_tls  it says REQUIRETLS (RFC 8689)
    """

    recipients: tuple[str, ...]
    sender: str = ""
    client: str = "127.0.0.1"
    helo: str = "client.example"
    login: str = ""
    listener: str = ""
    size: int | None = None
    smtputf8: bool = False
    tls: bool = False
    probe: bool = False
    certificate: str = ""
    require_tls: bool = False


def decision_of(reply: Reply) -> Decision:
    """What a reply decides."""
    if reply.is_positive:
        return "accepted"
    return "temporary" if reply.is_temporary else "refused"


def verdict_of(findings: Sequence[Finding], is_queued: bool = False) -> Finding:
    """All of it together: would this message come to where it is to go?

    What is refused for good counts more than what is refused for now.

    is_queued  it is in the queue already, and only its way is asked for
    """
    # Of a host that cannot be used the way is told by its route: another may do.
    decided = [one for one in findings if one.decision in ("refused", "temporary") and one.what != "host"]
    refused = next((one for one in decided if one.decision == "refused"), None)
    decisive = refused or (decided[0] if decided else None)
    if decisive is None:
        return Finding("end", "verdict", decision="accepted", details={"is_queued": is_queued})
    return Finding(
        "end",
        "verdict",
        decisive.about,
        decisive.decision,
        decisive.rule,
        decisive.place,
        decisive.reply,
        decisive.remedy,
        {"at": decisive.what, "is_queued": is_queued},
    )
