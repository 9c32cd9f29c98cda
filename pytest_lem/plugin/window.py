"""A window: any code of a test's own, as one round without tokens or requests."""

from __future__ import annotations

import sys
from typing import Any

from pytest_lem.model.errors import UsageError
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.metrics import METRICS
from pytest_lem.model.quantity import Quantity
from pytest_lem.model.reading import DeviceReading
from pytest_lem.model.round import Round
from pytest_lem.served import refusal


class Window:
    """Holds a window's Measurement when its block has ended; its metrics are attributes."""

    measurement: Measurement | None = None

    def __getattr__(self, name: str) -> Quantity:
        if name not in METRICS:
            raise AttributeError(f"a window has no metric {name!r}")
        if self.measurement is None:
            raise UsageError(f"{name} was read inside its window: it is known when the block has ended")
        quantity: Quantity = getattr(self.measurement, name)
        return quantity


def window_round(start: int, end: int, readings: tuple[DeviceReading, ...]) -> Round:
    """A window as its one round: the user's own code has no tokens or requests; `start` and `end` in nanoseconds."""
    refused = refusal(readings)
    return Round(
        index=0,
        start_ns=start,
        end_ns=end,
        passes=1,
        requests=0,
        prompt_tokens=0,
        tokens=0,
        valid=refused is None,
        reason=refused,
        devices=readings,
    )


def torch_sync() -> None:
    """Wait for the device's work, where the test has used torch's CUDA."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
