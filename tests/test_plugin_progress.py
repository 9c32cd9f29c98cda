"""A live line tells what long work is at; where there is no terminal nothing is shown."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest
from _pytest.terminal import TerminalReporter

from pytest_lem.plugin.progress import Progress

STEPS = ("start fake", "prepare", "calibrate", "warm-up 1", "round 1 of 4", "round 4 of 4")


def on_a_terminal(folder, *arguments: str, hear=lambda said: None) -> str:
    """The output of a pytest run whose standard output is a terminal of 100 columns; `hear` gets it as it grows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", "pytest", *arguments]
    with subprocess.Popen(command, cwd=folder, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}):
        os.close(theirs)
        said = b""
        while True:
            try:
                chunk = os.read(ours, 1 << 16)
            except OSError:  # Linux says EIO where nobody holds the other end any more
                chunk = b""
            if not chunk:
                break
            said += chunk
            hear(said.decode(errors="replace"))
    os.close(ours)
    return said.decode()


def test_a_terminal_shows_each_step_and_keeps_none(project):
    project.write()
    said = on_a_terminal(project.pytester.path)
    for step in STEPS:
        assert f"test_decode[fake-bf16-b1-c0]: {step}" in said
    # Each line of ours is erased before the next, so that what stays is pytest's own line of dots and the table.
    assert "\x1b[2K" in said
    assert "2 passed" in said


class Interrupted(io.StringIO):
    """A terminal at whose nth touch the user presses Ctrl-C."""

    def __init__(self, touch: int) -> None:
        super().__init__()
        self.left = touch

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._touch()
        return super().write(text)

    def flush(self) -> None:
        self._touch()

    def _touch(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("touch", range(1, 9))
def test_a_ctrl_c_while_the_line_is_drawn_stays_a_ctrl_c(pytester, touch):
    """What takes the line away must not fail on one that is half drawn: the run would end as FAILED."""
    config = pytester.parseconfig()
    config.pluginmanager.register(TerminalReporter(config, terminal := Interrupted(touch)), "terminalreporter")
    progress = Progress(config)
    try:
        progress.show("test_decode", "prepare")
        progress.show("test_decode", "round 1 of 4")
    except KeyboardInterrupt:
        pass
    terminal.left = 0
    progress.clear()
    progress.clear()
    assert terminal.getvalue().count("\n") == terminal.getvalue().count("\x1b[1A") <= 1


def test_a_pipe_and_a_quiet_terminal_show_none(project):
    project.write()
    piped = project.subprocess().stdout.str()
    quiet = on_a_terminal(project.pytester.path, "-q")
    for step in STEPS:
        assert f": {step}" not in piped + quiet
