"""Becomes the command of its arguments once the pipe of its first argument says so, or ends with the pipe.

Run by its path in a process of its own, with the standard library only. So the schedule knows the process, and has it
in its log, before anything of it runs: who dies in between leaves neither a run without a line nor one that runs on.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Wait for one byte, then become the command."""
    gate, command = int(sys.argv[1]), sys.argv[2:]
    word = os.read(gate, 1)
    os.close(gate)
    if word:
        os.execv(command[0], command)


if __name__ == "__main__":
    main()
