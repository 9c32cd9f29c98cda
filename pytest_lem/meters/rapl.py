"""CPU and memory joules from RAPL, as the kernel's powercap tree shows it (Intel, and AMD without DRAM)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from pathlib import Path

from pytest_lem.meters.host_clock import HostClock
from pytest_lem.meters.meter import Clock
from pytest_lem.meters.trail import Mark, Trail
from pytest_lem.meters.window import MIN_WINDOW_S, NS, head_tail, wrapped_difference
from pytest_lem.model.errors import MeterError
from pytest_lem.model.reading import DeviceKind, DeviceReading, Edge, MeterDevice, Source

ROOT = Path("/sys/class/powercap")
TICK_S = 1e-3
"""RAPL counters advance about every millisecond (Intel SDM vol. 3B, 15.10: 976 µs)."""
_IDLE_NS = 50_000_000
_PACE_NS = 20_000_000
"""How far looks under load are apart: a look takes some 20 µs, and the power between two of them is a line's."""
_MEND = (
    "allow it with `sudo chmod -R a+r /sys/class/powercap/*`, or for good with the udev rule "
    'SUBSYSTEM=="powercap", RUN+="/bin/chmod -R a+r /sys/class/powercap"'
)
_KINDS: dict[str, DeviceKind] = {"package": "cpu", "dram": "ram", "psys": "psys"}


@dataclass(frozen=True)
class Domain:
    """One RAPL counter: its folder, its kind, the domain's name (`package-0`, `dram-0`) and where it wraps (µJ)."""

    folder: Path
    kind: DeviceKind
    id: str
    wrap: int

    def microjoules(self) -> int:
        """The counter. Raises MeterError with the mend where it cannot be read."""
        return int(_text(self.folder / "energy_uj"))


@dataclass(frozen=True)
class _Look:
    """All counters at one time (µJ, in the domains' order), known to ± half of `length_ns`."""

    time_ns: int
    length_ns: int
    microjoules: tuple[int, ...]


class RaplMeter:
    """Measures the packages, their DRAM and the platform (psys) of this host, each on its own.

    The host is never idle, but the work's process is: 50 ms on both sides of a window tell the power there. Raises
    MeterError where there is no RAPL or it cannot be read. `root` is the powercap folder.
    """

    name = "rapl"
    source: Source = "measured"

    def __init__(self, root: Path = ROOT, *, clock: Clock | None = None) -> None:
        self._clock = clock or HostClock()
        self._domains = find_domains(root)
        for domain in self._domains:
            domain.microjoules()
        self._head: tuple[_Look, _Look] | None = None
        self._looks: list[_Look] = []
        self._broken = "RAPL: the window was never begun"

    def devices(self) -> tuple[MeterDevice, ...]:
        """The domains: `package-N` (cpu), `dram-N` (ram), `psys`."""
        return tuple(MeterDevice(id=domain.id, kind=domain.kind, name="RAPL") for domain in self._domains)

    def begin(self, phase: int) -> int:
        """Read the power of 50 ms without work; the start is now. RAPL ticks too fast for `phase` to matter."""
        del phase
        self._head = None
        try:
            self._head = (self._look(), self._later())
        except MeterError as error:
            self._broken = str(error)
        return self._clock.now_ns()

    def watch(self, stopped: Callable[[], bool]) -> None:
        """Read the counters every 20 ms until `stopped()`."""
        self._looks = []
        try:
            while not stopped():
                self._looks.append(self._look())
                self._clock.sleep_until_ns(self._clock.now_ns() + _PACE_NS)
        except MeterError as error:
            self._looks, self._broken = [], str(error)

    def trails(self) -> tuple[Trail, ...]:
        """The looks of the last `watch`, one trail a domain."""
        return tuple(self._trail(i, domain) for i, domain in enumerate(self._domains))

    def end(self, start_ns: int, end_ns: int) -> tuple[DeviceReading, ...]:
        """Read the counters after the work and 50 ms later; one reading a domain."""
        try:
            if self._head is None:
                raise MeterError(self._broken)
            tail = (self._look(), self._later())
        except MeterError as error:
            return tuple(self._unread(domain, str(error)) for domain in self._domains)
        return tuple(self._reading(i, self._head, tail, start_ns, end_ns) for i in range(len(self._domains)))

    def close(self) -> None:
        """Nothing is held."""

    def _look(self) -> _Look:
        began = self._clock.now_ns()
        values = tuple(domain.microjoules() for domain in self._domains)
        ended = self._clock.now_ns()
        return _Look((began + ended) // 2, ended - began, values)

    def _later(self) -> _Look:
        self._clock.sleep_until_ns(self._clock.now_ns() + _IDLE_NS)
        return self._look()

    def _reading(
        self, i: int, head: tuple[_Look, _Look], tail: tuple[_Look, _Look], start_ns: int, end_ns: int
    ) -> DeviceReading:
        domain = self._domains[i]
        head_edge = self._edge(head[1], 0.0, _watts(domain, i, *head))
        work = wrapped_difference(tail[0].microjoules[i], head[1].microjoules[i], domain.wrap) / 1e6
        tail_edge = self._edge(tail[0], work, _watts(domain, i, *tail))
        reading = self._unread(domain, "").replace(head=head_edge, tail=tail_edge, tick_s=TICK_S, reason=None)
        if end_ns - start_ns < MIN_WINDOW_S * NS:
            return reading.replace(reason="the window is shorter than 1 s: its edges outweigh it")
        energy = head_tail(head_edge, tail_edge, start_ns, end_ns, tick_s=TICK_S)
        still = ("the energy counter stands still",) if work <= 0 else ()
        return reading.replace(joules=energy.joules, std=energy.std, source="measured", faults=still)

    def _trail(self, i: int, domain: Domain) -> Trail:
        marks: list[Mark] = []
        joules, before = 0.0, self._looks[:1]
        for earlier, look in zip([*before, *self._looks], self._looks, strict=False):
            joules += wrapped_difference(look.microjoules[i], earlier.microjoules[i], domain.wrap) / 1e6
            marks.append(Mark(look.time_ns, joules, _unsure_ns(look)))
        reason = None if self._looks else self._broken
        return Trail(domain.id, domain.kind, self.name, "rapl", marks=tuple(marks), reason=reason)

    def _edge(self, look: _Look, joules: float, watts: float) -> Edge:
        return Edge(
            time_ns=look.time_ns,
            joules=joules,
            power_w=watts,
            time_std_ns=_unsure_ns(look),
            power_std_w=0.1 * watts,
        )

    def _unread(self, domain: Domain, reason: str) -> DeviceReading:
        return DeviceReading(
            device=domain.id, kind=domain.kind, meter=self.name, method="rapl", source=None, joules=None, reason=reason
        )


def find_domains(root: Path = ROOT) -> tuple[Domain, ...]:
    """The packages, DRAM and psys below a powercap folder; cores and uncore lie inside a package and are left out.

    Raises MeterError where there is none, or their names cannot be read.
    """
    zones = [folder for folder in _folders(root) if (folder / "energy_uj").exists()]
    domains = [domain for domain in map(_domain, _once(zones)) if domain is not None]
    if not any(domain.kind == "cpu" for domain in domains):
        raise MeterError(f"RAPL: no CPU package under {root}; virtual machines and ARM have none")
    return tuple(domains)


def _folders(root: Path) -> list[Path]:
    """Zones such as intel-rapl:0, and those inside them, whether the tree is flat or nested."""
    return sorted([*root.glob("*-rapl:*"), *root.glob("*-rapl:*/*-rapl:*")]) if root.is_dir() else []


def _once(zones: Sequence[Path]) -> list[Path]:
    """Each zone once, though it appears both at the top and inside its package."""
    return list({zone.name: zone for zone in zones}.values())


def _domain(folder: Path) -> Domain | None:
    name = _text(folder / "name")
    kind = _KINDS.get(name.partition("-")[0])
    if kind is None:
        return None
    package = folder.name.split(":")[1]
    label = f"dram-{package}" if kind == "ram" else name
    return Domain(folder, kind, label, int(_text(folder / "max_energy_range_uj")))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except PermissionError:
        raise MeterError(f"RAPL: {path} cannot be read by user {os.getuid()}; {_MEND}") from None
    except OSError as error:
        raise MeterError(f"RAPL: {path}: {error.strerror}") from None


def _unsure_ns(look: _Look) -> float:
    """Standard uncertainty (ns) of when the counters showed what they did: anywhere in the look, a tick before."""
    return hypot(look.length_ns, TICK_S * NS) / sqrt(12)


def _watts(domain: Domain, i: int, first: _Look, second: _Look) -> float:
    """Mean power between two looks (W)."""
    counted = wrapped_difference(second.microjoules[i], first.microjoules[i], domain.wrap)
    return counted / 1e6 / ((second.time_ns - first.time_ns) / NS)
