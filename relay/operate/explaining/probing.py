"""The hosts of a way, asked in truth: one after the other as a delivery would, until nothing is left to be asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from relay.deliver.deliverer import Deliverer
from relay.deliver.probe import Probed
from relay.message.envelope import Message, Recipient
from relay.message.outcome import Deferred, Delivered, Failed, Outcome
from relay.operate.explaining.finding import Decision, Finding
from relay.route.router import Addresses
from relay.route.via import Hop

NAMES_SHOWN = 20


async def probe(
    deliverer: Deliverer,
    hops: Sequence[Hop],
    addresses: Sequence[Addresses],
    message: Message,
    recipients: Sequence[Recipient],
) -> AsyncIterator[Finding]:
    """A finding for each host that was asked, and one for the way.

    addresses  of each hop
    """
    left = list(recipients)
    outcomes: list[Outcome] = []
    last: Sequence[Outcome] = ()
    most = len(hops) if message.envelope.require_tls else deliverer.settings.hosts_per_attempt
    for hop, found in list(zip(hops, addresses, strict=True))[:most]:
        if isinstance(found, Deferred):
            continue  # it was told already that it has none
        probed = await deliverer.prober().probe(hop, found, message, left)
        yield _of_host(hop, probed, left)
        last = probed.outcomes
        outcomes += [one for one in last if not isinstance(one, Deferred)]
        left = [one for one, outcome in zip(left, last, strict=False) if isinstance(outcome, Deferred)]
        if not left:
            break
    else:
        outcomes += [one for one in last if isinstance(one, Deferred)]
    if outcomes:
        about = str(recipients[0].address) if len(recipients) == 1 else f"{len(recipients)} recipients"
        yield Finding("probe", "way", about, _decision(outcomes), reply=_reply(outcomes))


def _of_host(hop: Hop, probed: Probed, recipients: Sequence[Recipient]) -> Finding:
    lines = [{"at": at, "hop": hop_label, "line": line} for at, hop_label, line in probed.account.lines()]
    details = {
        "dialogue": lines,
        "recipients": [
            {"recipient": str(one.address), "decision": _decision((outcome,)), "reply": _reply((outcome,))}
            for one, outcome in zip(recipients, probed.outcomes, strict=False)
        ],
        "tls": _tls(probed),
    }
    decision, reply = _decision(probed.outcomes), _reply(probed.outcomes)
    return Finding("probe", "host", hop.name(), decision, reply=reply, remedy=_remedy(hop, probed), details=details)


def _remedy(hop: Hop, probed: Probed) -> str:
    """Where the host does not let us in: what is to be looked at."""
    login = hop.login
    if login is None or not any(isinstance(one, Deferred) and one.lasting for one in probed.outcomes):
        return ""
    kind = "token" if login.oauth is not None else "password"
    return (
        f"look at the user of its route ({login.user}) and at the {kind} ({login.secret_file}); some providers want an "
        f"app password, or OAuth"
    )


def _decision(outcomes: Sequence[Outcome]) -> Decision:
    """The worst for good, else the best."""
    if any(isinstance(one, Failed) for one in outcomes):
        return "refused"
    return "temporary" if any(isinstance(one, Deferred) for one in outcomes) else "accepted"


def _reply(outcomes: Sequence[Outcome]) -> str:
    """What was said to the one that decides."""
    decision = _decision(outcomes)
    for one in outcomes:
        if isinstance(one, (Delivered, Deferred, Failed)) and _decision((one,)) == decision:
            return str(one.reply)
    return ""


def _tls(probed: Probed) -> Mapping[str, object] | None:
    """What TLS has shown; None where there was none."""
    evidence, judgement = probed.evidence, probed.judgement
    if evidence is None:
        return None
    leaf = evidence.chain[0] if evidence.chain else None
    return {
        "how": evidence.how,
        "is_known": judgement is not None and judgement.is_known,
        "by": judgement.by if judgement is not None else "",
        "why": judgement.why if judgement is not None else "",
        "certificate": _certificate(leaf) if leaf is not None else None,
    }


def _certificate(certificate: x509.Certificate) -> Mapping[str, object]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "names": _names(certificate),
        "not_before": certificate.not_valid_before_utc.timestamp(),
        "not_after": certificate.not_valid_after_utc.timestamp(),
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
    }


def _names(certificate: x509.Certificate) -> Sequence[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    names = found.get_values_for_type(x509.DNSName)
    return [*names, *map(str, found.get_values_for_type(x509.IPAddress))][:NAMES_SHOWN]
