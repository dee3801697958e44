"""Mail of programs on this machine: by the real programs, while the relay runs and while it does not, by users who are
not to be trusted."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

import relay as relay_package
from tests.scenarios.peers import (
    Destination,
    Relay,
    destination,
    free_port,
    needs_root,
    program,
    running_relay,
    start_relay,
    wait_until,
)

pytestmark = pytest.mark.endtoend

RELAY = Path(sys.executable).parent / "relay"
NOBODY = "nobody"


def config(folder: Path, port: int, more: str = "") -> str:
    return f'sendmail: {{maildrop: {folder}/drop}}\nroutes:\n  - to: "*"\n    via: smtp://127.0.0.1:{port}\n{more}'


def as_relay_user() -> str:
    """Lines of the configuration by which a relay that root has started becomes somebody else."""
    return "user: mail\n" if os.geteuid() == 0 else ""


@contextmanager
def serving(folder: Path, more: str = "") -> Iterator[tuple[Relay, Destination]]:
    with (
        destination() as hop,
        running_relay(folder, config(folder, hop.port, as_relay_user() + more)) as relay,
    ):
        script(folder, relay.config)
        yield relay, hop


def script(folder: Path, file: Path) -> Path:
    """A sendmail for programs that are told of one by its path."""
    path = folder / "sendmail"
    path.write_text(f'#!/bin/sh\nexec {RELAY} sendmail --config {file} "$@"\n')
    path.chmod(0o755)
    return path


def for_users(folder: Path, file: Path) -> Path:
    """The same for a user who may not be allowed to see where this Python lives."""
    place = folder / "users-sendmail"
    paths = [str(Path(relay_package.__file__).parent.parent), *(path for path in sys.path if "site-packages" in path)]
    code = "import sys; sys.argv[0] = 'sendmail'; from relay.operate.entry import main; main()"
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        place.write_text(
            f'#!/bin/sh\nexport PYTHONPATH={":".join(paths)} RELAY_CONFIG={file}\nexec {python} -c "{code}" "$@"\n'
        )
        place.chmod(0o755)
        if subprocess.run(by_user(NOBODY, place, "--version"), capture_output=True, check=False).returncode == 0:
            return place
    pytest.skip("no Python that other users can run")


def by_user(user: str, *command: str | Path) -> list[str | Path]:
    return [program("setpriv"), f"--reuid={user}", f"--regid={user_group(user)}", "--clear-groups", *command]


def user_group(user: str) -> str:
    done = subprocess.run(["id", "-g", user], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def run(command: list[str | Path], text: str = "", **more: object) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command} gave {done.returncode}:\n{done.stdout}{done.stderr}"
    return str(done.stdout)


def arrived(hop: Destination, count: int = 1) -> list[Message]:
    wait_until(lambda: len(hop.arrived) >= count, f"{count} messages at the next hop")
    assert len(hop.arrived) == count
    return [message_from_bytes(one.content) for one in hop.arrived]


# -- the programs -----------------------------------------------------------------------------------------

Sends = Callable[[Path], None]


def bsd_mailx(folder: Path) -> None:
    (folder / "mailrc").write_text(f"set sendmail={folder}/sendmail\n")
    env = {**os.environ, "MAILRC": str(folder / "mailrc")}
    run([program("bsd-mailx"), "-s", "a subject", "bob@elsewhere.example"], "a body\n", env=env)


def s_nail(folder: Path) -> None:
    env = {**os.environ, "HOME": str(folder)}
    mta = [f"-Smta={folder}/sendmail", "-Ssendwait", "-Sv15-compat"]
    run([program("s-nail"), "-n", *mta, "-s", "a subject", "bob@elsewhere.example"], "a body\n", env=env)


def php(folder: Path) -> None:
    code = 'exit(mail("bob@elsewhere.example", "a subject", "a body\\n") ? 0 : 1);'
    run([program("php"), "-d", f"sendmail_path={folder}/sendmail -t -i", "-r", code])


def git_send_email(folder: Path) -> None:
    """Its patch is the message."""
    if not Path(run([program("git"), "--exec-path"]).strip(), "git-send-email").exists():
        program("git-send-email")
    repository = folder / "repository"
    env = {**os.environ, "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@client.example"]

    def git(*arguments: str) -> str:
        return run(["git", "-C", repository, *identity, *arguments], env=env)

    repository.mkdir()
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "root")
    (repository / "file").write_text("a body\n")
    git("add", "file")
    git("commit", "-q", "-m", "a subject")
    git("format-patch", "-q", "-1")
    to = [
        "--to=bob@elsewhere.example",
        f"--smtp-server={folder}/sendmail",
        "--confirm=never",
        "--quiet",
        "--suppress-cc=all",
    ]
    git("send-email", *to, "0001-a-subject.patch")


def cron(folder: Path) -> None:
    """As Debian's cron calls it; what it writes is by do_command.c."""
    text = (
        "From: root (Cron Daemon)\nTo: bob@elsewhere.example\nSubject: a subject\nX-Cron-Env: <HOME=/root>\n\na body\n"
    )
    run([folder / "sendmail", "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "bob@elsewhere.example"], text)


def a_pipe(folder: Path) -> None:
    """logwatch, mdadm, sudo and many a shell script."""
    text = "To: bob@elsewhere.example\nSubject: a subject\nMIME-Version: 1.0\nContent-Type: text/plain\n\na body\n"
    run([folder / "sendmail", "-t"], text)


def smtp_on_a_pipe(folder: Path) -> None:
    lines = ["EHLO me", "MAIL FROM:<ann@client.example>", "RCPT TO:<bob@elsewhere.example>", "DATA"]
    text = "\r\n".join([*lines, "Subject: a subject", "", "a body", ".", "QUIT", ""])
    assert "\n250 2.0.0 OK mail-" in run([folder / "sendmail", "-bs"], text)


PROGRAMS = [bsd_mailx, s_nail, php, git_send_email, cron, a_pipe, smtp_on_a_pipe]


@pytest.mark.parametrize("sends", PROGRAMS)
def test_programs_send_through_it(public_path: Path, sends: Sends) -> None:
    with serving(public_path) as (_, hop):
        sends(public_path)
        (message,) = arrived(hop)
    assert hop.arrived[0].recipients == ["bob@elsewhere.example"]
    assert message["Subject"] in ("a subject", "[PATCH] a subject") and "a body" in message.get_payload()
    assert message["From"] and message["Date"] and message["Message-ID"]
    assert (
        message["Received"].startswith(f"from localhost (uid {os.getuid()} (")
        and " with local id " in message["Received"]
    )


@pytest.mark.slow
def test_cron_itself_sends_through_it(public_path: Path) -> None:
    """The real cron, which knows only /usr/sbin/sendmail: in a namespace where ours stands there.  It looks once a
    minute."""
    needs_root()
    place, cron_program = program("sendmail"), program("cron")
    with serving(public_path) as (_, hop):
        for name in ("crontabs", "cron.d"):
            (public_path / name).mkdir()
        crontab = public_path / "crontab"
        crontab.write_text("MAILTO=bob@elsewhere.example\n* * * * * root echo said by a job\n")
        crontab.chmod(0o644)
        mounts = {
            public_path / "sendmail": place,
            crontab: "/etc/crontab",
            public_path / "cron.d": "/etc/cron.d",
            public_path / "crontabs": "/var/spool/cron/crontabs",
        }
        lines = [f"mount --bind {ours} {theirs}" for ours, theirs in mounts.items()]
        shell = " && ".join([*lines, f"exec {cron_program} -f"])
        with subprocess.Popen(
            [program("unshare"), "--mount", "--propagation", "private", "sh", "-c", shell]
        ) as process:
            try:
                wait_until(lambda: hop.arrived or process.poll() is not None, "a job's output", limit_s=130)
            finally:
                process.terminate()
        message = message_from_bytes(hop.arrived[0].content)
    assert message["From"].startswith("root@relay.test (Cron Daemon)")
    assert message.get_payload() == "said by a job\r\n" and "echo said by a job" in message["Subject"]


# -- users who are not to be trusted ------------------------------------------------------------------------


def test_a_user_sends_and_can_see_nothing_of_others(public_path: Path) -> None:
    needs_root()
    with serving(public_path) as (relay, hop):
        path = for_users(public_path, relay.config)
        run(by_user(NOBODY, path, "bob@elsewhere.example"), "Subject: x\n\nbody\n")
        (message,) = arrived(hop)
        assert "(uid 65534 (nobody))" in message["Received"]
        assert hop.arrived[0].sender == "nobody@relay.test"
        for command in (["ls", public_path / "drop"], ["ls", relay.spool]):
            assert subprocess.run(by_user(NOBODY, *command), capture_output=True, check=False).returncode != 0
        done = subprocess.run(by_user(NOBODY, path, "-bp"), capture_output=True, check=False)
        assert done.returncode == os.EX_NOPERM and b"as root" in done.stderr


HARM = """
cd {drop} || exit 1
mkdir mail-folder mail-full && touch mail-full/x && mkfifo mail-fifo && ln -s /etc/shadow mail-link
for n in $(seq 50); do echo broken > new-b$n; mv new-b$n mail-b$n; done
truncate -s 1T new-sparse; chmod 000 new-sparse; mv new-sparse mail-sparse
printf 'x\\n00000002 relay-drop-1\\n' > mail-json
ln {config} mail-hard 2>/dev/null || true
touch -d 1970-01-01 mail-json || true
"""


def test_whatever_a_user_puts_there_others_mail_goes_on(public_path: Path) -> None:
    needs_root()
    with serving(public_path) as (relay, hop):
        run(by_user(NOBODY, "sh", "-c", HARM.format(drop=public_path / "drop", config=relay.config)))
        run([public_path / "sendmail", "bob@elsewhere.example"], "Subject: x\n\nbody\n")
        arrived(hop)
        wait_until(lambda: relay.said().count("set_aside") == 52, "each broken file is told")
        run([public_path / "sendmail", "bob@elsewhere.example"], "Subject: y\n\nbody\n")
        arrived(hop, 2)
        assert relay.said().count("set_aside") == 52 and relay.said().count("did not leave") == 1
        assert "root:" not in relay.said(), "nothing of what a link leads to is told"
    kept = {one.name for one in (public_path / "drop" / "set-aside").iterdir()}
    assert {"mail-sparse", "mail-json", "mail-b1"} <= kept


def test_users_who_may_send_only_as_themselves(public_path: Path) -> None:
    needs_root()
    forward = "forward: {nobody: nobody@elsewhere.example}\n"
    with serving(public_path, forward) as (relay, hop):
        text = relay.config.read_text().replace("/drop}", "/drop, senders: own}")
        relay.config.write_text(text)
        relay.process.send_signal(1)
        wait_until(lambda: "reloaded" in relay.said(), "the relay takes the new configuration")
        path = for_users(public_path, relay.config)
        send = by_user(NOBODY, path, "-f", "ceo@client.example", "bob@elsewhere.example")
        run(send, "Subject: a transfer\n\nbody\n")
        (report,) = arrived(hop)
        assert hop.arrived[0].recipients == ["nobody@elsewhere.example"] and hop.arrived[0].sender == "<>"
        assert "You may not send as this sender" in str(report)
        run(by_user(NOBODY, path, "bob@elsewhere.example"), "Subject: x\n\nbody\n")
        arrived(hop, 2)
        run([public_path / "sendmail", "-f", "ceo@client.example", "bob@elsewhere.example"], "Subject: y\n\nbody\n")
        arrived(hop, 3)
        assert [one.sender for one in hop.arrived[1:]] == ["nobody@relay.test", "ceo@client.example"]


# -- the relay comes and goes -------------------------------------------------------------------------------


def test_what_is_left_while_it_is_down_goes_out_when_it_is_up(public_path: Path) -> None:
    with destination() as hop:
        keys = config(public_path, hop.port, as_relay_user())
        with running_relay(public_path, keys) as relay:
            script(public_path, relay.config)
        for number in range(5):
            run([public_path / "sendmail", f"user{number}@elsewhere.example"], "Subject: x\n\nbody\n")
        assert hop.arrived == []
        done = subprocess.run([public_path / "sendmail", "-bp"], capture_output=True, text=True, check=False)
        assert "-- 5 in the maildrop" in done.stdout
        with running_relay(public_path, keys):
            arrived(hop, 5)
        assert {one.recipients[0] for one in hop.arrived} == {f"user{number}@elsewhere.example" for number in range(5)}


def test_a_relay_in_this_folder_takes_the_mail_of_who_runs_it(tmp_path: Path) -> None:
    """The developer's case: relay run, relay sendmail, nothing else."""
    env = {name: value for name, value in os.environ.items() if name != "RELAY_CONFIG"}
    with destination() as hop, running_relay(tmp_path, f'routes: [{{to: "*", via: "smtp://127.0.0.1:{hop.port}"}}]\n'):
        run([RELAY, "sendmail", "bob@elsewhere.example"], "Subject: x\n\nbody\n", cwd=tmp_path, env=env)
        arrived(hop)


def test_one_of_several_workers_picks_up(public_path: Path) -> None:
    with serving(public_path, "workers: 2\n") as (relay, hop):
        for number in range(10):
            run([public_path / "sendmail", f"user{number}@elsewhere.example"], "Subject: x\n\nbody\n")
        arrived(hop, 10)
        assert len({one.recipients[0] for one in hop.arrived}) == 10
        relay.command("status")


def test_no_kill_loses_what_was_left(public_path: Path) -> None:
    """Success was said: it arrives, at worst twice (in the queue, and not yet removed from the maildrop)."""
    chance, rounds, sent = random.Random(4), 4, 0
    with destination() as hop:
        keys, port = config(public_path, hop.port, "retry: {first: 1s, longest: 1s}\n" + as_relay_user()), free_port()
        relay = start_relay(public_path, keys, port)
        try:
            path = script(public_path, relay.config)
            for _ in range(rounds):
                writers = []
                for _ in range(8):
                    sent += 1
                    writer = subprocess.Popen([path, f"user{sent}@elsewhere.example"], stdin=subprocess.PIPE)
                    assert writer.stdin is not None
                    writer.stdin.write(b"Subject: x\n\n" + b"body\n" * chance.choice([1, 30_000]))
                    writer.stdin.close()
                    writers.append(writer)
                assert [writer.wait(60) for writer in writers[: chance.randint(1, 8)]]
                time.sleep(chance.random() * 0.05)
                relay.process.kill()
                relay.process.wait()
                assert all(writer.wait(60) == 0 for writer in writers)
                relay = start_relay(public_path, keys, port)
            names = {f"user{number}@elsewhere.example" for number in range(1, sent + 1)}
            wait_until(lambda: {one.recipients[0] for one in hop.arrived} == names, "all that was left", limit_s=60)
            assert len(hop.arrived) <= 3 * sent
            wait_until(lambda: not list((public_path / "drop").glob("mail-*")), "nothing is left over")
        finally:
            relay.process.kill()
            relay.process.wait()


@pytest.mark.parametrize("size", ["4M", "12M"])
def test_a_full_disk_is_told_and_tried_again_later(public_path: Path, size: str) -> None:
    """EX_TEMPFAIL: programs that queue for themselves keep it."""
    needs_root()
    with serving(public_path):
        small = public_path / "small"
        small.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=3733", "tmpfs", small], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("cannot mount a tmpfs here")
        try:
            (public_path / "small.yaml").write_text(f"hostname: relay.test\nsendmail: {{maildrop: {small}}}\n")
            command = [RELAY, "sendmail", "--config", public_path / "small.yaml", "bob@elsewhere.example"]
            done = subprocess.run(
                command, input=b"Subject: x\n\n" + b"x\n" * 8_000_000, capture_output=True, timeout=60, check=False
            )
            assert done.returncode == os.EX_TEMPFAIL and b"try again later" in done.stderr
            assert list(small.iterdir()) == []
        finally:
            subprocess.run(["umount", "-l", small], check=True)
