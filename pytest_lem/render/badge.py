"""A badge: what a token costs, and how the gates stand, in one small picture for a README."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pytest_lem.model.measurement import Measurement
from pytest_lem.model.verdict import Verdict
from pytest_lem.render.numbers import with_unit

KEYS = ("joules_per_token", "tokens_per_second")
COLOURS = {"failed": "#c0392b", "inconclusive": "#b7950b", "passed": "#1e8449", None: "#566573"}
GLYPH = 6.6  # pixels that a letter of 11 px Verdana takes on average
HEIGHT = 20


def badge(measurements: Sequence[Measurement], verdicts: Sequence[Verdict]) -> str:
    """An SVG: the best of the run's measurements, and red, yellow or green as its gates say; grey without any."""
    label, text = "energy", _text(measurements)
    colour = COLOURS[_worst(verdicts)]
    left, right = (round(GLYPH * len(part)) + 12 for part in (label, text))
    told = escape(f"{label}: {text}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" role="img" '
        f'aria-label="{told}"><title>{told}</title>'
        f'<rect width="{left}" height="{HEIGHT}" fill="#333"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{colour}"/>'
        f'<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="{left / 2:g}" y="14">{label}</text>'
        f'<text x="{left + right / 2:g}" y="14">{escape(text)}</text></g></svg>\n'
    )


def _text(measurements: Sequence[Measurement]) -> str:
    for key in KEYS:
        found = [
            value
            for each in measurements
            if (value := each.metrics.get(key)) and value.value is not None and value.source == "measured"
        ]
        if found:
            values = [value.value for value in found if value.value is not None]
            best = min(values) if key == KEYS[0] else max(values)
            return ("from " if len(values) > 1 and key == KEYS[0] else "") + with_unit(best, found[0].unit)
    return "not measured"


def _worst(verdicts: Sequence[Verdict]) -> str | None:
    known = {verdict.status for verdict in verdicts if verdict.kind == "gate"}
    return next((status for status in ("failed", "inconclusive", "passed") if status in known), None)
