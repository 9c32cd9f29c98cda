"""Who says how many FLOPs a token costs: calflops → analytic → counted → parameters, from the one that is asked on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pytest_lem.flops import analytic
from pytest_lem.flops.architecture import EXPERTS, Architecture, read
from pytest_lem.flops.request import whole
from pytest_lem.flops.throwaway import Counter
from pytest_lem.model.arithmetic import Coefficients, Method
from pytest_lem.model.errors import Unavailable

Asked = Literal["analytic", "counted", "calflops"]
ASKED: tuple[Asked, ...] = ("analytic", "counted", "calflops")
CHAINS: dict[Asked, tuple[Method, ...]] = {
    "calflops": ("calflops", "analytic", "counted", "parameters"),
    "counted": ("counted", "analytic", "parameters"),
    # What nobody asked for starts no process.
    "analytic": ("analytic", "parameters"),
}
AGREES = 0.02
"""calflops' number is used where it is off the analytic one by no more than this share."""

Count = Callable[[Counter], Coefficients]


@dataclass(frozen=True)
class Answer:
    """Who answered, what a token costs, what the sizes are where they are known; `notes` say why others did not."""

    method: Method
    cost: Coefficients
    architecture: Architecture | None
    notes: tuple[str, ...] = ()


def answer(
    asked: Asked, config: Mapping[str, Any], parameters: int | None, requests: Sequence[tuple[int, int]], count: Count
) -> Answer:
    """The first method of the chain that can say it of a model's `config`.

    calflops is held against the analytic number over `requests` (prompt and output tokens of each). `count` starts the
    throwaway process. Raises Unavailable with every method's reason where none can.
    """
    architecture, notes = _architecture(config)
    formula = None if architecture is None else analytic.coefficients(architecture)
    for method in CHAINS[asked]:
        try:
            if method == "analytic":
                cost = formula
            elif method == "parameters":
                cost = _by_parameters(config, parameters, asked)
            else:
                cost = count(method)
                if method == "calflops":
                    _agree(cost, formula, requests)
        except Unavailable as error:
            notes.append(error.reason)
            continue
        if cost is not None:
            window = architecture.window if architecture else cost.positions
            return Answer(method, cost.model_copy(update={"positions": window}), architecture, tuple(notes))
    raise Unavailable("flops", "; ".join(notes))


def _architecture(config: Mapping[str, Any]) -> tuple[Architecture | None, list[str]]:
    if not config:
        return None, ["the engine does not tell the model's architecture"]
    try:
        return read(config), []
    except Unavailable as error:
        return None, [error.reason]


def _by_parameters(config: Mapping[str, Any], parameters: int | None, asked: Asked) -> Coefficients:
    """2 FLOPs a parameter and token: right but for attention where each is met once, as in no mixture of experts."""
    if any(config.get(name) for name in EXPERTS):
        mend = "; --lem-flops=counted has torch count them" if asked == "analytic" else ""
        raise Unavailable("flops", f"of a mixture of experts a token does not meet every parameter{mend}")
    if not parameters:
        raise Unavailable("flops", "the engine does not tell how many parameters the model has")
    return Coefficients(per_token=2.0 * parameters, per_position=0, per_sample=0)


def _agree(cost: Coefficients, formula: Coefficients | None, requests: Sequence[tuple[int, int]]) -> None:
    """Raise Unavailable, naming both numbers, where calflops is too far off the analytic number or there is none."""
    said = sum(whole(cost, *request) for request in requests)
    if formula is None:
        raise Unavailable("flops", f"calflops says {said:.4g} FLOPs a pass, and no analytic number holds it to account")
    meant = sum(whole(formula, *request) for request in requests)
    if abs(said / meant - 1) > AGREES:
        off = f"{abs(said / meant - 1):.1%}".replace("%", " %")
        side = "above" if said > meant else "below"
        raise Unavailable("flops", f"calflops says {said:.4g} FLOPs a pass, {off} {side} the analytic {meant:.4g}")
