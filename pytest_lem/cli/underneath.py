"""Pytest underneath a command: the same terminal, the same exit status, and a Ctrl-C that reaches it once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import typer
from typer.core import TyperCommand

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PASSED = "pytest"


class Passing(TyperCommand):
    """A command that hands on what stands behind `--`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # typer's own class
        """Keep what is pytest's aside."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[PASSED] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])


def passed(ctx: typer.Context) -> list[str]:
    """What stands behind `--`."""
    found: list[str] = ctx.meta.get(PASSED, [])
    return found


def run_pytest(arguments: Sequence[str], *, to_stderr: bool = False) -> int:
    """Run pytest with this interpreter and wait for it, however it ends; its exit status, 128 + N for signal N.

    `to_stderr` keeps stdout free for what comes after.
    """
    command = [sys.executable, "-m", "pytest", *arguments]
    with _handing_on() as child:
        child.append(subprocess.Popen(command, stdout=sys.stderr if to_stderr else None))
        status = child[0].wait()
    return status if status >= 0 else 128 - status


@contextmanager
def _handing_on() -> Iterator[list[subprocess.Popen[bytes]]]:
    """End the child instead of dying of a signal, except for a Ctrl-C that the terminal has sent to both."""
    child: list[subprocess.Popen[bytes]] = []

    def hand_on(number: int, _frame: FrameType | None) -> None:
        if child and not (number == signal.SIGINT and _in_front()):
            with suppress(ProcessLookupError):
                child[0].send_signal(signal.SIGINT)  # the one that pytest ends by in order, with a report

    # A signal that is ignored here (nohup, a job in the background) stays so.
    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, hand_on) for number in handled}
    try:
        yield child
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_front() -> bool:
    """Whether a terminal sends its Ctrl-C to this process and its children."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
