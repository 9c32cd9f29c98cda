"""What GPUs can do at most, as their makers publish it: dense FLOP/s (no sparsity), bytes/s of memory.

Matched by the exact name that the driver gives: a part of a GPU (MIG), or a board that is not here, has no peaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_lem.model.errors import Unavailable


@dataclass(frozen=True)
class Peaks:
    """Published peaks of one GPU or of several together: FLOP/s in the numbers that it multiplies, and bytes/s.

    `flops_per_second` is None with `flops_reason`, where its memory's bandwidth is known all the same.
    """

    flops_per_second: float | None
    bytes_per_second: float
    flops_reason: str = ""


@dataclass(frozen=True)
class Board:
    """A board's `names`, its dense peaks in TFLOP/s (None: it cannot), GB/s of memory, and who published them.

    In TF32 each of them that has bfloat16 is published at half of that.
    """

    names: tuple[str, ...]
    bfloat16: float | None
    float16: float
    float32: float | None
    gigabytes: float
    source: str
    float8: float | None = None


_A100, _V100 = "NVIDIA A100 datasheet", "NVIDIA V100 datasheet"
BOARDS = (
    Board(
        ("NVIDIA B200",),
        2250,
        2250,
        None,
        8000,
        "NVIDIA DGX B200 datasheet, an eighth of it, half of the sparse number",
        4500,
    ),
    Board(("NVIDIA H200",), 989.4, 989.4, 66.9, 4800, "NVIDIA H200 datasheet (SXM), Hopper whitepaper", 1978.9),
    Board(
        ("NVIDIA H200 NVL",), 835.5, 835.5, 60, 4800, "NVIDIA H200 datasheet (NVL), half of the sparse number", 1670.5
    ),
    Board(
        ("NVIDIA H100 80GB HBM3",), 989.4, 989.4, 66.9, 3352, "NVIDIA H100 whitepaper (SXM5), H100 datasheet", 1978.9
    ),
    Board(("NVIDIA H100 PCIe",), 756, 756, 51.2, 2000, "NVIDIA H100 whitepaper and product brief (PCIe)", 1513),
    Board(
        ("NVIDIA H100 NVL",), 835.5, 835.5, 60, 3938, "NVIDIA H100 NVL product brief, half of the sparse number", 1670.5
    ),
    Board(("NVIDIA A100-SXM4-80GB",), 312, 312, 19.5, 2039, _A100),
    Board(("NVIDIA A100 80GB PCIe",), 312, 312, 19.5, 1935, _A100),
    Board(("NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB"), 312, 312, 19.5, 1555, _A100),
    Board(("NVIDIA L40S",), 362.05, 362.05, 91.6, 864, "NVIDIA L40S datasheet", 733),
    Board(("NVIDIA L4",), 121, 121, 30.3, 300, "NVIDIA L4 datasheet, half of the sparse number", 242.5),
    Board(("NVIDIA A10",), 125, 125, 31.2, 600, "NVIDIA A10 datasheet"),
    Board(("NVIDIA A40",), 149.7, 149.7, 37.4, 696, "NVIDIA A40 datasheet"),
    Board(("NVIDIA A30",), 165, 165, 10.3, 933, "NVIDIA A30 datasheet"),
    Board(("Tesla T4", "NVIDIA T4"), None, 65, 8.1, 320, "NVIDIA Turing whitepaper and T4 product brief"),
    Board(("Tesla V100-SXM2-16GB", "Tesla V100-SXM2-32GB"), None, 125, 15.7, 900, _V100),
    Board(("Tesla V100-PCIE-16GB", "Tesla V100-PCIE-32GB"), None, 112, 14, 900, _V100),
)
_BY_NAME = {name: board for board in BOARDS for name in board.names}


def peaks_of(names: Sequence[str], numbers: str | None, reason: str = "") -> Peaks:
    """The summed peaks of GPUs by name; `numbers` are those that they multiply, a precision, TF32 or float8.

    Where these are not known (None, with the reason), or no peak in them is published, there is one of memory alone.
    Raises Unavailable with the reason where a GPU is not known.
    """
    boards = [_board(name) for name in names]
    if not boards:
        raise Unavailable("peaks", "no published peaks are known for a CPU")
    tera = [_tera(board, numbers) for board in boards]
    known = [each for each in tera if each is not None]
    bandwidth = sum(board.gigabytes for board in boards) * 1e9
    if len(known) == len(tera):
        return Peaks(sum(known) * 1e12, bandwidth)
    if numbers is None:
        return Peaks(None, bandwidth, reason)
    return Peaks(None, bandwidth, f"no published peak of {names[tera.index(None)]!r} in {numbers} is known")


def _board(name: str) -> Board:
    if not name:
        raise Unavailable("peaks", "the GPU's name is not known: no meter told it (--lem-meter=nvml does)")
    board = _BY_NAME.get(name)
    if board is None:
        raise Unavailable("peaks", f"no published peaks are known for {name!r}")
    return board


def _tera(board: Board, numbers: str | None) -> float | None:
    half = None if board.bfloat16 is None else board.bfloat16 / 2
    known = {"bfloat16": board.bfloat16, "float16": board.float16, "float32": board.float32, "float8": board.float8}
    return {**known, "TF32": half}.get(numbers or "")
