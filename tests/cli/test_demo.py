"""`mammolens demo` from end to end, with a predictor that stands in for the model."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from rich.console import Console

from mammolens.cli.demo import run_demo
from mammolens.errors import FileMissing, UnknownFormat
from mammolens.imaging.preprocess import prepare
from mammolens.inference.examination import Method
from mammolens.inference.gathering import gather
from mammolens.inference.grouping import Origin
from mammolens.types import ExamPrediction, Mammogram, ModelIdentity, Notice, PixelSpacing, Prediction, Region, Timing

IDENTITY = ModelIdentity("stand-in", "0.0.1", "ab" * 32)


class StandIn:
    """Scores a DICOM file by its brightest spot; refuses everything else."""

    def __init__(self) -> None:
        training = SimpleNamespace(dataset="rsna-640", images=2672, women=757)
        point = SimpleNamespace(name="balanced", threshold=0.31, sensitivity=0.7, specificity=0.7)
        self.bundle: Any = SimpleNamespace(
            identity=IDENTITY,
            manifest=SimpleNamespace(
                default_point=point,
                operating_points=(point,),
                training=training,
                calibration=SimpleNamespace(prevalence=0.34, on=None),
            ),
        )
        self.asked: list[Path] = []

    def origin(self, path: Path, prediction: Prediction) -> Origin:
        return Origin(None, str(path.parent), prediction.mammogram.laterality, prediction.mammogram.view)

    def examinations(self, answers: list[tuple[Prediction, Origin]]) -> list[ExamPrediction]:
        return gather(answers, Method.unmeasured(0.31))

    def predict(self, path: Path) -> Prediction:
        self.asked.append(path)
        content = path.read_bytes()
        if content[128:132] != b"DICM":
            raise UnknownFormat("The bytes are neither DICOM nor PNG nor JPEG. Give one of these.")
        ds = pydicom.dcmread(io.BytesIO(content))
        spacing = float(ds.ImagerPixelSpacing[0])
        mammogram = Mammogram(
            ds.pixel_array,
            ds.Rows,
            ds.Columns,
            source="dicom",
            laterality=ds.ImageLaterality,
            view=ds.ViewPosition,
            pixel_spacing=PixelSpacing(spacing, spacing, "imager"),
            notices=(Notice("stand-in", "Not a model."),),
        )
        made = prepare(mammogram, (128, 96))
        small = cv2.resize(ds.pixel_array, None, fx=0.02, fy=0.02, interpolation=cv2.INTER_AREA)
        y, x = (50 * int(value) + 25 for value in np.unravel_index(np.argmax(small), small.shape))
        probability = 0.7 if int(ds.pixel_array.max()) > 3500 else 0.1
        return Prediction(
            probability=probability,
            logit=math.log(probability / (1 - probability)),
            threshold=0.31,
            label="malignant" if probability > 0.31 else "benign",
            confidence=max(probability, 1 - probability),
            mammogram=mammogram,
            heatmap=(made.mask > 0).astype(np.float32) * 0.5,
            geometry=made.geometry,
            regions=(Region((x - 50, y - 50, x + 50, y + 50), (x, y), 0.8),),
            notices=mammogram.notices,
            model=IDENTITY,
            timing=Timing(1, 1, 1, 1, 4),
        )


def run(source: Path | None, out: Path, predictor: StandIn | None = None) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    answering: Any = predictor or StandIn()
    refused = run_demo(source, out, open_predictor=lambda: answering, console=console)
    assert isinstance(console.file, io.StringIO)
    return refused, console.file.getvalue()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("demo") / "demo-output"
    refused, printed = run(None, out)
    assert refused == 0
    return out, printed


def test_the_examination_is_four_dicom_files_labelled_synthetic(demo: tuple[Path, str]) -> None:
    out, _ = demo
    files = sorted(path.name for path in (out / "examination").iterdir())
    assert files == ["LCC.dcm", "LMLO.dcm", "RCC.dcm", "RMLO.dcm"]
    for name in files:
        ds = pydicom.dcmread(out / "examination" / name, stop_before_pixels=True)
        assert ds.PatientName == "Phantom^Synthetic"
        assert "Synthetic" in ds.StudyDescription
        assert ds.ImageLaterality + ds.ViewPosition == name.removesuffix(".dcm")


def test_the_report_shows_the_four_views_with_pictures_and_overlays_that_exist(demo: tuple[Path, str]) -> None:
    out, _ = demo
    content = (out / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'src="\./([^"]+)"', content)
    assert len(sources) == 8
    order = [re.search(r"[RL](CC|MLO)", source) for source in sources[::2]]
    assert [match.group() for match in order if match] == ["RCC", "LCC", "RMLO", "LMLO"]
    for plain, marked in zip(sources[::2], sources[1::2], strict=True):
        grey, overlay = cv2.imread(str(out / plain)), cv2.imread(str(out / marked))
        assert grey is not None
        assert overlay is not None
        # The overlay is the picture with the colour bar to its right.
        assert overlay.shape[0] == grey.shape[0]
        assert overlay.shape[1] > grey.shape[1]
        colourful = np.ptp(overlay[:, : grey.shape[1]].astype(int), axis=2) > 40
        assert colourful.any()
    assert content.lower().count("research use only") == 1
    assert "stand-in" in content


def test_the_table_has_a_line_for_each_view_and_says_that_they_are_synthetic(demo: tuple[Path, str]) -> None:
    _, printed = demo
    for name, view in (("RCC", "R CC"), ("LCC", "L CC"), ("RMLO", "R MLO"), ("LMLO", "L MLO")):
        assert re.search(rf"synthetic {name} +{view} +0\.\d{{3}} +0\.310 +(benign|malignant)", printed)
    assert "say nothing about real mammograms" in printed
    assert printed.lower().count("research") == 1


def test_the_last_lines_say_how_to_run_it_on_ones_own_file(demo: tuple[Path, str]) -> None:
    out, printed = demo
    lines = printed.splitlines()[-3:]
    assert lines[0].endswith(str(out / "report.html"))
    assert lines[1].endswith("mammolens predict FILE --out results")
    assert lines[2].endswith("make demo INPUT=FOLDER")


def test_a_second_run_gives_the_same_bytes(demo: tuple[Path, str]) -> None:
    out, printed = demo
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert run(None, out) == (0, printed)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_ones_own_folder_is_read_with_all_subfolders_and_goes_on_after_a_bad_file(
    demo: tuple[Path, str], tmp_path: Path
) -> None:
    folder = tmp_path / "own"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "no-extension").write_bytes((demo[0] / "examination" / "LCC.dcm").read_bytes())
    (folder / "<script>.dcm").write_bytes(b"no image")
    (folder / ".hidden").write_bytes(b"no image")
    out = folder / "results"
    (out / "pictures").mkdir(parents=True)
    (out / "pictures" / "earlier.png").write_bytes(b"an earlier result")
    predictor = StandIn()
    refused, printed = run(folder, out, predictor)
    assert refused == 1
    assert [path.name for path in predictor.asked] == ["<script>.dcm", "no-extension"]
    assert "refused: unknown-format" in printed
    assert "deep/er/no-extension" in printed
    assert "synthetic" not in printed
    content = (out / "report.html").read_text(encoding="utf-8")
    assert "<script>" not in content
    assert "&lt;script&gt;.dcm" in content
    assert "neither DICOM nor PNG nor JPEG" in content
    assert not (out / "examination").exists()


def test_equal_names_in_different_folders_keep_their_own_pictures(demo: tuple[Path, str], tmp_path: Path) -> None:
    for side in ("LCC", "RCC"):
        (tmp_path / "in" / side).mkdir(parents=True)
        (tmp_path / "in" / side / "1-1.dcm").write_bytes((demo[0] / "examination" / f"{side}.dcm").read_bytes())
    run(tmp_path / "in", tmp_path / "out")
    pictures = sorted((tmp_path / "out" / "pictures").iterdir())
    assert len(pictures) == 4
    assert len({path.read_bytes() for path in pictures}) == 4


def test_a_single_file_is_answered(demo: tuple[Path, str], tmp_path: Path) -> None:
    predictor = StandIn()
    refused, printed = run(demo[0] / "examination" / "RMLO.dcm", tmp_path / "out", predictor)
    assert refused == 0
    assert "RMLO.dcm" in printed
    assert len(predictor.asked) == 1


@pytest.mark.parametrize("what", ["missing", "empty", 5000 * "n"], ids=["missing", "empty", "too long to be looked up"])
def test_no_file_is_an_error_that_says_what_to_do(tmp_path: Path, what: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileMissing, match="Name a mammogram"):
        run(tmp_path / what, tmp_path / "out")
