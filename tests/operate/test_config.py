"""Loading the configuration: all faults at once, defaults, overrides, places."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from relay.message.address import parse_mailbox
from relay.operate.config import Config, ConfigFaults, load
from relay.operate.faults import every_key
from relay.operate.places import dotted
from relay.operate.rules import login_of, route_table, security_of
from relay.operate.settings import Settings
from relay.operate.settings.receiving import Accept, Tell
from relay.policy.policy import Whom
from relay.route.via import Discard, Hop, HopList
from relay.smtp.data import BareLineEnds

Load = Callable[[str], Config]

FAULTY = """\
hostname: no way
spoool: /x
listen:
  - endpoint: tcp:abc
  - endpont: tcp:25
    service: submision
accept:
  networks: [10.0.0.1/8, "x"]
  recipients: 1000
  message_size: 50 MoB
  domains: example.org
  users: /etc/relay/users
forward:
  a@b.example: c@d.example
  A@b.example: {refer: x@y.example}
  sales: [x@y.example, bad]
tls: {certificate: /x}
retry: {first: 60, factor: 0, longest: 1h}
workers: 0
max_hops: 3
routes:
  - to: "*"
    via: []
  - via: smtp://x.example
    usr: me
  - foo
  - {to: example.org, via: "smtp://a:b@c.example"}
bounce: {double_bounce: postmaster}
group: mail
log: yes
log: {format: jsn}
"""

EXPECTED = """\
1:11 hostname
2:1 spoool
4:15 listen[0].endpoint
5:5 listen[1].endpoint
5:5 listen[1].endpont
6:14 listen[1].service
8:14 accept.networks[0]
8:26 accept.networks[1]
9:15 accept.recipients
10:17 accept.message_size
11:12 accept.domains
12:10 accept.users
16:24 forward.sales[1]
17:20 tls.certificate
18:16 retry.first
18:28 retry.factor
19:10 workers
20:1 max_hops
23:10 routes[0].via
24:5 routes[1].to
25:5 routes[1].usr
26:5 routes[2]
27:28 routes[3].via
28:25 bounce.double_bounce
29:8 group
31:1 log
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    def loaded(text: str) -> Config:
        path = tmp_path / "relay.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path)

    return loaded


def faults_of(load_text: Load, text: str) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        load_text(text)
    return [str(fault) for fault in caught.value.faults]


def test_every_fault_is_told_at_once_with_line_and_column(loaded: Load, tmp_path: Path) -> None:
    faults = [fault.removeprefix(f"{tmp_path}/relay.yaml:") for fault in faults_of(loaded, FAULTY)]
    told = [re.sub(r": .*", "", fault.replace(": ", " ", 1)) for fault in faults]
    assert told == EXPECTED.splitlines()
    assert all("; " in fault or "did you mean" in fault or "it is" in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("spoool: /x", 'did you mean "spool"?'),
        ("max-hops: 3", "unknown key here; it is accept.max_hops"),
        ("accept: {recipients: 1000}", "the number of recipients is limited by accept.max_recipients"),
        ("listen: [{endpoint: tcp:25, service: submision}]", 'did you mean "submission"?'),
        ("listen: [{endpoint: tcp:25, service: submissions}]", "add the line tls: {certificate: /etc/relay/tls.crt"),
        ("listen: [{endpoint: tcp:25, tls: required}]", "TLS needs a certificate"),
        ("listen: [{endpoint: tcp:25, login: required}]", "add the line users: /etc/relay/users under accept"),
        ("listen: [{endpoint: tcp:25, tls_minimum: 1.4}]", "1.4 is not a version of TLS; write 1.0, 1.1, 1.2 or 1.3"),
        ("accept: {users: nowhere}", "there is no file"),
        ("accept: {mechanisms: [CRAM-MD5]}", '"CRAM-MD5" is not a mechanism that is known here'),
        ("accept: {certificates: ['sha256:12']}", "openssl x509 -noout -fingerprint -sha256"),
        ("accept: {tokens: {introspection: http://login.example/x}}", "is not a URL for this; write it like https://"),
        ("accept: {tokens: {client_id: relay}}", "missing; add the line introspection: https://"),
        ("listen: [{service: relay}]", "missing; add the line endpoint: tcp:25"),
        ("listen: []", "the list is empty; name one at least"),
        ("listen: [{endpoint: tcp:25}, {endpoint: tcp:25}]", "stands here twice"),
        ("accept: [x]", "is not a mapping; write keys and values"),
        ("accept: {max_hops: many}", '"many" is not a number'),
        ("accept: {max_hops: 0}", "it must be at least 1"),
        ("accept: {max_hops: true}", "is not a number"),
        ("tell: {vrfy: everyone}", '"everyone" is not one of trusted, anybody, nobody'),
        ("forward: {a@x.example: {tell: perhaps, to: b@x.example}}", "is neither true nor false"),
        ("forward: {a@x.example: {}}", "either `to` says where mail goes, or `refer`"),
        ("forward: {a@x.example: {to: b@x.example, refer: c@x.example}}", "give one of them"),
        ("forward: {a@x.example: b@x.example, A@X.example: c@x.example}", "are the same address"),
        ("forward: {a@x.example: b@x.example, b@x.example: a@x.example}", "goes round in a circle"),
        ("forward: {'a b@x.example': b@x.example}", '"a b@x.example" is not an address'),
        ("directory: {ann: Ann Example}", "is not a person"),
        ("routes: [{to: '*', via: smtp.example:25}]", "the protocol is missing; write smtp://smtp.example:25"),
        ("routes: [{to: '@x.example', via: 'discard:'}]", "write x.example for every address of that domain"),
        ("routes: [{to: '*', via: 'smtp://x.example', tls: verifi}]", 'did you mean "verify"?'),
        ("routes: [{to: '*', via: 'discard:', tls: verify}]", "are for routes to hosts"),
        ("routes: [{to: '*', via: 'lmtp+unix:/x', tls: verify}]", "a unix socket has no TLS"),
        ("routes: [{to: '*', via: 'smtps://x.example', tls: none}]", "smtps:// is TLS from the first octet"),
        ("routes: [{to: '*', via: 'mx:', tls: fingerprint}]", "fingerprint and fingerprints go together"),
        ("routes: [{to: '*', via: 'mx:', fingerprints: [x]}]", "64 hexadecimal digits"),
        ("routes: [{to: '*', via: 'mx:', tls: dane, authorities: relay.yaml}]", "authorities are for tls: verify"),
        ("routes: [{to: '*', via: 'smtp://x.example', password_file: relay.yaml}]", "there is no user to log in as"),
        ("routes: [{to: '*', via: 'smtp://x.example', user: me}]", "a user needs a password_file or oauth"),
        ("routes: [{to: '*', via: 'mx:', user: me, password_file: relay.yaml}]", "who are given no password"),
        ("routes: [{to: '*', via: 'smtp://x.example', user: me, password_file: nowhere}]", "there is no file"),
        (
            "routes: [{to: '*', via: 'smtp://x.example', user: me, password_file: 'credential:a/b'}]",
            "names no credential",
        ),
        (
            "routes: [{to: '*', via: 'smtp://x.example', user: me, password_file: relay.yaml, tls: require}]",
            "lets anybody pose as the next hop",
        ),
        (
            "routes: [{to: '*', via: 'smtp://x.example', user: me, password_file: relay.yaml, mechanisms: [XOAUTH2]}]",
            "XOAUTH2 is for oauth",
        ),
        (
            "routes: [{to: '*', via: 'smtp://x.example', user: me, oauth: {client_id: x}}]",
            "missing; add the line token_",
        ),
        ("dns: {trusted: [localhost]}", "is not an IP address"),
        ("retry: {warn_after: 6d}", "`warn_after` is not before `give_up_after`"),
        ("retry: {first: 2h}", "the first wait is longer than the longest"),
        ("bounce: {double_bounce: postmaster}", "there is no postmaster; add the line postmaster:"),
        ("accept: {recipients: nowhere}", "there is no file"),
        ("user: 5", "is not text; put it in quotes"),
        ("- a", "a configuration is a mapping"),
        ("hostname: [", "this is not YAML"),
    ],
)
def test_a_fault_says_what_would_be_right(loaded: Load, text: str, advice: str) -> None:
    faults = faults_of(loaded, text)
    assert any(advice in fault for fault in faults), faults


def test_a_user_means_that_the_hop_proves_who_it_is(loaded: Load) -> None:
    """Credentials never go to a stranger unless the route says so."""
    login = "via: smtp://x.example, user: me, password_file: relay.yaml"
    routes = [
        f"{{to: a.example, {login}}}",
        f"{{to: b.example, {login}, login_unverified: true}}",
        f"{{to: c.example, {login}, tls: none, login_unverified: true}}",
        "{to: d.example, via: smtp://x.example}",
        "{to: e.example, via: 'mx:'}",
        "{to: f.example, via: 'mx:', tls: require}",
        f"{{to: g.example, via: smtps://x.example, tls: fingerprint, fingerprints: ['{'ab' * 32}']}}",
    ]
    config = loaded(f"routes: [{', '.join(routes)}]")
    found = [security_of(route, "") for route in config.routes]
    assert [one and one.level.value for one in found] == [
        "verify",
        "opportunistic",
        "none",
        None,
        None,
        "require",
        "fingerprint",
    ]
    logins = [login_of(route) for route in config.routes]
    assert [one is not None and one.unverified for one in logins[:3]] == [False, True, True]
    assert not any(logins[3:])
    table = route_table(config)
    route = table.route(None, parse_mailbox("bob@a.example"))
    assert ";tls=verify;login=me," in route.lane


def test_a_credential_of_systemd_is_found_where_it_puts_it(loaded: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "routes: [{to: '*', via: smtp://x.example, user: me, password_file: 'credential:provider'}]"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert loaded(text).routes[0].password_file == Path("/run/credentials/relay.service/provider")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/other")
    assert loaded(text).routes[0].password_file == Path("/run/credentials/other/provider")


def test_what_cannot_work_yet_is_warned_of(loaded: Load) -> None:
    oauth = "{token_endpoint: 'https://x.example/t', client_id: us, refresh_token_file: nowhere}"
    config = loaded(
        "hostname: relay.example\n"
        f"routes: [{{to: a.example, via: smtp://x.example, user: me, oauth: {oauth}}},"
        " {to: b.example, via: 'mx:', tls: dane}]"
    )
    first, second = config.warnings
    assert "relay oauth login makes it" in first.what and "name a validating resolver" in second.what


def test_a_file_that_is_not_there_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults, match=r"relay\.yaml: cannot be read: No such file or directory"):
        load(tmp_path / "relay.yaml")


def test_a_file_that_is_not_utf_8_is_one_fault(tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_bytes(b"hostname: b\xfccher.example\n")
    with pytest.raises(ConfigFaults, match="the octet at 11 is not UTF-8"):
        load(tmp_path / "relay.yaml")


def test_without_a_file_it_is_no_open_relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load()
    assert [listen.endpoint for listen in config.listen] == ["tcp:2525:interface=127.0.0.1"]
    assert config.spool == tmp_path / "spool"
    assert config.accept.domains == ()
    assert config.routes == ()
    assert all(network.is_loopback for network in config.accept.networks)
    for client in ("10.0.0.1", "192.168.1.1", "8.8.8.8", "2001:db8::1", "fe80::1", "0.0.0.0"):
        assert not any(ip_address(client) in network for network in config.accept.networks)


def test_an_empty_file_is_the_built_in_configuration(loaded: Load, tmp_path: Path) -> None:
    config = loaded("# nothing yet\n")
    assert config.accept == Accept()
    assert config.spool == tmp_path / "spool"


def test_everybody_among_the_networks_is_warned_of(loaded: Load) -> None:
    config = loaded("hostname: mx.example.org\naccept:\n  networks: [127.0.0.0/8, 0.0.0.0/0]\n")
    (warning,) = config.warnings
    assert (warning.place.line, warning.place.column) == (3, 27)
    assert "open relay" in warning.what


def test_routes_that_are_never_used_and_a_bare_hostname_are_warned_of(loaded: Load) -> None:
    config = loaded('hostname: mx\nroutes: [{to: "*", via: "mx:"}, {to: x.example, via: "mx:"}]\n')
    assert [warning.path for warning in config.warnings] == ["routes[0]", "hostname"]


def test_reports_that_are_not_signed_are_warned_of(loaded: Load, tmp_path: Path) -> None:
    """RFC 8460 §3: whoever gets them is to ignore them."""
    (warning,) = loaded("hostname: mx.example.org\ntls_reports: {send: true}\n").warnings
    assert warning.path == "tls_reports.send" and "not signed" in warning.what
    (tmp_path / "key").touch()
    assert (
        loaded("hostname: mx.example.org\ntls_reports: {send: true, dkim: {selector: tlsrpt, key: key}}\n").warnings
        == ()
    )


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "relay.yaml"
    listen = "listen: [{endpoint: tcp:1}, {endpoint: tcp:2}, {endpoint: tcp:3}]"
    path.write_text(f"spool: /from/file\n{listen}\n", encoding="utf-8")
    config = load(path, listen=["tcp:2526", "tcp:2527"], spool=tmp_path / "here", smarthost="smtp.example:587")
    assert [listen.endpoint for listen in config.listen] == ["tcp:2526", "tcp:2527"]
    assert config.spool == tmp_path / "here"
    assert config.routes[0].via == HopList((Hop("smtp.example", 587),))
    assert config.place("listen") == "--listen"
    assert config.place("listen[1].endpoint") == "--listen"
    assert config.place("listen[2].endpoint") == "built-in default"
    assert config.place("routes[0]") == "--smarthost"


def test_a_faulty_value_in_the_file_does_not_matter_when_an_option_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "relay.yaml"
    path.write_text("listen: [{endpoint: tcp:25}]\nlisten: x\n", encoding="utf-8")
    assert load(path, listen=["tcp:2526"]).listen[0].endpoint == "tcp:2526"


def test_a_smart_host_takes_the_place_of_the_route_to_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "relay.yaml"
    path.write_text(
        'routes:\n  - {to: a.example, via: "discard:"}\n  - {to: "*", via: "smtp://old.example"}\n'
        '  - {to: b.example, via: "discard:"}\n',
        encoding="utf-8",
    )
    config = load(path, smarthost="[2001:db8::1]:2525")
    assert [route.to for route in config.routes] == ["a.example", "*", "b.example"]
    assert config.routes[1].via == HopList((Hop("2001:db8::1", 2525),))
    assert config.routes[0].via == Discard()
    assert config.place("routes[1].via") == "--smarthost"
    assert config.place("routes[2].via") == f"{path}:4"


def test_a_bad_option_is_a_fault_like_any_other() -> None:
    with pytest.raises(ConfigFaults) as caught:
        load(listen=["tcp:x"], smarthost="smtp.example:99999")
    assert [fault.place.file for fault in caught.value.faults] == ["--smarthost", "--listen"]


def test_each_value_knows_its_place(loaded: Load, tmp_path: Path) -> None:
    config = loaded(
        'hostname: mx.example.org\nroutes:\n  - to: "*"\n    via: "mx:"\nforward:\n  a@x.example: b@x.example\n'
    )
    assert config.place("routes[0].via") == f"{tmp_path}/relay.yaml:4"
    assert config.place("routes[0]") == f"{tmp_path}/relay.yaml:3"
    assert config.place("forward.a@x.example") == f"{tmp_path}/relay.yaml:6"
    assert config.place("accept.networks") == "built-in default"
    assert config.source == f"{tmp_path}/relay.yaml"


def test_a_relative_path_starts_at_the_folder_of_the_file(loaded: Load, tmp_path: Path) -> None:
    (tmp_path / "people").write_text("ann\n", encoding="utf-8")
    config = loaded("spool: queue\naccept: {recipients: people}\nlog: {file: /var/log/relay.log}\n")
    assert config.spool == tmp_path / "queue"
    assert config.accept.recipients == tmp_path / "people"
    assert config.log.file == Path("/var/log/relay.log")


def test_a_forward_has_a_short_form_and_a_long_one(loaded: Load) -> None:
    config = loaded(
        "forward:\n  a@x.example: b@x.example\n  c: [d@x.example, e@x.example]\n"
        "  '@y.example': {to: f@x.example, tell: true}\n  g@x.example: {refer: h@x.example}\n"
    )
    shown = [(key, [*map(str, one.to)], str(one.refer), one.tell) for key, one in config.forward.items()]
    assert shown == [
        ("a@x.example", ["b@x.example"], "None", None),
        ("c", ["d@x.example", "e@x.example"], "None", None),
        ("@y.example", ["f@x.example"], "None", True),
        ("g@x.example", [], "h@x.example", None),
    ]


def test_a_reload_keeps_what_only_a_restart_can_change(loaded: Load) -> None:
    older = loaded("hostname: a.example\nlog: {file: /var/log/a, level: info}\naccept: {max_hops: 10}\n")
    newer = loaded("hostname: b.example\nlog: {file: /var/log/b, level: debug}\naccept: {max_hops: 20}\n")
    assert older.needs_restart(newer) == ("hostname", "log.file")
    kept = newer.keeping(older)
    assert (kept.hostname, kept.log.file, kept.log.level) == ("a.example", Path("/var/log/a"), "debug")
    assert kept.accept.max_hops == 20
    assert kept.place("accept.max_hops").endswith(":3")
    assert older.needs_restart(kept) == ()


def test_a_configuration_cannot_be_changed(loaded: Load) -> None:
    config = loaded("")
    with pytest.raises(ValueError, match="frozen"):
        config.accept.max_hops = 3  # type: ignore[misc]  # that is what is tested


def test_the_words_are_those_of_the_stages() -> None:
    assert set(typing.get_args(Tell.model_fields["vrfy"].annotation)) == {whom.value for whom in Whom}
    lines = Accept.model_fields["bare_line_ends"].annotation
    assert set(typing.get_args(lines)) == {ends.value for ends in BareLineEnds}


def test_every_key_is_found_by_its_path() -> None:
    keys = {dotted(path) for path in every_key(Settings)}
    assert {"hostname", "listen.endpoint", "routes.from", "forward.refer", "retry.give_up_after"} <= keys
