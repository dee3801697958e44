"""What is behind a refusal, and what would let it pass.

A verdict of the policy names its rule and place itself; of what the session refuses (its order, TLS, logins, sizes) the
key of the configuration is told here, or the law.  Pure: reply and circumstances come in, words come out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from relay.message import reply as replies
from relay.message.reply import Reply
from relay.operate.config import BUILT_IN, Config
from relay.operate.explaining.finding import Question
from relay.operate.settings.receiving import Listen
from relay.operate.values import DovecotSocket
from relay.policy import policy
from relay.policy.users import User


@dataclass(frozen=True, slots=True)
class Cause:
    """Rule and place as in a verdict; the remedy in a sentence, empty when there is none that could be told."""

    rule: str
    place: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Under which something was refused.

    number    of the listener in ``listen``
    user      whom the login would be, or None
    is_crowd  the limit for all clients is reached, not only the one for this client
    """

    config: Config
    listen: Listen
    number: int
    question: Question
    user: User | None = None
    is_crowd: bool = False

    def place(self, *paths: str) -> str:
        """Where the first of these keys stands that stands anywhere."""
        places = [self.config.place(path) for path in paths]
        return next((place for place in places if place != str(BUILT_IN)), places[-1])

    def of_listener(self, key: str) -> str:
        """Where a key of the listener stands; where the listener does, when it has no such key."""
        return self.place(f"listen[{self.number}].{key}", f"listen[{self.number}]", "listen")

    @property
    def client(self) -> str:
        return self.question.client or "this machine"

    @property
    def may_log_in(self) -> bool:
        """Whether a login is of any use at this listener."""
        accept = self.config.accept
        return self.listen.login != "none" and (accept.users is not None or accept.tokens is not None)


def cause_of(what: str, about: str, reply: Reply, around: Circumstances) -> Cause:
    """What is behind a reply that is no yes.

    what   connection, hello, tls, login, sender, recipient or content
    about  the address concerned
    """
    find = _BY_REPLY.get(reply) or _BY_CODE.get((what, reply.code, reply.enhanced))
    find = find or _BY_CODE.get(("", reply.code, reply.enhanced))
    return find(around, about) if find is not None else Cause("the session", "", "")


# -- the client -----------------------------------------------------------------------------------------------


def _too_many_connections(around: Circumstances, about: str) -> Cause:
    limits = around.config.limits
    if around.is_crowd:
        place = around.place("limits.connections", "limits")
        return Cause(f"limits.connections: {limits.connections}", place, "wait until some have gone, or raise it")
    place = around.place("limits.connections_per_client", "limits")
    rule = f"limits.connections_per_client: {limits.connections_per_client}"
    remedy = f"wait until some connections of {around.client} have ended, raise it, or add {around.client} to "
    return Cause(rule, place, remedy + "accept.networks")


def _too_many_errors(around: Circumstances, about: str) -> Cause:
    rule = f"limits.errors: {around.config.limits.errors}"
    return Cause(rule, around.place("limits.errors", "limits"), "a client that is refused so often is sent away")


def _shutting_down(around: Circumstances, about: str) -> Cause:
    return Cause("the relay is coming to its end", "", "ask again when it runs")


def _bad_hello(around: Circumstances, about: str) -> Cause:
    return Cause("RFC 5321 §4.1.1.1", "", "let the client call itself by a host name, or an address in brackets")


def _tls_required(around: Circumstances, about: str) -> Cause:
    service = around.listen.service
    remedy = "let the client begin TLS (--tls)"
    if service == "submissions":
        return Cause(f"service: {service}", around.of_listener("service"), f"{remedy}; there is no other way here")
    place = around.of_listener("tls")
    return Cause(f"tls: {around.listen.tls}", place, f"{remedy}, or write tls: offered in {place}")


def _no_tls(around: Circumstances, about: str) -> Cause:
    if not around.config.tls:
        remedy = "add the line tls: {certificate: /etc/relay/tls.crt, key: /etc/relay/tls.key}"
        return Cause("there is no certificate", around.place("tls", "listen"), remedy)
    place = around.of_listener("tls")
    return Cause(f"tls: {around.listen.tls}", place, f"write tls: offered in {place}, or use another listener")


def _tls_is_there(around: Circumstances, about: str) -> Cause:
    return Cause("TLS is there already", around.of_listener("service"), "")


# -- logging in -----------------------------------------------------------------------------------------------


def _login_required(around: Circumstances, about: str) -> Cause:
    listen, remedy = around.listen, "let the client log in (--login USER)"
    if listen.login == "required":
        place = around.of_listener("login")
        return Cause("login: required", place, f"{remedy}, or write login: offered in {place}")
    place = around.of_listener("service")
    return Cause(f"service: {listen.service}", place, f"{remedy}, or add {around.client} to accept.networks")


def _login_needs_tls(around: Circumstances, about: str) -> Cause:
    place = around.of_listener("login_without_tls")
    remedy = "let the client begin TLS first (--tls); for a device that cannot, write login_without_tls: true"
    return Cause("login_without_tls: false", place, f"{remedy} in {place}")


def _no_login(around: Circumstances, about: str) -> Cause:
    accept, listen = around.config.accept, around.listen
    if accept.users is None and accept.tokens is None:
        remedy = "add the line users: /etc/relay/users under accept, and a user with relay user add"
        return Cause("there are no users", around.place("accept"), remedy)
    login = listen.login or {"lmtp": "none"}.get(listen.service, "offered")
    remedy = "use a listener where clients may log in (--listener)"
    return Cause(f"login: {login}", around.of_listener("login"), remedy)


def _login_refused(around: Circumstances, about: str) -> Cause:
    user, users = around.user, around.config.accept.users
    if user is not None and not user.may_log_in:
        return Cause(f"{user.name} is switched off", user.place, f"take nologin out of {user.place}")
    if user is not None:
        nets = ", ".join(map(str, user.networks or ()))
        return Cause(f"allow_nets of {user.name}: {nets}", user.place, f"add {around.client} in {user.place}")
    place = around.place("accept.users", "accept.tokens", "accept")
    if users is None or isinstance(users, DovecotSocket):
        return Cause(f"nobody knows the user {about}", place, "")
    return Cause(f"there is no user {about} in {users}", place, f"relay user add {about}")


def _no_scram(around: Circumstances, about: str) -> Cause:
    place = around.place("accept.mechanisms")
    remedy = f"relay user passwd {about} --scheme SCRAM-SHA-256, or let the client use another mechanism"
    return Cause("the password is not kept in the form that SCRAM needs", place, remedy)


def _locked_out(around: Circumstances, about: str) -> Cause:
    limits = around.config.limits
    rule = f"limits.failed_logins: {limits.failed_logins}"
    remedy = f"wait: in {limits.forget_failed_login_s:.0f} s one failure is forgotten"
    return Cause(rule, around.place("limits.failed_logins", "limits"), remedy)


def _users_unknown(around: Circumstances, about: str) -> Cause:
    place = around.place("accept.users", "accept.tokens", "accept")
    return Cause("the users cannot be read", place, f"relay check {around.config.source} says what is wrong with them")


# -- the envelope ---------------------------------------------------------------------------------------------


def _bad_address(around: Circumstances, about: str) -> Cause:
    return Cause("RFC 5321 §4.1.2", "", "write the address as name@example.org")


def _needs_utf8(around: Circumstances, about: str) -> Cause:
    return Cause("RFC 6531 §3.5", "", "let the client say SMTPUTF8 (--smtputf8), or write the address in ASCII")


def _too_big(around: Circumstances, about: str) -> Cause:
    place = around.place("accept.message_size", "accept")
    rule = f"accept.message_size: {around.config.accept.message_size_octets} octets"
    return Cause(rule, place, "raise it, or send less at once")


def _no_space(around: Circumstances, about: str) -> Cause:
    return Cause("the disk is full", around.place("spool"), f"make room under {around.config.spool}")


def _too_many_recipients(around: Circumstances, about: str) -> Cause:
    rule = f"accept.max_recipients: {around.config.accept.max_recipients}"
    place = around.place("accept.max_recipients", "accept")
    return Cause(rule, place, "the client sends to the others in a message of their own; or raise it")


def _not_for_submission(around: Circumstances, about: str) -> Cause:
    place = around.place("accept.networks", "accept")
    remedy = f"accept.networks in {place} does not hold {around.client}; add it, or add users who can log in"
    return Cause("not in accept.networks", place, remedy)


def _not_qualified(around: Circumstances, about: str) -> Cause:
    remedy = "write the full domain, with a dot; or use a listener of service: relay"
    return Cause("submission: RFC 6409 §4.2", around.of_listener("service"), remedy)


def _not_yours(around: Circumstances, about: str) -> Cause:
    user = around.user
    if user is None or not user.secret:
        return Cause("senders", user.place if user is not None else "", f"let the user send as {about}")
    kept = f"{','.join(user.senders)}," if user.senders else ""
    return Cause("senders", user.place, f"relay user senders {user.name} {kept}{about}")


def _relay_denied(around: Circumstances, about: str) -> Cause:
    place = around.place("accept.networks", "accept")
    login = ", or let it log in (--login USER)" if around.may_log_in else ""
    ours = f"; if {about.rpartition('@')[2]} is ours, add that to accept.domains"
    remedy = f"accept.networks in {place} does not hold {around.client}; add it{login}{ours}"
    return Cause("not in accept.networks", place, remedy)


def _no_such_user(around: Circumstances, about: str) -> Cause:
    path = around.config.accept.recipients
    return Cause("not in accept.recipients", str(path), f"add the line {about} to {path}")


def _routed_local_part(around: Circumstances, about: str) -> Cause:
    place = around.place("accept.recipients", "accept")
    return Cause("a route within a local part", place, f"if {about} is no route, list it in accept.recipients")


def _list_unavailable(around: Circumstances, about: str) -> Cause:
    place = around.place("accept.recipients")
    return Cause("accept.recipients", place, f"relay check {around.config.source} says what is wrong with the list")


def _try_elsewhere(around: Circumstances, about: str) -> Cause:
    return Cause("forward", "", "send to the new address; or write it under `to` in place of `refer`")


def _forward_too_large(around: Circumstances, about: str) -> Cause:
    return Cause("forward", "", "split the list of targets")


def _forwarding_loop(around: Circumstances, about: str) -> Cause:
    return Cause("forward", "", "take one target out of the circle")


_Find = Callable[[Circumstances, str], Cause]

_BY_REPLY: Mapping[Reply, _Find] = {
    replies.TLS_REQUIRED: _tls_required,
    replies.TLS_UNAVAILABLE: _no_tls,
    replies.LOGIN_REQUIRED: _login_required,
    replies.LOGIN_UNAVAILABLE: _users_unknown,
    replies.ENCRYPTION_REQUIRED: _login_needs_tls,
    replies.TOO_MANY_FAILED_LOGINS: _locked_out,
    replies.RELAY_DENIED: _relay_denied,
    policy.NOT_FOR_SUBMISSION: _not_for_submission,
    policy.ROUTED_LOCAL_PART: _routed_local_part,
    policy.LIST_UNAVAILABLE: _list_unavailable,
    policy.FORWARD_TOO_LARGE: _forward_too_large,
}
_BY_CODE: Mapping[tuple[str, int, str], _Find] = {
    ("connection", 421, "4.7.0"): _too_many_connections,
    ("", 421, "4.7.0"): _too_many_errors,
    ("", 421, "4.3.2"): _shutting_down,
    ("hello", 501, "5.5.4"): _bad_hello,
    ("tls", 502, "5.5.1"): _no_tls,
    ("tls", 503, "5.5.1"): _tls_is_there,
    ("login", 502, "5.5.1"): _no_login,
    ("login", 504, "5.5.4"): _no_login,
    ("login", 534, "5.7.9"): _no_login,
    ("login", 535, "5.7.8"): _login_refused,
    ("login", 432, "4.7.12"): _no_scram,
    ("sender", 501, "5.1.7"): _bad_address,
    ("sender", 550, "5.6.7"): _needs_utf8,
    ("sender", 553, "5.7.1"): _not_yours,
    ("sender", 554, "5.1.8"): _not_qualified,
    ("recipient", 501, "5.1.3"): _bad_address,
    ("recipient", 553, "5.1.3"): _bad_address,
    ("recipient", 553, "5.6.7"): _needs_utf8,
    ("recipient", 550, "5.1.1"): _no_such_user,
    ("recipient", 550, "5.4.6"): _forwarding_loop,
    ("recipient", 551, "5.1.6"): _try_elsewhere,
    ("recipient", 554, "5.1.2"): _not_qualified,
    ("recipient", 452, "4.5.3"): _too_many_recipients,
    ("", 552, "5.3.4"): _too_big,
    ("", 452, "4.3.1"): _no_space,
}
