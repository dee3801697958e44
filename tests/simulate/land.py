"""Who lives in the world: the domains and their hosts, what the DNS says of them, and what people write.

kind.example is always well and near: what is sent there shows whether others' troubles hold it up.  home.example
is where most senders live; local.example is reached by LMTP, smart.example by a list of two hosts;
gone.example does not exist; d0.example … are reached by MX and have their moods.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from tests.simulate.hops import Host
from tests.simulate.laws import KIND
from tests.simulate.ledger import Letter
from tests.simulate.names import Zone

if TYPE_CHECKING:
    from tests.simulate.world import World

_WISHES = ("NEVER", "FAILURE", "DELAY", "SUCCESS", "SUCCESS,FAILURE", "SUCCESS,FAILURE,DELAY")
_LOCAL_IP, _SMART_IPS = "203.0.113.10", ("203.0.113.20", "203.0.113.21")


class Land:
    """See the module.

    kind_ip  where kind.example is
    domains  to which letters go
    """

    kind_ip = "203.0.113.1"

    def __init__(self, world: World, chance: Random) -> None:
        self.world = world
        self.zone = Zone()
        self.domains = ["home.example", "local.example", "smart.example"]
        self._chance = chance
        self._hosts: list[Host] = []
        self._moods: dict[str, tuple[float, str]] = {}
        self._names_chance = world.chance("names")
        self._letters = 0
        self._host("mx.kind.example", self.kind_ip, KIND, is_kind=True)
        self.zone.mx[KIND] = [(10, "mx.kind.example")]
        self._host("mx.home.example", "203.0.113.2", "home.example")
        self.zone.mx["home.example"] = [(10, "mx.home.example")]
        self._host("lmtp", _LOCAL_IP, "local.example", lmtp=True)
        for number, ip in enumerate(_SMART_IPS):
            self._host(f"smart{number}", ip, "smart.example")
        for number in range(world.climate.domains):
            self._by_mx(number)

    def _by_mx(self, number: int) -> None:
        domain = f"d{number}.example"
        self.domains.append(domain)
        mx = []
        for place in range(self._chance.choice((1, 1, 2, 3))):
            name = f"mx{place}.{domain}"
            self._host(name, f"198.51.100.{number * 10 + place}", domain)
            mx.append((self._chance.choice((10, 20)), name))
        self.zone.mx[domain] = mx

    def _host(self, name: str, ip: str, domain: str, *, lmtp: bool = False, is_kind: bool = False) -> None:
        host = Host(self.world, name, ip, domain, self.world.chance(name), lmtp=lmtp, is_kind=is_kind)
        self._hosts.append(host)
        self.world.network.hosts[ip] = host.answer
        self.zone.addresses[name] = [ip]

    def configuration(self, folder: str) -> dict[str, Any]:
        """The relay's configuration in this world."""
        climate = self.world.climate
        return {
            "hostname": "relay.example",
            "spool": folder,
            "admin": "none",
            "listen": [{"endpoint": "tcp:25"}],
            "accept": {"networks": ["192.0.2.0/24"], "max_recipients": 100},
            "routes": [
                {"to": "local.example", "via": f"lmtp://{_LOCAL_IP}"},
                {"to": "smart.example", "via": [f"smtp://{ip}" for ip in _SMART_IPS]},
            ],
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

    # -- the DNS --------------------------------------------------------------------------------

    def mood_of(self, name: str) -> str:
        """How the DNS answers for a name now; a mood lasts for a while."""
        world, chance = self.world, self._names_chance
        if world.is_kind or name.endswith(KIND):
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
        return KIND if roll < 0.2 else "gone.example" if roll < 0.23 else chance.choice(self.domains)

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
