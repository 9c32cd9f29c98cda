"""Serve commands one by one: load, tokenize, prepare, run, stop."""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .faults import Refused
from .ranks import Ranks

if TYPE_CHECKING:
    from .adapter import AdapterProtocol
    from .wire import Wire

SPIN_NS = 2_000_000


def serve(wire: Wire, adapter_file: str) -> None:
    """Answer every command until `stop`."""
    wire.hello()
    session = Session(adapter_file, wire)
    while True:
        request = wire.receive()
        wire.begin(request["id"])
        answer = _attempt(session, request)
        if not session.left_to_ranks(answer):
            wire.answer(answer)
        if request["command"] == "stop":
            session.leave()
            return


def _attempt(session: Session, request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one command; every failure becomes a message, and its traceback goes to the log."""
    try:
        return {"type": "done", "value": session.obey(request)}
    except Refused as fault:
        return {"type": "failed", "kind": "usage", "message": str(fault), "fatal": request["command"] == "load"}
    except MemoryError as fault:
        traceback.print_exc()
        return {"type": "failed", "kind": "memory", "message": str(fault) or "out of memory"}
    except Exception as fault:  # noqa: BLE001 - whatever an engine raises, the parent has to be told
        traceback.print_exc()
        kind = "start" if request["command"] == "load" else "died"
        return {"type": "failed", "kind": kind, "message": f"{type(fault).__name__}: {fault}"}


class Session:
    """One adapter and the commands that drive it."""

    def __init__(self, adapter_file: str, wire: Wire) -> None:
        self._adapter_file = adapter_file
        self._wire = wire
        self._adapter: AdapterProtocol | None = None
        self._ranks: Ranks | None = None

    def obey(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command, on all ranks where there are others; returns the answer's value."""
        if request["command"] == "load" and request.get("ranks", 1) > 1 and "rank" not in request:
            self._ranks = Ranks(request["ranks"], self._adapter_file, self._wire.answer)
        if self._ranks is None or request["command"] == "tokenize":
            return self._obey(request)
        return self._obey_together(request, self._ranks)

    def _obey_together(self, request: dict[str, Any], ranks: Ranks) -> dict[str, Any]:
        """Carry it out with the other ranks: all of them do, or all refuse it."""
        ranks.send(request)
        try:
            value = self._obey({**request, "rank": 0, "listen_fd": ranks.listen_fd})
        except Refused as fault:
            if request["command"] != "load" and not ranks.refusals():
                raise RuntimeError(f"refused what the other ranks did ({fault})") from None
            raise
        refusals = ranks.refusals()
        if refusals:
            raise RuntimeError(f"did what another rank refused ({refusals[0]})")
        return value

    def left_to_ranks(self, answer: dict[str, Any]) -> bool:
        """Whether a failure is one of several ranks', of which the one that caused the others is told."""
        if self._ranks is None or answer["type"] != "failed" or answer["kind"] == "usage":
            return False
        self._ranks.failed(0, answer)
        return True

    def leave(self) -> None:
        """After stop: the last to end."""
        if self._ranks is not None:
            self._ranks.leave()

    def _obey(self, request: dict[str, Any]) -> dict[str, Any]:
        commands: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "load": self._load,
            "tokenize": self._tokenize,
            "prepare": self._prepare,
            "run": self._run,
            "stop": self._stop,
        }
        return commands[request["command"]](request)

    def _load(self, request: dict[str, Any]) -> dict[str, Any]:
        number = request["id"]
        if request.get("own_gpu"):
            # Before anything is imported: what asks for GPUs as it is (torchao does) fixes which there are.
            os.environ["CUDA_VISIBLE_DEVICES"] = request["gpus"][request["rank"]]
        self._adapter = load_adapter(self._adapter_file)
        observed = self._adapter.load(
            request, lambda text: self._wire.send({"type": "progress", "id": number, "text": text})
        )
        return {"observed": observed}

    def _tokenize(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"token_ids": self._ready().tokenize(request["texts"])}

    def _prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"prompt_tokens": self._ready().prepare(request)}

    def _run(self, request: dict[str, Any]) -> dict[str, Any]:
        adapter = self._ready()
        adapter.arm(request["passes"], request["hooks"])
        start_ns = wait_until(request["start_ns"])
        adapter.run()
        end_ns = time.monotonic_ns()
        return {"start_ns": start_ns, "end_ns": end_ns, **adapter.collect()}

    def _stop(self, _request: dict[str, Any]) -> dict[str, Any]:
        if self._adapter is not None:
            self._adapter.close()
        return {}

    def _ready(self) -> AdapterProtocol:
        if self._adapter is None:
            raise RuntimeError("nothing is loaded yet")
        return self._adapter


def load_adapter(path: str) -> AdapterProtocol:
    """Make the `Adapter` of the file at `path`; one that lies in this folder is a module of this package."""
    name = os.path.splitext(os.path.basename(path))[0]
    if os.path.dirname(os.path.abspath(path)) == os.path.dirname(os.path.abspath(__file__)):
        module = importlib.import_module(f"{__package__}.{name}")
    else:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"no adapter can be loaded from {path}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    adapter: AdapterProtocol = module.Adapter()
    return adapter


def wait_until(start_ns: int | None) -> int:
    """Sleep, then spin, until `start_ns`; returns the instant at which work really starts (monotonic ns)."""
    if start_ns is not None:
        time.sleep(max(0, start_ns - SPIN_NS - time.monotonic_ns()) / 1e9)
        while time.monotonic_ns() < start_ns:
            pass
    return time.monotonic_ns()
