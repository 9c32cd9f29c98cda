"""docs/tensorrt.md: its table is the table of words, its example can be asked for, what it names is there."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from pytest_lem.doctor.software import engines
from pytest_lem.engines import registry
from pytest_lem.engines.child.tensorrt_words import TABLE, Word
from pytest_lem.engines.tensorrt import TensorrtOptions
from pytest_lem.model.specs import EngineSpec

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "tensorrt.md").read_text()
FIRST = (ROOT / "docs" / "tensorrt-first-run.md").read_text()
IMAGE = (ROOT / "docker" / "tensorrt.Dockerfile").read_text()
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", PAGE, re.M)}


def sections(text: str) -> list[dict]:
    """Every `tensorrt={...}` of a page."""
    return [ast.literal_eval(found) for found in re.findall(r"tensorrt=(\{[^{}.]*?[\d\w\"']\})", text, re.S)]


def test_the_pages_table_has_each_word_once_and_max_output_len():
    assert list(ROWS) == [*list(TABLE)[:2], "max_output_len", *list(TABLE)[2:]]


@pytest.mark.parametrize("word", TABLE.values(), ids=TABLE)
def test_a_row_names_the_keywords_that_the_word_becomes(word: Word):
    pytorch, engine = ROWS[word.name]
    for paths, cell in ((word.pytorch, pytorch), (word.engine, engine)):
        told = pytorch if cell == "the same" else cell
        assert cell.startswith("–") is (not paths)
        assert all(f"`{path}`" in told for path in paths if path != word.name or not cell.startswith("also"))


@pytest.mark.parametrize("text", [PAGE, FIRST], ids=["page", "first run"])
def test_every_section_that_a_page_shows_can_be_asked_for(text):
    shown = sections(text)
    assert shown
    for options in shown:
        names = {name for name in options if name in TensorrtOptions.model_fields}
        assert names == set(options)
        assert registry.validate(EngineSpec(backend="tensorrt", options=options)).options.items() >= options.items()


def test_all_say_that_it_has_not_run_on_a_real_installation():
    told = [PAGE, FIRST, (ROOT / "README.md").read_text(), (ROOT / "CHANGELOG.md").read_text()]
    assert all(re.search(r"not\s+yet\s+run", text) for text in told)
    assert "Checked by reading only" in IMAGE


def test_the_image_copies_what_is_there():
    for line in re.findall(r"^COPY (.*)$", IMAGE, re.M):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources)


def test_the_doctor_says_what_to_install_and_how_to_point_at_it():
    (found,) = (each for each in engines(sys.executable) if each.about == "engine tensorrt")
    assert found.level in ("note", "error")
    assert "environment of its own (it pins another torch than vLLM does)" in found.mend
    assert "--lem-python=tensorrt=/path/to/its/python" in found.mend
