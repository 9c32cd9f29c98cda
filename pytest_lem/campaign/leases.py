"""GPUs leased host-wide, so that two runs never measure on one GPU: a lock file a UUID, shared between all users."""

from __future__ import annotations

import getpass
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from pytest_lem.model.errors import UsageError

FOLDER_VARIABLE = "LEM_LOCKS"
POLL_SECONDS = 0.2
COMMAND_LENGTH = 80
_SHARED_FOLDER, _SHARED_FILE = 0o1777, 0o666
_CLOCK_SECONDS = 2.0  # the kernel tells when a process began by a boot time in whole seconds


@dataclass(frozen=True)
class Holder:
    """Who holds a GPU: `since` is seconds of the epoch, `command` how it was called, `test` what it runs now."""

    pid: int
    user: str
    since: float
    command: str
    test: str = ""

    @classmethod
    def here(cls, command: str, test: str = "") -> Holder:
        """The calling process, from now on."""
        return cls(os.getpid(), _user(), time.time(), command[:COMMAND_LENGTH], test)

    @property
    def alive(self) -> bool:
        """Whether its process still runs; another one that got its PID later is not it."""
        try:
            return psutil.Process(self.pid).create_time() <= self.since + _CLOCK_SECONDS
        except psutil.Error:
            return False

    def __str__(self) -> str:
        began = datetime.fromtimestamp(self.since).strftime("%H:%M")
        now = f", now at {self.test}" if self.test else ""
        return f"PID {self.pid} ({self.user}), `{self.command}`, since {began}{now}"


@dataclass(frozen=True)
class Lease:
    """GPUs that are ours, in the candidates' order. `inherited`: somebody before us may just be dying on one."""

    gpus: tuple[str, ...]
    inherited: bool


@dataclass
class Leases:
    """The leases of this process, kept in `folder`; `pause` sleeps for the seconds that it is given.

    A lock is a flock, which the kernel takes back when its holder dies, by SIGKILL too: a file that lies there is no
    lock. Beside each lock file lies a JSON file that tells who holds it; it is emptied at a release, so that what is in
    the one of a free lock is the word of a holder that was killed.
    """

    folder: Path
    pause: Callable[[float], object] = time.sleep
    _locks: dict[str, FileLock] = field(default_factory=dict)
    _holder: Holder | None = None

    def acquire(self, candidates: Sequence[str], count: int, holder: Holder, tell: Callable[[str], object]) -> Lease:
        """Take any `count` of `candidates`, the first free ones; wait for them, and tell for whom, again and again.

        Either all of them are taken or none: who waits holds nothing, so that two runs cannot wait for each other.
        Raises UsageError where the folder cannot be used or there are not so many candidates.
        """
        if count > len(candidates):
            raise UsageError(f"{count} GPUs cannot be leased out of {len(candidates)}")
        waited = False
        while True:
            found = self._attempt(candidates, count, holder)
            if isinstance(found, Lease):
                return replace(found, inherited=found.inherited or waited)
            waited = True
            tell(f"waiting for {'; '.join(f'{_short(uuid)}: held by {self._told(uuid)}' for uuid in found)}")
            self.pause(POLL_SECONDS)

    def holder(self, uuid: str) -> Holder | None:
        """What the last holder of the GPU wrote down, None where it released the GPU or wrote nothing."""
        try:
            return Holder(**json.loads(self._path(uuid, "json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def note(self, test: str) -> None:
        """Let those who wait know which test runs now."""
        if self._holder is not None and self._holder.test != test:
            self._tell(replace(self._holder, test=test))

    def release(self) -> None:
        """Give back whatever is held."""
        for uuid, lock in self._locks.items():
            _write(self._path(uuid, "json"), "")
            lock.release()
        self._locks.clear()
        self._holder = None

    def _attempt(self, candidates: Sequence[str], count: int, holder: Holder) -> Lease | tuple[str, ...]:
        """The lease, or the GPUs that others hold. Attempts come one at a time on a host: none disturbs another."""
        try:
            _share(self.folder)
            with FileLock(self.folder / "attempt.lock", mode=_SHARED_FILE):
                busy = self._lock(candidates, count)
                if len(self._locks) < count:
                    self._unlock()
                    return busy
                inherited = any(self.holder(uuid) is not None for uuid in self._locks)
                self._tell(holder)
                return Lease(tuple(self._locks), inherited)
        except OSError as error:
            raise UsageError(
                f"{FOLDER_VARIABLE}={self.folder}: GPUs cannot be leased there ({error.strerror or error}); "
                "name a folder that every user of this host may write"
            ) from None

    def _lock(self, candidates: Sequence[str], count: int) -> tuple[str, ...]:
        """Lock the first `count` that are free; those that were not."""
        busy = []
        for uuid in candidates:
            if len(self._locks) == count:
                break
            lock = FileLock(self._path(uuid, "lock"), mode=_SHARED_FILE)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                busy.append(uuid)
            else:
                self._locks[uuid] = lock
        return tuple(busy)

    def _unlock(self) -> None:
        for lock in self._locks.values():
            lock.release()
        self._locks.clear()

    def _told(self, uuid: str) -> str:
        holder = self.holder(uuid)
        return str(holder) if holder is not None and holder.alive else "a process that does not say who it is"

    def _tell(self, holder: Holder) -> None:
        self._holder = holder
        for uuid in self._locks:
            _write(self._path(uuid, "json"), json.dumps(asdict(holder)))

    def _path(self, uuid: str, kind: str) -> Path:
        return self.folder / f"{uuid}.{kind}"


def lock_folder(environ: Mapping[str, str]) -> Path:
    """Where the leases of this host lie: `$LEM_LOCKS`, or a folder in the one for temporary files."""
    return Path(environ.get(FOLDER_VARIABLE) or Path(tempfile.gettempdir(), "pytest-lem-locks"))


def _share(folder: Path) -> None:
    """Make the folder, where there is none, one that each user may write to; nobody may remove another's files."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(_SHARED_FOLDER)  # mkdir's own mode is cut by the umask


def _write(path: Path, text: str) -> None:
    """Write in place: in a sticky folder nobody may rename over the file of another user.

    Telling is a courtesy: where it fails, the lock holds all the same, and who waits hears of an unknown holder.
    """
    with suppress(OSError):
        try:
            # Without O_CREAT, which Linux refuses for another user's file in such a folder (fs.protected_regular).
            file = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
        except FileNotFoundError:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _SHARED_FILE)
            os.fchmod(file, _SHARED_FILE)
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            stream.write(text)


def _short(uuid: str) -> str:
    """Enough of a UUID to know it by."""
    return f"{uuid[:12]}…" if len(uuid) > 12 else uuid


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need have no name
        return str(os.getuid())
