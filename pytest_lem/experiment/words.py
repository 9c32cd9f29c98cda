"""The one table of words that an experiment file may use, and the marker's keyword that each means.

A word with dots lies in a section: `batching.batch_size`. `means` is a keyword of the marker, or a field of one
(`decoding.temperature`); a word without it is read by a rule of its own in `rules.py`. The schema for editors, the
check of a file, and what a sweep may vary are all made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_lem.campaign.order import ORDERS
from pytest_lem.model.data import DataSpec
from pytest_lem.model.decoding import DecodingSpec
from pytest_lem.model.presets import PRESETS, SERVICE_LEVELS
from pytest_lem.model.slo import ServiceLevel
from pytest_lem.model.traffic import TrafficSpec


class Range(BaseModel):
    """Numbers by their ends, wherever a list of numbers may stand."""

    model_config = ConfigDict(extra="forbid")

    min: float = Field(description="the first number")
    max: float = Field(description="the last number")
    num: int | None = Field(default=None, description="how many, both ends included")
    log: bool = Field(default=False, description="apart by a constant factor, not evenly")
    pow2: bool = Field(default=False, description="every power of two between")


TEXT = Annotated[str, Field(strict=True, min_length=1)]
YES = Annotated[bool, Field(strict=True)]
NUMBER = Annotated[float, Field(strict=True)]
WHOLE = Annotated[int, Field(strict=True)]
COUNT = Annotated[int, Field(strict=True, ge=1)]
FROM_0 = Annotated[int, Field(strict=True, ge=0)]
TEXTS = TEXT | list[TEXT]
COUNTS = COUNT | Range | list[COUNT | Range]
LENGTH = COUNT | TEXT | dict[str, Any]
LENGTHS = LENGTH | Range | list[LENGTH | Range]
RATES = NUMBER | Range | list[NUMBER | Range | None]
PRECISION = Literal["float32", "float16", "bfloat16", "fp32", "fp16", "bf16"]
STRATEGY = Literal["static", "dynamic", "sorted", "sorted_static", "sorted_dynamic"]
SHARDING = Literal["none", "tensor_parallel", "pipeline_parallel"]
BITS = Literal["none", "4bit", "8bit"]


def _one_of(*names: str) -> Any:
    return Literal[names]


PRESET = _one_of(*PRESETS)


@dataclass(frozen=True)
class Word:
    """One word: its path in the file, what may stand there, what it is about, which keyword it means."""

    name: str
    kind: Any
    help: str
    means: str | None = None


def _same(name: str, kind: Any, told: str) -> Word:
    """A keyword of the marker itself."""
    return Word(name, kind, told, name)


def _fields(section: str, kind: type[BaseModel], keyword: str, skip: tuple[str, ...] = ()) -> tuple[Word, ...]:
    """The fields of one of our own models, by their names."""
    fields = {name: field for name, field in kind.model_fields.items() if name not in skip}
    return tuple(
        Word(
            f"{section}.{name}", field.rebuild_annotation(), f"{keyword}: {name.replace('_', ' ')}", f"{keyword}.{name}"
        )
        for name, field in fields.items()
    )


CORE = (
    Word("config_name", TEXT, "what the configuration is called; the file's name without more"),
    Word("description", TEXT, "for people: nothing reads it"),
    Word("extra_metadata", dict[str, Any], "for people: nothing reads it"),
    _same("id", TEXT, "the name in baselines, where it shall outlive a rename of the file"),
    _same("model", TEXTS, "synthetic:NAME (random weights), a folder, or a hub name; a list makes one test each"),
    Word("model_name", TEXTS, "the model, as LLenergyMeasure calls it", "model"),
    _same("backend", TEXTS, "the engine: pytorch, vllm, tensorrt, or an installed one's name"),
    _same("precision", PRECISION | list[PRECISION], "number format of the weights and of the arithmetic"),
    Word(
        "fp_precision", PRECISION | list[PRECISION], "number format of the weights and of the arithmetic", "precision"
    ),
    Word("dtype", PRECISION | list[PRECISION], "number format of the weights and of the arithmetic", "precision"),
    _same("device", TEXTS, "auto, cuda or cpu"),
    Word("gpus", FROM_0 | list[WHOLE | TEXT], "how many GPUs the engine gets, or a list of them, which is counted"),
    Word("num_gpus", COUNT, "how many GPUs the engine gets"),
    Word("num_processes", COUNT, "processes of the engine: 1, or one a GPU"),
    Word("quantization", BITS, "weights of 4 or 8 bits"),
    Word("quantization.quantization", YES, "whether weights are quantised"),
    Word("quantization.load_in_4bit", YES, "weights of 4 bits"),
    Word("quantization.load_in_8bit", YES, "weights of 8 bits"),
    Word("sharding", SHARDING, "how the model is spread over GPUs (num_gpus of them)"),
    Word("sharding.strategy", SHARDING, "how the model is spread over GPUs"),
    Word("sharding.num_shards", COUNT, "over how many"),
    Word("parallelism.strategy", SHARDING, "how the model is spread over GPUs"),
    Word("parallelism.degree", COUNT, "over how many"),
)

WORKLOAD = (
    _same("batch", COUNTS, "requests handed over together"),
    Word("batch_size", COUNTS, "requests handed over together", "batch"),
    Word("batching", STRATEGY | list[STRATEGY], "how requests are grouped"),
    Word("batching.strategy", STRATEGY | list[STRATEGY], "how requests are grouped"),
    Word("batching.batch_size", COUNTS, "requests handed over together", "batch"),
    Word("batching.max_tokens_per_batch", COUNTS, "tokens that a dynamic group may hold", "max_tokens_per_batch"),
    Word("strategy", STRATEGY | list[STRATEGY], "how requests are grouped"),
    _same("max_tokens_per_batch", COUNT | list[COUNT], "tokens that a dynamic group may hold"),
    _same("prompt_tokens", LENGTHS, "tokens of each prompt: a number, a distribution such as uniform(64, 256)"),
    Word("max_input_tokens", LENGTHS, "tokens of each prompt; beside data, the longest that is kept whole"),
    _same("output_tokens", LENGTHS, "tokens of each answer, exactly"),
    Word("max_output_tokens", LENGTHS, "tokens of each answer, exactly", "output_tokens"),
    Word("decoder.max_new_tokens", LENGTHS, "tokens of each answer, exactly", "output_tokens"),
    _same("requests", COUNTS, "requests in a pass"),
    Word("num_input_prompts", COUNTS, "requests in a pass", "requests"),
    _same("prompts", list[Any], "the prompts themselves: texts, or lists of token ids"),
    _same("generator", TEXTS, "a workload of your own, by its name"),
    _same("seed", FROM_0, "what prompts and arrivals are drawn from"),
    Word("random_seed", FROM_0, "what prompts and arrivals are drawn from", "seed"),
    _same("data", list[Any], "prompts out of files or data sets, one test each"),
    *_fields("data", DataSpec, "data"),
    Word("dataset", TEXT, "prompts of a dataset: ai_energy_score, alpaca, gsm8k, …, a hub name, builtin:chat"),
    Word("dataset.name", TEXT, "prompts of a dataset: ai_energy_score, alpaca, gsm8k, …, a hub name, builtin:chat"),
    Word("dataset.source", TEXT, "prompts of a dataset: ai_energy_score, alpaca, gsm8k, …, a hub name, builtin:chat"),
    Word("dataset.sample_size", COUNT, "how many of its prompts, the first ones", "data.limit"),
    Word("dataset.n_prompts", COUNT, "how many of its prompts, the first ones", "data.limit"),
    Word("dataset.split", TEXT, "the part of the dataset", "data.split"),
    Word("dataset.column", TEXT, "the column that holds the prompts", "data.field"),
    Word("traffic", Literal["poisson", "constant"] | list[Any], "requests come over time, at target_qps"),
    *_fields("traffic", TrafficSpec, "traffic"),
    Word("target_qps", RATES, "requests a second, on average"),
    Word("traffic_simulation.enabled", YES, "whether requests come over time; false leaves the section out"),
    Word("traffic_simulation.mode", Literal["constant", "poisson"], "how requests come"),
    Word("traffic_simulation.target_qps", NUMBER, "requests a second, on average"),
    Word("traffic_simulation.seed", FROM_0, "what arrivals are drawn from"),
    Word("decoding", PRESET | list[Any], "how tokens are drawn, by name"),
    Word("decoding.preset", PRESET, "how tokens are drawn, by name", "decoding.preset"),
    *_fields("decoding", DecodingSpec, "decoding"),
    Word("decoder", PRESET, "how tokens are drawn, by name"),
    Word("decoder.preset", PRESET, "how tokens are drawn, by name", "decoding.preset"),
    *_fields("decoder", DecodingSpec, "decoding", skip=("top_k",)),
    Word("decoder.top_k", WHOLE, "only the likeliest so many tokens; 0: all"),
    Word("decoder.do_sample", YES, "whether tokens are drawn at all; false takes the likeliest"),
    _same("slo", _one_of(*SERVICE_LEVELS) | list[Any], "the service level, by name"),
    *_fields("slo", ServiceLevel, "slo"),
    Word("streaming", YES, "requests are sent one by one and stream; the times of tokens are always measured"),
)

PROTOCOL = (
    _same("cycles", COUNT, "launches of the engine, each a test of its own"),
    Word("num_cycles", COUNT, "launches of the engine, each a test of its own", "cycles"),
    _same("rounds", COUNT, "exactly so many valid rounds"),
    _same("min_rounds", COUNT, "at least so many rounds"),
    _same("max_rounds", COUNT, "at most so many rounds"),
    _same("round_seconds", NUMBER, "how long a round lasts"),
    _same("warmup_rounds", FROM_0, "rounds before the first that counts"),
    _same("warmup_seconds", NUMBER, "seconds before the first round that counts"),
    _same("warmup_prompts", FROM_0, "requests before the first round that counts"),
    Word("streaming_warmup_requests", FROM_0, "requests before the first round that counts", "warmup_prompts"),
    _same("max_seconds", NUMBER, "a test stops measuring after so long"),
    _same("latency", YES, "whether the times of tokens are measured"),
)

CAMPAIGN = (
    Word("campaign.name", TEXT, "what the campaign is called"),
    Word("campaign.files", list[TEXT], "the experiment files, relative to this one"),
    Word("campaign.cycles", COUNT, "launches of each engine"),
    Word("campaign.order", _one_of(*ORDERS), "which engine comes when"),
    Word("campaign.seed", FROM_0, "the seed of the order shuffled"),
    Word("campaign.gap", NUMBER | TEXT, "wait between engines: seconds, cool, or cool:CAP"),
)

WORDS: dict[str, Word] = {word.name: word for word in (*CORE, *WORKLOAD, *PROTOCOL)}
"""Every word of an experiment but those that say more than one thing at once: its engines' sections, `sweep`,
`experiments`, `unless`, `budget`, `gate`."""

NEUTRAL: dict[str, tuple[tuple[Any, ...], str]] = {
    "adapter": ((), "LoRA adapters are not run here"),
    "batching.dynamic_batching": ((False,), "say strategy: dynamic"),
    "cycle_id": ((), "cycles are counted by themselves"),
    "decode_token_to_text": ((False,), "texts are not kept"),
    "decoder.beam_search.enabled": ((False,), "tokens are drawn one by one, without beams"),
    "decoder.no_repeat_ngram_size": ((0,), "there is no such rule for drawing tokens here"),
    "inference_type": (("pure_generative",), "every request gets exactly its tokens"),
    "io.results_dir": ((), "the command line says where results go: --results DIR"),
    "is_encoder_decoder": ((False,), "the engines here run decoders"),
    "min_output_tokens": ((0,), "every request gets exactly output_tokens"),
    "query_rate": ((1, 1.0), "say traffic_simulation, or target_qps"),
    "save_outputs": ((False,), "texts are not kept"),
    "schedule.enabled": ((False,), "lem schedule add FILE runs a file again and again"),
    "sharding.tp_plan": (("auto",), "the engine plans by itself"),
    "parallelism.tp_plan": (("auto",), "the engine plans by itself"),
    "task_type": (("text_generation",), "the engines here generate text"),
}
"""Words of LLenergyMeasure that mean nothing here: the values that ask for nothing (null too), and the answer to any
other."""

SHADOWED: dict[str, str] = {
    "decoder.beam_search": "decoder.beam_search.enabled",
    "schedule": "schedule.enabled",
    "io": "io.results_dir",
}
"""Sections of which one word decides, and the rest is about it."""

OPTIONS: dict[str, dict[str, str]] = {
    "pytorch": {"attn_implementation": "attention_implementation"},
    "vllm": {"distributed_backend": "distributed_executor_backend", "quantization_method": "quantization"},
}
"""An engine's options by other names."""

SPELLED: dict[str, dict[str, dict[str, str]]] = {
    "pytorch": {"assisted_generation": {"model": "assistant_model", "num_tokens": "num_assistant_tokens"}},
}
"""An engine's options that stand together under one name, and what each is called here."""

OFF: dict[str, dict[str, tuple[Any, ...]]] = {
    "pytorch": {
        "use_bettertransformer": (False,),
        "low_cpu_mem_usage": (True, False),
        "output_scores": (False,),
        "return_dict_in_generate": (False,),
        "load_in_4bit": (False,),
        "load_in_8bit": (False,),
        "extra": ({},),
    },
    "vllm": {"extra": ({},)},
    "tensorrt": {"extra": ({},)},
}
"""Options that ask for nothing with these values, and are left out where the engine does not know them."""

DATASETS = {
    "ai_energy_score": "AIEnergyScore/text_generation",
    "ai-energy-score": "AIEnergyScore/text_generation",
    "alpaca": "tatsu-lab/alpaca",
    "sharegpt": "anon8231489123/ShareGPT_Vicuna_unfiltered",
    "gsm8k": "gsm8k",
    "mmlu": "cais/mmlu",
}
"""Datasets by the names that LLenergyMeasure gives them."""
