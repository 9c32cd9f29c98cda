"""Makes the project's own scripts importable in tests: `import project` first, then `from benchmarks import …`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Appended, so that a built and installed pytest_lem wins over the source beside `benchmarks`.
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))
