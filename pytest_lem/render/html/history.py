"""How measurements came out in several runs, and which of them can be compared with the newest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_lem.fingerprint import choices, differences, fingerprint
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.metrics import METRICS
from pytest_lem.render.html.packing import Texts, short
from pytest_lem.render.reported import Reported

KEYS = (
    "joules_per_token",
    "tokens_per_second",
    "joules_per_request",
    "joules_per_good_request",
    "goodput",
    "ttft_p99_ms",
    "tpot_p99_ms",
    "power_w",
    "gpu_joules",
    "cpu_joules",
    "seconds",
)
"""What is followed over runs, where it was measured."""


def subject(measurement: Measurement) -> tuple[str, str]:
    """What a measurement is called in every run: its own lasting name, or its test; and its name in the test."""
    return measurement.known_as or measurement.test, measurement.name


def packed_history(reports: Sequence[Reported], rows: Sequence[Measurement], texts: Texts) -> list[dict[str, Any]]:
    """For each of `rows`: metric → `[run, value, low, high, estimated, why it differs]`, oldest run first.

    `reports` are in the order of time. A point that cannot be compared with the row says what differs.
    """
    known = [({subject(each): each for each in report.measurements}, report) for report in reports]
    return [_packed(row, known, reports, texts) for row in rows]


Known = Sequence[tuple[dict[tuple[str, str], Measurement], Reported]]


def _packed(row: Measurement, known: Known, reports: Sequence[Reported], texts: Texts) -> dict[str, Any]:
    now = fingerprint(row, reports[-1].environment)
    found: dict[str, list[list[Any]]] = {}
    for place, (measurements, report) in enumerate(known):
        then = measurements.get(subject(row))
        if then is None:
            continue
        old = fingerprint(then, report.environment)
        for key in KEYS:
            value = then.metrics.get(key)
            if value is None or value.value is None:
                continue
            apart = [*differences(old, now, joules=METRICS[key].is_joules), *choices(old, now)]
            found.setdefault(key, []).append(
                [
                    place,
                    short(value.value),
                    short(value.low),
                    short(value.high),
                    int(value.source == "estimated"),
                    texts.place("; ".join(apart)),
                ]
            )
    return found
