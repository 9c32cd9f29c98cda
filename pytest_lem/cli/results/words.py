"""Rows of the index in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_lem.model.metrics import METRICS
from pytest_lem.render.numbers import ABSENT, spread, with_unit

CONSTANT = ("COMMIT", "MACHINE", "ENGINE", "MODEL", "PRECISION")
"""Columns that are said once where every row says the same."""
_COMMIT = 8
_PRECISIONS = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


def of_run(row: dict[str, Any]) -> dict[str, str]:
    """A run as a row, by the heads of its columns."""
    return {
        "RUN": row["folder"],
        "STARTED": started(row["started"]),
        "COMMIT": commit(row),
        "MACHINE": machine(row["host"], row["gpus"], row["cpu"]),
        "ENGINE": _list(row["engines"]),
        "MODEL": _list(row["models"]),
        "N": str(row["configurations"]),
        "J/TOKEN": _range(row["joules_per_token"], row["joules_per_token_most"]),
        "OUTCOME": _outcome(row),
    }


def of_configuration(row: dict[str, Any]) -> dict[str, str]:
    """A configuration as a row, by the heads of its columns."""
    test = row["test"].rpartition("::")[2]
    metrics = {"J/TOKEN": "joules_per_token", "TOKENS/S": "tokens_per_second", "TTFT": "ttft_ms", "TPOT": "tpot_ms"}
    return {
        "RUN": row["folder"],
        "TEST": f"{test} · {row['name']}" if row["name"] else test,
        "COMMIT": commit(row),
        "MACHINE": machine(row["host"], row["boards"], row["cpu"]),
        "ENGINE": row["engine"] or ABSENT,
        "MODEL": row["model"] or ABSENT,
        "PRECISION": _PRECISIONS.get(row["precision"], row["precision"] or ABSENT),
        "LOAD": f"batch {row['batch']}" if row["batch"] else row["load"] or ABSENT,
        **{head: metric(row, key) for head, key in metrics.items()},
        "OUTCOME": _outcome(row | {"outcome": row["verdict"] or _unjudged(row["outcome"])}),
    }


def started(text: str | None) -> str:
    """`2026-01-05 09:00`, UTC."""
    return text[:16].replace("T", " ") if text else ABSENT


def commit(row: Mapping[str, Any]) -> str:
    """`main c0ffee12+`: with a plus where files had been changed."""
    if not row["git_commit"]:
        return ABSENT
    branch = f"{row['branch']} " if row["branch"] else ""
    return f"{branch}{row['git_commit'][:_COMMIT]}{'+' if row['changed'] else ''}"


def machine(host: str | None, boards: str | None, cpu: str | None) -> str:
    """The host with its GPUs, or its processor where it has none."""
    return " · ".join(filter(None, (host, boards or cpu))) or ABSENT


def metric(row: Mapping[str, Any], key: str) -> str:
    """`412 mJ/tok ±1.7 %`; `~` before what was estimated."""
    value = row[key]
    if value is None:
        return ABSENT
    guess = "~" if row[f"{key}_source"] == "estimated" else ""
    told = f"{guess}{with_unit(value, METRICS[key].unit)}"
    return f"{told} {spread(value, row[f'{key}_low'], row[f'{key}_high'])}".rstrip()


def _range(least: float | None, most: float | None) -> str:
    if least is None or most is None:
        return ABSENT
    unit = METRICS["joules_per_token"].unit
    return with_unit(least, unit) if least == most else f"{with_unit(least, unit)} to {with_unit(most, unit)}"


def _outcome(row: Mapping[str, Any]) -> str:
    return f"{row['outcome']}, quick" if row["quick"] else str(row["outcome"])


def _unjudged(outcome: str) -> str:
    return outcome if outcome in ("running", "cut short") else "measured"


def _list(names: str | None) -> str:
    return ", ".join(sorted(names.split(","))) if names else ABSENT
