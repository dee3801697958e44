"""Picking up: what was left comes into the queue once, by the same rules as anybody's, and no death loses any of it."""

from __future__ import annotations

import os
import pwd
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from relay.message.envelope import Body, Ret
from relay.policy.policy import PolicySettings, Service
from relay.policy.recipients import parse_recipients
from relay.queue.store import StoreFull, StoreUnavailable
from relay.receive.maildrop.looking import Maildrop
from relay.receive.maildrop.pickup import BREATH_S, LOOK_S, LOOK_WATCHED_S
from relay.receive.maildrop.turns import FIRST_REST_S
from tests.receive.maildrop.folder import EVE, LETTER, as_user, leave, maildrop, needs_root
from tests.receive.maildrop.postman import GIVE_UP_S, Fate, Postman, ann_only
from tests.receive.visit import HOSTNAME, House

ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def folder(public_path: Path) -> Path:
    return maildrop(public_path)


def left(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if one.name != "set-aside")


def at_work(folder: Path, *args: object, **kwargs: object) -> Postman:
    postman = Postman(folder, *args, **kwargs)  # type: ignore[arg-type]
    postman.pick_up.start()
    return postman


def test_what_was_left_while_the_relay_was_down_is_picked_up_at_its_start(folder: Path) -> None:
    leave(folder, "bob@example.net", "carl@example.net", body=Body.EIGHTBIT, ret=Ret.HDRS, envid="x1")
    postman = at_work(folder)
    stored = postman.house.only
    assert postman.queued == ["bob@example.net", "carl@example.net"] and left(folder) == []
    assert stored.content == LETTER
    envelope = stored.message.envelope
    assert (str(envelope.reverse_path), envelope.body, envelope.ret, envelope.envid) == (
        "ann@example.org",
        Body.EIGHTBIT,
        Ret.HDRS,
        "x1",
    )


def test_what_comes_while_it_runs_is_picked_up_at_once(folder: Path) -> None:
    postman = at_work(folder)
    leave(folder)
    assert postman.queued == []
    postman.come()
    assert postman.queued == ["bob@example.net"]


def test_where_nobody_tells_of_it_it_is_found_within_a_second(folder: Path) -> None:
    postman = at_work(folder, watches=False)
    leave(folder)
    postman.house.clock.advance(LOOK_S)
    assert postman.queued == ["bob@example.net"]


def test_nothing_is_looked_at_again_and_again(folder: Path) -> None:
    """One look a minute, while nothing comes."""
    postman = at_work(folder)
    (call,) = postman.house.clock.getDelayedCalls()
    assert call.getTime() - postman.house.clock.seconds() == LOOK_WATCHED_S


def test_who_moves_files_to_and_fro_does_not_keep_us_busy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is told, there is one look in a twentieth of a second."""
    looks: list[None] = []
    real = Maildrop.look
    monkeypatch.setattr(Maildrop, "look", lambda self, *args: (looks.append(None), real(self, *args))[1])
    postman = at_work(folder)
    for _ in range(10):
        for _ in range(100):
            for told in postman.watched:
                told()
        postman.house.clock.advance(BREATH_S)
    assert 10 <= len(looks) <= 12


def test_who_it_was_stands_in_received(folder: Path) -> None:
    leave(folder)
    stored = at_work(folder).house.only
    who = (
        f"Received: from localhost (uid {os.getuid()} ({ME}))\r\n\tby {HOSTNAME} with local id {stored.message.id}\r\n"
    )
    assert stored.message.head.startswith(who.encode())
    assert stored.message.origin.login == f"uid {os.getuid()} ({ME})"


def test_what_a_submission_lacks_is_added(folder: Path) -> None:
    leave(folder)
    head = at_work(folder).house.only.message.head
    assert b"\r\nDate: " in head and b"\r\nFrom: <ann@example.org>\r\n" in head and b"\r\nMessage-ID: <" in head


def test_a_large_message_goes_in_pieces(folder: Path) -> None:
    content = b"Subject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * 30_000
    leave(folder, content=content)
    assert at_work(folder).house.only.content == content


def test_more_recipients_than_a_transaction_takes_go_in_several(folder: Path) -> None:
    names = [f"user{n}@example.net" for n in range(25)]
    leave(folder, *names)
    postman = at_work(folder, recipients_limit=10)
    assert sorted(postman.queued) == sorted(names)
    assert len(postman.house.stored) == 3 and left(folder) == []


# -- the same rules ---------------------------------------------------------------------------------------


KNOWN = parse_recipients("known@ours.example\n")
NO_SUCH = PolicySettings(HOSTNAME, domains=("ours.example",), recipients_listed=True)


def test_who_is_refused_is_reported_to_the_sender_and_the_others_get_it(folder: Path) -> None:
    postman = Postman(folder, NO_SUCH)
    postman.house.policy.recipients = KNOWN
    leave(folder, "known@ours.example", "nobody@ours.example")
    postman.pick_up.start()
    assert postman.queued == ["known@ours.example"]
    assert postman.reported == [("ann@example.org", ["nobody@ours.example 550 5.1.1 No such user here"], LETTER)]
    assert left(folder) == []


def test_a_message_that_is_refused_is_reported_for_all_its_recipients(folder: Path) -> None:
    leave(folder, "bob@example.net", "carl@example.net", content=b"x" * 5000)
    postman = at_work(folder, size_limit_octets=1000)
    ((sender, told, content),) = postman.reported
    assert sender == "ann@example.org" and len(told) == 2 and "552 5.3.4" in told[0] and content == b"x" * 1000
    assert postman.queued == [] and left(folder) == []


def test_a_huge_file_is_refused_by_its_size_and_not_read(folder: Path) -> None:
    """A sparse file costs who left it nothing."""
    name = leave(folder)
    tail = (folder / name).read_bytes()[len(LETTER) :]
    with (folder / name).open("r+b") as stream:
        stream.truncate(1 << 40)
        stream.seek(0, os.SEEK_END)
        stream.write(tail)
    postman = at_work(folder)
    assert len(postman.reported) == 1 and "552 5.3.4" in postman.reported[0][1][0]
    assert left(folder) == []


def test_bare_line_ends_are_refused_as_from_anybody(folder: Path) -> None:
    leave(folder, content=b"Subject: x\n\nbody\n.\nMAIL FROM:<eve@example.org>\n")
    postman = at_work(folder)
    assert "550 5.5.2" in postman.reported[0][1][0] and postman.queued == []


def test_what_is_refused_and_has_no_sender_is_set_aside(folder: Path) -> None:
    name = leave(folder, sender=None, content=b"x" * 5000)
    postman = at_work(folder, size_limit_octets=1000)
    (told,) = postman.house.steps("set_aside")
    assert "there is no sender to be told" in str(told["error"]) and "552" in str(told["error"])
    assert (folder / "set-aside" / name).exists() and left(folder) == []


def test_a_sender_that_is_not_the_users_is_refused_and_the_user_is_told(folder: Path) -> None:
    """Whoever was claimed has nothing to do with it."""
    leave(folder, sender="ceo@ours.example")
    leave(folder, sender="ann@ours.example")
    postman = at_work(folder, submitter=ann_only)
    ((sender, told, _),) = postman.reported
    assert sender == "ann@ours.example" and "553 5.7.1" in told[0]
    assert len(postman.house.stored) == 1 and left(folder) == []


def test_a_broken_file_is_set_aside_and_told_once_and_keeps_nobody_waiting(folder: Path) -> None:
    (folder / "mail-broken").write_bytes(b"x")
    leave(folder)
    postman = at_work(folder)
    (told,) = postman.house.steps("set_aside")
    assert told["login"] == f"uid {os.getuid()}" and str(told["place"]).endswith("mail-broken")
    for _ in range(3):
        postman.come()
        postman.house.clock.advance(LOOK_WATCHED_S)
    assert len(postman.house.steps("set_aside")) == 1
    assert postman.queued == ["bob@example.net"]


def test_strange_things_are_told_once(folder: Path) -> None:
    (folder / "hello").touch()
    postman = at_work(folder)
    for number in range(3):
        (folder / f"later-{number}").touch()  # by whom names are no secret: they are no reason to say it anew
        postman.house.clock.advance(LOOK_WATCHED_S)
    (told,) = postman.house.steps("trouble")
    assert str(told["error"]).endswith("did not leave, and are passed over: hello")


@needs_root
def test_a_flood_of_one_user_does_not_hold_up_another(folder: Path) -> None:
    as_user(EVE, lambda: [leave(folder, "flood@example.net") for _ in range(70)])
    leave(folder, "late@example.net")
    postman = at_work(folder)
    assert postman.queued.index("late@example.net") <= 2 and len(postman.queued) == 51
    postman.house.clock.advance(BREATH_S)
    assert len(postman.queued) == 71


# -- trouble of ours --------------------------------------------------------------------------------------


def test_trouble_of_ours_leaves_it_where_it_is_and_it_is_tried_again(folder: Path) -> None:
    name = leave(folder)
    postman = Postman(folder)
    postman.house.store.trouble["commit"] = StoreFull("no room")
    postman.pick_up.start()
    assert postman.queued == [] and left(folder) == [name]
    del postman.house.store.trouble["commit"]
    postman.come()
    assert postman.queued == [], "it rests"
    postman.house.clock.advance(FIRST_REST_S)
    assert postman.queued == ["bob@example.net"] and left(folder) == []


def test_what_waits_is_told_once_with_the_reason(folder: Path) -> None:
    name = leave(folder)
    postman = Postman(folder)
    postman.house.room = 0
    postman.pick_up.start()
    for _ in range(5):
        postman.house.clock.advance(FIRST_REST_S * 20)
    (told,) = postman.house.steps("trouble")
    assert str(told["place"]).endswith(name) and "tried again: 452 4.3.1" in str(told["error"])
    postman.house.room = 10**12
    postman.house.clock.advance(FIRST_REST_S * 50)
    assert postman.queued == ["bob@example.net"]


def test_only_who_has_not_had_it_is_tried_again(folder: Path) -> None:
    """The list of recipients was not read yet: 450 for our own, and the others are not kept waiting."""
    leave(folder, "bob@example.net", "known@ours.example")
    postman = at_work(folder, NO_SUCH)
    assert postman.queued == ["bob@example.net"] and len(left(folder)) == 1
    postman.house.policy.recipients = KNOWN
    postman.house.clock.advance(FIRST_REST_S)
    assert sorted(postman.queued) == ["bob@example.net", "known@ours.example"] and left(folder) == []


def test_what_could_not_be_taken_in_for_too_long_is_reported(folder: Path) -> None:
    leave(folder, "known@ours.example")
    postman = at_work(folder, NO_SUCH)
    assert postman.reported == []
    postman.taking.give_up_s = -1e12
    postman.house.clock.advance(FIRST_REST_S)
    ((_, told, _),) = postman.reported
    assert "450 4.2.1" in told[0] and left(folder) == []
    assert GIVE_UP_S > 0


def test_a_report_that_cannot_be_written_is_made_later_and_nobody_gets_mail_twice(folder: Path) -> None:
    leave(folder, "bob@example.net", "nobody@ours.example")
    postman = Postman(folder, NO_SUCH)
    postman.house.policy.recipients = KNOWN
    postman.trouble = StoreUnavailable("no")
    postman.pick_up.start()
    assert postman.queued == ["bob@example.net"] and len(left(folder)) == 1
    postman.trouble = None
    postman.house.clock.advance(FIRST_REST_S)
    assert postman.queued == ["bob@example.net"] and len(postman.reported) == 1 and left(folder) == []


def test_a_file_that_cannot_be_removed_is_removed_later_and_goes_out_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(folder)
    real = os.unlink

    def failing(*args: object, **kwargs: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "unlink", failing)
    postman = at_work(folder)
    assert postman.queued == ["bob@example.net"] and len(left(folder)) == 1
    monkeypatch.setattr(os, "unlink", real)
    postman.house.clock.advance(FIRST_REST_S)
    assert postman.queued == ["bob@example.net"] and left(folder) == []


def test_a_folder_that_was_replaced_is_served(folder: Path) -> None:
    postman = at_work(folder)
    folder.rename(folder.parent / "old")
    postman.house.clock.advance(LOOK_WATCHED_S)
    assert "it must be a folder" in str(postman.house.steps("trouble")[0]["error"])
    maildrop(folder.parent)
    leave(folder)
    postman.house.clock.advance(LOOK_WATCHED_S)
    assert postman.queued == ["bob@example.net"] and len(postman.house.steps("trouble")) == 1


def test_the_end_waits_for_what_is_being_taken_in(folder: Path) -> None:
    leave(folder)
    postman = Postman(folder)
    postman.house.store.slow_commits = True
    postman.pick_up.start()
    ended: list[None] = []
    postman.pick_up.stop().addCallback(ended.append)
    assert not ended
    postman.house.store.commit_now()
    assert ended and left(folder) == [] and postman.watched == []
    leave(folder)
    assert postman.queued == ["bob@example.net"]


# -- death ------------------------------------------------------------------------------------------------


class Mortal(House):
    """A house whose commits are steps of a life."""

    def __init__(self, fate: Fate) -> None:
        super().__init__(NO_SUCH, Service.LOCAL, recipients_limit=2)
        self.policy.recipients = KNOWN
        real = self.store.commit

        def commit(*args: Any) -> Any:
            return fate.step(lambda: real(*args))

        self.store.commit = commit  # type: ignore[method-assign]


def live(folder: Path, fate: Fate) -> Postman:
    postman = Postman(folder, fate=fate, house=Mortal(fate))
    postman.pick_up.start()
    return postman


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_no_death_at_any_step_loses_anything_and_at_worst_something_comes_twice(public_path: Path, after: bool) -> None:
    """The first life ends in the midst of its first, second, third … step, until one has lived to its end."""
    for at in range(1, 100):
        (public_path / str(at)).mkdir()
        folder = maildrop(public_path / str(at))
        leave(folder, "bob@example.net", "nobody@ours.example", "known@ours.example", "carl@example.net")
        leave(folder, "dora@example.net")
        (folder / "mail-broken").write_bytes(b"x")
        fate = Fate(at, after)
        lives = [live(folder, fate), live(folder, Fate())]
        queued = Counter(name for one in lives for name in one.queued)
        reported = [line for one in lives for _, lines, _ in one.reported for line in lines]
        assert set(queued) == {"bob@example.net", "known@ours.example", "carl@example.net", "dora@example.net"}
        assert reported and all(line.startswith("nobody@ours.example 550 5.1.1") for line in reported)
        assert left(folder) == [] and (folder / "set-aside" / "mail-broken").exists()
        assert max(queued.values()) <= 2 and len(reported) <= 2
        if not fate.is_dead:
            assert set(queued.values()) == {1} and len(reported) == 1
            assert at > 8, "there were no steps to die in"
            return
    raise AssertionError("it never lived to its end")
