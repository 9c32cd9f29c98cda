"""A third-party meter whose joules are known: a constant power on the CPU, measured to the nanosecond.

`install` makes it an installed distribution that registers the meter `fake`; the environment variable FAKE_METER makes
it misbehave: `absent` (works nowhere), `unreadable` (no joules, with a reason), `fault` (every window is invalid),
`idle-only` (cannot read while the engine works). FAKE_METER_LEDGER names a file with joules that the engine takes
beside them, a line `[begin, end, joules]` each, in seconds of the monotonic clock.
"""

from __future__ import annotations

import json
import os
import time
from itertools import starmap
from pathlib import Path

from pytest_lem.meters.trail import Mark, Trail
from pytest_lem.model.errors import MeterError
from pytest_lem.model.reading import DeviceReading, MeterDevice

WATTS = 100.0


def taken(instant_ns):
    """All joules by an instant. What the engine takes is known when it has worked."""
    at, ledger = instant_ns / 1e9, os.environ.get("FAKE_METER_LEDGER", "")
    lines = Path(ledger).read_text().splitlines() if ledger and Path(ledger).exists() else []

    def by_then(begin, end, joules):
        return joules * (min(max(at, begin), end) - begin) / (end - begin) if end > begin else joules * (at >= end)

    return WATTS * at + sum(starmap(by_then, map(json.loads, lines)))


class FakeMeter:
    name = "fake"
    source = "measured"

    def devices(self):
        return (MeterDevice(id="package-0", kind="cpu", name="a made-up CPU"),)

    def begin(self, phase):
        return time.monotonic_ns()

    def end(self, start_ns, end_ns):
        mood = os.environ.get("FAKE_METER")
        broken = mood == "unreadable"
        reading = DeviceReading(
            device="package-0",
            kind="cpu",
            meter="fake",
            method="constant",
            source=None if broken else "measured",
            joules=None if broken else taken(end_ns) - taken(start_ns),
            std=None if broken else 0.0,
            reason="the sensor is gone" if broken else None,
            faults=("counter stood still",) if mood == "fault" else (),
        )
        return (reading,)

    def watch(self, stopped):
        self.looks = []
        while not stopped():
            self.looks.append(time.monotonic_ns())
            time.sleep(0.02)

    def trails(self):
        broken = os.environ.get("FAKE_METER") == "unreadable"
        marks = () if broken else tuple(Mark(look, taken(look)) for look in self.looks)
        reason = "the sensor is gone" if broken else None
        return (Trail("package-0", "cpu", "fake", "constant", marks=marks, reason=reason),)

    def close(self):
        pass


class IdleMeter(FakeMeter):
    watch = trails = None


def make(*, gpus, own_pids):
    if os.environ.get("FAKE_METER") == "absent":
        raise MeterError("--lem-meter=fake: there is no such sensor here; plug one in")
    return IdleMeter() if os.environ.get("FAKE_METER") == "idle-only" else FakeMeter()


def install(folder):
    """Make `folder` (to be put on sys.path or PYTHONPATH) hold a distribution that registers the meter `fake`."""
    info = folder / "lem_fake_meter-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lem-fake-meter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pytest_lem.meters]\nfake = fake_meter:make\n")
    (folder / "fake_meter.py").write_text(Path(__file__).read_text())
    return folder
