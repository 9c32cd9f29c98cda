"""What NVML's GPM says by itself, every error included. Shares no code with the telemetry under test."""

from __future__ import annotations

import time
from typing import Any

import pynvml

Json = dict[str, Any]
IDS = (*range(1, 14), 20, 21)
GAPS_S = (0.01, 0.05, 0.1, 0.2, 1.0)


def probe(index: int, gaps_s: tuple[float, ...] = GAPS_S) -> Json:
    """Support, and for each gap between two samples every metric's return code, value, name and unit."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    found: Json = {"metrics_max": pynvml.NVML_GPM_METRIC_MAX, "gaps": []}
    try:
        support = pynvml.nvmlGpmQueryDeviceSupport(handle)
    except pynvml.NVMLError as error:
        return {**found, "support": told(error)}
    found["support"] = {"version": support.version, "is_supported": support.isSupportedDevice}
    try:
        found["mig_mode"] = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError as error:
        found["mig_mode"] = told(error)
    found["gaps"] = [{"gap_s": gap, **_between(handle, gap)} for gap in gaps_s]
    return found


def told(error: Any) -> Json:
    return {"error": str(error), "code": error.value}


def _between(handle: Any, gap_s: float) -> Json:
    samples: list[Any] = []
    try:
        samples.extend(pynvml.nvmlGpmSampleAlloc() for _ in range(2))
        times = []
        for place, sample in enumerate(samples):
            if place:
                time.sleep(gap_s)
            began = time.perf_counter()
            pynvml.nvmlGpmSampleGet(handle, sample)
            times.append((time.perf_counter() - began) * 1e6)
        question = pynvml.c_nvmlGpmMetricsGet_t()
        question.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        question.numMetrics = len(IDS)
        question.sample1, question.sample2 = samples
        for place, identity in enumerate(IDS):
            question.metrics[place].metricId = identity
        began = time.perf_counter()
        pynvml.nvmlGpmMetricsGet(question)
        got = (time.perf_counter() - began) * 1e6
        return {
            "sample_us": times,
            "metrics_us": got,
            "metrics": [_metric(question.metrics[place]) for place in range(len(IDS))],
        }
    except pynvml.NVMLError as error:
        return told(error)
    finally:
        for sample in samples:
            pynvml.nvmlGpmSampleFree(sample)


def _metric(metric: Any) -> Json:
    info = metric.metricInfo
    return {
        "id": metric.metricId,
        "return": metric.nvmlReturn,
        "value": metric.value if metric.nvmlReturn == pynvml.NVML_SUCCESS else None,
        "error": None if metric.nvmlReturn == pynvml.NVML_SUCCESS else str(pynvml.NVMLError(metric.nvmlReturn)),
        "name": (info.shortName or b"").decode(errors="replace"),
        "unit": (info.unit or b"").decode(errors="replace"),
    }
