"""What an engine's own failure report means to the user: the place, the fault, the mend, in one line."""

from __future__ import annotations

from pytest_lem.engines.protocol import Failed
from pytest_lem.model.specs import EngineSpec, WorkloadSpec


def explain(failure: Failed, command: str, spec: EngineSpec, workload: WorkloadSpec | None, needs: str) -> str:
    """One line about `failure` during `command`; `needs` is what installs the engine."""
    cause = " ".join(failure.message.split())
    if failure.kind == "memory":
        return _memory(cause, command, spec, workload)
    if failure.kind == "start" and "No module named" in cause:
        where = f"--lem-python {spec.backend}={spec.python}" if spec.python else "this interpreter"
        return f"{where}: {cause}; install it with: {needs or spec.backend}"
    return f"{command} failed: {cause}" if failure.kind != "usage" else cause


def _memory(cause: str, command: str, spec: EngineSpec, workload: WorkloadSpec | None) -> str:
    device = "GPU" if spec.device == "cuda" else "machine"
    if command == "load" or workload is None:
        return (
            f"model {spec.model!r} in {spec.precision} does not fit into the {device}'s memory: "
            f"take a smaller --lem-model or --lem-precision ({cause})"
        )
    return (
        f"batch {workload.batch} with {workload.prompt_tokens} prompt and {workload.output_tokens} output tokens a "
        f"request does not fit into memory: take a smaller --lem-batch or fewer tokens ({cause})"
    )
