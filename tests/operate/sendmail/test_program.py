"""The program: from standard input to the maildrop, with the exit codes of sysexits.h."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from relay.message.envelope import Body, Notify, Ret
from relay.operate.sendmail import program
from relay.receive.maildrop.drop import Drop
from relay.receive.maildrop.looking import Maildrop

RELAY = Path(sys.executable).parent / "relay"
ME = pwd.getpwuid(os.getuid()).pw_name

CONFIG = """\
hostname: gate.example.org
spool: spool
sendmail: {maildrop: drop, domain: example.org}
accept: {message_size: 1 MiB}
"""


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: bytes
    stderr: bytes


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RELAY_CONFIG", raising=False)
    (tmp_path / "relay.yaml").write_text(CONFIG)
    (tmp_path / "drop").mkdir(0o700)
    return tmp_path


def sendmail(
    place: Path, *arguments: str, text: bytes = b"Subject: x\n\nbody\n", name: str = "sendmail", config: bool = True
) -> Done:
    """Runs the program, in a fork of this process: that is quicker than to start it."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        given.write(text)
        given.seek(0)
        pid = os.fork()
        if not pid:
            code = 70
            try:
                for fd, stream in enumerate((given, out, errors)):
                    os.dup2(stream.fileno(), fd)
                sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
                os.chdir(place)
                if config:
                    os.environ["RELAY_CONFIG"] = str(place / "relay.yaml")
                code = program.main(name, arguments)
                sys.stdout.flush()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        out.seek(0)
        errors.seek(0)
        return Done(os.waitstatus_to_exitcode(status), out.read(), errors.read())


def only(place: Path) -> tuple[Drop, bytes]:
    drop = Maildrop(place / "drop")
    (waiting,) = drop.look(10, 10).waiting
    left = drop.open(waiting)
    content = left.read(left.size, 0)
    left.close()
    drop.close()
    return left.drop, content


def read(place: Path) -> tuple[Drop, Message]:
    drop, content = only(place)
    return drop, message_from_bytes(content)


def test_a_message_is_left_whole_and_success_is_said(place: Path) -> None:
    done = sendmail(place, "-i", "bob@example.net", "carl", text=b"From: me\nTo: bob\nSubject: x\n\none\n.\ntwo\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    drop, message = read(place)
    assert [str(one.address) for one in drop.recipients] == ["bob@example.net", "carl@example.org"]
    assert str(drop.envelope.reverse_path) == f"{ME}@example.org"
    assert (message["From"], message["To"]) == ("me@example.org", "bob@example.org")
    assert message.get_payload() == "one\r\n.\r\ntwo\r\n"


def test_a_message_is_by_whom_it_says(place: Path) -> None:
    assert sendmail(place, "-f", "shop@example.net", "-F", "The Shop", "bob@example.net").returncode == 0
    drop, message = read(place)
    assert str(drop.envelope.reverse_path) == "shop@example.net"
    assert message["From"] == "The Shop <shop@example.net>"
    assert message["Message-ID"].endswith("@gate.example.org>") and message["Date"]


def test_recipients_of_the_header_and_of_the_command_line_are_all_served_once(place: Path) -> None:
    text = b"To: bob@example.net\nCc: carl@example.net\nBcc: dora@example.net\nSubject: x\n\nbody\n"
    assert sendmail(place, "-t", "bob@example.net", "eve@example.net", text=text).returncode == 0
    drop, message = read(place)
    assert [one.address.local for one in drop.recipients] == ["bob", "eve", "carl", "dora"]
    assert "Bcc" not in message and message["Cc"] == "carl@example.net"


def test_wishes_for_reports_go_along(place: Path) -> None:
    assert sendmail(place, "-N", "success,delay", "-R", "hdrs", "-V", "id 42", "bob@example.net").returncode == 0
    drop, _ = only(place)
    assert (drop.envelope.ret, drop.envelope.envid) == (Ret.HDRS, "id 42")
    assert drop.recipients[0].notify == Notify.SUCCESS | Notify.DELAY


@pytest.mark.parametrize(
    ("text", "body"), [(b"plain\n", Body.SEVENBIT), ("Grüße\n".encode(), Body.EIGHTBIT), (b"\xff\n", Body.EIGHTBIT)]
)
def test_what_is_not_ascii_is_noticed(place: Path, text: bytes, body: Body) -> None:
    sendmail(place, "-B7BIT", "bob@example.net", text=b"Subject: x\n\n" + text)
    drop, content = only(place)
    assert drop.envelope.body is body and content.endswith(text.replace(b"\n", b"\r\n"))
    assert not drop.envelope.smtputf8


def test_addresses_beyond_ascii_need_smtputf8(place: Path) -> None:
    assert sendmail(place, "jörg@example.net").returncode == 0
    assert only(place)[0].envelope.smtputf8


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (b"", b""),
        (b"no header\n", b"no header\r\n"),
        (b"no header, no end", b"no header, no end\r\n"),
        (b"Subject: x", b""),
        (b"Subject: x\nno header any more\n", b"no header any more\r\n"),
        (b"From ann Thu Nov 26\nSubject: x\n\nbody\r\n", b"body\r\n"),
        (b"Subject: x\n\n10%\r100%\r\ndone\r", b"10%\r\n100%\r\ndone\r\n"),
        (b"Subject: x\n\none\n.\ntwo\n", b"one\r\n"),
        (b"Subject: x\n.\n\nbody\n", b""),
    ],
)
def test_any_text_is_a_message(place: Path, text: bytes, content: bytes) -> None:
    assert sendmail(place, "bob@example.net", text=text).returncode == 0
    header, _, body = only(place)[1].partition(b"\r\n\r\n")
    assert body == content
    assert all(line.split(b":")[0] in (b"Subject", b"Date", b"From", b"Message-ID") for line in header.split(b"\r\n"))


def test_a_large_message_streams(place: Path) -> None:
    body = b"x" * 70 + b"\n"
    assert sendmail(place, "bob@example.net", text=b"Subject: x\n\n" + body * 10_000).returncode == 0
    assert only(place)[1].endswith(body.replace(b"\n", b"\r\n") * 10_000)


@pytest.mark.parametrize(
    ("arguments", "text", "code", "why"),
    [
        ([], b"Subject: x\n\n", os.EX_USAGE, "there are no recipients"),
        (["-Z", "bob"], b"x\n", os.EX_USAGE, "-Z is not known"),
        (["bob smith"], b"x\n", os.EX_USAGE, "the recipient 'bob smith': two words"),
        (["bob@"], b"x\n", os.EX_USAGE, "the recipient 'bob@'"),
        (["-f", "a, b", "bob"], b"x\n", os.EX_USAGE, "not one address"),
        (["-f", "a@b@c", "bob"], b"x\n", os.EX_USAGE, "the sender 'a@b@c'"),
        (["-t"], b"Subject: x\n\n", os.EX_DATAERR, "names no recipients"),
        (["-t"], b'To: "bob\n\n', os.EX_DATAERR, "to: a quoted string is not closed"),
        (["bob"], b"x" * (1 << 20) + b"\n", os.EX_DATAERR, "more than 1,048,576 octets"),
        (["bob"], b"X: " + b"x" * 70_000 * 4 + b"\n\n", os.EX_DATAERR, "the header section has more than"),
        (["--config", "nothing.yaml", "bob"], b"x\n", os.EX_CONFIG, "nothing.yaml cannot be read"),
        (["-bd"], b"", os.EX_USAGE, "relay run starts the relay"),
    ],
)
def test_what_cannot_be_taken_is_said_and_nothing_is_left(
    place: Path, arguments: list[str], text: bytes, code: int, why: str
) -> None:
    done = sendmail(place, *arguments, text=text)
    assert done.returncode == code
    assert done.stderr.startswith(b"sendmail: ") and why in done.stderr.decode()
    assert list((place / "drop").iterdir()) == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("hostname: -x-", "hostname: "),
        ("sendmail: {maildrop: none}", "send by SMTP here"),
        ("accept: {message_size: large}", "message_size: "),
        ("[]", "relay check"),
    ],
)
def test_a_configuration_that_says_nothing_useful_is_told(place: Path, line: str, why: str) -> None:
    (place / "relay.yaml").write_text(line + "\n")
    done = sendmail(place, "bob")
    assert done.returncode == os.EX_CONFIG and why in done.stderr.decode()


def test_a_fault_elsewhere_in_the_configuration_keeps_nobodys_mail(place: Path) -> None:
    (place / "relay.yaml").write_text(CONFIG + "routs: nonsense\nretry: {first: never}\n")
    assert sendmail(place, "bob").returncode == 0


def test_without_a_maildrop_it_is_told_how_one_comes_to_be(place: Path) -> None:
    (place / "drop").rmdir()
    done = sendmail(place, "bob")
    assert done.returncode == os.EX_UNAVAILABLE and b"the relay makes it when it starts" in done.stderr


def test_a_spool_that_somebody_else_made_here_gets_nothing(place: Path, tmp_path: Path) -> None:
    """In /tmp anybody may have made ./spool, to read what root's jobs send."""
    if os.geteuid() != 0:
        pytest.skip("only root can be several users")
    (place / "relay.yaml").unlink()
    (place / "spool" / "maildrop").mkdir(parents=True)
    os.chown(place / "spool", 12345, 12345)
    done = sendmail(place, "bob", config=False)
    assert done.returncode == os.EX_CONFIG and b"no relay is set up here" in done.stderr
    os.chown(place / "spool", 0, 0)
    done = sendmail(place, "bob", config=False)
    assert done.returncode == 0 and len(list((place / "spool" / "maildrop").iterdir())) == 1


def test_smtp_is_spoken_on_standard_input_and_output(place: Path) -> None:
    script = (
        b"EHLO me\r\nMAIL FROM:<ann@example.net> RET=HDRS BODY=8BITMIME\r\n"
        b"RCPT TO:<bob@example.net> NOTIFY=SUCCESS ORCPT=rfc822;first@example.net\r\nRCPT TO:<carl>\r\n"
        b"DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nNOOP\r\nQUIT\r\n"
    )
    done = sendmail(place, "-bs", text=script)
    replies = done.stdout.decode().split("\r\n")
    assert done.returncode == 0 and done.stderr == b""
    assert replies[0].startswith("220 gate.example.org") and replies[-2].startswith("221 ")
    assert [line[:3] for line in replies if line and line[3:4] == " "] == [
        "220", "250", "250", "250", "553", "354", "250", "250", "221"
    ]  # fmt: skip
    drop, content = only(place)
    (bob,) = drop.recipients
    assert content == b"Subject: x\r\n\r\n.dot\r\n", "trace fields are for whoever picks it up"
    assert (bob.notify, bob.orcpt, drop.envelope.ret) == (Notify.SUCCESS, "rfc822;first@example.net", Ret.HDRS)


def test_a_session_that_breaks_off_leaves_nothing(place: Path) -> None:
    done = sendmail(
        place, "-bs", text=b"HELO me\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nSubject: x\r\n"
    )
    assert done.returncode == 0 and list((place / "drop").iterdir()) == []


def test_a_session_without_a_maildrop_says_to_come_back(place: Path) -> None:
    (place / "drop").rmdir()
    done = sendmail(
        place, "-bs", text=b"HELO me\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nQUIT\r\n"
    )
    assert b"\r\n451 4.3.0 " in done.stdout and b"there is no maildrop" in done.stderr


def test_a_program_that_is_ended_takes_away_what_it_began(place: Path) -> None:
    (place / "sendmail").symlink_to(RELAY)
    env = {**os.environ, "RELAY_CONFIG": str(place / "relay.yaml")}
    with subprocess.Popen([place / "sendmail", "bob"], stdin=subprocess.PIPE, env=env) as process:
        assert process.stdin is not None
        process.stdin.write(b"Subject: x\n\n" + b"x\n" * 100_000)
        process.stdin.flush()
        while not list((place / "drop").iterdir()):
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    assert list((place / "drop").iterdir()) == []


def test_newaliases_has_nothing_to_do(place: Path) -> None:
    for done in (sendmail(place, name="newaliases"), sendmail(place, "-bi"), sendmail(place, "-I")):
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert b"forward in relay.yaml" in sendmail(place, "-v", name="newaliases").stdout


def test_what_was_done_is_said_where_it_is_wished(place: Path) -> None:
    done = sendmail(place, "-v", "bob")
    (name,) = [one.name for one in (place / "drop").iterdir()]
    assert done.stdout.decode() == f"left in {place / 'drop'} as {name}\n"


def test_help_and_version(place: Path) -> None:
    assert b"Usage: relay sendmail" in sendmail(place, "--help").stdout
    assert sendmail(place, "--version").stdout.startswith(b"relay, version ")


def test_it_is_what_it_is_called(place: Path) -> None:
    """By links to the one script, as they stand in /usr/sbin."""
    for name in ("sendmail", "mailq", "newaliases"):
        (place / name).symlink_to(RELAY)
    env = {**os.environ, "RELAY_CONFIG": str(place / "relay.yaml")}

    def run(name: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([name, *arguments], input=b"x\n", capture_output=True, timeout=60, check=False, env=env)

    assert run(place / "sendmail", "bob").returncode == run(RELAY, "sendmail", "bob").returncode == 0
    assert len(list((place / "drop").iterdir())) == 2
    assert b"no relay is running" in run(place / "mailq").stderr
    assert b"no alias database" in run(place / "newaliases", "-v").stdout


def test_it_is_light() -> None:
    """Programs start it for each message: no reactor, no settings, no command-line library."""
    code = (
        "import sys, relay.operate.entry; "
        "print([name for name in ('twisted', 'click', 'pydantic', 'apsw', 'relay.operate.cli') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
