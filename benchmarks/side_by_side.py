"""One file, warm: Mammolens, the floor and textbook code in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.floor import Floor, sources
from benchmarks.inputs import Input
from benchmarks.measure import Parts, Stopwatch, Timed, against, interleaved, ratio, table
from benchmarks.textbook import Textbook, Unavailable
from mammolens.explain.files import write_file
from mammolens.explain.overlay import overlay, write_artifacts
from mammolens.imaging.png import encode_png
from mammolens.imaging.reading import ReadOptions
from mammolens.imaging.sandbox import default_pool
from mammolens.inference import Predictor

MOST_OVER_FLOOR, LEAST_UNDER_TEXTBOOK = 1.4, 10.0
"""Targets: a/b at most, c/a at least (on DICOM)."""


class SideBySide:
    """What is measured in turns, opened once.

    Parameters
    ----------
    folder : Path
        For the overlays.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # A new name each time, as in use: replacing a file makes some file systems flush it first.
        self._stems = (f"run-{number}" for number in count())
        # A new pool, as a program has that reads one file after the other: its child is alone and may run two threads.
        default_pool().close()
        self._predictor = Predictor.from_bundle("default")
        self._floor = Floor(self._predictor.size)
        self._textbook: Textbook | None = None
        self.skipped = ""
        try:
            self._textbook = Textbook()
        except Unavailable as reason:
            self.skipped = str(reason)

    def measure(self, given: Input, rounds: int) -> dict[str, Any]:
        """Measure one input.

        Returns
        -------
        dict
            ``input``, ``origin``, ``decoder`` (the floor's), ``reduction``, ``arms`` and ``ratios``.
        """
        reduction = default_pool().read(given.path, ReadOptions().for_model(self._predictor.size)).reduction
        source = sources(given, reduction)[0]
        arms: dict[str, Callable[[], Parts]] = {
            "a": lambda: self._mammolens(given.path, every=True),
            "a, overlay alone": lambda: self._mammolens(given.path, every=False),
            "b": lambda: self._floor.answer(source),
        }
        textbook = self._textbook
        if textbook is not None:
            arms["c"] = lambda: textbook.answer(given.path, self._folder / f"{next(self._stems)}.textbook.png")
        taken = interleaved(arms, rounds)
        return {
            "name": given.name,
            "label": given.label,
            "origin": given.origin,
            "dicom": given.dicom,
            "decoder": source.decoder,
            "reduction": reduction,
            "borrowed_decoder": bool(textbook and textbook.borrowed_decoder and given.name == "jpeg-lossless"),
            "arms": taken,
            "ratios": _ratios(taken),
        }

    def _mammolens(self, path: Path, every: bool) -> Parts:
        answer = self._predictor.predict(path)
        watch = Stopwatch()
        stem = next(self._stems)
        if every:
            write_artifacts(answer, self._folder, stem)
        else:
            write_file(self._folder, f"{stem}.overlay.png", encode_png(overlay(answer), level=1))
        watch.lap("files" if every else "overlay")
        timing = answer.timing
        stages = {name: getattr(timing, name) for name in ("read", "preprocess", "infer", "explain")}
        return stages | watch.parts


def _ratios(taken: dict[str, Timed]) -> dict[str, dict[str, float]]:
    a, alone, b = (taken[name].total for name in ("a", "a, overlay alone", "b"))
    found = {"a/b": ratio(a, b), "a/b, overlay alone": ratio(alone, b)}
    return found | ({"c/a": ratio(taken["c"].total, a)} if "c" in taken else {})


def show(results: Sequence[dict[str, Any]], skipped: str) -> str:
    """Lay out the tables of all inputs."""
    head = ["input", "files", "a Mammolens", "a overlay alone", "b floor", "c textbook"]
    head += ["a/b", "a/b overlay alone", "c/a"]
    rows, stages = [], []
    for result in results:
        arms, ratios = result["arms"], {name: value["median"] for name, value in result["ratios"].items()}
        under = ratios.get("c/a")
        rows.append(
            [
                result["label"],
                result["origin"],
                *(arms[name].total.text() for name in ("a", "a, overlay alone", "b")),
                arms["c"].total.text(0) if "c" in arms else "skipped",
                against(ratios["a/b"], "≤", MOST_OVER_FLOOR),
                against(ratios["a/b, overlay alone"], "≤", MOST_OVER_FLOOR),
                _under_textbook(under, result["dicom"]),
            ]
        )
        stages.append([result["label"], *(_stages(arms[name]) for name in ("a", "b", "c") if name in arms)])
    lines = [
        "## One file, warm: file → probability and overlay on disk",
        "",
        "Milliseconds, median (quartiles), measured in turns. Column a writes all three artifacts (overlay, heat map "
        "as PNG and as .npy), the next one the overlay alone.",
        "",
        table(head, rows),
        "",
        "Where the time goes (median milliseconds):",
        "",
        table(["input", "a Mammolens", "b floor", *([] if skipped else ["c textbook"])], stages),
        "",
        *_remarks(results, skipped),
    ]
    return "\n".join(lines)


def _under_textbook(value: float | None, dicom: bool) -> str:
    if value is None:
        return "skipped"
    return against(value, "≥", LEAST_UNDER_TEXTBOOK, 1) if dicom else f"{value:.1f} (no target)"


def _stages(timed: Timed) -> str:
    return ", ".join(f"{name} {series.median:.1f}" for name, series in timed.parts.items())


def _remarks(results: Sequence[dict[str, Any]], skipped: str) -> list[str]:
    remarks = [
        f"- {result['label']}: the floor decodes with {result['decoder']}"
        + (f" at 1/{result['reduction']}" if result["reduction"] > 1 else "")
        + "."
        for result in results
    ]
    if any(result["borrowed_decoder"] for result in results):
        remarks.append(
            "- c on JPEG lossless: pydicom has no decoder of its own here, so it got imagecodecs at full resolution, "
            "which is faster than what a textbook program would have."
        )
    if skipped:
        remarks.append(f"- c was skipped: {skipped}.")
    return remarks
