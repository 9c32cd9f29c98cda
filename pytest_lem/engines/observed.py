"""What an engine really does, compared with what it was asked to do. A difference is an error, never a note."""

from __future__ import annotations

from typing import Any

from pytest_lem.engines.protocol import RunReply
from pytest_lem.model.specs import WorkloadSpec


def check_observed(request: dict[str, Any], observed: dict[str, Any]) -> str | None:
    """The first difference between a load request and what was read back from live objects, in words; or None.

    Every option that was asked for must be read back by the adapter, in `observed["options"]`; those that nothing keeps
    are named in `observed["unread"]`.
    """
    found = [(name, request[name], observed.get(name)) for name in ("precision", "device")]
    if request["gpus"]:
        found.append(("gpus", sorted(request["gpus"]), sorted(observed.get("gpus", ()))))
    # An option may have the name of a field: both are compared.
    options = observed.get("options", {})
    for name, value in request["options"].items():
        if value is not None and name not in observed.get("unread", ()):
            found.append((name, value, options.get(name)))
    for name, asked, seen in found:
        if seen != asked:
            return f"does not run as asked: {name}: asked {asked!r}, observed {seen!r}"
    return None


def check_tokens(reply: RunReply, workload: WorkloadSpec, passes: int, *, hooks: bool) -> str | None:
    """What is wrong with a run's counts, in words; or None. Every request gets exactly `output_tokens` new tokens."""
    asked = passes * workload.batch * workload.output_tokens
    if reply.tokens != asked:
        return f"output tokens: asked {asked} ({passes} passes), observed {reply.tokens}"
    lengths = sorted({len(ids) for ids in reply.token_ids})
    if len(reply.token_ids) != workload.batch or lengths != [workload.output_tokens]:
        return (
            f"output tokens a request: asked {workload.batch} x {workload.output_tokens}, "
            f"observed {len(reply.token_ids)} x {lengths}"
        )
    if reply.end_ns < reply.start_ns:
        return f"stamps: the end ({reply.end_ns}) is before the start ({reply.start_ns})"
    return _check_times(reply, workload, passes) if hooks else None


def _check_times(reply: RunReply, workload: WorkloadSpec, passes: int) -> str | None:
    requests = sum(times.count for times in reply.request_times)
    if requests != passes * workload.batch:
        return f"token times: asked for {passes * workload.batch} requests, observed {requests}"
    gaps = {len(times.gaps_ms) for times in reply.request_times}
    if gaps != {workload.output_tokens - 1}:
        return f"token gaps a request: asked {workload.output_tokens - 1}, observed {sorted(gaps)}"
    return None
