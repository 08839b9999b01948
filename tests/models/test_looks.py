"""Looks at a picture: what is shown, and what resampling by areas keeps."""

from __future__ import annotations

import numpy as np
import pytest

from mammolens.models.looks import Looks, resampled, shares


def test_resampling_by_areas_is_the_mean_over_whole_cells() -> None:
    planes = np.random.default_rng(1).integers(0, 256, (3, 12, 8)).astype(np.uint8)
    expected = planes.reshape(3, 6, 2, 2, 4).mean((2, 4))
    np.testing.assert_allclose(resampled(planes, (6, 2)), expected, rtol=1e-5)


@pytest.mark.parametrize(("to", "of"), [(8, 10), (10, 8), (256, 320), (6, 8), (5, 5)])
def test_rows_sum_to_one_and_the_mean_stays(to: int, of: int) -> None:
    matrix = shares(to, of)
    assert matrix.shape == (to, of)
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(matrix.sum(0), to / of, atol=1e-5)


def test_resampling_agrees_with_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    picture = np.random.default_rng(2).uniform(0, 255, (40, 30)).astype(np.float32)
    expected = cv2.resize(picture, (24, 32), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(resampled(picture, (32, 24)), expected, atol=1e-2)


def test_looks_come_in_the_order_of_their_sizes_each_turned_after_upright() -> None:
    images = np.random.default_rng(3).integers(0, 256, (2, 4, 6)).astype(np.uint8)
    looks = Looks((4, 6), upside_down=True, second_size=(2, 3))
    seen = list(looks.at(images))
    assert [size for size, _ in seen] == [(4, 6), (4, 6), (2, 3), (2, 3)]
    assert looks.turned == (False, True, False, True)
    np.testing.assert_array_equal(seen[0][1], images)
    np.testing.assert_array_equal(seen[1][1], images[:, ::-1])
    np.testing.assert_array_equal(seen[3][1], seen[2][1][:, ::-1])
    assert Looks((4, 6)).sizes == ((4, 6),)
    assert [picture.shape for _, picture in Looks((4, 6)).at(images)] == [(2, 4, 6)]
