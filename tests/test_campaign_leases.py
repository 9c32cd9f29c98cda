"""A GPU is leased to one run of a host at a time, whoever starts it and however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_lem.campaign import leases as module
from pytest_lem.campaign.leases import Holder, Lease, Leases, lock_folder
from pytest_lem.model.errors import UsageError

A, B, C = "GPU-aaaa1111-0000", "GPU-bbbb2222-0000", "GPU-cccc3333-0000"
ME = Holder.here("pytest benchmarks/", "test_mine")

# Takes `count` of the GPUs, says which, and holds them until its input ends.
HOLDER = """
import sys
from pathlib import Path
from pytest_lem.campaign.leases import Holder, Leases
folder, count, *gpus = sys.argv[1:]
held = Leases(Path(folder))
lease = held.acquire(gpus, int(count), Holder.here("pytest other/ --lem-backend=vllm"), lambda text: None)
print(*lease.gpus, flush=True)
sys.stdin.read()
held.release()
print("released", flush=True)
"""
# Takes and gives back `count` of the GPUs many times; a file a GPU, made with O_EXCL, proves that nobody else has it.
RACER = """
import os, sys
from pathlib import Path
from pytest_lem.campaign.leases import Holder, Leases
folder, turns, count, *gpus = sys.argv[1:]
held = Leases(Path(folder), pause=lambda seconds: None)
for turn in range(int(turns)):
    lease = held.acquire(gpus, int(count), Holder.here("racer"), lambda text: None)
    assert len(set(lease.gpus)) == int(count)
    for gpu in lease.gpus:
        os.close(os.open(Path(folder, gpu + ".mine"), os.O_CREAT | os.O_EXCL))
    for gpu in lease.gpus:
        os.unlink(Path(folder, gpu + ".mine"))
    held.release()
"""


class Another:
    """Another process that holds GPUs."""

    def __init__(self, folder: Path, count: int, *gpus: str) -> None:
        command = [sys.executable, "-c", HOLDER, str(folder), str(count), *gpus]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.gpus = tuple(self.process.stdout.readline().split())

    def release(self) -> None:
        self.process.communicate()
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "locks"


@pytest.fixture
def another(folder):
    """Starts other processes that hold GPUs; none outlives the test."""
    started = []

    def start(count: int, *gpus: str) -> Another:
        started.append(Another(folder, count, *gpus))
        return started[-1]

    yield start
    for other in started:
        other.kill()


class Waits:
    """What was told while waiting; at the n-th telling the n-th of `then` happens."""

    def __init__(self, *then) -> None:
        self.told: list[str] = []
        self.then = list(then)

    def __call__(self, text: str) -> None:
        self.told.append(text)
        assert len(self.told) < 1000, "it waits for ever"
        if self.then:
            self.then.pop(0)()


def never(text: str) -> None:
    raise AssertionError(f"nothing to wait for, but: {text}")


def test_the_first_free_gpus_are_taken_in_the_callers_own_order(folder, another):
    another(1, B)
    mine = Leases(folder)
    assert mine.acquire([C, B, A], 2, ME, never) == Lease((C, A), inherited=False)


def test_a_run_that_waits_is_told_for_whom_and_goes_on_when_it_is_released(folder, another):
    other = another(1, A)
    waits = Waits(other.release)
    mine = Leases(folder, pause=lambda seconds: None)
    assert mine.acquire([A], 1, ME, waits) == Lease((A,), inherited=True)
    user = module.getpass.getuser()
    assert re.fullmatch(
        rf"waiting for GPU-aaaa1111…: held by PID {other.process.pid} \({user}\), "
        r"`pytest other/ --lem-backend=vllm`, since \d\d:\d\d",
        waits.told[0],
    )


def test_the_test_that_runs_now_is_told_to_those_who_wait(folder, another):
    mine = Leases(folder)
    mine.acquire([A], 1, ME, never)
    mine.note("test_decode[fake-bf16-b8-c0]")
    waits = Waits(mine.release)
    Leases(folder, pause=lambda seconds: None).acquire([A], 1, ME, waits)
    assert waits.told[0].endswith(", now at test_decode[fake-bf16-b8-c0]")


def test_a_holder_killed_by_sigkill_holds_nothing_any_more_and_its_word_is_replaced(folder, another):
    other = another(1, A)
    os.kill(other.process.pid, signal.SIGKILL)
    other.process.wait()
    mine = Leases(folder)
    assert mine.holder(A).pid == other.process.pid
    # Nobody waited, but its engine may still be dying: the lease says so.
    assert mine.acquire([A], 1, ME, never) == Lease((A,), inherited=True)
    assert mine.holder(A) == ME


def test_a_gpu_that_was_released_is_as_good_as_new(folder):
    first = Leases(folder)
    first.acquire([A], 1, ME, never)
    first.release()
    first.release()
    assert Leases(folder).acquire([A], 1, ME, never) == Lease((A,), inherited=False)


@pytest.mark.parametrize("word", ["", "{", "[]", '{"pid": 1}', None])
def test_a_holder_that_wrote_no_readable_word_is_waited_for_all_the_same(folder, another, word):
    other = another(1, A)
    place = folder / f"{A}.json"
    place.unlink() if word is None else place.write_text(word)
    waits = Waits(other.release)
    Leases(folder, pause=lambda seconds: None).acquire([A], 1, ME, waits)
    assert waits.told[0] == "waiting for GPU-aaaa1111…: held by a process that does not say who it is"


def test_the_word_of_a_dead_process_is_not_told(folder, another):
    """A lock that is held while its word is a dead process's: another one took it over and could not write."""
    other = another(1, A)
    place = folder / f"{A}.json"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    place.write_text(json.dumps({**json.loads(place.read_text()), "pid": gone.pid}))
    waits = Waits(other.release)
    Leases(folder, pause=lambda seconds: None).acquire([A], 1, ME, waits)
    assert "does not say who it is" in waits.told[0]


def test_a_process_that_got_a_dead_holders_pid_is_not_taken_for_it():
    assert Holder.here("pytest").alive
    assert not Holder(os.getpid(), "anna", since=time.time() - 10 * 365 * 86400, command="pytest").alive


def test_who_waits_for_two_holds_none_meanwhile(folder, another):
    other = another(1, B)

    def somebody_takes_a():
        small = Leases(folder)
        small.acquire([A], 1, ME, never)
        small.release()

    waits = Waits(somebody_takes_a, other.release)
    assert Leases(folder, pause=lambda seconds: None).acquire([A, B], 2, ME, waits).gpus == (A, B)
    assert len(waits.told) == 2
    assert "GPU-aaaa" not in waits.told[0]


def test_more_gpus_than_there_are_candidates_are_refused_at_once(folder):
    with pytest.raises(UsageError, match="3 GPUs cannot be leased out of 2"):
        Leases(folder).acquire([A, B], 3, ME, never)


def test_ctrl_c_while_waiting_leaves_nothing_held(folder, another):
    another(1, B)

    def ctrl_c():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Leases(folder).acquire([A, B], 2, ME, Waits(ctrl_c))
    assert Leases(folder).acquire([A], 1, ME, never).gpus == (A,)


def test_folder_and_files_are_for_every_user_whatever_the_umask(folder):
    before = os.umask(0o077)
    try:
        Leases(folder).acquire([A], 1, ME, never)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    assert modes == {f"{A}.lock": 0o666, f"{A}.json": 0o666, "attempt.lock": 0o666}


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(
        UsageError, match=rf"^LEM_LOCKS={file}/x: GPUs cannot be leased there \(Not a directory\); name"
    ):
        Leases(file / "x").acquire([A], 1, ME, never)


def test_the_folder_is_the_users_own_or_one_that_all_users_of_the_host_share(tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    assert lock_folder({"LEM_LOCKS": "/srv/locks"}) == Path("/srv/locks")
    assert lock_folder({}) == lock_folder({"LEM_LOCKS": ""}) == tmp_path / "pytest-lem-locks"


def test_processes_that_race_for_two_of_three_gpus_never_share_one_and_never_stand_still(folder):
    orders = [(A, B, C), (C, B, A), (B, C, A)]
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, str(folder), "30", "2", *order], stderr=subprocess.PIPE)
        for order in orders
    ]
    for racer in racers:
        _, said = racer.communicate(timeout=120)
        assert (racer.returncode, said) == (0, b"")


@settings(max_examples=60)
@given(data=st.data())
def test_whatever_runs_take_and_release_no_gpu_has_two_holders_and_a_lease_is_whole(tmp_path_factory, data):
    """Runs that take and release in any order; one that would have to wait gives up instead."""
    folder = tmp_path_factory.mktemp("locks")
    gpus = [A, B, C]
    runs = [Leases(folder) for _ in range(3)]
    held: dict[int, tuple[str, ...]] = {}
    for run in data.draw(st.lists(st.integers(0, 2), max_size=12)):
        if run in held:
            runs[run].release()
            del held[run]
            continue
        order, count = data.draw(st.permutations(gpus)), data.draw(st.integers(1, 3))
        taken = {gpu for lease in held.values() for gpu in lease}
        free = [gpu for gpu in order if gpu not in taken]
        try:
            got = runs[run].acquire(order, count, ME, _give_up).gpus
        except _GaveUp:
            assert len(free) < count
        else:
            assert got == tuple(free[:count])
            held[run] = got
    for run in runs:
        run.release()


class _GaveUp(Exception):
    pass


def _give_up(text: str) -> None:
    raise _GaveUp
