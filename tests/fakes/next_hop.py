"""A next hop that behaves as a test wants: well, badly, or not at all.

``NextHop`` is the host: its script and what it got.  ``NextHopSession`` is one conversation with it, octets in and
octets out; ``NextHopProtocol`` carries it over a real socket (``hop.factory()`` for any Twisted server endpoint),
``MemoryNetwork`` over none at all, on a ``task.Clock``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet import defer, error, protocol
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.route.via import Hop

EVERYTHING = (
    "PIPELINING",
    "SIZE 10000000",
    "8BITMIME",
    "ENHANCEDSTATUSCODES",
    "DSN",
    "CHUNKING",
    "BINARYMIME",
    "SMTPUTF8",
)
SILENCE = "silence"
"""In a script: no reply, to this or anything after it."""
HANG_UP = "hang up"
"""In a script: the connection is closed instead of a reply."""


@dataclass
class Taken:
    """A message that the hop took: the arguments of MAIL and RCPT as they came, and the content."""

    sender: str
    recipients: list[str]
    content: bytes


@dataclass
class NextHop:
    """A host.

    extensions  what it offers to EHLO; None: it knows only HELO
    replies     verb -> what it says to it, instead of yes, at its first time, second time …; the last is repeated.
                Verbs: GREETING EHLO HELO LHLO MAIL RCPT DATA BDAT END RSET NOOP QUIT.  Several lines are parted
                by newlines and need their codes; a reply without a code at its beginning goes out as it is
    recipients  address -> what it says to a RCPT for it
    lmtp        END has one reply for each recipient
    """

    extensions: Sequence[str] | None = EVERYTHING
    replies: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    recipients: Mapping[str, str] = field(default_factory=dict)
    lmtp: bool = False
    taken: list[Taken] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    sessions: int = 0

    def session(self) -> NextHopSession:
        self.sessions += 1
        return NextHopSession(self)

    def factory(self) -> IProtocolFactory:
        factory = protocol.Factory.forProtocol(lambda: NextHopProtocol(self.session()))
        factory.noisy = False
        return factory


class NextHopSession:
    """One conversation.  ``start`` and ``receive`` give what to send; ``closed`` says that it hangs up after that."""

    def __init__(self, hop: NextHop) -> None:
        self.hop = hop
        self.closed = False
        self._times: Counter[str] = Counter()
        self._buffer = b""
        self._out: list[bytes] = []
        self._content: bytearray | None = None
        self._chunk_left = 0
        self._is_last_chunk = False
        self._is_mute = False
        self._forget()

    def start(self) -> bytes:
        self._say("GREETING", "220 hop.example ESMTP")
        return self._flushed()

    def receive(self, data: bytes) -> bytes:
        self._buffer += data
        while not self.closed and self._step():
            pass
        return self._flushed()

    def _flushed(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _forget(self) -> None:
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._chunks = bytearray()

    def _step(self) -> bool:
        if self._content is not None:
            return self._read_content()
        if self._chunk_left or self._is_last_chunk:
            return self._read_chunk()
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return False
        self._buffer = rest
        text = line.decode("utf-8", "replace")
        self.hop.commands.append(text)
        verb, _, argument = text.partition(" ")
        self._command(verb.upper(), argument)
        return True

    def _command(self, verb: str, argument: str) -> None:
        match verb:
            case "EHLO" | "LHLO":
                self._forget()
                if self.hop.extensions is None:
                    self._say(verb, "500 5.5.1 what?")
                else:
                    offered = ["hop.example", *self.hop.extensions]
                    self._say(verb, "\n".join([f"250-{one}" for one in offered[:-1]] + [f"250 {offered[-1]}"]))
            case "MAIL":
                if self._say("MAIL", "250 2.1.0 ok" if self._sender is None else "503 5.5.1 nested"):
                    self._sender = argument
            case "RCPT":
                address = argument[argument.find("<") + 1 : argument.find(">")]
                usual = "250 2.1.5 ok" if self._sender is not None else "503 5.5.1 no sender"
                if self._say("RCPT", self.hop.recipients.get(address, usual)):
                    self._recipients.append(argument)
            case "DATA":
                if self._say("DATA", "354 go ahead" if self._recipients else "554 5.5.1 no valid recipients"):
                    self._content = bytearray()
            case "BDAT":
                octets, _, last = argument.partition(" ")
                self._chunk_left, self._is_last_chunk = int(octets), last.upper() == "LAST"
                if not self._chunk_left and not self._is_last_chunk:
                    self._say("BDAT", "250 2.0.0 0 octets")
            case "RSET":
                self._forget()
                self._say("RSET", "250 2.0.0 ok")
            case "QUIT":
                self._say("QUIT", "221 2.0.0 bye")
                self.closed = True
            case _:
                self._say(verb, "250 2.0.0 ok")

    def _read_content(self) -> bool:
        assert self._content is not None
        self._content += self._buffer
        self._buffer = b""
        start = b"\r\n" + bytes(self._content)
        end = start.find(b"\r\n.\r\n")
        if end < 0:
            return False
        self._buffer = start[end + 5 :]
        content = start[2 : end + 2].replace(b"\r\n.", b"\r\n")
        self._content = None
        self._take(content[1:] if content.startswith(b".") else content)
        return True

    def _read_chunk(self) -> bool:
        piece, self._buffer = self._buffer[: self._chunk_left], self._buffer[self._chunk_left :]
        self._chunks += piece
        self._chunk_left -= len(piece)
        if self._chunk_left:
            return False
        if self._is_last_chunk:
            self._is_last_chunk = False
            self._take(bytes(self._chunks))
        else:
            self._say("BDAT", "250 2.0.0 octets received")
        return True

    def _take(self, content: bytes) -> None:
        recipients = self._recipients
        answers = [self._say("END", "250 2.0.0 taken") for _ in (recipients if self.hop.lmtp else [""])]
        taken = [one for one, yes in zip(recipients, answers, strict=True) if yes] if self.hop.lmtp else recipients
        if any(answers) and taken:
            self.hop.taken.append(Taken(self._sender or "", list(taken), content))
        self._forget()

    def _say(self, verb: str, usual: str) -> bool:
        """Answers; whether that was a yes."""
        scripted = self.hop.replies.get(verb, usual)
        if not isinstance(scripted, str):
            scripted = scripted[min(self._times[verb], len(scripted) - 1)] or usual
        self._times[verb] += 1
        if self.closed or self._is_mute:
            return False
        if scripted == HANG_UP:
            self.closed = True
            return False
        if scripted == SILENCE:
            self._is_mute = True
            return False
        self._out += [line.encode("utf-8", "surrogateescape") + b"\r\n" for line in scripted.split("\n")]
        self.closed = self.closed or scripted.startswith("421")
        return scripted[:1] in ("2", "3")


class NextHopProtocol(protocol.Protocol):
    """Carries a NextHopSession over a transport."""

    def __init__(self, session: NextHopSession) -> None:
        self._session = session

    def connectionMade(self) -> None:
        self._send(self._session.start())

    def dataReceived(self, data: bytes) -> None:
        self._send(self._session.receive(data))

    def _send(self, out: bytes) -> None:
        assert self.transport is not None
        self.transport.write(out)
        if self._session.closed:
            self.transport.loseConnection()


BUFFER_OCTETS = 65536
"""So much a transport of Twisted holds before it wants no more."""


class MemoryTransport:
    """One end of a connection in memory, the client's; octets move when the clock does.

    cut          hands octets over in pieces of this size, each in a turn of its own; 0: as they come
    drop_after   the server's octets, after which the connection is lost
    taken_octets what the client has written so far
    """

    disconnecting = False

    def __init__(self, clock: Clock, session: NextHopSession, *, cut: int, drop_after: int | None) -> None:
        self._clock = clock
        self._session = session
        self._cut = cut
        self._left = drop_after
        self._to_client = b""
        self._to_server: list[bytes] = []
        self._is_due = False
        self._producer: object | None = None
        self._is_choked = False
        self.client: protocol.Protocol | None = None
        self.is_lost = False
        self.written: list[bytes] = []
        self.largest_unsent = 0

    def begin(self, client: protocol.Protocol) -> None:
        self.client = client
        client.makeConnection(self)
        self._to_client += self._session.start()
        self._wake()

    # -- the client's transport --------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if not (self.disconnecting or self.is_lost):
            self.written.append(data)
            self._to_server.append(data)
            self.largest_unsent = max(self.largest_unsent, sum(map(len, self._to_server)))
            self._wake()
            if self._producer is not None and not self._is_choked and sum(map(len, self._to_server)) > BUFFER_OCTETS:
                self._is_choked = True
                self._producer.pauseProducing()  # type: ignore[attr-defined]

    def writeSequence(self, pieces: Sequence[bytes]) -> None:
        self.write(b"".join(pieces))

    def getHost(self) -> object:
        return IPv4Address("TCP", "192.0.2.25", 50000)

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._wake()

    def abortConnection(self) -> None:
        self.disconnecting = True
        self._to_server.clear()
        self._wake()

    def registerProducer(self, producer: object, streaming: bool) -> None:
        assert streaming
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    # -- the wire ----------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._is_due and not self.is_lost:
            self._is_due = True
            self._clock.callLater(0, self._move)

    def _move(self) -> None:
        self._is_due = False
        if self.is_lost or self.client is None:
            return
        data, self._to_server = b"".join(self._to_server), []
        if data:
            self._to_client += self._session.receive(data)
        if self.disconnecting:
            self._lose(error.ConnectionDone())
            return
        if self._is_choked and self._producer is not None:
            self._is_choked = False
            self._producer.resumeProducing()  # type: ignore[attr-defined]
        if self._left is not None:
            self._to_client = self._to_client[: self._left]
        piece = self._to_client[: self._cut or None]
        self._to_client = self._to_client[len(piece) :]
        if self._left is not None:
            self._left -= len(piece)
        if piece:
            self.client.dataReceived(piece)
        if self._left == 0 or (self._session.closed and not self._to_client):
            self._lose(error.ConnectionLost() if self._left == 0 else error.ConnectionDone())
        elif self._to_client or self._to_server or self.disconnecting:
            self._wake()

    def drop(self) -> None:
        """The network fails now."""
        self._lose(error.ConnectionLost())

    def _lose(self, why: Exception) -> None:
        if not self.is_lost:
            self.is_lost = True
            assert self.client is not None
            self.client.connectionLost(Failure(why))


class MemoryNetwork:
    """Hosts by address; a ``Dial``.

    hosts     address (or path of a unix socket) -> NextHop, or an exception that connecting fails with; an address
              that is not there never answers
    dialled   addresses in the order in which they were tried
    """

    def __init__(self, clock: Clock, hosts: Mapping[str, NextHop | Exception], *, cut: int = 0) -> None:
        self.clock = clock
        self.hosts = dict(hosts)
        self.cut = cut
        self.drop_after: int | None = None
        self.dialled: list[str] = []
        self.transports: list[MemoryTransport] = []

    def __call__(self, hop: Hop, address: str, timeout_s: float) -> IStreamClientEndpoint:
        return _MemoryEndpoint(lambda factory: self._connect(factory, hop.path or address, timeout_s))

    def _connect(self, factory: IProtocolFactory, address: str, timeout_s: float) -> defer.Deferred[object]:
        self.dialled.append(address)
        done: defer.Deferred[object] = defer.Deferred(lambda _: answer.cancel())
        host = self.hosts.get(address)
        wait_s = timeout_s if host is None else 0.0
        answer = self.clock.callLater(wait_s, self._answer, factory, host, done)
        return done

    def _answer(
        self, factory: IProtocolFactory, host: NextHop | Exception | None, done: defer.Deferred[object]
    ) -> None:
        if not isinstance(host, NextHop):
            done.errback(host or error.TimeoutError())
            return
        transport = MemoryTransport(self.clock, host.session(), cut=self.cut, drop_after=self.drop_after)
        self.transports.append(transport)
        client = factory.buildProtocol(None)
        assert isinstance(client, protocol.Protocol)
        transport.begin(client)
        done.callback(client)


@implementer(IStreamClientEndpoint)
class _MemoryEndpoint:
    def __init__(self, connect: Callable[[IProtocolFactory], defer.Deferred[object]]) -> None:
        self._connect = connect

    def connect(self, factory: IProtocolFactory) -> defer.Deferred[object]:
        return self._connect(factory)
