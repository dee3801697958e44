"""The file of users as a source: what it offers, what a check costs, and what is made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.message.reply import Reply
from relay.operate.users import file as module
from relay.operate.users.file import CHECKED_AT_ONCE, RIGHT_FOR_S, WAITING_LIMIT, UserFile
from relay.operate.users.passwords import kept_of
from relay.policy.users import User
from relay.smtp.events import LoginAttempted, Password, Proof
from relay.smtp.scram import ScramSecret

KEY = b"k" * 32
SCRAM = kept_of("geheim", "SCRAM-SHA-256")


class Source:
    """A watched file; ``work`` is what waits to be done aside, when it is not done at once."""

    def __init__(self, path: Path, text: str | None, aside: bool = False, some: bool = False) -> None:
        self.path = path / "users"
        self.clock = Clock()
        self.told: list[str] = []
        self.work: list[Callable[[], None]] = []
        if text is not None:
            self.path.write_text(text, encoding="utf-8")
        in_thread: Any = {"in_thread": self.aside} if aside else {}
        self.file = UserFile(self.path, self.clock, self.tell, KEY, scram_for_some=some, **in_thread)
        self.file.start()

    def tell(self, step: str, /, **fields: object) -> None:
        self.told.append(f"{step} {fields}")

    def aside(self, work: Callable[[], object]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.work.append(lambda: done.callback(work()))
        return done

    def check(self, user: str, password: str, act_as: str = "") -> Deferred[User | Reply]:
        return self.file.check(LoginAttempted("PLAIN", user, Password(password), act_as), "192.0.2.1")

    def answer(self, user: str, password: str, act_as: str = "") -> str:
        """The user's name, or the code."""
        found: list[User | Reply] = []
        self.check(user, password, act_as).addCallback(found.append)
        (one,) = found
        return one.name if isinstance(one, User) else str(one.code)


def test_right_and_wrong(tmp_path: Path) -> None:
    source = Source(tmp_path, f"ann:{{PLAIN}}geheim\nbob:{SCRAM}\n")
    assert source.answer("ann", "geheim") == source.answer("ANN", "geheim") == "ann"
    assert source.answer("bob", "geheim") == "bob"
    for user, password, act_as in (("ann", "x", ""), ("carl", "geheim", ""), ("ann", "geheim", "bob"), ("", "", "")):
        assert source.answer(user, password, act_as) == "535"
    assert source.answer("ann", "geheim", "ann") == "ann"


def test_an_unknown_user_costs_what_somebody_elses_password_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For one name always the same, so that asking twice tells nothing; and a right guess of it lets nobody in."""
    compared: list[str] = []
    real = module.is_right

    def watched(secret: str, password: str) -> bool:
        compared.append(secret)
        return real(secret, password)

    monkeypatch.setattr(module, "is_right", watched)
    source = Source(tmp_path, "".join(f"user{number}:{{PLAIN}}geheim{number}\n" for number in range(20)))
    for _ in range(2):
        for number in range(20):
            source.answer(f"nobody{number}", "geheim0")
    assert len(compared) == 40 and compared[:20] == compared[20:]
    assert len(set(compared)) > 5
    picked = compared[0].removeprefix("{PLAIN}")
    assert source.answer("nobody0", picked) == "535"


def test_few_are_checked_at_once_and_not_many_wait(tmp_path: Path) -> None:
    source = Source(tmp_path, "ann:{PLAIN}geheim\n", aside=True)
    answers: list[User | Reply] = []
    for number in range(CHECKED_AT_ONCE + WAITING_LIMIT + 5):
        source.check("ann", f"x{number}").addCallback(answers.append)
    assert len(source.work) == CHECKED_AT_ONCE
    assert [str(one)[:3] for one in answers] == ["454"] * 5
    while source.work:
        source.work.pop(0)()
    assert len(answers) == CHECKED_AT_ONCE + WAITING_LIMIT + 5


def test_what_was_right_a_moment_ago_is_not_checked_again(tmp_path: Path) -> None:
    """A printer that logs in for each page must not cost a tenth of a second each; a new password counts at once."""
    source = Source(tmp_path, "ann:{PLAIN}geheim\n", aside=True)
    source.check("ann", "geheim")
    source.work.pop()()
    assert source.answer("ann", "geheim") == "ann" and source.work == []
    source.check("ann", "falsch")
    source.work.pop()()
    source.clock.advance(RIGHT_FOR_S + 1)
    source.check("ann", "geheim")
    source.work.pop()()
    source.path.write_text("ann:{PLAIN}anders\n", encoding="utf-8")
    source.clock.pump([1, 1, 1])
    while source.work:
        source.work.pop()()
    answers: list[User | Reply] = []
    source.check("ann", "geheim").addCallback(answers.append)
    source.work.pop()()
    assert str(answers[0]).startswith("535")


def test_scram_is_offered_when_it_works_for_everybody(tmp_path: Path) -> None:
    assert "SCRAM-SHA-256" in Source(tmp_path, f"ann:{SCRAM}\n").file.mechanisms
    mixed = f"ann:{SCRAM}\nbob:{{PLAIN}}x\n"
    assert Source(tmp_path, mixed).file.mechanisms == {"PLAIN", "LOGIN"}
    assert Source(tmp_path, "# nobody\n").file.mechanisms == {"PLAIN", "LOGIN"}
    assert "SCRAM-SHA-256-PLUS" in Source(tmp_path, mixed, some=True).file.mechanisms


def proven(source: Source, user: str, valid: bool) -> str:
    found: list[User | Reply] = []
    source.file.check(LoginAttempted("SCRAM-SHA-256", user, Proof(valid)), "").addCallback(found.append)
    return found[0].name if isinstance(found[0], User) else str(found[0].code)


def test_what_is_made_up_for_an_unknown_user_looks_like_what_is_kept(tmp_path: Path) -> None:
    """The same again tomorrow and after a restart, and another for each name."""
    kept = Source(tmp_path, f"ann:{SCRAM}\n").file.secret("ann")
    one, again, other = (Source(tmp_path, f"ann:{SCRAM}\n").file.secret(name) for name in ("bob", "BOB", "carl"))
    assert isinstance(kept, ScramSecret) and isinstance(one, ScramSecret) and isinstance(other, ScramSecret)
    assert one == again != other
    assert (one.iterations, len(one.salt)) == (kept.iterations, len(kept.salt))
    source = Source(tmp_path, f"ann:{SCRAM}\n")
    assert proven(source, "ann", True) == "ann"
    assert proven(source, "ann", False) == proven(source, "bob", False) == proven(source, "bob", True) == "535"


def test_while_some_have_no_such_password_whoever_fails_is_told_to_try_another_mechanism(tmp_path: Path) -> None:
    """432 4.7.12 (RFC 4954 §6); for everybody, or one could learn who exists and how."""
    source = Source(tmp_path, f"ann:{SCRAM}\nbob:{{PLAIN}}x\n", some=True)
    assert {proven(source, user, False) for user in ("ann", "bob", "nobody")} == {"432"}
    assert proven(source, "ann", True) == "ann"


def test_a_file_that_was_never_readable_is_our_trouble(tmp_path: Path) -> None:
    source = Source(tmp_path, None)
    assert source.answer("ann", "geheim") == "454"
    assert isinstance(source.file.secret("ann"), Reply)
    source.path.write_text("ann:{PLAIN}geheim\n", encoding="utf-8")
    source.clock.pump([1, 1, 1])
    assert source.answer("ann", "geheim") == "ann"
    source.path.write_text("ann:{PLAIN}geheim\nbroken\n", encoding="utf-8")
    source.clock.pump([1, 1, 1])
    assert source.answer("ann", "geheim") == "ann", "what was read last stays in force"
    assert any(line.startswith("trouble") and "users:2" in line for line in source.told)
    assert "geheim" not in str(source.told)
