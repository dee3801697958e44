"""What is found out about a message that might come, and of one that is still here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ConnectionRefusedError

from relay.message.address import parse_mailbox
from relay.message.envelope import Envelope, Message, Origin, Recipient
from relay.message.outcome import Action, Final
from relay.operate.answers.explain import question_of
from relay.operate.control import BadRequest, Request
from relay.operate.explaining.explanation import explain_message
from relay.operate.explaining.finding import Finding
from relay.operate.explaining.rehearsal import Rehearsal
from relay.operate.explaining.standing import Standing
from relay.queue.store import QueuedRecipient, State
from relay.receive.tls import fingerprint_of
from relay.receive.visit import Visit
from relay.route.dane import Tlsa
from relay.route.names import TLSA
from relay.schedule.retry import RetrySettings
from relay.testing import certificates
from tests.fakes.next_hop import NextHop
from tests.operate.explaining import START, Asked, all_of, detail, the
from tests.receive.visit import STRANGER, House

USERS = "ann@ours.example:{PLAIN}x\noff:{PLAIN}x::::::nologin\nhome:{PLAIN}x::::::allow_nets=10.0.0.0/8\n"


def asked(folder: Path, text: str = "") -> Asked:
    (folder / "users").write_text(USERS, encoding="utf-8")
    (folder / "recipients").write_text("bob@ours.example\n", encoding="utf-8")
    found = Asked(folder, text)
    found.names.mx("elsewhere.example", (10, "mx.elsewhere.example"))
    found.names.a("mx.elsewhere.example", "192.0.2.1")
    return found


# -- the way in -----------------------------------------------------------------------------------------------


def test_each_step_is_told_in_order_with_its_rule_and_place(tmp_path: Path) -> None:
    text = "accept:\n  networks: [192.168.0.0/16]\nforward:\n  all@ours.example: [a@x.example, b@x.example]\n"
    findings = asked(tmp_path, text).findings("all@ours.example", client="192.168.1.20", sender="printer@lan")
    steps = [one for one in findings if one.part == "in"]
    assert [one.what for one in steps] == [
        *("configuration", "listener", "connection", "hello", "sender", "recipient", "content")
    ]
    file = tmp_path / "relay.yaml"
    assert (steps[2].rule, steps[2].place) == ("accept.networks: 192.168.0.0/16", f"{file}:3")
    assert steps[2].reply == "220 relay.example Simple Mail Transfer Service Ready"
    assert (steps[5].rule, steps[5].place) == ("forward: all@ours.example", f"{file}:5")
    assert steps[5].details["to"] == ["a@x.example", "b@x.example"]
    assert the(findings, "route").details["recipients"] == ["a@x.example", "b@x.example"]


WITH_USERS = "accept: {networks: [127.0.0.1], users: users}\n"
IN_CLEAR = "listen:\n  - {endpoint: tcp:25, login_without_tls: true}\n"
SUBMISSION = "listen:\n  - {endpoint: tcp:587, service: submission, login_without_tls: true}\n"
MUST = "listen:\n  - {endpoint: tcp:587, login: required, login_without_tls: true}\n"
NEVER = "listen:\n  - {endpoint: tcp:25, login: none}\n"
AWAY = {"client": "192.0.2.9"}
AS_ANN = {"login": "ann@ours.example"}
NO_USER = "there is no user eve in {folder}/users"
IT_IS_OURS = "if elsewhere.example is ours, add that to accept.domains"

REFUSALS: list[tuple[str, dict[str, Any], str, str, str, str]] = [
    ("", AWAY, "recipient", "550 5.7.1", "not in accept.networks", f"does not hold 192.0.2.9; add it; {IT_IS_OURS}"),
    (WITH_USERS, AWAY, "recipient", "550 5.7.1", "not in accept.networks", "accept.networks in {file}:2 does not hold"),
    (WITH_USERS + IN_CLEAR, AWAY, "recipient", "550", "not in accept.networks", "or let it log in (--login USER)"),
    (
        WITH_USERS + MUST,
        {},
        "sender",
        "530 5.7.0 Auth",
        "login: required",
        "(--login USER), or write login: offered in",
    ),
    (WITH_USERS + SUBMISSION, AWAY, "sender", "530", "service: submission", "add 192.0.2.9 to accept.networks"),
    (SUBMISSION, AWAY, "sender", "550 5.7.1", "not in accept.networks", "add it, or add users who can log in"),
    (SUBMISSION, {"sender": "me@lan"}, "sender", "554 5.1.8", "submission: RFC 6409 §4.2", "write the full domain"),
    (WITH_USERS, AS_ANN, "login", "538 5.7.11", "login_without_tls: false", "let the client begin TLS first (--tls)"),
    ("", AS_ANN, "login", "502 5.5.1", "there are no users", "add the line users: /etc/relay/users under accept"),
    (WITH_USERS + NEVER, AS_ANN, "login", "502 5.5.1", "login: none", "use a listener where clients may log in"),
    (WITH_USERS + IN_CLEAR, {"login": "eve"}, "login", "535 5.7.8", NO_USER, "relay user add eve"),
    (
        WITH_USERS + IN_CLEAR,
        {"login": "off"},
        "login",
        "535",
        "off is switched off",
        "take nologin out of {folder}/users:2",
    ),
    (WITH_USERS + IN_CLEAR, {"login": "home"}, "login", "535", "allow_nets of home: 10.0.0.0/8", "add 127.0.0.1 in"),
    (
        WITH_USERS + IN_CLEAR,
        {**AS_ANN, "sender": "eve@else.example"},
        *("sender", "553 5.7.1", "senders of ann@ours.example: own domains"),
        "relay user senders ann@ours.example eve@else.example",
    ),
    ("", {"tls": True}, "tls", "502 5.5.1", "there is no certificate", "add the line tls: {{certificate:"),
    ("accept: {message_size: 9}\n", {"size": 10}, "sender", "552", "accept.message_size: 9 octets", "raise it"),
    ("", {"sender": "änn@ours.example"}, "sender", "550 5.6.7", "RFC 6531 §3.5", "--smtputf8"),
    ("", {"sender": "no address"}, "sender", "501 5.1.7", "RFC 5321 §4.1.2", "name@example.org"),
]


@pytest.mark.parametrize(("text", "wishes", "what", "reply", "rule", "remedy"), REFUSALS)
def test_a_refusal_says_what_would_let_it_pass(
    tmp_path: Path, text: str, wishes: dict[str, Any], what: str, reply: str, rule: str, remedy: str
) -> None:
    findings = asked(tmp_path, text).findings("bob@elsewhere.example", **wishes)
    found = the(findings, what)
    words = {"file": tmp_path / "relay.yaml", "folder": tmp_path}
    assert found.reply.startswith(reply)
    assert found.rule == rule.format(**words)
    assert remedy.format(**words) in found.remedy
    assert the(findings, "verdict").decision == "refused"
    assert not all_of(findings, "route")


@pytest.mark.parametrize(
    ("to", "reply", "remedy"),
    [
        ("eve@ours.example", "550 5.1.1", "add the line eve@ours.example to {folder}/recipients"),
        ("moved@ours.example", "551 5.1.6", "send to the new address"),
        ("no address", "553 5.1.3", "name@example.org"),
        ("bøb@ours.example", "553 5.6.7", "--smtputf8"),
    ],
)
def test_so_does_that_of_a_recipient(tmp_path: Path, to: str, reply: str, remedy: str) -> None:
    text = (
        "accept: {domains: [ours.example], recipients: recipients}\n"
        "forward: {moved@ours.example: {refer: new@else.example}}\n"
    )
    findings = asked(tmp_path, text).findings("bob@ours.example", to)
    assert the(findings, "recipient", "bob@ours.example").decision == "accepted"
    found = the(findings, "recipient", to)
    assert found.reply.startswith(reply)
    assert remedy.format(folder=tmp_path) in found.remedy
    verdict = the(findings, "verdict")
    assert (verdict.decision, verdict.about) == ("refused", to)


def test_one_recipient_too_many_is_put_off(tmp_path: Path) -> None:
    findings = asked(tmp_path, "accept: {max_recipients: 1}\n").findings("a@elsewhere.example", "b@elsewhere.example")
    found = the(findings, "recipient", "b@elsewhere.example")
    assert (found.decision, found.reply[:9], found.rule) == ("temporary", "452 4.5.3", "accept.max_recipients: 1")
    assert the(findings, "verdict").decision == "temporary"


def test_a_list_that_cannot_be_read_is_trouble_of_ours(tmp_path: Path) -> None:
    found = asked(tmp_path, "accept: {domains: [ours.example], recipients: recipients}\n")
    (tmp_path / "recipients").write_text("not an address\n", encoding="utf-8")
    finding = the(found.findings("bob@ours.example"), "recipient")
    assert (finding.decision, finding.reply[:9]) == ("temporary", "450 4.2.1")


def test_who_keeps_the_passwords_elsewhere_is_not_asked_and_that_is_said(tmp_path: Path) -> None:
    text = "accept: {users: 'dovecot:/run/dovecot/auth'}\nlisten:\n  - {endpoint: tcp:25, login_without_tls: true}\n"
    found = the(
        asked(tmp_path, text).findings(client="192.0.2.9", login="ann@x.example", sender="ann@x.example"), "login"
    )
    assert (found.decision, found.details["assumed"], found.details["mechanism"]) == ("accepted", True, "PLAIN")


def shown_certificate(folder: Path, by: str = certificates.AUTHORITY) -> tuple[str, str]:
    """A client's certificate: its fingerprint, and as PEM; and in the folder the authority that may have signed it."""
    pair = certificates.pair("device.example", by)
    (folder / "ca.pem").write_bytes(certificates.pair(certificates.AUTHORITY).certificate_pem)
    (folder / "relay.pem").write_bytes(certificates.pair("relay.example").certificate_pem)
    return f"sha256:{fingerprint_of(pair.certificate)}", pair.certificate_pem.decode()


def with_certificates(entry: str) -> str:
    return f"tls: {{certificate: relay.pem, key: relay.pem}}\naccept:\n  certificates: ['{entry}']\n"


def test_a_certificate_that_is_trusted_lets_a_stranger_in(tmp_path: Path) -> None:
    fingerprint, pem = shown_certificate(tmp_path)
    for entry, certificate in ((fingerprint, fingerprint), (fingerprint, pem), ("ca.pem", pem)):
        found = asked(tmp_path, with_certificates(entry))
        findings = found.findings(client="192.0.2.9", tls=True, certificate=certificate)
        told = the(findings, "certificate")
        assert (told.decision, told.details["is_trusted"]) == ("accepted", True)
        assert told.rule.startswith("accept.certificates: " + ("sha256:" if entry == fingerprint else "signed by CN="))
        assert the(findings, "recipient").decision == "accepted"
        assert the(findings, "recipient").rule == told.rule


def test_one_that_is_not_helps_nobody_and_what_would_is_said(tmp_path: Path) -> None:
    fingerprint, _ = shown_certificate(tmp_path)
    _, stranger = shown_certificate(tmp_path, certificates.STRANGER)
    for entry, certificate in (("sha256:" + "ab" * 32, fingerprint), ("ca.pem", fingerprint), ("ca.pem", stranger)):
        found = asked(tmp_path, with_certificates(entry))
        findings = found.findings(client="192.0.2.9", tls=True, certificate=certificate)
        told = the(findings, "certificate")
        assert (told.decision, told.rule) == ("told", "not in accept.certificates")
        assert "accept.certificates" in told.remedy
        assert the(findings, "recipient").decision == "refused"


def test_a_certificate_is_shown_within_tls_only(tmp_path: Path) -> None:
    fingerprint, _ = shown_certificate(tmp_path)
    found = asked(tmp_path, with_certificates(fingerprint))
    assert not all_of(found.findings(client="192.0.2.9", certificate=fingerprint), "certificate")


def test_the_place_of_a_rule_is_the_line_of_the_entry(tmp_path: Path) -> None:
    networks = "  networks:\n    - 10.0.0.0/8\n    - 192.168.0.0/16\n"
    found = asked(tmp_path, f"accept:\n{networks}  domains:\n    - x.example\n    - .ours.example\n")
    assert the(found.findings(client="192.168.1.1"), "connection").place.endswith("relay.yaml:5")
    recipient = the(found.findings("bob@mail.ours.example", client="192.0.2.9"), "recipient")
    assert (recipient.rule, recipient.place[-12:]) == ("accept.domains: .ours.example", "relay.yaml:8")


def test_a_login_needs_a_listener_where_it_can_be(tmp_path: Path) -> None:
    text = (
        "accept: {users: users}\nlisten:\n  - {endpoint: tcp:25}\n"
        "  - {endpoint: tcp:587, service: submission, login_without_tls: true}\n"
    )
    found = asked(tmp_path, text)
    assert the(found.findings(), "listener").about == "tcp:25"
    assert the(found.findings(login="ann@ours.example"), "listener").about == "tcp:587"
    with pytest.raises(ValueError, match="no listener tcp:99; there are: tcp:25, tcp:587"):
        found.findings(listener="tcp:99")


def test_a_rehearsal_counts_as_the_real_one_would_and_changes_no_count() -> None:
    house = House(client_limit=2)
    first = house.visit(STRANGER)
    attendance = house.factory._attendance
    for _ in range(3):
        with Visit(Rehearsal(house.factory, attendance).factory, STRANGER) as visit:
            assert visit.client.ip == STRANGER
            assert not visit._inside.is_closed
            assert attendance.of_group(STRANGER) == 1
    house.visit(STRANGER)
    with Visit(Rehearsal(house.factory, attendance).factory, STRANGER) as visit:
        assert visit._inside.is_closed, "a third one is one too many"
    assert (attendance.total, attendance.of_group(STRANGER)) == (2, 2)
    assert [step for step, _ in house.told] == ["connected"] * 2
    first.leaves()
    assert not house.stored


def test_at_rest_nothing_is_written(tmp_path: Path) -> None:
    found = asked(tmp_path, "accept: {users: users}\n")
    before = sorted(tmp_path.iterdir())
    found.findings()
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"recipients": ["a@b.example"], "certificate": "sha256:abc"}, "certificate: .* not a SHA-256 fingerprint"),
        ({"recipients": ["a@b.example"], "certificate": "-----BEGIN CERTIFICATE-----"}, "no certificate in it"),
        ({}, "to whom"),
        ({"recipients": ["a@b\r\nDATA"]}, "cannot be said"),
        ({"recipients": ["a@b"], "sender": "x\0"}, "cannot be said"),
        ({"recipients": ["a@b"], "client": "somewhere"}, "must be an IP address"),
        ({"recipients": ["a@b"], "size": -1}, "from 0"),
        ({"recipients": ["a@b"], "sise": 1}, "nothing is known of sise"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(fields: dict[str, object], fault: str) -> None:
    with pytest.raises(BadRequest, match=fault):
        question_of(Request(fields))


def test_what_is_not_asked_for_is_as_usual() -> None:
    asked_for = question_of(Request({"recipients": ["a@b"], "login": "ann@x.example", "client": "2001:DB8::1"}))
    assert (asked_for.sender, asked_for.client, asked_for.helo) == (
        "ann@x.example",
        "2001:db8::1",
        "[IPv6:2001:db8::1]",
    )
    assert question_of(Request({"recipients": ["a@b"], "client": "unix", "login": "printer"})).sender == ""


# -- the way out ----------------------------------------------------------------------------------------------


def test_every_host_is_told_of_and_why_it_is_left_out(tmp_path: Path) -> None:
    found = asked(tmp_path)
    names = found.names
    names.mx(
        "elsewhere.example",
        *((10, "mx.elsewhere.example"), (10, "lo.example"), (20, "gone.example"), (20, "down.example")),
        *((30, "relay.example"), (40, "last.example"), (50, "192.0.2.8")),
    )
    names.a("lo.example", "127.0.0.1")
    names.trouble("down.example", "A")
    findings = found.findings()
    hosts = {one.about: one for one in all_of(findings, "host")}
    assert hosts["mx.elsewhere.example:25"].decision == "accepted"
    assert {name: one.details["left_out"] for name, one in hosts.items() if "left_out" in one.details} == {
        "lo.example": "it is in a network where no mail host of others can be (dns.unreachable)",
        "gone.example": "it has no address",
        "down.example": "the DNS gives no answer for its addresses",
        "relay.example": "it is this machine",
        "last.example": "it is no more preferred than this machine (RFC 5321 §5.1)",
        "192.0.2.8": "it names no host",
    }
    assert hosts["lo.example"].details["addresses"] == ["127.0.0.1"]
    dns = {(one.about, one.details["kind"]): one.details for one in all_of(findings, "dns")}
    assert dns["elsewhere.example", "MX"]["records"][0] == "10 mx.elsewhere.example"
    assert dns["down.example", "A"]["answer"] == "no answer"


def test_more_hosts_than_an_attempt_tries_are_told_apart(tmp_path: Path) -> None:
    found = asked(tmp_path)
    found.names.mx("elsewhere.example", *((number, f"m{number}.example") for number in range(7)))
    for number in range(7):
        found.names.a(f"m{number}.example", f"192.0.2.{number + 1}")
    hosts = all_of(found.findings(), "host")
    assert ["left_out" in one.details for one in hosts] == [False] * 5 + [True] * 2


def test_the_tls_of_a_host_and_whence_it_comes(tmp_path: Path) -> None:
    found = asked(
        tmp_path,
        "dns: {trusted: [127.0.0.1]}\nroutes:\n  - {to: own.example, via: smtp://smarthost.lan, tls: verify}\n",
    )
    host = the(found.findings("bob@own.example"), "host")
    assert detail(host, "tls", "level") == "verify"
    assert detail(host, "tls", "whence") == f"routes[0], {tmp_path}/relay.yaml:4"
    assert detail(host, "addresses") == ["10.9.9.9"], "as /etc/hosts has it"
    host = the(found.findings(), "host")
    assert (detail(host, "tls", "level"), detail(host, "tls", "whence")) == (
        "opportunistic",
        "neither DANE nor MTA-STS",
    )
    record = Tlsa(3, 1, 1, b"x" * 32)
    found.names.add("_25._tcp.mx.elsewhere.example", TLSA, record)
    found.names.sign("elsewhere.example")
    host = the(found.findings(), "host")
    assert detail(host, "tls", "level") == "dane"
    assert detail(host, "tls", "whence") == "the TLSA records at _25._tcp.mx.elsewhere.example"
    assert detail(host, "tls", "tlsa") == [str(record)]


@pytest.mark.parametrize(("secret", "readable"), [("geheim\n", True), ("", False)])
def test_credentials_are_told_and_the_secret_is_not(tmp_path: Path, secret: str, readable: bool) -> None:
    (tmp_path / "secret").write_text(secret, encoding="utf-8")
    text = "routes:\n  - {to: '*', via: smtp://smarthost.lan, user: me, password_file: secret, mechanisms: [PLAIN]}\n"
    findings = asked(tmp_path, text).findings()
    login = detail(the(findings, "host"), "login")
    assert (login["user"], login["by"], login["mechanisms"], login["readable"]) == (
        "me",
        "password",
        ["PLAIN"],
        readable,
    )
    assert "geheim" not in str([one.row() for one in findings])


def test_when_it_would_be_tried_warned_of_and_given_up(tmp_path: Path) -> None:
    text = "retry: {first: 1m, factor: 2, longest: 4m, warn_after: 5m, give_up_after: 12m}\n"
    times = the(asked(tmp_path, text).findings(), "times")
    assert [round(at - START) for at in times.details["attempts_at"]] == [0, 60, 180, 300, 540, 720]  # type: ignore[union-attr]
    assert (times.details["warns_at"], times.details["expires_at"]) == (START + 300, START + 720)


def test_a_probe_goes_from_host_to_host_until_it_is_decided(tmp_path: Path) -> None:
    found = asked(tmp_path)
    found.names.mx("elsewhere.example", (10, "down.example"), (20, "mx.elsewhere.example"), (30, "never.example"))
    found.names.a("down.example", "192.0.2.66")
    found.names.a("never.example", "192.0.2.67")
    found.hop("192.0.2.66", ConnectionRefusedError())
    hop = NextHop(recipients={"eve@elsewhere.example": "550 5.1.1 nobody"})
    found.hop("192.0.2.1", hop)
    findings = found.findings("bob@elsewhere.example", "eve@elsewhere.example", probe=True)
    probes = [one for one in findings if one.part == "probe"]
    assert [(one.what, one.about, one.decision) for one in probes] == [
        ("host", "down.example:25", "temporary"),
        ("host", "mx.elsewhere.example:25", "refused"),
        ("way", "2 recipients", "refused"),
    ]
    lines = [one["line"] for one in detail(probes[1], "dialogue")]
    assert "> RCPT TO:<eve@elsewhere.example>" in lines
    assert not any("DATA" in line for line in lines)
    assert [one["decision"] for one in detail(probes[1], "recipients")] == ["accepted", "refused"]
    assert "192.0.2.67" not in found.network.dialled
    assert the(findings, "verdict").decision == "refused"
    assert not hop.taken


# -- a message in the queue -----------------------------------------------------------------------------------

RETRY = RetrySettings(first_s=60, factor=2, longest_s=3600, warn_after_s=4 * 3600, give_up_after_s=5 * 86400)


def message(accepted_at: float = START) -> Message:
    return Message("m1", Envelope(parse_mailbox("ann@ours.example")), Origin(), accepted_at, b"", b"x\r\n", 3)


def row(**said: Any) -> QueuedRecipient:
    usual: dict[str, Any] = {"lane": "x.example", "due_at": START + 60, "attempts": 1, "note": "450 4.2.0 later"}
    return QueuedRecipient(0, Recipient(parse_mailbox("bob@x.example")), **{**usual, **said})


def standing(
    one: QueuedRecipient, turn: int | None = None, lane: str = "x.example", now: float = START + 10, **there: Any
) -> Finding:
    destinations = {"x.example": {"in_flight": 5, "window": 5, "resting_until": None, "error": "", **there}}
    turns = {} if turn is None else {0: turn}
    (found,) = Standing(message(), turns, destinations, lambda *_: lane, RETRY, now).findings([one])
    return found


FINAL = Final(Action.FAILED, "5.1.1", "550 5.1.1 nobody", "mx.example", START)


LATER = "450 4.2.0 later"
OWING = "its outcome is final, and the report to the sender is not in the queue yet"
IN_LINE = "it waits for its turn at its destination, in place 3; there 5 of 5 attempts are under way"
NO_ROOM = "it is due, and waits for room: as much is in hand as may be"
FLUSH = "relay queue flush --destination 'x.example' ends that, and tries again"


@pytest.mark.parametrize(
    ("found", "why", "remedy", "reply"),
    [
        (standing(row()), "it could not be served so far, and is tried again", "relay queue retry m1", LATER),
        (standing(row(state=State.HELD, note="as I say")), "it is held: as I say", "relay queue release m1", ""),
        (standing(row(state=State.OWING, final=FINAL)), OWING, "", "550 5.1.1 nobody"),
        (standing(row(), turn=0), "it is being tried now", "", LATER),
        (standing(row(), turn=3), IN_LINE, "", LATER),
        (standing(row(), resting_until=START + 500), "its destination rests", FLUSH, LATER),
        (standing(row(due_at=START)), NO_ROOM, "", LATER),
    ],
)
def test_why_it_is_still_here_and_what_would_change_that(found: Finding, why: str, remedy: str, reply: str) -> None:
    assert (found.rule, found.remedy, found.reply) == (why, remedy, reply)


def test_the_times_ahead_are_those_of_the_scheduler() -> None:
    found = standing(row(attempts=2, due_at=START + 180))
    assert found.details["next_at"] == START + 180
    assert [at - START for at in found.details["attempts_at"]][:4] == [180, 420, 900, 1860]  # type: ignore[union-attr]
    assert (found.details["warns_at"], found.details["expires_at"]) == (START + 4 * 3600, START + 5 * 86400)
    resting = standing(row(), resting_until=START + 500)
    assert resting.details["next_at"] == START + 500, "no earlier than its destination wakes"
    in_hand = standing(row(due_at=START + 900), turn=1)
    assert in_hand.details["next_at"] == START + 10, "its due time is a lease"
    assert standing(row(warned=True)).details["warns_at"] is None
    late = standing(row(due_at=START + 5 * 86400), now=START + 5 * 86400 - 10)
    assert late.details["attempts_at"] == [START + 5 * 86400]


def test_a_route_that_has_changed_since_is_told() -> None:
    assert standing(row(), lane="smtp:other").details["destination_now"] == "smtp:other"


def test_a_message_is_explained_with_the_way_that_it_has_now(tmp_path: Path) -> None:
    found = asked(tmp_path, "routes:\n  - {to: x.example, via: smtp://smarthost.lan}\n")
    rows = [
        row(),
        QueuedRecipient(1, Recipient(parse_mailbox("no@x.example")), "x.example", 0, state=State.OWING, final=FINAL),
    ]
    findings = found.gathered(explain_message(found.premises(), message(START - 100), rows, {}))
    assert the(findings, "message").details["accepted_at"] == START - 100
    assert [one.about for one in all_of(findings, "recipient")] == ["bob@x.example", "no@x.example"]
    assert the(findings, "route").details["recipients"] == ["bob@x.example"], "nothing is tried of what is owing"
    assert the(findings, "recipient", "bob@x.example").details["destination_now"] == "smtp:smarthost.lan:25"
    assert the(findings, "verdict").details["is_queued"]
