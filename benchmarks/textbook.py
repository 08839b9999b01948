"""Textbook code for the same answer: what tutorials on mammograms, Keras and Grad-CAM add up to.

The whole picture is decoded by pydicom with its default plugins (or OpenCV), the VOI
transformation applied, the values stretched to eight bits; then Keras' ``predict`` on a
batch of one, Grad-CAM by a gradient tape in eager mode, and the heat map laid over the full
picture in OpenCV's JET colours. Same networks, same weights; one look each, where the
bundle may have several. Two things are kinder than most tutorials: the models and their
Grad-CAM twins are built once, outside the timing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import apply_voi_lut

from benchmarks import lossless_plugin
from benchmarks.measure import Parts, Stopwatch
from mammolens.models.bundle import load_bundle

_LAST_CONVOLUTION = "top_activation"


class Unavailable(Exception):
    """The textbook program can't run here; the message says why."""


class Textbook:
    """The bundle's networks in Keras on TensorFlow.

    Attributes
    ----------
    borrowed_decoder : bool
        Whether pydicom's JPEG Lossless is `lossless_plugin`, for want of another.

    Raises
    ------
    Unavailable
        If TensorFlow is missing.
    """

    def __init__(self) -> None:
        # Read when TensorFlow is imported: its start-up notes are no part of the table.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ["KERAS_BACKEND"] = "tensorflow"
        try:
            import keras
            import tensorflow as tf
        except ImportError as error:
            raise Unavailable("TensorFlow is not installed (extra [train])") from error
        from mammolens.models import rebuilt

        bundle = load_bundle("default")
        shape = bundle.manifest.preprocessing
        self._size = (shape.height, shape.width)
        self._models = rebuilt.of_bundle(bundle)
        self._twins = [
            keras.Model(model.input, [model.get_layer(_LAST_CONVOLUTION).output, model.output])
            for model in self._models
        ]
        self._tf = tf
        self.borrowed_decoder = lossless_plugin.register()

    def answer(self, path: Path, overlay: Path) -> Parts:
        """Predict one file and write its overlay; milliseconds of the parts."""
        watch = Stopwatch()
        image = read(path)
        watch.lap("decode")
        batch = cv2.resize(image, self._size[::-1])[None, ..., None].astype(np.float32)
        logit = float(np.mean([model.predict(batch, verbose=0)[0, 0] for model in self._models]))
        assert np.isfinite(1.0 / (1.0 + np.exp(-logit)))
        watch.lap("predict")
        heat = np.mean([self._grad_cam(twin, batch) for twin in self._twins], axis=0)
        watch.lap("grad-cam")
        heat = cv2.resize(heat, (image.shape[1], image.shape[0]))
        colours = cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_JET)
        cv2.imwrite(str(overlay), cv2.addWeighted(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), 0.6, colours, 0.4, 0))
        watch.lap("overlay")
        return watch.parts

    def _grad_cam(self, twin: Any, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        tf = self._tf
        with tf.GradientTape() as tape:
            features, logit = twin(batch)
            score = logit[:, 0]
        weights = tf.reduce_mean(tape.gradient(score, features), axis=(0, 1, 2))
        heat = tf.maximum(tf.reduce_sum(features[0] * weights, axis=-1), 0.0)
        return np.asarray(heat / (tf.reduce_max(heat) + 1e-8), np.float32)


def read(path: Path) -> NDArray[np.uint8]:
    """Decode a picture as tutorials do, shape (rows, columns), stretched to eight bits."""
    image: NDArray[Any]
    if path.suffix == ".dcm":
        dataset = pydicom.dcmread(path)
        image = apply_voi_lut(dataset.pixel_array, dataset)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            image = image.max() - image
    else:
        loaded = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert loaded is not None
        image = loaded if loaded.ndim == 2 else cv2.cvtColor(loaded, cv2.COLOR_BGR2GRAY)
    image = image.astype(np.float32)
    low, high = image.min(), image.max()
    return ((image - low) / (high - low) * 255).astype(np.uint8)
