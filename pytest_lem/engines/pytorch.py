"""The PyTorch engine as the parent knows it: its options and where its adapter lies. Imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, field_validator, model_validator

from pytest_lem.engines.child.pytorch_split import is_split, misfit, replicas, sizes
from pytest_lem.engines.child.replica_shares import shares
from pytest_lem.engines.entry import EngineEntry
from pytest_lem.engines.models import locate
from pytest_lem.model.specs import Frozen, WorkloadSpec
from pytest_lem.workloads.work import Work

ATTENTIONS = ("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3")
Quantization = Literal[
    "4bit",
    "8bit",
    "int8_weight_only",
    "int8_dynamic_activation_int8_weight",
    "int4_weight_only",
    "float8_weight_only",
]
CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
GRAPHS = ("reduce-overhead", "max-autotune")
SHAPED = (*GRAPHS, "default", "max-autotune-no-cudagraphs", "static")
_HUB_KERNEL = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?(:[\w.-]+)?")


class PytorchOptions(Frozen):
    """The section `pytorch={...}` of a marker: how transformers runs the model. `docs/pytorch.md` says what each does.

    `attention_implementation` is `eager`, `sdpa`, `flex_attention`, `flash_attention_2`, `flash_attention_3` or a hub
    kernel, `owner/name` (also accepted as `attn_implementation`); None leaves the choice to transformers.
    `quantization` is what is made of the linear layers while loading; files that are quantised already need no word.
    `torch_compile` is a mode of torch.compile, or True for its default one; with a static cache None leaves it to
    transformers, which compiles on a GPU. `prompt_lookup_num_tokens` and `assistant_model` (a model as `model` is one)
    are assisted generation, for batch 1. `gguf_file` names a GGUF file in the model's folder or repository.
    `num_threads` fixes torch's CPU threads. `traffic` is how requests are served that come one by one: `continuous`
    batching, or a `queue`, where all that has come, up to `batch`, is decoded together; None takes the first where the
    model can. `tensor_parallel_size` ranks share each layer, `pipeline_parallel_size` stages share the layers,
    `data_parallel_size` replicas share the requests, each with all of the model: a process each, on a GPU each or
    together on the CPU. `device_map` places the layers of one process on as many GPUs as `gpus` says: `auto`,
    `balanced`, `balanced_low_0`, `sequential`, or module → GPU (its number among them), where the highest number says
    how many GPUs. One of them works at a time.
    """

    attention_implementation: str | None = Field(
        default=None, validation_alias=AliasChoices("attention_implementation", "attn_implementation")
    )
    use_cache: bool = True
    cache_implementation: Literal["dynamic", "static"] | None = None
    quantization: Quantization | None = None
    torch_compile: bool | CompileMode | None = None
    torch_compile_backend: str | None = Field(default=None, min_length=1)
    prompt_lookup_num_tokens: int | None = Field(default=None, ge=1)
    assistant_model: str | None = Field(default=None, min_length=1)
    num_assistant_tokens: int | None = Field(default=None, ge=1)
    matmul_precision: Literal["highest", "high", "medium"] | None = None
    tf32: bool | None = None
    deterministic: bool | None = None
    gguf_file: str | None = None
    num_threads: int | None = Field(default=None, ge=1)
    traffic: Literal["continuous", "queue"] | None = None
    tensor_parallel_size: int | None = Field(default=None, ge=1)
    pipeline_parallel_size: int | None = Field(default=None, ge=1)
    data_parallel_size: int | None = Field(default=None, ge=1)
    device_map: Literal["auto", "balanced", "balanced_low_0", "sequential"] | dict[str, int | str] | None = None

    @field_validator("attention_implementation")
    @classmethod
    def _known_attention(cls, name: str | None) -> str | None:
        if name is not None and name not in ATTENTIONS and not _HUB_KERNEL.fullmatch(name):
            raise ValueError(f"expected {', '.join(ATTENTIONS)}, or a hub kernel's owner/name")
        return name

    @field_validator("assistant_model")
    @classmethod
    def _known_assistant(cls, name: str | None) -> str | None:
        if name is not None:
            locate(name, place="pytorch: option assistant_model")
        return name

    @field_validator("device_map")
    @classmethod
    def _known_devices(cls, given: str | dict[str, int | str] | None) -> str | dict[str, int | str] | None:
        return (
            {module: _device(module, device) for module, device in given.items()} if isinstance(given, dict) else given
        )

    @model_validator(mode="after")
    def _go_together(self) -> PytorchOptions:
        contradiction = _contradiction(self) or _several(self) or _misplaced(self)
        if contradiction:
            raise ValueError(contradiction)
        return self


def _device(module: str, given: int | str) -> int | str:
    """A GPU's number, or `cpu`. Raises ValueError for weights that would lie elsewhere while the model runs."""
    found = re.fullmatch(r"(?:cuda:)?(\d+)", str(given))
    if found:
        return int(found[1])
    if given != "cpu":
        told = "weights there are offloaded, not placed; " if given in ("disk", "meta") else ""
        raise ValueError(f"{module!r} on {given!r}: {told}give a GPU's number, from 0 on, or cpu")
    return "cpu"


def _contradiction(asked: PytorchOptions) -> str | None:
    """Two options that cannot be had together, with the mend; or None."""
    assisted = asked.prompt_lookup_num_tokens or asked.assistant_model
    static = asked.cache_implementation == "static"
    compiled = asked.torch_compile not in (None, False)
    faults = {
        "prompt_lookup_num_tokens and assistant_model both draft tokens; keep one of them": (
            asked.prompt_lookup_num_tokens and asked.assistant_model
        ),
        "num_assistant_tokens is about an assistant; name assistant_model beside it": (
            asked.num_assistant_tokens and not asked.assistant_model
        ),
        "assisted generation needs the cache; leave use_cache=False out": assisted and not asked.use_cache,
        "cache_implementation is about a cache; leave use_cache=False out": (
            asked.cache_implementation and not asked.use_cache
        ),
        "assisted generation takes tokens back, which transformers' static cache cannot; "
        "leave cache_implementation='static' out": assisted and static,
        "assisted generation has another shape at every step; leave torch_compile out": assisted and compiled,
        "torch_compile_backend is about torch_compile; say torch_compile=True beside it": (
            asked.torch_compile_backend and not compiled
        ),
        f"torch_compile={asked.torch_compile!r} records CUDA graphs, which want addresses that stay; "
        "take cache_implementation='static', or another mode": asked.torch_compile in GRAPHS and not static,
        "tf32 and matmul_precision say the same thing; keep one of them": (
            asked.tf32 is not None and asked.matmul_precision
        ),
        "quantization is made of weights as they are; a gguf_file is dequantised: keep one of them": (
            asked.quantization and asked.gguf_file
        ),
    }
    return _first(faults)


def _several(asked: PytorchOptions) -> str | None:
    """What several ranks cannot do, with the mend; or None."""
    options = asked.model_dump()
    shared = is_split(options)
    faults = {
        "a model that ranks share is neither compiled, quantised nor assisted here, and its cache grows; "
        "keep tensor_parallel_size and pipeline_parallel_size by themselves": shared and _changed(asked),
        f"data_parallel_size={asked.data_parallel_size}: replicas of a model that ranks share are not built; take it, "
        "or tensor_parallel_size or pipeline_parallel_size": shared and replicas(options) > 1,
        "device_map places layers in one process; leave it, or the sizes of parallel ranks, out": (
            asked.device_map is not None and ranks(options) > 1
        ),
    }
    return _first(faults)


def _misplaced(asked: PytorchOptions) -> str | None:
    """What cannot be had with a `device_map`, or is none, with the mend; or None."""
    if asked.device_map is None:
        return None
    named = {*asked.device_map.values()} if isinstance(asked.device_map, dict) else set()
    gpus = named - {"cpu"}
    faults = {
        "a model whose layers device_map places is neither compiled, quantised nor assisted here, its cache grows, and "
        "it is no GGUF file; keep device_map by itself": _changed(asked) or asked.gguf_file,
        "device_map: requests that come over time go through a queue where layers lie on several GPUs; "
        "take traffic='queue'": asked.traffic == "continuous",
        "device_map names no module; say which lies on which GPU, or take 'auto'": asked.device_map == {},
        "device_map names cpu beside GPUs: weights that are copied to a GPU for each token are offloaded, not placed; "
        "name a GPU for each module": "cpu" in named and gpus,
        f"device_map names GPUs {', '.join(sorted(map(str, gpus)))}; number them from 0 on, without a gap": (
            gpus != {*range(len(gpus))}
        ),
    }
    return _first(faults)


def _changed(asked: PytorchOptions) -> bool:
    """Whether more is asked of the model than to run as it is written, in one process on one device."""
    assisted = asked.prompt_lookup_num_tokens or asked.assistant_model
    return bool(asked.torch_compile or asked.quantization or assisted or asked.cache_implementation)


def _first(faults: Mapping[str, object]) -> str | None:
    return next((words for words, wrong in faults.items() if wrong), None)


def ranks(options: Mapping[str, Any]) -> int:
    """Processes that run the model, each on a GPU of its own where there are any: tensor × pipeline × data parallel."""
    return math.prod(sizes(options)) * replicas(options)


def own_gpu(options: Mapping[str, Any]) -> bool:
    """A replica's: nothing of it comes to lie on the GPU of another."""
    return replicas(options) > 1


def gpus(options: Mapping[str, Any]) -> int | None:
    """One a rank; with a `device_map` those that it names, or as many as are asked for (None)."""
    placed = options.get("device_map")
    if isinstance(placed, str):
        return None
    named = [device for device in (placed or {}).values() if device != "cpu"]
    return max(named, default=0) + 1 if placed else ranks(options)


def remarks(options: Mapping[str, Any], work: Work) -> str | None:
    """That replicas do not get equally many requests, or None."""
    count = replicas(options)
    dealt = [len(places) for places in shares(work.model_dump(exclude={"notes"}), count)] if count > 1 else []
    if len(set(dealt)) < 2:
        return None
    return (
        f"{len(work.requests)} requests for {count} replicas: {', '.join(map(str, dealt))}; a pass ends when the last "
        "of them is done"
    )


def refuses(options: Mapping[str, Any], workload: WorkloadSpec) -> tuple[str, str] | None:
    """Which field cannot be asked, and why: what transformers does not have, or not with these options."""
    decoding = workload.decoding
    for name in ("presence_penalty", "frequency_penalty"):
        if getattr(decoding, name):
            return f"decoding.{name}", "transformers does not have it; leave it out, or take repetition_penalty"
    if workload.arriving is not None and is_split(options):
        field = "target_qps" if workload.target_qps is not None else "traffic"
        return field, "requests that come over time are not shared among ranks; take one, or waves of requests"
    if _requests(workload) < replicas(options):
        return "requests" if workload.requests else "batch", (
            f"data_parallel_size={replicas(options)}: a pass has {_requests(workload)} request(s), and a replica would "
            f"have none; ask for requests={replicas(options)} or more"
        )
    if decoding.seed is not None and decoding.temperature and workload.arriving is not None:
        return "decoding.seed", (
            "all requests draw from one generator, in an order that depends on when they come; leave the seed out"
        )
    return _refuses_together(options, workload)


def _requests(workload: WorkloadSpec) -> float:
    """How many requests a pass has, where the options of the workload alone tell it."""
    told = workload.arriving is None and workload.data is None and workload.generator is None
    return workload.requests or workload.batch if told else math.inf


def _refuses_together(options: Mapping[str, Any], workload: WorkloadSpec) -> tuple[str, str] | None:
    """What goes by equal groups, asked of requests that come one by one; what goes one by one, asked of groups."""
    shaped = [name for name in ("torch_compile", "cache_implementation") if options.get(name) in (True, *SHAPED)]
    if options.get("attention_implementation") == "flex_attention":
        shaped.append("attention_implementation")
    drafting = [name for name in ("prompt_lookup_num_tokens", "assistant_model") if options.get(name)]
    if workload.arriving is not None and (shaped or drafting):
        field = "target_qps" if workload.target_qps is not None else "traffic"
        return field, f"{(shaped + drafting)[0]} is for groups of requests that are known in advance; leave it out"
    if drafting and (workload.batch != 1 or workload.max_tokens_per_batch is not None):
        return "batch", f"{drafting[0]}: transformers assists one request at a time; take batch 1"
    return None


def positions(_options: Mapping[str, Any], config: Mapping[str, Any]) -> int | None:
    """Those that the model was made with, as its adapter holds it to them."""
    found = config.get("max_position_embeddings")
    return found if isinstance(found, int) else None


ENTRY = EngineEntry(
    name="pytorch",
    adapter=Path(__file__).parent / "child" / "pytorch.py",
    options=PytorchOptions,
    precisions=("float32", "float16", "bfloat16"),
    gpus=gpus,
    ranks=ranks,
    own_gpu=own_gpu,
    remarks=remarks,
    misfits=misfit,
    refuses=refuses,
    positions=positions,
    needs="pip install 'pytest-lem[pytorch]'",
    packages=("torch", "transformers"),
)
