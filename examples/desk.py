"""A support desk with a mail relay inside: mail to desk@desk.example becomes tickets, and answers go out by mail.

    python examples/desk.py FOLDER SMARTHOST:PORT          takes mail on 127.0.0.1:2525

docs/embedding.md explains it piece by piece.
"""

from __future__ import annotations

import email
import email.policy
import sys
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import react

from relay.embed import Address, Client, Handed, Never, NotTaken, Policy, Refused, Relay, Service, Verdict, reply

OUR_ADDRESS = "desk@desk.example"


@dataclass
class Ticket:
    """What somebody wrote, and what became of our answer: ``delivered``, ``failed`` …"""

    sender: str
    subject: str
    answer_id: str = ""
    answer: str = ""


class DeskPolicy(Policy):
    """The usual rules, and one of our own."""

    blocked = frozenset({"spam.example"})

    def sender(self, client: Client, service: Service, reverse_path: Address | None) -> Verdict:
        if reverse_path is not None and reverse_path.domain_key in self.blocked:
            no = reply(550, "5.7.1", "We have heard enough from you")
            return Refused(no, f"blocked: {reverse_path.domain_key}", "desk.py")
        return super().sender(client, service, reverse_path)


@dataclass
class Desk:
    """Takes tickets by mail, and answers them.

    tickets  by the queue id of the message that each came with
    """

    config: dict[str, Any]
    tickets: dict[str, Ticket] = field(default_factory=dict)

    def relay(self, **surroundings: Any) -> Relay:
        """The relay that belongs to it: a service, to be started."""
        config = {
            **self.config,
            "accept": {"domains": ["desk.example"]},
            "routes": [{"to": OUR_ADDRESS, "via": "function:tickets"}, *self.config.get("routes", [])],
        }
        self._relay = Relay(config, functions={"tickets": self.take}, policy=DeskPolicy, **surroundings)
        self._relay.follow(self.hear)
        return self._relay

    async def take(self, handed: Handed) -> None:
        """A message for us.  It may come twice, so a ticket has the message's id for a key."""
        message = email.message_from_bytes(await handed.whole(), policy=email.policy.default)
        if not message["Subject"]:
            raise Never("A ticket needs a subject")
        ticket = Ticket(str(handed.sender or ""), str(message["Subject"]))
        if handed.id not in self.tickets and ticket.sender:  # nobody answers the null sender
            ticket.answer_id = await self.answer(ticket)
        self.tickets.setdefault(handed.id, ticket)

    async def answer(self, ticket: Ticket) -> str:
        """Thanks for it; gives the answer's id in the queue."""
        answer = EmailMessage()
        answer["From"], answer["To"] = OUR_ADDRESS, ticket.sender
        answer["Subject"] = f"Re: {ticket.subject}"
        answer["Auto-Submitted"] = "auto-replied"
        answer.set_content("Thank you, we are looking into it.\n")
        try:
            taken = await self._relay.submit(OUR_ADDRESS, [ticket.sender], answer)
        except NotTaken as why:
            if why.is_temporary:
                raise  # the ticket comes again, and then there may be an answer
            return ""
        return taken.id

    def hear(self, step: str, /, **fields: object) -> None:
        """What became of our answers."""
        if step in ("delivered", "deferred", "failed", "expired"):
            for ticket in self.tickets.values():
                if ticket.answer_id == fields.get("id"):
                    ticket.answer = step


async def main(reactor: Any, folder: str, smart_host: str) -> None:
    """The whole program."""
    desk = Desk(
        {
            "spool": Path(folder) / "spool",
            "listen": [{"endpoint": "tcp:2525:interface=127.0.0.1"}],
            "routes": [{"to": "*", "via": f"smtp://{smart_host}"}],
        }
    )
    program = MultiService()
    desk.relay(reactor=reactor).setServiceParent(program)
    program.privilegedStartService()
    program.startService()
    reactor.addSystemEventTrigger("before", "shutdown", program.stopService)
    await Deferred()  # until it is told to end


if __name__ == "__main__":
    react(lambda reactor, *words: ensureDeferred(main(reactor, *words)), sys.argv[1:])
