"""PNG and JPEG: every kind that users have, decoded to known values."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mammolens.errors import FileMissing, MalformedFile, NotAMammogram, TooLarge
from mammolens.imaging.limits import Limits
from mammolens.imaging.raster import read_jpeg, read_png
from mammolens.imaging.reading import mammogram_from_array, read_mammogram

LIMITS = Limits()
RAMP = (np.add.outer(np.arange(40), np.arange(60)) * 2).astype(np.uint8)
Maker = Callable[..., NDArray[np.uint16]]


def packed(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_grey_in_any_png_mode_is_the_same_grey(mode: str) -> None:
    assert np.array_equal(read_png(packed(Image.fromarray(RAMP).convert(mode)), LIMITS).values, RAMP)


def test_palette_png() -> None:
    image = Image.fromarray(RAMP // 64)
    image.putpalette([0, 0, 0, 40, 40, 40, 90, 90, 90, 255, 255, 255])
    assert np.array_equal(read_png(packed(image), LIMITS).values, np.array([0, 40, 90, 255], np.uint8)[RAMP // 64])


def test_sixteen_bit_png_is_exact() -> None:
    deep = RAMP.astype(np.uint16) * 257 + 3
    assert np.array_equal(read_png(packed(Image.fromarray(deep)), LIMITS).values, deep)


def test_one_bit_png_is_black_and_white() -> None:
    bits = RAMP > 90
    assert np.array_equal(read_png(packed(Image.fromarray(bits)), LIMITS).values, np.where(bits, 255, 0))


def test_transparent_pixels_are_black() -> None:
    image = np.dstack([RAMP, np.where(RAMP > 90, 255, 0).astype(np.uint8)])
    assert np.array_equal(read_png(packed(Image.fromarray(image, "LA")), LIMITS).values, np.where(RAMP > 90, RAMP, 0))


def test_compressed_text_never_reaches_the_decoder() -> None:
    data = packed(Image.fromarray(RAMP))
    bomb = b"note\x00\x00" + zlib.compress(bytes(64 << 20))
    for name in (b"zTXt", b"iCCP"):
        laden = data[:33] + chunk(name, bomb) + data[33:]
        assert np.array_equal(read_png(laden, LIMITS).values, RAMP)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_that_of_pillow(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = packed(Image.fromarray(RAMP), "JPEG", exif=exif, quality=95)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(read_jpeg(data, LIMITS).values, expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_grey_in_any_jpeg_mode_stays_close(mode: str) -> None:
    picture = read_jpeg(packed(Image.fromarray(RAMP).convert(mode), "JPEG", quality=98), LIMITS)
    assert np.abs(picture.values.astype(int) - RAMP).max() <= 2
    assert picture.colour == 0.0


def test_colour_is_measured() -> None:
    red = np.zeros((40, 60, 3), np.uint8)
    red[:, :30, 0] = 200
    assert read_png(packed(Image.fromarray(red)), LIMITS).colour == pytest.approx(0.5)
    assert read_jpeg(packed(Image.fromarray(red), "JPEG"), LIMITS).colour == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_truncated_files_are_refused(kind: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8)
    data = packed(Image.fromarray(noise), kind)
    with pytest.raises(MalformedFile):
        (read_png if kind == "PNG" else read_jpeg)(data[: int(kept * len(data))], LIMITS)


def test_sizes_are_checked_before_decoding() -> None:
    with pytest.raises(TooLarge):
        read_png(packed(Image.fromarray(RAMP)), Limits(max_pixels=2399))
    with pytest.raises(TooLarge):
        read_jpeg(packed(Image.fromarray(RAMP), "JPEG"), Limits(max_pixels=2399))
    with pytest.raises(TooLarge):
        read_mammogram(packed(Image.fromarray(RAMP)), options=_options(Limits(max_file_bytes=50)))


def _options(limits: Limits) -> Any:
    from mammolens.imaging.reading import ReadOptions

    return ReadOptions(limits=limits)


def test_reading_a_png_tells_all_it_knows(breast: Maker, tmp_path: Path) -> None:
    picture = (breast() // 16).astype(np.uint8)
    path = tmp_path / "no extension"
    path.write_bytes(packed(Image.fromarray(picture)))
    found = read_mammogram(path)
    assert np.array_equal(found.pixels, picture)
    assert (found.source, found.rows, found.columns, found.reduction) == ("png", 320, 256, 1)
    assert (found.negative, found.notices, found.laterality) == (False, (), None)
    assert found.breast is not None
    assert found.breast.chest_wall == "left"


@pytest.mark.parametrize("deep", [False, True])
def test_a_negative_is_turned_and_said_so(breast: Maker, deep: bool) -> None:
    picture = breast(top=65535) if deep else (breast() // 16).astype(np.uint8)
    top = np.iinfo(picture.dtype).max
    plain = read_mammogram(packed(Image.fromarray(picture)))
    found = read_mammogram(packed(Image.fromarray((top - picture).astype(picture.dtype))))
    assert found.negative
    assert [notice.code for notice in found.notices] == ["negative-turned"]
    # Turned within its own range, so that only a constant is left between the two.
    assert len(np.unique(plain.pixels.astype(int) - found.pixels)) == 1
    assert not plain.negative


def test_colour_photograph_is_refused(breast: Maker) -> None:
    image = np.repeat((breast() // 16).astype(np.uint8)[..., None], 3, axis=-1)
    image[..., 0] //= 3
    with pytest.raises(NotAMammogram, match="colour"):
        read_mammogram(packed(Image.fromarray(image)))


def test_arrays_go_through_the_same_gate(breast: Maker) -> None:
    picture = breast()
    assert np.array_equal(mammogram_from_array(picture).pixels, picture)
    assert mammogram_from_array(picture.astype(np.int32) - 500).pixels.dtype == np.float32
    for bad in (np.zeros((3, 4, 5)), np.full((200, 200), np.nan), np.zeros((0, 7))):
        with pytest.raises(MalformedFile):
            mammogram_from_array(bad)


def test_missing_files_and_folders_are_named_as_such(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path, Path("/dev/null"), "\x00"):
        with pytest.raises(FileMissing):
            read_mammogram(path)
