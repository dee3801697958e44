"""A carrier of a server session in memory, with answers that a dialogue's settings script."""

from __future__ import annotations

import re
from dataclasses import replace

from relay.message import reply
from relay.message.address import Address
from relay.message.reply import Reply
from relay.smtp.data import BareLineEnds
from relay.smtp.events import (
    ContentEnded,
    ContentReceived,
    ContentStarted,
    EtrnReceived,
    Event,
    ExpandReceived,
    HelloReceived,
    HelpReceived,
    LoginAttempted,
    MailReceived,
    Password,
    RecipientReceived,
    SessionOpened,
    TlsRequested,
    TransactionAborted,
    VerifyReceived,
)
from relay.smtp.extensions import ServerOffer
from relay.smtp.server import ServerSession
from tests.dialogues.player import Dialogue

_STEPS: dict[type, str] = {
    SessionOpened: "connect",
    HelloReceived: "hello",
    MailReceived: "mail",
    RecipientReceived: "rcpt",
    ContentStarted: "data",
    ContentEnded: "content",
}


class ScriptedCarrier:
    """Plays a dialogue's server in memory.

    accepted  contents that were answered 2yz, with their envelopes
    """

    def __init__(self, dialogue: Dialogue) -> None:
        self._set = dialogue.setting
        self.hostname = (self._set("hostname") or ["foo.com"])[0]
        self.users = {address.lower() for value in self._set("users") for address in value.split()}
        self.trusted = not self._set("untrusted")
        self.forwards = _arrows(self._set("forward"))
        self.referrals = _arrows(self._set("refer"))
        self.troubles = {step: _reply(text) for step, _, text in (v.partition(" ") for v in self._set("answer"))}
        self.logins = [tuple(value.split()) for value in self._set("login")]
        self.session = ServerSession(self._offer(bool(self._set("encrypted"))))
        self.accepted: list[tuple[MailReceived, list[RecipientReceived], bytes]] = []
        self._mail = MailReceived(None)
        self._recipients: list[RecipientReceived] = []
        self._content = b""

    def _offer(self, encrypted: bool) -> ServerOffer:
        may_log_in = self.logins and (encrypted or self._set("in-the-clear"))
        return ServerOffer(
            self.hostname,
            lmtp=bool(self._set("lmtp")),
            message_size_limit=int((self._set("size") or ["1000000"])[0]),
            recipients_limit=int((self._set("recipients") or ["100"])[0]),
            bare_line_ends=BareLineEnds((self._set("bare-line-ends") or ["refuse"])[0]),
            off=frozenset(word for value in self._set("off") for word in value.split()),
            starttls=bool(self._set("starttls")) and not encrypted,
            encrypted=encrypted,
            mechanisms=("PLAIN", "LOGIN") if may_log_in else (),
            login_needs_tls=bool(self.logins) and not may_log_in,
            must_encrypt=bool(self._set("must-encrypt")) and not encrypted,
            must_log_in=bool(self._set("must-log-in")),
        )

    def send(self, data: bytes) -> None:
        self.session.receive_data(data)
        self.run()

    def run(self) -> None:
        while (event := self.session.next_event()) is not None:
            answer = self._answer(event)
            if isinstance(answer, Reply):
                self.session.answer(answer)
            elif answer is not None:
                self.session.answer_each(answer)
        if self.session.switching:
            self.session.tls_started()
            self.session.offer = self._offer(True)

    def receive(self) -> bytes:
        self.run()
        return self.session.data_to_send()

    def _log_in(self, event: LoginAttempted) -> Reply:
        password = event.evidence.text if isinstance(event.evidence, Password) else ""
        if (event.user, password) not in self.logins or event.act_as not in ("", event.user):
            return reply.LOGIN_REFUSED
        self.trusted = True
        self.session.offer = replace(self.session.offer, must_log_in=False)
        return reply.LOGGED_IN

    def _answer(self, event: Event) -> Reply | list[Reply] | None:
        trouble = self.troubles.get(_STEPS.get(type(event), ""))
        match event:
            case SessionOpened():
                return trouble or reply.greeting(self.hostname)
            case HelloReceived():
                return trouble or reply.NOTHING_DONE
            case MailReceived():
                if trouble is None:
                    self._mail, self._recipients, self._content = event, [], b""
                return trouble or reply.SENDER_OK
            case RecipientReceived():
                answer = trouble or self._about(event.address)
                if answer.is_positive:
                    self._recipients.append(event)
                return answer
            case ContentStarted():
                return trouble or reply.START_INPUT
            case ContentReceived():
                self._content += event.data
            case ContentEnded():
                return self._end(event, trouble)
            case TransactionAborted():
                self._content = b""
            case HelpReceived():
                return (
                    reply.reply(211, "2.0.0", "0 messages queued") if self.trusted else reply.PARAMETER_NOT_IMPLEMENTED
                )
            case TlsRequested():
                return reply.READY_FOR_TLS
            case LoginAttempted():
                return self._log_in(event)
            case EtrnReceived():
                return reply.reply(250, "2.0.0", f"Queuing for node {event.node} started")
            case VerifyReceived():
                return self._verify(event.text)
            case ExpandReceived():
                return self._expand(event.text)
        return None

    def _end(self, event: ContentEnded, trouble: Reply | None) -> Reply | list[Reply]:
        assert event.size == len(self._content)
        answer = trouble or reply.QUEUED
        if answer.is_positive:
            self.accepted.append((self._mail, self._recipients, self._content))
        if not self._set("lmtp"):
            return answer
        full = reply.reply(452, "4.2.2", "Mailbox full")
        return [full if named.address.local.startswith("full") else answer for named in self._recipients]

    def _about(self, address: Address) -> Reply:
        key = address.key
        domains = {user.rpartition("@")[2] for user in self.users} | {self.hostname.lower()}
        if key in self.forwards:
            return reply.WILL_FORWARD.saying(f"User not local; will forward to <{self.forwards[key][0]}>")
        if key in self.referrals:
            return reply.TRY_ELSEWHERE.saying(f"User not local; please try <{self.referrals[key][0]}>")
        if key in self.users or address.local.lower() == "postmaster":
            return reply.RECIPIENT_OK
        if address.domain_key in domains:
            return reply.NO_SUCH_USER
        return reply.RECIPIENT_OK if self.trusted else reply.RELAY_DENIED

    def _verify(self, text: str) -> Reply:
        text = text.strip("<>").lower()
        found = [value.partition(": ")[2] for value in self._set("directory") if value.lower().startswith(text + ":")]
        if not self.trusted:
            return reply.CANNOT_VERIFY
        if len(found) > 1:
            return reply.AMBIGUOUS.saying("Ambiguous; Possibilities are", *found)
        if found:
            return reply.reply(250, "2.1.5", found[0])
        if text in self.forwards or text in self.referrals or text in self.users:
            local, _, domain = text.partition("@")
            answer = self._about(Address(local, domain))
            return answer if answer.code != 250 else answer.saying(f"<{text}>")
        ours = "@" not in text or text.endswith("@" + self.hostname.lower())
        return reply.NO_SUCH_USER if ours else reply.CANNOT_VERIFY

    def _expand(self, text: str) -> Reply:
        targets = self.forwards.get(text.strip("<>").lower())
        return reply.reply(250, "2.1.5", *(f"<{one}>" for one in targets)) if targets else reply.NO_SUCH_USER


def _arrows(values: list[str]) -> dict[str, list[str]]:
    pairs = (value.partition("->")[::2] for value in values)
    return {source.strip().lower(): targets.split() for source, targets in pairs}


def _reply(text: str) -> Reply:
    match = re.fullmatch(r"(\d{3}) (?:(\d\.\d+\.\d+) )?(.*)", text)
    assert match is not None, text
    return reply.reply(int(match[1]), match[2] or "", match[3])
