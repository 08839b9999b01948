"""The whole way on a generated CBIS-DDSM, as `make cbis-rehearsal` goes it: tree, audit, cache, training, report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(890)  # a quarter of an hour on two cores is what it may take; the usual limit is for less
def test_every_row_of_the_tables_goes_from_file_to_report(tmp_path: Path) -> None:
    """With the real tables where they are, else with made-up ones; the program checks each step and ends otherwise."""
    shared = Path(os.environ.get("MAMMOLENS_SHARED", REPOSITORY.parent / "shared"))
    command = [sys.executable, "scripts/cbis_rehearsal.py", str(tmp_path)]
    tables = shared / "data" / "cbis-ddsm" / "csv"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run(
        [*command, "--tables", str(tables)],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "all steps went through" in done.stdout
    if tables.is_dir():
        assert "10239 files, 3103 images, 1566 women" in done.stdout
    assert (tmp_path / "sample.png").stat().st_size > 10_000
