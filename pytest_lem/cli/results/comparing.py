"""`lem results compare`: what is apart, by how much, and how surely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytest_lem.cli.output import HERE, AsJson, Results, refusing, say, say_json

if TYPE_CHECKING:
    from pytest_lem.compare import MetricPair, Pair, Side
    from pytest_lem.model.measurement import MetricValue

COMPARE = """\b
Examples:
  lem results compare 20260105 latest           two runs, by the tests they share
  lem results compare b1 b8 b16                 settings of the newest run, with b1
  lem results compare --run 20260105 b1 b8      of another run
  lem results compare 20260105:b8 latest:b8     a setting of each of two runs
  lem results compare RUN RUN --metric power_w  by another metric"""


def compare(
    named: Annotated[
        list[str],
        typer.Argument(metavar="A B…", help="runs, or parts of tests' ids in one run, or RUN:PART; A is the reference"),
    ],
    run: Annotated[str | None, typer.Option(metavar="RUN", help="whose configurations are meant: the newest's")] = None,
    metric: Annotated[list[str] | None, typer.Option(metavar="KEY", help="this metric, again for more")] = None,
    threshold: Annotated[
        float, typer.Option(metavar="PERCENT", min=0, help="what is surely apart by less is alike")
    ] = 5.0,
    results: Results = HERE,
    json: AsJson = False,
) -> None:
    """Compare runs, or configurations, each with the first: ratios with 95 % intervals, in the words of the gates.

    Runs differ by what a day adds, also where nothing changed, so that two of them say less than two configurations
    that one run measured. Gates, which know more runs, judge: see `lem baseline`.
    """
    with refusing("results compare"):
        pairs, alone = _pairs(named, run, metric or [], threshold / 100, results)
    if json:
        say_json([_plain(pair) for pair in pairs])
        return
    for line in [*_lines(pairs, threshold / 100), *alone]:
        say(line)


def _pairs(
    named: Sequence[str], run: str | None, keys: Sequence[str], threshold: float, results: Path
) -> tuple[list[Pair], list[str]]:
    from pytest_lem.cli.results.sides import groups
    from pytest_lem.compare import compare as contrasted

    found, alone = groups(named, run, results)
    pairs = [contrasted(first, other, keys, threshold=threshold) for first, *others in found for other in others]
    return pairs, alone


def _lines(pairs: Sequence[Pair], threshold: float) -> Iterator[str]:
    from pytest_lem.render.lines import columns

    for place, pair in enumerate(pairs):
        if place:
            yield ""
        yield f"A  {_side(pair.reference)}"
        yield f"B  {_side(pair.candidate)}"
        for line in pair.differs:
            yield f"   differs in {line}"
        rows = [_row(each, threshold) for each in pair.metrics]
        yield from (f"   {line}" for line in columns(["METRIC", "A", "B", "B / A", "B IS"], rows))


def _side(side: Side) -> str:
    return f"{side.run}  {side.measurement.id}"


def _row(pair: MetricPair, threshold: float) -> list[str]:
    return [pair.metric, _value(pair.reference), _value(pair.candidate), _ratio(pair), _verdict(pair, threshold)]


def _value(value: MetricValue) -> str:
    from pytest_lem.render.numbers import ABSENT, spread, with_unit

    if value.value is None:
        return ABSENT
    guess = "~" if value.source == "estimated" else ""
    return f"{guess}{with_unit(value.value, value.unit)} {spread(value.value, value.low, value.high)}".rstrip()


def _ratio(pair: MetricPair) -> str:
    from pytest_lem.render.numbers import ABSENT

    if pair.ratio is None:
        return ABSENT
    if pair.low is None or pair.high is None:
        return f"{pair.ratio:.3f}"
    return f"{pair.ratio:.3f} ({pair.low:.3f}..{pair.high:.3f})"


def _verdict(pair: MetricPair, threshold: float) -> str:
    from pytest_lem.render.numbers import percent, plain_percent

    if pair.word is None or pair.low is None or pair.high is None:
        return f"not judged: {pair.reason}"
    span = f"{percent(pair.low - 1)} to {percent(pair.high - 1)}"
    if pair.word == "alike":
        return f"alike within {plain_percent(threshold)}"
    return f"{'cannot be told apart' if pair.word == 'unclear' else pair.word}: {span}"


def _plain(pair: Pair) -> dict[str, Any]:
    sides = {"reference": pair.reference, "candidate": pair.candidate}
    told = {
        name: {"run": side.run, "test": side.measurement.test, "name": side.measurement.name}
        for name, side in sides.items()
    }
    return {**told, "apart": pair.apart, "differs": pair.differs, "metrics": pair.metrics}
