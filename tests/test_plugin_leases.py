"""GPUs as a user meets them: two runs on one host take turns on a GPU, and a run tells for whom it waits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import fake_pynvml
import pytest
from fake_pynvml import FakeGpu
from test_campaign_leases import Another
from test_cli_merge import lem
from test_plugin_progress import on_a_terminal

from pytest_lem.campaign.leases import Holder, Leases
from pytest_lem.meters import nvml
from pytest_lem.meters.visible import restrict
from pytest_lem.model.errors import UsageError
from pytest_lem.plugin import gpus as module
from pytest_lem.plugin.gpus import Gpus, candidates, command_line, lease_count, visible

A, B, C = "GPU-aaaa1111-0000", "GPU-bbbb2222-0000", "GPU-cccc3333-0000"
PATIENCE = 60.0
# Measures, waits until the file `go` is there, measures again.
TWICE = """
import os, time
import pytest

@pytest.mark.lem(backend="fake", output_tokens=4, fake={"token_seconds": 0.001})
def test_twice(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload, name="before")
    while not os.path.exists("go"):
        time.sleep(0.01)
    lem_energy.measure(lem_backend, lem_workload, name="after")
"""
ONCE = """
import pytest

@pytest.mark.lem(backend="fake", output_tokens=4, fake={"token_seconds": 0.001})
def test_once(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""


def wait_until(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


class Started:
    """A real pytest beside the test; its output goes to a file, as in CI."""

    def __init__(self, folder: Path, name: str, gpus: str, *arguments: str) -> None:
        self.said, self.results = folder / f"{name}.log", folder / name
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--lem-results={name}", *arguments]
        with self.said.open("w") as file:
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpus}
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)

    def says(self, text: str) -> bool:
        return text in self.said.read_text()

    def ends(self) -> int:
        return self.process.wait(PATIENCE)

    def report(self) -> dict:
        (path,) = self.results.glob("runs/*/report.json")
        return json.loads(path.read_text())

    def rounds(self) -> list[dict]:
        """All its rounds, warm-up too, in order."""
        cycles = [cycle for m in self.report()["measurements"] for cycle in m["cycles"]]
        return [round_ for cycle in cycles for round_ in (*cycle["warmup_rounds"], *cycle["rounds"])]


@pytest.fixture
def locks(project, monkeypatch):
    folder = project.pytester.path / "locks"
    monkeypatch.setenv("LEM_LOCKS", str(folder))
    return folder


@pytest.fixture
def machine(project, locks, monkeypatch):
    """A host of three made-up GPUs, for this process and those that it starts."""
    gpus = (FakeGpu(A), FakeGpu(B), FakeGpu(C))
    fake_pynvml.install(project.pytester.path / "site", *gpus)
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml.fake_pynvml(*gpus))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml.library.cache_clear()
    yield SimpleNamespace(gpus=gpus)
    nvml.library.cache_clear()


@pytest.fixture
def start(project, machine):
    """Starts runs; none outlives the test."""
    started = []

    def run(name: str, gpus: str, *arguments: str) -> Started:
        started.append(Started(project.pytester.path, name, gpus, *arguments))
        return started[-1]

    yield run
    for one in started:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def held(locks):
    """The GPU A is held by a run that is this process."""
    other = Leases(locks)
    other.acquire([A], 1, Holder.here("pytest other/"), lambda text: None)
    yield other
    other.release()


def leased(locks: Path) -> list[str]:
    """The GPUs that anybody ever leased."""
    return sorted(path.stem for path in locks.glob("GPU-*.lock"))


def test_the_second_run_on_a_gpu_waits_for_the_first_and_says_so_a_third_on_another_gpu_does_not(project, start):
    project.write(TWICE, "test_twice")
    project.write(ONCE, "test_once")
    first = start("first", "0", "test_twice.py")
    wait_until(lambda: any('"round"' in path.read_text() for path in first.results.glob("runs/*/samples-main.jsonl")))
    second = start("second", A, "test_once.py")
    wait_until(lambda: second.says(f"waiting for GPU-aaaa1111…: held by PID {first.process.pid} ("))
    assert second.says("`pytest -p no:cacheprovider --lem-results=first test_twice.py`, since ")
    assert second.says(", now at test_twice[fake-bf16-b1-c0]\n")
    third = start("third", "1", "test_once.py")
    assert third.ends() == 0
    assert not third.says("waiting")
    assert first.process.poll() is None
    (project.pytester.path / "go").touch()
    assert (first.ends(), second.ends()) == (0, 0)
    assert min(round_["start_ns"] for round_ in second.rounds()) > max(round_["end_ns"] for round_ in first.rounds())
    assert second.said.read_text().count("waiting for") == 1
    used = [run.report()["measurements"][0]["cycles"][0]["gpus"] for run in (first, second, third)]
    assert used == [[A], [A], [B]]


def test_a_run_killed_by_sigkill_frees_its_gpu_for_the_next_at_once(project, start, locks):
    project.write(TWICE, "test_twice")
    project.write(ONCE, "test_once")
    first = start("first", "0", "test_twice.py")
    wait_until(lambda: any('"round"' in path.read_text() for path in first.results.glob("runs/*/samples-main.jsonl")))
    first.process.kill()
    first.process.wait()
    second = start("second", "0", "test_once.py")
    assert second.ends() == 0
    assert not second.says("waiting")


def test_ctrl_c_while_waiting_ends_cleanly(project, start, held):
    project.write(ONCE)
    waiting = start("waiting", "0", "test_it.py")
    wait_until(lambda: waiting.says("waiting for"))
    waiting.process.send_signal(signal.SIGINT)
    assert waiting.ends() == pytest.ExitCode.INTERRUPTED
    assert waiting.says("KeyboardInterrupt")
    assert not waiting.says("INTERNALERROR")
    assert waiting.report()["missing"]


def test_a_terminal_shows_on_the_progress_line_for_whom_a_run_waits(project, machine, held, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    project.write(ONCE)

    def release(said: str) -> None:
        if "waiting for" in said:
            held.release()

    said = on_a_terminal(project.pytester.path, "--rootdir=.", hear=release)
    assert "test_once[fake-bf16-b1-c0]: waiting for GPU-aaaa1111…: held by PID" in said
    assert "lem: waiting" not in said
    assert "1 passed" in said


@pytest.mark.xdist
def test_a_worker_of_xdist_tells_it_on_standard_error(project, start, held):
    project.write(ONCE)
    waiting = start("waiting", "0", "-n1", "test_it.py")
    wait_until(lambda: waiting.says("lem: waiting for GPU-aaaa1111…: held by PID"))
    held.release()
    assert waiting.ends() == 0


@pytest.mark.xdist
def test_workers_with_a_lane_each_measure_side_by_side(project, start):
    project.write(ONCE.replace("output_tokens", 'precision=["fp32", "bf16"], output_tokens'))
    both = start("both", "0,1", "-n2", "test_it.py")
    assert both.ends() == 0
    assert not both.says("waiting")
    used = [cycle["gpus"] for m in both.report()["measurements"] for cycle in m["cycles"]]
    assert sorted(used) == [[A], [B]]


@pytest.mark.xdist
def test_a_worker_whose_lane_is_done_holds_no_gpu_while_its_plain_tests_wait_for_other_lanes(project, start):
    # Two runs of workers would wait for each other else: each with a lane that is done, and one that waits for a GPU.
    project.write(
        """
        import os, time
        import pytest

        @pytest.mark.lem(backend="fake", precision=["fp32", "bf16"], output_tokens=4, fake={"token_seconds": 0.001})
        def test_lanes(lem_backend, lem_workload, lem_energy):
            while lem_backend.spec.precision == "bfloat16" and not os.path.exists("go"):
                time.sleep(0.01)
            lem_energy.measure(lem_backend, lem_workload)

        def test_plain(): pass
        def test_another(): pass
        """,
        "test_lanes",
    )
    project.write(ONCE, "test_once")
    both = start("both", "0,1", "-n2", "-v", "test_lanes.py")
    wait_until(lambda: both.says("PASSED test_lanes.py::test_lanes[fake-fp32-b1-c0]"))

    assert start("other", "0", "test_once.py").ends() == 0
    assert list(both.results.glob("runs/*/report.json")) == []
    (project.pytester.path / "go").touch()
    assert both.ends() == 0


def test_engines_that_want_more_gpus_than_there_are_keep_no_other_from_being_measured(project, machine):
    four = ONCE.replace('": 0.001', '": 0.001, "gpus": 4')
    project.write(four.replace("output", "batch=[1, 2, 4], output"), "test_a")
    project.write(ONCE, "test_b")
    result = project.run("test_a.py", "test_b.py")

    result.assert_outcomes(errors=3, passed=1)
    result.stdout.fnmatch_lines(["*fake needs 4 GPU(s), 3 visible here (*"])


def test_nothing_is_leased_by_plain_tests_by_engines_on_the_cpu_or_while_collecting(project, machine, locks):
    project.write("def test_plain(): pass", "test_plain")
    project.run("test_plain.py").assert_outcomes(passed=1)
    project.write(ONCE)
    project.run("--collect-only")
    project.write(ONCE.replace("backend=", 'device="cpu", backend='))
    project.run().assert_outcomes(passed=2)
    assert leased(locks) == []


def test_a_run_leases_at_once_what_its_largest_engine_needs(project, machine, locks):
    project.write(
        """
        import pytest
        from pytest_lem.plugin.state import known_session

        def held(request):
            return known_session(request.config).gpus

        @pytest.mark.lem(backend="fake")
        def test_one(lem_backend, request):
            assert lem_backend.engine.gpus == held(request)[:1]
            assert len(held(request)) == 2

        @pytest.mark.lem(backend="fake", fake={"gpus": 2})
        def test_two(lem_backend, request):
            assert lem_backend.engine.gpus == held(request)
        """
    )
    project.run().assert_outcomes(passed=2)
    assert leased(locks) == [A, B]


def test_an_engine_that_needs_more_gpus_than_there_are_fails_without_a_lease(project, machine, locks):
    project.write(ONCE.replace('": 0.001', '": 0.001, "gpus": 4'))
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fake needs 4 GPU(s), 3 visible here (CUDA_VISIBLE_DEVICES, --lem-gpus and *"])
    assert leased(locks) == []


def test_windows_without_an_engine_lease_every_visible_gpu(project, machine, locks):
    project.write(
        """
        def test_window(lem_energy):
            with lem_energy.window("nothing"):
                pass
        """
    )
    project.run().assert_outcomes(passed=1)
    assert project.report()["measurements"][0]["cycles"][0]["gpus"] == [A, B, C]
    assert leased(locks) == [A, B, C]


def test_windows_beside_engines_read_the_gpus_that_the_run_leased(project, machine, locks):
    project.write(
        ONCE
        + """
def test_window(lem_energy):
    with lem_energy.window("nothing"):
        pass
"""
    )
    project.run().assert_outcomes(passed=2)
    assert [m["cycles"][0]["gpus"] for m in project.report()["measurements"]] == [[A], [A]]


def test_the_gpus_are_free_again_when_the_run_has_ended(project, machine, locks):
    project.write(ONCE)
    project.run().assert_outcomes(passed=1)
    lease = Leases(locks).acquire([A], 1, Holder.here("pytest"), lambda text: pytest.fail(text))
    assert (lease.gpus, lease.inherited) == ((A,), False)


def test_a_folder_for_locks_that_cannot_be_used_fails_the_test_in_one_line(project, machine, monkeypatch):
    monkeypatch.setenv("LEM_LOCKS", "/dev/null/locks")
    project.write(ONCE)
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["LEM_LOCKS=/dev/null/locks: GPUs cannot be leased there (Not a directory); name a *"])


@pytest.mark.parametrize(
    ("asked", "gpus"),
    [("1", [B]), (B, [B]), ("GPU-bb", [B]), ("2,GPU-aaaa", [A, C]), (f"0,{A}", [A])],
)
def test_lem_gpus_restricts_a_run_to_some_of_the_visible_gpus(project, machine, locks, asked, gpus):
    project.write(ONCE.replace('": 0.001', f'": 0.001, "gpus": {len(gpus)}'))
    project.run(f"--lem-gpus={asked}").assert_outcomes(passed=1)
    assert leased(locks) == gpus
    assert [gpu["uuid"] for gpu in project.report()["environment"]["gpus"]] == gpus


def test_lem_gpus_counts_within_cuda_visible_devices(project, machine, locks, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    project.write(ONCE)
    project.run("-o", "lem_gpus=0").assert_outcomes(passed=1)
    assert leased(locks) == [C]


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ("2", "is no visible GPU"),
        ("GPU-bb", "is no visible GPU"),
        ("", "begins 2 UUIDs"),
        ("GPU-", "begins 2 UUIDs"),
        ("x", "is no visible GPU"),
    ],
)
def test_a_gpu_that_is_not_visible_is_refused_with_those_that_are(asked, fault):
    with pytest.raises(UsageError) as caught:
        restrict([asked], [C, A])
    assert str(caught.value) == f"--lem-gpus={asked}: {fault}; visible here: 0 = {C}, 1 = {A}"


def test_lem_gpus_that_cannot_be_end_the_run_before_its_first_test(project, machine, locks):
    project.write(ONCE)
    result = project.run("--lem-gpus=GPU-dddd")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: --lem-gpus=GPU-dddd: is no visible GPU; visible here: 0 = {A}, 1 = {B}, 2 = {C}"]
    )
    assert leased(locks) == []


def test_lem_gpus_on_a_host_without_gpu_is_refused():
    with pytest.raises(
        UsageError, match=r"^--lem-gpus=0: is no visible GPU; visible here: none \(CUDA_VISIBLE_DEVICES"
    ):
        restrict(["0"], [])


@pytest.fixture
def instances(machine, monkeypatch):
    """The GPUs A and B hold a MIG instance each; the run sees that of A."""
    for gpu, instance in zip(machine.gpus, ("MIG-a", "MIG-b"), strict=False):
        gpu.mig, gpu.instances = True, (instance,)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a")
    return machine.gpus


def test_a_run_on_a_mig_instance_tells_the_board_and_is_not_continued_on_another(project, instances):
    project.write(ONCE)
    project.run().assert_outcomes(passed=1)
    (told,) = project.report()["environment"]["gpus"]
    assert (told["uuid"], told["name"]) == ("MIG-a", "NVIDIA H100 80GB HBM3 MIG 1g.10gb")
    assert (told["driver"], told["power_limit_w"]) == ("580.95.05", 700.0)
    instances[0].limit_mw = 350_000
    result = project.run("--lem-resume")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *: GPU MIG-a has another driver, power limit or clocks now; begin a new one"])


@pytest.mark.parametrize(
    ("model", "watts", "refused"),
    [
        ("NVIDIA H100 80GB HBM3", 700, ""),
        ("NVIDIA H100 80GB HBM3", 350, "NVIDIA H100 80GB HBM3 MIG 1g.10gb at 350 W"),
        ("NVIDIA A100-SXM4-80GB", 700, "NVIDIA A100-SXM4-80GB MIG 1g.10gb at 700 W"),
    ],
)
def test_shards_on_mig_instances_merge_where_their_boards_are_alike(
    project, instances, monkeypatch, model, watts, refused
):
    instances[1].name, instances[1].limit_mw = model, watts * 1000
    project.write()
    project.run("--lem-shard=1/2", "--lem-results=one").assert_outcomes(passed=1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-b")
    project.run("--lem-shard=2/2", "--lem-results=two").assert_outcomes(passed=1)
    one, two = (project.pytester.path / name for name in ("one", "two"))
    result = lem("merge", one, two, "--results", project.pytester.path / "new")
    fact = f"GPU NVIDIA H100 80GB HBM3 MIG 1g.10gb at 700 W and {refused}"
    line = f"lem merge: {one} and {two} cannot be merged: {fact}\n" if refused else ""
    assert (result.exit_code, result.stderr) == (2 if refused else 0, line)


def worker(**given) -> SimpleNamespace:
    """The config of an xdist worker."""
    return SimpleNamespace(
        workerinput={"workerid": "gw1", **given}, getoption=lambda name: None, getini=lambda name: []
    )


def test_a_worker_takes_exactly_the_gpus_of_its_lane(machine):
    lane = worker(lem_gpus=[C, A], lem_host_gpus=[A, B, C])
    assert candidates(lane) == (C, A)
    assert lease_count(lane, {1}, candidates(lane)) == 2
    assert visible(lane) == (A, B, C)
    assert candidates(worker(lem_gpus=[])) == ()
    assert candidates(worker()) == (A, B, C)


def test_a_worker_is_known_by_the_command_line_that_the_user_typed():
    assert command_line(worker(mainargv=["/venv/bin/pytest", "-n2", "a b/"])) == "pytest -n2 'a b/'"


@pytest.mark.parametrize(("asked", "count"), [({1}, 1), ({1, 2}, 2), ({2, 8}, 2), ({8}, 3), (set(), 3)])
def test_the_size_of_a_lease(asked, count):
    config = SimpleNamespace()
    assert lease_count(config, asked, (A, B, C)) == count


@pytest.fixture
def stranger(monkeypatch):
    """A process that is not ours."""
    monkeypatch.setattr(module, "in_pid_namespace", lambda: False)
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_another_process_on_a_leased_gpu_is_told_once(project, machine, stranger):
    machine.gpus[0].pids = (stranger.pid, os.getpid())
    machine.gpus[1].pids = (stranger.pid,)
    project.write(ONCE)
    result = project.run("--lem-cycles=3", "-W", "default")
    assert result.parseoutcomes()["passed"] == 3
    # Other warnings may be those of objects that an earlier test has left to the garbage collector.
    warned = [str(call.warning_message.message) for call in result.reprec.getcalls("pytest_warning_recorded")]
    assert len([text for text in warned if "another process" in text]) == 1
    result.stdout.fnmatch_lines([f"*another process is on {A}: PID {stranger.pid} (sleep); rounds beside it will be*"])


def test_another_process_that_is_gone_already_or_hidden_has_no_name(monkeypatch, machine, locks, stranger):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    machine.gpus[0].pids = (gone.pid,)
    gpus = Gpus((A,), 1, "pytest", show=str)
    with pytest.warns(pytest.PytestWarning, match=rf"PID {gone.pid} \(its name is not told\)"):
        gpus.warn_of_strangers([A])
    machine.gpus[0].pids = (4711, 4712)
    monkeypatch.setattr(module, "in_pid_namespace", lambda: True)
    with pytest.warns(pytest.PytestWarning) as told:
        Gpus((A,), 1, "pytest", show=str).warn_of_strangers([A])
    assert [str(one.message).partition("; ")[0] for one in told] == [
        f"another process is on {A}: PID {pid} (a container hides its name)" for pid in (4711, 4712)
    ]


def test_a_lease_after_somebody_who_was_killed_waits_for_the_memory_of_his_engine(machine, locks, monkeypatch):
    waited = []
    monkeypatch.setattr(module.gpu_memory, "stable", lambda gpus, show: waited.append(gpus))
    Another(locks, 1, A).kill()
    first = Gpus((A,), 1, "pytest", show=str)
    assert first.lease() == (A,)
    assert waited == [(A,)]
    first.release()
    assert Gpus((A,), 1, "pytest", show=str).lease() == (A,)
    assert waited == [(A,)]
