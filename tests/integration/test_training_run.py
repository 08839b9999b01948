"""`mammolens train` from a folder to a bundle that answers, with a `kill -9` on the way."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mammolens import phantom
from mammolens.imaging.png import encode_png
from mammolens.inference import Predictor
from mammolens.models.bundle import load_bundle

keras = pytest.importorskip("keras")

pytestmark = pytest.mark.slow

CONFIGURATION = """
output = "run"
[model]
name = "tiny"
architecture = "efficientnet-b0"
size = [64, 48]
imagenet = "random.weights.h5"
frozen = ["stem", "block1"]
final = "average"
[data]
dataset = "rsna-640"
folder = "data"
[fit]
epochs = 1
batch_size = 4
checkpoint_steps = 1
# The random weights that stand for ImageNet's give huge features; a usual rate would throw them to infinity.
learning_rate = 1e-9
"""


def make_data(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    fields = ["file", "patient_id", "laterality", "view", "cancer", "fold", "machine_id", "site_id", "density", "age"]
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(fields)
        for woman in range(16):
            cancer = woman // 2 % 2
            # The views stand for the label: sixteen pictures teach nothing finer. Two women's contradict it, for where
            # all are told apart, the calibration would be certain.
            view = "MLO" if cancer != (woman in (5, 10)) else "CC"
            made = phantom.make(view, "L", lesion=None, rows=287, columns=240, seed=woman)
            name = f"images/{woman}.png"
            (folder / name).write_bytes(encode_png(np.rint(made.pixels / 4095 * 255).astype(np.uint8)))
            writer.writerow([name, woman, "L", "CC", cancer, 1 + woman // 4, woman % 2, 1, "", 50])


def train(configuration: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mammolens", "train", str(configuration)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"TERM": "dumb"}
    )


def test_training_survives_kill_and_ends_in_a_bundle_that_answers(tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    keras.utils.set_random_seed(0)
    source = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(64, 64, 3))
    source.save_weights(tmp_path / "random.weights.h5")
    configuration = tmp_path / "tiny.toml"
    configuration.write_text(CONFIGURATION)

    first = train(configuration)
    checkpoint = tmp_path / "run" / "fold2-seed1" / "checkpoint.npz"
    deadline = time.monotonic() + 300
    while not checkpoint.exists() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    output, _ = first.communicate()
    assert checkpoint.exists(), output.decode(errors="replace")[-2000:]
    weights = tmp_path / "run" / "fold1-seed1" / "model.weights.h5"
    fitted = weights.stat().st_mtime_ns

    second = train(configuration)
    output, _ = second.communicate(timeout=600)
    assert second.returncode == 0, output.decode(errors="replace")[-2000:]
    assert weights.stat().st_mtime_ns == fitted, "a finished fold was fitted again"

    with (tmp_path / "run" / "out_of_fold.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert all(np.isfinite(float(row["logit"])) for row in rows)
    figures = json.loads((tmp_path / "run" / "figures.json").read_text())
    assert figures["image"]["images"] == 16
    assert figures["image"]["low"] <= figures["image"]["auc"] <= figures["image"]["high"]

    bundle = load_bundle(tmp_path / "run" / "bundle" / "tiny")
    assert bundle.manifest.training.women == 16
    assert bundle.manifest.metrics[0].value == pytest.approx(figures["image"]["auc"])
    answer = Predictor.from_bundle(bundle.location).predict(tmp_path / "data" / "images" / "2.png")
    assert 0.0 < answer.probability < 1.0
