"""CI on this machine: files held against the schemas that check-jsonschema ships, and their steps run by bash.

What a run cannot show here: that GitHub evaluates the expressions as meant (tests give what they come to), and what
uses: does.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from check_jsonschema.builtin_schemas import get_builtin_schema
from project import ROOT
from ruamel.yaml import YAML


@cache
def documents(text: str) -> list[Any]:
    """Of a YAML file, as GitHub and GitLab read it: `on` is a word. For reading only."""
    return list(YAML(typ="safe", pure=True).load_all(text))


def faults(schema: str, text: str) -> list[str]:
    """What is wrong with a YAML file, by one of the schemas of check-jsonschema."""
    known = get_builtin_schema(schema)
    validator = jsonschema.validators.validator_for(known)(known)
    return [error.message for each in documents(text) for error in validator.iter_errors(each)]


def action_steps() -> dict[str, dict[str, Any]]:
    """The steps of action.yml that have a name."""
    (action,) = documents((ROOT / "action.yml").read_text())
    return {step["name"]: step for step in action["runs"]["steps"] if "name" in step}


def component(**inputs: Any) -> str:
    """The jobs of GitLab's component, its inputs put into the text as GitLab does."""
    head, _, jobs = (ROOT / "templates" / "gate.yml").read_text().partition("\n---\n")
    known = documents(head)[0]["spec"]["inputs"]
    for name, spec in known.items():
        value = inputs.get(name.replace("-", "_"), spec["default"])
        jobs = jobs.replace(f"$[[ inputs.{name} ]]", value if isinstance(value, str) else json.dumps(value))
    return jobs


def bash(script: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a step as runners do."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    print(done.stdout, done.stderr)  # noqa: T201 - for the report of a test that fails
    return done


def commands(folder: Path) -> Path:
    """Make `folder` hold what the installing step would: python, and lem."""
    folder.mkdir(parents=True)
    for name, words in (("python", ""), ("lem", " -m pytest_lem.cli")):
        executable(folder / name, f'exec "{sys.executable}"{words} "$@"')
    return folder


def executable(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
