"""Run ``mammolens predict`` in this process and print the peak memory of it and of its decoding processes.

``python -m benchmarks.memory_probe FILE FOLDER`` prints one JSON object, kibibytes. It is
a program of its own because a peak can't be reset, and because what a large parent leaves
behind at a fork counts as the child's in ``getrusage``; ``VmHWM`` does not have that flaw.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path


def peak(process: str) -> int:
    """Largest resident set that a process has had, KiB; 0 where the system does not say."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def main() -> int:
    """Predict and print."""
    from mammolens.cli.main import app

    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        status = app(["predict", sys.argv[1], "--out", sys.argv[2]], standalone_mode=False)
    from mammolens.imaging.sandbox import default_pool

    children = [peak(str(pid)) for pid in default_pool().process_ids]
    print(json.dumps({"status": status or 0, "parent_kib": peak("self"), "children_kib": children}))
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
