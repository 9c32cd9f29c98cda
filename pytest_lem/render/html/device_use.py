"""The page's table of how GPUs were used: a row a measurement and GPU."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_lem.model.measurement import Measurement
from pytest_lem.render.device_use import NOT_TOLD, SAMPLED, Used, used
from pytest_lem.render.html.elements import Html, element, joined, scroller
from pytest_lem.render.numbers import ABSENT, plain_percent, significant, with_unit

HEADS = (
    "test",
    "GPU",
    "SM active",
    "tensor",
    "DRAM",
    "occupancy",
    "kernel ran",
    "power",
    "SM clock",
    "temperature",
    "memory used",
    "throttled",
)


def device_use_table(measurements: Sequence[Measurement], names: Sequence[str]) -> Html:
    """The table and what its numbers are; nothing where no telemetry was taken."""
    rows = [
        element("tr", element("th", name, scope="row"), *(element("td", cell, class_="word") for cell in _cells(row)))
        for each, name in zip(measurements, names, strict=True)
        for row in used(each)
    ]
    if not rows:
        return Html()
    caption = element("caption", element("b", "device use"))
    head = element("thead", element("tr", *(element("th", each, scope="col", class_="word") for each in HEADS)))
    table = element("table", caption, head, element("tbody", *rows))
    return joined([scroller("device use", table), element("p", SAMPLED, class_="legend")])


def _cells(row: Used) -> list[str]:
    shares = [row.shown(key) for key in ("sm_active", "tensor_active", "dram_active", "sm_occupancy")]
    told = row.throttled or {}
    throttled = [f"{name} {plain_percent(share)}" for name, share in told.items() if name not in NOT_TOLD]
    return [
        "; ".join([row.device, *row.notes]),
        *shares,
        row.shown("gpu_utilization"),
        _with_most(row, "power_w", "W"),
        _range(row, "sm_clock_mhz", "MHz"),
        _range(row, "temperature_c", "°C"),
        with_unit(row.most["memory_used_bytes"], "B") if "memory_used_bytes" in row.most else ABSENT,
        ", ".join(throttled) or (ABSENT if row.throttled is None else "no"),
    ]


def _with_most(row: Used, key: str, unit: str) -> str:
    if key not in row.mean:
        return ABSENT
    return f"{significant(row.mean[key])} {unit}, at most {significant(row.most[key])}"


def _range(row: Used, key: str, unit: str) -> str:
    if key not in row.mean:
        return ABSENT
    low, high = row.least[key], row.most[key]
    return f"{high:.0f} {unit}" if low == high else f"{low:.0f} to {high:.0f} {unit}"
