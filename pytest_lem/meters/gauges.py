"""What one GPU can be asked while it works, and what it lacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeAlias

from pytest_lem.meters.meter import ActivityCounters, TelemetryDriver
from pytest_lem.model.errors import MeterError
from pytest_lem.model.telemetry import ACTIVITY

THROTTLED = "throttle_reasons"
AVERAGED = "power is a mean over 1 s: the card lacks field 186"
SHARED = "MIG is enabled: what is read is the whole GPU's, shared by its instances"
GPM = "gpm"
POWER = "power"
SLOWER = {"memory_clock": 5.0, "temperature": 5.0, "utilization": 5.0, GPM: 5.0}
"""What is not worth asking more often: utilisation is a mean over 1/6 to 1 s (nvml.h), GPM's are means over the time
between two readings, and neither the chip's heat nor its memory's clock changes faster."""
SLOWEST = {GPM: 2.0}
"""A window of a second needs two readings for one mean."""
LATE_S = {POWER: 0.2, "utilization": 0.2, GPM: 0.2}
"""How far a value reaches back before it is read, or a mean before the reading that it is the mean since: what is read
sooner after the start of a window tells of the time before it, too. Field 186 is up to 100 ms old and the mean of 100
ms. GPM's counters were more than 41 ms old on an H200, and at most 0.2 s: the first mean of each of 19 windows held all
of the idle time before it. Utilisation was a mean over less than 0.2 s there (nvml.h: 1/6 to 1 s, by board)."""
_AVERAGED_S = 1.1
_TRIES = 5
_REMEMBERED = 8
_GPM_APART_S = 0.1

Values: TypeAlias = Mapping[str, float | tuple[str, ...]]


@dataclass
class Source:
    """One call to the driver: the keys that it gives, and `costs`, the CPU seconds of its last timed calls."""

    keys: tuple[str, ...]
    ask: Callable[[], Values | None]
    costs: list[float] = field(default_factory=list)

    @property
    def cost_s(self) -> float:
        """CPU seconds of one call."""
        return fmean(self.costs) if self.costs else 0.0

    def read(self) -> Values | None:
        """What the driver tells. Raises MeterError, whatever the driver raised."""
        try:
            return self.ask()
        except MeterError:
            raise
        except Exception as error:  # one that ends the thread would end all sampling without a word
            raise MeterError(f"{type(error).__name__}: {error}") from error

    def timed(self, cpu: Callable[[], float]) -> Values | None:
        """Read it, and keep what that took, but for GPM's first, a tenth of the others. Raises MeterError."""
        began = cpu()
        found = self.read()
        if found is not None:
            self.costs.append(cpu() - began)
            del self.costs[:-_REMEMBERED]
        return found


class Gauges:
    """The sources of one GPU that answer, by name, and `lacking`: key → why the card does not tell it.

    `late_s`: key → how far back its values reach (`LATE_S`).
    What it lacks is found out once, when this is made: nothing is asked again in vain.
    """

    def __init__(self, driver: TelemetryDriver, *, cpu: Callable[[], float] = time.thread_time) -> None:
        self.uuid = driver.uuid
        self.sources: dict[str, Source] = {}
        self.lacking: dict[str, str] = {}
        self.late_s: dict[str, float] = {}
        self.notes: tuple[str, ...] = (SHARED,) if driver.mig else ()
        self._cpu = cpu
        self._counters: ActivityCounters | None = None
        self._open_power(driver)
        self._open("sm_clock", ("sm_clock_mhz",), lambda: {"sm_clock_mhz": driver.clock_mhz("sm")})
        self._open("memory_clock", ("memory_clock_mhz",), lambda: {"memory_clock_mhz": driver.clock_mhz("memory")})
        self._open("temperature", ("temperature_c",), lambda: {"temperature_c": driver.temperature_c()})
        both = ("gpu_utilization", "memory_utilization")
        self._open("utilization", both, lambda: dict(zip(both, driver.utilization(), strict=True)))
        self._open("memory", ("memory_used_bytes",), lambda: {"memory_used_bytes": driver.memory_used()})
        self._open("throttle", (THROTTLED,), lambda: {THROTTLED: driver.throttle_reasons()})
        self._open_gpm(driver)

    def restart(self) -> None:
        """Begin a window: readings over time begin with it."""
        if self._counters is not None:
            self._counters.restart()

    def fault(self, key: str) -> str | None:
        """Why the performance counters gave no value for `key`, where they said so."""
        return self._counters.faults.get(key) if self._counters is not None else None

    def close(self) -> None:
        """Give back what the driver allocated."""
        if self._counters is not None:
            self._counters.close()
            self._counters = None

    def _open_power(self, driver: TelemetryDriver) -> None:
        self._open(POWER, ("power_w",), lambda: {"power_w": driver.power_w()})
        if POWER not in self.sources:
            self._open(POWER, ("power_w",), lambda: {"power_w": driver.average_power_w()})
            if POWER in self.sources:
                del self.lacking["power_w"]
                self.late_s["power_w"] = _AVERAGED_S
                self.notes += (AVERAGED,)

    def _open_gpm(self, driver: TelemetryDriver) -> None:
        try:
            self._counters = driver.gpm()
        except MeterError as error:
            self.lacking |= dict.fromkeys(ACTIVITY, str(error))
            return
        self._open(GPM, ACTIVITY, self._counters.read, apart_s=_GPM_APART_S, tries=2)
        if GPM not in self.sources:
            self.close()

    def _open(
        self,
        name: str,
        keys: tuple[str, ...],
        read: Callable[[], Values | None],
        *,
        apart_s: float = 0.0,
        tries: int = _TRIES,
    ) -> None:
        """Ask a few times: whether the card tells it, and what that costs."""
        self.sources[name] = source = Source(keys, read)
        self.late_s |= dict.fromkeys(keys, LATE_S.get(name, 0.0))
        try:
            for attempt in range(tries):
                if attempt:
                    time.sleep(apart_s)
                source.timed(self._cpu)
        except MeterError as error:
            del self.sources[name]
            self.lacking |= dict.fromkeys(keys, str(error))
            return
        if len(source.costs) > 1:
            del source.costs[0]  # the first call of a function also looks it up
