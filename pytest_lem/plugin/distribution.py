"""Lanes under xdist: the controller numbers the workers of each host, a worker takes the GPUs of its number.

What a worker's `workerinput` holds: `lem_slot`, its number among the `lem_workers` of its host (from the controller);
`lem_lane`, `lem_lanes` and `lem_gpus` once the worker has taken its lane: which of how many of this host, and the UUIDs
it owns; `lem_host_gpus`, those that it saw before. A worker too many has no `lem_lane` and no `lem_gpus`. GPUs are
counted where they are, and only when something measures: a plain run starts no NVML. `lem_engines` is a channel on
which a worker tells, once it has collected, which engine each of its items needs: ids alone cannot say it.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from pytest_lem.plugin import options
from pytest_lem.plugin.collection import engine_key, is_lem
from pytest_lem.plugin.ordering import engines
from pytest_lem.plugin.stopping import ControllerStopping

if TYPE_CHECKING:
    from pytest_lem.campaign.lanes import LaneOptions
    from pytest_lem.plugin.scheduler import ChosenScheduling

MODES = ("load", "loadscope", "loadfile", "loadgroup", "worksteal")
HERE = ""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
TOO_LATE = (
    "lem: torch has opened CUDA in a worker before it knew its lane, and goes on seeing the GPUs of all; "
    "open it in a fixture or in a test, not where a conftest or a test module is imported"
)
ASK_SECONDS = 60
ASK = """
import os
from pytest_lem.meters.nvml import visible_gpus

channel.send(visible_gpus(os.environ))
"""


def auto_workers(config: pytest.Config) -> int | None:
    """What `-n auto` comes to: this host's lanes where an option, an ini value or `lem.yaml` asks, else None: xdist's.

    Nobody works where tests are only collected: no worker is wanted, and no GPU looked for.
    """
    if not options.asked(config) or os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    if config.option.collectonly or config.option.lem_explain:
        return 0
    from pytest_lem.campaign.lanes import lane_count
    from pytest_lem.model.errors import LemError
    from pytest_lem.plugin.gpus import visible

    try:
        return lane_count(visible(config), lane_options(config))
    except LemError as error:
        raise pytest.UsageError(str(error)) from None


def lane_options(config: pytest.Config) -> LaneOptions:
    """What the command line and the ini say of lanes. Raises UsageError for a number that cannot be."""
    from pytest_lem.campaign.lanes import LaneOptions

    gpus = options.value(config, "gpus_per_worker")
    return LaneOptions(1 if gpus is None else gpus, options.value(config, "lanes"))


def lanes(config: pytest.Config, *, engine: bool = True) -> int:
    """How many tests may measure on this host at one time: with an engine one a lane, without one a worker."""
    found = getattr(config, "workerinput", {})
    workers = found.get("lem_workers", found.get("workercount", 1))
    return int(found.get("lem_lanes", workers) if engine else workers)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse lanes that cannot be; register the side of this process."""
    if options.value(config, "gpus_per_worker") is not None or options.value(config, "lanes") is not None:
        from pytest_lem.model.errors import UsageError

        try:
            lane_options(config)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None
    side = WorkerLane(config) if hasattr(config, "workerinput") else Distribution(config)
    config.pluginmanager.register(side, "lem-lanes")
    if isinstance(side, Distribution):
        config.pluginmanager.register(ControllerStopping(side.engines_of), "lem-stopping")


class Distribution:
    """The controller's side: who has which number on which host, and which scheduler decides."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._places: dict[str, tuple[str, int]] = {}
        self._taken: set[tuple[str, int]] = set()
        self._capacity: dict[str, int] = {}
        self._remote_gpus: dict[str, tuple[str, ...] | None] = {}
        self._engines: dict[str, list[int | None]] = {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Hear what a worker will collect, and give it the lowest free number of its host.

        A replacement finds the one that its crash freed.
        """
        node.workerinput["lem_engines"] = channel = node.gateway.newchannel()
        channel.setcallback(partial(self._engines.__setitem__, node.gateway.id))
        if self._config.getvalue("dist") not in MODES:
            return
        host = self._host(node.gateway.spec)
        place = next((host, slot) for slot in count() if (host, slot) not in self._taken)
        self._taken.add(place)
        self._places[node.gateway.id] = place
        node.workerinput["lem_slot"] = place[1]
        node.workerinput["lem_workers"] = sum(self._host(spec) == host for spec in node.nodemanager.specs)
        if host != HERE and host not in self._remote_gpus:
            self._remote_gpus[host] = ask(node.gateway)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """Free the number of a worker that crashed; one that has finished keeps it, nobody comes after it."""
        if error:
            self._taken.discard(self._places.get(node.gateway.id, (HERE, -1)))

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> ChosenScheduling | None:
        """Wrap the scheduler that everybody else would have made, until it is known whether anything measures."""
        if config.getvalue("dist") not in MODES:
            return None
        from pytest_lem.plugin.scheduler import ChosenScheduling

        others = config.pluginmanager.subset_hook_caller("pytest_xdist_make_scheduler", [self])
        return ChosenScheduling(config, others(config=config, log=log), self.lane_of, self.engines_of)

    def engines_of(self, node: Any) -> list[int | None]:
        """The engine of each item that a worker has collected, as a number; nothing where none of them is ours."""
        return self._engines.get(node.gateway.id, [])

    def lane_of(self, node: Any) -> tuple[str, int] | None:
        """The lane of a worker as (host, number), None for a worker too many. Raises UsageError and MeterError."""
        host, slot = self._places[node.gateway.id]
        if host not in self._capacity:
            self._capacity[host] = self._count(host)
        return (host, slot) if slot < self._capacity[host] else None

    def _count(self, host: str) -> int:
        from pytest_lem.campaign.lanes import lane_count
        from pytest_lem.meters.visible import restrict
        from pytest_lem.plugin.gpus import visible

        if host == HERE:
            return lane_count(visible(self._config), lane_options(self._config))
        found, asked = self._remote_gpus[host], options.value(self._config, "gpus")
        if found is None:
            return 0
        return lane_count(restrict(asked, found) if asked else found, lane_options(self._config))

    def _host(self, spec: Any) -> str:
        """Where the spec's process runs; a proxy's place is the place of all behind it."""
        if spec.via or spec.installvia:
            proxies = {proxy.id: proxy for proxy in map(type(spec), self._config.getoption("px"))}
            return self._host(proxies[spec.via or spec.installvia])
        host = host_of(str(spec.ssh or spec.vagrant_ssh or spec.socket or HERE), port=bool(spec.socket))
        return HERE if host in LOOPBACK else host


class WorkerLane:
    """A worker's side: takes its lane as soon as it is known that something measures."""

    def __init__(self, config: pytest.Config) -> None:
        self._input: dict[str, Any] = config.workerinput  # type: ignore[attr-defined]  # xdist sets it
        self._config = config
        self._reason = ""
        # Taken away: others may write down what a worker was given.
        self._engines: Any = self._input.pop("lem_engines", None)

    def pytest_configure(self) -> None:
        """Where a setting of ours is there: before tests and fixtures look for GPUs. A conftest may have."""
        if options.asked(self._config):
            self._take()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Where only the tests tell; a run without any keeps the GPUs it has. Before xdist tells that all are found."""
        if any(map(is_lem, session.items)):
            self._take()
            if self._engines is not None:
                self._engines.send(engines(session.items))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Lanes for which there is nothing share no host with those that measure."""
        if "lem_lanes" not in self._input:
            return
        from pytest_lem.plugin.units import units

        found = units([item.nodeid for item in session.items], engines(session.items))
        self._input["lem_lanes"] = min(self._input["lem_lanes"], max(1, len(set(found.values()))))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Refuse an engine on a worker without a lane: another worker's GPUs are all it could use."""
        if engine_key(item) and "lem_slot" in self._input and "lem_lane" not in self._input:
            pytest.fail(self._reason, pytrace=False)

    def _take(self) -> None:
        """Own the GPUs of this worker's number, and see no others; only once, since then they are all it sees."""
        if "lem_slot" not in self._input or "lem_lanes" in self._input or self._reason:
            return
        from pytest_lem.campaign.lanes import lane_count, lane_gpus
        from pytest_lem.model.errors import LemError
        from pytest_lem.plugin.gpus import visible

        slot, workers = self._input["lem_slot"], self._input["lem_workers"]
        try:
            here = visible(self._config)
            gpus = lane_gpus(slot, here, lane_options(self._config))
            found = lane_count(here, lane_options(self._config))
        except LemError as error:
            self._reason = str(error)
            return
        self._input["lem_host_gpus"], self._input["lem_lanes"] = list(here), min(found, workers)
        if gpus is None:
            told = f"{found} lane(s) and {len(here)} visible GPU(s)"
            self._reason = f"worker number {slot + 1} of its host, which has {told}: start fewer workers there"
            return
        self._input["lem_lane"], self._input["lem_gpus"] = slot, list(gpus)
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
            if len(gpus) < len(here) and cuda_is_open():
                self._config.issue_config_time_warning(pytest.PytestWarning(TOO_LATE), stacklevel=2)


def cuda_is_open() -> bool:
    """Whether torch, in this process, has asked CUDA for its GPUs: once, and for good."""
    opened = getattr(getattr(sys.modules.get("torch"), "cuda", None), "is_initialized", None)
    return opened is not None and bool(opened())


def host_of(address: str, *, port: bool) -> str:
    """The host in `-p 2222 user@host`, as ssh is given it, or in `[::1]:8888`, where a `port` stands behind it."""
    last = address.rpartition(" ")[2].rpartition("@")[2]
    return (last.rpartition(":")[0] if port else last).strip("[]")


def ask(gateway: Any) -> tuple[str, ...] | None:
    """The GPUs that a worker on another host sees, before it becomes one; None where pytest-lem is not installed."""
    channel = gateway.remote_exec(ASK)
    try:
        found = tuple(channel.receive(ASK_SECONDS))
        channel.waitclose(ASK_SECONDS)
    except (channel.RemoteError, channel.TimeoutError, EOFError):
        return None
    return found
