"""One live line on long work, silent where the output is no terminal; and lines that stay."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from pytest_lem.plugin.state import worker_name

ERASED = "\r\x1b[2K"


class Progress:
    """Shows `test: what is being done` while pytest captures; cleared when the test's own result is printed.

    A Ctrl-C may end any statement here, and `clear` runs while it passes: there is no state but what stands on screen.
    """

    def __init__(self, config: pytest.Config) -> None:
        reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        self._reporter = None if worker_name(config) else reporter
        self._capture: Any = config.pluginmanager.getplugin("capturemanager")
        self._writer: Any = reporter._tw if reporter is not None else None
        self._file: Any = self._writer._file if self._writer is not None else None
        self._column = 0
        self._shown = False
        self._console = Console(file=self._file)
        terminal = bool(self._file and self._file.isatty()) and not self._console.is_dumb_terminal
        self.on = terminal and not config.getoption("verbose") < 0

    def show(self, where: str, text: str) -> None:
        """Replace the line."""
        if not self.on:
            return
        with self._uncaptured():
            if not self._shown:
                # Pytest stands in the middle of a line of its own: ours goes below it, and the cursor back afterwards.
                self._column = self._writer.width_of_current_line
                self._file.write("\n")
                self._shown = True
            self._file.write(ERASED)
            line = Text(f"  {where}: {text}", style="dim", overflow="ellipsis", no_wrap=True)
            self._console.print(line, end="")
            self._file.flush()

    def say(self, line: str) -> None:
        """Write a line that stays, on a terminal or not; an xdist worker has its standard error only."""
        self.clear()
        with self._uncaptured():
            if self._reporter is None:
                print(line, file=sys.stderr, flush=True)  # noqa: T201 - nothing else leads out of a worker
                return
            self._reporter.write_line(line)
            self._reporter.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._shown = False
            with self._uncaptured():
                back = f"\x1b[{self._column}C" if self._column else ""
                self._file.write(f"{ERASED}\x1b[1A\r{back}")
                self._file.flush()

    def _uncaptured(self) -> Any:
        return self._capture.global_and_fixture_disabled() if self._capture else nullcontext()
