"""What is made of an answer: the files, and the pictures drawn from them later."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mammolens.errors import ConfigurationError, NotFound, OutputError, StorageFull
from mammolens.explain.overlay import overlay, picture
from mammolens.types import Prediction
from mammolens.web.app import Services
from mammolens.web.database.tables import Image, Result
from mammolens.web.pictures import files, heat, rendering

Answered = Callable[..., tuple[Image, Result]]


def png(data: bytes) -> NDArray[np.uint8]:
    """Pixels by OpenCV's own decoder: grey, or RGB."""
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(read if read.ndim == 2 else read[..., ::-1], np.uint8)


@pytest.fixture
def kept(services: Services, answered: Answered, phantom_files: dict[str, bytes]) -> tuple[Image, Result]:
    return answered(services, phantom_files["RMLO.dcm"])


def test_the_files_hold_what_the_library_draws(
    services: Services,
    kept: tuple[Image, Result],
    predicted: Callable[..., Prediction],
    phantom_files: dict[str, bytes],
) -> None:
    image, result = kept
    answer = predicted(phantom_files["RMLO.dcm"])
    grey = picture(answer.mammogram, box=answer.geometry.box)
    np.testing.assert_array_equal(png(rendering.preview_png(services, image)), grey)
    np.testing.assert_array_equal(png(rendering.overlay_png(services, image, result)), overlay(answer))
    folder = rendering.answer_folder(services, image.id, result.model_sha256)
    assert np.load(folder / "heat.npy").shape == answer.heatmap.shape
    shown = png((folder / "heat.png").read_bytes())
    assert shown.shape == grey.shape
    assert shown.max() == round(255 * float(answer.heatmap.max()))
    assert max(png(rendering.thumb_png(services, image)).shape) == 256


def test_an_overlay_drawn_from_the_files_is_that_of_the_answer(
    services: Services,
    kept: tuple[Image, Result],
    predicted: Callable[..., Prediction],
    phantom_files: dict[str, bytes],
) -> None:
    image, result = kept
    drawn = png(rendering.overlay_png(services, image, result, "cividis")).astype(int)
    straight = overlay(predicted(phantom_files["RMLO.dcm"]), "cividis").astype(int)
    assert drawn.shape == straight.shape
    # The map is kept with 16 bits, so that a value may fall to the other side of a step.
    assert np.abs(drawn - straight).max() <= 3 or (np.abs(drawn - straight) > 3).mean() < 1e-3


def test_side_by_side_shows_the_original_untouched_and_the_overlay(
    services: Services, kept: tuple[Image, Result]
) -> None:
    image, result = kept
    pair = png(rendering.pair_png(services, image, result, "cividis"))
    grey = png(rendering.preview_png(services, image))
    right = png(rendering.overlay_png(services, image, result, "cividis"))
    for channel in range(3):
        np.testing.assert_array_equal(pair[:, : grey.shape[1], channel], grey)
    np.testing.assert_array_equal(pair[:, -right.shape[1] :], right)


def test_the_grid_lies_as_the_picture_lies(services: Services, kept: tuple[Image, Result]) -> None:
    image, result = kept
    assert result.geometry["mirrored"], "the right breast is what a grid can be mirrored of"
    grid, where = heat.grid(services, image.id, result), heat.describe(result)
    assert grid.shape == (where["rows"], where["columns"])
    row, column = np.unravel_index(int(grid.argmax()), grid.shape)
    x0, y0, x1, y1 = where["box"]
    at = (x0 + (column + 0.5) * (x1 - x0) / where["columns"], y0 + (row + 0.5) * (y1 - y0) / where["rows"])
    left, top, right, bottom = result.regions[0]["box"]
    assert left <= at[0] <= right
    assert top <= at[1] <= bottom
    np.testing.assert_allclose(at, result.regions[0]["centre"], atol=6)


def test_alpha_rises_with_the_value_and_leaves_low_values_alone() -> None:
    tables = heat.colours()
    alpha = np.array(tables["alpha"])
    assert (np.diff(alpha) >= 0).all()
    assert alpha[0] == alpha[25] == 0.0
    assert 0.5 < alpha[255] < 0.8
    assert len(tables["inferno"]) == len(tables["cividis"]) == len(alpha) == 256


def test_an_unknown_colour_map_is_refused(services: Services, kept: tuple[Image, Result]) -> None:
    with pytest.raises(ConfigurationError):
        rendering.overlay_png(services, *kept, "jet")


def test_what_is_forgotten_is_gone(services: Services, kept: tuple[Image, Result]) -> None:
    image, result = kept
    rendering.forget(services, image.id)
    assert not rendering.folder(services, image.id).exists()
    with pytest.raises(NotFound):
        rendering.overlay_png(services, image, result)
    with pytest.raises(NotFound):
        heat.grid(services, image.id, result)


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, StorageFull), (errno.EACCES, OutputError)])
def test_a_full_disk_leaves_nothing_half_written(
    services: Services,
    predicted: Callable[..., Prediction],
    phantom_files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    expected: type[Exception],
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(number, "no")

    answer: Any = predicted(phantom_files["LCC.dcm"])
    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(expected):
        rendering.write_answer(services, "a" * 32, answer)
    assert [path for path in rendering.folder(services, "a" * 32).rglob("*") if path.is_file()] == []


def test_the_files_are_for_this_user_alone(services: Services, kept: tuple[Image, Result]) -> None:
    image, _ = kept
    modes = {path.stat().st_mode & 0o777 for path in rendering.folder(services, image.id).rglob("*") if path.is_file()}
    assert modes == {0o600}
