"""A measurement against its baseline: what is compared, what is not and why, in the line that a person reads."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from builders import EXPERIMENT, a_cycle, a_gpu, a_measurement, a_reading, a_round, an_environment
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.gate import Gate, judge
from pytest_lem.model.specs import ProtocolSpec
from pytest_lem.stats.history import history_gate
from pytest_lem.stats.runs import change
from pytest_lem.store.baselines import open_baseline, save_run
from pytest_lem.store.report import Report, RunInfo

JOULES = Gate("joules_per_token")
WAVER = (1.0, 1.01, 0.99, 1.005, 0.995, 1.0, 1.01, 0.99)


def cycle(level: float = 1.0, index: int = 0, **changes):
    rounds = tuple(a_round(5 + i, devices=(a_reading(800 * level * each),)) for i, each in enumerate(WAVER))
    return a_cycle(index, rounds=rounds, **changes)


def measured(*levels: float, **changes):
    """A measurement of a launch at each of these levels of cost."""
    return a_measurement(EXPERIMENT, cycles=tuple(cycle(level, i, **changes) for i, level in enumerate(levels or (1,))))


@pytest.fixture
def accepted(tmp_path):
    """A writer of baselines: an accepted run at each level of cost, on a board of its own where boards are named."""

    def accept(*levels: float, boards=()):
        for number, level in enumerate(levels):
            environment, gpu = an_environment(), {}
            if boards:
                environment, gpu = an_environment(gpus=[a_gpu(boards[number])]), {"gpus": (boards[number],)}
            started = datetime(2026, 7, 1 + number, tzinfo=UTC)
            info = RunInfo(id=f"run-{number}", started=started, ended=None, complete=True, quick=False)
            save_run(
                tmp_path, "main", Report(run=info, environment=environment, measurements=(measured(level, **gpu),))
            )
        return open_baseline(tmp_path, "main")

    return accept


def test_a_regression_names_the_change_of_the_metric_and_what_it_rests_on(accepted):
    found = judge(JOULES, measured(1.2, 1.2), accepted(1, 1.01, 0.99), an_environment()).verdict
    assert (found.status, found.comparison.outcome) == ("failed", "REGRESSED")
    assert found.comparison.estimate == pytest.approx(0.2, abs=0.005)
    assert found.line.startswith("joules_per_token: REGRESSED +20 % vs main (3 runs, 2 launches, 16 rounds), range +")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"driver": "575.2"}, "driver 570.86.15 then, 575.2 now"),
        ({"power_limit_w": 450.0}, "power limit 700 W then, 450 W now"),
    ],
)
def test_what_ran_on_other_ground_is_not_compared_and_the_line_says_what_differs(accepted, changes, said):
    environment = an_environment(gpus=[a_gpu().replace(**changes)])
    judged = judge(JOULES, measured(1.5, 1.5), accepted(1, 1, 1), environment)
    assert (judged.verdict.status, judged.relaunch, judged.duel) == ("inconclusive", False, False)
    assert judged.verdict.comparison.differences == (said,)
    assert (
        judged.verdict.line
        == f"joules_per_token: INCONCLUSIVE (incomparable) vs main (0 runs, 2 launches, 16 rounds); {said}"
    )


def test_runs_of_any_board_are_compared_where_the_model_is_enough_and_more_carefully(accepted):
    boards = ("GPU-a", "GPU-b", "GPU-c")
    baseline, now = accepted(1, 1.01, 0.99, boards=boards), measured(1.09, 1.09, gpus=("GPU-d",))
    environment = an_environment(gpus=[a_gpu("GPU-d")])
    strict = judge(JOULES, now, baseline, environment).verdict.comparison
    assert (strict.reason, strict.runs) == ("incomparable", 0)
    loose = judge(JOULES, now, baseline, environment, match="model").verdict.comparison
    assert (loose.outcome, loose.runs) == ("INCONCLUSIVE", 3)
    alike = [run.launches for run in baseline.history(EXPERIMENT, "", "joules_per_token")]
    same = history_gate(alike, [[0.436 * each for each in WAVER]] * 2)
    assert same.status == "REGRESSED"
    assert same.low > loose.low


def test_a_launch_that_did_not_settle_and_a_quick_run_are_not_judged(accepted):
    baseline = accepted(1, 1, 1)
    unsteady = judge(JOULES, measured(1.5, 1.5, steady=False), baseline, an_environment()).verdict
    assert (unsteady.status, unsteady.comparison.reason) == ("inconclusive", "not steady")
    quick = measured(1.5, 1.5).model_copy(update={"protocol": ProtocolSpec(quick=True)})
    assert judge(JOULES, quick, baseline, an_environment()).verdict.line == (
        "joules_per_token: cannot be compared with main: joules of a quick run (--lem-quick) are not gateable"
    )


def test_a_change_since_the_first_runs_is_told_where_later_ones_hide_it(accepted):
    baseline = accepted(1, 1, 1, 1.04, 1.08, 1.08, 1.08, 1.08, 1.08)
    found = judge(JOULES, measured(1.08, 1.08), baseline, an_environment()).verdict
    assert found.status != "failed"
    assert found.comparison.creep == pytest.approx(0.08, abs=0.005)
    assert "creeping: +8.0 % since the first runs of this baseline" in found.line
    assert (
        judge(Gate("joules_per_token", 0.09), measured(1.08), baseline, an_environment()).verdict.comparison.creep
        is None
    )
    faster = judge(Gate("joules_per_token", direction="higher"), measured(1.08), baseline, an_environment())
    assert faster.verdict.comparison.creep is None


LAUNCH = st.lists(st.floats(0.5, 2.0), min_size=1, max_size=9)


@given(
    st.lists(st.lists(LAUNCH, min_size=1, max_size=2), min_size=1, max_size=3), st.lists(LAUNCH, min_size=1, max_size=3)
)
def test_the_change_since_the_first_runs_is_what_a_gate_on_them_would_estimate(history, candidate):
    for direction in ("lower", "higher"):
        judged = history_gate(history, candidate, direction=direction, fewest=1)
        assert change(history, candidate) == pytest.approx(judged.estimate, abs=1e-12)


def test_what_has_no_value_has_changed_by_nothing_that_can_be_told():
    assert change([[[1.0]]], [[0.0]]) is None
    assert change([[[-1.0]]], [[1.0]]) is None
    assert change([], [[1.0]]) is None
