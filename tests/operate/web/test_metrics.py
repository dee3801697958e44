"""Metrics: all that is counted is shown, and what is shown is right for Prometheus."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from twisted.internet.task import Clock

from relay.deliver.deliverer import Deliverer
from relay.operate.answers.vitals import VitalsAnswers
from relay.operate.control import Request
from relay.operate.disk import Disk
from relay.operate.merging import numbers_of
from relay.operate.meter import Meter
from relay.operate.metrics import METRICS, STEPS
from relay.operate.steps import LEVEL_OF_STEP
from relay.operate.vitals import Vitals
from relay.receive.attendance import Attendance
from relay.route.resolver import Resolver
from relay.schedule.runner import DestinationStatus
from tests.fakes.inquirer import Row
from tests.fakes.memory_store import MemoryStore
from tests.operate.running import FakeRunner
from tests.operate.web.wire import TOKEN, Wire

COUNTED_BY_FIELDS = {"refused"}
UNCOUNTED = {"disconnected", "started", "stopped"}


def vitals(tmp_path: Path, clock: Clock, meter: Meter, steps: Mapping[str, int]) -> Vitals:
    deliverer = Deliverer(clock=clock, dial=None, router=None, open_content=None, hostname="relay.test")  # type: ignore[arg-type]
    return Vitals(
        clock=clock,
        spool=tmp_path,
        steps=steps,
        meter=meter,
        attendance=Attendance(),
        deliverer=deliverer,
        disk=Disk(tmp_path, clock, lambda _: 5 << 30),
        names=Resolver(clock),  # type: ignore[arg-type]
        started_at=clock.seconds(),
        expiries=lambda: [("/etc/relay/tls.crt", 2e9)],
        files=list,
        unread=list,
        reload=lambda: "",
        page=list,
        webhooks=lambda: [{"webhook": "https://app.example/…", "sent": 5, "failures": 1, "dropped": 0, "behind": 2}],
    )


def numbers(tmp_path: Path, meter: Meter | None = None, steps: Mapping[str, int] | None = None) -> Row:
    """What a worker tells."""
    clock = Clock()
    clock.advance(1_700_000_000)
    runner = FakeRunner(known=[DestinationStatus("a.example", 5, 1, 3, None, 2, "busy")])
    found = vitals(tmp_path, clock, meter or Meter(), steps or {})
    asked = VitalsAnswers(MemoryStore(clock), runner, clock, lambda: 432000.0, found).metrics(Request({}))
    with pytest.raises(StopIteration) as row:
        asked.__anext__().send(None)
    return dict(row.value.value)


def asked(tmp_path: Path, rows: Mapping[int, Row], silent: Iterable[int] = ()) -> Wire:
    return Wire({"metrics": lambda: [{**numbers_of(list(rows.items())), "silent": list(silent)}]})


def values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def test_what_a_worker_tells_is_what_there_is_a_sentence_for(tmp_path: Path) -> None:
    by_the_site = {"relay_build_info", "relay_worker_up"}
    assert set(numbers(tmp_path)) | by_the_site == {metric.name for metric in METRICS}


def test_every_step_is_counted_or_known_not_to_be() -> None:
    assert set(STEPS) | COUNTED_BY_FIELDS | UNCOUNTED == set(LEVEL_OF_STEP)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: str(metric.name))
def test_names_and_sentences_are_as_prometheus_wants_them(metric: Any) -> None:
    assert metric.name.startswith("relay_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.about.endswith(".")
    assert metric.about[0].isupper()


def test_each_worker_has_its_series_and_who_is_silent_is_down(tmp_path: Path) -> None:
    rows = {0: numbers(tmp_path, steps={"accepted": 5}), 1: numbers(tmp_path, steps={"accepted": 7})}
    found = values(asked(tmp_path, rows, silent=[2]).get("/metrics").body.decode())
    name = "relay_messages_accepted_total"
    assert [found[name, (("worker", str(number)),)] for number in (0, 1)] == [5, 7]
    assert [found["relay_worker_up", (("worker", str(number)),)] for number in (0, 1, 2)] == [1, 1, 0]
    assert found["relay_certificate_expiry_time_seconds", (("certificate", "/etc/relay/tls.crt"),)] == 2e9
    assert found["relay_spool_free_bytes", ()] == 5 << 30


def test_sums_are_had_for_the_asking(tmp_path: Path) -> None:
    meters = Meter(), Meter()
    for number, meter in enumerate(meters):
        meter.by_step()["delivered"]({"size": 100, "delay_s": 0.2 + 50 * number})
        meter.by_step()["refused"]({"reply": "550 5.1.1 no"})
    rows = {number: numbers(tmp_path, meter) for number, meter in enumerate(meters)}
    found = values(asked(tmp_path, rows).get("/metrics?workers=sum").body.decode())
    assert found["relay_delivered_bytes_total", ()] == 200
    assert found["relay_refusals_total", (("code", "550"),)] == 2
    assert found["relay_delivery_delay_seconds_count", ()] == 2
    assert found["relay_delivery_delay_seconds_sum", ()] == pytest.approx(50.4)
    assert found["relay_delivery_delay_seconds_bucket", (("le", "0.5"),)] == 1
    assert found["relay_delivery_delay_seconds_bucket", (("le", "60.0"),)] == 2
    assert found["relay_destination_waiting_recipients", (("destination", "a.example"),)] == 6


def test_who_asks_for_openmetrics_gets_it(tmp_path: Path) -> None:
    found = asked(tmp_path, {0: numbers(tmp_path)}).get(
        "/metrics", Accept="application/openmetrics-text; version=1.0.0"
    )
    assert found.fields["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(found.body.decode())} >= {"relay_messages_accepted"}


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_accepted_there_is_an_answer(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)
    parts = [
        "application/openmetrics-text",
        "text/plain",
        "version=",
        "version=1.0.0",
        "version=x",
        ";",
        ",",
        "escaping=x",
    ]
    accept = "".join(chance.choice(parts) for _ in range(chance.randrange(1, 8)))
    assert asked(tmp_path, {0: numbers(tmp_path)}).get("/metrics", Accept=accept).status == 200


def test_without_a_relay_there_are_no_numbers() -> None:
    assert Wire().get("/metrics").status == 503


def test_a_token_is_asked_for_where_there_is_one(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    wire = Wire({"metrics": lambda: [{"workers": {}, "silent": []}]}, file)
    assert wire.get("/metrics").status == 401
    assert wire.get("/metrics", Authorization=f"Bearer {TOKEN}").status == 200


def test_destinations_do_not_become_series_without_bound(tmp_path: Path) -> None:
    clock = Clock()
    runner = FakeRunner(known=[DestinationStatus(f"{n}.example", 5, 1, n, None, 0, "") for n in range(500)])
    asked = VitalsAnswers(MemoryStore(clock), runner, clock, lambda: 1.0, None).metrics(Request({}))
    with pytest.raises(StopIteration) as row:
        asked.__anext__().send(None)
    found = row.value.value
    assert len(found["relay_destination_window"]) == 20
    assert found["relay_destination_waiting_recipients"][0] == ("499.example", 499.0)
    assert found["relay_destinations"] == 500


def test_refusals_are_told_apart_by_code_and_logins_and_handshakes_counted() -> None:
    meter = Meter()
    watch = meter.by_step()
    watch["refused"]({"client": "192.0.2.1", "login": "ann", "reply": "535 5.7.8 no"})
    watch["refused"]({"client": "192.0.2.1", "sender": "a@b", "error": "gone"})
    watch["disconnected"]({"client": "192.0.2.1", "error": "no TLS: unknown ca"})
    watch["disconnected"]({"client": "192.0.2.1"})
    watch["accepted"]({"size": 10, "recipients": 3})
    assert meter.refusals == {"535": 1, "": 1}
    assert (meter.failed_logins, meter.failed_handshakes) == (1, 1)
    assert (meter.taken_octets, meter.taken_recipients) == (10, 3)


@pytest.mark.endtoend
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
def test_promtool_finds_nothing_wrong_with_them(tmp_path: Path) -> None:
    meter = Meter()
    meter.by_step()["refused"]({"reply": "550"})
    rows = {0: numbers(tmp_path, meter), 1: numbers(tmp_path)}
    text = asked(tmp_path, rows).get("/metrics").body
    lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60)
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, b"")
