"""What computes beneath an engine is named with its version: another kernel library is other ground."""

from __future__ import annotations

import sys

import pytest

from pytest_lem.engines.child.libraries import versions


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs libraries in folders of their own, the one that comes first on the path first."""
    monkeypatch.setattr(sys, "path", path := [])

    def install(folder: str, **versions: str) -> None:
        for name, version in versions.items():
            about = tmp_path / folder / f"{name}-{version}.dist-info"
            about.mkdir(parents=True)
            (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        path.append(str(tmp_path / folder))

    return install


def test_a_library_that_brings_kernels_is_named_and_others_are_not(installed):
    installed("site", Flash_Attn="2.8.3", nvidia_cudnn_cu13="9.15", requests="2.32", nvidia_ml_py="13.580")
    found = versions({"torch": "2.13.0"}, "13.0")
    assert found.pop("python")
    assert found == {"torch": "2.13.0", "cuda": "13.0", "flash-attn": "2.8.3", "nvidia-cudnn-cu13": "9.15"}


def test_of_two_that_are_installed_the_one_that_is_imported_is_told(installed):
    installed("above", triton="3.6.0")
    installed("beneath", triton="3.5.0")
    assert versions({}, None)["triton"] == "3.6.0"
