"""relay user, the file it edits, and what is kept of passwords."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import bcrypt
import pytest
from click.testing import CliRunner, Result

from relay.operate.cli import relay
from relay.operate.cli.speech import Stop
from relay.operate.users import editing, passwords
from relay.operate.users.file import read_users
from relay.operate.users.passwords import MADE, UnknownScheme, is_right, kept_of, scheme_of, scram_of
from relay.policy.users import UsersFault, parse_user


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that cost next to nothing, where what they cost is not in question."""
    for name, least in (("BCRYPT_ROUNDS", 4), ("SHA512_ROUNDS", 1000), ("SCRAM_ITERATIONS", 4096), ("ARGON2_KIB", 64)):
        assert getattr(passwords, name) > least
        monkeypatch.setattr(passwords, name, least)


@pytest.mark.parametrize(
    ("scheme", "begin"),
    [
        ("ARGON2ID", r"\{ARGON2ID\}\$argon2id\$v=19\$m=19456,t=2,p=1\$"),
        ("SCRAM-SHA-256", r"\{SCRAM-SHA-256\}100000,"),
        ("BLF-CRYPT", r"\{BLF-CRYPT\}\$2b\$12\$"),
        ("SHA512-CRYPT", r"\{SHA512-CRYPT\}\$6\$rounds=50000\$"),
    ],
)
def test_who_steals_the_file_must_work_for_each_password(scheme: str, begin: str) -> None:
    kept = kept_of("geheim", scheme)
    assert re.match(begin, kept)
    assert is_right(kept, "geheim")


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize(
    ("scheme", "password"),
    [(scheme, "geh\u00e4im \u2122") for scheme in MADE] + [(scheme, "x" * 72) for scheme in MADE],
)
def test_what_is_kept_tells_the_password_and_no_other(scheme: str, password: str) -> None:
    kept = kept_of(password, scheme)
    assert scheme_of(kept)[0] == scheme
    assert is_right(kept, password)
    assert not is_right(kept, password + "x" if scheme != "BLF-CRYPT" else "y" + password[1:])
    assert not is_right(kept, "")
    assert password not in kept
    assert kept != kept_of(password, scheme), "a salt of its own"


@pytest.mark.parametrize(
    ("secret", "scheme"),
    [
        ("$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe", "BLF-CRYPT"),
        ("{CRYPT}$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe", "BLF-CRYPT"),
        ("{BCRYPT}$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe", "BCRYPT"),
        ("$apr1$saltsalt$0ZHTBcW0FqLwjvb7T4ZQg0", "APR1"),
        ("{plain}x", "PLAIN"),
    ],
)
def test_schemes_by_name_and_by_looks(secret: str, scheme: str) -> None:
    assert scheme_of(secret)[0] == scheme


def test_a_hash_of_bcrypt_by_its_other_name() -> None:
    """$2y$ is PHP's and htpasswd's name for $2b$."""
    kept = bcrypt.hashpw(b"geheim", bcrypt.gensalt(4)).decode()
    assert is_right(kept, "geheim") and is_right(kept.replace("$2b$", "$2y$"), "geheim")


def openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", "passwd", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("option", ["-6", "-5", "-1", "-apr1"])
def test_passwords_that_openssl_made(option: str) -> None:
    kept = openssl(option, "geheim")
    assert is_right(kept, "geheim") and not is_right(kept, "Geheim")


@pytest.mark.parametrize(
    "secret",
    [
        "secret",
        "{ROT13}trurvz",
        "{CRYPT}xx",
        "{ARGON2ID}$2y$10$x",
        "{SCRAM-SHA-256}1,2,3",
        "{SCRAM-SHA-256}4096,AA==,AA==,AA==",
    ],
)
def test_what_is_not_known_is_a_fault_and_shows_nothing(secret: str) -> None:
    with pytest.raises(UnknownScheme) as caught:
        scheme_of(secret)
    assert "trurvz" not in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize("secret", ["{ARGON2ID}$argon2id$v=19$m=1", "$2y$10$short", "{SSHA}!!", "$6$", "{SHA}"])
def test_a_hash_that_is_cut_off_lets_nobody_in(secret: str) -> None:
    assert not is_right(secret, "geheim")
    assert not is_right(secret, "")


def test_a_megabyte_is_not_hashed() -> None:
    assert not is_right("{PLAIN}" + "x" * 2000, "x" * 2000)
    for bad in ("", "x" * 1025, "tab\t", "new\nline"):
        with pytest.raises(ValueError):
            kept_of(bad)


def test_the_same_password_typed_in_another_form_is_the_same() -> None:
    """RFC 4013: an e with an accent may come as one character or as two."""
    assert is_right(kept_of("caf\u00e9"), "cafe\u0301")


def test_only_scram_is_for_scram() -> None:
    assert scram_of(kept_of("geheim")) is None
    few = "{SCRAM-SHA-256}1000,c2FsdA==," + ",".join([b64encode(bytes(32)).decode()] * 2)
    assert scheme_of(few)[0] == "SCRAM-SHA-256" and scram_of(few) is None  # RFC 7677 §4: 4096 rounds at least
    kept = scram_of(kept_of("geheim", "SCRAM-SHA-256"))
    assert kept is not None and kept.is_of(b"geheim")


def test_a_file_with_a_scheme_that_is_not_known_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("ann:{PLAIN}x\nbob:{ROT13}x\ncarl:y\n")
    with pytest.raises(UsersFault) as caught:
        read_users(tmp_path / "users")
    assert [fault.line for fault in caught.value.faults] == [2, 3]


# -- editing ---------------------------------------------------------------------------------------------------

ANN = "ann@x.example:{PLAIN}a:1000:1000:Ann:/home/ann:/bin/sh:allow_nets=192.0.2.0/24 senders=a@x.example"
OTHERS = f"# kept\n\n{ANN}\r\nbob:b"


def test_lines_that_are_not_meant_stay_as_they_are() -> None:
    text = editing.added(OTHERS, "carl", "{PLAIN}c", None)
    assert text == OTHERS + "\ncarl:{PLAIN}c\n"
    text = editing.with_secret(text, "ANN@x.example", "{PLAIN}new")
    assert text == OTHERS.replace("{PLAIN}a", "{PLAIN}new") + "\ncarl:{PLAIN}c\n"
    assert editing.removed(text, "carl") == OTHERS.replace("{PLAIN}a", "{PLAIN}new") + "\n"


def test_senders_change_and_other_fields_stay() -> None:
    text = editing.with_senders(OTHERS, "ann@x.example", "*")
    assert ":/bin/sh:senders=* allow_nets=192.0.2.0/24\r\n" in text
    assert ":/bin/sh:allow_nets=192.0.2.0/24\r\n" in editing.with_senders(text, "ann@x.example", None)
    assert editing.with_senders(OTHERS, "bob", ".x.example").endswith("\nbob:b::::::senders=.x.example")


def test_names_that_would_break_the_file_are_refused() -> None:
    for name in ("a:b", "#a", "", "a\nb"):
        with pytest.raises(ValueError):
            editing.added("", name, "{PLAIN}x", None)
    with pytest.raises(ValueError):
        editing.added("", "ann", "{PLAIN}x", "not an address@")
    with pytest.raises(editing.UserExists):
        editing.added(OTHERS, "Bob", "{PLAIN}x", None)
    for change in (editing.removed, lambda text, name: editing.with_secret(text, name, "x")):
        with pytest.raises(editing.NoSuchUser):
            change(OTHERS, "nobody")


def test_the_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("ann:{PLAIN}x\n")
    path.chmod(0o600)
    with editing.editing(path) as edited:
        edited.text += "bob:{PLAIN}y\n"
    assert path.read_text() == "ann:{PLAIN}x\nbob:{PLAIN}y\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(RuntimeError), editing.editing(path) as edited:
        edited.text = ""
        raise RuntimeError
    assert path.read_text() == "ann:{PLAIN}x\nbob:{PLAIN}y\n"
    assert list(tmp_path.iterdir()) == [path]


# -- the command -----------------------------------------------------------------------------------------------


def run(*arguments: str, password: str = "") -> Result:
    return CliRunner().invoke(relay, ["user", *arguments], input=password + "\n")


def test_a_life_of_a_user(tmp_path: Path) -> None:
    path = tmp_path / "users"
    file = ("--file", str(path))
    assert run("add", "ann@x.example", "--stdin", *file, password="geheim").exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    done = run(
        "add", "printer", "--senders", "printer@x.example", "--scheme", "scram-sha-256", "--stdin", *file, password="x"
    )
    assert done.exit_code == 0
    users = read_users(path)
    ann = users.find("ann@x.example")
    assert ann is not None and is_right(ann.secret, "geheim")
    assert run("passwd", "ann@x.example", "--stdin", *file, password="neu").exit_code == 0
    ann = read_users(path).find("ann@x.example")
    assert ann is not None and is_right(ann.secret, "neu")
    assert run("senders", "ann@x.example", "*", *file).exit_code == 0
    rows = [json.loads(line) for line in run("list", "--json", *file).output.splitlines()]
    assert rows == [
        {"name": "ann@x.example", "scheme": "ARGON2ID", "senders": ["*"], "on": True},
        {"name": "printer", "scheme": "SCRAM-SHA-256", "senders": ["printer@x.example"], "on": True},
    ]
    assert "printer\tSCRAM-SHA-256\tprinter@x.example" in run("list", *file).output
    assert run("remove", "printer", *file).exit_code == 0
    assert set(read_users(path).users) == {"ann@x.example"}


def test_a_password_is_asked_for_twice_and_shown_never(tmp_path: Path) -> None:
    file = ("--file", str(tmp_path / "users"))
    done = CliRunner().invoke(relay, ["user", "add", "ann", *file], input="geheim\ngeheim\n")
    assert done.exit_code == 0 and "geheim" not in done.output
    ann = read_users(tmp_path / "users").find("ann")
    assert ann is not None and is_right(ann.secret, "geheim")


def test_a_fault_is_told_before_a_password_is_asked_for(tmp_path: Path) -> None:
    file = ("--file", str(tmp_path / "users"))
    assert run("add", "ann", "--stdin", *file, password="x").exit_code == 0
    for arguments in (["add", "ann"], ["add", "a:b"], ["passwd", "bob"], ["remove", "bob"], ["senders", "ann", "a@"]):
        done = CliRunner().invoke(relay, ["user", *arguments, *file], input="")
        assert isinstance(done.exception, Stop), arguments


def test_the_configuration_names_the_file(tmp_path: Path) -> None:
    """Also one that is not there yet, which would be a fault of the configuration."""
    (tmp_path / "relay.yaml").write_text("accept: {users: users}\n")
    config = ("--config", str(tmp_path / "relay.yaml"))
    assert run("add", "ann", "--stdin", *config, password="x").exit_code == 0
    assert read_users(tmp_path / "users").find("ann") is not None
    (tmp_path / "relay.yaml").write_text("accept: {users: 'dovecot:/run/x'}\n")
    done = run("list", *config)
    assert isinstance(done.exception, Stop) and "Dovecot" in str(done.exception)


@pytest.mark.endtoend
def test_check_tells_what_is_wrong_with_users_certificates_and_keys(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("ann:{ROT13}x\n")
    (tmp_path / "tls.crt").write_text("none\n")
    (tmp_path / "relay.yaml").write_text(
        "hostname: a.b\naccept: {users: users}\ntls: {certificate: tls.crt}\n"
        "tls_reports: {dkim: {selector: tlsrpt, key: tls.crt}}\n"
    )
    script = Path(sys.executable).parent / "relay"
    done = subprocess.run([script, "check", tmp_path / "relay.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert f'{tmp_path}/users:1:1: accept.users: the user "ann": the scheme' in done.stdout
    assert f"relay.yaml:3:7: tls.certificate: {tmp_path}/tls.crt: there is no certificate in it (PEM)" in done.stdout
    assert f"relay.yaml:4:40: tls_reports.dkim.key: {tmp_path}/tls.crt: there is no private key" in done.stdout


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "the name is empty"),
        ("ann\udce4", "the name is not UTF-8"),
        (" ann", "the name begins or ends with a space"),
        ("a\x1bn", "the name holds a character that cannot be printed"),
        ("n" * 256, "the name is longer than 255 characters"),
    ],
)
def test_it_is_said_what_is_wrong_with_a_name(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        editing.added("", name, "{PLAIN}x", None)
    with pytest.raises(ValueError, match=f"^a line begins with the name of a user, and a colon; {why}$"):
        parse_user(f"{name}:x", "")


def test_a_configuration_that_is_no_yaml_is_not_said_to_lack_users(tmp_path: Path) -> None:
    config = tmp_path / "broken.yaml"
    config.write_text("accept: {users: [\n", encoding="utf-8")
    stop = CliRunner().invoke(relay, ["user", "list", "--config", str(config)]).exception
    assert isinstance(stop, Stop)
    assert (stop.code, str(stop).startswith(f"{config}:2:1: this is not YAML: ")) == (78, True)


def test_a_file_of_users_that_is_not_there_can_be_made(tmp_path: Path) -> None:
    file = tmp_path / "users"
    for words in (["list"], ["passwd", "ann"]):
        stop = CliRunner().invoke(relay, ["user", *words, "--file", str(file)]).exception
        assert isinstance(stop, Stop)
        assert (stop.code, str(stop)) == (65, f"there is no file {file}; relay user add makes it")
    file.mkdir()
    for words in (["list"], ["passwd", "ann"]):
        stop = CliRunner().invoke(relay, ["user", *words, "--file", str(file)]).exception
        assert str(stop) == f"{file} cannot be read: Is a directory"
