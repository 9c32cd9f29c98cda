"""Whether a run still measures: a lock that the kernel lets go of with the process that held it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

ALIVE = ".alive"


def is_alive(directory: Path) -> bool:
    """Whether a process that lives holds the run in `directory`; the kernel lets go of one that died."""
    try:
        fd = os.open(directory / ALIVE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # nobody ever held it, or we could not go on with it anyway
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # locks are not to be had here
        return False
    finally:
        os.close(fd)
    return False
