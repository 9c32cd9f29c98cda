"""The built wheel installs where there is nothing else, and holds all that it needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from project import ROOT

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # From a copy: setuptools writes beside what it builds, and another worker may build at the same time.
    source = folder / "source"
    shutil.copytree(ROOT / "pytest_lem", source / "pytest_lem", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that holds the wheel and what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    return python


def test_it_holds_the_schemas_the_model_shapes_the_engines_child_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packaged = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "pytest_lem").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packaged - set(names) == set()
    assert any(name.startswith("pytest_lem/store/schemas/") and name.endswith(".json") for name in names)
    assert "pytest_lem/engines/synthetic/llama-3.2-1b.json" in names
    for name in ("assets/page.html", "vendor/echarts.min.js", "vendor/LICENSE", "vendor/NOTICE"):
        assert f"pytest_lem/render/html/{name}" in names
    assert {name.split("/")[0] for name in names} == {"pytest_lem", "pytest_lem-0.1.0.dist-info"}


def test_a_plain_pytest_finds_the_plugin_and_its_options(python: Path, tmp_path: Path) -> None:
    assert "pytest 9" in run(python, "-m", "pytest", "--version", cwd=tmp_path)
    help_text = run(python, "-m", "pytest", "--help", cwd=tmp_path)
    assert "--lem-backend" in help_text
    assert "--lem-demo" in help_text


def test_the_public_names_import_without_torch(python: Path, tmp_path: Path) -> None:
    names = "[getattr(pytest_lem, name).__name__ for name in pytest_lem.__all__[1:]]"
    code = f"import pytest_lem; print(pytest_lem.__version__, {names})"
    told = run(python, "-c", code, cwd=tmp_path)
    assert told.startswith("0.1.0 ")
    assert "'Measurement'" in told


def test_a_test_that_measures_a_window_runs_there(python: Path, tmp_path: Path) -> None:
    (tmp_path / "test_smoke.py").write_text(
        "import time\n\n"
        "def test_sleep(lem_energy):\n"
        "    with lem_energy.window('nap') as found:\n"
        "        time.sleep(0.2)\n"
        "    assert found.seconds >= 0.2\n"
    )
    told = run(python, "-m", "pytest", "-p", "no:cacheprovider", "--lem-html=page.html", tmp_path, cwd=tmp_path)
    assert "1 passed" in told
    assert "Apache ECharts" in (tmp_path / "page.html").read_text()
