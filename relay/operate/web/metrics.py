"""``/metrics``: the numbers of all workers, as Prometheus reads them.

Each series has the label ``worker``, so that a worker that was begun anew resets its own counters only and a sum of
rates is right; ``?workers=sum`` gives sums in place of them, for who has nothing that adds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from twisted.web.server import Request

from relay import __version__
from relay.operate.asking import CannotAsk, NotRunning, Refusal
from relay.operate.merging import Row
from relay.operate.metrics import METRICS, Metric
from relay.operate.web.answering import Answered, Answering, plain
from relay.operate.web.page import Asks

WORKER = "worker"


class Metrics(Answering):
    """See the module."""

    def __init__(self, asks: Asks) -> None:
        super().__init__()
        self._asks = asks

    async def answer(self, request: Request) -> Answered:
        try:
            found = await self._asks.ask_one("metrics")
        except (NotRunning, CannotAsk, Refusal) as why:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, f"no part of the relay answers just now: {why}\n")
        try:
            encode, kind = choose_encoder(request.getHeader("accept") or "")
        except (ValueError, TypeError):  # it names a version that is none
            encode, kind = choose_encoder("")
        summed = request.args.get(b"workers") == [b"sum"]
        return Answered(HTTPStatus.OK, kind, encode(Snapshot(found, summed)))


class Snapshot:
    """The numbers at one time: a collector, for the library's encoders."""

    def __init__(self, found: Row, summed: bool = False) -> None:
        """found  the merged answers of the shards: ``workers``, ``silent``"""
        self._workers: Mapping[str, Row] = found["workers"]
        up = [(worker, 1.0) for worker in self._workers] + [(str(shard), 0.0) for shard in found["silent"]]
        self._up = sorted(up, key=lambda one: int(one[0]))
        self._summed = summed

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            labels = [metric.label] if metric.label else []
            if metric.name == "relay_worker_up":
                yield _family(metric, [WORKER], [([worker], value) for worker, value in self._up])
            elif metric.name == "relay_build_info":
                yield _family(metric, labels, [([__version__], 1.0)])
            elif metric.whole:
                rows = [row for row in self._workers.values() if metric.name in row]
                yield _family(metric, labels, _samples(rows[0][metric.name]) if rows else [])
            elif self._summed:
                yield _family(metric, labels, _added(self._of_workers(metric)))
            else:
                samples = [
                    ([*values, worker], value)
                    for worker, of_one in self._of_workers(metric)
                    for values, value in of_one
                ]
                yield _family(metric, [*labels, WORKER], samples)

    def _of_workers(self, metric: Metric) -> Sequence[tuple[str, _Samples]]:
        found = [(worker, row[metric.name]) for worker, row in self._workers.items() if metric.name in row]
        return [(worker, _samples(value)) for worker, value in found]


_Samples = Sequence[tuple[list[str], Any]]


def _samples(value: Any) -> _Samples:
    """Label values, and a number or a histogram."""
    if isinstance(value, list):
        return [([str(label)], number) for label, number in value]
    return [([], value)]


def _added(of_workers: Sequence[tuple[str, _Samples]]) -> _Samples:
    summed: dict[tuple[str, ...], Any] = {}
    for _, samples in of_workers:
        for labels, value in samples:
            before = summed.get(tuple(labels))
            summed[tuple(labels)] = value if before is None else _sum(before, value)
    return [(list(labels), value) for labels, value in summed.items()]


def _sum(one: Any, other: Any) -> Any:
    if not isinstance(one, Mapping):
        return one + other
    counts = [a + b for a, b in zip(one["counts"], other["counts"], strict=True)]
    return {"bounds": one["bounds"], "counts": counts, "total": one["total"] + other["total"]}


def _family(metric: Metric, labels: Sequence[str], samples: _Samples) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.about, labels=labels)
        for values, found in samples:
            histogram.add_metric(values, _buckets(found), found["total"])
        return histogram
    family = (CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily)(
        metric.name, metric.about, labels=labels
    )
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _buckets(found: Row) -> list[tuple[str, float]]:
    """Of each bound how many were not larger: Prometheus counts what is below again."""
    so_far, buckets = 0, []
    for bound, count in zip([*map(str, map(float, found["bounds"])), "+Inf"], found["counts"], strict=True):
        so_far += count
        buckets.append((bound, float(so_far)))
    return buckets
