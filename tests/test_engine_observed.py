"""What an engine really runs with is compared with what was asked: each field falsified once."""

from __future__ import annotations

import fake_engine
import pytest
from engine_starts import spec, started

from pytest_lem.engines.host import Engine
from pytest_lem.engines.observed import check_observed
from pytest_lem.model.errors import EngineError

GPU = "GPU-5c0ffee0-1111-2222-3333-444455556666"
OTHER = "GPU-0badcafe-1111-2222-3333-444455556666"
REQUEST = {
    "precision": "bfloat16",
    "device": "cuda",
    "gpus": (GPU,),
    "options": {"attention_implementation": "eager", "use_cache": False, "gguf_file": None},
}
OBSERVED = {
    "precision": "bfloat16",
    "device": "cuda",
    "gpus": [GPU],
    "options": {"attention_implementation": "eager", "use_cache": False, "num_threads": 8},
}


def test_what_runs_as_asked_has_no_difference():
    assert check_observed(REQUEST, OBSERVED) is None


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("precision", "float32", "precision: asked 'bfloat16', observed 'float32'"),
        ("device", "cpu", "device: asked 'cuda', observed 'cpu'"),
        ("gpus", [OTHER], f"gpus: asked ['{GPU}'], observed ['{OTHER}']"),
        ("gpus", [], f"gpus: asked ['{GPU}'], observed []"),
    ],
)
def test_a_field_that_differs_is_named_with_both_values(field, value, words):
    assert check_observed(REQUEST, {**OBSERVED, field: value}) == f"does not run as asked: {words}"


@pytest.mark.parametrize(
    ("option", "value"), [("attention_implementation", "sdpa"), ("use_cache", True), ("use_cache", None)]
)
def test_an_option_that_differs_or_was_not_read_back_is_named(option, value):
    observed = {**OBSERVED, "options": {**OBSERVED["options"], option: value}}
    asked = REQUEST["options"][option]
    assert check_observed(REQUEST, observed) == f"does not run as asked: {option}: asked {asked!r}, observed {value!r}"


@pytest.mark.parametrize(
    ("field", "value"),
    [("precision", "float32"), ("device", "cpu"), ("gpus", [OTHER]), ("token_seconds", 7.0)],
)
def test_an_engine_that_runs_otherwise_than_asked_is_stopped(tmp_path, monkeypatch, field, value):
    monkeypatch.syspath_prepend(fake_engine.install(tmp_path / "site"))
    asked = spec(device="cuda", options={"wrong": {field: value}})
    with pytest.raises(EngineError, match=f"does not run as asked: {field}: asked .*, observed ") as caught:
        Engine.start(asked, gpus=(GPU,), log_path=tmp_path / "log")
    assert caught.value.kind == "mismatch"


def test_nothing_is_compared_where_nothing_was_asked(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(fake_engine.install(tmp_path / "site"))
    with started(spec(), tmp_path) as engine:
        assert engine.observed["gpus"] == []
