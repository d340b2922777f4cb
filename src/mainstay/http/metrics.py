"""/metrics for Prometheus: the sum over every worker, and the ages as this worker knows them now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mainstay.core.nouns import FreeDisk
from mainstay.core.records import DiskSample
from mainstay.serving.desk import Desk
from mainstay.serving.meter import BUCKETS_US, Counts, merged
from mainstay.serving.view import Snapshot

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(desk: Desk) -> bytes:
    """The metrics in Prometheus' text format."""
    from prometheus_client import generate_latest

    return generate_latest(_Collected(desk))


class _Collected:
    """What prometheus_client asks of a registry."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def collect(self) -> Iterator[Metric]:
        desk = self._desk
        counts = desk.meter.counts if desk.meters is None else merged(desk.meters, desk.meter, desk.meter.file)
        yield from _counters(counts)
        snap = desk.view.now
        if snap is not None:
            yield from _gauges(snap, desk.clock.now_us())
            disk = desk.disk()
            if disk is not None:
                yield from _disk(disk, snap.integration.settings.free_disk)


def _counters(counts: Counts) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    yield _labelled("mainstay_requests", "Requests by route and status.", ("route", "status"), counts.requests)
    yield _labelled(
        "mainstay_judged",
        "Judged keys by outcome, policy and verdict.",
        ("outcome", "reason", "verdict"),
        counts.judged,
    )
    yield CounterMetricFamily(
        "mainstay_policy_refusals", "Predict requests with 503 because a policy on data refused.", value=counts.policy
    )
    yield CounterMetricFamily("mainstay_shed", "Requests refused because too many were waiting.", value=counts.shed)
    yield CounterMetricFamily("mainstay_log_lines_dropped", "Lines of logs that were not taken.", value=counts.unheard)
    yield CounterMetricFamily("mainstay_model_calls", "Calls of models in other processes.", value=counts.calls)
    yield CounterMetricFamily("mainstay_model_rows", "Rows in these calls.", value=counts.rows)
    if counts.outgoing:
        yield _labelled(
            "mainstay_model_requests",
            "Requests to a model that is served elsewhere, by what became of them.",
            ("end",),
            counts.outgoing,
        )
        yield GaugeMetricFamily(
            "mainstay_model_left_alone",
            "Workers that do not ask the model that is served elsewhere, because it failed several times in a row.",
            value=counts.left_alone,
        )
    latency = HistogramMetricFamily("mainstay_predict_seconds", "Predict requests by time spent in the worker.")
    total, buckets = 0, []
    for bound, count in zip((*(str(edge / 1_000_000) for edge in BUCKETS_US), "+Inf"), counts.buckets, strict=True):
        total += count
        buckets.append((bound, float(total)))
    latency.add_metric([], buckets, counts.latency_us / 1_000_000)
    yield latency


def _labelled(name: str, text: str, labels: tuple[str, ...], counts: Mapping[str, int]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in sorted(counts.items()):
        family.add_metric(values.split("|"), count)
    return family


def _gauges(snap: Snapshot, now_us: int) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    age = GaugeMetricFamily("mainstay_dataset_age_seconds", "Now minus as of.", labels=("dataset",))
    promise = GaugeMetricFamily("mainstay_dataset_promise_seconds", "The age promised.", labels=("dataset", "limit"))
    for part in snap.terms.datasets:
        if part.as_of_us is not None:
            age.add_metric([part.name], (now_us - part.as_of_us) / 1_000_000)
        for limit, span_us in (("warn", part.freshness.warn_us), ("fail", part.freshness.fail_us)):
            if span_us is not None:
                promise.add_metric([part.name, limit], span_us / 1_000_000)
    yield age
    yield promise
    version = snap.version.number if snap.version else 0
    yield GaugeMetricFamily("mainstay_model_version", "The version that answers.", value=version)


def _disk(found: DiskSample, limit: FreeDisk) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    used = GaugeMetricFamily("mainstay_disk_used_bytes", "What each role takes of the disk.", labels=("role",))
    for role, size in found.roles.items():
        used.add_metric([role], size)
    yield used
    yield GaugeMetricFamily("mainstay_disk_free_bytes", "What is left on the home's disk.", value=found.free)
    least = limit.bytes_of(found.total)
    yield GaugeMetricFamily("mainstay_disk_free_limit_bytes", "Below it status warns.", value=least)
