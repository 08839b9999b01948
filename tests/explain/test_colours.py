"""Colour maps are the published ones and rise in lightness."""

from __future__ import annotations

import numpy as np
import pytest

from mammolens.errors import ConfigurationError
from mammolens.explain.colours import COLOUR_MAPS, lightness, table

# First and last colour as matplotlib's tables publish them, in 0..1.
PUBLISHED = {
    "inferno": ((0.001462, 0.000466, 0.013866), (0.988362, 0.998364, 0.644924)),
    "cividis": ((0.0, 0.135112, 0.304751), (0.995737, 0.909344, 0.217772)),
}


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_ends_are_the_published_colours(name: str) -> None:
    first, last = PUBLISHED[name]
    np.testing.assert_allclose(table(name)[0], np.array(first) * 255, atol=1.0)
    np.testing.assert_allclose(table(name)[-1], np.array(last) * 255, atol=1.0)


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_lightness_rises_evenly(name: str) -> None:
    values = lightness(table(name))
    assert table(name).shape == (256, 3)
    # Rounding to eight bits moves L* by less than 0.5.
    assert np.diff(values).min() > -0.5
    assert (values[4:] > values[:-4]).all()
    straight = np.linspace(values[0], values[-1], 256)
    assert np.abs(values - straight).max() < 8.0


def test_lightness_of_known_greys_and_primaries() -> None:
    # CIE L* of sRGB: white 100, middle grey 119 is 50.0, red 53.24, green 87.73, blue 32.30.
    colours = np.array([[255] * 3, [119] * 3, [0] * 3, [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    np.testing.assert_allclose(lightness(colours), [100.0, 50.03, 0.0, 53.24, 87.73, 32.30], atol=0.02)


def test_an_unknown_map_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        table("jet")


def test_a_table_cannot_be_changed() -> None:
    assert not table("inferno").flags.writeable
