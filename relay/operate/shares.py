"""What one of several workers is told: the configuration, with its shard and its share of every limit.

The rule that must not be broken: what all workers together allow is what the operator allowed, but for the rounding
up, without which a small limit would leave some with nothing.
"""

from __future__ import annotations

from relay.operate.config import Config
from relay.operate.shards import folder_of


def part_of(config: Config, worker: int) -> Config:
    """The configuration as one of ``config.workers`` sees it: its own shard, and its share of every limit.
    The first one serves the page.

    A share is rounded up, so that it is at least 1.
    """
    among = config.workers

    def share(limit: int) -> int:
        return -(-limit // among)

    limits, delivery, journal = config.limits, config.delivery, config.journal
    part = config.model_copy(
        update={
            "spool": folder_of(config.spool, worker),
            "admin": config.admin if worker == 0 else None,
            "journal": journal and journal.model_copy(update={"size_octets": share(journal.size_octets)}),
            "limits": limits.model_copy(
                update={
                    "connections": share(limits.connections),
                    "connections_per_client": share(limits.connections_per_client),
                    "failed_logins": share(limits.failed_logins),
                    "forget_failed_login_s": limits.forget_failed_login_s * among,
                }
            ),
            "delivery": delivery.model_copy(
                update={
                    "connections": share(delivery.connections),
                    "connections_per_destination": share(delivery.connections_per_destination),
                    "first_connections": share(delivery.first_connections),
                }
            ),
        }
    )
    return part.of_whole(config)
