"""What an engine really does, compared with what it was asked to do. A difference is an error, never a note."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pytest_lem.engines.protocol import RunReply
from pytest_lem.workloads.work import Work


def check_observed(request: dict[str, Any], observed: dict[str, Any]) -> str | None:
    """The first difference between a load request and what was read back from live objects, in words; or None.

    Every option that was asked for must be read back by the adapter, in `observed["options"]`; those that nothing keeps
    are named in `observed["unread"]`.
    """
    found = [(name, request[name], observed.get(name)) for name in ("precision", "device")]
    if request.get("ranks", 1) > 1:
        found.append(("ranks", [*range(request["ranks"])], [each["rank"] for each in observed.get("ranks", ())]))
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


def check_tokens(reply: RunReply, work: Work, passes: int, *, hooks: bool) -> str | None:
    """What is wrong with a run's counts, in words; or None. Every request gets exactly the new tokens it asks for."""
    asked = passes * work.output_tokens
    if reply.tokens != asked:
        return f"output tokens: asked {asked} ({passes} passes), observed {reply.tokens}"
    wanted, found = [each.output_tokens for each in work.requests], [len(ids) for ids in reply.token_ids]
    if found != wanted:
        return f"output tokens a request: asked {_counts(wanted)}, observed {_counts(found)}"
    if reply.end_ns < reply.start_ns:
        return f"stamps: the end ({reply.end_ns}) is before the start ({reply.start_ns})"
    return _check_times(reply, work, passes) if hooks else None


def check_ranks(reply: RunReply, ranks: int) -> str | None:
    """What is wrong with what the ranks of an engine did, in words; or None.

    All of it is done in the window. Ranks that share a model make every token each, replicas each their own.
    """
    if ranks == 1:
        return None
    if [each.rank for each in reply.ranks] != [*range(ranks)]:
        return f"ranks: asked {[*range(ranks)]}, observed {[each.rank for each in reply.ranks]}"
    replicas = [each.tokens for each in reply.ranks if each.requests is not None]
    if replicas and sum(replicas) != reply.tokens:
        return f"replicas made {' + '.join(map(str, replicas))} tokens, and the run {reply.tokens}"
    for each in reply.ranks:
        if not replicas and each.tokens != reply.tokens:
            return f"rank {each.rank} made {each.tokens} tokens, and rank 0 {reply.tokens}: all of them make all"
        if not reply.start_ns <= each.start_ns <= each.end_ns <= reply.end_ns:
            return f"rank {each.rank} did not do its work inside of the window"
    return None


def _check_times(reply: RunReply, work: Work, passes: int) -> str | None:
    requests = sum(times.count for times in reply.request_times)
    if requests != passes * len(work.requests):
        return f"token times: asked for {passes * len(work.requests)} requests, observed {requests}"
    wanted = sorted(each.output_tokens - 1 for _ in range(passes) for each in work.requests)
    found = sorted(len(times.gaps_ms) for times in reply.request_times for _ in range(times.count))
    if found != wanted:
        return f"token gaps a request: asked {_counts(wanted)}, observed {_counts(found)}"
    return None


def _counts(lengths: Sequence[int]) -> str:
    """`8 x 32`, or `3 x 16 + 5 x 32`: how many requests have how many."""
    return " + ".join(f"{count} x {length}" for length, count in sorted(Counter(lengths).items())) or "none"
