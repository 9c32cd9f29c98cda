from __future__ import annotations

import subprocess
import sys
import threading
import time

import fake_meter
import pytest
from fake_pynvml import FakeGpu, fake_pynvml

from pytest_lem.meters import carbon, nvml, rapl
from pytest_lem.meters.registry import MeterSet, known_meters, open_meters
from pytest_lem.model.errors import MeterError, UsageError
from pytest_lem.model.reading import DeviceReading, MeterDevice

GPU = "GPU-5c0ffee0"


def choose(*names, gpus=()):
    return open_meters(names or None, gpus=gpus, own_pids=lambda: ())


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine on which no meter works."""
    nvml.library.cache_clear()
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(driver=False))
    monkeypatch.setattr(rapl.RaplMeter, "__init__", lambda self: refuse("RAPL: no CPU package"))
    monkeypatch.setattr(carbon, "_require", lambda place="": refuse("CodeCarbon is not installed"))
    monkeypatch.delenv("FAKE_METER", raising=False)
    yield
    nvml.library.cache_clear()


def refuse(reason):
    raise MeterError(reason)


class HostMeter:
    """A meter of made-up parts of the host."""

    source = "measured"

    def __init__(self, *kinds, name="rapl"):
        self.kinds, self.name, self.closed = kinds, name, False

    def devices(self):
        return tuple(MeterDevice(id=f"{kind}-0", kind=kind) for kind in self.kinds)

    def begin(self, phase):
        return time.monotonic_ns()

    def end(self, start_ns, end_ns):
        return tuple(
            DeviceReading(device=d.id, kind=d.kind, meter=self.name, method="x", source="measured", joules=1.0)
            for d in self.devices()
        )

    def close(self):
        self.closed = True


def test_auto_on_a_bare_machine_is_an_empty_set_that_works_and_says_why(bare):
    with choose() as meters:
        before = time.monotonic_ns()
        start = meters.begin(0)

        assert before < start < before + 10**9
        assert meters.end(start, start + 1) == ()
    assert [(record.name, record.used) for record in meters.records] == [
        ("nvml", False),
        ("rapl", False),
        ("codecarbon", False),
    ]
    assert [record.reason for record in meters.records] == [
        "NVML does not start (NVML Shared Library Not Found); it needs an NVIDIA GPU and its driver",
        "RAPL: no CPU package",
        "CodeCarbon is not installed",
    ]


@pytest.mark.parametrize("names", [(), ("auto",)])
def test_auto_takes_what_works_and_says_what_it_took(bare, monkeypatch, names):
    monkeypatch.setattr(rapl, "RaplMeter", lambda: HostMeter("cpu"))

    meters = choose(*names)

    used = [record for record in meters.records if record.used]
    assert [(record.name, record.source) for record in used] == [("rapl", "measured")]
    assert [device.id for device in used[0].devices] == ["cpu-0"]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("nvml", "NVML does not start (NVML Shared Library Not Found); it needs an NVIDIA GPU and its driver"),
        ("rapl", "RAPL: no CPU package"),
        ("codecarbon", "CodeCarbon is not installed"),
    ],
)
def test_a_named_meter_that_does_not_work_is_an_error_that_names_the_option(bare, name, fault):
    with pytest.raises(MeterError) as caught:
        choose(name)

    assert str(caught.value) == f"--lem-meter={name}: {fault}"


def test_naming_one_beside_auto_makes_that_one_necessary(bare):
    with pytest.raises(MeterError, match=r"^--lem-meter=rapl: "):
        choose("auto", "rapl")


def test_nvml_without_a_gpu_in_use_says_so(monkeypatch):
    nvml.library.cache_clear()
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(FakeGpu(GPU)))

    with pytest.raises(MeterError, match=r"^--lem-meter=nvml: no GPU is in use here; .*CUDA_VISIBLE_DEVICES"):
        choose("nvml")
    nvml.library.cache_clear()


def test_an_unknown_meter_is_refused_with_the_nearest_and_the_known_ones():
    with pytest.raises(UsageError) as caught:
        choose("nvlm")

    assert str(caught.value) == (
        "--lem-meter=nvlm: no such meter; the nearest is 'nvml'; known: auto, nvml, rapl, codecarbon"
    )


@pytest.mark.parametrize(("measured", "estimated"), [(("cpu",), ["ram"]), (("ram",), ["cpu"]), (("cpu", "ram"), None)])
def test_what_is_measured_is_not_estimated_again(monkeypatch, measured, estimated):
    pytest.importorskip("codecarbon")
    monkeypatch.setattr(rapl, "RaplMeter", lambda: HostMeter(*measured))

    record = choose("codecarbon", "rapl").records[-1]

    assert record.name == "codecarbon"
    assert [device.kind for device in record.devices] == (estimated or [])
    assert record.used is (estimated is not None)
    if estimated is None:
        assert record.reason == "CPU and memory are measured, so they are not estimated"


def test_a_third_partys_meter_is_known_and_used_by_its_entry_point(bare, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(fake_meter.install(tmp_path))

    with choose("fake") as meters:
        start = meters.begin(0)
        (reading,) = meters.end(start, start + 2 * 10**9)

    assert known_meters() == ("nvml", "rapl", "codecarbon", "fake")
    assert (reading.meter, reading.joules) == ("fake", pytest.approx(200.0))


def test_a_third_partys_meter_that_cannot_work_is_told_like_one_of_ours(bare, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(fake_meter.install(tmp_path))
    monkeypatch.setenv("FAKE_METER", "absent")

    with pytest.raises(MeterError, match=r"^--lem-meter=fake: there is no such sensor here; plug one in$"):
        choose("fake")
    assert choose().records[-2].name == "fake"


def test_an_entry_point_that_does_not_load_is_no_traceback(bare, monkeypatch, tmp_path):
    fake_meter.install(tmp_path)
    (tmp_path / "lem_fake_meter-1.0.dist-info" / "entry_points.txt").write_text(
        "[pytest_lem.meters]\nold = gone:make\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(MeterError, match=r"^--lem-meter=old: its entry point 'gone:make' does not load"):
        choose("old")


def test_meters_of_a_set_begin_together_and_all_are_closed():
    met = threading.Barrier(2, timeout=10)
    first, second = HostMeter("cpu", name="first"), HostMeter("ram", name="second")
    instants = [time.monotonic_ns() + 5 * 10**9, 0]
    for meter, instant in zip((first, second), instants, strict=True):
        meter.begin = lambda phase, instant=instant: met.wait() * 0 + instant
    with MeterSet(meters=(first, second)) as meters:
        start = meters.begin(0)
        readings = meters.end(start, start + 1)

    assert start == instants[0]
    assert [reading.meter for reading in readings] == ["first", "second"]
    assert (first.closed, second.closed) == (True, True)


def test_opening_the_registry_loads_no_library_of_a_meter():
    code = (
        "import sys, pytest_lem.meters.registry, pytest_lem.meters.nvml, pytest_lem.meters.carbon\n"
        "print([name for name in ('pynvml', 'codecarbon', 'numpy', 'psutil') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
