"""The examinations in a report: both breasts, what is missing, and no picture that belongs nowhere."""

from __future__ import annotations

import math
import re

import numpy as np

from mammolens.inference.examination import Method
from mammolens.inference.gathering import gather
from mammolens.inference.grouping import Origin
from mammolens.report.examinations import section
from mammolens.types import CropGeometry, Mammogram, ModelIdentity, Prediction, Timing

METHOD = Method.unmeasured(0.31)


def prediction(p: float, side: str | None, view: str | None) -> Prediction:
    pixel = np.zeros((1, 1), np.float32)
    return Prediction(
        probability=p,
        logit=math.log(p / (1 - p)),
        threshold=0.31,
        label="malignant" if p >= 0.31 else "benign",
        confidence=max(p, 1 - p),
        mammogram=Mammogram(pixel, 100, 80, sha256=f"{p}{side}{view}", laterality=side, view=view),
        heatmap=pixel,
        geometry=CropGeometry((0.0, 0.0, 80.0, 100.0), False, (512, 384)),
        regions=(),
        notices=(),
        model=ModelIdentity("m", "1", "0" * 64),
        timing=Timing(1, 1, 1, 1, 4),
    )


def test_table_gives_breasts_examination_and_what_is_missing() -> None:
    views = [("R", "CC", 0.1), ("R", "MLO", 0.1), ("L", "CC", 0.6)]
    exams = gather([(prediction(p, side, view), Origin("1", "", side, view)) for side, view, p in views], METHOD)
    content = section(exams)
    figures = re.findall(r'<td class="number">([^<]*)</td>', content)
    assert figures == ["0.100", "0.600", "0.600"]
    assert "malignant" in content
    assert "3 (missing L MLO)" in content
    assert "<code>view-missing</code>" in content
    assert "<code>uncalibrated-examination</code>" in content


def test_pictures_that_stand_alone_are_in_no_table() -> None:
    alone = [(prediction(p, None, None), Origin(None, "folder")) for p in (0.1, 0.2)]
    assert section(gather(alone, METHOD)) == ""
    assert section([]) == ""
