"""The parent's side of an engine: start it, talk to it, stop it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from pytest_lem.engines import faults, registry
from pytest_lem.engines.channel import Closed, Garbled, Silent
from pytest_lem.engines.child.faults import exit_words
from pytest_lem.engines.child.wire import PROTOCOL
from pytest_lem.engines.models import locate
from pytest_lem.engines.observed import check_observed, check_ranks, check_tokens
from pytest_lem.engines.process import EngineProcess, child_environment
from pytest_lem.engines.protocol import Done, Failed, Hello, Loaded, PassResult, Prepared, Progress, RunReply, Tokenized
from pytest_lem.model.errors import EngineError
from pytest_lem.model.reading import DeviceReading
from pytest_lem.model.specs import EngineSpec, WorkloadSpec
from pytest_lem.workloads.work import Work, build_work

TERM_SECONDS = 3.0
RUN_SECONDS = 600.0

# Of requests that arrive over time, so many are taken for one group: an engine that is slower than they come is none
# that hangs.
ARRIVING_TOGETHER = 64

Reply = TypeVar("Reply", Loaded, Tokenized, Prepared, RunReply)


class Engine:
    """A running engine process. Made by `Engine.start`; whoever made it stops it.

    `observed` is the configuration that really runs, as the adapter read it from live objects; `load_seconds` the time
    from starting the process until the model was loaded, `build_devices` what meters read while an engine was built, if
    whoever started it had them watch. After a failure the process is dead (`alive` is False), but
    for a request it refused (`EngineError.kind == "usage"`).
    """

    def __init__(
        self,
        spec: EngineSpec,
        gpus: tuple[str, ...],
        process: EngineProcess,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        self.spec = spec
        self.gpus = gpus
        self.pid = process.pid
        self.log_path = process.log_path
        self.observed: dict[str, Any] = {}
        self.load_seconds = 0.0
        self.build_devices: tuple[DeviceReading, ...] = ()
        self._process = process
        self._on_progress = on_progress
        self._start_seconds = 0.0
        self._stop_seconds = registry.entry(spec.backend).stop_seconds
        self._ranks = registry.entry(spec.backend).ranks(spec.options)
        self._command = 0
        self._busy = False
        self._work: Work | None = None
        self._prepared = Prepared(prompt_tokens=())

    @classmethod
    def start(
        cls,
        spec: EngineSpec,
        *,
        gpus: Sequence[str],
        log_path: Path,
        start_timeout: float | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> Engine:
        """Start the engine and load its model. `gpus` are UUIDs, empty for a CPU; device `auto` follows them.

        It has `start_timeout` seconds; None: as many as such an engine may take. Raises EngineError (the process is
        gone by then), and UsageError for a backend or model that cannot be.
        """
        entry = registry.entry(spec.backend)
        source = locate(spec.model, gguf_file=spec.options.get("gguf_file"))
        device = spec.device if spec.device != "auto" else ("cuda" if gpus else "cpu")
        used = tuple(gpus) if device == "cuda" else ()
        environment = child_environment(used, hide_gpus=device == "cpu", other_python=spec.python is not None)
        start_timeout = entry.start_seconds(spec.options) if start_timeout is None else start_timeout
        began = time.monotonic()
        try:
            process = EngineProcess(spec.python, entry.adapter, environment, log_path)
        except OSError as fault:
            raise EngineError(f"--lem-python {spec.backend}={spec.python}: cannot be run: {fault}") from fault
        engine = cls(spec, used, process, on_progress)
        engine._start_seconds = start_timeout
        request = {**spec.model_dump(), **source.as_request(), "device": device, "gpus": used}
        request |= {"ranks": entry.ranks(spec.options), "own_gpu": bool(used) and entry.own_gpu(spec.options)}
        try:
            engine._load(request, began + start_timeout)
            process.remember()
        except BaseException:
            engine.kill()
            raise
        engine.load_seconds = time.monotonic() - began
        return engine

    @property
    def build_seconds(self) -> float | None:
        """How much of `load_seconds` went into the building of an engine; None where none is built, or nobody tells."""
        seconds = self._build().get("seconds")
        return float(seconds) if isinstance(seconds, int | float) else None

    @property
    def build_span(self) -> tuple[int, int] | None:
        """From when until when the engine was built (monotonic ns): the first part of its making."""
        began = self._build().get("start_ns")
        if not isinstance(began, int) or self.build_seconds is None:
            return None
        return began, began + round(self.build_seconds * 1e9)

    def _build(self) -> dict[str, Any]:
        build = self.observed.get("build")
        return build if isinstance(build, dict) else {}

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.running()

    @property
    def busy(self) -> bool:
        """Whether a command was sent and its answer never taken: such an engine cannot be used again."""
        return self._busy

    @property
    def work(self) -> Work:
        """What was prepared: one pass, request by request. Raises EngineError where nothing was."""
        if self._work is None:
            raise EngineError(f"{self._name}: nothing is prepared yet", kind="usage")
        return self._work

    def pids(self) -> set[int]:
        """All processes of the engine: itself, its group, its descendants."""
        return self._process.pids()

    def prepare(self, workload: WorkloadSpec, *, timeout: float = RUN_SECONDS) -> Prepared:
        """Hand the engine its work (tensors on the device, requests built); replaces what was prepared before.

        Raises EngineError, and UsageError for prompts that cannot be.
        """
        self._work, self._prepared = None, Prepared(prompt_tokens=())
        registry.check_workload(self.spec, workload)
        deadline = time.monotonic() + timeout
        work = build_work(workload, self.observed.get("vocab_size"), lambda texts: self._tokenize(texts, deadline))
        self._work = work
        self._prepared = self._validated(Prepared, self._ask("prepare", work.model_dump(exclude={"notes"}), deadline))
        asked = tuple(len(request.prompt) for request in work.requests)
        if self._prepared.prompt_tokens != asked:
            self._fail("protocol", f"prepared prompts of {self._prepared.prompt_tokens} tokens, asked {asked}")
        self._process.remember()
        return self._prepared

    def run(
        self, passes: int, *, start_ns: int | None = None, hooks: bool = False, timeout: float = RUN_SECONDS
    ) -> PassResult:
        """Run the prepared work `passes` times back to back, from `start_ns` (monotonic ns; None: at once).

        `hooks` records every token's time, at a cost: rounds that are measured run without. `timeout` is in seconds
        from `start_ns`, beyond the time that the requests take to arrive, and once for every group of requests that
        follow one another: a wave, or as many as run together. Raises EngineError; out of memory (`kind == "memory"`)
        ends the engine too.
        """
        if self._work is None or not self._prepared.prompt_tokens:
            raise EngineError(f"{self._name}: run() before prepare(): there is no work yet", kind="usage")
        begin = time.monotonic_ns() if start_ns is None else max(start_ns, time.monotonic_ns())
        request = {"passes": passes, "start_ns": start_ns, "hooks": hooks}
        deadline = begin / 1e9 + timeout * _groups(self._work) + passes * self._work.seconds
        reply = self._validated(RunReply, self._ask("run", request, deadline))
        problem = check_tokens(reply, self._work, passes, hooks=hooks) or check_ranks(reply, self._ranks)
        if problem:
            self._fail("mismatch", problem)
        return PassResult(
            passes=passes,
            requests=passes * len(self._work.requests),
            prompt_tokens=passes * self._work.prompt_tokens,
            **dict(reply),
        )

    def stop(self) -> None:
        """End the engine: ask, wait, SIGTERM to its group, SIGKILL to it and to what it started elsewhere.

        Returns when no process is left.
        """
        self._process.remember()
        if self._process.running() and not self._busy:
            self._command += 1
            try:
                self._process.channel.send({"id": self._command, "command": "stop"})
            except Closed:
                self._process.terminate()
            if self._process.wait(self._stop_seconds):
                self._process.reap()
                return
        self._process.terminate()
        self._process.wait(TERM_SECONDS)
        self._process.reap()

    def kill(self) -> None:
        """End the engine and all that it started at once, with SIGKILL. Returns when no process is left."""
        self._process.reap()

    @property
    def _name(self) -> str:
        return f"engine {self.spec.backend!r}"

    def _asked(self) -> str | None:
        """The work in words, by its longest request."""
        if self._work is None:
            return None
        requests = self._work.requests
        longest, output = max(len(each.prompt) for each in requests), max(each.output_tokens for each in requests)
        together = max(map(len, self._work.waves), default=self._work.concurrency or len(requests))
        return f"batch {together} with {longest} prompt and {output} output tokens a request"

    def _tokenize(self, texts: Sequence[str], deadline: float) -> list[list[int]]:
        """The token ids of texts, by the model's own tokenizer. Raises EngineError where it has none."""
        value = self._ask("tokenize", {"texts": list(texts)}, deadline)
        return self._validated(Tokenized, value).token_ids

    def _load(self, request: dict[str, Any], deadline: float) -> None:
        hello = self._next("start", deadline)
        if not isinstance(hello, Hello):
            self._fail("protocol", f"began with a {hello.type!r} message")
        if hello.protocol != PROTOCOL:
            self._fail("protocol", f"speaks protocol {hello.protocol}, this pytest-lem speaks {PROTOCOL}")
        loaded = self._validated(Loaded, self._ask("load", request, deadline))
        problem = check_observed(request, loaded.observed)
        if problem:
            self._fail("mismatch", problem)
        self.observed = loaded.observed

    def _ask(self, command: str, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Send a command and wait for its answer's value. Raises EngineError."""
        if not self.alive:
            self._fail("died", f"is not running any more ({command} was asked)")
        self._command += 1
        self._busy = True
        try:
            self._process.channel.send({"id": self._command, "command": command, **request})
        except Closed:
            self._fail("died", f"died before {command}")
        while True:
            message = self._next(command, deadline)
            if isinstance(message, Hello) or message.id != self._command:
                self._fail("protocol", f"sent a message out of turn during {command}")
            if isinstance(message, Progress):
                if self._on_progress:
                    self._on_progress(message.text)
                continue
            self._busy = False
            if isinstance(message, Done):
                return message.value
            self._refuse(command, message)

    def _next(self, step: str, deadline: float) -> Hello | Progress | Done | Failed:
        try:
            return self._process.channel.receive(deadline)
        except Closed:
            self._fail("died", f"died during {step}")
        except Silent:
            late = self._late() if step in ("start", "load") else ""
            self._fail("timeout", f"did not answer in time during {step}, and was killed{late}")
        except Garbled as fault:
            self._fail("protocol", f"wrote what is no message during {step}: {fault.args[0]!r}")

    def _late(self) -> str:
        """How long the engine had to start, and what gives it more."""
        options = registry.entry(self.spec.backend).options
        more = f"; {self.spec.backend}={{'start_seconds': ...}} gives it more"
        asked = options is not None and "start_seconds" in options.model_fields
        return f" after {self._start_seconds:g} s{more if asked else ''}"

    def _validated(self, model: type[Reply], value: dict[str, Any]) -> Reply:
        try:
            return model.model_validate(value)
        except ValidationError as fault:
            where = ".".join(str(part) for part in fault.errors()[0]["loc"])
            self._fail("protocol", f"gave an answer that is no {model.__name__}: {where}: {fault.errors()[0]['msg']}")

    def _refuse(self, command: str, failure: Failed) -> NoReturn:
        """Turn the child's own report into an EngineError; the engine lives on only where it says so."""
        entry = registry.entry(self.spec.backend)
        message = faults.explain(failure, command, self.spec, self._asked(), entry.needs)
        if failure.fatal:
            self.kill()
        raise EngineError(f"{self._name}: {message}", kind=failure.kind, log_tail=self._process.log_tail(failure.rank))

    def _fail(self, kind: str, message: str) -> NoReturn:
        """End the engine and raise what went wrong; a process that died by itself is named with its exit.

        Of several ranks that is the first, which tells of all others while it lives.
        """
        died = kind == "died" and self._process.wait(1.0)
        status = self._process.reap()
        words = f" ({exit_words(status)})" if died else ""
        rank = 0 if died and self._ranks > 1 else None
        who = self._name if rank is None else f"{self._name}: rank {rank}"
        raise EngineError(f"{who} {message}{words}", kind=kind, log_tail=self._process.log_tail(rank))


def _groups(work: Work) -> int:
    """How many groups of requests follow one another in a pass."""
    if work.submission == "waves":
        return len(work.waves)
    return math.ceil(len(work.requests) / (work.concurrency or ARRIVING_TOGETHER))
