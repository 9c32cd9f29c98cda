"""What TensorRT-LLM publishes of itself, a file a version, and a strict stand-in that is built of it.

`install(folder, version)` makes `folder`, to be put on an interpreter's path, hold a package `tensorrt_llm` that takes
what the contract names and nothing else, and a `torch` with as much of CUDA as the adapter asks.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

KEPT = Path(__file__).with_name("tensorrt_contracts")
ENGINE = Path(__file__).with_name("tensorrt_fake_engine.py")
TORCH = Path(__file__).with_name("tensorrt_fake_torch.py")
VERSIONS = ("1.0", "1.1", "1.2", "newest")
WITH_ENGINES = ("1.0", "1.1", "1.2")
SECTIONS = {
    "kv_cache_config": "KvCacheConfig",
    "cuda_graph_config": "CudaGraphConfig",
    "extended_runtime_perf_knob_config": "ExtendedRuntimePerfKnobConfig",
    "build_config": "BuildConfig",
    "quant_config": "QuantConfig",
}
HEAD = """from __future__ import annotations
from typing import Any, Dict, List, Literal, Optional, Union
from tensorrt_llm._fake import Field, Strict, get_type_repr, required
"""
# What llmapi/llm_args.py has from elsewhere, as in the library.
IMPORTS = {
    "BuildConfig": "from ..builder import BuildConfig\n",
    "QuantConfig": "from tensorrt_llm.models.modeling_utils import QuantConfig\n",
    "BuildCacheConfig": "from .build_cache import BuildCacheConfig\n",
}


@cache
def read(version: str) -> dict[str, Any]:
    """The contract that is kept for `version`."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    contract: dict[str, Any] = yaml.load((KEPT / f"{version}.yaml").read_text(encoding="utf-8"), loader)
    return contract


def fields(contract: dict[str, Any], name: str) -> dict[str, Any]:
    """The fields of a class, with those of its bases."""
    found: dict[str, Any] = {}
    for base in contract["classes"][name].get("bases", ()):
        found |= fields(contract, base)
    return found | contract["classes"][name]["fields"]


def install(folder: Path, version: str = "1.2") -> Path:
    """Make `folder` hold `tensorrt_llm` of this version, and `torch`."""
    contract = read(version)
    package = folder / "tensorrt_llm"
    for place in ("llmapi", "models", "_tensorrt_engine"):
        (package / place).mkdir(parents=True)
    (package / "contract.json").write_text(json.dumps(contract))
    shutil.copy(ENGINE, package / "_fake.py")
    for file in {each["file"] for each in contract["classes"].values()}:
        (package / file).write_text(HEAD + "".join(_source(contract, file)))
    exports = [name for name in SECTIONS.values() if name in known(contract)]
    lines = [f"from tensorrt_llm.{_module(contract, name)} import {name}" for name in exports]
    lines += ["from tensorrt_llm._fake import LLM, enumerations", "globals().update(enumerations)"]
    if "BuildCacheConfig.__init__" in contract["methods"]:
        (package / "llmapi" / "build_cache.py").write_text(_build_cache(contract))
        lines.append("from tensorrt_llm.llmapi.build_cache import BuildCacheConfig")
    (package / "llmapi" / "__init__.py").write_text("\n".join(lines) + "\n")
    (package / "__init__.py").write_text(
        f"from tensorrt_llm._fake import LLM\nfrom tensorrt_llm.sampling_params import SamplingParams\n"
        f"from tensorrt_llm import llmapi\n__version__ = {contract['version']!r}\n"
    )
    if contract["engine_backend"]:
        (package / "_tensorrt_engine" / "__init__.py").write_text("from tensorrt_llm._fake import EngineLLM as LLM\n")
    else:
        (package / "_tensorrt_engine").rmdir()
    shutil.copy(TORCH, folder / "torch.py")
    info = folder / f"tensorrt_llm-{contract['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorrt_llm\nVersion: {contract['version']}\n")
    (info / "top_level.txt").write_text("tensorrt_llm\n")
    return folder


def interpreter(folder: Path, version: str = "1.2", *, beside: str = "") -> str:
    """An interpreter of its own that holds the stand-in, the standard library, and nothing of ours.

    A package `beside` it is one of this interpreter's.
    """
    place = folder / "tensorrt-env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (site,) = place.glob("lib/python*/site-packages")
    (site / "tensorrt.pth").write_text(f"{install(folder / 'tensorrt-site', version)}\n")
    if beside:
        (site / beside).symlink_to(Path(find_spec(beside).origin).parent)
    return str(place / "bin" / "python")


def known(contract: dict[str, Any]) -> set[str]:
    """The classes of a contract, by any name."""
    return {*contract["classes"], *contract.get("aliases", {})}


def _module(contract: dict[str, Any], name: str) -> str:
    file: str = contract["classes"].get(name, {"file": "llmapi/llm_args.py"})["file"]
    return file.removesuffix(".py").replace("/", ".")


def _source(contract: dict[str, Any], file: str) -> list[str]:
    """The source of a file of the library, as far as the contract knows it: declared as there, and never evaluated."""
    found = []
    if file == "llmapi/llm_args.py" and contract["engine_backend"]:
        found += list(IMPORTS.values())
    for name, each in contract["classes"].items():
        if each["file"] == file:
            base = ", ".join(each.get("bases") or ["Strict"])
            lines = [f"    {field}: {told['annotation']} = {_value(told)}" for field, told in each["fields"].items()]
            found.append(f"class {name}({base}):\n" + "\n".join(lines) + "\n")
    if file == "llmapi/llm_args.py":
        found += [f"{name} = {meant}\n" for name, meant in contract.get("aliases", {}).items()]
    return found


def _value(told: dict[str, Any]) -> str:
    """A field's default. Where its kind is kept beside it, it is said there as the library does."""
    default = _default(told["default"])
    if "type" not in told:
        return default
    kind = re.sub(r"\w+Config", lambda name: f"{{get_type_repr({name[0]})}}", told["type"])
    return f'Field(default={default}, json_schema_extra={{"type": f"{kind}"}})'


def _build_cache(contract: dict[str, Any]) -> str:
    """A class that is made of parameters, and has no fields."""
    parameters = contract["methods"]["BuildCacheConfig.__init__"]["parameters"]
    told = ", ".join(f"{name}: {each['annotation']} = {each['default']!r}" for name, each in parameters.items())
    body = "\n".join(f"        self.{name} = {name}" for name in parameters)
    return f"{HEAD}class BuildCacheConfig:\n    def __init__(self, {told}):\n{body}\n"


def _default(value: Any) -> str:
    return "required" if value == "inspect._empty" else repr(value)
