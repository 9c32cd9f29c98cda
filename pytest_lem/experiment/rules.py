"""Words that say more than one keyword, or that need another beside them: a rule each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_lem.experiment.sayings import Sayings, unsaid
from pytest_lem.experiment.words import DATASETS

SIZES = {"tensor_parallel": "tensor_parallel_size", "pipeline_parallel": "pipeline_parallel_size"}
SERVED = ("vllm",)
"""Engines that take requests one by one only where they are asked to: `served`."""

COMING = ("traffic", "traffic.arrivals", "traffic.qps", "traffic.concurrency", "traffic.trace", "target_qps")
"""Keywords of which one is said where requests come over time."""
BOUNDS = ("traffic.requests", "traffic.seconds", "requests", "data", "data.source", "generator")
"""Keywords of which one bounds a pass."""
SECONDS = 60.0
"""How long requests come where nothing bounds them: MLPerf Inference's shortest run."""


def gpus(said: Sayings) -> None:
    """How many GPUs the engine gets: a number, a list that is counted, or one a process."""
    given = said.of("gpus")
    if isinstance(given, list):
        said.put("gpus", len(given), "gpus")
        if given != list(range(len(given))):
            named = ",".join(map(str, given))
            said.note("gpus", f"gpus: how many they are counts here; which ones, --lem-gpus={named} says")
    elif given is not None:
        said.put("gpus", given, "gpus")
    if said.of("num_gpus") is not None:
        said.put("gpus", said.of("num_gpus"), "num_gpus")
    if said.of("num_processes") not in (None, 1):
        said.put("gpus", said.of("num_processes"), "num_processes")


def sharding(said: Sayings) -> None:
    """How the model is spread: the engine's own option for it, and as many GPUs."""
    for word, number in (("sharding", "num_shards"), ("parallelism", "degree")):
        given = said.of(word)
        short = not isinstance(given, Mapping)
        strategy = given if short else said.of(f"{word}.strategy")
        count = None if short else said.of(f"{word}.{number}")
        if strategy in (None, "none"):
            if strategy is None and (count or 1) > 1:
                said.refuse(f"{word}.{number}", f"{word}.{number}: {count} of what? name {word}.strategy beside it")
            continue
        at = word if short else f"{word}.strategy"
        if count is not None:
            said.put("gpus", count, f"{word}.{number}")
        if not said.has("gpus"):
            said.refuse(at, f"{at}: {strategy} needs {word}.{number}, or num_gpus: over how many GPUs?")
        if said.value("gpus") > 1:
            option(said, SIZES[strategy], said.value("gpus"), at if count is None else f"{word}.{number}", at)


def quantization(said: Sayings) -> None:
    """Weights of 4 or 8 bits: the engine's own option for it."""
    given = said.of("quantization")
    if not isinstance(given, Mapping):
        if given not in (None, "none"):
            option(said, "quantization", given, "quantization", "quantization")
        return
    bits = [name for name in ("4bit", "8bit") if said.of(f"quantization.load_in_{name}")]
    if len(bits) == 2:
        said.refuse("quantization.load_in_8bit", "quantization: load_in_4bit and load_in_8bit; keep one of them")
    if said.of("quantization.quantization") and not bits:
        said.refuse("quantization.quantization", "quantization: of how many bits? say load_in_4bit or load_in_8bit")
    if bits and said.of("quantization.quantization") is False:
        said.refuse("quantization.quantization", f"quantization: false contradicts load_in_{bits[0]}; keep one of them")
    if bits:
        word = f"quantization.load_in_{bits[0]}"
        option(said, "quantization", bits[0], word, word)


def option(said: Sayings, name: str, value: Any, word: str, about: str) -> None:
    """An option of each engine that the file names."""
    if not said.backends:
        said.refuse(about, f"{about}: for which engine? name backend beside it")
    for backend in said.backends:
        said.put(f"{backend}.{name}", value, word)


def batching(said: Sayings) -> None:
    """How requests are grouped; `sorted` is the one of its two kinds that fits what stands beside it."""
    for word in ("batching.strategy", "batching", "strategy"):
        given = said.of(word)
        if given is None or isinstance(given, Mapping):
            continue
        kind = "sorted_dynamic" if said.has("max_tokens_per_batch") else "sorted_static"
        full = [kind if each == "sorted" else each for each in given] if isinstance(given, list) else given
        said.put("batching", kind if full == "sorted" else full, word)


def decoding(said: Sayings) -> None:
    """How tokens are drawn: a preset by its name, and the switches that ours has no field for."""
    for word in ("decoding", "decoder"):
        given = said.of(word)
        if isinstance(given, list):
            said.put("decoding", given, word)
        elif isinstance(given, str):
            said.put("decoding.preset", given, word)
    if said.of("decoder.top_k") is not None:
        said.put("decoding.top_k", said.of("decoder.top_k") if said.of("decoder.top_k") > 0 else None, "decoder.top_k")
    drawn = said.of("decoder.do_sample")
    if drawn is False:
        said.put("decoding.temperature", 0.0, "decoder.do_sample")
    elif drawn and not said.has("decoding.temperature") and not said.has("decoding.preset"):
        said.put("decoding.temperature", 1.0, "decoder.do_sample")
        said.note("decoder.do_sample", "decoder.do_sample: no temperature is given; it is 1, as in transformers")


def lengths(said: Sayings) -> None:
    """The prompts: of so many tokens, or out of a dataset, cut to at most so many."""
    for word in ("dataset", "dataset.name", "dataset.source"):
        given = said.of(word)
        if isinstance(given, str):
            said.put("data.source", _source(given), word)
    longest = said.of("max_input_tokens")
    if longest is None:
        return
    if said.has("data.source") and isinstance(longest, int):
        said.put("data.max_tokens", longest, "max_input_tokens")
        if not said.has("data.too_long"):
            said.put("data.too_long", "right", "max_input_tokens")
        return
    said.put("prompt_tokens", longest, "max_input_tokens")


def _source(name: str) -> str:
    found = DATASETS.get(name, name)
    plain = found == name and (":" in name or "." in name or name.startswith(("/", "~")))
    return name if plain else f"hf:{found}"


def traffic(said: Sayings) -> None:
    """Requests that come over time; groups, which there are none of then, are left out with a note."""
    given, rate = said.of("traffic"), said.of("target_qps")
    if isinstance(given, str):
        said.put("traffic.arrivals", given, "traffic")
    elif isinstance(given, list):
        said.put("traffic", unsaid(given), "traffic")
    simulated = _simulated(said)
    coming = isinstance(given, str | Mapping) or simulated
    if coming and isinstance(rate, list | Mapping):
        said.refuse("target_qps", "target_qps: one rate stands beside traffic; several of them go under sweep")
    if rate is not None:
        said.put("traffic.qps" if coming else "target_qps", rate, "target_qps")
    if (isinstance(given, str) or simulated) and not said.has("traffic.qps"):
        word = "traffic_simulation" if simulated else "traffic"
        said.refuse(word, f"{word}: how often do requests come? name target_qps beside it")
    if (isinstance(given, str) or simulated) and not any(said.has(name) for name in BOUNDS):
        word = "traffic_simulation" if simulated else "traffic"
        said.put("traffic.seconds", SECONDS, word)
        said.note(word, f"{word}: nothing says how many requests there are; they come for {SECONDS:g} s")
    if coming or isinstance(given, list) or rate is not None:
        _ungrouped(said)


def _simulated(said: Sayings) -> bool:
    section = unsaid(said.of("traffic_simulation"))
    if not section or section.get("enabled") is False:
        return False
    if "enabled" not in section:
        said.refuse("traffic_simulation", "traffic_simulation: say enabled: true (or false) in it")
    said.put("traffic.arrivals", section.get("mode", "poisson"), _one_of(section, "mode"))
    if "target_qps" in section:
        said.put("traffic.qps", section["target_qps"], "traffic_simulation.target_qps")
    if "seed" in section:
        said.put("seed", section["seed"], "traffic_simulation.seed")
    return True


def _one_of(section: Mapping[str, Any], name: str) -> str:
    return f"traffic_simulation.{name}" if name in section else "traffic_simulation.enabled"


def _ungrouped(said: Sayings) -> None:
    if isinstance(said.value("batching"), list) or isinstance(said.value("max_tokens_per_batch"), list):
        return
    strategy = said.drop("batching")
    most = said.drop("max_tokens_per_batch")
    if strategy is not None and strategy.value != "static":
        text = f"{strategy.word}: {strategy.value} is left out: with traffic, requests come one by one, not in groups"
        said.note(strategy.word, text)
    elif most is not None:
        said.note(most.word, f"{most.word} is left out: with traffic, requests come one by one, not in groups")


def streaming(said: Sayings) -> None:
    """Requests that are sent one by one: some engines must be told."""
    asked = "streaming" if said.of("streaming") else None
    word = asked or next((said.word(name) for name in COMING if said.has(name)), None)
    for backend in said.backends:
        if backend in SERVED and word is not None and not said.has(f"{backend}.served"):
            said.put(f"{backend}.served", True, word)


RULES = (gpus, sharding, quantization, batching, decoding, lengths, traffic, streaming)
"""In this order: a later one asks what the earlier ones have said."""
