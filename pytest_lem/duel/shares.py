"""GPU memory for two: engines that take all there is at their start are told a share, the same on both sides."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_lem.model.specs import EngineSpec

OPTION = "gpu_memory_utilization"
"""vLLM's share of the GPU's whole memory, taken at its start."""
GREEDY = "vllm"
HALF = 0.45
"""Half of vLLM's own 0.92, less what a second CUDA context and its workspace take."""
WHOLE = 0.97


@dataclass(frozen=True)
class Shares:
    """Baseline and candidate `together` on their GPUs, each with its share, and `alone`, one after the other.

    `crowded` says why they cannot be loaded at once, where the shares tell that already.
    """

    together: tuple[EngineSpec, EngineSpec]
    alone: tuple[EngineSpec, EngineSpec]
    crowded: str | None = None


def shared(a: EngineSpec, b: EngineSpec) -> Shares:
    """Give both sides the same share of memory, where the user gave none; what one side was given is the other's too.

    An engine on the CPU, or one that takes memory as it needs it, is left as it is.
    """
    first, second = _said(a) or _said(b), _said(b) or _said(a)
    alone = _given(a, first), _given(b, second)
    together = _given(a, first or HALF), _given(b, second or HALF)
    taken = [float(spec.options[OPTION]) for spec in together if _greedy(spec)]
    crowded = f"{OPTION} {' + '.join(map(str, taken))} is more than there is" if sum(taken) > WHOLE else None
    return Shares(together, alone, crowded)


def _said(spec: EngineSpec) -> float | None:
    share = spec.options.get(OPTION) if _greedy(spec) else None
    return None if share is None else float(share)


def _greedy(spec: EngineSpec) -> bool:
    return spec.backend == GREEDY and spec.device == "cuda"


def _given(spec: EngineSpec, share: float | None) -> EngineSpec:
    if not _greedy(spec) or share is None:
        return spec
    return spec.replace(options={**spec.options, OPTION: share})
