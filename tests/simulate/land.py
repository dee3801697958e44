"""Who lives in the world: the domains and their hosts, what the DNS says of them, and what people write.

kind.example is always well and near: what is sent there shows whether others' troubles hold it up; shy.example
too, but for its TLS, which never comes about.  home.example is where most senders live; local.example is reached by
LMTP, smart.example by a list of two hosts, which may have to be who they are, and to be logged in to; gone.example
does not exist; d0.example … are reached by MX and have their moods.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from passlib.hash import sha512_crypt

from relay.testing import certificates
from relay.testing.names import Zone
from tests.simulate.hops import Host, ShyHost
from tests.simulate.laws import KIND, SHY, SMART
from tests.simulate.ledger import Letter
from tests.simulate.openings import GUESSER, PASSWORD, USER

if TYPE_CHECKING:
    from tests.simulate.world import World

_WISHES = ("NEVER", "FAILURE", "DELAY", "SUCCESS", "SUCCESS,FAILURE", "SUCCESS,FAILURE,DELAY")
_LOCAL_IP, _SMART_IPS = "203.0.113.10", ("203.0.113.20", "203.0.113.21")
_KINDS = ("", "good", "good", "unknown", "wrong name", "expired")  # what certificates are like out there


class Land:
    """See the module.

    kind_ips  where kind.example is, and shy.example: no link to them breaks
    domains   to which letters go
    """

    kind_ips = ("203.0.113.1", "203.0.113.3")

    def __init__(self, world: World, chance: Random) -> None:
        self.world = world
        self.zone = Zone()
        self.domains = ["home.example", "local.example", "smart.example"]
        self._chance = chance
        self._hosts: list[Host] = []
        self._moods: dict[str, tuple[float, str]] = {}
        self._names_chance = world.chance("names")
        self._letters = 0
        climate = world.climate
        self._host("mx.kind.example", self.kind_ips[0], KIND, is_kind=True)
        self._host("mx.home.example", "203.0.113.2", "home.example", tls=self._some_certificate())
        self.zone.mx[KIND] = [(10, "mx.kind.example")]
        self.zone.mx["home.example"] = [(10, "mx.home.example")]
        if climate.has_tls:
            self._host("mx.shy.example", self.kind_ips[1], SHY, is_kind=True, tls="good", make=ShyHost)
            self.zone.mx[SHY] = [(10, "mx.shy.example")]
        self._host("lmtp", _LOCAL_IP, "local.example", lmtp=True)
        for number, ip in enumerate(_SMART_IPS):
            tls = "good" if climate.smart_tls != "opportunistic" else self._some_certificate()
            self._host(f"smart{number}.{SMART}", ip, SMART, tls=tls, has_logins=climate.smart_logins)
        for number in range(climate.domains):
            self._by_mx(number)
        if climate.has_tls:
            self._write_files()

    def _by_mx(self, number: int) -> None:
        domain = f"d{number}.example"
        self.domains.append(domain)
        mx = []
        for place in range(self._chance.choice((1, 1, 2, 3))):
            name = f"mx{place}.{domain}"
            self._host(name, f"198.51.100.{number * 10 + place}", domain, tls=self._some_certificate())
            mx.append((self._chance.choice((10, 20)), name))
        self.zone.mx[domain] = mx

    def _host(
        self,
        name: str,
        ip: str,
        domain: str,
        *,
        lmtp: bool = False,
        is_kind: bool = False,
        tls: str = "",
        has_logins: bool = False,
        make: type[Host] = Host,
    ) -> None:
        chance = self.world.chance(name)
        host = make(self.world, name, ip, domain, chance, lmtp=lmtp, is_kind=is_kind, tls=tls, has_logins=has_logins)
        self._hosts.append(host)
        self.world.network.hosts[ip] = host.answer
        self.zone.addresses[name] = [ip]

    def _some_certificate(self) -> str:
        return self._chance.choice(_KINDS) if self.world.climate.has_tls else ""

    # -- the relay's configuration ----------------------------------------------------------------

    def configuration(self, folder: str, workers: int) -> dict[str, Any]:
        """The relay's configuration in this world."""
        climate = self.world.climate
        return {
            "hostname": "relay.example",
            "spool": folder,
            "admin": "none",
            "workers": workers,
            "listen": [{"endpoint": "tcp:25"}, *(self._tls_listeners() if climate.has_tls else [])],
            "accept": {
                "networks": ["192.0.2.0/24"],
                "max_recipients": 100,
                **({"users": str(self.world.folder / "users")} if climate.has_tls else {}),
            },
            **({"tls": self._certificate()} if climate.has_tls else {}),
            "routes": [{"to": "local.example", "via": f"lmtp://{_LOCAL_IP}"}, self._smart_route()],
            "retry": {
                "first": f"{climate.first_s:g}s",
                "longest": f"{climate.longest_s:g}s",
                "warn_after": "never" if climate.warn_s is None else f"{climate.warn_s:g}s",
                "give_up_after": f"{climate.give_up_s:g}s",
            },
            "delivery": {
                "connections_per_destination": climate.per_domain,
                "first_connections": min(2, climate.per_domain),
                "recipients": 20,
            },
        }

    def _tls_listeners(self) -> list[dict[str, str]]:
        return [
            {"endpoint": "tcp:587", "service": "submission", "tls": "required"},
            {"endpoint": "tcp:465", "service": "submissions"},
        ]

    def _certificate(self) -> dict[str, str]:
        folder = self.world.folder
        return {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")}

    def _smart_route(self) -> dict[str, Any]:
        climate, folder = self.world.climate, self.world.folder
        route: dict[str, Any] = {"to": SMART, "via": [f"smtp://smart{n}.{SMART}" for n in range(len(_SMART_IPS))]}
        if climate.smart_tls != "opportunistic":
            route["tls"] = climate.smart_tls
        if climate.smart_tls == "verify":
            route["authorities"] = str(folder / "authority.crt")
        if climate.smart_logins:
            route |= {"user": "relay", "password_file": str(folder / "password")}
        return route

    def _write_files(self) -> None:
        folder = self.world.folder
        ours = certificates.pair("relay.example")
        (folder / "tls.crt").write_bytes(ours.certificate_pem)
        (folder / "tls.key").write_bytes(ours.key_pem)
        (folder / "authority.crt").write_bytes(certificates.pair(certificates.AUTHORITY).certificate_pem)
        (folder / "password").write_text("open sesame\n")
        kept = sha512_crypt.using(rounds=1000, salt="simulated").hash(PASSWORD)
        (folder / "users").write_text(
            "".join(f"{one}:{{SHA512-CRYPT}}{kept}::::::senders=*\n" for one in (USER, GUESSER))
        )

    # -- the DNS --------------------------------------------------------------------------------

    def mood_of(self, name: str) -> str:
        """How the DNS answers for a name now; a mood lasts for a while."""
        world, chance = self.world, self._names_chance
        if world.is_kind or name.endswith((KIND, SHY)):
            return "fine"
        domain = ".".join(name.split(".")[-2:])
        until, mood = self._moods.get(domain, (0.0, ""))
        if world.clock.now >= until:
            bad = chance.random() < world.climate.bad_names
            mood = chance.choice(("slow", "servfail", "timeout")) if bad else "fine"
            self._moods[domain] = (world.clock.now + chance.expovariate(1 / 1200), mood)
        return mood

    # -- letters --------------------------------------------------------------------------------

    def letter(self, domain: str | None = None) -> Letter:
        """Somebody writes, to this domain alone or to any."""
        chance = self._chance
        self._letters += 1
        number = self._letters
        count = 1 if domain else chance.choice((1, 1, 1, 2, 3, 5, 30))
        recipients = [f"m{number}r{place}@{domain or self._some_domain()}" for place in range(count)]
        home = chance.choice(("home.example", "home.example", "home.example", chance.choice(self.domains)))
        letter = Letter(
            number,
            None if chance.random() < 0.08 else f"m{number}s@{home}",
            recipients,
            self._content(number),
        )
        if chance.random() < 0.3:
            letter.notify = {place: chance.choice(_WISHES) for place in range(count)}
        if chance.random() < 0.1:
            letter.body, letter.is_plain = " BODY=8BITMIME", False
            letter.content += "Grüße\r\n".encode()
        self.world.ledger.letters[number] = letter
        return letter

    def _some_domain(self) -> str:
        chance = self._chance
        roll = chance.random()
        if roll < 0.2:
            return SHY if roll < 0.07 and self.world.climate.has_tls else KIND
        return "gone.example" if roll < 0.23 else chance.choice(self.domains)

    def _content(self, number: int) -> bytes:
        chance = self._chance
        lines = [f"Subject: letter {number}", f"X-Letter: {number}", ""]
        if chance.random() < self.world.climate.large:
            lines += [
                f"line {place} of a large letter, to fill it {'x' * 60}" for place in range(chance.randint(900, 4000))
            ]
        else:
            lines += [
                chance.choice((".", "..", ".dotted", "words", "", "more words")) for _ in range(chance.randint(1, 8))
            ]
        return "".join(f"{line}\r\n" for line in lines).encode()
