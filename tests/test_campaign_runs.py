"""However a campaign ends, the run that continues it has measured everything once, and nothing twice."""

from __future__ import annotations

import itertools

import pytest
from campaign_lab import Fault, Lab, Matrix, facts, key
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

ORDERS = ("grouped", "interleaved", "shuffled", "latin")
MODES = ("load", "loadscope", "loadfile", "loadgroup", "worksteal")
BEGINNING = ("collection", "setup", "load", "asked", "loaded", "prepare", "prepared", "begin", "half-begun", "begun")
MEASURING = ("calibrate", "window", "warmup", "warmup-written", "round", "round-written", "measured", "raw", "written")
ENDING = ("call", "teardown", "stop", "stopping", "stopped", "torn-down", "finish", "report", "reported")
POINTS = (*BEGINNING, *MEASURING, *ENDING)
DEATHS = {"SIGKILL": -9, "SIGINT": pytest.ExitCode.INTERRUPTED}
CONTROLLERS = DEATHS | {"SIGTERM": pytest.ExitCode.INTERRUPTED}
SMALL = Matrix(precisions=("bf16",), batches=(1,), cycles=1)


def drawn(examples):
    """Each example is two runs, so what fails is told as it was found; `labs` makes a folder for each."""
    return settings(
        max_examples=examples,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture
def labs(project):
    """A new lab for each matrix."""
    numbers = itertools.count()
    return lambda matrix=SMALL: Lab(project.pytester.path / f"campaign{next(numbers)}", matrix)


@st.composite
def matrices(draw, most=3):
    precisions = draw(st.lists(st.sampled_from(["bf16", "fp16", "fp32"]), min_size=1, max_size=most, unique=True))
    batches = draw(st.lists(st.sampled_from([1, 2, 8]), min_size=1, max_size=most, unique=True))
    return Matrix(
        precisions=tuple(precisions),
        batches=tuple(batches),
        cycles=draw(st.integers(1, most)),
        rounds=draw(st.integers(1, 2)),
        order=draw(st.sampled_from(ORDERS)),
        seed=draw(st.integers(0, 99)),
    )


@st.composite
def endings(draw, matrix):
    """Any end, at any passing of any point."""
    how = draw(st.sampled_from(["SIGKILL", "SIGINT"]))
    point = draw(st.sampled_from([*POINTS, "torn"] if how == "SIGKILL" else POINTS))
    return Fault(point, draw(st.integers(0, matrix.passings(point) - 1)), how)


def end(lab, fault, *options):
    """Let a run end so, and everything that it started."""
    code = lab.run(*options, fault=fault)
    assert lab.fired, f"{fault} never came\n{lab.output}"
    lab.wait_until_all_are_gone()
    return code


def left_over(lab):
    """The launches that a run has to make to measure what is not measured."""
    missing = set(lab.matrix.items()) - set(map(key, lab.whole()))
    return {(name.split("-")[1], cycle) for name, cycle in missing}


def go_on(lab, *options):
    """Continue what there is to continue, and hold the outcome to the plan."""
    before, kept, starts, launches = lab.samples(), lab.whole(), lab.starts(), left_over(lab)
    code = lab.run(*(["--lem-resume"] if lab.begun() else []), *options)
    assert code == 0, lab.output
    if not any(option.startswith("-n") for option in options):  # lanes may share a launch: each makes its own
        assert lab.starts() == starts + len(launches)
    now = lab.samples()
    assert all(now[name].startswith(text) for name, text in before.items())
    assert all(one in lab.whole() for one in kept)
    everything_once(lab)


def everything_once(lab):
    """On disk and in the report: the plan, each of it once, whole, with its raw readings; the same in both."""
    found = lab.whole()
    assert sorted(map(key, found)) == lab.matrix.items()
    report = lab.report()
    shown = {(one["test"], cycle["index"]): facts(cycle) for one in report["measurements"] for cycle in one["cycles"]}
    assert sum(len(one["cycles"]) for one in report["measurements"]) == len(shown)
    assert shown == {key(one): facts(one["cycles"][0]) for one in found}
    assert (report["missing"], report["run"]["complete"]) == ([], True)
    for one in found:
        (cycle,) = one["cycles"]
        rounds = len(cycle["warmup_rounds"]) + len(cycle["rounds"])
        assert lab.raw()[cycle["launch"], one["id"], rounds] == 1


def kept_in_the_report(lab):
    """After Ctrl-C the report shows what was whole by then."""
    if not lab.begun():
        return
    cycles = [(one["test"], c) for one in lab.report()["measurements"] for c in one["cycles"]]
    whole = sorted((name, cycle["index"]) for name, cycle in cycles if cycle["stopped"] == "rounds")
    assert whole == sorted(map(key, lab.whole()))


def ended_and_continued(lab, fault):
    assert end(lab, fault) == DEATHS[fault.how], lab.output
    if fault.how == "SIGINT":
        kept_in_the_report(lab)
    go_on(lab)


@drawn(examples=6)
@given(data=st.data())
def test_a_campaign_that_ends_anywhere_and_goes_on_has_measured_everything_once(labs, data):
    matrix = data.draw(matrices(most=2))
    ended_and_continued(labs(matrix), data.draw(endings(matrix)))


@pytest.mark.parametrize("order", ORDERS)
def test_a_run_in_any_order_that_ends_in_its_midst_goes_on_to_have_measured_everything_once(labs, order):
    matrix = Matrix(precisions=("bf16", "fp16"), batches=(1,), cycles=2, order=order)
    ended_and_continued(labs(matrix), Fault("window", 5))


@pytest.mark.slow
@drawn(examples=5)
@given(data=st.data())
def test_a_larger_campaign_that_ends_twice_has_measured_everything_once(labs, data):
    matrix = data.draw(matrices())
    lab = labs(matrix)
    end(lab, data.draw(endings(matrix)))
    again = data.draw(endings(matrix))
    lab.run(*(["--lem-resume"] if lab.begun() else []), fault=again)
    lab.wait_until_all_are_gone()
    (lab.folder / "fault.txt").unlink(missing_ok=True)  # what is left may pass its point less often
    go_on(lab)


@pytest.mark.slow
@pytest.mark.parametrize("how", DEATHS)
@pytest.mark.parametrize("point", POINTS)
def test_every_point_of_an_items_life_may_be_its_last(labs, point, how):
    ended_and_continued(labs(), Fault(point, SMALL.passings(point) // 2, how))


@pytest.mark.parametrize(
    "fault",
    [
        Fault("torn", 1),
        Fault("raw"),
        Fault("written"),
        Fault("finish", how="SIGINT"),
        Fault("report", how="SIGINT"),
    ],
    ids=lambda fault: f"{fault.point}-{fault.how}",
)
def test_what_is_half_written_is_measured_again_and_what_is_written_is_not(labs, fault):
    ended_and_continued(labs(), fault)


def test_a_second_measurement_of_a_test_that_was_cut_short_is_not_missing_once_it_is_measured(labs):
    lab = labs()
    text = (lab.folder / "test_it.py").read_text()
    again = "    lem_energy.measure(lem_backend, lem_workload.replace(batch=2), name='two')\n\ndef test_between"
    (lab.folder / "test_it.py").write_text(text.replace("\ndef test_between", again))
    end(lab, Fault("round", 1))
    assert lab.run("--lem-resume") == 0
    assert (lab.report()["missing"], lab.report()["run"]["complete"]) == ([], True)
    assert sorted(one["id"].partition("::")[2] for one in lab.whole()) == [
        "test_decode[fake-bf16-b1-c0]",
        "test_decode[fake-bf16-b1-c0]#two",
        "test_more[fake-bf16-b16-c0]",
    ]


@pytest.mark.parametrize("point", ["prepare", "calibrate", "window"])
def test_what_failed_with_its_engine_is_measured_when_that_is_asked_for_and_not_before(labs, point):
    lab = labs()
    assert end(lab, Fault(point, 0, "SIGKILL:engine")) == pytest.ExitCode.TESTS_FAILED
    kept, starts = lab.whole(), lab.starts()
    assert [key(one) for one in kept] == [("test_it.py::test_more[fake-bf16-b16]", 0)]
    assert lab.run("--lem-resume") == pytest.ExitCode.TESTS_FAILED
    assert (lab.whole(), lab.starts()) == (kept, starts)
    go_on(lab, "--lem-retry-failed")


def ended_among_workers(lab, fault, *options):
    """The crash of a worker costs the test that it ran: its lane has measured the rest before the run ended."""
    code = end(lab, fault, *options)
    name, _, who = fault.how.partition(":")
    assert code == (CONTROLLERS[name] if who else pytest.ExitCode.TESTS_FAILED), lab.output
    if not who:
        assert len(set(lab.matrix.items()) - set(map(key, lab.whole()))) <= 1


WORKERS = [
    ("-n2", "load", Fault("window", 1), ()),
    ("-n2", "loadscope", Fault("torn"), ()),
    ("-n1", "loadfile", Fault("written", 1), ()),
    ("-n2", "worksteal", Fault("teardown", 1), ()),
    ("-n2", "load", Fault("round-written", 1, "SIGINT:controller"), ("-n2", "--lem-lanes=2", "--dist=loadfile")),
    ("-n1", "worksteal", Fault("report", 0, "SIGINT:controller"), ()),
    ("-n2", "load", Fault("window", 2, "SIGTERM:controller"), ()),
    ("-n1", "worksteal", Fault("report", 0, "SIGTERM:controller"), ("-n1",)),
    ("-n2", "loadgroup", Fault("window", 2, "SIGKILL:controller"), ()),
    ("-n1", "loadscope", Fault("written", 1, "SIGKILL:controller"), ("-n2", "--lem-lanes=2", "--dist=loadscope")),
]
"""Workers, distribution, what ends them, and how the run is continued."""


@pytest.mark.xdist
@pytest.mark.parametrize(
    ("workers", "mode", "fault", "continued"),
    [pytest.param(*row, marks=[pytest.mark.slow] if number else []) for number, row in enumerate(WORKERS)],
    ids=[f"{workers}-{mode}-{fault.point}-{fault.how}" for workers, mode, fault, _ in WORKERS],
)
def test_workers_that_end_anywhere_have_measured_everything_once_when_the_run_was_continued(
    labs, workers, mode, fault, continued
):
    lab = labs(Matrix(precisions=("bf16", "fp16"), batches=(1,), cycles=1))
    ended_among_workers(lab, fault, workers, "--lem-lanes=2", f"--dist={mode}")
    go_on(lab, *continued)


IN_WORKERS = [point for point in POINTS if point not in ("collection", "finish", "report", "reported")]
"""The life of an item itself; a worker that dies while it collects, or after its last item, has lost none."""
LASTS = [(point, how) for how in ("SIGKILL", "SIGINT:controller") for point in IN_WORKERS]
# What comes to the workers is the same interrupt.
LASTS += [(point, "SIGTERM:controller") for point in ("calibrate", "round", "teardown")]


@pytest.mark.slow
@pytest.mark.xdist
@pytest.mark.parametrize(("point", "how"), LASTS)
def test_every_point_of_an_items_life_may_be_the_last_of_a_worker_or_of_all(labs, point, how):
    lab = labs(Matrix(precisions=("bf16", "fp16"), batches=(1,), cycles=1))
    ended_among_workers(lab, Fault(point, 0, how), "-n2", "--lem-lanes=2")
    go_on(lab)


@pytest.mark.slow
@pytest.mark.xdist
@drawn(examples=4)
@given(data=st.data())
def test_any_campaign_of_workers_that_ends_anywhere_and_goes_on_has_measured_everything_once(labs, data):
    lab = labs(data.draw(matrices(most=2)))
    fault = Fault(
        data.draw(st.sampled_from(IN_WORKERS)),
        0,
        data.draw(st.sampled_from(["SIGKILL", "SIGINT:controller", "SIGKILL:controller"])),
    )
    ended_among_workers(lab, fault, "-n2", "--lem-lanes=2", f"--dist={data.draw(st.sampled_from(MODES))}")
    go_on(lab, *data.draw(st.sampled_from([(), ("-n2", "--lem-lanes=2")])))
