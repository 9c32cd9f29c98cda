"""The tensorrt engine over a stand-in built of the contract: its own interpreter, its own process, as a user has it."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
import tensorrt_contract
from engine_starts import arriving, closed, is_gone, most_in_flight, prepare, waves
from tensorrt_contract import VERSIONS, WITH_ENGINES

from pytest_lem.engines import registry
from pytest_lem.engines.host import Engine
from pytest_lem.model.errors import EngineError
from pytest_lem.model.specs import EngineSpec, WorkloadSpec

GPUS = ("GPU-a",)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An interpreter that holds the stand-in of a version."""
    made: dict[str, str] = {}

    def python(version: str) -> str:
        if version not in made:
            made[version] = tensorrt_contract.interpreter(tmp_path_factory.mktemp("python"), version)
        return made[version]

    return python


@pytest.fixture
def start(tmp_path, python, monkeypatch):
    @contextmanager
    def start(version="1.2", gpus=GPUS, precision="bfloat16", model="synthetic:tiny", fake=None, **options):
        monkeypatch.setenv("FAKE_TENSORRT", json.dumps(fake or {}))
        spec = EngineSpec(
            backend="tensorrt",
            model=model,
            precision=precision,
            device="cuda" if gpus else "cpu",
            gpus=len(gpus) or 1,
            options=options,
            python=python(version),
        )
        engine = Engine.start(registry.validate(spec), gpus=gpus, log_path=tmp_path / "engine.log")
        try:
            yield engine
        finally:
            engine.stop()

    return start


def refused(start, *, version="1.2", work=None, **asked) -> EngineError:
    try:
        with start(version, **asked) as engine:
            prepare(engine, work or waves([(range(4), 2)]))
            engine.run(1, hooks=True)
    except EngineError as error:
        return error
    raise AssertionError("the engine did not fail")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_request_gets_exactly_its_tokens_in_every_version(start, version):
    with start(version) as engine:
        prepare(engine, waves([(range(4), 3), (range(6), 5)], [(range(2), 1)]))
        result = engine.run(2)
        assert result.tokens == 18
        assert [len(row) for row in result.token_ids] == [3, 5, 1]
        assert result.token_ids[0] == (6, 7, 8)
        assert result.memory[0].device == "GPU-a"
        assert result.memory[0].allocated_bytes == 3 << 20
        assert engine.observed["versions"]["tensorrt_llm"] == tensorrt_contract.read(version)["version"]
        assert engine.observed["imported"] == []
        assert engine.observed["options"] == {"runtime": "pytorch", "enable_block_reuse": False}
        assert engine.observed["precision"] == "bfloat16"
        assert engine.observed["precision_read_from"] == "model"
        assert engine.build_seconds is None
        told = {"weights_bytes": 2000.0} | ({"cached_tokens": 0.0} if version in ("1.2", "newest") else {})
        assert result.counters == told


@pytest.fixture
def calls(tmp_path):
    """What the library was called with: the method, and what of sampling each of its requests asks for."""
    path = tmp_path / "calls"

    def calls() -> list[list]:
        return [json.loads(line) for line in path.read_text().splitlines()]

    calls.path = str(path)
    return calls


def test_a_measured_wave_is_one_call_and_its_requests_stream_in_passes_beside_it(start, calls):
    with start(fake={"calls": calls.path}) as engine:
        prepare(engine, waves([(range(4), 3), (range(6), 5)], [(range(2), 1)]))
        engine.run(1)
        assert [(method, len(asked)) for method, asked in calls()] == [("generate", 2), ("generate", 1)]
        engine.run(1, hooks=True)
        assert [(method, len(asked)) for method, asked in calls()[2:]] == [("generate_async", 1)] * 3


@pytest.mark.parametrize("model", ["tiny", "qwen2.5-0.5b", "tiny-moe"])
def test_a_synthetic_model_is_of_the_architecture_that_the_library_knows(start, model):
    """The stand-in refuses a configuration of a kind whose class is not the contract's."""
    with start(model=f"synthetic:{model}") as engine:
        prepare(engine, waves([(range(4), 2)]))
        assert engine.run(1).tokens == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_token_times_are_this_processs_and_the_engines_where_it_gives_any(start, version):
    with start(version, fake={"token_seconds": 0.004}) as engine:
        prepare(engine, waves([(range(4), 3), (range(6), 5)]))
        short, long = engine.run(1, hooks=True).request_times
        assert (len(short.gaps_ms), len(long.gaps_ms)) == (2, 4)
        assert short.ttft_ms >= 4
        assert all(gap >= 3 for gap in long.gaps_ms)
        assert short.ttft_ms + sum(short.gaps_ms) <= short.e2e_ms < long.e2e_ms
        if version == "1.0":  # its PyTorch runtime gives no metrics
            assert (short.queue_ms, short.prefill_ms, short.decode_ms) == (None, None, None)
        else:
            assert short.queue_ms == pytest.approx(0.01, abs=0.001)
            assert short.prefill_ms > 3
            assert short.decode_ms > 6


def test_requests_come_over_time_and_stream(start):
    with start() as engine:
        prepare(engine, arriving((range(4), 2, 0.0), (range(4), 3, 0.03)))
        first, second = engine.run(1, hooks=True).request_times
        assert (first.index, second.index) == (0, 1)
        assert second.due_ms - first.due_ms == pytest.approx(30, abs=0.1)
        assert second.sent_ms >= second.due_ms


def test_so_many_clients_run_together(start):
    with start(fake={"token_seconds": 0.003}) as engine:
        prepare(engine, closed(2, *[(range(4), 3)] * 5))
        times = engine.run(1, hooks=True).request_times
        assert len(times) == 5
        assert most_in_flight(times) == 2


@pytest.mark.parametrize("version", WITH_ENGINES)
def test_the_engine_runtime_builds_and_tells_how_long(start, version, tmp_path):
    asked = {
        "runtime": "engine",
        "max_batch_size": 4,
        "max_input_len": 16,
        "max_output_len": 8,
        "quantization": "8bit",
        "kv_cache_dtype": "fp8",
        "cuda_graphs": True,
        "batching_type": "STATIC",
        "engine_cache": f"{tmp_path}/./cache",
        "fast_build": True,
        "kv_cache_free_gpu_mem_fraction": 0.5,
    }
    with start(version, **asked) as engine:
        prepare(engine, waves([(range(4), 3)]))
        assert engine.run(1, hooks=True).request_times[0].prefill_ms is not None
        assert engine.observed["options"] == {"enable_block_reuse": False, **asked}
        assert engine.observed["precision_read_from"] == "engine"
        steps = {"Loading HF model to memory": 0.5, "Building TRT-LLM engine": 2.0}
        build = dict(engine.observed["build"])
        began_ns = build.pop("start_ns")
        assert build == {"seconds": 2.5, "steps": steps, "from_cache": False}
        assert engine.build_seconds == 2.5
        assert engine.build_span == (began_ns, began_ns + 2_500_000_000)
    with start(version, **asked) as engine:
        assert engine.observed["build"]["from_cache"] is True
        assert (engine.build_seconds, engine.build_span) == (None, None)


def test_when_an_engine_of_several_gpus_began_to_be_built_nothing_tells(start):
    with start(gpus=("GPU-a", "GPU-b"), runtime="engine", tensor_parallel_size=2) as engine:
        assert engine.build_seconds == 2.5
        assert engine.build_span is None


def test_an_engine_that_hangs_while_it_starts_is_killed_with_what_it_said_and_what_gives_it_more_time(start):
    error = refused(start, fake={"fault": "hangs"}, start_seconds=2)
    assert error.kind == "timeout"
    assert str(error) == (
        "engine 'tensorrt' did not answer in time during load, and was killed after 2 s; "
        "tensorrt={'start_seconds': ...} gives it more"
    )
    assert "fake: waiting for workers" in error.log_tail


def test_an_engine_that_is_built_first_may_take_longer_to_start():
    seconds = registry.entry("tensorrt").start_seconds
    built, loaded = {"runtime": "engine"}, {"runtime": "pytorch"}
    assert (seconds(built), seconds(loaded), seconds({**built, "start_seconds": 9})) == (3600, 600, 9)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"max_batch_size": 9}, "max_batch_size: asked 4, observed 9"),
        ({"kv_cache_config.enable_block_reuse": True}, "enable_block_reuse: asked False, observed True"),
        ({"disable_overlap_scheduler": True}, "enable_trt_overlap: asked True, observed False"),
        ({"cuda_graph_config": None}, "cuda_graphs: asked True, observed False"),
        ({"attn_backend": "TRTLLM"}, "attn_backend: asked 'FLASHINFER', observed 'TRTLLM'"),
    ],
)
def test_what_runs_is_compared_with_what_was_asked(start, wrong, told):
    asked = {"max_batch_size": 4, "enable_trt_overlap": True, "cuda_graphs": True, "attn_backend": "FLASHINFER"}
    assert told in str(refused(start, fake={"wrong": wrong}, **asked))


def test_everything_that_the_pytorch_runtime_takes_is_read_back(start):
    asked = {
        "max_batch_size": 4,
        "max_input_len": 16,
        "max_output_len": 8,
        "max_num_tokens": 64,
        "kv_cache_free_gpu_mem_fraction": 0.5,
        "kv_cache_dtype": "fp8",
        "enable_trt_overlap": False,
        "cuda_graph_batch_sizes": [1, 4],
        "cuda_graph_padding": True,
        "load_format": "dummy",
        "enable_chunked_prefill": True,
        "single_process": True,
    }
    with start(**asked) as engine:
        assert engine.observed["options"] == {"runtime": "pytorch", "enable_block_reuse": False, **asked}


def test_a_model_in_another_process_is_read_by_its_configuration(start):
    with start(single_process=False) as engine:
        assert engine.observed["precision_read_from"] == "configuration"
        prepare(engine, waves([(range(4), 3)]))
        result = engine.run(1)
        assert result.memory == ()
        assert "weights_bytes" not in result.counters
        assert len(engine.pids()) == 2
        workers = engine.pids()
    assert all(map(is_gone, workers))


def test_workers_of_several_gpus_end_with_the_engine_also_those_that_outlive_its_shutdown(start):
    with start(gpus=("GPU-a", "GPU-b"), tensor_parallel_size=2, fake={"fault": "orphan"}) as engine:
        assert engine.observed["gpus"] == ["GPU-a", "GPU-b"]
        pids = engine.pids()
        assert len(pids) == 3
    assert all(map(is_gone, pids))


def test_an_engine_on_several_hosts_is_refused_by_its_name(start, monkeypatch):
    two = {"gpus": ("GPU-a", "GPU-b"), "tensor_parallel_size": 2}
    assert "gpus_per_node=1 lays 2 GPUs on several hosts" in str(refused(start, gpus_per_node=1, **two))
    with start(gpus_per_node=2, **two) as engine:
        assert engine.observed["options"]["gpus_per_node"] == 2
    monkeypatch.setenv("TLLM_SPAWN_PROXY_PROCESS", "1")  # trtllm-llmapi-launch sets it
    assert "trtllm-llmapi-launch runs an engine on several hosts" in str(refused(start, **two))


def test_a_worker_that_dies_ends_the_engine_with_its_words(start):
    error = refused(start, single_process=False, fake={"fault": "dies"})
    assert error.kind == "died"
    assert "RequestError: Executor worker died: MPI worker 0 was terminated by signal 9" in str(error)


@pytest.mark.parametrize("fault", ["memory", "memory_at_run"])
def test_out_of_memory_is_told_with_what_to_lower(start, fault):
    error = refused(start, fake={"fault": fault})
    assert error.kind == "memory"
    assert "does not fit into the GPU's memory" in str(error)
    assert "\n" not in str(error)
    assert "kv_cache_free_gpu_mem_fraction" in str(error)


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        ("Impossible to fit in any sequence in kvCache", "raise kv_cache_free_gpu_mem_fraction or lower max_seq_len"),
        (
            "maxTokensInPagedKvCache (32) must be large enough to process at least 1 sequence to completion",
            "raise kv_cache_free_gpu_mem_fraction or lower max_seq_len",
        ),
        ("Can't allocate new blocks. No free blocks left.", "raise kv_cache_free_gpu_mem_fraction"),
        ("Executor creation failed due to insufficient GPU memory.", "set max_batch_size, max_seq_len or kv_cache_"),
    ],
)
def test_too_little_memory_or_too_few_blocks_are_told_with_what_to_set(start, words, mend):
    error = refused(start, fake={"fault": "says", "words": words})
    assert error.kind == "memory"
    assert "\n" not in str(error)
    assert f"{words}; or {mend}" in str(error)


def test_a_prompt_that_is_too_long_is_refused_and_the_engine_lives_on(start):
    with start(max_num_tokens=8, max_input_len=6, max_seq_len=12) as engine:
        for prompt, output, told in (
            (9, 2, "prompt_tokens: a prompt of 9 tokens is over max_num_tokens=8"),
            (7, 2, "prompt_tokens: a prompt of 7 tokens is over max_input_len=6"),
            (6, 7, "prompt_tokens + output_tokens = 13 is more than the 12 positions"),
        ):
            with pytest.raises(EngineError, match="prompt") as caught:
                prepare(engine, waves([(range(prompt), output)]))
            assert told in str(caught.value)
            assert caught.value.kind == "usage"
        prepare(engine, waves([(range(4), 2)]))
        assert engine.run(1).tokens == 2


@pytest.mark.parametrize("version", WITH_ENGINES)
def test_an_engine_that_was_built_without_max_seq_len_takes_as_many_tokens_as_its_model(start, version):
    with start(version, runtime="engine") as engine:
        with pytest.raises(EngineError, match="131073 is more than the 131072 positions") as caught:
            prepare(engine, waves([(range(1000), 130_073)]))
        assert caught.value.kind == "usage"
        prepare(engine, waves([(range(1000), 24)]))
        assert engine.run(1).tokens == 24


def test_the_environment_of_the_engine_says_that_nothing_is_reported_to_its_makers(start, monkeypatch):
    monkeypatch.delenv("TRTLLM_NO_USAGE_STATS", raising=False)
    with start() as engine:
        assert "fake: TRTLLM_NO_USAGE_STATS=1\n" in engine.log_path.read_text()


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("runtime", ["pytorch", "engine"])
def test_whether_it_runs_in_one_process_is_read_from_its_live_executor(start, runtime, asked):
    options = {"runtime": runtime, "single_process": asked}
    with start(**options) as engine:
        assert engine.observed["options"] == {"enable_block_reuse": False, **options}
    told = f"single_process: asked {asked}, observed {not asked}"
    assert told in str(refused(start, fake={"single_process": not asked}, **options))


def test_a_prompt_longer_than_a_default_that_nobody_asked_for_is_taken(start):
    with start() as engine:
        prepare(engine, waves([(range(1100), 2)]))
        assert engine.run(1).tokens == 2


def test_a_prompt_over_max_num_tokens_may_come_in_chunks(start):
    with start(max_num_tokens=8, enable_chunked_prefill=True) as engine:
        prepare(engine, waves([(range(9), 2)]))
        assert engine.run(1).tokens == 2


@pytest.mark.parametrize(
    ("version", "asked"),
    [
        ("1.0", [({"temperature": 0.8}, "decoding.temperature: the engine's sampler has it not; add enable_trtllm")]),
        (
            "newest",
            [
                (
                    {"temperature": 0.8, "seed": 1},
                    "decoding.seed: the engine's sampler has it not; this version has no o",
                )
            ],
        ),
        (
            "1.2",
            [
                ({"temperature": 0.8, "seed": 1}, "decoding.seed: the engine's sampler has it not; add sampler_type"),
                ({"repetition_penalty": 1.1}, "decoding.repetition_penalty: the engine's sampler has it not"),
                ({"beams": 2}, "decoding.beams: tensorrt has no such parameter; it has temperature, top_p, "),
            ],
        ),
    ],
)
def test_what_a_sampler_would_leave_out_in_silence_is_refused(start, version, asked):
    with start(version) as engine:
        for decoding, told in asked:
            with pytest.raises(EngineError, match="decoding") as caught:
                prepare(engine, waves([(range(4), 2)], **decoding))
            assert told in str(caught.value)
            assert caught.value.kind == "usage"


PLAIN = {"temperature": 0.7, "top_p": 0.9, "top_k": 5}
PENALTIES = {"min_p": 0.1, "repetition_penalty": 1.1, "presence_penalty": 0.2, "frequency_penalty": 0.3}
# What each request asks for beside how it draws.
EXACT = {
    "max_tokens": 2,
    "end_id": -1,
    "pad_id": 0,
    "ignore_eos": True,
    "return_perf_metrics": True,
    "detokenize": False,
}


@pytest.mark.parametrize(
    ("version", "options", "taken"),
    [
        ("1.0", {"enable_mixed_sampler": True}, PLAIN),
        ("1.0", {"enable_trtllm_sampler": True}, PLAIN | PENALTIES | {"seed": 3}),
        ("1.1", {}, PLAIN),
        ("1.2", {"sampler_type": "TRTLLMSampler"}, PLAIN | PENALTIES | {"seed": 3}),
        ("1.2", {"runtime": "engine"}, PLAIN | PENALTIES | {"seed": 3}),
        ("newest", {}, PLAIN | PENALTIES),
    ],
)
def test_how_tokens_are_drawn_is_what_was_asked_name_by_name(start, calls, version, options, taken):
    with start(version, fake={"calls": calls.path}, **options) as engine:
        for name, value in (PLAIN | PENALTIES | {"seed": 3}).items():
            asked = {"temperature": 0.5, name: value}
            if name not in taken:
                with pytest.raises(EngineError, match=f"decoding.{name}: the engine's sampler has it not"):
                    prepare(engine, waves([(range(4), 2)], **asked))
                continue
            prepare(engine, waves([(range(4), 2)], **asked))
            engine.run(1)
            assert calls()[-1] == ["generate", [EXACT | asked]]


def test_what_has_no_meaning_when_the_likeliest_token_is_taken_is_left_out(start, calls):
    with start(fake={"calls": calls.path}) as engine:
        prepare(engine, waves([(range(4), 2)], temperature=0.0, top_p=0.9, top_k=5, min_p=0.1, seed=3))
        engine.run(1)
        assert calls() == [["generate", [EXACT]]]


@pytest.mark.parametrize(
    ("version", "options"),
    [
        ("1.0", {"enable_trtllm_sampler": True}),
        ("1.2", {"sampler_type": "TRTLLMSampler"}),
        ("1.2", {"runtime": "engine"}),
    ],
)
def test_tokens_are_drawn_anew_for_each_request_and_alike_for_a_seed(start, version, options):
    with start(version, **options) as engine:
        prepare(engine, waves([(range(4), 4), (range(4), 4)], temperature=0.8, seed=3))
        first, again = engine.run(1), engine.run(1)
        assert first.token_ids == again.token_ids
        assert first.token_ids[0] != first.token_ids[1]


def test_without_a_gpu_it_says_that_it_needs_one(start):
    assert "TensorRT-LLM needs an NVIDIA GPU; take pytorch or vllm on a CPU" in str(refused(start, gpus=()))


def test_a_model_in_another_precision_than_was_asked_is_refused_before_the_start(start, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"torch_dtype": "float16", "vocab_size": 8}')
    text = str(refused(start, model=str(tmp_path / "model")))
    assert "runs a model as its files say, in float16, not bfloat16" in text


def test_a_synthetic_model_is_made_in_the_precision_that_was_asked(start):
    with start(precision="float16") as engine:
        assert engine.observed["precision"] == "float16"
        engine.prepare(WorkloadSpec(batch=2, prompt_tokens=4, output_tokens=3))
        assert engine.run(1).tokens == 6
