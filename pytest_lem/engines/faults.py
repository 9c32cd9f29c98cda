"""What an engine's own failure report means to the user: the place, the fault, the mend, in one line."""

from __future__ import annotations

from pytest_lem.engines.protocol import Failed
from pytest_lem.model.specs import EngineSpec


def explain(failure: Failed, command: str, spec: EngineSpec, work: str | None, needs: str) -> str:
    """One line about `failure` during `command`.

    `work` describes the batch, None while the model loads; `needs` is what installs the engine.
    """
    cause = " ".join(failure.message.split())
    if failure.kind == "memory":
        return _memory(cause, spec, work)
    if failure.kind == "start" and "No module named" in cause:
        where = f"--lem-python {spec.backend}={spec.python}" if spec.python else "this interpreter"
        return f"{where}: {cause}; install it with: {needs or spec.backend}"
    return f"{command} failed: {cause}" if failure.kind != "usage" else cause


def _memory(cause: str, spec: EngineSpec, work: str | None) -> str:
    device = "GPU" if spec.device == "cuda" else "machine"
    if work is None:
        return (
            f"model {spec.model!r} in {spec.precision} does not fit into the {device}'s memory: "
            f"take a smaller --lem-model or --lem-precision ({cause})"
        )
    return f"{work} does not fit into the {device}'s memory: take a smaller --lem-batch or fewer tokens ({cause})"
