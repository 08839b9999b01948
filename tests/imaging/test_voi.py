"""Windows and lookup tables against hand-worked values of PS3.3 C.11.2.1."""

from __future__ import annotations

import numpy as np
import pytest

from mammolens.errors import ConfigurationError
from mammolens.imaging.voi import LookupTable, Window, apply_table, apply_window


def test_linear_window_of_the_standards_note() -> None:
    # C.11.2.1.2.1, note: c = 2048, w = 4096 maps 0 to the darkest and 4095 to the brightest value.
    values = np.array([[0, 4095, 2047, -5, 5000]])
    shown = apply_window(values, Window(2048, 4096))
    assert shown[0] == pytest.approx([0.0, 1.0, 2047 / 4095, 0.0, 1.0], abs=1e-6)


def test_linear_window_of_width_one_is_a_step() -> None:
    # c = 0, w = 1: x <= -0.5 is dark, x > -0.5 bright.
    assert apply_window(np.array([[-1, 0, 1]]), Window(0, 1)).tolist() == [[0.0, 1.0, 1.0]]


def test_linear_exact_window() -> None:
    # c = 100, w = 50: 75 is dark, 125 bright, 110 is (110 - 100) / 50 + 0.5 = 0.7.
    shown = apply_window(np.array([[75, 125, 110, 100]]), Window(100, 50, "LINEAR_EXACT"))
    assert shown[0] == pytest.approx([0.0, 1.0, 0.7, 0.5])


def test_sigmoid_window() -> None:
    # 1 / (1 + exp(-4 (x - c) / w)): at c + w / 4 it is 1 / (1 + 1/e) = 0.731059.
    shown = apply_window(np.array([[1000, 1100, -100000]]), Window(1000, 400, "SIGMOID"))
    assert shown[0] == pytest.approx([0.5, 0.731059, 0.0], abs=1e-6)


def test_lookup_table_holds_its_ends() -> None:
    table = LookupTable(10, 8, np.array([0, 51, 255], np.uint16))
    assert table.apply(np.array([[-3, 10, 11, 12, 99]])).tolist() == [[0, 0, 51, 255, 255]]
    assert apply_table(np.array([[11]]), table)[0, 0] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("width", "function"), [(0.0, "LINEAR_EXACT"), (0.5, "LINEAR"), (-1.0, "SIGMOID"), (9, "CUBIC")]
)
def test_undefined_windows_are_refused(width: float, function: str) -> None:
    with pytest.raises(ConfigurationError):
        Window(0.0, width, function)
