"""DICOM pixels: every encoding gives the same values, hand-worked cases for everything done to them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from mammolens.errors import InputError, MalformedFile, NoPixels, UnsupportedEncoding
from mammolens.imaging.dicom_file import open_dicom
from mammolens.imaging.dicom_header import read_header
from mammolens.imaging.dicom_pixels import decode_frame, grey, modality_values
from mammolens.imaging.limits import Limits
from mammolens.imaging.reading import ReadOptions, read_mammogram
from mammolens.imaging.resolution import halved
from mammolens.phantom.transfer import encode_rle
from mammolens.types import Mammogram

Maker = Callable[..., bytes]
Picture = NDArray[Any]
SMALL = np.array([[0, 1, 2], [300, 4094, 4095]], np.uint16)
J = "1.2.840.10008.1.2.4."


def pixels_of(data: bytes, frame: int = 0) -> Picture:
    """Grey values before the quality gate and before negatives are turned."""
    file = open_dicom(data, Limits())
    header = read_header(file, frame)
    return grey(decode_frame(file, header, frame, Limits()), header)


def deflated(data: bytes, level: int = 9) -> bytes:
    """The same file in the deflated transfer syntax."""
    uid, new = b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.1.99"
    start = data.index(uid)
    end = 132 + 12 + int.from_bytes(data[140:144], "little")
    meta = data[: start - 2] + len(new).to_bytes(2, "little") + new + data[start + len(uid) : end]
    meta = meta[:140] + (len(meta) - 144).to_bytes(4, "little") + meta[144:]
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return meta + packer.compress(data[end:]) + packer.flush()


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        ("1.2.840.10008.1.2", None),
        ("1.2.840.10008.1.2.1", None),
        ("1.2.840.10008.1.2.2", None),
        ("1.2.840.10008.1.2.5", encode_rle),
        (J + "57", lambda p: imagecodecs.ljpeg_encode(p, bitspersample=12)),
        (J + "70", lambda p: imagecodecs.jpeg8_encode(p, lossless=True, bitspersample=12)),
        (J + "80", imagecodecs.jpegls_encode),
        (J + "81", imagecodecs.jpegls_encode),
        (
            J + "90",
            lambda p: imagecodecs.jpeg2k_encode(p, reversible=True, level=0, bitspersample=12, codecformat="j2k"),
        ),
        (J + "91", lambda p: imagecodecs.jpeg2k_encode(p, reversible=True, level=0, bitspersample=12)),
        (J + "201", lambda p: imagecodecs.htj2k_encode(p, reversible=True)),
        (J + "202", lambda p: imagecodecs.htj2k_encode(p, reversible=True)),
        (J + "203", lambda p: imagecodecs.htj2k_encode(p, reversible=True)),
    ],
)
def test_every_lossless_transfer_syntax_gives_the_same_values(
    dicom: Maker, breast: Callable[..., Picture], syntax: str, encode: Callable[[Picture], bytes] | None
) -> None:
    picture = breast()
    frames = None if encode is None else [encode(picture)]
    data = dicom(picture, syntax=syntax, frames=frames, BitsStored=12)
    assert np.array_equal(pixels_of(data), picture)


def test_deflated_transfer_syntax_gives_the_same_values(dicom: Maker, breast: Callable[..., Picture]) -> None:
    picture = breast()
    assert np.array_equal(pixels_of(deflated(dicom(picture, BitsStored=12))), picture)


@pytest.mark.parametrize(("syntax", "bits"), [("50", 8), ("51", 12)])
def test_lossy_jpeg_stays_close(dicom: Maker, breast: Callable[..., Picture], syntax: str, bits: int) -> None:
    picture = breast(top=(1 << bits) - 1).astype(np.uint8 if bits == 8 else np.uint16)
    frame = imagecodecs.jpeg8_encode(picture, level=97, bitspersample=bits)
    found = pixels_of(dicom(picture, syntax=J + syntax, frames=[frame], BitsStored=bits))
    assert found.dtype == picture.dtype
    assert np.abs(found.astype(int) - picture).mean() < 0.004 * (1 << bits)


def test_signed_values_keep_their_order_and_distance(dicom: Maker) -> None:
    picture = np.array([[-2048, -1, 0, 2047]], np.int16)
    # 2**(12 - 1) is added: -2048 is 0, 2047 is 4095.
    assert pixels_of(dicom(picture, BitsStored=12)).tolist() == [[0, 2047, 2048, 4095]]
    frame = imagecodecs.jpeg2k_encode(picture, reversible=True, level=0, bitspersample=12, codecformat="j2k")
    coded = dicom(picture, syntax=J + "90", frames=[frame], BitsStored=12)
    assert pixels_of(coded).tolist() == [[0, 2047, 2048, 4095]]
    file = open_dicom(coded, Limits())
    header = read_header(file)
    assert modality_values(decode_frame(file, header, 0, Limits()), header).tolist() == [[-2048.0, -1.0, 0.0, 2047.0]]


def test_unused_high_bits_are_not_pixels(dicom: Maker) -> None:
    # An overlay bit in bit 12 of a 12-bit picture (PS3.5 section 8.1.1).
    assert pixels_of(dicom(SMALL | 0x1000, BitsStored=12)).tolist() == SMALL.tolist()
    assert pixels_of(dicom(SMALL << 4, BitsStored=12, HighBit=15)).tolist() == SMALL.tolist()


def test_monochrome1_is_inverted_within_its_bits(dicom: Maker) -> None:
    found = pixels_of(dicom(SMALL, BitsStored=12, PhotometricInterpretation="MONOCHROME1"))
    assert found.tolist() == (4095 - SMALL).tolist()


def test_negative_slope_inverts_and_positive_slope_changes_nothing(dicom: Maker) -> None:
    assert pixels_of(dicom(SMALL, BitsStored=12, RescaleSlope=2.5, RescaleIntercept=-7)).tolist() == SMALL.tolist()
    found = pixels_of(dicom(SMALL, BitsStored=12, RescaleSlope=-1, RescaleIntercept=4095))
    assert found.tolist() == (4095 - SMALL).tolist()
    both = dicom(SMALL, BitsStored=12, RescaleSlope=-1, RescaleIntercept=0, PhotometricInterpretation="MONOCHROME1")
    assert pixels_of(both).tolist() == SMALL.tolist()


def test_padding_becomes_the_darkest_value(dicom: Maker) -> None:
    picture = np.array([[4095, 4090, 10, 20, 30]], np.uint16)
    one = dicom(picture, BitsStored=12, PixelPaddingValue=4095)
    assert pixels_of(one).tolist() == [[10, 4090, 10, 20, 30]]
    several = dicom(picture, BitsStored=12, PixelPaddingValue=4095, PixelPaddingRangeLimit=4090)
    assert pixels_of(several).tolist() == [[10, 10, 10, 20, 30]]
    inverse = dicom(picture, BitsStored=12, PixelPaddingValue=10, PhotometricInterpretation="MONOCHROME1")
    assert pixels_of(inverse).tolist() == [[0, 5, 0, 4075, 4065]]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.uint32])
@pytest.mark.parametrize("padding", [(0, 0), (0, 30), (100, 100), (90, 200), (-5, 20), (0, 255), (300, 300)])
def test_padding_of_any_place_gives_way_to_the_darkest_value_beside_it(
    dicom: Maker, photometric: str, kind: type[Any], padding: tuple[int, int]
) -> None:
    picture = np.random.default_rng(sum(padding)).integers(0, 200, (40, 30)).astype(kind)
    first, last = (number & 0xFFFF for number in padding) if kind is not np.int16 else padding
    if last < first:
        first, last = 0xFFFF, 20  # -5 in an unsigned picture is 65531
    # More than 16 bits come as float32, which holds fewer.
    bits = min(16, 8 * picture.itemsize)
    data = dicom(
        picture,
        BitsStored=bits,
        PhotometricInterpretation=photometric,
        PixelPaddingValue=first,
        PixelPaddingRangeLimit=last,
    )
    values = picture.astype(np.int64)
    low, high = min(first, last), max(first, last)
    padded = (values >= low) & (values <= high)
    offset = 1 << 15 if kind is np.int16 else 0
    bright = (1 << bits) - 1 - (values + offset) if photometric == "MONOCHROME1" else values + offset
    expected = np.where(padded, 0 if padded.all() else bright[~padded].min(), bright)
    np.testing.assert_array_equal(pixels_of(data), expected)


def test_modality_lookup_table_is_applied(dicom: Maker) -> None:
    item = Dataset()
    item.LUTDescriptor = [3, 1, 16]
    item.ModalityLUTType = "US"
    item.add_new("LUTData", "US", [100, 50000, 7])
    data = dicom(np.array([[0, 1, 2, 3, 9]], np.uint16), BitsStored=12, ModalityLUTSequence=Sequence([item]))
    assert pixels_of(data).tolist() == [[100, 100, 50000, 7, 7]]


def test_colour_becomes_its_luma(dicom: Maker) -> None:
    picture = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]], np.uint8)
    # 0.299, 0.587 and 0.114 of 255.
    assert pixels_of(dicom(picture)).tolist() == [[76, 150, 29, 90]]
    planar = np.ascontiguousarray(np.moveaxis(picture, -1, 0))
    data = dicom(picture, PlanarConfiguration=1).replace(picture.tobytes(), planar.tobytes())
    assert pixels_of(data).tolist() == [[76, 150, 29, 90]]
    assert pixels_of(dicom(picture, PhotometricInterpretation="YBR_FULL")).tolist() == [[255, 0, 0, 90]]


def test_palette_becomes_the_luma_of_its_entries(dicom: Maker) -> None:
    values = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour, data in (("Red", b"\x00\xff"), ("Green", b"\x00\x00"), ("Blue", b"\x00\x00"))
        for part, value in (("Descriptor", [2, 5, 8]), ("Data", data))
    }
    found = pixels_of(dicom(np.array([[4, 5, 6, 7]], np.uint8), PhotometricInterpretation="PALETTE COLOR", **values))
    assert found.tolist() == [[0, 0, 76, 76]]


def test_one_bit_frames_need_not_start_on_a_byte(dicom: Maker) -> None:
    bits = np.arange(27).reshape(3, 3, 3) % 4 == 1
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes() + b"\x00\x00\x00\x00"
    data = dicom(
        None, Rows=3, Columns=3, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", BitsAllocated=1,
        BitsStored=1, PixelRepresentation=0, NumberOfFrames=3, PixelData=packed,
    )  # fmt: skip
    assert [pixels_of(data, frame).tolist() for frame in range(3)] == bits.astype(int).tolist()


def test_float_pixels_are_read_and_what_is_not_finite_is_dark(dicom: Maker) -> None:
    picture = np.array([[1.5, -2.0], [np.nan, 3.0]], np.float32)
    data = dicom(
        None, Rows=2, Columns=2, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", BitsAllocated=32,
        FloatPixelData=picture.tobytes(),
    )  # fmt: skip
    assert pixels_of(data).tolist() == [[1.5, -2.0], [-2.0, 3.0]]


def test_frames_are_chosen_one_by_one(dicom: Maker) -> None:
    frames = np.arange(5 * 6, dtype=np.uint16).reshape(5, 2, 3)
    data = dicom(frames, NumberOfFrames=5)
    assert [pixels_of(data, n).tolist() for n in range(5)] == frames.tolist()
    coded = [imagecodecs.jpegls_encode(frame) for frame in frames]
    data = dicom(frames, NumberOfFrames=5, syntax=J + "80", frames=coded)
    assert [pixels_of(data, n).tolist() for n in range(5)] == frames.tolist()


def test_central_frame_is_read_unless_another_is_asked_for(dicom: Maker, breast: Callable[..., Picture]) -> None:
    frames = np.stack([breast(top=1000 * n) for n in range(1, 4)])
    data = dicom(frames, NumberOfFrames=3)
    middle = read_mammogram(data)
    assert np.array_equal(middle.pixels, frames[1])
    assert "multi-frame" in [notice.code for notice in middle.notices]
    assert np.array_equal(read_mammogram(data, ReadOptions(frame=2)).pixels, frames[2])
    with pytest.raises(InputError, match="3 frames"):
        read_mammogram(data, ReadOptions(frame=3))


@pytest.mark.parametrize("size", [(1024, 768), (1001, 1203), (1025, 769)])
def test_jpeg_2000_is_halved_to_the_rounded_up_size(
    dicom: Maker, breast: Callable[..., Picture], size: tuple[int, int]
) -> None:
    picture = breast(*size)
    for syntax, frame in (
        ("90", imagecodecs.jpeg2k_encode(picture, reversible=True, level=0, bitspersample=12, codecformat="j2k")),
        ("201", imagecodecs.htj2k_encode(picture, reversible=True)),
    ):
        data = dicom(picture, syntax=J + syntax, frames=[frame], BitsStored=12)
        whole = read_mammogram(data)
        small = read_mammogram(data, ReadOptions(min_size=(120, 60)))
        assert np.array_equal(whole.pixels, picture)
        assert small.reduction == 4
        assert small.pixels.shape == (-(-size[0] // 4), -(-size[1] // 4))
        assert (small.rows, small.columns) == size
        # Block means of the original, at the scale of the values (0 to 4095).
        means = picture[: size[0] // 4 * 4, : size[1] // 4 * 4].reshape(size[0] // 4, 4, size[1] // 4, 4).mean((1, 3))
        assert np.abs(small.pixels[: means.shape[0], : means.shape[1]] - means).mean() < 40


def test_resolution_is_never_reduced_below_the_models_need(dicom: Maker, breast: Callable[..., Picture]) -> None:
    picture = breast(1000, 800)
    frame = imagecodecs.jpeg2k_encode(picture, reversible=True, level=0, bitspersample=12, codecformat="j2k")
    data = dicom(picture, syntax=J + "90", frames=[frame], BitsStored=12)
    # Twice the height and three times the width must remain: 500 x 400 has 2 * 250 rows, 3 * 133 columns.
    found = [
        read_mammogram(data, ReadOptions(min_size=size)).reduction for size in ((250, 133), (251, 133), (250, 134))
    ]
    assert found == [2, 1, 1]


def test_bright_padding_is_taken_out_before_halving(dicom: Maker, breast: Callable[..., Picture]) -> None:
    picture = breast(1024, 768)
    picture[:, 700:] = 4095
    frame = imagecodecs.jpeg2k_encode(picture, reversible=True, level=0, bitspersample=12, codecformat="j2k")
    data = dicom(picture, syntax=J + "90", frames=[frame], BitsStored=12, PixelPaddingValue=4095)
    found = read_mammogram(data, ReadOptions(min_size=(120, 60)))
    # Taken out of the whole picture, which is then averaged by two.
    assert found.reduction == 2
    assert int(found.pixels[:, 350:].max()) == 0


def test_what_is_averaged_is_averaged_half_as_far_and_shows_the_same(
    dicom: Maker, breast: Callable[..., Picture]
) -> None:
    picture = breast(1021, 767)
    frame = imagecodecs.jpeg2k_encode(picture, reversible=True, level=0, bitspersample=12, codecformat="j2k")
    compressed = dicom(picture, syntax=J + "90", frames=[frame], BitsStored=12)
    plain = dicom(picture, BitsStored=12)
    a, b = (read_mammogram(data, ReadOptions(min_size=(120, 60))) for data in (compressed, plain))
    assert (a.reduction, a.pixels.shape) == (4, (256, 192))
    assert (b.reduction, b.pixels.shape) == (2, (511, 384))
    assert np.abs(a.pixels.astype(int) - halved(b.pixels, 1)).mean() < 40


def with_size(data: bytes, rows: int, columns: int) -> bytes:
    at = data.index(b"\x28\x00\x10\x00US\x02\x00") + 8
    return (
        data[:at]
        + rows.to_bytes(2, "little")
        + data[at + 2 : at + 10]
        + columns.to_bytes(2, "little")
        + data[at + 12 :]
    )


@pytest.mark.parametrize("syntax", ["80", "90", "70"])
def test_codestream_of_another_size_than_the_header_is_refused(dicom: Maker, syntax: str) -> None:
    picture = np.tile(np.arange(64, dtype=np.uint16), (64, 1))
    encode: dict[str, Callable[..., bytes]] = {
        "80": imagecodecs.jpegls_encode,
        "90": imagecodecs.jpeg2k_encode,
        "70": lambda p: imagecodecs.ljpeg_encode(p, bitspersample=16),
    }
    data = dicom(picture, syntax=J + syntax, frames=[encode[syntax](picture)])
    assert np.array_equal(pixels_of(data), picture)
    with pytest.raises(MalformedFile):
        pixels_of(with_size(data, 32, 64))


def test_what_lacks_pixels_or_bytes_is_refused_as_such(dicom: Maker) -> None:
    with pytest.raises(NoPixels):
        read_mammogram(dicom(None, Modality="MG"))
    with pytest.raises(MalformedFile):
        pixels_of(dicom(SMALL)[:-2])
    with pytest.raises(UnsupportedEncoding):
        pixels_of(dicom(SMALL, syntax="1.2.840.10008.1.2.4.102", frames=[b"\x00\x00"]))


def same(one: Mammogram, other: Mammogram) -> bool:
    return np.array_equal(one.pixels, other.pixels) and replace(one, pixels=other.pixels, sha256=other.sha256) == other


def test_missing_preamble_meta_and_mark_change_nothing(dicom: Maker, breast: Callable[..., Picture]) -> None:
    data = dicom(breast(), BitsStored=12)
    whole = read_mammogram(data)
    end = 144 + int.from_bytes(data[140:144], "little")
    for damaged in (data[128:], data[132:], data[end:], bytes(132) + data[132:]):
        assert same(read_mammogram(damaged), whole)
