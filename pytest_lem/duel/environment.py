"""The environment of another commit: its files in a work tree of their own, and the interpreter built from them.

The engine's process of the baseline runs under that interpreter, so the engine's packages, and the project's code that
an engine imports, are those of the commit. pytest, the tests and pytest-lem are those of this checkout on both sides.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from filelock import FileLock, Timeout

from pytest_lem.duel.git import add_tree, clean_environment, commit_of, remove_tree, subfolder
from pytest_lem.duel.sides import OPTION, GitSide
from pytest_lem.model.errors import StoreError, UsageError

SETUP = "--lem-duel-setup"
FOLDER = "worktrees"
DEFAULT_PYTHON = Path(".venv", "bin", "python")
EXAMPLE = f"{SETUP}='python -m venv .venv && .venv/bin/pip install -e .'"
_TREE, _HELD = "tree", "held.lock"


@dataclass(frozen=True)
class Checkout:
    """A commit that can run: its full name, the folder of the project in its work tree, and its interpreter."""

    commit: str
    folder: Path
    python: str


@dataclass
class Checkouts:
    """The commits that this process has checked out, each built once; `close` removes them all.

    `project` is the folder of the tests' project, in a git repository; `results` the results folder, under which the
    work trees lie while they are needed; `setup` the command that builds an environment, run by a shell in the work
    tree; `log` the file that takes what it prints; `show` is told what is being done.
    """

    project: Path
    results: Path
    setup: str | None
    log: Path
    show: Callable[[str], object]
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)
    _known: dict[str, Checkout] = field(default_factory=dict, repr=False)

    def open(self, side: GitSide) -> Checkout:
        """The commit of `side`, built. Raises UsageError for a ref, a command or an interpreter that cannot be."""
        commit = commit_of(side, self.project)
        if commit not in self._known:
            self._known[commit] = self._stack.enter_context(self._checkout(side, commit))
        return self._known[commit]

    def close(self) -> None:
        """Remove the work trees. May be called twice."""
        self._known.clear()
        self._stack.close()

    @contextmanager
    def _checkout(self, side: GitSide, commit: str) -> Iterator[Checkout]:
        with _place(self.project, self.results / FOLDER) as tree:
            self.show(f"check out {side.words}")
            add_tree(self.project, tree, commit)
            folder = tree / subfolder(self.project)
            if not folder.is_dir():
                raise UsageError(f"{OPTION}={side.words}: that commit has no folder {subfolder(self.project)}")
            yield Checkout(commit, folder, self._build(side, folder))

    def _build(self, side: GitSide, folder: Path) -> str:
        """Run the setup command; the interpreter that it printed or made."""
        printed = ""
        if self.setup:
            self.show(f"build the environment of {side.words}")
            printed = run_setup(self.setup, folder, self.log)
        for path in (folder / printed if printed else None, folder / DEFAULT_PYTHON):
            # os.path, because a line that is no path may be longer than any.
            if path and os.path.isfile(path) and os.access(path, os.X_OK):
                return str(path)
        told = f"{SETUP}={self.setup!r} left no interpreter" if self.setup else "there is no interpreter"
        raise UsageError(
            f"{OPTION}={side.words}: {told} at {DEFAULT_PYTHON} of the commit's work tree; give a command that makes "
            f"it there, or prints its path as the last line: {EXAMPLE}"
        )


def run_setup(command: str, folder: Path, log: Path) -> str:
    """Run `command` in a shell in `folder`; the last line that it printed. All of its output goes to `log` too.

    Raises UsageError with its last words where it fails. Whatever it started is gone after Ctrl-C.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    process: subprocess.Popen[str] | None = None
    try:
        with log.open("w", encoding="utf-8") as errors, _interrupt_later():
            process = _started(command, folder, errors)
        printed, _ = process.communicate()
    except BaseException:
        if process is not None:
            _end(process)
        raise
    with log.open("a", encoding="utf-8") as file:
        file.write(printed)
    if process.returncode:
        words = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it printed nothing"])[-1]
        raise UsageError(f"{SETUP}={command!r} ended with exit code {process.returncode}: {words} (all of it: {log})")
    lines = printed.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _started(command: str, folder: Path, errors: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        shell=True,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=clean_environment(),
        text=True,
        errors="replace",
        start_new_session=True,
    )


@contextmanager
def _interrupt_later() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block: one that came while a process starts would leave it unknown."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C comes to the main thread alone
        return
    came: list[tuple[int, FrameType | None]] = []
    handler = signal.signal(signal.SIGINT, lambda *told: came.append(told))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came and callable(handler):
            handler(*came[0])


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()


@contextmanager
def _place(project: Path, folder: Path) -> Iterator[Path]:
    """Where a work tree may stand, removed with it in the end; what killed processes left there is removed first."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}; name another --lem-results") from error
    sweep(project, folder)
    own = folder.resolve() / secrets.token_hex(4)
    own.mkdir()
    lock = FileLock(own / _HELD)
    try:
        with lock:
            try:
                yield own / _TREE
            finally:
                remove_tree(project, own / _TREE)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def sweep(project: Path, folder: Path) -> None:
    """Remove the work trees of processes that were killed: the kernel let go of their locks."""
    for held in folder.glob(f"*/{_HELD}"):
        with suppress(Timeout, OSError), FileLock(held, timeout=0):
            remove_tree(project, held.parent / _TREE)
            shutil.rmtree(held.parent, ignore_errors=True)
