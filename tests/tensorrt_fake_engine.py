"""How the stand-in for TensorRT-LLM behaves: as the contract beside it says, and as the documentation tells.

The environment variable FAKE_TENSORRT holds JSON that has it misbehave:

`wrong`          live arguments to falsify, {path: value}
`fault`          dies (a worker, at a request), hangs (at the load), memory (at the load), memory_at_run,
                says (`words`, at the load), orphan (a worker outlives shutdown)
`calls`          a file that gets a line of JSON for each call: its method, and what of sampling each request asks for
`token_seconds`  how long each token takes
`single_process` whether it is one, whatever the environment says
`hide`           the model cannot be reached, as where it lies in another process
`mpi`            workers are those of mpi4py and an MPI, as in TensorRT-LLM itself
"""

import ast
import asyncio
import enum
import inspect
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

CONTRACT = json.loads(Path(__file__).with_name("contract.json").read_text())
ASKED = json.loads(os.environ.get("FAKE_TENSORRT", "{}"))
SECTIONS = {
    "kv_cache_config": "KvCacheConfig",
    "cuda_graph_config": "CudaGraphConfig",
    "extended_runtime_perf_knob_config": "ExtendedRuntimePerfKnobConfig",
    "build_config": "BuildConfig",
    "quant_config": "QuantConfig",
}
# A worker imports what its parent runs, by name or by path, as mpi4py's do; and it has a session of its own, as Open
# MPI's have.
WORKER = """
import os, runpy, sys, time
name, path = sys.argv[1:]
if name:
    runpy.run_module(name, run_name="__worker__", alter_sys=True)
elif path:
    sys.path[0] = folder = os.path.dirname(path)
    runpy.run_path(path, run_name="__worker__")
    assert folder not in sys.path, "its names would shadow others"
print("ready", flush=True)
time.sleep(600)
"""
required = object()
enumerations = {
    "QuantAlgo": enum.Enum("QuantAlgo", {name: name for name in CONTRACT["quant_algos"]}),
    "BatchingType": enum.Enum("BatchingType", {name: name for name in CONTRACT["batching_types"]}),
}
LoadFormat = enum.Enum("LoadFormat", {name: number for number, name in enumerate(CONTRACT["load_formats"])})


class RequestError(RuntimeError):
    """A worker could not answer."""


def get_type_repr(kind):
    """Its name; the library says the kind of some fields with it."""
    return kind.__name__


def Field(default=required, **_):  # noqa: N802 — its name there
    return default


PLAIN = {"int": int, "float": (int, float), "bool": bool, "str": str, "dict": dict, "Dict": dict, "Path": (str, Path)}
LEAST = {"NonNegativeInt": (int, 0), "PositiveInt": (int, 1), "NonNegativeFloat": ((int, float), 0)}
NAMED = {"LoadFormat": CONTRACT["load_formats"], "CapacitySchedulerPolicy": CONTRACT["capacity_scheduler_policies"]}
MADE = {}


def fits(value, kind):
    """Whether a value is of a kind, an annotation of the contract; names that the contract does not know take all.

    Nothing is coerced: `"8"` is no int, though pydantic would make one of it.
    """
    match kind:
        case ast.Constant(value=told):
            return value is told
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return _is(value, name)
        case ast.BinOp(left=left, right=right):
            return fits(value, left) or fits(value, right)
        case ast.Subscript(value=ast.Name(id=outer), slice=inner):
            inside = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return _holds(value, outer, inside)
    return True


def _is(value, name):
    if name in CONTRACT.get("aliases", {}):
        return fits(value, ast.parse(CONTRACT["aliases"][name], mode="eval").body)
    if name == "NoneType":
        return value is None
    if name in LEAST:
        kind, least = LEAST[name]
        return isinstance(value, kind) and not isinstance(value, bool) and value >= least
    if name in PLAIN:
        return isinstance(value, PLAIN[name]) and (name == "bool" or not isinstance(value, bool))
    if name in enumerations:
        return isinstance(value, enumerations[name])
    if name in NAMED:
        return getattr(value, "name", value) in NAMED[name]
    return isinstance(value, (MADE[name], dict)) if name in MADE else True


def _holds(value, outer, inside):
    if outer == "Optional":
        return value is None or fits(value, inside[0])
    if outer == "Union":
        return any(fits(value, each) for each in inside)
    if outer == "Literal":
        return any(value == each.value and type(value) is type(each.value) for each in inside)
    if outer in ("List", "list", "Sequence"):
        return isinstance(value, list) and all(fits(each, inside[0]) for each in value)
    return isinstance(value, dict) if outer in ("Dict", "dict", "Mapping") else True


def made(value, annotation):
    """A dictionary as the class that its field holds, as pydantic makes one; anything else as it is."""
    if not isinstance(value, dict):
        return value
    for name, meant in CONTRACT.get("aliases", {}).items():
        annotation = re.sub(rf"\b{name}\b", meant, annotation)
    kind = next((MADE[name] for name in re.findall(r"\w+", annotation) if name in MADE), dict)
    return kind(**value)


class Strict:
    """Fields of kinds, with defaults, by keyword only; anything else is refused, as `extra="forbid"` does."""

    def __init_subclass__(cls):
        MADE[cls.__name__] = cls

    def __init__(self, *positional, **given):
        if positional:
            raise TypeError(f"{type(self).__name__}.__init__() takes 1 positional argument but more were given")
        known, kinds = {}, {}
        for kind in reversed(type(self).__mro__):
            known |= {name: getattr(kind, name) for name in vars(kind).get("__annotations__", {})}
            kinds |= vars(kind).get("__annotations__", {})
        for name, value in given.items():
            if name not in known:
                raise ValueError(f"{type(self).__name__}: {name}: Extra inputs are not permitted")
            if not fits(value, ast.parse(kinds[name], mode="eval").body):
                raise ValueError(f"{type(self).__name__}: {name}: Input should be {kinds[name]}, not {value!r}")
        for name, default in known.items():
            value = given.get(name, default)
            if value is required:
                raise ValueError(f"{type(self).__name__}: {name}: Field required")
            setattr(self, name, made(value, kinds[name]))


def bound(name, *positional, **given):
    """The arguments of a method, by its contract. Raises TypeError for any that it does not take."""
    contract = CONTRACT["methods"][name]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter(
            each, kind, default=inspect.Parameter.empty if told["default"] == "inspect._empty" else told["default"]
        )
        for each, told in contract["parameters"].items()
    ]
    if contract.get("kwargs"):
        parameters.append(inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD))
    found = inspect.Signature(parameters).bind(*positional, **given)
    for each, value in found.arguments.items():
        told = contract["parameters"].get(each)
        if told and not fits(value, ast.parse(told["annotation"], mode="eval").body):
            raise TypeError(f"{name}: {each} should be {told['annotation']}, not {value!r}")
    found.apply_defaults()
    return SimpleNamespace(**found.arguments)


def called(method, parameters):
    if "calls" in ASKED:
        defaults = {name: told["default"] for name, told in CONTRACT["classes"]["SamplingParams"]["fields"].items()}
        asked = [{name: each for name, each in vars(one).items() if each != defaults[name]} for one in parameters]
        with open(ASKED["calls"], "a") as file:
            file.write(json.dumps([method, asked]) + "\n")


class LLM:
    kind = "TorchLlmArgs"
    runtime = "pytorch"

    def __init__(self, *positional, **given):
        from tensorrt_llm.llmapi import llm_args

        asked = bound("LLM.__init__", *positional, **given)
        everything = {**vars(asked), **asked.kwargs}
        del everything["kwargs"]
        arguments = getattr(llm_args, self.kind)
        known = {name for kind in arguments.__mro__ for name in vars(kind).get("__annotations__", {})}
        built = getattr(llm_args, "TrtLlmArgs", None)
        for name in asked.kwargs:
            if name not in known and name in vars(built or object).get("__annotations__", {}):
                raise ValueError(
                    "The following arguments are specific to TensorRT backend and cannot be used with PyTorch backend: "
                    f"{[name]}.\nPlease use 'from tensorrt_llm._tensorrt_engine import LLM' instead"
                )
            if name not in known:
                raise ValueError(f"LLM got invalid argument: {name}")
        self.args = arguments(**everything)
        self._sections()
        self.args.max_input_len = self.args.max_input_len or 1024  # as its validator does
        self._misbehave()
        self.tokenizer = None
        self.llm_id = f"fake-{os.getpid()}"
        self.config = json.loads((Path(self.args.model) / "config.json").read_text())
        expected = CONTRACT["architectures"].get(self.config.get("model_type"))
        if expected and self.config.get("architectures") != [expected]:
            raise ValueError(f"Unknown architecture for AutoModelForCausalLM: {self.config.get('architectures')}")
        self.llm_build_stats = SimpleNamespace(cache_hitted=False, build_steps_info=[])
        self._engine_dir = None
        self._hf_model_config = SimpleNamespace(**self.config)
        self._build()
        for path, value in ASKED.get("wrong", {}).items():
            *sections, name = path.split(".")
            holder = self.args
            for section in sections:
                holder = getattr(holder, section)
            setattr(holder, name, value)
        alone = os.environ.get("TLLM_WORKER_USE_SINGLE_PROCESS") == "1"
        here = ASKED.get("single_process", alone) and self._ranks() == 1
        sys.stderr.write(f"fake: TRTLLM_NO_USAGE_STATS={os.environ.get('TRTLLM_NO_USAGE_STATS')}\n")
        self._pool = None
        self._workers = [] if here else self._start_workers()
        self._executor = SimpleNamespace()
        if here:
            self._executor.engine = SimpleNamespace()
        if here and self.runtime == "pytorch" and not ASKED.get("hide"):
            self._executor.engine.model_engine = SimpleNamespace(model=Model(self.config))

    def _misbehave(self):
        if ASKED.get("fault") == "memory":
            raise RuntimeError("Executor creation failed: CUDA out of memory. Tried to allocate 2.00 GiB")
        if ASKED.get("fault") == "says":
            raise RuntimeError(ASKED["words"])
        if ASKED.get("fault") == "hangs":
            sys.stderr.write("fake: waiting for workers\n")
            time.sleep(3600)

    def _sections(self):
        from tensorrt_llm import llmapi

        for name, kind in SECTIONS.items():
            value = getattr(self.args, name, None)
            if value == kind or (value is None and name == "kv_cache_config"):
                setattr(self.args, name, getattr(llmapi, kind)())
        self.args.load_format = self._load_format(self.args.load_format)

    def _load_format(self, value):
        name = str(value).removeprefix("LoadFormat.").upper()
        if name not in LoadFormat.__members__:
            raise ValueError(f"Invalid LoadFormat: {value}")
        return LoadFormat[name]

    def _ranks(self):
        return self.args.tensor_parallel_size * self.args.pipeline_parallel_size * self.args.context_parallel_size

    def _start_workers(self):
        if not ASKED.get("mpi"):
            return [self._worker() for _ in range(self._ranks())]
        from mpi4py.futures import MPIPoolExecutor

        env = {name: value for name, value in os.environ.items() if name.startswith(("TRTLLM", "TLLM"))}
        self._pool = MPIPoolExecutor(max_workers=self._ranks(), path=sys.path, env=env)
        for started in [self._pool.submit(os.getpid) for _ in range(self._ranks())]:
            started.result()
        return []

    def _worker(self):
        main = sys.modules["__main__"]
        name = getattr(getattr(main, "__spec__", None), "name", "")
        path = getattr(main, "__file__", "")
        command = [sys.executable, "-c", WORKER, name, path]
        # Its own stderr: one that a failing test leaves behind would hold the pipe that the test reads to its end.
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        if worker.stdout.readline() != b"ready\n":
            raise RuntimeError("a worker of MPI was aborted")
        return worker

    def _build(self):
        """The PyTorch runtime builds nothing."""

    def generate(self, *positional, **given):
        asked = bound("LLM.generate", *positional, **given)
        alone = not isinstance(asked.inputs, list) or isinstance(asked.inputs[0], int)
        inputs = [asked.inputs] if alone else asked.inputs
        same = not isinstance(asked.sampling_params, list)
        parameters = [asked.sampling_params] * len(inputs) if same else asked.sampling_params
        called("generate", parameters)
        futures = [self._send(inputs=each, sampling_params=own) for each, own in zip(inputs, parameters, strict=True)]
        for future in futures:
            future.result()
        return futures[0] if alone else futures

    def generate_async(self, *positional, **given):
        called("generate_async", [given["sampling_params"]])
        return self._send(*positional, **given)

    def _send(self, *positional, **given):
        asked = bound("LLM.generate_async", *positional, **given)
        if self._executor is None:
            raise RuntimeError("LLM is shutting down")
        from tensorrt_llm.sampling_params import SamplingParams

        parameters = asked.sampling_params
        if not isinstance(parameters, SamplingParams):
            raise TypeError(f"The sampling_params must be type SamplingParams or None, but got {type(parameters)}")
        if parameters.end_id is None and self.tokenizer is None:
            raise ValueError(
                "tokenizer is required to reset end_id if it is None, or you can explicitly specify the end_id for "
                "sampling_params"
            )
        prompt = asked.inputs["prompt_token_ids"] if isinstance(asked.inputs, dict) else asked.inputs
        self._check(len(prompt), parameters)
        if ASKED.get("fault") == "dies":
            self._workers[0].kill()
            ended = signal.Signals(-self._workers[0].wait())
            raise RequestError(f"Executor worker died: MPI worker 0 was terminated by signal {ended.value}")
        if ASKED.get("fault") == "memory_at_run":
            raise RequestError("CUDA out of memory. Tried to allocate 64.00 MiB")
        return RequestOutput(self, prompt, parameters, asked.streaming)

    def _check(self, prompt, parameters):
        limit = self.args.max_num_tokens
        if limit and not self.args.enable_chunked_prefill and prompt > limit:
            raise ValueError(
                f"The sum of prompt length ({prompt}), query length (0) should not exceed max_num_tokens ({limit})"
            )

    def gives_metrics(self, parameters):
        wanted = getattr(self.args, "return_perf_metrics", False) or parameters.return_perf_metrics
        return wanted and self.runtime in CONTRACT["perf_metrics"]["given"]

    def shutdown(self):
        bound("LLM.shutdown")
        self._executor = None
        if ASKED.get("fault") != "orphan":
            if self._pool is not None:
                self._pool.shutdown()
            for worker in self._workers:
                worker.kill()
                worker.wait()


class EngineLLM(LLM):
    kind = "TrtLlmArgs"
    runtime = "engine"

    def _load_format(self, value):
        if value not in ("auto", "dummy"):
            raise ValueError("load_format: Input should be 'auto' or 'dummy'")
        return value

    def _build(self):
        from tensorrt_llm import llmapi

        args = self.args
        if args.kv_cache_config.dtype != "auto":
            raise AssertionError("KvCacheConfig.dtype is not supported by the TensorRT backend.")
        args.build_config = args.build_config or llmapi.BuildConfig()
        args.quant_config = args.quant_config or llmapi.QuantConfig()
        for name in ("quant_algo", "kv_cache_quant_algo"):
            value = getattr(args.quant_config, name)
            if value is not None and not isinstance(value, enumerations["QuantAlgo"]):
                raise ValueError(f"quant_config: {name}: Input should be an instance of QuantAlgo")
        root = args.enable_build_cache.cache_root if args.enable_build_cache else None
        record = root / "engine" if root else None
        if not (record and record.exists()):
            self.llm_build_stats.build_steps_info = [
                ("Loading HF model to memory", 0.5),
                ("Building TRT-LLM engine", 2.0),
            ]
        self.llm_build_stats.cache_hitted = bool(record)  # by the source, also when a new engine has been cached
        if record:
            record.parent.mkdir(parents=True, exist_ok=True)
            record.touch()
        self._engine_dir = Path(tempfile.mkdtemp(prefix="fake-engine-"))
        built = dict(vars(args.build_config))
        built["max_seq_len"] = self._longest = built["max_seq_len"] or self.config["max_position_embeddings"]
        told = {"pretrained_config": {"dtype": args.dtype}, "build_config": built}
        (self._engine_dir / "config.json").write_text(json.dumps(told))
        args.model = self._engine_dir

    def _check(self, prompt, parameters):
        limit = self._longest
        if prompt + parameters.max_tokens > limit:
            raise ValueError(
                f"The sum of prompt length ({prompt}) and query length (0) max_tokens ({parameters.max_tokens}) should "
                f"not exceed max_seq_len ({limit})"
            )


class Dtype:
    def __init__(self, name):
        self.name = name

    def __str__(self):
        return f"torch.{self.name}"


class Model:
    """Weights of the precision that the model's files name, whatever `dtype` says."""

    def __init__(self, config):
        dtype = config["torch_dtype"]
        size = {"float32": 4}.get(dtype, 2)
        self.weights = [SimpleNamespace(dtype=Dtype(dtype), numel=lambda: 1000, element_size=lambda: size)]

    def parameters(self):
        return iter(self.weights)


class RequestOutput:
    """A request's answer, that grows while it streams."""

    def __init__(self, llm, prompt, parameters, streaming):
        self.request_id, self.prompt_token_ids, self.finished = id(self), prompt, False
        self.outputs = [SimpleNamespace(index=0, token_ids=[], text="", finish_reason=None, request_perf_metrics=None)]
        if "cached_tokens" in CONTRACT["attributes"]["RequestOutput"]:
            self.cached_tokens = 0
        self._llm, self._parameters, self._streaming = llm, parameters, streaming
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._random = random.Random(parameters.seed)
        self._length = parameters.max_tokens if parameters.ignore_eos else 1  # the model would end here
        self._arrived = time.monotonic()

    def _draw(self):
        drawn = self._parameters.temperature
        tokens = self.outputs[0].token_ids
        vocabulary = self._llm.config["vocab_size"]
        tokens.append(
            self._random.randrange(vocabulary) if drawn else (sum(self.prompt_token_ids) + len(tokens)) % vocabulary
        )

    def _finish(self, first):
        self.finished, self.outputs[0].finish_reason = True, "length"
        if self._llm.gives_metrics(self._parameters):
            stamps = dict(
                zip(
                    CONTRACT["attributes"]["TimingMetrics"],
                    [timedelta(seconds=at) for at in (self._arrived, self._arrived + 1e-5, first, time.monotonic())],
                    strict=True,
                )
            )
            self.outputs[0].request_perf_metrics = SimpleNamespace(timing_metrics=SimpleNamespace(**stamps))

    def result(self, timeout=None):
        seconds = ASKED.get("token_seconds", 0.0005)
        first = time.monotonic() + seconds
        time.sleep(seconds * self._length)
        while len(self.outputs[0].token_ids) < self._length:
            self._draw()
        self._finish(min(first, time.monotonic()))
        return self

    async def __aiter__(self):
        assert self._loop is not None, "The asyncio event loop was not present during initialization"
        assert self._streaming
        first = None
        for _ in range(self._length):
            await asyncio.sleep(ASKED.get("token_seconds", 0.0005))
            self._draw()
            first = first or time.monotonic()
            if len(self.outputs[0].token_ids) == self._length:
                self._finish(first)
            yield self
