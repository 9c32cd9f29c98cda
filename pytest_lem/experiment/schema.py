"""The JSON Schema of an experiment file, for editors: `python -m pytest_lem.experiment.schema` writes it.

Made from the table of words and the engines' own options. Draft 7, which the YAML language server knows best.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pytest_lem.engines import registry
from pytest_lem.experiment.kinds import adapter
from pytest_lem.experiment.words import CAMPAIGN, NEUTRAL, OFF, OPTIONS, SHADOWED, SPELLED, WORDS, Word
from pytest_lem.model.metrics import METRICS

FILE = Path(__file__).parent / "lem.schema.json"
TITLE = "An experiment file of pytest-lem (*.lem.yaml)"
BUILT_IN = ("pytorch", "vllm", "tensorrt")
_TEXTS: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_SHARE: dict[str, Any] = {
    "anyOf": [{"type": "number", "minimum": 0, "exclusiveMaximum": 1}, {"type": "string", "pattern": r"^[\d.]+ *%$"}]
}


def schema(engines: Iterable[str] = BUILT_IN) -> dict[str, Any]:
    """What a file may hold, with the sections of these engines."""
    definitions: dict[str, Any] = {}
    words = _properties("", {**WORDS, **{word.name: word for word in CAMPAIGN}}, definitions)
    sections = {name: _section(name, definitions) for name in dict.fromkeys(engines)}
    definitions |= {**words, **sections}
    definitions["many"] = {"anyOf": [{"type": "array"}, {"$ref": "#/$defs/Range"}, {"type": "object"}]}
    configuration = {name: {"$ref": f"#/$defs/{name}"} for name in (*words, *sections)}
    properties = {
        "_extends": {
            **_TEXTS,
            "description": "the files that this one builds on; a later one lies above those before it",
        },
        **configuration,
        "experiments": {
            "type": "array",
            "items": {"type": "object", "properties": configuration, "additionalProperties": False},
            "description": "configurations one by one, each over what the file says",
        },
        "sweep": _sweep(configuration),
        "unless": {"type": ["object", "array"], "description": "experiments to leave out, by the marker's keywords"},
        **_limits(definitions),
    }
    whole = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": TITLE,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "definitions": definitions,
    }
    moved: dict[str, Any] = json.loads(json.dumps(whole).replace("#/$defs/", "#/definitions/"))
    return moved


def text(made: Mapping[str, Any]) -> str:
    """A schema as its file holds it."""
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _properties(section: str, words: Mapping[str, Word], definitions: dict[str, Any]) -> dict[str, Any]:
    """The words of a section, those that hold others with them."""
    prefix = f"{section}." if section else ""
    listed = [name for name in (*words, *NEUTRAL, *SHADOWED) if name.startswith(prefix)]
    found = {}
    for name in dict.fromkeys(name.removeprefix(prefix).partition(".")[0] for name in listed):
        found[name] = _word(prefix + name, words, definitions)
    return found


def _word(path: str, words: Mapping[str, Word], definitions: dict[str, Any]) -> dict[str, Any]:
    ways = [_kind(words[path].kind, definitions)] if path in words else []
    told = words[path].help if path in words else ""
    if path in SHADOWED:
        ways.append({"type": "object"})
        told = f"read for {SHADOWED[path]} alone: {NEUTRAL[SHADOWED[path]][1]}"
    elif path in NEUTRAL:
        ways.append(_enum(NEUTRAL[path][0]))
        told = f"not offered: {NEUTRAL[path][1]}"
    elif any(name.startswith(f"{path}.") for name in words):
        inner = _properties(path, words, definitions)
        ways.append({"type": "object", "properties": inner, "additionalProperties": False})
    else:
        ways.append({"type": "null"})
    return {**(ways[0] if len(ways) == 1 else {"anyOf": ways}), "description": told or path.rpartition(".")[2]}


def _enum(values: Iterable[Any]) -> dict[str, Any]:
    """These values or null, each once: to JSON, 1 and 1.0 are one."""
    whole = [int(each) if isinstance(each, float) and each.is_integer() else each for each in values]
    return {"enum": [*({json.dumps(each): each for each in whole}.values()), None]}


def _kind(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    made = adapter(kind).json_schema()
    definitions.update(made.pop("$defs", {}))
    return made


def _section(engine: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """An engine's options, by its own names and by those that are understood."""
    told = f"options of {engine}"
    if engine not in registry.names():
        return {"type": ["object", "null"], "description": f"{told}, where it is installed"}
    options = registry.entry(engine).options
    if options is None:
        return {"type": "null", "description": f"{engine} takes no options"}
    definitions[f"{engine}-options"] = _options(engine, options, definitions)
    one = {"$ref": f"#/$defs/{engine}-options"}
    return {"anyOf": [one, {"type": "array", "items": one}, {"type": "null"}], "description": told}


def _options(engine: str, options: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    made = options.model_json_schema(by_alias=False)
    definitions.update(made.pop("$defs", {}))
    described = made.pop("description", "")
    names = {**made.get("properties", {})}
    names |= {other: {"description": f"the same as {name}"} for other, name in OPTIONS.get(engine, {}).items()}
    for other, inner in SPELLED.get(engine, {}).items():
        within = {word: {"description": f"the same as {name}"} for word, name in inner.items()}
        names[other] = {"type": ["object", "null"], "properties": within, "additionalProperties": False}
    names |= {name: _enum(off) for name, off in OFF.get(engine, {}).items() if name not in names}
    open_ended = made.get("additionalProperties", True) is not False
    return {"type": "object", "properties": names, "additionalProperties": open_ended, "description": described}


def _sweep(configuration: Collection[str]) -> dict[str, Any]:
    """Words, with dots or in their sections, each with a list or a range."""
    many = {"$ref": "#/$defs/many"}
    skipped = ("campaign", "config_name", "id", "description", "extra_metadata")
    words = dict.fromkeys((*configuration, *(name for name in WORDS if "." in name)), many)
    dotted = "^(" + "|".join(sorted(name for name in configuration if name not in skipped)) + r")\."
    exclude = {
        "type": ["object", "array"],
        "description": "combinations to leave out: words with values, all of them met",
    }
    return {
        "type": "object",
        "description": "words to vary: a list or a range each; every combination is an experiment",
        "properties": {**{name: value for name, value in words.items() if name not in skipped}, "exclude": exclude},
        "patternProperties": {dotted: many},
        "additionalProperties": False,
    }


def _limits(definitions: dict[str, Any]) -> dict[str, Any]:
    rule = {
        "type": "object",
        "properties": {"threshold": _SHARE, "direction": {"enum": ["lower", "higher"]}},
        "additionalProperties": False,
    }
    definitions["gate-rule"] = {"anyOf": [_SHARE, rule, {"type": "null"}]}
    names = {"enum": list(METRICS)}
    by_metric = {"type": "object", "additionalProperties": False}
    told = {name: f"{metric.better} is better, in {metric.unit or 'no unit'}" for name, metric in METRICS.items()}
    return {
        "budget": {
            **by_metric,
            "description": "a test fails when a metric breaks its limit",
            "properties": {name: {"type": "number", "description": told[name]} for name in METRICS},
        },
        "gate": {
            "description": "with a baseline, a test fails when a metric gets worse by more than its threshold",
            "anyOf": [
                names,
                {"type": "array", "items": names},
                {**by_metric, "properties": {name: {"$ref": "#/$defs/gate-rule"} for name in METRICS}},
            ],
        },
    }


def main() -> None:
    """Write it into the package."""
    FILE.write_text(text(schema()), encoding="utf-8")


if __name__ == "__main__":
    main()
