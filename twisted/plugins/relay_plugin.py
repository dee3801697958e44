"""``twistd relay``."""

from twisted.application.service import ServiceMaker

relay = ServiceMaker(
    "relay",
    "relay.operate.maker",
    "A store-and-forward mail relay that loses nothing and explains itself.",
    "relay",
)
