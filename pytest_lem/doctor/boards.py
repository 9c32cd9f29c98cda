"""The GPUs: driver, energy counter, strangers, slowdowns, and who has leased them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pytest_lem.campaign.leases import Leases, lock_folder
from pytest_lem.doctor.finding import Finding, told
from pytest_lem.meters.guards import slowdown_fault
from pytest_lem.meters.nvml import GpuInfo, NvmlDriver, gpus, library, visible_gpus
from pytest_lem.model.errors import MeterError, UsageError


def boards(environ: Mapping[str, str]) -> Iterator[Finding]:
    """What there is to say of the machine's GPUs; one warning where there is no driver."""
    try:
        library()
    except MeterError as error:
        yield told("warning", "GPUs", str(error))
        return
    try:
        found = gpus()
        visible = visible_gpus(environ)
    except (MeterError, UsageError) as error:
        yield told("error", "GPUs", str(error))
        return
    if not found:
        yield Finding("warning", "GPUs", "NVIDIA's driver sees no GPU", "on a CPU joules come from RAPL or an estimate")
    leases = Leases(lock_folder(environ))
    for index, info in enumerate(found):
        if info.uuid in visible or any(name.startswith("MIG-") for name in visible):
            yield from _board(f"GPU {index}", info, leases)
        else:
            yield Finding("note", f"GPU {index}", f"{info.uuid} is hidden by CUDA_VISIBLE_DEVICES")


def _board(about: str, info: GpuInfo, leases: Leases) -> Iterator[Finding]:
    yield Finding("ok", about, f"{info.name}, {info.uuid}, driver {info.driver}")
    try:
        driver = NvmlDriver(info.uuid)
        yield _counter(about, driver)
        strangers = driver.process_ids()
        slowed = slowdown_fault(driver.state().throttle_reasons)
    except MeterError as error:
        yield told("error", about, str(error))
        return
    if driver.mig:
        yield Finding("warning", about, "MIG is on: its counter is the whole board's", "measure on a board without MIG")
    if slowed:
        yield Finding("warning", about, slowed, "cool the board or lift its limit: rounds are refused while it lasts")
    holder = leases.holder(info.uuid)
    if holder is not None and holder.alive:
        yield Finding("note", about, f"leased to {holder}", "a run that wants it waits until it is free")
    elif strangers:
        pids = ", ".join(map(str, strangers))
        yield Finding("warning", about, f"other processes work on it: PID {pids}", "end them, or name other --lem-gpus")


def _counter(about: str, driver: NvmlDriver) -> Finding:
    try:
        driver.energy_mj()
    except MeterError:
        return Finding(
            "warning", about, "it has no energy counter", "joules are summed from power readings: use longer rounds"
        )
    return Finding("ok", about, "its energy counter answers")
