"""What a configuration names is looked at by ``relay check`` and by the start, before anything is made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock

from relay.operate import cli, footing
from relay.operate.config import load
from relay.operate.maker import Options
from relay.operate.running import Ended, RunningParent, RunningRelay
from relay.queue.spool import lock, look_for_another

Relay = Callable[..., tuple[int, str, str]]


@pytest.fixture
def relay(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Relay:
    """``relay …`` in the folder of the test: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RELAY_CONFIG", raising=False)

    def relay(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        return cli.exit_code([*map(str, arguments)]), *capfd.readouterr()

    return relay


ROUTE = "routes:\n  - to: '*'\n    via: smtp://smtp.example\n    "

NO_START = {
    "admin: {http: unix:page,\n  token_file: empty}": ("2:3: admin.token_file", "is no token", "openssl rand"),
    "log:\n  file: /nonexistent/dir/x.log": ("2:3: log.file", "there is no folder /nonexistent/dir; create it"),
    "log:\n  file: folder": ("2:3: log.file", "is a folder; name a file in it"),
    "log: {file: /proc/x.log}": ("1:7: log.file", "/proc is the kernel's own; choose a folder on a disk"),
    "spool: junk": ("1:1: spool", "junk is a file; it must be a folder of the relay's own"),
    "spool: link": ("1:1: spool", "link is a symbolic link; it must be a folder"),
    "spool: junk/spool": ("1:1: spool", "junk is no folder"),
    "spool: /proc/foo/spool": ("1:1: spool", "/proc is the kernel's own"),
    "user: nosuchuser": ("1:1: user", "there is no user nosuchuser on this machine; create it: useradd"),
    "user: '99999999999999999999'": ("1:1: user", "there is no user 99999999999999999999"),
    "user: root\ngroup: nosuchgroup": ("2:1: group", "there is no group nosuchgroup on this machine; create it"),
    "sendmail:\n  maildrop: /proc/x": ("2:3: sendmail.maildrop", "/proc is the kernel's own"),
    "sendmail: {maildrop: a/b}": ("1:12: sendmail.maildrop", "there is no folder"),
    "sendmail: {maildrop: junk}": ("1:12: sendmail.maildrop", "is a file; it must be a folder"),
    "listen:\n  - endpoint: unix:/nonexistent/x": (
        "2:5: listen[0].endpoint",
        "there is no folder /nonexistent; create",
    ),
    "listen: [{endpoint: 'unix:junk:mode=660'}]": ("1:11: listen[0].endpoint", "junk is there and is no socket"),
    "listen: [{endpoint: 'haproxy:unix:a/b'}]": ("1:11: listen[0].endpoint", "there is no folder"),
    "admin: {http: 'unix:/nonexistent/x'}": ("1:9: admin.http", "there is no folder /nonexistent; create it"),
    "tls:\n  certificate: junk": ("2:3: tls.certificate", "junk: there is no certificate in it (PEM)"),
    "tls: [{certificate: junk}]": ("1:8: tls[0].certificate", "junk: there is no certificate in it (PEM)"),
    "accept: {certificates: [junk]}": ("1:25: accept.certificates[0]", "junk: there is no certificate in it (PEM)"),
    "accept:\n  tokens: {introspection: 'https://a.example/i', user: name,\n    authorities: junk}": (
        "3:5: accept.tokens.authorities",
        "there is no certificate in it (PEM)",
    ),
}
STARTS_ALL_THE_SAME = {
    f"{ROUTE}authorities: junk": ("4:5: routes[0].authorities", "there is no certificate in it (PEM)"),
    f"{ROUTE}user: me\n    password_file: empty": (
        "5:5: routes[0].password_file",
        "its first line is to be the secret",
    ),
    f"{ROUTE}user: me\n    oauth: {{token_endpoint: 'https://a.example/t', client_id: me, refresh_token_file: t,\n"
    "      client_secret_file: empty}": (
        "6:7: routes[0].oauth.client_secret_file",
        "its first line is to be the secret",
    ),
    "webhooks:\n  - url: https://a.example/\n    secret_file: empty": (
        "3:5: webhooks[0].secret_file",
        "its first line is to be the secret",
    ),
    "webhooks:\n  - url: https://a.example/\n    secret_file: good\n    authorities: junk": (
        "4:5: webhooks[0].authorities",
        "there is no certificate in it (PEM)",
    ),
    "tls_reports:\n  send: true\n  dkim:\n    selector: a\n    key: junk": (
        "5:5: tls_reports.dkim.key",
        "there is no private key in it",
    ),
}


def _faulty(folder: Path, text: str) -> Path:
    (folder / "empty").touch()
    (folder / "junk").write_text("junk\n", encoding="utf-8")
    (folder / "good").write_text("0123456789abcdef0123456789abcdef\n", encoding="utf-8")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(folder / "folder")
    path = folder / "relay.yaml"
    listen = "" if "listen" in text else "\nlisten: [{endpoint: 'unix:smtp'}]"
    admin = "" if "admin" in text else "\nadmin: none"
    path.write_text(f"{text}{listen}{admin}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("text", [*NO_START, *STARTS_ALL_THE_SAME])
def test_check_finds_it_with_its_line_and_what_would_be_right(relay: Relay, tmp_path: Path, text: str) -> None:
    path = _faulty(tmp_path, text)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = relay("check", path)
    where, *words = {**NO_START, **STARTS_ALL_THE_SAME}[text]
    first, *others = [line for line in out.splitlines() if not line.endswith("(a warning)")]
    assert (code, others, err) == (78, [], f"{path}: 1 fault\n")
    assert first.startswith(f"{path}:{where}: ")
    assert all(word in first for word in words)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("text", NO_START)
def test_the_start_ends_with_78_and_says_the_same(relay: Relay, tmp_path: Path, text: str) -> None:
    path = _faulty(tmp_path, text)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = relay("run", "--config", path)
    where, *words = NO_START[text]
    assert (code, out) == (78, "")
    assert err.startswith(f"relay: the configuration has faults\n{path}:{where}: ")
    assert all(word in err for word in words)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("text", STARTS_ALL_THE_SAME)
def test_what_is_read_later_does_not_stop_the_start(tmp_path: Path, text: str) -> None:
    """One route of ten without its password is no reason to leave the others' mail outside."""
    assert footing.faults_of(load(_faulty(tmp_path, text))) == []


def test_what_is_there_and_what_will_be_made_is_good(relay: Relay, tmp_path: Path) -> None:
    text = "spool: a/b/spool\nlog: {file: folder/new.log}\nsendmail: {maildrop: folder}\naccept: {users: empty}\n"
    path = _faulty(tmp_path, f"{text}user: root\nadmin: {{http: unix:page, token_file: good}}")
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = relay("check", path)
    assert (code, out.splitlines()[-1]) == (0, f"{path}: good")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_credential_of_systemd_is_not_missed_before_it_is_handed_over(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{ROUTE}user: me\n    password_file: credential:x\nadmin: {{http: unix:page, token_file: 'credential:y'}}"
    path = _faulty(tmp_path, text)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert relay("check", path)[0] == 0
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert relay("check", path)[1].count("cannot be read: No such file") == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("accept: {users: /dev/null}", "/dev/null is no regular file; name a file, or remove this line"),
        ("accept: {recipients: /}", "/ is a folder; name a file, or remove this line"),
        ("accept: {users: nothing}", "there is no file"),
        ("accept: {users: junk/x}", "there is no file"),
        (f"accept: {{users: {'x' * 300}}}", "cannot be looked at: File name too long"),
    ],
)
def test_what_is_there_and_is_no_file_is_not_to_be_created(relay: Relay, tmp_path: Path, text: str, words: str) -> None:
    code, out, _ = relay("check", _faulty(tmp_path, text))
    assert code == 78
    assert words in out


def test_a_place_is_that_of_the_innermost_thing_the_file_names(tmp_path: Path) -> None:
    path = tmp_path / "relay.yaml"
    path.write_text("log: {level: info}\nforward: {ann@example.org: bob@example.org}\n", encoding="utf-8")
    config = load(path)
    assert str(config.standing("log.file")) == f"{path}:1"
    assert str(config.standing("forward.ann@example.org")) == f"{path}:2"
    assert str(config.standing("listen[0].endpoint")) == str(path)


def test_twistd_looks_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = _faulty(tmp_path, "spool: junk")
    with pytest.raises(SystemExit) as end:
        Options().parseOptions(["--config", str(path)])
    assert end.value.code == 78
    assert f"{path}:1:1: spool: {tmp_path}/junk is a file" in capfd.readouterr().err


def test_twistd_takes_the_file_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``relay run`` does: else it would start on the defaults, and nobody would be told."""
    path = tmp_path / "relay.yaml"
    path.write_text("hostname: from.the.environment.example\nlisten: [{endpoint: 'unix:smtp'}]\n", encoding="utf-8")
    monkeypatch.setenv("RELAY_CONFIG", str(path))
    options = Options()
    options.parseOptions([])
    assert options["loaded"].hostname == "from.the.environment.example"
    other = tmp_path / "other.yaml"
    other.write_text("hostname: named.example\n", encoding="utf-8")
    options.parseOptions(["--config", str(other)])
    assert options["loaded"].hostname == "named.example"
    monkeypatch.setenv("RELAY_CONFIG", "")
    options = Options()
    options.parseOptions([])
    assert options["loaded"].source == "built-in default"


def test_the_help_of_run_names_the_environment(relay: Relay) -> None:
    assert "RELAY_CONFIG" in relay("run", "--help")[1]


def test_an_empty_option_is_not_the_default(
    relay: Relay, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _faulty(tmp_path, "spool: good")
    code, _, err = relay("run", "--config", path, "--spool=")
    assert (code, '--spool: spool: "" is not a path' in err) == (78, True)
    for empty in ("--spool=", "--config="):
        with pytest.raises(SystemExit) as end:
            Options().parseOptions([empty])
        assert end.value.code == 78


@pytest.mark.parametrize("workers", [1, 2])
def test_who_has_the_spool_is_named_before_a_port_is_found_taken(tmp_path: Path, workers: int) -> None:
    """Both relays have the same ports, since both have the same file."""
    text = f"workers: {workers}\nlisten: [{{endpoint: 'unix:{tmp_path}/good'}}]\nadmin: none\n"
    (tmp_path / "relay.yaml").write_text(text, encoding="utf-8")
    config = load(tmp_path / "relay.yaml")
    config.spool.mkdir(mode=0o700)
    held = lock(config.spool)
    (tmp_path / "good").touch()  # the port is taken as well
    try:
        running = (RunningRelay if workers == 1 else RunningParent)(config, MemoryReactorClock(), lambda: config)
        with pytest.raises(Ended, match=f"is in use by process {os.getpid()}"):
            running.privilegedStartService()
    finally:
        os.close(held)
    look_for_another(config.spool)
    os.close(lock(config.spool))
