"""The floor: the least that an answer can cost with the same network on the same engine.

The file's bytes, the fastest decoder at hand at the resolution that is needed, a resize to
the model's input and a bare forward pass. No header is parsed (where a DICOM file keeps its
codestream is found out beforehand), nothing is checked, no breast is searched, and nothing
is written.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import onnxruntime
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import get_frame

from benchmarks.inputs import Input
from benchmarks.measure import Parts, Stopwatch, fastest
from mammolens.models.bundle import load_bundle

Decoder = Callable[[bytes], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Source:
    """One file as the floor sees it.

    Attributes
    ----------
    path : Path
    span : tuple of int
        Where the codestream lies in the file.
    decoder : str
        A key of `DECODERS`.
    reduction : int
        1, 2, 4 or 8; JPEG 2000 only.
    """

    path: Path
    span: tuple[int, int | None]
    decoder: str
    reduction: int

    def pixels(self) -> NDArray[Any]:
        """Read and decode."""
        start, stop = self.span
        with self.path.open("rb") as file:
            file.seek(start)
            data = file.read(-1 if stop is None else stop - start)
        return DECODERS[self.decoder](data, self.reduction)


def _pillow(data: bytes, reduction: int) -> NDArray[Any]:
    with Image.open(io.BytesIO(data), formats=["JPEG2000"]) as image:
        image.reduce = reduction.bit_length() - 1  # type: ignore[method-assign, assignment]
        image.load()
        return np.asarray(image)


def _opencv(data: bytes, flags: int) -> NDArray[Any]:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if picture is None:
        raise ValueError("OpenCV can't decode this picture")
    return picture


DECODERS: dict[str, Callable[[bytes, int], NDArray[Any]]] = {
    "Pillow (OpenJPEG), reduced": _pillow,
    "imagecodecs jpeg8": lambda data, _: imagecodecs.jpeg8_decode(data),
    "imagecodecs ljpeg": lambda data, _: imagecodecs.ljpeg_decode(data),
    "imagecodecs jpegsof3": lambda data, _: imagecodecs.jpegsof3_decode(data),
    "imagecodecs png": lambda data, _: imagecodecs.png_decode(data),
    "OpenCV": lambda data, _: _opencv(data, cv2.IMREAD_UNCHANGED),
    "imagecodecs jpeg8, luma": lambda data, _: imagecodecs.jpeg8_decode(data, outcolorspace="GRAYSCALE"),
    "OpenCV, luma": lambda data, _: _opencv(data, cv2.IMREAD_GRAYSCALE),
}
"""Decoders; each takes the codestream and the reduction."""

_CANDIDATES = {
    "jpeg-2000": ("Pillow (OpenJPEG), reduced",),
    "jpeg-lossless": ("imagecodecs jpeg8", "imagecodecs ljpeg", "imagecodecs jpegsof3"),
    "png-16": ("imagecodecs png", "OpenCV"),
    "jpeg-640": ("imagecodecs jpeg8, luma", "OpenCV, luma"),
}


def sources(given: Input, reduction: int) -> list[Source]:
    """All files of an input, with the decoder that is fastest on the first of them.

    Parameters
    ----------
    given : Input
    reduction : int
        What Mammolens decodes the input at.
    """
    names = _CANDIDATES[given.name]
    spans = [_codestream(path) if given.dicom else (0, None) for path in given.paths]
    tried = {name: Source(given.path, spans[0], name, reduction) for name in names}
    expected = tried[names[0]].pixels()
    # A decoder that gives other pixels is no candidate (luma may be rounded differently).
    fair = {
        name: source.pixels
        for name, source in tried.items()
        if (got := source.pixels()).shape == expected.shape and np.allclose(got, expected, atol=2)
    }
    chosen = fastest(fair) if len(fair) > 1 else names[0]
    return [Source(path, span, chosen, reduction) for path, span in zip(given.paths, spans, strict=True)]


def _codestream(path: Path) -> tuple[int, int | None]:
    data = path.read_bytes()
    frame = get_frame(pydicom.dcmread(io.BytesIO(data)).PixelData, 0, number_of_frames=1)
    start = data.index(frame)
    return start, start + len(frame)


class Floor:
    """A bare session and nothing else.

    Parameters
    ----------
    size : tuple of int
        ``(height, width)`` of the model input.
    threads : int
        Of one forward pass; 0 takes one per core, as in Mammolens.
    """

    def __init__(self, size: tuple[int, int], threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.size = size
        graph = load_bundle("default").graph
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def answer(self, source: Source) -> Parts:
        """Do the least for one file; milliseconds of its parts."""
        watch = Stopwatch()
        pixels = source.pixels()
        watch.lap("decode")
        small = cv2.resize(pixels, self.size[::-1], interpolation=cv2.INTER_AREA)
        batch = small.astype(np.float32)[None, ..., None] * np.float32(255.0 / np.iinfo(pixels.dtype).max)
        watch.lap("resize")
        self._session.run(["logit"], {"image": batch})
        watch.lap("forward")
        return watch.parts


_worker_floor: Floor | None = None


def start_worker(size: tuple[int, int]) -> None:
    """Make this process a worker of the floor's throughput: one thread for everything."""
    global _worker_floor
    cv2.setNumThreads(1)
    _worker_floor = Floor(size, threads=1)


def work(source: Source) -> float:
    """Answer in a worker process; processor seconds that it took."""
    assert _worker_floor is not None
    began = time.process_time()
    _worker_floor.answer(source)
    return time.process_time() - began
