#!/usr/bin/env python3
"""Choose how a model's scores of views become those of breasts and women, and give it to a bundle.

``.venv-dev/bin/python scripts/examination.py OUT_OF_FOLD.csv BUNDLE [--out FOLDER] [--json FILE]``

OUT_OF_FOLD.csv is what training writes: each picture's logit by the model that saw none of its woman. Printed is what
each rule gives at each level, its gain over the reference (paired, 95 % interval over women), and the figure of the
whole procedure, whose rule and calibration of each fold come from the other folds. With ``--out`` the bundle is
written there anew with the section ``examination``; ``--out BUNDLE`` replaces it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mammolens.evaluation import examination, scores
from mammolens.models.bundle import load_bundle
from mammolens.models.writing import rewrite_bundle


def main() -> int:
    """Fit, print, and write what was asked for."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("scores", type=Path)
    options.add_argument("bundle", type=Path)
    options.add_argument("--out", type=Path)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    bundle = load_bundle(given.bundle)
    manifest = bundle.manifest
    if manifest.calibration is None:
        print("The bundle's views are not calibrated; calibrate them first.", file=sys.stderr)
        return 1
    dataset = manifest.training.dataset if manifest.training is not None else ""
    fitted = examination.fit(scores.from_csv(given.scores), manifest.calibration, dataset=dataset)
    for figures in filter(None, (fitted.breast, fitted.woman)):
        print(f"{figures.level}: {figures.units} of which {figures.malignant} malignant")
        for found in figures.rules:
            print(f"  {found.rule:<17} {found.auc}  gain {found.gain}")
        print(f"  whole procedure   {figures.nested}  calibration error {figures.calibration_error}")
        print(f"  chosen by the other folds: {figures.chosen}")
    section = fitted.section
    print(f"breast: {section.breast.rule}; woman: {section.woman.rule if section.woman else 'as the worse breast'}")
    if given.json is not None:
        levels = {figures.level: figures.as_dict() for figures in filter(None, (fitted.breast, fitted.woman))}
        given.json.write_text(json.dumps(levels, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if given.out is not None:
        print(rewrite_bundle(bundle, given.out, {"examination": section}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
