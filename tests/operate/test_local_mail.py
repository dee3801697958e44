"""Local mail as it is configured: who users are to us, where their mail lies, and who is told of what was refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from relay.bounce.notify import Reporter
from relay.message.address import Address
from relay.message.envelope import Composed, Envelope, Message, Notify, Origin, Recipient
from relay.message.outcome import Action, Final
from relay.message.step import tell_nobody
from relay.operate import rules
from relay.operate.config import Config
from relay.operate.local_mail import LocalMail, settings_for_files
from relay.operate.shares import part_of
from relay.operate.surroundings import real_surroundings
from relay.policy.access import Domains
from relay.receive.maildrop.taking import Submitter
from relay.receive.settings import ReceiveSettings
from tests.receive.visit import House

FINAL = Final(Action.FAILED, "5.1.1", "550 5.1.1 No such user here", "", 0.0)
BOB = Recipient(Address("bob", "example.net"))


def config(tmp_path: Path, **keys: Any) -> Config:
    given: Mapping[str, Any] = {"hostname": "gate.example.org", "spool": str(tmp_path / "spool"), **keys}
    return Config.model_validate(given, context={"folder": tmp_path})


def may(submitter: Submitter, sender: str) -> bool:
    local, _, domain = sender.partition("@")
    return submitter.user.may_send_as(Address(local, domain), Domains(()))


def test_the_maildrop_is_in_the_spool_unless_another_is_named(tmp_path: Path) -> None:
    assert rules.maildrop(config(tmp_path)) == tmp_path / "spool" / "maildrop"
    assert rules.maildrop(config(tmp_path, sendmail={"maildrop": "drop"})) == tmp_path / "drop"
    assert rules.maildrop(config(tmp_path, sendmail={"maildrop": "none"})) is None


def test_all_workers_have_the_one_maildrop(tmp_path: Path) -> None:
    several = config(tmp_path, workers=3)
    assert {rules.maildrop(part_of(several, worker)) for worker in range(3)} == {tmp_path / "spool" / "maildrop"}


def test_users_send_as_whom_they_like_and_are_known_by_number_and_name(tmp_path: Path) -> None:
    submitter = rules.submitters(config(tmp_path))(1000, "ann")
    assert (submitter.user.name, submitter.helo) == ("uid 1000 (ann)", "ann")
    assert may(submitter, "anybody@anywhere.example")


def test_users_can_be_bound_to_their_own_name_but_for_those_who_are_trusted(tmp_path: Path) -> None:
    found = rules.submitters(
        config(tmp_path, sendmail={"senders": "own", "trusted": ["root", "www-data"], "domain": "example.org"})
    )
    ann = found(1000, "ann")
    assert may(ann, "ann@example.org") and not may(ann, "ann@gate.example.org") and not may(ann, "bob@example.org")
    assert ann.address == Address("ann", "example.org")
    assert may(found(0, "root"), "bob@example.org") and may(found(33, "www-data"), "shop@example.net")


@pytest.mark.parametrize(
    ("name", "login", "helo"),
    [
        ("", "uid 7", "uid-7"),
        ("a) by evil.example (x", "uid 7 (a??by?evil.example??x)", "a??by?evil.example??x"),
        ("a\r\nb", "uid 7 (a??b)", "a??b"),
        ("jörg", "uid 7 (j?rg)", "j?rg"),
    ],
)
def test_a_name_can_not_pose_as_more_than_a_name(tmp_path: Path, name: str, login: str, helo: str) -> None:
    submitter = rules.submitters(config(tmp_path))(7, name)
    assert (submitter.user.name, submitter.helo) == (login, helo)


def test_a_file_is_not_bounded_as_a_session_is() -> None:
    settings = settings_for_files(ReceiveSettings(errors_limit=3, connections_limit=1))
    assert settings.errors_limit > 10**6 and settings.connections_limit > 10**6


class Reports:
    """What is posted."""

    def __init__(self, tmp_path: Path, **keys: Any) -> None:
        loaded = config(tmp_path, **keys)
        self.posted: list[Composed] = []
        around = real_surroundings(Clock(), loaded)
        reporter = Reporter(rules.report_settings(loaded))
        self.local_mail = LocalMail(loaded, around, tell_nobody, House().factory, reporter, self._post)

    async def _post(self, composed: Composed) -> None:
        self.posted.append(composed)

    def tell(self, envelope: Envelope, recipient: Recipient = BOB) -> bool:
        message = Message("mail-1", envelope, Origin(protocol="local"), 0.0, b"", None, 20)
        results: list[bool] = []
        Deferred.fromCoroutine(
            self.local_mail._tell_sender(
                message, [(recipient, FINAL)], lambda octets: succeed(b"Subject: hello\r\n\r\nx\r\n")
            )
        ).addCallback(results.append)
        return results[0]


def test_a_sender_is_told_in_a_report_as_of_any_failure(tmp_path: Path) -> None:
    reports = Reports(tmp_path)
    assert reports.tell(Envelope(Address("ann", "example.org")))
    (composed,) = reports.posted
    assert composed.envelope.reverse_path is None
    assert composed.recipients[0].address == Address("ann", "example.org")
    assert b"Final-Recipient: rfc822; bob@example.net" in composed.content
    assert b"550 5.1.1 No such user here" in composed.content and b"Subject: hello" in composed.content


def test_who_wants_to_hear_nothing_is_told_nothing(tmp_path: Path) -> None:
    reports = Reports(tmp_path)
    assert reports.tell(Envelope(Address("ann", "example.org")), Recipient(BOB.address, Notify.NEVER))
    assert reports.posted == []


def test_without_a_sender_it_is_kept_or_the_postmaster_is_told(tmp_path: Path) -> None:
    assert not Reports(tmp_path).tell(Envelope(None))
    reports = Reports(tmp_path, postmaster="admin@example.org", bounce={"double_bounce": "postmaster"})
    assert reports.tell(Envelope(None))
    assert reports.posted[0].recipients[0].address == Address("admin", "example.org")
