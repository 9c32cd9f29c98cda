"""The gap between two engines: a fixed time, or until the GPUs are as cool as they were before the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, isfinite

from pytest_lem.meters.host_clock import HostClock
from pytest_lem.meters.meter import Clock
from pytest_lem.meters.nvml import NvmlDriver
from pytest_lem.model.cycle import Gap
from pytest_lem.model.errors import MeterError, UsageError

CAP_SECONDS = 300.0
WARMER_C = 5.0
MORE_POWER, MORE_POWER_W = 1.1, 5.0
_LOOK_NS = 1_000_000_000
_COOL = "cool"


@dataclass(frozen=True)
class GapRule:
    """What `--lem-gap` asks for: `seconds` is the gap's length, or the most that `cool` waits."""

    asked: str
    seconds: float
    cool: bool = False


def gap_rule(asked: str) -> GapRule:
    """`SECONDS`, `cool` or `cool:CAP`. Raises UsageError for anything else."""
    kind, colon, cap = asked.partition(":")
    cool = kind == _COOL
    number = cap if colon and cool else str(CAP_SECONDS) if cool else asked
    try:
        seconds = float(number)
    except ValueError:
        seconds = -1.0
    if not isfinite(seconds) or seconds < 0:
        raise UsageError(f"--lem-gap={asked}: expected seconds, cool or cool:CAP with the most seconds, as in cool:120")
    return GapRule(asked, seconds, cool)


@dataclass(frozen=True)
class Heat:
    """Temperature (°C) and power (W) of a GPU at an instant; None where the card does not tell."""

    temperature_c: float | None
    power_w: float | None


def heat(uuid: str) -> Heat:
    """The GPU's heat of now. Raises MeterError where there is no such GPU."""
    driver = NvmlDriver(uuid)
    return Heat(driver.state().temperature_c, _power(driver))


@dataclass
class Cooling:
    """Makes the gaps of one process, and knows how its GPUs were before its first engine."""

    rule: GapRule
    sense: Callable[[str], Heat] = heat
    clock: Clock = field(default_factory=HostClock)
    _before: dict[str, Heat] = field(default_factory=dict)

    def remember(self, gpus: Sequence[str]) -> None:
        """How these GPUs are now is how they shall be after a gap; what was remembered of one stays."""
        for uuid in gpus:
            if uuid not in self._before:
                self._before[uuid] = self.sense(uuid)

    def wait(self, show: Callable[[str], object]) -> Gap:
        """Make a gap, and tell each second what is waited for. Raises MeterError where a GPU is gone."""
        if self.rule.cool and not self._before:
            return Gap(asked=self.rule.asked, seconds=0.0, ended="no-gpu")
        begun = self.clock.now_ns()
        end = begun + round(self.rule.seconds * 1e9)
        ended = self._cool_down(end, show) if self.rule.cool else self._count_down(end, show)
        seconds = (self.clock.now_ns() - begun) / 1e9
        return self._gap(seconds, ended)

    def _count_down(self, end: int, show: Callable[[str], object]) -> str:
        while (now := self.clock.now_ns()) < end:
            show(f"gap {ceil((end - now) / 1e9)} s left")
            self.clock.sleep_until_ns(min(end, now + _LOOK_NS))
        return "elapsed"

    def _cool_down(self, end: int, show: Callable[[str], object]) -> str:
        while True:
            hot = [told for told in (_hot(self.sense(uuid), then) for uuid, then in self._before.items()) if told]
            now = self.clock.now_ns()
            if not hot or now >= end:
                return "cap" if hot else _COOL
            show(f"cooling: {'; '.join(hot)}")
            self.clock.sleep_until_ns(min(end, now + _LOOK_NS))

    def _gap(self, seconds: float, ended: str) -> Gap:
        now = {uuid: self.sense(uuid) for uuid in self._before}
        return Gap.model_validate(
            {
                "asked": self.rule.asked,
                "seconds": seconds,
                "ended": ended,
                "temperature_c": {u: heat.temperature_c for u, heat in now.items() if heat.temperature_c is not None},
                "power_w": {uuid: heat.power_w for uuid, heat in now.items() if heat.power_w is not None},
            }
        )


def _hot(now: Heat, before: Heat) -> str | None:
    """How far a GPU has to cool, or None for one that has. One that tells nothing cannot be called cool."""
    told = []
    warm = False
    if now.temperature_c is not None and before.temperature_c is not None:
        most = before.temperature_c + WARMER_C
        warm = now.temperature_c > most
        told.append(f"{now.temperature_c:.0f} °C → {most:.0f} °C")
    if now.power_w is not None and before.power_w is not None:
        most = MORE_POWER * before.power_w + MORE_POWER_W
        warm = warm or now.power_w > most
        told.append(f"{now.power_w:.0f} W → {most:.0f} W")
    if not told:
        return "a GPU that tells neither its temperature nor its power"
    return ", ".join(told) if warm else None


def _power(driver: NvmlDriver) -> float | None:
    for read in (driver.power_w, driver.average_power_w):
        try:
            return read()
        except MeterError:
            continue
    return None
