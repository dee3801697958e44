"""What a configuration makes of an envelope, where sessions are not enough to tell: listeners that are gone, TLS that
does not come about, mail of this machine and of programs, reports of our own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay.operate.config import configured, load
from relay.operate.shown import shown
from relay.operate.whatif.fate import Fate
from relay.operate.whatif.house import ENVELOPES, REFUSALS, STAYS, House
from relay.operate.whatif.in_force import command_line, in_force
from relay.operate.whatif.past import Past, Visitor
from relay.testing import certificates

NOW = 1_700_000_000.0
HOME = Visitor("192.0.2.1", "tcp:25", "relay")
PAST = Past(HOME, "ann@ours.example", ("bob@far.example",))


def house(folder: Path, **keys: Any) -> House:
    usual = {
        "hostname": "relay.example",
        "spool": str(folder),
        "listen": [{"endpoint": "tcp:25"}],
        "accept": {"networks": ["192.0.2.0/24"], "domains": ["ours.example"]},
    }
    return House(configured({**usual, **keys}), NOW)


def certificate(folder: Path) -> dict[str, str]:
    pair = certificates.pair("relay.example")
    (folder / "relay.crt").write_bytes(pair.certificate_pem)
    (folder / "relay.key").write_bytes(pair.key_pem)
    return {"certificate": str(folder / "relay.crt"), "key": str(folder / "relay.key")}


def told(fates: Any) -> list[tuple[str, str, str]]:
    return [(one.decision, one.stage, one.reply or one.rule) for one in fates]


def one(found: House, past: Past) -> Fate:
    with found:
        (fate,) = found.fates(past)
    return fate


def test_a_listener_that_is_gone_takes_nothing_and_one_on_its_port_takes_its_place(tmp_path: Path) -> None:
    fate = one(house(tmp_path, listen=[{"endpoint": "tcp:2525"}]), PAST)
    assert (fate.decision, fate.stage, fate.reply) == ("refused", "listener", "nobody listens at tcp:25")
    for endpoint in ("tcp:25:interface=127.0.0.1", "tcp:port=25"):
        assert one(house(tmp_path, listen=[{"endpoint": endpoint}]), PAST).decision == "accepted"


def test_tls_that_does_not_come_about_is_told(tmp_path: Path) -> None:
    tls = {"tls": certificate(tmp_path)}
    within, clear = replace(PAST, visitor=replace(HOME, tls="TLSv1.3")), PAST
    old = replace(PAST, visitor=replace(HOME, tls="TLSv1"))
    assert told([one(house(tmp_path), within)]) == [
        ("refused", "tls", "502 5.5.1 Command not implemented"),
    ]
    assert one(house(tmp_path, **tls), within).decision == "accepted"
    assert told([one(house(tmp_path, **tls), old)]) == [("refused", "tls", "TLSv1 is too old")]
    lax = [{"endpoint": "tcp:25", "tls_minimum": "1.0"}]
    assert one(house(tmp_path, listen=lax, **tls), old).decision == "accepted"
    submissions = [{"endpoint": "tcp:25", "service": "submissions"}]
    assert told([one(house(tmp_path, listen=submissions, **tls), clear)]) == [
        ("refused", "tls", "TLS begins with the first octet there")
    ]


def test_a_refusal_names_the_line_of_its_own_listener(tmp_path: Path) -> None:
    certificate(tmp_path)
    file = tmp_path / "relay.yaml"
    file.write_text(
        "hostname: relay.example\n"
        "tls: {certificate: relay.crt, key: relay.key}\n"
        "listen:\n"
        "  - {endpoint: 'tcp:24'}\n"
        "  - endpoint: tcp:25\n"
        "    tls: required\n",
        encoding="utf-8",
    )
    fate = one(House(load(file), NOW), PAST)
    assert (fate.rule, fate.place) == ("tls: required", f"{file}:6")


def test_mail_of_this_machine_is_judged_by_who_left_it(tmp_path: Path) -> None:
    visitor = Visitor("", "maildrop", "local", login="uid 33 (www-data)")
    past = Past(visitor, "boss@ours.example", ("bob@far.example",))
    assert one(house(tmp_path), past).decision == "accepted"
    own = house(tmp_path, sendmail={"senders": "own"})
    assert told([one(own, past)]) == [("refused", "sender", "553 5.7.1 You may not send as this sender")]
    trusted = house(tmp_path, sendmail={"senders": "own", "trusted": ["www-data"]})
    assert one(trusted, past).decision == "accepted"
    assert one(house(tmp_path, sendmail={"maildrop": "none"}), past).stage == "listener"


def test_mail_of_the_api_goes_as_long_as_there_is_one(tmp_path: Path) -> None:
    visitor = Visitor("198.51.100.1", "tcp:8025:interface=127.0.0.1", "submission", login="api")
    past = Past(visitor, "any@thing.example", ("bob@far.example",))
    assert one(house(tmp_path), past).decision == "accepted"
    assert told([one(house(tmp_path, admin="none"), past)]) == [("refused", "listener", "there is no API")]


def test_what_we_write_ourselves_only_has_a_route(tmp_path: Path) -> None:
    past = Past(None, "", ("ann@ours.example",))
    routes = [{"to": "*", "from": "<>", "via": "smtp://reports.example"}, {"to": "*", "via": "discard:"}]
    fate = one(house(tmp_path, routes=routes), past)
    assert [(to.address, to.lane) for to in fate.targets] == [("ann@ours.example", "smtp:reports.example:25")]


def test_a_size_beyond_the_limit_is_refused_and_one_within_is_not_said(tmp_path: Path) -> None:
    accept = {"networks": ["192.0.2.0/24"], "message_size": 1000}
    assert one(house(tmp_path, accept=accept), replace(PAST, size=1000)).decision == "accepted"
    assert one(house(tmp_path, accept=accept), replace(PAST, size=1001)).reply.startswith("552 5.3.4")


def test_a_signature_is_trusted_by_the_authority_that_is_known_of_it(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(certificates.pair(certificates.AUTHORITY).certificate_pem)
    away = Visitor("198.51.100.1", "tcp:25", "relay", "TLSv1.3", certificate=f"signed by CN={certificates.AUTHORITY}")
    past, tls = replace(PAST, visitor=away), certificate(tmp_path)
    accept = {"certificates": [str(tmp_path / "ca.pem")]}
    assert one(house(tmp_path, accept=accept, tls=tls), past).decision == "accepted"
    assert one(house(tmp_path, tls=tls), past).decision == "refused"
    stranger = replace(past, visitor=replace(away, certificate="signed by CN=Authority of nobody"))
    assert one(house(tmp_path, accept=accept, tls=tls), stranger).decision == "refused"


def test_a_session_that_is_kept_judges_as_a_new_one(tmp_path: Path) -> None:
    """However many envelopes, refusals and visitors there are: nobody is sent away for what others did."""
    refused = replace(PAST, visitor=replace(HOME, client="198.51.100.1"))
    with house(tmp_path) as found:
        for number in range(3 * ENVELOPES):
            past = replace(PAST if number % 2 else refused, sender=f"{number}@ours.example")
            (fate,) = found.fates(past)
            assert fate.decision == ("accepted" if number % 2 else "refused")
        many = replace(refused, recipients=tuple(f"{number}@far.example" for number in range(REFUSALS // 2 - 1)))
        for _ in range(5):
            assert {one.reply[:9] for one in found.fates(many)} == {"550 5.7.1"}
        for number in range(STAYS + 20):
            visitor = replace(HOME, client=f"192.0.2.{number % 256}", login="" if number < 256 else "x")
            assert len(found.fates(replace(PAST, visitor=visitor))) == 1
        assert len(found._stays) <= STAYS


def test_the_limit_of_recipients_holds_within_an_envelope(tmp_path: Path) -> None:
    past = replace(PAST, recipients=("a@far.example", "b@far.example", "c@far.example"))
    accept = {"networks": ["192.0.2.0/24"], "max_recipients": 2}
    with house(tmp_path, accept=accept) as found:
        assert told(found.fates(past))[1:] == [
            ("accepted", "recipient", "250 2.1.5 OK"),
            ("temporary", "recipient", "452 4.5.3 Too many recipients"),
        ]


# -- what is in force ----------------------------------------------------------------------------------------------

WHOLE = """\
hostname: relay.example
admin: none
listen: [{endpoint: 'tcp:25'}, {endpoint: 'tcp:587', service: submission, tls_minimum: 1.0, login_without_tls: true}]
tls: {certificate: relay.crt, key: relay.key}
accept:
  networks: [10.0.0.0/8, "::1/128"]
  domains: [ours.example, .sub.example]
  users: users
  recipients: users
  certificates: [relay.crt, "sha256:%s"]
  mechanisms: [PLAIN]
forward:
  root: admin@x.example
  a@ours.example: [b@x.example, c@x.example]
  m@ours.example: {refer: n@x.example}
postmaster: p@x.example
directory: {crispin: Mark Crispin <mrc@example.org>}
sendmail: {maildrop: none, senders: own, trusted: [www-data], domain: lan.example}
webhooks: [{url: "https://user:pw@x.example/hook?secret=1", secret_file: users}]
routes:
  - {to: a.example, via: [smtp://m1:25, smtps://m2], tls: verify, user: me, password_file: users, mechanisms: [PLAIN]}
  - {to: b.example, from: '<>', via: 'mx:', tls: dane}
  - {to: c.example, via: 'reject:550 5.7.1 No'}
  - {to: d.example, via: 'discard:', hold: true}
  - {to: e.example, via: smtp://10.0.0.5, tls: fingerprint, fingerprints: ["sha256:%s"]}
  - {to: "[192.0.2.1]", from: .x.example, via: lmtp+unix:/run/x}
"""


def row_of(config: Any) -> dict[str, Any]:
    return {"source": config.source, "settings": shown(config), "places": dict(config.places)}


def test_what_the_relay_shows_of_its_configuration_is_that_configuration(tmp_path: Path) -> None:
    certificate(tmp_path)
    (tmp_path / "users").write_text("", encoding="utf-8")
    file = tmp_path / "relay.yaml"
    file.write_text(WHOLE % ("ab" * 32, "cd" * 32), encoding="utf-8")
    config = load(file)
    again = in_force(row_of(config))
    assert [key for key in type(config).model_fields if getattr(config, key) != getattr(again, key)] == ["webhooks"]
    assert (again.source, again.places) == (config.source, config.places)
    assert again.place("accept.networks[0]") == f"{file}:6"


@pytest.mark.parametrize("text", ["", "routes: [{to: x.example, via: smtp://a.example}]\n"])
def test_what_it_was_started_with_beside_its_file_is_known(tmp_path: Path, text: str) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text(text, encoding="utf-8")
    plain = command_line(row_of(load(file)))
    assert (plain.listen, plain.smarthost, str(plain)) == ((), None, "")
    found = command_line(row_of(load(file, listen=["tcp:2526"], smarthost="h.example:587")))
    assert (found.listen, found.smarthost) == (("tcp:2526",), "h.example:587")
    assert str(found) == "--listen tcp:2526 --smarthost h.example:587"


def test_a_function_is_shown_as_one(tmp_path: Path) -> None:
    config = configured({"routes": [{"to": "x.example", "via": "function:inbox"}]}, functions=["inbox"])
    assert in_force(row_of(config)).routes == config.routes
