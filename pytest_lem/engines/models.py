"""Where a model comes from, checked before any start: a bundled shape with random weights, a folder, a hub name."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_lem.model.errors import UsageError

SYNTHETIC = Path(__file__).parent / "synthetic"
PREFIX = "synthetic:"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class ModelSource:
    """A model that was found: `location` is a config file (synthetic), a folder, or a hub name."""

    kind: Literal["synthetic", "folder", "hub"]
    location: str

    def as_request(self) -> dict[str, str]:
        """The two entries that a load request carries."""
        return {"source": self.kind, "location": self.location}


def synthetic_names() -> tuple[str, ...]:
    """The bundled shapes, without their prefix."""
    return tuple(sorted(path.stem for path in SYNTHETIC.glob("*.json")))


def locate(model: str, *, gguf_file: str | None = None, place: str = "--lem-model") -> ModelSource:
    """Find `model`. Raises UsageError naming `place` for an unknown shape, or a folder without a model in it."""
    if model.startswith(PREFIX):
        return _synthetic(model.removeprefix(PREFIX), place)
    path = Path(model).expanduser()
    if path.is_dir():
        return _folder(path, gguf_file, place)
    if path.is_absolute() or model.startswith((".", "~")) or not _HUB_NAME.fullmatch(model):
        raise UsageError(f"{place}: model folder {model} does not exist")
    return ModelSource("hub", model)


def _synthetic(name: str, place: str) -> ModelSource:
    known = synthetic_names()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, 1, 0.0)
        raise UsageError(
            f"{place}: unknown model {PREFIX + name!r}; did you mean {PREFIX + nearest[0]!r}? "
            f"Bundled shapes: {', '.join(known)}"
        )
    return ModelSource("synthetic", str(SYNTHETIC / f"{name}.json"))


def _folder(path: Path, gguf_file: str | None, place: str) -> ModelSource:
    needed = gguf_file or "config.json"
    if not (path / needed).is_file():
        mend = "option gguf_file names a file in it" if gguf_file else "give a folder that save_pretrained wrote"
        raise UsageError(f"{place}: model folder {path} has no {needed}; {mend}")
    return ModelSource("folder", str(path.resolve()))
