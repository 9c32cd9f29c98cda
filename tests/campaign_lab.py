"""A campaign that something ends at a chosen point of an item's life, and what is on disk afterwards.

A run is a forked child of the test: a process of its own, to be killed and interrupted like any other, without the
second that a new interpreter takes to import pytest. What the files hold is read with json alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
import uuid
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

# Loaded once here, for all the children.
import pytest_lem.plugin.check
import pytest_lem.plugin.planning
import pytest_lem.plugin.session  # noqa: F401

PATIENCE = 60
INI = """
[pytest]
lem_meter = fake
lem_round_seconds = 0.002
lem_rounds = {rounds}
"""
CONFTEST = '''
import os
import signal
from collections import Counter
from functools import wraps
from pathlib import Path

import pytest

from pytest_lem.engines.channel import Channel
from pytest_lem.engines.host import Engine
from pytest_lem.engines.process import EngineProcess
from pytest_lem.plugin.recorder import Recorder
from pytest_lem.store import files, samples
from pytest_lem.store.run import Run

HERE = Path(__file__).parent
PASSED = Counter()
ENGINES = []


def told(point):
    """How this point is to be ended now: once in a campaign, whichever process comes there."""
    fault = HERE / "fault.txt"
    try:
        chosen, nth, how = fault.read_text().split()
        if chosen != point:
            return None
        PASSED[point] += 1
        if PASSED[point] <= int(nth):
            return None
        fault.unlink()
    except FileNotFoundError:
        return None
    return how


def passing(point):
    how = told(point)
    if how is None:
        return
    name, _, who = how.partition(":")
    worker = "PYTEST_XDIST_WORKER" in os.environ
    pid = {"engine": lambda: ENGINES[-1], "controller": os.getppid if worker else os.getpid}.get(who, os.getpid)()
    os.kill(pid, getattr(signal, name))


def around(owner, name, before=None, after=None):
    plain = getattr(owner, name)

    @wraps(plain)
    def wrapped(*args, **keywords):
        for point in before(*args, **keywords) if callable(before) else filter(None, [before]):
            passing(point)
        result = plain(*args, **keywords)
        for point in after(*args, **keywords) if callable(after) else filter(None, [after]):
            passing(point)
        return result

    setattr(owner, name, wrapped)


def around_run(engine, passes, *, start_ns=None, hooks=False, **keywords):
    return [] if hooks else ["calibrate" if start_ns is None else "window"]


start = Engine.start.__func__


def starting(cls, *args, **keywords):
    passing("load")
    engine = start(cls, *args, **keywords)
    ENGINES.append(engine.pid)
    passing("loaded")
    return engine


def cut_short(path, line, append=files.append_line):
    """The process dies while the line is written: half of it is on disk."""
    if '"event": "round"' in line and told("torn"):
        with open(path, "a") as file:
            file.write(line[: len(line) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    append(path, line)


Engine.start = classmethod(starting)
samples.append_line = cut_short
around(Channel, "receive", before="asked")
around(Engine, "prepare", before="prepare", after="prepared")
around(Engine, "run", before=around_run)
around(Engine, "stop", before="stop", after="stopped")
around(EngineProcess, "wait", before="stopping")
around(Recorder, "begin", before="begin", after="begun")
around(samples.Samples, "begin", after="half-begun")
around(samples.Samples, "round", before=lambda *words: [words[3]], after=lambda *words: [f"{words[3]}-written"])
around(samples.Samples, "measurement", before="measured", after="written")
around(Run, "write_raw", after="raw")
around(Run, "write_report", before="report", after="reported")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    passing("collection")
    for item in items:
        item.add_marker(pytest.mark.lem(warmup_rounds=1, warmup_seconds=0))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    passing("setup")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        passing("call")
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown():
    passing("teardown")
    result = yield
    passing("torn-down")
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish():
    passing("finish")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure():
    passing("unconfigure")
'''
TESTS = """
import pytest

FAKE = {{"token_seconds": 0.0001}}

def test_before():
    pass

@pytest.mark.lem(backend="fake", precision={precisions}, batch={batches}, fake=FAKE, output_tokens=1, cycles={cycles})
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)

def test_between():
    pass

@pytest.mark.lem(backend="fake", precision={precisions}, batch=16, fake=FAKE, output_tokens=1, cycles={cycles})
def test_more(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""
WHOLE = ("rounds", "precise", "max-rounds")


@dataclass(frozen=True)
class Matrix:
    """What a campaign is to measure: two tests over these precisions, and plain tests before and between them."""

    precisions: tuple[str, ...] = ("bf16", "fp16")
    batches: tuple[int, ...] = (1, 8)
    cycles: int = 2
    rounds: int = 1
    order: str = "grouped"
    seed: int = 0

    def options(self) -> list[str]:
        return [f"--lem-order={self.order}", f"--lem-seed={self.seed}"]

    def experiments(self) -> list[str]:
        own = [f"test_decode[fake-{p}-b{b}" for p in self.precisions for b in self.batches]
        return own + [f"test_more[fake-{p}-b16" for p in self.precisions]

    def items(self) -> list[tuple[str, int]]:
        """The plan: each experiment's (id, cycle)."""
        return sorted((f"test_it.py::{name}]", cycle) for name in self.experiments() for cycle in range(self.cycles))

    def launches(self) -> int:
        return len(self.precisions) * self.cycles

    def passings(self, point: str) -> int:
        """How often, at least, one process that measures everything passes this point."""
        count = len(self.items())
        once = ("collection", "finish", "report", "reported", "unconfigure")
        known = dict.fromkeys(once, 1)
        known |= dict.fromkeys(("load", "loaded", "stop", "stopping", "stopped"), self.launches())
        known |= dict.fromkeys(("setup", "teardown", "torn-down", "call"), count + 2)
        known |= dict.fromkeys(("round", "round-written", "torn"), count * self.rounds)
        known |= {"window": count * (1 + self.rounds), "asked": 2 * self.launches() + count * (3 + self.rounds)}
        return known.get(point, count)


@dataclass(frozen=True)
class Fault:
    """A signal at the (nth + 1)th passing of a point: to the process that passes, or its `engine` or `controller`."""

    point: str
    nth: int = 0
    how: str = "SIGKILL"


class Lab:
    """A project of one matrix, in a folder of its own."""

    def __init__(self, folder: Path, matrix: Matrix) -> None:
        self.folder, self.matrix = folder, matrix
        folder.mkdir()
        (folder / "pytest.ini").write_text(INI.format(rounds=matrix.rounds))
        (folder / "conftest.py").write_text(CONFTEST)
        words = {"precisions": list(matrix.precisions), "batches": list(matrix.batches), "cycles": matrix.cycles}
        (folder / "test_it.py").write_text(TESTS.format(**words))
        self.token = uuid.uuid4().hex

    def run(self, *options: str, fault: Fault | None = None) -> int:
        """Run the campaign; its exit status as subprocess writes it (negative: the signal)."""
        if fault is not None:
            (self.folder / "fault.txt").write_text(f"{fault.point} {fault.nth} {fault.how}")
        # Plugins that take their time over nothing that is asked here.
        arguments = ["-p", "no:cacheprovider", "-p", "no:unraisableexception", *self.matrix.options(), *options]
        if any(option.startswith("-n") for option in options):
            return self._spawned(arguments)  # xdist's workers get the path that its module found when it was imported
        with warnings.catch_warnings():
            # Python 3.12 on: a worker of xdist, which may run this test, has a thread that waits for its controller.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:
            self._be_pytest(arguments)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _spawned(self, arguments: list[str]) -> int:
        with (self.folder / "output.txt").open("w") as sink:
            return subprocess.run(
                [sys.executable, "-m", "pytest", *arguments],
                cwd=self.folder,
                env=self._environment(),
                stdout=sink,
                stderr=sink,
                timeout=PATIENCE,
                check=False,
            ).returncode

    def _environment(self) -> dict[str, str]:
        """Marked, and without what a worker that runs this test says of itself."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
        return own | {"LEM_TEST_TOKEN": self.token}

    def _be_pytest(self, arguments: list[str]) -> None:
        code = 70
        try:
            signal.alarm(PATIENCE)  # one that hangs is a failure here, not of the whole job
            sink = os.open(self.folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            os.chdir(self.folder)
            environment = self._environment()
            os.environ.clear()
            os.environ.update(environment)
            code = int(pytest.main(arguments))
        except BaseException:  # noqa: BLE001 - as an interpreter would end, not as the parent's fork
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    @property
    def fired(self) -> bool:
        return not (self.folder / "fault.txt").exists()

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text()

    def begun(self) -> Path | None:
        """The run's folder, of which there is at most one; None before its record was written."""
        found = list(self.folder.glob(".lem/runs/*/run.json"))
        assert len(found) <= 1, found
        return found[0].parent if found else None

    def samples(self) -> dict[str, bytes]:
        run = self.begun()
        return {path.name: path.read_bytes() for path in run.glob("samples-*.jsonl")} if run else {}

    def whole(self) -> list[dict]:
        """Every measurement on disk that came to its own end."""
        found = []
        for text in self.samples().values():
            for row in text.decode().splitlines():
                try:
                    line = json.loads(row)
                except ValueError:
                    continue  # cut short while it was written
                found += [line["measurement"]] if line["event"] == "measurement" else []
        return [one for one in found if all(cycle["stopped"] in WHOLE for cycle in one["cycles"])]

    def report(self) -> dict:
        return json.loads((self.begun() / "report.json").read_text())

    def raw(self) -> Counter:
        """(launch, rounds) of each file of raw readings."""
        read = [json.loads(path.read_text()) for path in self.begun().glob("raw/*.json")]
        return Counter((one["launch"], one["measurement_id"], len(one["readings"])) for one in read)

    def starts(self) -> int:
        run = self.begun()
        return len(list(run.glob("logs/*.log"))) if run else 0

    def processes(self) -> list[psutil.Process]:
        """Engines and xdist's workers: all that the runs have started and that still executes."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("LEM_TEST_TOKEN") == self.token and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def wait_until_all_are_gone(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while left := self.processes():
            assert time.monotonic() < deadline, left
            time.sleep(0.02)


def key(measurement: dict) -> tuple[str, int]:
    """(experiment, cycle) of an item's measurement."""
    name, _, cycle = measurement["test"].rpartition("-c")
    return f"{name}]", int(cycle.removesuffix("]"))


def facts(cycle: dict) -> tuple[str, str]:
    """What must not change of a cycle that was measured: the launch, and its rounds to the last digit."""
    return cycle["launch"], json.dumps([cycle["warmup_rounds"], cycle["rounds"]])
