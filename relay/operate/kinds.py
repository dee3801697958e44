"""The kinds of value as the settings name them: how each is read, and how it looks in documentation."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import BeforeValidator, Field, PlainValidator, Strict, ValidationInfo

from relay.message.address import Address
from relay.operate import values
from relay.operate.places import path_in
from relay.route.table import NULL_SENDER, parse_pattern
from relay.route.tls import parse_fingerprint
from relay.route.via import Way, parse_via, written

WORKERS_LIMIT = 64

CREDENTIALS = "/run/credentials/relay.service"
"""Where systemd puts them for our unit; it says so in the environment."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a kind of value looks in documentation.

    name  the kind, in words
    show  a value as an operator would write it
    """

    name: str
    show: Callable[[object], str | list[str]] = str


def _path(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError(f"{values.shown(value)} is not a path; write it like /var/spool/relay")
    folder: Path = (info.context or {}).get("folder", Path())
    return path_in(folder, value)


def _recipients(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, int):
        raise ValueError(f"{value} is not a file; the number of recipients is limited by accept.max_recipients")
    return _file(value, info)


def _file(value: object, info: ValidationInfo) -> Path:
    path = _path(value, info)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"there is no file {path}; create it, or remove this line") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be looked at: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise ValueError(f"{path} is {kind}; name a file, or remove this line")
    return path


def _users(value: object, info: ValidationInfo) -> Path | values.DovecotSocket:
    if isinstance(value, str) and value.startswith("dovecot:"):
        return values.DovecotSocket(_path(value.removeprefix("dovecot:"), info))
    return _file(value, info)


def _certificate(value: object, info: ValidationInfo) -> str | Path:
    if isinstance(value, str) and value.lower().startswith("sha256:"):
        return values.parse_fingerprint(value)
    return _file(value, info)


def _secret(value: object, info: ValidationInfo) -> Path:
    """A file, or a credential of systemd (systemd.exec(5), LoadCredential=), which is there only when it starts us."""
    if isinstance(value, str) and value.startswith("credential:"):
        name = value.removeprefix("credential:")
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise ValueError(f"{values.shown(value)} names no credential; write it like credential:provider")
        return Path(os.environ.get("CREDENTIALS_DIRECTORY", CREDENTIALS)) / name
    return _file(value, info)


def is_still_to_come(secret: Path) -> bool:
    """Whether it is a credential of systemd, which hands it over only to the relay that it starts."""
    return "CREDENTIALS_DIRECTORY" not in os.environ and secret.parent == Path(CREDENTIALS)


def _maildrop(value: object, info: ValidationInfo) -> Path | Literal["none"]:
    return "none" if value == "none" else _path(value, info)


def one_or_more(value: object) -> object:
    """A list of one may be written as that one."""
    return [value] if isinstance(value, (str, dict)) else value


def unless_none(value: object) -> object:
    """A section that is switched off by the word ``none`` in its place."""
    return None if value == "none" else value


def journal(value: object) -> object:
    """``7 days`` is how long it is kept; ``none``: there is none."""
    if value == "none":
        return None
    return {"keep": value} if isinstance(value, (str, int, float)) and not isinstance(value, bool) else value


def _via(value: object) -> Way:
    texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    if isinstance(value, list) and len(texts) == len(value):
        return parse_via(texts)
    if not isinstance(value, str):
        raise ValueError(f"{values.shown(value)} is not a way; write it like smtp://smtp.provider.example:587")
    return parse_via(value)


def _pattern(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{values.shown(value)} is not a pattern; write it like example.org, ann@example.org or '*'")
    return parse_pattern(value)


def _sender(value: object) -> str:
    return NULL_SENDER if value == NULL_SENDER else _pattern(value)


def _workers(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= WORKERS_LIMIT:
        raise ValueError(
            f"{values.shown(value)} is not a number from 1 to {WORKERS_LIMIT}; one for each core does well"
        )
    return value


def _fingerprint(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError(f"{values.shown(value)} is not a fingerprint; write sha256: and 64 hexadecimal digits")
    return parse_fingerprint(value)


def _selector(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*", value):
        raise ValueError(f"{values.shown(value)} is not a selector; write letters, digits and hyphens: tlsrpt")
    return value


def _never(parse: Callable[[object], float]) -> Callable[[object], float | None]:
    return lambda value: None if value in (None, "never") else parse(value)


def _hex(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _show_via(value: object) -> str | list[str]:
    return written(cast(Way, value))


def _show_maybe(value: object) -> str:
    return "never" if value is None else values.show_duration(float(str(value)))


Duration = Annotated[
    float, PlainValidator(values.parse_duration), Form("duration", lambda s: values.show_duration(float(str(s))))
]
DurationOrNever = Annotated[
    float | None, PlainValidator(_never(values.parse_duration)), Form("duration, or `never`", _show_maybe)
]
Size = Annotated[int, PlainValidator(values.parse_size), Form("size", lambda n: values.show_size(int(str(n))))]
Flag = Annotated[bool, Strict(), Form("true or false", lambda told: str(told).lower())]
Count = Annotated[int, Strict(), Field(ge=1), Form("number from 1")]
Factor = Annotated[float, Field(ge=1, le=100), Form("number from 1 to 100", lambda x: f"{x:g}")]
Hostname = Annotated[str, PlainValidator(values.parse_hostname), Form("host name")]
Domain = Annotated[str, PlainValidator(values.parse_domain), Form("domain")]
Pattern = Annotated[str, PlainValidator(_pattern), Form("address, domain, `.domain` or `*`")]
SenderPattern = Annotated[str, PlainValidator(_sender), Form("address, domain, `.domain`, `<>` or `*`")]
MailAddress = Annotated[Address, PlainValidator(values.parse_address), Form("address")]
Network = Annotated[values.Network, PlainValidator(values.parse_network), Form("network")]
Endpoint = Annotated[str, PlainValidator(values.parse_endpoint), Form("endpoint")]
DnsServer = Annotated[values.Server, PlainValidator(values.parse_server), Form("address of a server")]
ForwardKey = Annotated[str, PlainValidator(values.parse_forward_key), Form("address")]
Person = Annotated[str, PlainValidator(values.parse_person), Form("`Full Name <address>`")]
TlsVersion = Annotated[str, PlainValidator(values.parse_tls_version), Form("`1.0`, `1.1`, `1.2` or `1.3`")]
Mechanism = Annotated[str, PlainValidator(values.parse_mechanism), Form("mechanism")]
HttpsUrl = Annotated[str, PlainValidator(values.parse_https), Form("URL")]
WebhookUrl = Annotated[str, PlainValidator(values.parse_webhook), Form("URL", lambda url: values.masked(str(url)))]
ExistingFile = Annotated[Path, PlainValidator(_file), Form("file")]
TrustedCertificate = Annotated[str | Path, PlainValidator(_certificate), Form("`sha256:…` or a file")]
UsersSource = Annotated[Path | values.DovecotSocket, PlainValidator(_users), Form("file, or `dovecot:` and a socket")]
SecretPath = Annotated[Path, PlainValidator(_secret), Form("file, or `credential:` and a name")]
FilePath = Annotated[Path, PlainValidator(_path), Form("file")]
Selector = Annotated[str, PlainValidator(_selector), Form("letters, digits, `-` and `.`")]
Fingerprint = Annotated[bytes, PlainValidator(_fingerprint), Form("SHA-256", lambda one: f"sha256:{_hex(one)}")]
IpAddress = Annotated[str, PlainValidator(values.parse_ip), Form("IP address")]
TlsLevel = Literal["none", "opportunistic", "require", "verify", "dane", "fingerprint"]
ClientMechanism = Literal["SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER"]
Via = Annotated[Way, PlainValidator(_via), Form("way, or a list of hosts", _show_via)]
FolderPath = Annotated[Path, PlainValidator(_path), Form("folder")]
MaildropPath = Annotated[Path | Literal["none"], PlainValidator(_maildrop), Form("folder, or `none`")]
LogPath = Annotated[Path, PlainValidator(_path), Form("file")]
RecipientsPath = Annotated[Path, PlainValidator(_recipients), Form("file")]
Addresses = Annotated[tuple[MailAddress, ...], Field(min_length=1), BeforeValidator(one_or_more), Form("addresses")]
Exposure = Literal["trusted", "anybody", "nobody"]
Workers = Annotated[int, PlainValidator(_workers), Form(f"number from 1 to {WORKERS_LIMIT}")]
ServiceName = Literal["relay", "submission", "submissions", "lmtp"]
