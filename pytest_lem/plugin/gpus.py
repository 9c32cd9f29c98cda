"""The GPUs of one pytest process: those it may use, those it leased, and who else is on them."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import psutil
import pytest

from pytest_lem.campaign.leases import Holder, Leases, lock_folder
from pytest_lem.meters import nvml
from pytest_lem.meters.guards import ProcessGuard, in_pid_namespace
from pytest_lem.meters.visible import restrict
from pytest_lem.plugin import gpu_memory, options


def visible(config: pytest.Config) -> tuple[str, ...]:
    """UUIDs of the GPUs that the run may use on this host, in the order of CUDA_VISIBLE_DEVICES.

    An xdist worker that has taken its lane sees no others any more, and remembers them. Raises UsageError for a
    `--lem-gpus` that names no visible GPU.
    """
    remembered = getattr(config, "workerinput", {}).get("lem_host_gpus")
    if remembered is not None:
        return tuple(remembered)
    found = nvml.visible_gpus(os.environ)
    asked = options.value(config, "gpus")
    return restrict(asked, found) if asked else found


def candidates(config: pytest.Config) -> tuple[str, ...]:
    """Those of them that this process may lease: all, but for an xdist worker with a lane, which owns the lane's."""
    given = getattr(config, "workerinput", {}).get("lem_gpus")
    return visible(config) if given is None else tuple(given)


def lease_count(config: pytest.Config, asked: Collection[int], found: Sequence[str]) -> int:
    """How many of the candidates `found` the run leases, all at once.

    What its largest engine needs: `asked` are the planned engines' counts. All of them where no engine of the plan can
    run on these, so that windows alone read every GPU, and where they are the lane of an xdist worker.
    """
    possible = [count for count in asked if count <= len(found)]
    if not possible or "lem_gpus" in getattr(config, "workerinput", {}):
        return len(found)
    return max(possible)


def command_line(config: pytest.Config) -> str:
    """How pytest was called, for others to recognise the run."""
    main = getattr(config, "workerinput", {}).get("mainargv")
    arguments = main[1:] if main else config.invocation_params.args
    return shlex.join(["pytest", *map(str, arguments)])


@dataclass
class Gpus:
    """Leased when first needed, kept until `release`.

    `show` puts a text on the progress line, `say` writes a line that stays, where there is no such line. `test` names
    the test that runs now.
    """

    candidates: tuple[str, ...]
    count: int
    command: str
    show: Callable[[str], object]
    say: Callable[[str], object] | None = None
    test: Callable[[], str] = str
    leased: tuple[str, ...] = ()
    leases: Leases = field(default_factory=lambda: Leases(lock_folder(os.environ)))
    _guards: dict[str, ProcessGuard] = field(default_factory=dict)
    _said: bool = False
    _told: set[tuple[str, int]] = field(default_factory=set)

    def lease(self) -> tuple[str, ...]:
        """The leased GPUs; waits for them where others have them. Raises UsageError where none can be leased."""
        if self.leased or not self.candidates:
            return self.leased
        holder = Holder.here(self.command, self.test())
        lease = self.leases.acquire(self.candidates, self.count, holder, self._tell)
        self.leased = lease.gpus
        if lease.inherited:
            gpu_memory.stable(self.leased, self.show)
        return self.leased

    def _tell(self, text: str) -> None:
        self.show(text)
        if self.say is not None and not self._said:
            self._said = True
            self.say(f"lem: {text}")

    def note_test(self) -> None:
        """Let those who wait for these GPUs know which test runs on them now."""
        self.leases.note(self.test())

    def warn_of_strangers(self, gpus: Sequence[str]) -> None:
        """Warn of each process on these GPUs that is not ours, once; called while no engine of ours runs."""
        for uuid in gpus:
            guard = self._guards.setdefault(uuid, ProcessGuard(in_pid_namespace()))
            strangers = guard.strangers(nvml.NvmlDriver(uuid).process_ids(), {os.getpid()})
            for pid in strangers:
                if (uuid, pid) not in self._told:
                    self._told.add((uuid, pid))
                    warnings.warn(pytest.PytestWarning(_stranger(uuid, pid)), stacklevel=2)

    def release(self) -> None:
        """Give the GPUs back to the host."""
        self.leases.release()
        self.leased = ()


def _stranger(uuid: str, pid: int) -> str:
    return f"another process is on {uuid}: PID {pid} ({_process_name(pid)}); rounds beside it will be invalid"


def _process_name(pid: int) -> str:
    try:
        return "a container hides its name" if in_pid_namespace() else psutil.Process(pid).name()
    except psutil.Error:
        return "its name is not told"
