"""Random sessions, cut at random and answered at random moments, compared with a plain model of the law.

The model knows the table of phases and the definition of content, and nothing of how octets arrive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relay.message import reply
from relay.message.reply import Reply
from relay.smtp.events import (
    ContentEnded,
    ContentReceived,
    ContentStarted,
    Event,
    MailReceived,
    RecipientReceived,
    TransactionAborted,
)
from relay.smtp.extensions import ServerOffer
from relay.smtp.server import ServerSession
from tests.examples import examples
from tests.smtp.talk import USUAL, codes

LIMIT = 60
OFFER = ServerOffer(
    "foo.com", message_size_limit=LIMIT, recipients_limit=3, errors_limit=10**6, refusals_limit=10**6,
    idle_commands_limit=10**6, discard_limit=10**9,
)  # fmt: skip
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


@dataclass
class Model:
    """What a session is, by RFC 5321 §4.1.4 and RFC 3030 §2.

    expected  the codes of all replies so far; a set where the law leaves a choice
    refusal   of the chunk that spoiled the transaction, said of those after it too
    contents  of the messages that were answered 250
    """

    phase: str = "connected"
    accepted: int = 0
    tried: bool = False
    binary: bool = False
    content: bytes = b""
    announced: int = 0
    refusal: set[int] = field(default_factory=set)
    expected: list[set[int]] = field(default_factory=lambda: [{220}])
    contents: list[bytes] = field(default_factory=list)

    def say(self, *expected: int) -> None:
        self.expected.append(set(expected))

    def spoil(self, *expected: int) -> None:
        self.say(*expected)
        self.refusal = set(expected)
        self.phase = "spoiled"

    def begin(self, phase: str) -> None:
        self.phase, self.accepted, self.tried, self.content, self.announced = phase, 0, False, b"", 0

    def fault_in_recipients(self) -> int | None:
        if self.accepted:
            return None
        return 554 if self.tried else 503

    def faults_in(self, content: bytes, whole: bool) -> set[int]:
        faults = set()
        if not self.binary and _BARE.search(content if whole else content.removesuffix(b"\r")):
            faults.add(550)
        if len(content) > LIMIT:
            faults.add(552)
        return faults


class Carrier:
    """Feeds a session in pieces; a question is answered at once, or only after the next piece has come."""

    def __init__(self) -> None:
        self.session = ServerSession(OFFER)
        self.said = b""
        self.contents: list[bytes] = []
        self.is_open = 0
        self._content = b""
        self._open: Event | None = None

    def feed(self, octets: bytes, size: int, is_slow: bool) -> None:
        for at in range(0, len(octets), size):
            self.session.receive_data(octets[at : at + size])
            self._answer()
            self._run(is_slow)
        while self._open is not None:
            self._answer()
            self._run(False)

    def _run(self, is_slow: bool) -> None:
        while self._open is None and (event := self.session.next_event()) is not None:
            self._note(event)
            if isinstance(event, (ContentReceived, TransactionAborted)):
                continue
            self._open = event
            if not is_slow:
                self._answer()
        self.said += self.session.data_to_send()

    def _answer(self) -> None:
        if self._open is not None:
            event, self._open = self._open, None
            answer = self._answer_to(event)
            if isinstance(event, ContentEnded) and answer.is_positive:
                self.contents.append(self._content)
            self.session.answer(answer)

    def _note(self, event: Event) -> None:
        if isinstance(event, MailReceived):
            assert not self.is_open, "a transaction within a transaction"
            self.is_open = 1
        elif isinstance(event, ContentStarted):
            self._content = b""
        elif isinstance(event, ContentReceived):
            assert self.is_open
            self._content += event.data
        elif isinstance(event, (ContentEnded, TransactionAborted)):
            assert self.is_open, "the end of a transaction that is not open"
            self.is_open = 0

    def _answer_to(self, event: Event) -> Reply:
        if isinstance(event, RecipientReceived) and event.address.local == "nobody":
            return reply.NO_SUCH_USER
        if isinstance(event, MailReceived) and event.reverse_path and event.reverse_path.local == "nobody":
            self.is_open = 0
            return reply.SENDER_NOT_YOURS
        if isinstance(event, ContentEnded) and b"full" in self._content:
            return reply.NO_SPACE
        answer = USUAL[type(event)]
        assert isinstance(answer, Reply)
        return answer


pieces = st.lists(
    st.sampled_from([b"abc", b".", b"\r\n", b"\r\n", b"\r", b"\n", b"full", b"x" * 25, b"\0", b"\r\n..", b"RSET\r\n"]),
    max_size=8,
).map(b"".join)


class Session(RuleBasedStateMachine):
    """Commands are gathered in ``batch`` and reach the session when ``send`` cuts them up."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.carrier = Carrier()
        self.batch = b""

    @initialize()
    def greet(self) -> None:
        self.carrier.feed(b"", 1, False)
        self.carrier._run(False)

    @rule(recipients=st.integers(0, 2), binary=st.booleans())
    def message(self, recipients: int, binary: bool) -> None:
        """Chance alone seldom comes this far."""
        if self.model.phase == "connected":
            self.hello(b"EHLO")
        elif self.model.phase != "ready":
            self.reset()
        self.mail(b"<a@bar.com>", binary)
        for _ in range(recipients):
            self.recipient(b"<b@xyz.com>")

    @precondition(lambda self: self.model.phase in ("envelope", "chunks"))
    @rule(content=pieces, at=st.none() | st.lists(st.integers(0, 40), min_size=1, max_size=3), last=st.booleans())
    def chunks(self, content: bytes, at: list[int] | None, last: bool) -> None:
        """One content cut anywhere, or (None) between each CR and its LF."""
        places = [match.end() for match in re.finditer(b"\r", content)] if at is None else at
        for one, other in pairwise(sorted({0, *places, 1000})):
            self.chunk(content[one:other], False)
        if last:
            self.chunk(b"", True)

    @rule(verb=st.sampled_from([b"EHLO", b"helo", b"EHLO"]))
    def hello(self, verb: bytes) -> None:
        self.batch += verb + b" bar.com\r\n"
        self.model.say(250)
        self.model.begin("ready")

    @rule(
        path=st.sampled_from([b"<a@bar.com>", b"<>", b"<nobody@bar.com>", b"<a@bar.com", b"<a@b>x"]),
        binary=st.booleans(),
    )
    def mail(self, path: bytes, binary: bool) -> None:
        model = self.model
        self.batch += b"MAIL FROM:" + path + (b" BODY=BINARYMIME" if binary else b"") + b"\r\n"
        if model.phase != "ready":
            model.say(503)
        elif path not in (b"<a@bar.com>", b"<>", b"<nobody@bar.com>"):
            model.say(501)
        elif b"nobody" in path:
            model.say(553)
        else:
            model.say(250)
            model.begin("envelope")
            model.binary = binary

    @rule(path=st.sampled_from([b"<b@xyz.com>", b"<Postmaster>", b"<nobody@xyz.com>", b"<b@xyz.com", b"<>", b"<b@-x>"]))
    def recipient(self, path: bytes) -> None:
        model = self.model
        self.batch += b"RCPT TO:" + path + b"\r\n"
        if model.phase != "envelope":
            model.say(503)
            return
        model.tried = True
        if path == b"<b@xyz.com":
            model.say(501)
        elif path in (b"<>", b"<b@-x>"):
            model.say(553)
        elif model.accepted == 3:
            model.say(452)
        elif b"nobody" in path:
            model.say(550)
        else:
            model.accepted += 1
            model.say(250)

    @rule(content=pieces)
    def data(self, content: bytes) -> None:
        """The content is sent only when 354 is due; a client that sends it all the same is ``line_of_content``."""
        model = self.model
        self.batch += b"DATA\r\n"
        if model.phase != "envelope" or model.binary:
            model.say(503)
        elif fault := model.fault_in_recipients():
            model.say(fault)
        else:
            model.say(354)
            content = content.replace(b"\r\n.\r\n", b"\r\n") + b"\r\n"
            self.batch += re.sub(rb"(\A|\r\n)\.", rb"\1..", content) + b".\r\n"
            self._content_came(content)

    def _content_came(self, content: bytes) -> None:
        model = self.model
        faults = model.faults_in(content, whole=True)
        if faults:
            model.say(*faults)
        elif b"full" in content:
            model.say(452)
        else:
            model.say(250)
            model.contents.append(content)
        model.begin("ready")

    @rule(content=pieces, last=st.booleans())
    def chunk(self, content: bytes, last: bool) -> None:
        model = self.model
        self.batch += b"BDAT %d%s\r\n" % (len(content), b" LAST" if last else b"") + content
        if model.phase in ("connected", "ready"):
            model.say(503)
            return
        if model.phase == "spoiled":
            model.say(*model.refusal)
        else:
            self._chunk_of_transaction(content, last)
        if last:
            model.begin("ready")

    def _chunk_of_transaction(self, content: bytes, last: bool) -> None:
        model = self.model
        model.announced += len(content)
        fault = 552 if model.announced > LIMIT else model.fault_in_recipients()
        if fault is not None:
            model.spoil(fault)
            return
        model.content += content
        faults = model.faults_in(model.content, whole=last)
        if faults:
            model.spoil(*faults)
        elif not last:
            model.say(250)
            model.phase = "chunks"
        elif b"full" in model.content:
            model.say(452)
        else:
            model.say(250)
            model.contents.append(model.content)

    @rule()
    def reset(self) -> None:
        self.batch += b"RSET\r\n"
        self.model.say(250)
        self.model.begin("connected" if self.model.phase == "connected" else "ready")

    @rule(command=st.sampled_from([(b"NOOP", 250), (b"VRFY x", 252), (b"HELP", 214), (b"NONSENSE", 500), (b"", 500),
                                   (b"DATA x", 0), (b"BDAT", 0), (b"MAIL\0FROM", 500), (b"NO\nOP", 500),
                                   (b"x" * 600, 500), (b"RSET x", 501)]))  # fmt: skip
    def other(self, command: tuple[bytes, int]) -> None:
        said, code = command
        if said == b"BDAT":  # nobody can tell where its octets end: see ``lose_framing``
            return
        if said == b"DATA x":
            code = 501 if self.model.phase == "envelope" else 503
        self.batch += said + b"\r\n"
        self.model.say(code)

    @precondition(lambda self: self.batch)
    @rule(size=st.sampled_from([1, 2, 3, 5, 7, 64, 10**6]), is_slow=st.booleans())
    def send(self, size: int, is_slow: bool) -> None:
        batch, self.batch = self.batch, b""
        self.carrier.feed(batch, size, is_slow)
        self._compare()

    def _compare(self) -> None:
        said = codes(self.carrier.said)
        expected = self.model.expected
        assert len(said) == len(expected), (said, expected)
        for code, allowed in zip(said, expected, strict=True):
            assert code in allowed, (said, expected)
        assert self.carrier.contents == self.model.contents
        assert self.carrier.session.phase.value == self.model.phase

    @invariant()
    def holds_little(self) -> None:
        assert len(self.carrier.session._unread) <= 64 * 1024

    def teardown(self) -> None:
        """The end: a session that is left in any state leaves no open transaction behind."""
        self.carrier.feed(self.batch, 1, False)
        self._compare()
        self.carrier.session.connection_lost()
        self.carrier._run(False)
        assert not self.carrier.is_open or self.model.phase in ("ready", "connected")
        assert not self.carrier.is_open


TestServerSessions = Session.TestCase
TestServerSessions.settings = examples(80, stateful_step_count=30)


@pytest.mark.slow
class TestServerSessionsForLong(Session.TestCase):  # type: ignore[valid-type,misc]
    settings = examples(400, stateful_step_count=50)
