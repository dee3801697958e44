"""Clients: they hand in letters by SMTP, each in a way of its own, and many of them badly."""

from __future__ import annotations

import re

from tests.simulate.ledger import Letter
from tests.simulate.visit import Said, Script, Step, Visit

_QUEUED = re.compile(r"2\.0\.0 OK ([0-9a-z]{12})$")


def mail_of(letter: Letter) -> str:
    return f"MAIL FROM:<{letter.sender or ''}>{letter.body}"


def rcpt_of(letter: Letter, number: int) -> str:
    wish = letter.notify.get(number)
    return f"RCPT TO:<{letter.recipients[number]}>" + (f" NOTIFY={wish}" if wish else "")


def stuffed(content: bytes) -> bytes:
    """As it goes over the wire after DATA, with its end (RFC 5321 §4.5.2)."""
    dotted = re.sub(rb"(?m)^\.", b"..", content)
    return dotted + b".\r\n"


def _is_no(visit: Visit, said: Said, what: str, *yes: int) -> bool:
    """Whether it is a refusal.  All that is asked here is well formed and allowed: a 5yz would be a lie."""
    if said.code in yes:
        return False
    if not 400 <= said.code < 500:
        visit.wrong(f"{said} to {what}")
    return True


def _ended(visit: Visit, letter: Letter, said: Said) -> None:
    """The reply to the end of the content."""
    if _is_no(visit, said, "the end of the content", 250):
        return
    found = _QUEUED.search(said.lines[-1])
    if found is None:
        visit.wrong(f"{said} to the end of the content")
    else:
        visit.world.acknowledged(letter, found[1])


def _envelope(visit: Visit, letter: Letter, *more: str) -> Step:
    """MAIL, all RCPT and what comes behind them in one write; the replies to MAIL and RCPT are read.  Gives whether
    there is anybody to send it to."""
    visit.say(mail_of(letter), *(rcpt_of(letter, number) for number in range(len(letter.recipients))), *more)
    if _is_no(visit, (yield), "MAIL", 250):
        return False
    for number in range(len(letter.recipients)):
        if not _is_no(visit, (yield), "RCPT", 250):
            letter.taken.append(number)
    return bool(letter.taken)


def _say(visit: Visit, command: str) -> Script:
    """A command whose reply does not matter."""
    visit.say(command)
    yield


def one_by_one(visit: Visit) -> Script:
    """Each command waits for the reply before."""
    for letter in visit.letters:
        visit.say(mail_of(letter))
        if _is_no(visit, (yield), "MAIL", 250):
            continue
        for number in range(len(letter.recipients)):
            visit.say(rcpt_of(letter, number))
            if not _is_no(visit, (yield), "RCPT", 250):
                letter.taken.append(number)
        if not letter.taken:
            yield from _say(visit, "RSET")
            continue
        visit.say("DATA")
        if _is_no(visit, (yield), "DATA", 354):
            yield from _say(visit, "RSET")
            continue
        visit.send(stuffed(letter.content))
        _ended(visit, letter, (yield))
    yield from _say(visit, "QUIT")


def pipelined(visit: Visit) -> Script:
    """A group of commands in one write, with one among them that must be refused, at its place."""
    for letter in visit.letters:
        rcpts = [rcpt_of(letter, number) for number in range(len(letter.recipients))]
        place = visit.chance.randint(0, len(rcpts))
        asked = [mail_of(letter), *rcpts[:place], "RCPT TO:<nobody", *rcpts[place:], "DATA"]
        visit.say(*asked)
        began = False
        number = 0
        for command in asked:
            said = yield
            if command == "RCPT TO:<nobody":
                if said.code < 400:
                    visit.wrong(f"{said} to a path without its end")
            elif not _is_no(visit, said, command, 354 if command == "DATA" else 250) and command[:4] == "RCPT":
                letter.taken.append(number)
            number += command in rcpts
            began = said.code == 354
        if began:
            visit.send(stuffed(letter.content))
            _ended(visit, letter, (yield))
        else:
            yield from _say(visit, "RSET")
    yield from _say(visit, "QUIT")


def in_chunks(visit: Visit) -> Script:
    """By BDAT (RFC 3030), in a few pieces."""
    for letter in visit.letters:
        if not (yield from _envelope(visit, letter)):
            return
        content = letter.content
        cut = visit.chance.randint(0, len(content))
        for piece, last in ((content[:cut], ""), (content[cut:], " LAST")):
            visit.send(f"BDAT {len(piece)}{last}\r\n".encode() + piece)
            said = yield
            if last:
                _ended(visit, letter, said)
            elif _is_no(visit, said, "BDAT", 250):
                return
    yield from _say(visit, "QUIT")


def slowly(visit: Visit) -> Script:
    """Everything takes its time, the content comes in drops."""
    letter = visit.letters[0]
    yield visit.chance.random() * 100
    if not (yield from _envelope(visit, letter)):
        return
    yield visit.chance.random() * 100
    visit.say("DATA")
    if _is_no(visit, (yield), "DATA", 354):
        return
    wire = stuffed(letter.content)
    step = max(1, len(wire) // 6)
    for at in range(0, len(wire), step):
        visit.send(wire[at : at + step])
        yield visit.chance.random() * 60
    _ended(visit, letter, (yield))
    yield from _say(visit, "QUIT")


def resetting(visit: Visit) -> Script:
    """RSET in the middle, and then the same again."""
    visit.say(mail_of(visit.letters[0]), rcpt_of(visit.letters[0], 0), "RSET", "NOOP")
    for _ in range(4):
        yield
    for letter in visit.letters:
        if not (yield from _envelope(visit, letter, "DATA")):
            return
        if _is_no(visit, (yield), "DATA", 354):
            return
        visit.send(stuffed(letter.content))
        _ended(visit, letter, (yield))


def _data(visit: Visit) -> Step:
    """MAIL, one RCPT and DATA at once; gives whether the content may come."""
    letter = visit.letters[0]
    visit.say(mail_of(letter), rcpt_of(letter, 0), "DATA")
    for _ in range(3):
        said = yield
    return said.code == 354


def cut_before_the_dot(visit: Visit) -> Script:
    """Gone in the middle of the content."""
    if (yield from _data(visit)):
        wire = stuffed(visit.letters[0].content)
        visit.send(wire[: visit.chance.randrange(len(wire))])
        yield visit.chance.random()
    visit.drop()


def cut_after_the_dot(visit: Visit) -> Script:
    """Gone before the answer to the content could be read."""
    if (yield from _data(visit)):
        letter = visit.letters[0]
        letter.taken.append(0)
        visit.send(stuffed(letter.content))
        yield visit.chance.random() * 0.02
    visit.drop()


def silent(visit: Visit) -> Script:
    """Says nothing any more, somewhere on the way."""
    letter = visit.letters[0]
    visit.say(mail_of(letter), rcpt_of(letter, 0), "DATA")
    for _ in range(visit.chance.randint(1, 3)):
        yield
    yield visit.chance.choice((1000.0, 4000.0))


GOOD = (one_by_one, pipelined, pipelined, in_chunks)
BAD = (slowly, resetting, cut_before_the_dot, cut_after_the_dot, silent)
