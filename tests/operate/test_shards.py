"""Where shards lie, whose they are, and what each worker's share is."""

from __future__ import annotations

from pathlib import Path

from relay.operate.config import load
from relay.operate.shards import folder_of, number_of, orphans, root_of, shards_in
from relay.operate.shares import part_of


def test_the_spool_itself_is_the_first_shard(tmp_path: Path) -> None:
    """So a relay with one worker becomes one with several, and back, and nothing is moved."""
    assert folder_of(tmp_path, 0) == tmp_path
    assert shards_in(tmp_path) == [0]
    for shard in (0, 1, 63):
        assert number_of(folder_of(tmp_path, shard)) == shard
        assert root_of(folder_of(tmp_path, shard)) == tmp_path


def test_what_is_no_shard_is_passed_over(tmp_path: Path) -> None:
    for name in ("2", "10", "02", "x", "3.old"):
        (tmp_path / "shards" / name).mkdir(parents=True)
    assert shards_in(tmp_path) == [0, 2, 10]


def test_every_shard_without_a_worker_has_one_that_adopts_it(tmp_path: Path) -> None:
    for name in range(1, 8):
        (tmp_path / "shards" / str(name)).mkdir(parents=True)
    adopted = [number_of(folder) for worker in range(3) for folder in orphans(tmp_path, 3, worker)]
    assert sorted(adopted) == [3, 4, 5, 6, 7]
    assert [number_of(folder) for folder in orphans(tmp_path, 1, 0)] == [1, 2, 3, 4, 5, 6, 7]
    assert orphans(tmp_path, 8, 0) == []


def test_limits_are_divided_and_no_share_is_nothing(tmp_path: Path) -> None:
    """Three workers together allow what the operator allowed, but for the rounding up."""
    file = tmp_path / "relay.yaml"
    file.write_text(
        "hostname: relay.example.org\nspool: spool\nworkers: 3\n"
        "limits: {connections: 100, connections_per_client: 1, failed_logins: 9, forget_failed_login: 10s}\n"
        "delivery: {connections: 30, connections_per_destination: 4, first_connections: 2}\n",
        encoding="ascii",
    )
    config = load(file)
    part = part_of(config, 2)
    assert part.spool == tmp_path / "spool" / "shards" / "2"
    assert (part.limits.connections, part.limits.connections_per_client) == (34, 1)
    assert (part.limits.failed_logins, part.limits.forget_failed_login_s) == (3, 30.0)
    delivery = part.delivery
    assert (delivery.connections, delivery.connections_per_destination, delivery.first_connections) == (10, 2, 1)
    assert part_of(config, 0).spool == config.spool
    assert part.needs_restart(part_of(config, 2)) == ()
