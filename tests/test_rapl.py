from __future__ import annotations

import os

import pytest

from pytest_lem.meters.rapl import RaplMeter, find_domains
from pytest_lem.model.errors import MeterError

MS, SECOND = 1_000_000, 1_000_000_000
RANGE_UJ = 262_143_328_850


class Host:
    """A made-up powercap tree whose counters follow its clock: each domain has an idle and a working power (W)."""

    def __init__(self, root, *, wrap=RANGE_UJ):
        self.root, self.now, self.wrap, self.work, self._domains = root, 100 * SECOND, wrap, (0, 0), {}

    def add(self, folder, name, idle_w, work_w, begin_uj=5_000_000):
        path = self.root / folder
        path.mkdir(parents=True)
        (path / "name").write_text(f"{name}\n")
        (path / "max_energy_range_uj").write_text(f"{self.wrap}\n")
        self._domains[path] = (idle_w, work_w, begin_uj)
        self._write()
        return path

    def now_ns(self):
        return self.now

    def sleep_until_ns(self, instant):
        self.now = max(self.now, instant)
        self._write()

    def _write(self):
        for path, (idle, work, begin) in self._domains.items():
            if (path / "energy_uj").is_dir():
                continue
            busy = max(min(self.now, self.work[1]) - self.work[0], 0) if self.work[1] else 0
            joules = (idle * (self.now - 100 * SECOND) + (work - idle) * busy) / SECOND
            (path / "energy_uj").write_text(f"{(begin + round(joules * 1e6)) % (self.wrap + 1)}\n")


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path / "powercap")


def intel(host):
    host.add("intel-rapl:0", "package-0", 40.0, 120.0)
    host.add("intel-rapl:0/intel-rapl:0:0", "core", 10.0, 80.0)
    host.add("intel-rapl:0/intel-rapl:0:1", "dram", 5.0, 15.0)
    host.add("intel-rapl:1", "package-1", 30.0, 60.0)
    host.add("intel-rapl:1/intel-rapl:1:0", "dram", 4.0, 6.0)
    host.add("intel-rapl:2", "psys", 100.0, 300.0)
    return host


def measure(host, seconds=2.0):
    meter = RaplMeter(host.root, clock=host)
    start = meter.begin(0)
    end = start + int(seconds * SECOND)
    host.work = (start, end)
    host.sleep_until_ns(end + 3 * MS)
    return meter.end(start, end)


def test_packages_dram_and_psys_are_told_apart_and_cores_are_not_counted_twice(host):
    readings = measure(intel(host))

    found = {reading.device: (reading.kind, reading.joules) for reading in readings}
    assert found == {
        "package-0": ("cpu", pytest.approx(240.0, rel=1e-3)),
        "dram-0": ("ram", pytest.approx(30.0, rel=1e-3)),
        "package-1": ("cpu", pytest.approx(120.0, rel=1e-3)),
        "dram-1": ("ram", pytest.approx(12.0, rel=1e-3)),
        "psys": ("psys", pytest.approx(600.0, rel=1e-3)),
    }
    assert {(r.meter, r.method, r.source, r.reason, r.faults) for r in readings} == {
        ("rapl", "rapl", "measured", None, ())
    }


def test_the_interval_covers_what_the_host_really_used(host):
    (package, *_) = measure(intel(host))

    assert (0 < package.std < 3, package.tick_s) == (True, 1e-3)
    assert abs(package.joules - 240.0) <= 1.96 * package.std


def test_a_tree_that_shows_its_zones_flat_as_well_counts_them_once(host):
    intel(host)
    (host.root / "intel-rapl:0:1").symlink_to(host.root / "intel-rapl:0" / "intel-rapl:0:1")

    assert [d.id for d in find_domains(host.root)].count("dram-0") == 1


def test_an_amd_host_has_packages_and_no_dram(host):
    host.add("intel-rapl:0", "package-0", 40.0, 120.0)
    host.add("intel-rapl:0/intel-rapl:0:0", "core", 10.0, 80.0)

    (reading,) = measure(host)

    assert (reading.device, reading.joules) == ("package-0", pytest.approx(240.0, rel=1e-3))


@pytest.mark.parametrize("before_wrap_j", [1.0, 5.0, 120.0, 243.0])
def test_a_counter_that_wraps_anywhere_in_the_window_counts_on(host, before_wrap_j):
    host.add("intel-rapl:0", "package-0", 40.0, 120.0, begin_uj=RANGE_UJ - round(before_wrap_j * 1e6))

    (reading,) = measure(host)

    assert reading.joules == pytest.approx(240.0, rel=1e-3)


def test_a_window_under_a_second_has_no_joules(host):
    (reading, *_) = measure(intel(host), seconds=0.9)

    assert (reading.joules, reading.source) == (None, None)
    assert reading.reason == "the window is shorter than 1 s: its edges outweigh it"


def test_a_counter_that_stands_still_is_a_fault(host):
    host.add("intel-rapl:0", "package-0", 0.0, 0.0)

    assert measure(host)[0].faults == ("the energy counter stands still",)


@pytest.mark.parametrize("tree", [None, "core"])
def test_a_host_without_packages_says_so(host, tree):
    if tree:
        host.add("intel-rapl:0", tree, 1.0, 1.0)

    with pytest.raises(MeterError, match=r"no CPU package under .*; virtual machines and ARM have none"):
        RaplMeter(host.root, clock=host)


def test_counters_that_only_root_may_read_come_with_the_mend(host, monkeypatch):
    path = intel(host).root / "intel-rapl:0" / "energy_uj"
    read = type(path).read_text

    def guarded(self, *arguments, **options):
        if self == path:
            raise PermissionError(13, "Permission denied")
        return read(self, *arguments, **options)

    monkeypatch.setattr(type(path), "read_text", guarded)
    with pytest.raises(MeterError) as caught:
        RaplMeter(host.root, clock=host)

    message = str(caught.value)
    assert message.startswith(f"RAPL: {path} cannot be read by user {os.getuid()}; ")
    assert "chmod -R a+r" in message
    assert 'SUBSYSTEM=="powercap"' in message
    assert "\n" not in message


def test_a_counter_that_vanishes_while_it_measures_leaves_a_reason(host):
    intel(host)
    meter = RaplMeter(host.root, clock=host)
    start = meter.begin(0)
    path = host.root / "intel-rapl:1" / "energy_uj"
    path.unlink()
    path.mkdir()
    host.sleep_until_ns(start + 2 * SECOND)
    readings = meter.end(start, start + 2 * SECOND)

    assert {reading.joules for reading in readings} == {None}
    assert all("intel-rapl:1/energy_uj" in reading.reason for reading in readings)


def test_under_load_the_joules_between_any_two_instants_are_known(host):
    meter = RaplMeter(intel(host).root, clock=host)
    start = meter.begin(0)
    end = start + 4 * SECOND
    host.work = (start, end)
    meter.watch(lambda: host.now >= end)
    found = {trail.device: trail.reading(start + 1011 * MS, end - 1013 * MS) for trail in meter.trails()}
    assert {device: reading.joules for device, reading in found.items()} == {
        "package-0": pytest.approx(120 * 1.976, rel=1e-3),
        "dram-0": pytest.approx(15 * 1.976, rel=1e-3),
        "package-1": pytest.approx(60 * 1.976, rel=1e-3),
        "dram-1": pytest.approx(6 * 1.976, rel=1e-3),
        "psys": pytest.approx(300 * 1.976, rel=1e-3),
    }
    assert all(0 < reading.std < 0.01 * reading.joules for reading in found.values())
    assert meter.end(start, end)[0].joules == pytest.approx(480, rel=1e-3)


def test_under_load_a_counter_that_wraps_counts_on(host):
    host.add("intel-rapl:0", "package-0", 40.0, 120.0, begin_uj=RANGE_UJ - 200_000_000)
    meter = RaplMeter(host.root, clock=host)
    start = meter.begin(0)
    end = start + 4 * SECOND
    host.work = (start, end)
    meter.watch(lambda: host.now >= end)
    (trail,) = meter.trails()
    assert trail.reading(start + SECOND, end - SECOND).joules == pytest.approx(240.0, rel=1e-3)


def test_a_counter_that_goes_away_under_load_tells_why(host):
    intel(host)
    meter = RaplMeter(host.root, clock=host)
    end = meter.begin(0) + SECOND
    path = host.root / "intel-rapl:2" / "energy_uj"
    path.unlink()
    path.mkdir()
    meter.watch(lambda: host.now >= end)
    assert {trail.reason for trail in meter.trails()} == {f"RAPL: {path}: Is a directory"}
