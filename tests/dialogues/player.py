r"""SMTP dialogues as data: read them, play them over anything that carries octets.

A dialogue is a text file of lines that begin with

    #        a comment; the first ones say what law or scar it is about
    @        what the server is set up with, as in ``@ users Jones@foo.com`` (list below)
    C:       a line from the client, sent with CRLF; ``C:`` alone is an empty line
    B:       octets from the client as they stand, with the escapes of Python's bytes (\r \n \0 \xff) and no CRLF
    B*600:   the same so many times
    S:       a line that the server must answer

An indented line goes on like any other, and lines without any of these beginnings are faults.  All that the
client says up to the next ``S:`` is sent as one batch.  ``S: closed`` means that the server closes.

A reply matches when its code is the one that is told and its text begins with what is told; an enhanced code
may be told or left out.  The first line of a positive reply to EHLO, HELO and LHLO need only have the same domain:
what else stands there is free (RFC 5321 §4.1.1.1).  The lines after it may come in any order, among others, and
with parameters: ``S: 250-SIZE`` is answered by ``250-SIZE 1000000``.

Settings (without any, the server is foo.com, has no users and relays for everybody who is not one of its own):

    hostname NAME         how the server calls itself; its own domain
    users A@B C@D …       the addresses that exist in the domains they are of; others there are 550
    untrusted             this client may not relay, nor use VRFY, EXPN, HELP STATUS
    directory KEY: TEXT   what VRFY KEY answers; twice the same key is ambiguous
    forward A -> B …      251 when it is one that may be told; EXPN lists them
    refer A -> B          551
    size N                message size limit in octets
    recipients N          recipients limit
    lmtp                  the server speaks LMTP
    login USER PASSWORD   who may log in, and only then relay; the client must, where the setting must-log-in is
    in-the-clear          they may do so without TLS
    starttls              TLS can be begun; what the client says after it is taken as said within TLS
    must-encrypt          it must be begun
    encrypted             the whole dialogue is within TLS
    bare-line-ends normalise
    off KEYWORD …         extensions that are not offered
    answer STEP REPLY     the server's own trouble: STEP is connect, hello, mail, rcpt, data, content
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3} ?")
_LINE = re.compile(r"(?:(C|S|B(?:\*(?P<times>\d+))?):|(@|#)) ?(?P<rest>.*)")


class DialogueFailed(AssertionError):
    """The server did not say what the dialogue tells."""


@dataclass(frozen=True)
class Step:
    """What the client sends at once, and the replies to it, each as its lines.  ``closed``: then it is over."""

    sent: bytes
    replies: tuple[tuple[str, ...], ...]
    closed: bool = False


@dataclass(frozen=True)
class Dialogue:
    name: str
    settings: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]

    def setting(self, name: str) -> list[str]:
        """The values of a setting, one for each time it is given."""
        return [value for key, value in self.settings if key == name]


def dialogues() -> list[Path]:
    return sorted(FOLDER.glob("*.txt"))


def read(path: Path) -> Dialogue:
    settings: list[tuple[str, str]] = []
    lines: list[bytes | str] = []
    for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not text.strip():
            continue
        match = _LINE.fullmatch(text.lstrip())
        if match is None:
            raise ValueError(f"{path.name}:{number}: {text!r} is no line of a dialogue")
        kind, rest = match[1] or match[3], match["rest"]
        if kind == "@":
            key, _, value = rest.partition(" ")
            settings.append((key, value))
        elif kind == "S":
            lines.append(rest)
        elif kind == "C":
            lines.append(rest.encode() + b"\r\n")
        elif kind != "#":
            lines.append(rest.encode().decode("unicode_escape").encode("latin-1") * int(match["times"] or 1))
    return Dialogue(path.stem, tuple(settings), tuple(_steps(lines)))


def _steps(lines: list[bytes | str]) -> Iterator[Step]:
    sent, replies, reply, closed = b"", list[tuple[str, ...]](), list[str](), False
    for text in lines:
        if isinstance(text, bytes):
            if replies:
                yield Step(sent, tuple(replies))
                sent, replies = b"", []
            sent += text
        elif text == "closed":
            closed = True
        else:
            reply.append(text)
            if text[3:4] != "-":
                replies.append(tuple(reply))
                reply = []
    yield Step(sent, tuple(replies), closed)


def play(dialogue: Dialogue, send: Callable[[bytes], None], receive: Callable[[], bytes]) -> None:
    """Plays the client's part, and compares.  Raises DialogueFailed.

    send     carries octets to the server
    receive  gives what has come from the server, some at least; empty when it closed, or will say nothing more
    """
    replies = _Replies(dialogue.name, receive)
    for step in dialogue.steps:
        if step.sent:
            send(step.sent)
        for expected in step.replies:
            is_hello = step.sent[:4].upper() in (b"EHLO", b"HELO", b"LHLO")
            actual = replies.next()
            if not _matches(expected, actual, is_hello):
                raise DialogueFailed(f"{dialogue.name}: after {step.sent!r}\nexpected {expected}\n     got {actual}")
        if step.closed and (more := replies.rest()):
            raise DialogueFailed(f"{dialogue.name}: not closed, but {more!r}")
    if replies.unread:
        raise DialogueFailed(f"{dialogue.name}: more was said: {replies.unread!r}")


class _Replies:
    def __init__(self, name: str, receive: Callable[[], bytes]) -> None:
        self._name = name
        self._receive = receive
        self.unread = b""

    def next(self) -> tuple[str, ...]:
        """The next whole reply, as its lines."""
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            lines.append(self._line())
        return tuple(lines)

    def _line(self) -> str:
        while b"\r\n" not in self.unread:
            data = self._receive()
            if not data:
                raise DialogueFailed(f"{self._name}: the server said nothing more; so far {self.unread!r}")
            self.unread += data
        line, _, self.unread = self.unread.partition(b"\r\n")
        assert len(line) <= 510, "RFC 5321 §4.5.3.1.5: reply line longer than 512 octets"
        return line.decode("utf-8")

    def rest(self) -> bytes:
        return self.unread or self._receive()


def _matches(expected: tuple[str, ...], actual: tuple[str, ...], is_hello: bool) -> bool:
    if is_hello and expected[0][:1] == "2" == actual[0][:1]:
        first = expected[0][:3] == actual[0][:3] and expected[0][4:].split(" ")[:1] == actual[0][4:].split(" ")[:1]
        return first and all(any(_line_matches(line, one) for one in actual[1:]) for line in expected[1:])
    if len(expected) == 1:
        return _line_matches(expected[0], actual[0])
    return len(expected) == len(actual) and all(map(_line_matches, expected, actual))


def _line_matches(expected: str, actual: str) -> bool:
    text = actual[4:]
    return expected[:3] == actual[:3] and (
        text.startswith(expected[4:]) or _ENHANCED.sub("", text, count=1).startswith(expected[4:])
    )
