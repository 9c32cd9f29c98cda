"""Traffic at growing rates, as evidence: what serving costs at each, and where the service level breaks.

The report is one of `pytest benchmarks/test_traffic.py`, kept by `benchmarks/engines/keep.py`.
"""

from __future__ import annotations

from typing import Any

from benchmarks.engines.asked import by_uuid
from benchmarks.figures import table

Json = dict[str, Any]
HEAD = [
    "asked req/s",
    "served req/s",
    "tok/s",
    "J/output token (range of rounds)",
    "J/request",
    "J/good request",
    "goodput req/s",
    "good requests",
    "TTFT p50 / p99 ms",
    "TPOT p50 / p99 ms",
    "idle",
    "W",
    "service level",
]


def render(data: Json) -> str:
    """`data`: {command, date, title, report}, the report as `report.json` has it."""
    report = data["report"]
    measured = report["measurements"]
    gpus = by_uuid(report["environment"]["gpus"])
    versions = measured[0]["engine"]["observed"]["versions"]
    slo = measured[0]["workload"]["slo"]
    rounds = [round_ for each in measured for cycle in each["cycles"] for round_ in cycle["rounds"]]
    lines = [
        f"- {gpus}; {', '.join(f'{name} {version}' for name, version in versions.items() if version)}.",
        f"- Service level: {', '.join(f'{name} {value}' for name, value in slo.items() if value is not None)}.",
        f"- Rounds valid: {sum(round_['valid'] for round_ in rounds)} of {len(rounds)}; each is the steady part of one "
        "pass of Poisson arrivals, joules between ticks of the counter.",
        *(_late(each) for each in measured),
    ]
    return "\n".join([*lines, "", table(HEAD, [_row(each) for each in measured])])


def _row(measurement: Json) -> list[str]:
    metrics = measurement["metrics"]
    joules = metrics["joules_per_token"]
    return [
        f"{measurement['workload']['traffic']['qps']:g}",
        _value(metrics, "requests_per_second"),
        _value(metrics, "tokens_per_second"),
        f"{joules['value']:.4g} ({joules['low']:.4g}..{joules['high']:.4g}) {joules['source']}",
        _value(metrics, "joules_per_request"),
        _value(metrics, "joules_per_good_request"),
        _value(metrics, "goodput"),
        f"{100 * metrics['good_share']['value']:.1f} %",
        f"{_value(metrics, 'ttft_p50_ms')} / {_value(metrics, 'ttft_p99_ms')}",
        f"{_value(metrics, 'tpot_p50_ms')} / {_value(metrics, 'tpot_p99_ms')}",
        f"{100 * metrics['idle_share']['value']:.0f} %",
        _value(metrics, "power_w"),
        "kept" if metrics["slo_met"]["value"] == 1 else "broken",
    ]


def _value(metrics: Json, name: str) -> str:
    value = metrics[name]["value"]
    return "–" if value is None else f"{value:.4g}"


def _late(measurement: Json) -> str:
    late = measurement["metrics"]["dispatch_delay_p95_ms"]["value"]
    qps = measurement["workload"]["traffic"]["qps"]
    return f"- At {qps:g} req/s p95 of requests were sent {late:.2f} ms late, {late * qps / 10:.0f} % of the mean gap."
