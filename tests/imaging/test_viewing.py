"""The whole picture for a viewer: its values, and the file's windows in their terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mammolens.errors import MalformedFile, TooLarge
from mammolens.imaging.display import render
from mammolens.imaging.limits import Limits
from mammolens.imaging.options import ReadOptions
from mammolens.imaging.png import encode_png
from mammolens.imaging.reading import read_mammogram
from mammolens.imaging.sandbox import DecodePool
from mammolens.imaging.viewable import Preset, Viewable, describe_viewable, viewable_from
from mammolens.imaging.viewing import read_viewable

Make = Callable[..., Any]


def tissue(top: int = 4095) -> NDArray[np.uint16]:
    """Half an ellipse of smoothly rising grey at the left edge, on air of 0."""
    y, x = np.mgrid[:300, :240].astype(np.float64)
    radius = np.hypot(x / 170.0, (y - 150.0) / 138.0)
    return np.rint(np.where(radius < 1.0, 0.25 + 0.7 * (1.0 - radius), 0.0) * top).astype(np.uint16)


def applied(viewable: Viewable, preset: Preset) -> NDArray[np.float64]:
    """What a viewer shows, 0 to 255, by the formulas that it is told."""
    values = viewable.pixels.astype(np.float64)
    if preset.function == "TABLE":
        along = np.linspace(values.min(), values.max(), len(preset.values))
        return np.interp(values, along, preset.values)
    place = (values - preset.centre) / preset.width
    if preset.function == "SIGMOID":
        return 255.0 / (1.0 + np.exp(-4.0 * place))
    return 255.0 * np.clip(place + 0.5, 0.0, 1.0)


def voi_table(first: int, values: list[int], bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item.LUTData = np.array(values, "<u2").tobytes()
    return item


def test_a_linear_window_is_the_exact_one_half_a_step_lower(dicom: Make) -> None:
    viewable = read_viewable(dicom(tissue(), BitsStored=12, WindowCenter=2048, WindowWidth=4096))
    (preset,) = viewable.presets
    assert preset == Preset("", "LINEAR_EXACT", 2047.5, 4095.0, (2048.0, 4096.0))
    assert viewable.modality == (1.0, 0.0)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("rescale", [(1.0, 0.0), (0.5, -100.0), (-2.0, 9000.0)])
def test_windows_show_what_the_preview_shows(
    dicom: Make, function: str, photometric: str, rescale: tuple[float, float]
) -> None:
    slope, intercept = rescale
    positive = (photometric == "MONOCHROME1") == (slope < 0.0)
    stored = tissue() if positive else np.uint16(4095) - tissue()
    middle = slope * float(np.median(stored[(tissue() > 0)])) + intercept
    data = dicom(
        stored,
        BitsStored=12,
        PhotometricInterpretation=photometric,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        WindowCenter=round(middle, 2),
        WindowWidth=round(abs(slope) * 1500.0, 2),
        VOILUTFunction=function,
    )
    viewable = read_viewable(data)
    (preset,) = viewable.presets
    assert viewable.pixels.max() == tissue().max()
    assert np.abs(applied(viewable, preset) - render(data)).max() <= 1.0


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_voi_lut_shows_what_the_preview_shows(dicom: Make, photometric: str) -> None:
    stored = tissue() if photometric == "MONOCHROME2" else np.uint16(4095) - tissue()
    curve = [round(255 * (place / 4095) ** 0.5) for place in range(4096)]
    data = dicom(
        stored,
        BitsStored=12,
        PhotometricInterpretation=photometric,
        VOILUTSequence=[voi_table(0, curve, 8)],
    )
    viewable = read_viewable(data)
    (preset,) = viewable.presets
    assert preset.function == "TABLE"
    some = tissue() > 100  # the root's slope at 0 is endless, and 256 samples are straight between
    assert np.abs(applied(viewable, preset) - render(data))[some].max() <= 3.0


def test_values_are_those_of_the_mammogram(dicom: Make) -> None:
    data = dicom(tissue(), BitsStored=12, PhotometricInterpretation="MONOCHROME2")
    np.testing.assert_array_equal(read_viewable(data).pixels, read_mammogram(data).pixels)


def test_a_negative_is_turned_and_its_modality_values_with_it() -> None:
    eight = (tissue() // 16).astype(np.uint8)
    negative = read_viewable(encode_png(np.uint8(255) - eight))
    assert negative.negative
    np.testing.assert_array_equal(negative.pixels, eight)


def test_a_turned_picture_keeps_its_modality_values(dicom: Make) -> None:
    stored = np.uint16(4095) - tissue()
    viewable = read_viewable(dicom(stored, BitsStored=12, RescaleSlope=2.0, RescaleIntercept=7.0))
    assert viewable.negative
    assert viewable.modality is not None
    slope, intercept = viewable.modality
    np.testing.assert_allclose(slope * viewable.pixels.astype(float) + intercept, 2.0 * stored + 7.0)


def test_values_beyond_sixteen_bits_are_scaled_and_their_modality_values_kept(dicom: Make) -> None:
    stored = tissue().astype(np.uint32) * 1000
    viewable = read_viewable(dicom(stored))
    assert viewable.pixels.dtype == np.uint16
    assert (viewable.pixels.min(), viewable.pixels.max()) == (0, 65535)
    assert viewable.modality is not None
    slope, intercept = viewable.modality
    assert np.abs(slope * viewable.pixels.astype(float) + intercept - stored).max() <= stored.max() / 65535 / 2 + 1


def test_window_names_are_codes_and_free_text_never_leaves(dicom: Make) -> None:
    data = dicom(
        tissue(),
        BitsStored=12,
        WindowCenter=[2000, 2100, 2200],
        WindowWidth=[3000, 3100, 3200],
        WindowCenterWidthExplanation=["HARDER", "DOE JANE", "Softer "],
    )
    assert [preset.name for preset in read_viewable(data).presets] == ["harder", "", "softer"]


def test_equal_windows_are_offered_once(dicom: Make) -> None:
    data = dicom(tissue(), BitsStored=12, WindowCenter=[2000, 2000], WindowWidth=[3000, 3000])
    assert len(read_viewable(data).presets) == 1


def test_a_window_of_a_slope_of_nearly_nothing_is_left_out(dicom: Make) -> None:
    viewable = read_viewable(dicom(tissue(), BitsStored=12, RescaleSlope="1e-12", WindowCenter=1, WindowWidth=2))
    assert viewable.presets == ()
    assert viewable.modality is None


def test_the_bounded_child_gives_the_same(dicom: Make) -> None:
    data = dicom(tissue(), BitsStored=12, WindowCenter=2048, WindowWidth=4096, VOILUTSequence=[voi_table(0, [0, 9], 8)])
    here = read_viewable(data)
    with DecodePool(1) as pool:
        there = pool.view(data)
        with pytest.raises(MalformedFile):
            pool.view(data[:-1000])
    np.testing.assert_array_equal(there.pixels, here.pixels)
    assert (there.modality, there.presets, there.negative) == (here.modality, here.presets, here.negative)


def test_a_picture_over_the_limit_is_refused(dicom: Make) -> None:
    with pytest.raises(TooLarge):
        read_viewable(dicom(tissue(), BitsStored=12), ReadOptions(limits=Limits(max_pixels=1000)))


_GOOD = {
    "name": "",
    "function": "LINEAR_EXACT",
    "centre": 5.0,
    "width": 9.0,
    "shown": [5.5, 10.0],
    "values": [],
}


@pytest.mark.parametrize(
    "change",
    [
        {"negative": 1},
        {"presets": None},
        {"presets": [_GOOD] * 17},
        {"presets": ["window"]},
        {"presets": [{**_GOOD, "name": "DOE^JANE"}]},
        {"presets": [{**_GOOD, "function": "eval"}]},
        {"presets": [{**_GOOD, "width": 0.0}]},
        {"presets": [{**_GOOD, "width": float("nan")}]},
        {"presets": [{**_GOOD, "centre": "5"}]},
        {"presets": [{**_GOOD, "values": [1]}]},
        {"presets": [{**_GOOD, "function": "TABLE", "values": [256] * 256}]},
        {"modality": [1.0]},
        {"modality": [float("inf"), 0.0]},
    ],
)
def test_a_decoder_gone_astray_is_not_believed(change: dict[str, Any]) -> None:
    whole = Viewable(np.zeros((2, 3), np.uint16), (1.0, 0.0), (Preset("", "LINEAR_EXACT", 5.0, 9.0),), False)
    header = describe_viewable(whole)
    assert viewable_from(header, whole.pixels, b"").presets == whole.presets
    with pytest.raises(ValueError, match=r"\w"):
        viewable_from({**header, **change}, whole.pixels, b"")
