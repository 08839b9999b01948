"""Go the whole way on a generated CBIS-DDSM: tree, counts, audit, cache, training, evaluation, report.

What a user does on the day the real 163 GB are there, on a tree with every row of the
real tables and small drawn pictures: nothing that comes out says anything of mammograms,
but every step has met every row. Without the real tables small made-up ones do.

Run: python scripts/cbis_rehearsal.py OUT [--tables CSV] [--layout archive|jpeg|png] [--jobs N]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cbis_tree

from mammolens.datasets.counts import Counts

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGURATION = REPOSITORY / "configs" / "cbis-ddsm-b0.toml"
SIZE = (96, 72)
MADE_WOMEN = 240

OFFICIAL = Counts(
    images=3103,
    malignant_images=1375,
    women=1566,
    parts={"test": 645, "train": 2458},
    views=3061,
    twice=42,
    abnormalities=3568,
    pathologies={"benign": 1429, "benign_without_callback": 682, "malignant": 1457},
    shared=31,
    shared_within={"calcification": 0, "mass": 0},
)
"""What the real tables hold."""


@dataclass
class Rehearsal:
    """One go; each step is a command as a user types it.

    Attributes
    ----------
    out, tree : Path
    jobs : int
    home : Path
        Of Mammolens, for this go alone.
    seconds : dict of str to float
        Wall time of each step.
    """

    out: Path
    tree: Path
    jobs: int
    home: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, step: str, *arguments: str, status: int = 0) -> str:
        """Run ``mammolens`` and give its standard output.

        Raises
        ------
        SystemExit
            If it ends with another status than it should.
        """
        print(f"{step:10} mammolens {' '.join(arguments)}", flush=True)
        environment = {**os.environ, "MAMMOLENS_HOME": str(self.home), "TF_CPP_MIN_LOG_LEVEL": "2"}
        start = time.monotonic()
        command = [sys.executable, "-m", "mammolens", *arguments]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        self.seconds[step] = time.monotonic() - start
        if done.returncode != status:
            raise SystemExit(f"{step} ended with status {done.returncode}, not {status}.\n{done.stdout}")
        return done.stdout

    def data(self, step: str, command: str, *arguments: str, status: int = 0) -> str:
        """Run ``mammolens data`` on the tree."""
        return self.run(step, "data", command, "cbis-ddsm", str(self.tree), *arguments, status=status)


def demand(condition: bool, what: str) -> None:
    """End the go where something is not as it should be."""
    if not condition:
        raise SystemExit(f"The rehearsal failed: {what}")


def count(go: Rehearsal, real: bool) -> dict[str, Any]:
    """Count the tree, and hold it to the official counts where the tables are the real ones."""
    shown = go.data("show", "show", str(go.out / "sample.png"), "--json")
    figures: dict[str, Any] = json.loads(shown)
    if real:
        expected = asdict(OFFICIAL)
        wrong = [name for name, value in expected.items() if figures[name] != value]
        demand(not wrong, f"the counts of {', '.join(wrong)} are not those of the official tables")
    return figures


def audit(go: Rehearsal, shared: int) -> None:
    """Audit both protocols: as published there are leaks, without the shared women there are none."""
    prepared = ("--prepared", str(go.out / "run" / "cache"), "--size", f"{SIZE[0]}x{SIZE[1]}", "--json")
    official = json.loads(go.data("audit", "audit", *prepared, status=1))
    demand(len(official["women_in_both_parts"]) == shared, "the audit did not find the women in both parts")
    demand(official["unreadable"] == [], "the audit found files that can't be read")
    shared_women = set(official["women_in_both_parts"])
    across = {woman for pair in official["same_picture_across"] for woman in pair["women"]}
    demand(across <= shared_women, "the audit took pictures of different women for the same")
    clean = json.loads(go.data("clean", "audit", "--protocol", "patient-clean", *prepared))
    demand(not clean["leaks"], "the clean protocol leaks")


def train(go: Rehearsal) -> Path:
    """Train by the committed configuration, made small; the bundle's folder."""
    overrides = {
        "model.size": list(SIZE),
        "model.imagenet": "none",
        "model.looks": 1,
        "data.folder": str(go.tree),
        "fit.epochs": 1,
        "fit.batch_size": 16,
        "fit.learning_rate": 1e-3,
        "fit.precision": "float32",
        "output": str(go.out / "run"),
    }
    settings = [part for key, value in overrides.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    printed = go.run("train", "train", str(CONFIGURATION), *settings)
    return Path(printed.strip().splitlines()[-1])


def evaluate(go: Rehearsal, bundle: Path, test: int) -> None:
    """Measure the bundle on the test part and look at the report."""
    report = go.out / "report"
    go.run("evaluate", "evaluate", str(bundle), "cbis-ddsm", str(go.tree), "--jobs", str(go.jobs), "--out", str(report))
    found = json.loads((report / "report.json").read_text(encoding="utf-8"))
    images = found["levels"]["image"]["count"]
    demand(images == test, f"{images} images were measured, not the {test} of the test part")
    demand((report / "MODEL_CARD.md").is_file(), "there is no model card")
    demand((report / "report.html").is_file(), "there is no page")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path, help="empty folder for all that is made")
    parser.add_argument("--tables", type=Path, help="folder of the four real tables")
    parser.add_argument("--layout", choices=cbis_tree.LAYOUTS, default="archive")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args(arguments)
    real = given.tables is not None and given.tables.is_dir()
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    tables = given.tables if real else cbis_tree.made_tables(out / "tables", MADE_WOMEN)
    print(f"tables     {'the real ones' if real else 'made up'}", flush=True)
    go = Rehearsal(out, out / "tree", given.jobs, out / "home")
    start = time.monotonic()
    files = cbis_tree.generate(tables, go.tree, given.layout, given.jobs)
    go.seconds["tree"] = time.monotonic() - start
    figures = count(go, real)
    size = f"{SIZE[0]}x{SIZE[1]}"
    go.data("prepare", "prepare", str(out / "run" / "cache"), "--size", size, "--jobs", str(given.jobs))
    audit(go, figures["shared"])
    evaluate(go, train(go), figures["parts"]["test"])
    total = time.monotonic() - start
    print(f"{files} files, {figures['images']} images, {figures['women']} women: all steps went through")
    print(", ".join(f"{step} {seconds:.0f} s" for step, seconds in go.seconds.items()), f"= {total:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
