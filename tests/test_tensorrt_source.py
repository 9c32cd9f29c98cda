"""Names of sections are read out of source in which a class may have another name, another file, or none of its own."""

from __future__ import annotations

import pytest

from pytest_lem.engines.child import tensorrt_source as source

ARGS = """
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Dict, Optional, Union
from tensorrt_llm.far.away import Distant as Near
from .beside import Exported
from ..builder import Built
from . import beside
if TYPE_CHECKING:
    from .beside import Late
try:
    from elsewhere import Missing
except ImportError:
    Missing = None

class Base(StrictBaseModel):
    kind: ClassVar[str] = "base"
    _private: int = 0
    shared: int = 1

class One(Base):
    first: Optional[int] = None

class Two(Base):
    second: int = Field(default=1, alias="zweites", validation_alias=AliasChoices("deuxieme", "_hidden"))

Other: TypeAlias = Optional[Annotated[Union[One, Two], Field(discriminator="kind")]]
Renamed = One

class Args(Base):
    union: Other = None
    renamed: Renamed = None
    imported: Optional[Near] = None
    exported: Exported = None
    late: Optional["Late"] = None
    told: Optional[object] = Field(default=None, json_schema_extra={"type": f"Optional[{get_type_repr(Built)}]"})
    parameters: object = Field(default=None, json_schema_extra={"type": f"{get_type_repr(Parameters)}"})
    anything: Dict[str, One] = None
    missing: Optional[Missing] = None
    number: int = 1

class Parameters:
    def __init__(self, root: Optional[str] = None, *, limit: int = 1): ...
"""
FILES = {
    "llmapi/llm_args.py": ARGS,
    "llmapi/beside.py": "from ..builder import Built as Exported\nclass Late:\n    later: int = 1\n",
    "builder/__init__.py": "from .deep import Built\n",
    "builder/deep.py": "class Built:\n    size: int = 1\n    inner: 'Inner' = None\nclass Inner:\n    depth: int = 1\n",
    "far/away.py": "class Distant:\n    distance: int = 1\n",
}


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The fields of `Args`, of a package that is written here."""
    package = tmp_path_factory.mktemp("site") / source.PACKAGE
    for name, text in FILES.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    found = source.find(package / "llmapi" / "llm_args.py", "Args")
    assert found is not None
    return source.fields(found)


def test_fields_are_those_of_the_class_and_its_bases_and_none_that_is_private_or_the_classs_own(known):
    assert list(known)[:2] == ["shared", "union"]
    assert {"kind", "_private"}.isdisjoint(known)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("union", {"shared", "first", "second", "zweites", "deuxieme"}),
        ("renamed", {"shared", "first"}),
        ("imported", {"distance"}),
        ("exported", {"size", "inner"}),
        ("late", {"later"}),
        ("told", {"size", "inner"}),
        ("parameters", {"root", "limit"}),
        ("anything", set()),
        ("missing", set()),
        ("number", set()),
    ],
)
def test_a_section_has_the_fields_of_the_classes_that_it_may_be(known, field, expected):
    assert set(source.section(known[field])) == expected


def test_a_section_within_a_section_is_followed_in_its_own_file(known):
    built = source.section(known["told"])
    assert set(source.section(built["inner"])) == {"depth"}


def test_what_is_not_there_is_none(tmp_path):
    assert source.find(tmp_path / "llm_args.py", "Args") is None
