"""What can be asked for, and the one line that says why something cannot."""

from __future__ import annotations

import sys

import fake_engine
import pytest

from pytest_lem.engines import models, registry
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import EngineSpec


def message(**fields) -> str:
    with pytest.raises(UsageError) as caught:
        registry.validate(EngineSpec(**{"backend": "pytorch", **fields}))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_pytorch_engine_is_built_in():
    assert registry.names()[0] == "pytorch"
    entry = registry.entry("pytorch")
    assert entry.adapter.is_file()
    assert entry.precisions == ("float32", "float16", "bfloat16")
    assert entry.needs == "pip install 'pytest-lem[pytorch]'"


def test_another_distribution_adds_an_engine(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(fake_engine.install(tmp_path))
    assert "fake" in registry.names()
    assert registry.entry("fake").adapter.name == "fake_engine.py"


def test_an_unknown_backend_is_told_with_the_nearest_and_those_installed():
    with pytest.raises(UsageError) as caught:
        registry.entry("pytroch")
    assert str(caught.value).startswith("--lem-backend: unknown backend 'pytroch'; did you mean 'pytorch'?")
    assert "Installed backends: pytorch" in str(caught.value)


def test_the_place_of_an_unknown_backend_is_the_callers():
    with pytest.raises(UsageError, match=r"^lem\.yaml:3: unknown backend 'x'"):
        registry.entry("x", place="lem.yaml:3")


def test_an_entry_point_that_is_no_engine_is_told(tmp_path, monkeypatch):
    site = fake_engine.install(tmp_path)
    points = site / "lem_fake-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text().replace("ENTRY", "Path"))
    monkeypatch.syspath_prepend(site)
    with pytest.raises(UsageError, match="entry point 'lem_fake:Path' is no EngineEntry"):
        registry.entry("fake")


def test_options_are_filled_with_their_defaults_and_those_without_a_value_left_out():
    spec = registry.validate(EngineSpec(backend="pytorch"))
    assert spec.options == {"use_cache": True}
    assert registry.validate(spec) == spec


def test_the_attention_implementation_is_taken_under_both_its_names():
    specs = [
        registry.validate(EngineSpec(backend="pytorch", options={name: "eager"}))
        for name in ("attention_implementation", "attn_implementation")
    ]
    assert specs[0] == specs[1]
    assert specs[0].options["attention_implementation"] == "eager"


def test_an_unknown_option_is_told_by_its_section_with_the_nearest():
    assert message(options={"use_cahce": False}).startswith(
        "pytorch: unknown option 'use_cahce'; did you mean 'use_cache'? Known options: attention_implementation, "
    )


def test_an_option_of_the_wrong_kind_is_told_with_its_value():
    assert message(options={"num_threads": 0}).startswith("pytorch: option num_threads=0: ")


def test_an_unknown_synthetic_model_is_told_with_the_nearest():
    text = message(model="synthetic:llama-3.2-1B")
    assert text.startswith(
        "--lem-model: unknown model 'synthetic:llama-3.2-1B'; did you mean 'synthetic:llama-3.2-1b'?"
    )
    assert "Bundled shapes: llama-3.1-8b, llama-3.2-1b, llama-3.2-3b, qwen2.5-0.5b, tiny, tiny-moe" in text


def test_a_model_folder_without_a_config_is_told(tmp_path):
    assert message(model=str(tmp_path)).startswith(f"--lem-model: model folder {tmp_path} has no config.json; ")


def test_a_model_folder_that_does_not_exist_is_told(tmp_path):
    assert message(model=f"{tmp_path}/nowhere") == f"--lem-model: model folder {tmp_path}/nowhere does not exist"


def test_a_gguf_file_that_its_folder_lacks_is_told(tmp_path):
    assert f"model folder {tmp_path} has no a.gguf" in message(model=str(tmp_path), options={"gguf_file": "a.gguf"})


def test_a_folder_with_a_model_is_given_by_its_full_path(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert models.locate("./model") == models.ModelSource("folder", str(tmp_path / "model"))
    assert models.locate("model") == models.ModelSource("folder", str(tmp_path / "model"))


@pytest.mark.parametrize("name", ["HuggingFaceTB/SmolLM2-135M", "gpt2"])
def test_any_other_name_is_one_of_a_hub(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert models.locate(name) == models.ModelSource("hub", name)


def test_a_precision_that_the_engine_does_not_run_is_told_with_those_it_does(tmp_path, monkeypatch):
    site = fake_engine.install(tmp_path)
    module = site / "lem_fake.py"
    module.write_text(module.read_text().replace("needs=", "('float32',), needs="))
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "lem_fake", raising=False)
    text = message(backend="fake", precision="bf16")
    sys.modules.pop("lem_fake")  # the changed one: monkeypatch would bring it back for the tests that follow
    assert text == "--lem-precision: backend 'fake' does not run bfloat16; it runs float32"


def test_an_interpreter_that_does_not_exist_is_told_by_its_option(tmp_path):
    assert message(python=f"{tmp_path}/python") == (
        f"--lem-python pytorch={tmp_path}/python: there is no interpreter at that path"
    )
