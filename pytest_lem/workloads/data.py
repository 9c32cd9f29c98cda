"""Prompts out of a file, a dataset or the package's own set, before and after they are cut to length."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_lem.model.data import DataSpec
from pytest_lem.model.errors import UsageError
from pytest_lem.workloads.records import Row, fingerprint, read_rows
from pytest_lem.workloads.templates import fill

PLACE = "data"
USUAL = ("prompt", "text", "question", "instruction", "input")
"""Columns that hold a prompt where nobody names one."""
_LACKING = f"{PLACE}: hf:{{name}} needs the datasets library: pip install datasets"


@dataclass(frozen=True)
class Data:
    """Texts, the answer lengths that come with them (None: the workload's), and where they are from."""

    texts: tuple[str, ...]
    output_tokens: tuple[int, ...] | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def check_data(spec: DataSpec) -> None:
    """Raise UsageError for what is wrong with the prompts that `spec` names; no dataset is loaded for it."""
    kind, _, name = spec.source.partition(":")
    if kind != "hf":
        read_data(spec)
    elif find_spec("datasets") is None:
        raise UsageError(_LACKING.format(name=name))


def read_data(spec: DataSpec) -> Data:
    """The prompts that `spec` names, in order. Raises UsageError for what cannot be had, or lacks a column."""
    rows, notes = _rows(spec)
    rows = rows[: spec.limit]
    texts = tuple(_prompt(spec, row) for row in rows)
    outputs = None
    if spec.output_field is not None:
        outputs = tuple(_whole(spec.output_field, row) for row in rows)
    return Data(texts, outputs, {"source": spec.source, **notes})


@dataclass(frozen=True)
class Fitted:
    """Prompts after cutting and filling, by their places before, and how many were changed."""

    kept: tuple[int, ...]
    prompts: tuple[tuple[int, ...], ...]
    notes: dict[str, int]


def fit(spec: DataSpec, prompts: Sequence[tuple[int, ...]]) -> Fitted:
    """Token ids cut to `max_tokens`, filled up to `min_tokens`. Raises UsageError for one that may not be changed."""
    each = [_fitted(spec, prompt, index) for index, prompt in enumerate(prompts)]
    kept = tuple(index for index, prompt in enumerate(each) if prompt is not None)
    fitted = tuple(prompt for prompt in each if prompt is not None)
    if not fitted:
        bounds = {"under min_tokens": spec.min_tokens, "over max_tokens": spec.max_tokens}
        told = " or ".join(f"{name}={bound}" for name, bound in bounds.items() if bound is not None)
        raise UsageError(f"{PLACE}: all {len(prompts)} prompts are {told}, and left out")
    changes = [len(new) - len(prompts[index]) for index, new in zip(kept, fitted, strict=True)]
    notes = {
        "prompts": len(prompts),
        "prompt_tokens_before": sum(map(len, prompts)),
        "prompt_tokens_after": sum(map(len, fitted)),
        "truncated": sum(change < 0 for change in changes),
        "padded": sum(change > 0 for change in changes),
        "dropped": len(prompts) - len(fitted),
    }
    return Fitted(kept, fitted, notes)


def _fitted(spec: DataSpec, prompt: tuple[int, ...], index: int) -> tuple[int, ...] | None:
    """A prompt between the bounds, or None where it is left out. No bound leads from one to the other."""
    if spec.max_tokens is not None and len(prompt) > spec.max_tokens:
        return _cut(spec, prompt, index, spec.max_tokens)
    if spec.min_tokens is not None and len(prompt) < spec.min_tokens:
        return _filled(spec, prompt, index, spec.min_tokens)
    return prompt


def _cut(spec: DataSpec, prompt: tuple[int, ...], index: int, most: int) -> tuple[int, ...] | None:
    if spec.too_long == "error":
        raise UsageError(
            f"{PLACE}: prompt {index} has {len(prompt)} tokens, max_tokens is {most}; "
            "cut them by too_long='left' or 'right', or leave them out by 'drop'"
        )
    return {"left": prompt[-most:], "right": prompt[:most]}.get(spec.too_long)


def _filled(spec: DataSpec, prompt: tuple[int, ...], index: int, least: int) -> tuple[int, ...] | None:
    if spec.too_short == "error":
        raise UsageError(
            f"{PLACE}: prompt {index} has {len(prompt)} tokens, min_tokens is {least}; "
            "fill them up by too_short='repeat', or leave them out by 'drop'"
        )
    return None if spec.too_short == "drop" else (prompt * -(-least // len(prompt)))[-least:]


def _rows(spec: DataSpec) -> tuple[list[Row], dict[str, Any]]:
    kind, _, name = spec.source.partition(":")
    if kind == "builtin":
        return _builtin(name), {}
    if kind == "hf":
        return _hub(name, spec), {"split": spec.split}
    path = Path(spec.source)
    return read_rows(path, PLACE), {"sha256": fingerprint(path)}


def _builtin(name: str) -> list[Row]:
    sets: dict[str, list[str]] = json.loads(files(__package__).joinpath("prompts.json").read_text(encoding="utf-8"))
    if name not in sets:
        near = get_close_matches(name, sets, n=1, cutoff=0.0)[0]
        raise UsageError(f"{PLACE}: builtin:{name}: no such set; the nearest is {near!r} of {', '.join(sets)}")
    return [Row(f"builtin:{name}, row {number}", {"prompt": text}) for number, text in enumerate(sets[name], 1)]


def _hub(name: str, spec: DataSpec) -> list[Row]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise UsageError(_LACKING.format(name=name)) from None
    try:
        found = load_dataset(name, split=spec.split)
    except Exception as error:  # noqa: BLE001 - the hub raises of everything
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{PLACE}: hf:{name}, split {spec.split!r}: cannot be loaded: {why}") from None
    rows = found.select(range(min(spec.limit, len(found)))) if spec.limit else found
    return [Row(f"hf:{name}, row {number}", dict(row)) for number, row in enumerate(rows, 1)]


def _prompt(spec: DataSpec, row: Row) -> str:
    where = f"{PLACE}: {row.where}"
    if spec.template is not None:
        return _text(fill(spec.template, row.cells, where), f"{where}: template")
    name = _column(spec, row)
    return _text(row.cells[name], f"{where}: column {name!r}")


def _text(given: object, where: str) -> str:
    if not isinstance(given, str) or not given:
        raise UsageError(f"{where}: expected a text, and not an empty one (got {given!r:.80})")
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{where}: {given[error.start]!r} is half a character; no tokenizer takes it") from None
    return given


def _column(spec: DataSpec, row: Row) -> str:
    wanted = (spec.field,) if spec.field is not None else USUAL
    for name in wanted:
        if name in row.cells:
            return name
    raise UsageError(
        f"{PLACE}: {row.where}: no column {' or '.join(wanted)}; name one by field (it has {', '.join(row.cells)})"
    )


def _whole(name: str, row: Row) -> int:
    given = row.cells.get(name, "no such column")
    try:
        found = int(given)
    except (TypeError, ValueError, OverflowError):
        found = 0
    if found < 1 or isinstance(given, bool) or (isinstance(given, float) and found != given):
        raise UsageError(
            f"{PLACE}: {row.where}: output_field {name!r}: expected a whole number from 1 (got {given!r:.80})"
        )
    return found
