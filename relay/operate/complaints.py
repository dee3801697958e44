"""What is wrong with the relay, in words, and what to do about it.

Two levels: ``wrong`` keeps mail from being taken or from going on, now; ``soon`` will, or wants to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from relay.operate.words import age, count, size

NEARLY_FULL_OCTETS = 256 * 1024 * 1024
EXPIRES_SOON_S = 14 * 86400.0
TOLD_AFTER_S = 900.0
OVERDUE_S = 3600.0
"""What is so much older than ``retry.give_up_after`` should be gone."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """
    about  what it is about, in one word for programs: ``disk``, ``store``, ``login``, …
    what   what is wrong
    do     what to do
    """

    about: str
    level: Literal["wrong", "soon"]
    what: str
    do: str

    def row(self) -> Mapping[str, Any]:
        return {"about": self.about, "level": self.level, "what": self.what, "do": self.do}


def of_disk(place: str, free: int | None, is_full: bool) -> Iterator[Complaint]:
    """Room on the disk of the spool."""
    if is_full:
        yield Complaint(
            "disk",
            "wrong",
            f"the disk of {place} is full, and new mail is refused (452)",
            "make room; mail goes on by itself",
        )
    elif free is not None and free < NEARLY_FULL_OCTETS:
        yield Complaint(
            "disk", "soon", f"the disk of {place} has only {size(free)} left", "make room before it is full"
        )


def of_store(trouble: str) -> Iterator[Complaint]:
    if trouble:
        yield Complaint(
            "store",
            "wrong",
            f"the queue cannot be written: {trouble}",
            "look at the disk of the spool; clients get 451 and keep their mail meanwhile",
        )


def of_databases(folders: Sequence[str]) -> Iterator[Complaint]:
    """Queues that were broken as a whole: the folders where they lie."""
    if folders:
        more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
        yield Complaint(
            "database",
            "wrong",
            f"the queue's database was broken, and lies with all its mail in {folders[0]}{more}; that mail does not go"
            " out, and the queue was begun anew",
            "docs/operations.md says how to send what can be read of it, under 'The database is broken'; then move the"
            " folder away",
        )


def of_set_aside(number: int) -> Iterator[Complaint]:
    if number:
        yield Complaint(
            "set_aside",
            "soon",
            f"{count(number, 'broken row or file', 'broken rows or files')} put out of the way",
            "docs/operations.md says where they are, under 'A row or a body is broken'",
        )


def of_age(oldest_s: float, held: int, give_up_s: float) -> Iterator[Complaint]:
    """The oldest message.  What is held does not expire, and says nothing."""
    if not held and oldest_s > give_up_s + OVERDUE_S:
        yield Complaint(
            "age",
            "wrong",
            f"the oldest message has been in the queue for {age(oldest_s)}, and is given up after {age(give_up_s)}",
            "the log says why it cannot be; relay queue list shows it first",
        )


def of_logins(refusals: Iterable[tuple[str, str, str]]) -> Iterator[Complaint]:
    """Next hops that do not let us in: hop, user, why."""
    for hop, user, why in refusals:
        yield Complaint(
            "login",
            "wrong",
            f"{hop} refuses our login as {user}: {why}",
            "correct the password file or token of its route; it is read again at the next attempt",
        )


def of_files(troubles: Iterable[str]) -> Iterator[Complaint]:
    """Files that cannot be read again; what was read last is in force."""
    for trouble in troubles:
        yield Complaint(
            "file",
            "wrong",
            f"{trouble}; what was read last is still in force",
            "correct the file; it is looked at every second",
        )


def of_unread(troubles: Iterable[str]) -> Iterator[Complaint]:
    """Files that are read with a reload, and could not be; what was read before is in force."""
    for trouble in troubles:
        yield Complaint(
            "file",
            "wrong",
            f"{trouble}; what was read last is still in force",
            "correct the file, and reload: it is not looked at by itself",
        )


def of_certificates(expiries: Iterable[tuple[str, float]], now: float) -> Iterator[Complaint]:
    """Certificates of ours: file and when it runs out."""
    for place, at in expiries:
        if at <= now:
            what = f"the certificate {place} ran out {age(now - at)} ago"
            yield Complaint("certificate", "wrong", what, "renew it; the file is read again by itself")
        elif at - now < EXPIRES_SOON_S:
            what = f"the certificate {place} runs out in {age(at - now)}"
            yield Complaint("certificate", "soon", what, "renew it; the file is read again by itself")


def of_dns(silent_for: Iterable[str], enough: int) -> Iterator[Complaint]:
    names = sorted(silent_for)
    if len(names) >= enough:
        yield Complaint(
            "dns",
            "wrong",
            f"the DNS has answered nothing lately, not for {', '.join(names)}",
            "look at the name servers of dns.servers, or of /etc/resolv.conf",
        )


def of_webhooks(rows: Iterable[Mapping[str, Any]], now: float) -> Iterator[Complaint]:
    """Receivers that take nothing."""
    for row in rows:
        since = row["failing_since"]
        if since is not None and now - since > TOLD_AFTER_S:
            yield Complaint(
                "webhook",
                "soon",
                f"{row['webhook']} has taken nothing for {age(now - since)}: {row['error']}",
                "mail is not held up; what it has missed is kept for as long as the journal keeps it",
            )


def of_reload(fault: str) -> Iterator[Complaint]:
    if fault:
        yield Complaint(
            "configuration",
            "soon",
            f"the last reload changed nothing, since the file has faults: {fault}",
            "relay check FILE shows them all",
        )


def of_token(fault: str, is_shut: bool) -> Iterator[Complaint]:
    """The token of the page, after a reload that could not take it.

    is_shut  nobody is let in; else who has the old one is
    """
    if is_shut:
        yield Complaint(
            "token",
            "wrong",
            f"nobody is let in to the page and the API: {fault}",
            "put a token into the file, and reload; mail by SMTP goes on meanwhile",
        )
    elif fault:
        yield Complaint(
            "token",
            "soon",
            f"the old token still lets people in: {fault}",
            "let the user of the relay read the file and reload, or restart",
        )


def of_silence(workers: Iterable[int]) -> Iterator[Complaint]:
    for worker in workers:
        yield Complaint(
            "worker",
            "wrong",
            f"worker {worker} does not answer",
            "its mail is safe on disk; the log says why it ended, and the parent begins another",
        )
