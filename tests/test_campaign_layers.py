"""The highest layer that says a keyword decides it, and is named as its origin."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.campaign.grid import origins
from pytest_lem.campaign.matrix import Emptied, Layers, cells, protocol
from pytest_lem.model.specs import EngineSpec, ProtocolSpec, WorkloadSpec

ENGINES = ("pytorch", "vllm")
VALUES: dict[str, list[Any]] = {
    "backend": ["pytorch", "vllm"],
    "model": ["synthetic:tiny", "other"],
    "precision": ["bfloat16", "float16", "float32"],
    "device": ["cpu", "cuda"],
    "gpus": [1, 2],
    "batch": [1, 8, 64],
    "prompt_tokens": [16, 32],
    "output_tokens": [4, 8],
    "seed": [1, 2],
    "target_qps": [None, 2.0],
    "rounds": [3, 9],
    "round_seconds": [1.0, 2.0],
}
IN_INI = ("backend", "model", "precision", "batch", "rounds", "round_seconds")
PLACES = {"experiment": "marker m, experiments[0]", "marker": "marker m", "project": "lem.yaml:7", "settings": "ini"}


@st.composite
def stacks(draw):
    """A keyword, and what some of the layers say of it."""
    name = draw(st.sampled_from(sorted(VALUES)))
    possible = ["experiment", "marker", "project", *(["settings", "command"] if name in IN_INI else [])]
    chosen = draw(st.lists(st.sampled_from(possible), unique=True))
    return name, {layer: draw(st.sampled_from(VALUES[name])) for layer in chosen}


def stacked(name, said):
    marker = {name: said["marker"]} if "marker" in said else {}
    marker |= {"experiments": {name: said["experiment"]}} if "experiment" in said else {}
    return Layers(
        marker,
        {name: said.get("command")},
        {name: said.get("settings")},
        {},
        project={name: said["project"]} if "project" in said else {},
        origins={
            "marker": dict.fromkeys(marker, "marker m"),
            "project": {name: "lem.yaml:7"},
            "settings": {name: "ini"},
        },
    )


@given(stacks())
def test_the_highest_layer_decides_and_is_named(stack):
    name, said = stack
    found = cells(stacked(name, said), ENGINES)
    own = next((said[layer] for layer in ("experiment", "marker") if layer in said), None)
    if name in ("backend", "precision", "batch") and "command" in said and own not in (None, said["command"]):
        assert isinstance(found, Emptied)
        return
    (cell,) = found
    nearest = next((layer for layer in ("command", *PLACES) if layer in said), None)
    spec = next(kind for kind in (EngineSpec, WorkloadSpec, ProtocolSpec) if name in kind.model_fields)
    default = "pytorch" if name == "backend" else spec.model_fields[name].default
    ran = {**protocol(cell.point.layers, quick=False).model_dump(), **dict(cell.engine), **dict(cell.workload)}
    assert ran[name] == (said[nearest] if nearest else default)
    if spec is not ProtocolSpec:
        origin = origins(cell.point).get(name)
        option = f"--lem-{name}"
        if nearest == "command":
            kept = name != "model" and next((PLACES[layer] for layer in ("experiment", "marker") if layer in said), "")
            assert origin == (f"{kept}, kept by {option}" if kept else option)
        else:
            assert origin == (PLACES[nearest] if nearest else None)


def test_the_command_line_replaces_what_the_project_lists_and_restricts_what_the_marker_does():
    below = Layers({}, {"batch": ["16"]}, {}, {}, project={"batch": [1, 8]})
    assert [cell.workload.batch for cell in cells(below, ENGINES)] == [16]
    own = Layers({"batch": [1, 8]}, {"batch": ["16"]}, {}, {}, project={"batch": [16]})
    assert isinstance(cells(own, ENGINES), Emptied)


def test_a_test_may_take_back_what_the_project_leaves_out():
    project = {"batch": [1, 8], "unless": {"batch": 8}}
    assert len(cells(Layers({}, {}, {}, {}, project=project), ENGINES)) == 1
    assert len(cells(Layers({"unless": []}, {}, {}, {}, project=project), ENGINES)) == 2


def test_a_section_belongs_to_the_nearest_layer_whole_and_each_option_knows_its_line():
    project = {"pytorch": {"use_cache": False, "num_threads": 2}}
    lines = {
        "project": {"pytorch": "lem.yaml:3", "pytorch.use_cache": "lem.yaml:4", "pytorch.num_threads": "lem.yaml:5"}
    }
    (cell,) = cells(Layers({}, {}, {}, {}, project=project, origins=lines), ENGINES)
    assert origins(cell.point)["pytorch.num_threads"] == "lem.yaml:5"
    (own,) = cells(Layers({"pytorch": {"use_cache": True}}, {}, {}, {}, project=project, origins=lines), ENGINES)
    assert own.engine.options == {"use_cache": True}


def test_a_first_look_is_short_whatever_lem_yaml_says():
    layers = Layers({}, {}, {}, {}, project={"rounds": 30, "max_seconds": 9.0})
    assert (protocol(layers, quick=True).rounds, protocol(layers, quick=True).max_seconds) == (4, 9.0)
    assert protocol(layers, quick=False).rounds == 30
