from __future__ import annotations

import socket
import sys

import pytest

from pytest_lem.meters.carbon import CarbonMeter, grams_per_joule
from pytest_lem.model.errors import MeterError, UsageError

pytest.importorskip("codecarbon")
SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Any attempt to reach a network is an error."""

    def refuse(*arguments, **options):
        raise AssertionError(f"reached for the network: {arguments}")

    for call in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, call, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_estimates_are_labelled_with_their_model_and_are_never_measured():
    meter = CarbonMeter()
    start = meter.begin(0)
    cpu, ram = meter.end(start, start + 2 * SECOND)

    assert (cpu.kind, cpu.source, cpu.meter, cpu.std) == ("cpu", "estimated", "codecarbon", None)
    assert cpu.method.startswith("codecarbon cpu_load, ")
    assert cpu.method.endswith(" W")
    assert (ram.kind, ram.source, ram.method) == ("ram", "estimated", "codecarbon ram slots")
    assert [device.id for device in meter.devices()] == [cpu.device, ram.device]


def test_cpu_joules_follow_the_load_between_a_tenth_of_the_tdp_and_all_of_it(monkeypatch):
    meter = CarbonMeter(without=("ram",))
    tdp = meter._cpu._tdp
    found = []
    for load in (0.0, 50.0, 100.0):
        monkeypatch.setattr(meter._cpu._cpu_load_meter, "percent", lambda load=load: load)
        start = meter.begin(0)
        (reading,) = meter.end(start, start + 10 * SECOND)
        found.append(reading.joules / 10 / tdp)

    assert found == pytest.approx([0.1, 0.1 + 0.9 / 8, 1.0])


def test_ram_joules_are_the_models_watts_times_the_window():
    meter = CarbonMeter(without=("cpu",))
    watts = meter._ram.total_power().W
    start = meter.begin(0)
    (reading,) = meter.end(start, start + 3 * SECOND)

    assert watts >= 3
    assert reading.joules == pytest.approx(3 * watts)


def test_parts_that_are_measured_are_not_estimated():
    assert [device.kind for device in CarbonMeter(without=("cpu",)).devices()] == ["ram"]
    with pytest.raises(MeterError, match="another meter measures both"):
        CarbonMeter(without=("cpu", "ram"))


@pytest.mark.parametrize(("place", "grams"), [("0", 0.0), ("56", 56.0), ("412.5", 412.5)])
def test_grams_of_co2_per_kilowatt_hour_can_be_given(place, grams):
    assert grams_per_joule(place) * 3.6e6 == pytest.approx(grams)


def test_a_country_is_looked_up_in_codecarbons_table():
    from codecarbon.input import DataSource

    table = DataSource().get_global_energy_mix_data()

    assert grams_per_joule("FRA") * 3.6e6 == pytest.approx(table["FRA"]["carbon_intensity"])
    assert grams_per_joule("pol") > 5 * grams_per_joule("fra")


def test_a_country_is_found_where_pandas_cannot_be_loaded(monkeypatch):
    monkeypatch.setattr("codecarbon.input._STATIC_DATA_LOADED", False)
    monkeypatch.setitem(sys.modules, "pandas", None)

    assert 0 < grams_per_joule("FRA") * 3.6e6 < 100


@pytest.mark.parametrize(
    ("place", "fault"),
    [("FRX", "no country has this code; the nearest is FR"), ("-3", "at least 0"), ("nan", "at least 0")],
)
def test_what_is_neither_a_country_nor_grams_is_refused_in_one_line(place, fault):
    with pytest.raises(UsageError) as caught:
        grams_per_joule(place)

    assert str(caught.value).startswith(f"--lem-carbon={place}: ")
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_codecarbon_the_extra_is_named_and_given_grams_still_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)

    with pytest.raises(MeterError, match=r"pip install pytest-lem\[carbon\]"):
        CarbonMeter()
    with pytest.raises(MeterError, match=r"^--lem-carbon=FRA: .*pip install pytest-lem\[carbon\]"):
        grams_per_joule("FRA")
    assert grams_per_joule("360") == pytest.approx(1e-4)
