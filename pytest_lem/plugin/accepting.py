"""After the report: the run goes into a baseline, its verdicts into a comment, and it into a summary, as asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_lem.plugin import options
from pytest_lem.plugin.check import tariff
from pytest_lem.render.comment import Price, comment, summary
from pytest_lem.store.files import write_atomic
from pytest_lem.store.report import Report


def price_of(config: pytest.Config) -> Price:
    """What `--lem-tariff` and `--lem-carbon` say of a kWh. Raises UsageError for a tariff that is no price."""
    return Price(*tariff(config), _grams(config))


def save(config: pytest.Config, report: Report) -> str | None:
    """Put the run into the baseline of `--lem-save`; what to tell the user. Raises StoreError and UsageError."""
    name = options.value(config, "save")
    if name is None:
        return None
    from pytest_lem.store.baselines import entries_of, lacking, open_baseline, save_run

    results = options.results(config)
    save_run(results, name, report)
    told = [*entries_of(report).left_out, *lacking(open_baseline(results, name, option="--lem-save"))]
    return "\n".join([f"saved to baseline {name}", *(f"  {line}" for line in told)])


def write_comment(config: pytest.Config, report: Report) -> None:
    """Write the file of `--lem-comment`. Raises StoreError."""
    asked = options.value(config, "comment")
    if asked:
        text = comment(report.verdicts, report.measurements, price_of(config), run=report.run.id)
        write_atomic(Path(config.invocation_params.dir, asked), text)


def summary_of(config: pytest.Config, report: Report) -> str:
    """The run as Markdown, for `--lem-markdown` and GitHub's summary of a step. Raises UsageError."""
    return summary(report, price_of(config))


def _grams(config: pytest.Config) -> float | None:
    place = options.value(config, "carbon")
    if not place:
        return None
    from pytest_lem.meters.carbon import JOULES_PER_KWH, grams_per_joule

    return grams_per_joule(place) * JOULES_PER_KWH
