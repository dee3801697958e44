"""The dashboard and the alerts in etc/ are about the metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay.operate.metrics import BY_NAME, METRICS, Metric

ETC = Path(__file__).resolve().parent.parent.parent / "etc"
RULES = ETC / "prometheus" / "relay.rules.yml"
RULE_TESTS = Path(__file__).parent / "relay.rules.test.yml"
LABELS_OF_PROMETHEUS = {"instance", "job", "le", "worker"}


def dashboard() -> Any:
    return json.loads((ETC / "grafana" / "relay.json").read_text(encoding="utf-8"))


def panels() -> list[Any]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def rules() -> list[Any]:
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


def queries() -> Iterator[tuple[str, str]]:
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for note in dashboard()["annotations"]["list"]:
        yield note["name"], note["expr"]
    for rule in rules():
        yield rule["alert"], rule["expr"]


def shown_as() -> Mapping[str, Metric]:
    """The names of series, by which a metric may be asked for."""
    of_histogram = ("_bucket", "_sum", "_count")
    plain = {metric.name: metric for metric in METRICS if metric.kind != "histogram"}
    return plain | {m.name + end: m for m in METRICS if m.kind == "histogram" for end in of_histogram}


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_every_series_that_is_asked_for_is_there(where: str, query: str) -> None:
    series = shown_as()
    named = re.findall(r"\brelay_\w+", query)
    assert all(name in series for name in named), named
    labels = {series[name].label for name in named} | LABELS_OF_PROMETHEUS
    matched = re.findall(r"(\w+)(?:=~?|!=~?)\"", query)
    grouped = [one.strip() for group in re.findall(r"\bby \(([^)]*)\)", query) for one in group.split(",")]
    assert {*matched, *grouped} <= labels


def test_counters_are_asked_for_their_rate_and_gauges_for_themselves() -> None:
    for where, query in queries():
        for function, name in re.findall(r"\b(rate|increase)\((relay_\w+)", query):
            assert shown_as()[name].kind != "gauge", (where, function)
        for name in re.findall(r"(?<!rate\()(?<!increase\()\b(relay_\w+_total)\b", query):
            pytest.fail(f"{where}: {name} only ever grows, and says something only by its rate")


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_every_panel_says_what_it_shows(panel: Any) -> None:
    assert panel["description"].endswith(".")
    assert all(target["legendFormat"] is not None for target in panel["targets"])


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_what_to_do(rule: Any) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert "{{ $labels.instance }}" in rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"]) > 40
    assert rule["annotations"]["description"].endswith(".")


def test_every_metric_is_spoken_of_once() -> None:
    assert len(BY_NAME) == len(METRICS)
    assert len({metric.about for metric in METRICS}) == len(METRICS)


@pytest.mark.endtoend
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
def test_the_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    checked = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tests = tmp_path / "test.yml"
    tests.write_text(RULE_TESTS.read_text(encoding="utf-8").replace("RULES", str(RULES)), encoding="utf-8")
    tested = subprocess.run(["promtool", "test", "rules", tests], capture_output=True, text=True, timeout=120)
    assert tested.returncode == 0, tested.stdout + tested.stderr
