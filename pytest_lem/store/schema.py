"""JSON Schemas of the files, generated from the models: `python -m pytest_lem.store.schema` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from pytest_lem.model.baseline import BaselineRun
from pytest_lem.model.foreign import Foreign
from pytest_lem.store.durations import Durations
from pytest_lem.store.raw import RawDevice
from pytest_lem.store.report import Report
from pytest_lem.store.run import RunRecord
from pytest_lem.store.samples import LINES
from pytest_lem.store.timelines import TimelineLine

FOLDER = Path(__file__).parent / "schemas"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MODELS: dict[str, type[BaseModel]] = {
    "run": RunRecord,
    "raw": RawDevice,
    "report": Report,
    "durations": Durations,
    "baseline": BaselineRun,
    "foreign": Foreign,
    "timeline": TimelineLine,
}


class _Written(GenerateJsonSchema):
    """What is written, not what is accepted: every field is there, those with defaults too."""

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,  # noqa: ARG002 - pydantic's signature
        total: bool,  # noqa: ARG002 - pydantic's signature
    ) -> bool:
        return True


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema of each kind of file, `sample` being one line of a samples file."""
    adapters: dict[str, TypeAdapter[Any]] = {kind: TypeAdapter(model) for kind, model in _MODELS.items()}
    adapters["sample"] = LINES
    return {
        kind: {
            "$schema": _DIALECT,
            **adapter.json_schema(by_alias=True, mode="serialization", schema_generator=_Written),
            "title": f"lem.{kind}/1",
        }
        for kind, adapter in adapters.items()
    }


def text(schema: dict[str, Any]) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write every schema into the package."""
    FOLDER.mkdir(exist_ok=True)
    for kind, schema in schemas().items():
        (FOLDER / f"{kind}.json").write_text(text(schema), encoding="utf-8")


if __name__ == "__main__":
    main()
