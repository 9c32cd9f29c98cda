"""Energy of LLM inference as something a test can assert.

Only the version and lazily resolved public names live here: importing this package must cost a pytest run that does
not use it next to nothing.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

_PUBLIC = {
    "EngineSpec": "pytest_lem.model.specs",
    "WorkloadSpec": "pytest_lem.model.specs",
    "ProtocolSpec": "pytest_lem.model.specs",
    "Measurement": "pytest_lem.model.measurement",
    "Quantity": "pytest_lem.model.quantity",
    "LemError": "pytest_lem.model.errors",
    "Unavailable": "pytest_lem.model.errors",
    "EngineEntry": "pytest_lem.engines.entry",
    "DeviceReading": "pytest_lem.model.reading",
    "MeterDevice": "pytest_lem.model.reading",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'pytest_lem' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
