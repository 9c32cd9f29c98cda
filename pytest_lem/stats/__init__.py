"""Intervals, robust estimates, gates and stopping rules: pure functions of values.

The public names are loaded when they are first used: whoever asks for one module does not pay for numpy and scipy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_lem.stats.duel import Duel
    from pytest_lem.stats.effect import detectable_effect, false_alarm_chance
    from pytest_lem.stats.history import BOARD_SD, history_gate
    from pytest_lem.stats.intervals import mean_interval
    from pytest_lem.stats.launch import LaunchSummary, summarise
    from pytest_lem.stats.verdict import Status, Verdict, inconclusive
    from pytest_lem.stats.warmup import warmup_rounds

_PLACES = {
    "BOARD_SD": "history",
    "Duel": "duel",
    "LaunchSummary": "launch",
    "Status": "verdict",
    "Verdict": "verdict",
    "detectable_effect": "effect",
    "false_alarm_chance": "effect",
    "history_gate": "history",
    "inconclusive": "verdict",
    "mean_interval": "intervals",
    "summarise": "launch",
    "warmup_rounds": "warmup",
}

__all__ = [
    "BOARD_SD",
    "Duel",
    "LaunchSummary",
    "Status",
    "Verdict",
    "detectable_effect",
    "false_alarm_chance",
    "history_gate",
    "inconclusive",
    "mean_interval",
    "summarise",
    "warmup_rounds",
]


def __getattr__(name: str) -> Any:
    """A public name, from its module. Raises AttributeError for any other."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
