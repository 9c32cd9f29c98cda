"""What vLLM keeps is compared with what was asked as a user means it, and errors of its core are found in its log."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field

import pytest

from pytest_lem.engines.child import vllm_faults
from pytest_lem.engines.child.vllm_values import like, lowered, plain


class Mode(enum.IntEnum):
    NONE = 0
    VLLM_COMPILE = 3


class Graphs(enum.Enum):
    PIECEWISE = 1
    FULL_AND_PIECEWISE = (2, 1)


@dataclass
class Passes:
    fuse: bool = True


@dataclass
class Compilation:
    mode: Mode = Mode.VLLM_COMPILE
    cudagraph_mode: Graphs = Graphs.PIECEWISE
    pass_config: Passes = field(default_factory=Passes)
    custom_ops: tuple[str, ...] = ("none", "+rms_norm")


@pytest.mark.parametrize(
    "asked",
    [
        {"mode": 3},
        {"mode": "VLLM_COMPILE", "cudagraph_mode": "PIECEWISE"},
        {"cudagraph_mode": 1, "pass_config": {"fuse": True}},
        {"custom_ops": ["+rms_norm"]},
    ],
)
def test_what_is_kept_as_it_was_asked_reads_as_it_was_asked(asked):
    assert like(asked, Compilation()) == asked


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"mode": 0}, {"mode": 3}),
        ({"cudagraph_mode": "FULL_AND_PIECEWISE"}, {"cudagraph_mode": 1}),
        ({"pass_config": {"fuse": False}}, {"pass_config": {"fuse": True}}),
        ({"custom_ops": ["+silu"]}, {"custom_ops": ["none", "+rms_norm"]}),
        ({"level": 3}, {"level": None}),
    ],
)
def test_what_is_kept_otherwise_reads_as_it_is(asked, found):
    assert like(asked, Compilation()) == found


def test_what_a_worker_lowered_is_a_difference():
    asked = {"mode": 3, "cudagraph_mode": "FULL_AND_PIECEWISE"}
    config = Compilation(cudagraph_mode=Graphs.FULL_AND_PIECEWISE)
    assert like(asked, lowered(config, 3, "FULL_AND_PIECEWISE")) == asked
    assert like(asked, lowered(config, 0, "PIECEWISE")) == {"mode": 0, "cudagraph_mode": 1}
    assert config.mode is Mode.VLLM_COMPILE


def test_sizes_that_vllm_sorts_and_a_section_that_is_off():
    assert like([8, 4, 2, 1], [1, 2, 4, 8]) == [8, 4, 2, 1]
    assert like([8, 4], []) == []
    assert like({"method": "ngram"}, None) is None
    assert plain({"a": Graphs.FULL_AND_PIECEWISE, "b": (1, Mode.NONE)}) == {"a": "FULL_AND_PIECEWISE", "b": [1, 0]}


@pytest.fixture
def log(tmp_path, monkeypatch):
    path = tmp_path / "engine.log"
    monkeypatch.setattr(os, "readlink", lambda _: str(path))
    return path


SHELL = RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")


def test_an_error_that_says_see_above_becomes_the_one_above(log):
    log.write_text("ERROR ValueError: head_dim 16 is not supported\nRuntimeError: Engine core initialization failed.\n")
    cause = vllm_faults.root_cause(SHELL)
    assert str(cause) == "vLLM's core said ValueError: head_dim 16 is not supported"


def test_a_lack_of_memory_in_a_core_is_a_memory_error_with_vllms_mends(log):
    log.write_text("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n")
    cause = vllm_faults.root_cause(SHELL)
    assert isinstance(cause, MemoryError)
    assert "Tried to allocate 2 GiB; or set max_model_len, max_num_seqs or gpu_memory_utilization" in str(cause)


def test_a_core_that_died_in_a_run_is_explained_too(log):
    class EngineDeadError(Exception):
        pass

    log.write_text("ValueError: no such kernel\n")
    with pytest.raises(RuntimeError, match="no such kernel"), vllm_faults.core_faults():
        raise EngineDeadError("EngineCore encountered an issue. See stack trace (above) for the root cause.")


def test_an_error_that_explains_itself_stays_what_it_is(log):
    fault = TypeError("an unexpected keyword")
    with pytest.raises(TypeError) as caught, vllm_faults.core_faults():
        raise fault
    assert caught.value is fault


def test_without_a_log_the_error_stays_what_it_is(log):
    assert vllm_faults.root_cause(SHELL) is SHELL
