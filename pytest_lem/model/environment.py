"""Where something was measured: the host and its GPUs."""

from __future__ import annotations

from pydantic import Field

from pytest_lem.model.specs import Frozen


class Gpu(Frozen):
    """One GPU of the host: its UUID, board name, driver version, power limit (W), and the clocks it is allowed (MHz).

    `clocks_mhz` maps `application` and `memory` (what applications get) and `max` (the most the card knows), as far as
    the card tells them. A lock of the clocks (`nvidia-smi -lgc`) is told by no card.
    """

    uuid: str
    name: str
    driver: str | None = None
    power_limit_w: float | None = None
    clocks_mhz: dict[str, int] = Field(default_factory=dict)


class Checkout(Frozen):
    """The commit that was checked out, its branch if it was on one, and whether any of its files had been changed."""

    commit: str
    branch: str | None = None
    changed: bool = False


class Environment(Frozen):
    """The host that measured, as the report shows it. `packages` are those of pytest's own interpreter.

    `cpu` is the processor's name with the count of logical cores that pytest may use; empty where nothing tells it.
    `git` is what pytest ran from; null where that is no repository.
    """

    host: str
    python: str
    platform: str
    cpu: str = ""
    gpus: tuple[Gpu, ...] = ()
    packages: dict[str, str] = Field(default_factory=dict)
    git: Checkout | None = None
