"""`lem badge`: what a reader of a README sees of the newest run."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from builders import a_measurement
from typer.testing import CliRunner

from pytest_lem.cli import app
from pytest_lem.model.measurement import MetricValue
from pytest_lem.model.verdict import Verdict
from pytest_lem.render.badge import badge


def gate(status):
    return Verdict(
        test="t", metric="joules_per_token", kind="gate", better="lower", value=0.1, status=status, line="a line"
    )


def costing(joules, source="measured"):
    value = MetricValue(value=joules, unit="J/tok", n=8, source=source)
    return a_measurement("test_it.py::test_a").model_copy(update={"metrics": {"joules_per_token": value}})


def test_it_tells_the_cheapest_configuration_in_the_colour_of_the_worst_gate():
    picture = badge([costing(0.5), costing(0.0153)], [gate("passed"), gate("failed")])
    assert ElementTree.fromstring(picture).get("aria-label") == "energy: from 15.3 mJ/tok"
    assert "#c0392b" in picture


@pytest.mark.parametrize(("verdicts", "colour"), [([], "#566573"), ([gate("passed")], "#1e8449")])
def test_without_a_gate_it_is_grey_and_green_where_all_hold(verdicts, colour):
    assert colour in badge([costing(0.5)], verdicts)


def test_an_estimate_is_never_shown_as_a_measurement():
    assert "not measured" in badge([costing(0.5, "estimated")], [])


def test_a_folder_without_runs_is_one_line(tmp_path):
    result = CliRunner().invoke(app, ["badge", "--results", str(tmp_path)])
    assert result.exit_code == 2
    assert result.output.splitlines() == [
        f"lem badge: there is no run with a report in {tmp_path / 'runs'}; name one, or measure first"
    ]
