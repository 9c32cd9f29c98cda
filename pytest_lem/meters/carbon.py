"""CodeCarbon's models: CPU and memory joules as estimates, and grams of CO2 per joule. Never over a network.

Only its models and tables are used, not its tracker, which would look for its place in the world and in the cloud.
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

from pytest_lem.meters.host_clock import HostClock
from pytest_lem.meters.window import NS
from pytest_lem.model.errors import MeterError, UsageError
from pytest_lem.model.reading import DeviceKind, DeviceReading, MeterDevice, Source

JOULES_PER_KWH = 3.6e6
_CPU = MeterDevice(id="host-cpu", kind="cpu")
_RAM = MeterDevice(id="host-ram", kind="ram")


class CarbonMeter:
    """Estimates the whole host's CPU and memory joules by CodeCarbon's models; not measured, and never to be gated.

    CPU: 10 % of the CPU's TDP and 90 % times the load's cube (`cpu_load`), the load by psutil over the window and the
    wait around it. RAM: 5 W a slot, slots guessed from the size. `without` leaves out parts that another meter
    measures. Raises MeterError where CodeCarbon is absent or nothing is left.
    """

    name = "codecarbon"
    source: Source = "estimated"

    def __init__(self, without: Collection[DeviceKind] = ()) -> None:
        _require()
        self._cpu = _cpu_model() if "cpu" not in without else None
        self._ram = _ram_model() if "ram" not in without else None
        if self._cpu is None and self._ram is None:
            raise MeterError("another meter measures both CPU and memory")

    def devices(self) -> tuple[MeterDevice, ...]:
        """The host's CPU and memory, as far as no other meter measures them."""
        cpu = (_CPU.replace(name=self._cpu.get_model() or ""),) if self._cpu else ()
        return (*cpu, *((_RAM,) if self._ram else ()))

    def begin(self, phase: int) -> int:
        """Start to watch the CPU's load; work may start now."""
        del phase
        if self._cpu:
            self._cpu.start()
        return HostClock().now_ns()

    def end(self, start_ns: int, end_ns: int) -> tuple[DeviceReading, ...]:
        """Modelled power times the window's length, one reading a part."""
        seconds = (end_ns - start_ns) / NS
        readings = []
        if self._cpu:
            method = f"codecarbon cpu_load, {self._cpu.get_model()}, {self._cpu._tdp:g} W"
            readings.append(self._estimate(_CPU, method, self._cpu.total_power().W * seconds))
        if self._ram:
            readings.append(self._estimate(_RAM, "codecarbon ram slots", self._ram.total_power().W * seconds))
        return tuple(readings)

    def close(self) -> None:
        """Nothing is held."""

    def _estimate(self, device: MeterDevice, method: str, joules: float) -> DeviceReading:
        return DeviceReading(
            device=device.id, kind=device.kind, meter=self.name, method=method, source="estimated", joules=joules
        )


def grams_per_joule(place: str) -> float:
    """Grams of CO2 per joule of electricity: `place` is grams per kWh, or a country's three letters (ISO 3166).

    Countries are looked up in CodeCarbon's table (Our World in Data). Raises UsageError for what is neither, MeterError
    where CodeCarbon is absent.
    """
    grams = _number(place)
    if grams is None:
        grams = _country(place)
    if not (math.isfinite(grams) and grams >= 0):
        raise UsageError(f"--lem-carbon={place}: grams of CO2 per kWh must be a number of at least 0")
    return grams / JOULES_PER_KWH


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _country(place: str) -> float:
    _require(f"--lem-carbon={place}")
    from codecarbon.input import DataSource

    # The file and not the table that CodeCarbon loads: that one brings pandas and all the other tables along.
    table = json.loads(DataSource().global_energy_mix_data_path.read_text("utf-8"))
    mix = table.get(place.upper())
    if mix is None:
        near = get_close_matches(place.upper(), table, n=1, cutoff=0.0)[0]
        raise UsageError(
            f"--lem-carbon={place}: no country has this code; the nearest is {near} ({table[near]['country_name']}), "
            "or give grams of CO2 per kWh"
        )
    return float(mix["carbon_intensity"])


def _require(place: str = "codecarbon") -> None:
    """Make sure that CodeCarbon is there, and keep its advice off the terminal. Raises MeterError with the mend."""
    try:
        import codecarbon
    except ImportError:
        raise MeterError(f"{place}: CodeCarbon is not installed; pip install pytest-lem[carbon]") from None
    logging.getLogger(codecarbon.__app_name__).setLevel(logging.ERROR)


def _cpu_model() -> Any:
    from codecarbon.core.cpu import TDP
    from codecarbon.core.util import count_physical_cpus
    from codecarbon.external.hardware import CPU, MODE_CPU_LOAD

    tdp = TDP()
    watts = tdp.tdp * count_physical_cpus() if tdp.tdp else None
    return CPU.from_utils(tempfile.gettempdir(), MODE_CPU_LOAD, tdp.model, watts)


def _ram_model() -> Any:
    from codecarbon.external.ram import RAM

    return RAM(pid=os.getpid(), tracking_mode="machine")
