"""Percentiles are NumPy's own, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from mammolens.imaging.percentiles import percentiles

SHARES = (0.0, 0.1, 2.0, 33.3, 50.0, 99.5, 99.9, 100.0)


@pytest.mark.parametrize("size", [1, 2, 3, 17, 1000, 65536])
@pytest.mark.parametrize("top", [1, 255, 4095, 65535])
def test_whole_numbers_give_the_percentiles_of_numpy(size: int, top: int) -> None:
    values = np.random.default_rng(size + top).integers(0, top, size, endpoint=True).astype(np.float32)
    assert percentiles(values, SHARES) == tuple(np.percentile(values, SHARES).tolist())


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.5), (1.0, -3.0), (1e5, 0.0), (0.01, 0.0)])
def test_other_values_give_the_percentiles_of_numpy(scale: float, shift: float) -> None:
    values = (np.random.default_rng(1).integers(0, 200, 5000) * scale + shift).astype(np.float32)
    assert percentiles(values, SHARES) == tuple(np.percentile(values, SHARES).tolist())


def test_a_picture_is_taken_as_one_row_of_values() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert percentiles(values, (50.0,)) == (5.5,)
