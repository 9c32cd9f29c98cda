"""The Chromium of this machine."""

from __future__ import annotations

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str | None:
    """What LEM_CHROMIUM names, else one in PATH; None where there is none."""
    asked = os.environ.get("LEM_CHROMIUM")
    return asked or next((found for name in NAMES if (found := shutil.which(name))), None)
