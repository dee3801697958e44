"""The texts of findings (relay.operate.explaining.finding), as a person reads them.

Pure: a finding as it comes over the control socket goes in, lines come out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from relay.operate.cli.speech import age, count, hour, moment, size

Row = Mapping[str, Any]

SHOWN = 8
_LONG = re.compile(r"\b([0-9a-f]{16})[0-9a-f]{24,}")


def of(row: Row, now: float) -> Sequence[str]:
    """The lines about a finding, one at least; now in seconds since the epoch."""
    texts = _TEXTS.get((row["part"], row["what"]), _about)
    return list(texts(row, now)) or [row["about"]]


def rule_of(row: Row) -> str:
    """``accept.networks: 10.0.0.0/8  (/etc/relay/relay.yaml:12)``."""
    if row["rule"] and row["place"]:
        return f"{row['rule']}  ({row['place']})"
    return str(row["rule"] or row["place"])


def _about(row: Row, now: float) -> Iterator[str]:
    yield row["about"]


# -- the way in -----------------------------------------------------------------------------------------------


def _configuration(row: Row, now: float) -> Iterator[str]:
    running = row["details"]["running"]
    yield "as the relay that runs has read it" if running else "as the file has it; no relay is asked"


def _listener(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    tls = "TLS" if details["tls"] else "no TLS"
    logins = {"none": "no login", "offered": "login offered", "required": "login required"}[details["login"]]
    yield f"{row['about']}: {details['service']}, {tls}, {logins}"


def _connection(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    if not details:
        yield row["about"]
        return
    yield f"{row['about']}, {'trusted' if details['trusted'] else 'not trusted'}"
    here = f"{details['connections']:,} of {details['connections_limit']:,} connections"
    if details["of_client"] is not None:
        here += f", {details['of_client']:,} of {details['of_client_limit']:,} from this address"
    yield f"with it {here}"


def _hello(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    within = "within TLS" if details["encrypted"] else "in the clear"
    yield f"{details['helo']}, {within}"
    if details["must_encrypt"]:
        yield "TLS is wanted first"
    elif details["must_log_in"]:
        yield "a login is wanted first"
    if details["mechanisms"]:
        yield f"login offered: {' '.join(details['mechanisms'])}"


def _certificate(row: Row, now: float) -> Iterator[str]:
    yield f"{_short(row['about'])}, {'trusted' if row['details']['is_trusted'] else 'not trusted'}"


def _login(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    yield f"{row['about']}, by {details['mechanism']}; the password is taken to be right"
    if details.get("assumed"):
        yield "whether there is such a user, only who keeps the passwords knows"


def _sender(row: Row, now: float) -> Iterator[str]:
    yield f"<{row['about'].strip('<>')}>"


def _recipient(row: Row, now: float) -> Iterator[str]:
    yield row["about"]
    to = row["details"].get("to", [])
    if to and to != [row["about"]]:
        yield f"becomes {_some(to)}"


def _content(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    yield (
        f"at most {size(details['message_size'])}, of it {size(details['header_size'])} header; "
        f"{details['max_recipients']:,} recipients, {details['max_hops']} hops"
    )


# -- the way out ----------------------------------------------------------------------------------------------


def _route(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    if "left_out" in details:
        yield f"and {count(details['left_out'], 'more way')}, not shown"
        return
    yield f"{_some(details['recipients'])} via {details['via']}"
    conditions = [f"{key}: {details[key]}" for key in ("to", "from") if details.get(key, "*") != "*"]
    if conditions:
        yield f"for {', '.join(conditions)}"
    if details.get("hold"):
        yield "held when it comes, until relay queue release"


def _dns(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    records = _some([_short(one) for one in details["records"]]) or details["answer"] + (
        f": {details['why']}" if details.get("why") else ""
    )
    signed = ", signed" if details["secure"] else ""
    through = f" (it is {details['canonical']})" if details.get("canonical") else ""
    yield f"{details['kind']} {row['about']}{through}: {records}  [{details['ttl_s']} s{signed}]"


def _policy(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    yield f"of {row['about']}, {details['mode']}: {_some(details['mx'])}; until {hour(details['expires_at'])}"


def _host(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    preference = f" (MX {details['preference']})" if details.get("preference") is not None else ""
    addresses = f"  {_some(details['addresses'])}" if details.get("addresses") else ""
    if "left_out" in details:
        yield f"-  {row['about']}{preference}{addresses}"
        yield f"   left out: {details['left_out']}"
        return
    yield f"{details['number']}. {row['about']}{preference}{addresses}"
    yield f"   TLS {_tls(details['tls'])}"
    if details["login"]:
        yield f"   {_credentials(details['login'])}"


def _tls(tls: Row) -> str:
    text = f"{tls['level']}, by {tls['whence']}" if tls["whence"] != "default" else f"{tls['level']} (default)"
    text += " from the first octet" if tls["implicit"] else ""
    text += f", for {_some(tls['names'])}" if tls["names"] else ""
    text += f", authorities in {tls['authorities']}" if tls["authorities"] else ""
    return text + (f": {tls['trouble']}" if tls["trouble"] else "")


def _credentials(login: Row) -> str:
    by = f"{login['by']} by {' '.join(login['mechanisms'])}" if login["mechanisms"] else login["by"]
    readable = "which can be read" if login["readable"] else login["trouble"]
    return f"login {login['user']}, {by}, from {login['secret_file']}, {readable}"


def _destination(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    waiting = f"{count(details['waiting'], 'recipient')} waiting, {details['in_flight']} attempts under way"
    if not details["is_known"]:
        yield f"{row['about']}: nothing waits there"
    elif details["resting_until"]:
        yield f"{row['about']} rests for {age(details['resting_until'] - now)}; {waiting}"
    elif details["window"] is None:
        yield f"{row['about']}: {waiting}"
    else:
        yield f"{row['about']}: {waiting}, window {details['window']}"
    if details["error"]:
        yield details["error"]


def _times(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    first = details["attempts_at"][0]
    after = ", ".join(age(at - first) for at in details["attempts_at"][1:])
    yield f"if it is put off: again after {after} ..., every {age(details['longest_s'])} at last"
    warned = f"is warned after {age(details['warns_at'] - first)}, and " if details["warns_at"] else ""
    yield f"the sender {warned}has it back after {age(details['expires_at'] - first)}"


# -- asked in truth -------------------------------------------------------------------------------------------


def _probed(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    yield row["about"]
    started = details["dialogue"][0]["at"] if details["dialogue"] else 0.0
    hop = ""
    for one in details["dialogue"]:
        if one["hop"] != hop:
            hop = one["hop"]
            yield f"with {hop}"
        yield f"{one['at'] - started:7.3f} {_short(one['line'])}"
    if details["tls"]:
        yield from _shown_by_tls(details["tls"], now)


def _shown_by_tls(tls: Row, now: float) -> Iterator[str]:
    yield f"{tls['how']}; {_short('proved by ' + tls['by']) if tls['is_known'] else tls['why']}"
    certificate = tls["certificate"]
    if certificate:
        expired = "" if certificate["not_after"] > now else " (it has expired)"
        yield f"certificate of {_some(certificate['names']) or certificate['subject']}, by {certificate['issuer']}"
        yield f"until {moment(certificate['not_after'])}{expired}, sha256:{certificate['sha256']}"


def _asked(row: Row, now: float) -> Iterator[str]:
    words = {
        "accepted": "it would be asked for the content",
        "refused": "it is not taken",
        "temporary": "it would wait",
    }
    yield words[row["decision"]]


# -- in the queue ---------------------------------------------------------------------------------------------


def _message(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    yield f"{row['about']} from <{details['sender'].strip('<>')}>, {size(details['size'])} octets"
    client = " ".join(filter(None, (details["client_name"], f"[{details['client']}]" if details["client"] else "")))
    login = f" as {details['login']}" if details["login"] else ""
    yield f"accepted {age(now - details['accepted_at'])} ago, by {details['protocol']} from {client}{login}"


def _waiting(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    if "left_out" in details:
        yield f"and {count(details['left_out'], 'more recipient')}, not shown"
        return
    yield f"{row['about']}: {details['state']}, {count(details['attempts'], 'attempt')}, to {details['destination']}"
    if details["destination_now"] != details["destination"]:
        yield f"by the routes of now it goes to {details['destination_now']}"
    if details["next_at"] is not None:
        yield f"next attempt {_when(details['next_at'], now)}"
        later = [age(at - now) for at in details["attempts_at"][1:6]]
        if later:
            yield f"if that fails, in {', '.join(later)} ..."
        warned = f"is warned {hour(details['warns_at'])}, and " if details["warns_at"] else ""
        warned = "has been warned, and " if details["warned"] else warned
        yield f"the sender {warned}has it back {hour(details['expires_at'])}"


def _attempt(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    at = f" at {details['hop']}" if details["hop"] else ""
    tls = f", {details['tls']}" if details["tls"] else ""
    yield f"{row['about']}: last tried {age(now - details['began_at'])} ago{at}{tls}, in {details['took_s']:.2f} s"
    for one in details["recipients"][:SHOWN]:
        yield f"{one['recipient']}  {one['step']}: {one['reply']}"
    if len(details["recipients"]) > SHOWN:
        yield f"and {count(len(details['recipients']) - SHOWN, 'more recipient')}"
    for part in details["dialogue"]:
        yield f"with {part['hop']}" + (f", {part['tls']}" if part["tls"] else "")
        yield from (f"{after_s:7.3f} {_short(line)}" for after_s, line in part["lines"])


def _gone(row: Row, now: float) -> Iterator[str]:
    details = row["details"]
    states = {
        "delivered": "it is delivered",
        "discarded": "a route threw it away",
        "failed": "it has failed",
        "refused": "it was not taken",
        "removed": "it was removed",
    }
    became = states.get(details["state"], "it has left the queue")
    yield f"{row['about']} is not in the queue: {became}, {age(now - details['last_at'])} ago"
    if details["sender"]:
        yield f"from <{details['sender'].strip('<>')}> to {_some(details['recipients'])}"
    yield f"at last: {details['last']}"


def _when(at: float, now: float) -> str:
    return f"in {age(at - now)}, {hour(at)}" if at - now >= 1 else "now"


def _short(record: str) -> str:
    """A record with its long hexadecimal numbers cut: whole they are in --json."""
    return _LONG.sub(r"\1...", record)


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


_TEXTS: Mapping[tuple[str, str], Callable[[Row, float], Iterator[str]]] = {
    ("in", "configuration"): _configuration,
    ("in", "listener"): _listener,
    ("in", "connection"): _connection,
    ("in", "hello"): _hello,
    ("in", "certificate"): _certificate,
    ("in", "login"): _login,
    ("in", "sender"): _sender,
    ("in", "recipient"): _recipient,
    ("in", "content"): _content,
    ("out", "route"): _route,
    ("out", "dns"): _dns,
    ("out", "policy"): _policy,
    ("out", "host"): _host,
    ("out", "destination"): _destination,
    ("out", "times"): _times,
    ("probe", "host"): _probed,
    ("probe", "way"): _asked,
    ("queue", "message"): _message,
    ("queue", "recipient"): _waiting,
    ("queue", "attempt"): _attempt,
    ("queue", "gone"): _gone,
}
