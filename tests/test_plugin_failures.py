"""What goes wrong while measuring loses nothing that was measured, and the next test runs."""

from __future__ import annotations

import signal
import subprocess
from types import SimpleNamespace

import pytest
from users_project import TEST

from pytest_lem.plugin.stopping import ControllerStopping


def misbehaving(fault: str, at: str = "run", after: int = 4) -> str:
    options = f'{{"token_seconds": 0.001, "at": "{at}", "fault": "{fault}", "fault_after": {after}}}'
    bad = TEST.replace('{"token_seconds": 0.001}', options).replace("[1, 8]", "1").replace("test_decode", "test_bad")
    return bad + TEST.replace("import pytest", "").replace("[1, 8]", "1")


@pytest.mark.parametrize(
    ("fault", "at", "line"),
    [
        ("kill", "run", "*died during run*SIGKILL*"),
        ("exit", "run", "*died during run*3*"),
        ("memory", "run", "*batch*--lem-batch*"),
        ("raise", "run", "*told to fail*"),
        ("garbage", "run", "*no message*"),
    ],
)
def test_an_engine_that_fails_fails_its_test_with_its_log_and_the_next_test_gets_a_fresh_one(project, fault, at, line):
    project.write(misbehaving(fault, at))
    result = project.run()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines([line])
    result.stdout.fnmatch_lines([f"*fake engine: about to {fault} at {at}*"])
    result.stdout.no_fnmatch_line("*During handling of the above exception*")
    report = project.report()
    assert report["run"]["complete"] is False
    assert "test_bad" in report["missing"][0]
    bad, good = report["measurements"]
    assert bad["cycles"][0]["stopped"] == "failed"
    assert len(bad["cycles"][0]["rounds"]) + len(bad["cycles"][0]["warmup_rounds"]) >= 1
    assert good["metrics"]["joules_per_token"]["value"] > 0


def test_a_rank_that_is_killed_fails_its_test_with_its_own_log_and_the_next_test_gets_a_whole_engine(project):
    project.write(misbehaving("kill").replace('"at"', '"ranks": 2, "fault_rank": 1, "at"'))
    result = project.run()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*engine 'fake': run failed: rank 1 died (signal SIGKILL)*",
            "*--- the engine's log ends ---*",
            "*[[]rank 1[]] fake engine: loading *",
            "*[[]rank 1[]] fake engine: about to kill at run*",
        ]
    )


def test_an_engine_that_cannot_load_is_an_error_with_its_log(project):
    project.write(misbehaving("exit", "load"))
    result = project.run()
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*fake engine: about to exit at load*"])


def test_what_an_engine_refuses_is_its_line_without_a_log_of_what_its_libraries_said(project):
    project.write(misbehaving("refuse", "load"))
    result = project.run()
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["engine 'fake': the fake engine does not do that"])
    result.stdout.no_fnmatch_line("*about to refuse at load*")
    result.stdout.no_fnmatch_line("*log ends*")


def test_ctrl_c_keeps_what_was_measured(project):
    project.write(
        TEST.replace(
            "    lem_energy.measure(lem_backend, lem_workload)",
            """    import os, signal, threading
    if lem_workload.batch == 8:
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    lem_energy.measure(lem_backend, lem_workload)""",
        ).replace("0.001", "0.02")
    )
    result = project.subprocess("--lem-rounds=30", "--lem-round-seconds=0.1", "-o", "lem_rounds=30")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    report = project.report()
    assert report["run"]["complete"] is False
    first, second = report["measurements"]
    assert len(first["cycles"][0]["rounds"]) == 30
    assert second["cycles"][0]["stopped"] == "interrupted"
    assert 1 <= len(second["cycles"][0]["rounds"]) < 30
    assert second["metrics"]["power_w"]["value"] == pytest.approx(100)
    result.stdout.fnmatch_lines(["incomplete, 1 missing:", "--lem-resume measures what is missing; *", "report: *"])


def test_sigterm_lets_the_round_end_and_keeps_it(project):
    """As a service manager stops a run: here 0.2 s into a round of a second, which no kill would have left."""
    project.write(
        TEST.replace("[1, 8]", "1").replace(
            "    lem_energy.measure(lem_backend, lem_workload)",
            """    import os, signal, threading
    from pytest_lem.engines.host import Engine
    run, ends = Engine.run, []
    def told(engine, passes, **how):
        if len(ends) == 5:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        ends.append(run(engine, passes, **how))
        return ends[-1]
    Engine.run = told
    try:
        lem_energy.measure(lem_backend, lem_workload)
    finally:
        Engine.run = run
        print("runs that ended:", len(ends))""",
        )
    )
    result = project.subprocess("--lem-rounds=30", "--lem-round-seconds=1", "-s")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    # Two to find the round's length, a warm-up, then twice a round and the pass beside it that times tokens.
    result.stdout.fnmatch_lines(["*runs that ended: 7*"])
    report = project.report()
    (cycle,) = report["measurements"][0]["cycles"]
    assert cycle["stopped"] == "interrupted"
    assert [round_["end_ns"] - round_["start_ns"] >= 1e9 for round_ in cycle["rounds"]] == [True, True]
    assert report["run"]["complete"] is False


@pytest.mark.xdist
@pytest.mark.parametrize(("mode", "precisions"), [("load", 2), pytest.param("each", 1, marks=pytest.mark.slow)])
def test_sigterm_to_a_run_of_workers_is_a_ctrl_c_to_all_of_them_and_keeps_what_was_measured(project, mode, precisions):
    """As a service manager stops a run: it knows the controller alone. Here each worker waits for its own Ctrl-C."""
    project.pytester.makeconftest(
        """
import os, signal, time
from pathlib import Path
import pytest
from pytest_lem.plugin.recorder import Recorder

kept, rounds = Recorder.round, []

def round_(*words, **more):
    kept(*words, **more)
    rounds.append(words)
    if len(rounds) < 4:
        return
    here = os.environ["PYTEST_XDIST_WORKER"]
    try:
        Path(f"{here}-measured").touch()
        while here == "gw1" and not Path("gw0-measured").exists():
            time.sleep(0.01)
        if here == "gw1":
            os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(60)
    except KeyboardInterrupt:
        Path(f"{here}-interrupted").touch()
        raise

def pytest_configure(config):
    if hasattr(config, "workerinput"):
        from execnet.gateway_base import WorkerGateway
        # Without its connection a worker would interrupt itself, if only after five seconds.
        WorkerGateway._terminate_execution = lambda gateway: gateway._execpool.trigger_shutdown()
        Recorder.round = round_

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.lem(warmup_rounds=1, warmup_seconds=0))
"""
    )
    project.write(TEST.replace("batch=[1, 8]", 'precision=["bf16", "fp16"]'))
    result = project.subprocess("-n2", "--lem-lanes=2", f"--dist={mode}", "--lem-rounds=30")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert sorted(path.name for path in project.pytester.path.glob("*-interrupted")) == [
        "gw0-interrupted",
        "gw1-interrupted",
    ]
    report = project.report()
    assert report["run"]["complete"] is False
    cycles = [cycle for measured in report["measurements"] for cycle in measured["cycles"]]
    assert [(cycle["stopped"], len(cycle["rounds"])) for cycle in cycles] == [("interrupted", 3)] * precisions
    powers = [measured["metrics"]["power_w"]["value"] for measured in report["measurements"]]
    assert powers == [pytest.approx(100)] * precisions
    result.stdout.fnmatch_lines(["incomplete, 2 missing:", "--lem-resume measures what is missing; *", "report: *"])


@pytest.mark.xdist
def test_sigterm_to_workers_on_another_machine_ends_the_run_here_and_theirs_with_their_connection():
    execnet = pytest.importorskip("execnet")
    measuring = {"here": [0], "there": [0], "plain": []}
    stopping = ControllerStopping(lambda node: measuring[node.gateway.id])

    def node(name, spec, pid):
        return SimpleNamespace(
            gateway=SimpleNamespace(id=name, spec=execnet.XSpec(spec), _rinfo=lambda: SimpleNamespace(pid=pid))
        )

    with subprocess.Popen(["sleep", "60"]) as here, subprocess.Popen(["sleep", "60"]) as same_number:
        plain, there = node("plain", "popen", 0), node("there", "popen//via=proxy", same_number.pid)
        ended = node("ended", "popen", same_number.pid)
        for one in (node("here", "popen", here.pid), there, node("ssh", "ssh=user@host", same_number.pid), ended):
            stopping.pytest_configure_node(one)
        stopping.pytest_testnodedown(ended)
        stopping.pytest_xdist_node_collection_finished(plain)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "plain tests end as they would"
        stopping.pytest_xdist_node_collection_finished(there)
        finishing = stopping.pytest_sessionfinish()
        next(finishing)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert here.wait(60) == -signal.SIGINT
        assert same_number.poll() is None
        same_number.kill()
        with pytest.raises(StopIteration):
            next(finishing)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_full_disk_fails_the_test_and_what_was_written_is_readable(project):
    project.write(TEST.replace("[1, 8]", "[1]"))
    conftest = project.pytester.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + """
import resource, signal

@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        return (yield)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""
    )
    result = project.subprocess("--lem-rounds=30")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*samples-main.jsonl*"])
    report = project.report()
    assert report["run"]["complete"] is False
    assert len(report["measurements"][0]["cycles"][0]["warmup_rounds"]) == 1
