"""`--lem-python ENGINE=PATH`: the engine under another interpreter, whose environment holds nothing of ours."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import fake_engine
import pytest
from engine_starts import run_once, spec, started

import pytest_lem.engines
from pytest_lem.engines import process
from pytest_lem.model.errors import EngineError
from pytest_lem.model.specs import WorkloadSpec

CHILD = Path(pytest_lem.engines.__file__).parent / "child"


@pytest.fixture(autouse=True)
def _fake_is_installed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(fake_engine.install(tmp_path / "site"))


@pytest.fixture
def bare_python(tmp_path):
    """An interpreter with the standard library and nothing else."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    return str(tmp_path / "bare" / "bin" / "python")


def test_an_interpreter_without_our_packages_runs_an_engine(tmp_path, bare_python):
    found = subprocess.run(
        [bare_python, "-c", "import pydantic"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert "No module named 'pydantic'" in found.stderr
    with started(spec(python=bare_python), tmp_path) as engine:
        engine.prepare(WorkloadSpec(batch=2, output_tokens=3))
        assert engine.run(2).tokens == 12
        assert engine.observed["executable"] == bare_python


@pytest.mark.parametrize("other", [False, True])
def test_the_engines_process_imports_neither_our_package_nor_pydantic(tmp_path, bare_python, other):
    with started(spec(python=bare_python if other else None), tmp_path) as engine:
        assert engine.observed["imported"] == []


def test_another_interpreter_does_not_inherit_the_paths_of_ours(tmp_path, bare_python, monkeypatch):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "queue.py").write_text("raise SystemExit('a module of ours was imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "ours"))
    with started(spec(python=bare_python), tmp_path) as engine:
        assert engine.alive


def test_an_engine_that_the_interpreter_lacks_is_told_with_what_installs_it(tmp_path, bare_python):
    with (
        pytest.raises(
            EngineError, match=r"No module named 'torch'; install it with: pip install 'pytest-lem"
        ) as caught,
        started(spec("pytorch", python=bare_python), tmp_path),
    ):
        pass
    assert f"--lem-python pytorch={bare_python}" in str(caught.value)
    assert caught.value.kind == "start"


def test_a_child_of_another_version_is_told_at_once(tmp_path, monkeypatch):
    old = tmp_path / "old"
    old.mkdir()
    (old / "__main__.py").write_text(
        "import os, sys, time\n"
        'hello = b\'{"type": "hello", "protocol": 0, "pid": 1, "python": "3.9.0"}\\n\'\n'
        "os.write(int(sys.argv[-1]), hello)\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(process, "CHILD", old)
    error = run_once(tmp_path)
    assert str(error) == "engine 'fake' speaks protocol 0, this pytest-lem speaks 2"
    assert error.kind == "protocol"


@pytest.mark.parametrize("file", sorted(CHILD.rglob("*.py")), ids=lambda file: file.name)
def test_the_childs_files_keep_to_the_syntax_of_python_3_9_and_to_packages_of_the_engine(file):
    tree = ast.parse(file.read_text(), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and node.level == 0
            else []
        )
    }
    engines = {"torch", "torchao", "transformers", "vllm", "tensorrt_llm"}
    assert imported <= set(sys.stdlib_module_names) | engines
