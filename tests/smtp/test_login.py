"""Logging in, the client's half, against the examples of the law and against scramp's server."""

from __future__ import annotations

import pytest
from scramp import ScramMechanism

from relay.smtp.login import (
    WITH_PASSWORD,
    WITH_TOKEN,
    Credentials,
    LoginFault,
    choose,
    exchange,
)

TIM = Credentials("tim", "tanstaaftanstaaf")
TOKEN = Credentials("user@example.com", "vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==", is_token=True)


def test_plain() -> None:
    """RFC 4616 §4."""
    plain = exchange("PLAIN", TIM, "mail.example", 587, "rOprNGfwEbeRWgbNEkqO")
    assert plain.initial() == b"\0tim\0tanstaaftanstaaf"
    plain.accepted()
    with pytest.raises(LoginFault):
        plain.answer(b"more?")


def test_login_answers_whatever_the_prompts_say() -> None:
    """They are "Username:" and "Password:" with some servers, and in Base64 of something else with others."""
    login = exchange("LOGIN", TIM, "mail.example", 587, "rOprNGfwEbeRWgbNEkqO")
    assert login.initial() is None
    assert [login.answer(b"User Name\0"), login.answer(b"")] == [b"tim", b"tanstaaftanstaaf"]


def test_cram_md5() -> None:
    """RFC 2195 §2, the example."""
    cram = exchange("CRAM-MD5", TIM, "mail.example", 587, "rOprNGfwEbeRWgbNEkqO")
    assert cram.initial() is None
    assert cram.answer(b"<1896.697170952@postoffice.reston.mci.net>") == b"tim b913a602c7eda7a495b4e6e7334d3890"


def test_oauthbearer() -> None:
    """RFC 7628 §4.1, and the dismissal of §3.2.3."""
    bearer = exchange("OAUTHBEARER", TOKEN, "server.example.com", 143, "rOprNGfwEbeRWgbNEkqO")
    assert bearer.initial() == (
        b"n,a=user@example.com,\1host=server.example.com\1port=143\1"
        b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==\1\1"
    )
    assert bearer.answer(b'{"status":"invalid_token"}') == b"\1"


def test_oauthbearer_quotes_the_user() -> None:
    bearer = exchange("OAUTHBEARER", Credentials("a,b=c", "t", is_token=True), "h", 1, "nonce")
    assert (bearer.initial() or b"").startswith(b"n,a=a=2Cb=3Dc,\1")


def test_xoauth2() -> None:
    xoauth2 = exchange("XOAUTH2", TOKEN, "smtp.example", 587, "rOprNGfwEbeRWgbNEkqO")
    assert xoauth2.initial() == b"user=user@example.com\1auth=Bearer vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==\1\1"
    assert xoauth2.answer(b'{"status":"400"}') == b""


def test_scram_by_the_example() -> None:
    """RFC 7677 §3."""
    client = exchange("SCRAM-SHA-256", Credentials("user", "pencil"), "h", 1, "rOprNGfwEbeRWgbNEkqO")
    assert client.initial() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert client.answer(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096") == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert client.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""
    client.accepted()


def scram_server(password: str):  # type: ignore[no-untyped-def]
    mechanism = ScramMechanism("SCRAM-SHA-256")
    salt, stored_key, server_key, rounds = mechanism.make_auth_info(password, iteration_count=4096)
    return mechanism.make_server(lambda user: (salt, stored_key, server_key, rounds))


def test_scram_passes_over_what_the_server_adds() -> None:
    """RFC 5802 §5.1: unknown extensions are ignored, also behind the server's proof."""
    client = exchange("SCRAM-SHA-256", Credentials("user", "pencil"), "h", 1, "rOprNGfwEbeRWgbNEkqO")
    client.initial()
    client.answer(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    assert client.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,x=y") == b""
    client.accepted()


def test_scram_tells_what_the_server_says_against_it() -> None:
    """RFC 5802 §5.1, "e": it helps to find out what is wrong."""
    client = exchange("SCRAM-SHA-256", Credentials("user", "pencil"), "h", 1, "rOprNGfwEbeRWgbNEkqO")
    client.initial()
    client.answer(b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    with pytest.raises(LoginFault, match="the server says unknown-user"):
        client.answer(b"e=unknown-user")


def test_scram_says_a_name_in_its_one_form() -> None:
    """RFC 5802 §5.1, RFC 4013 §2.2: a name may be typed in two ways."""
    client = exchange("SCRAM-SHA-256", Credentials("jose\u0301\uff2b", "x"), "h", 1, "abc")
    assert client.initial() == "n,,n=jos\u00e9K,r=abc".encode()


def test_scram_with_a_server_that_knows_the_password() -> None:
    """RFC 5802, RFC 7677."""
    client, server = (
        exchange("SCRAM-SHA-256", TIM, "mail.example", 587, "rOprNGfwEbeRWgbNEkqO"),
        scram_server(TIM.secret),
    )
    server.set_client_first((client.initial() or b"").decode())
    server.set_client_final(client.answer(server.get_server_first().encode()).decode())
    with pytest.raises(LoginFault, match="proved"):
        client.accepted()
    assert client.answer(server.get_server_final().encode()) == b""
    client.accepted()


def test_scram_with_a_server_that_does_not_know_the_password() -> None:
    """It may say yes as it likes: a yes without the proof is no login."""
    client, server = exchange("SCRAM-SHA-256", TIM, "mail.example", 587, "rOprNGfwEbeRWgbNEkqO"), scram_server("other")
    server.set_client_first((client.initial() or b"").decode())
    client.answer(server.get_server_first().encode())
    with pytest.raises(LoginFault):
        client.answer(b"v=" + b"A" * 43 + b"=")
    with pytest.raises(LoginFault):
        client.accepted()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"r=x,s=c2FsdA==,i=4096",
        b"\xff",
        b"r=,s=,i=",
        b"e=other-error",
        b"m=x,r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=4096,m=x",
        b"r=rOprNGfwEbeRWgbNEkqO,s=c2FsdA==,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=4095",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=999999999",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=c2Fs,A=,i=4096",
    ],
)
def test_scram_with_a_server_that_makes_no_sense(said: bytes) -> None:
    client = exchange("SCRAM-SHA-256", TIM, "mail.example", 587, "rOprNGfwEbeRWgbNEkqO")
    client.initial()
    with pytest.raises(LoginFault):
        client.answer(said)


@pytest.mark.parametrize("mechanism", [*WITH_PASSWORD, *WITH_TOKEN])
def test_no_credentials_with_a_nul(mechanism: str) -> None:
    """In PLAIN it would part user and password elsewhere."""
    with pytest.raises(LoginFault):
        exchange(mechanism, Credentials("ann\0root", "x"), "h", 1, "nonce")


def test_the_safest_mechanism_that_is_offered() -> None:
    assert choose({"PLAIN", "LOGIN", "SCRAM-SHA-256"}, (), TIM) == "SCRAM-SHA-256"
    assert choose({"LOGIN", "PLAIN"}, (), TIM) == "PLAIN"
    assert choose({"PLAIN", "LOGIN"}, ("LOGIN", "PLAIN"), TIM) == "LOGIN"
    assert choose({"PLAIN", "XOAUTH2"}, (), TOKEN) == "XOAUTH2"
    assert choose({"PLAIN"}, (), TOKEN) is None
    assert choose({"GSSAPI"}, (), TIM) is None
    assert choose({"PLAIN"}, ("SCRAM-SHA-256",), TIM) is None


def test_a_secret_is_not_in_what_a_log_would_show() -> None:
    assert TIM.secret not in repr(TIM)
