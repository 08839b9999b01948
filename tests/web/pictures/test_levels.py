"""The resolutions that tiles are cut from: right to the pixel, made once, kept within their limit."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mammolens import phantom
from mammolens.errors import InternalError, MalformedFile, Overloaded, StorageFull
from mammolens.imaging.breast import find_breast
from mammolens.imaging.png import encode_png
from mammolens.web.app import Services
from mammolens.web.database.tables import Image
from mammolens.web.pictures import levels, rendering, tiles, turns

Keep = Callable[..., Image]


@pytest.fixture(scope="module")
def view() -> phantom.Phantom:
    return phantom.examination(rows=901, columns=655)["RMLO"]


@pytest.fixture(scope="module")
def file(view: phantom.Phantom) -> bytes:
    return phantom.dicom(view)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Files that are decoded from now on."""
    seen: list[object] = []
    pool = levels.default_pool()

    class Counting:
        def view(self, source: object) -> object:
            seen.append(source)
            time.sleep(0.2)
            return pool.view(source)  # type: ignore[arg-type]

    monkeypatch.setattr(levels, "default_pool", Counting)
    return seen


def test_each_level_is_the_mean_of_blocks_of_the_one_before() -> None:
    whole = np.random.default_rng(1).integers(0, 65536, (901, 1300), np.uint16)
    pyramid = list(levels.halvings(whole))
    assert [level.shape for level in pyramid] == [(901, 1300), (451, 650), (226, 325)]
    for finer, coarser in pairwise(pyramid):
        for row, column in ((0, 0), (17, 101), (coarser.shape[0] - 1, coarser.shape[1] - 1)):
            block = finer[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert abs(float(block.mean()) - int(coarser[row, column])) <= 1.0


def test_level_nought_is_the_source_pixel_for_pixel(
    services: Services, keep: Keep, file: bytes, view: phantom.Phantom
) -> None:
    image = keep(services, file)
    found = levels.make(services, image)
    np.testing.assert_array_equal(levels.pixels(services, image.id, 0), view.pixels)
    assert (found["rows"], found["columns"]) == (901, 655)
    assert (found["minimum"], found["maximum"]) == (int(view.pixels.min()), int(view.pixels.max()))
    assert found["levels"] == [{"rows": 901, "columns": 655}, {"rows": 451, "columns": 328}]
    breast = find_breast(view.pixels)
    assert breast is not None
    assert found["breast"]["chest_wall"] == breast.chest_wall == "right"
    np.testing.assert_allclose(found["breast"]["box"], breast.box, atol=4)


def test_the_default_window_is_that_of_the_preview(
    services: Services, answered: Callable[..., Any], file: bytes
) -> None:
    image, _ = answered(services, file)
    found = levels.make(services, image)
    window, values = found["window"], np.asarray(levels.pixels(services, image.id, 0), np.float64)
    scaled = np.clip((values - window["low"]) / (window["high"] - window["low"]), 0.0, 1.0)
    shown = 255.0 * scaled ** window["gamma"]
    preview = rendering._grey(services, image.id)
    assert np.abs(shown - preview).mean() < 3.0


def test_levels_are_made_once_even_when_two_ask_at_the_same_time(
    services: Services, keep: Keep, file: bytes, decoded: list[object]
) -> None:
    image = keep(services, file)
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda _: levels.make(services, image), range(3)))
    assert found[0] == found[1] == found[2] == levels.make(services, image)
    assert len(decoded) == 1


@pytest.mark.parametrize("damage", ["cut", "missing", "garbled", "old"])
def test_a_damaged_cache_is_made_anew(services: Services, keep: Keep, file: bytes, damage: str) -> None:
    image = keep(services, file)
    first = levels.make(services, image)
    place = services.folder / "levels" / image.id
    index = place / "levels.json"
    if damage == "cut":
        os.truncate(place / "0.npy", 1000)
    elif damage == "missing":
        (place / "1.npy").unlink()
    elif damage == "garbled":
        index.write_bytes(bytes(200))
    else:
        index.write_text(json.dumps({**first, "version": 0}))
    assert levels.find(services, image.id) is None
    assert levels.make(services, image) == first
    assert levels.pixels(services, image.id, 0).shape == (901, 655)


def test_what_was_looked_at_longest_ago_leaves_the_cache_first(
    make_services: Callable[..., Services], keep: Keep
) -> None:
    services = make_services(tile_cache_bytes=2_900_000)
    pictures = [np.full((600, 500), 7 + n, np.uint16) for n in range(3)]
    images = [keep(services, encode_png(picture)) for picture in pictures]
    for age, image in enumerate(images[:2]):
        levels.make(services, image)
        index = services.folder / "levels" / image.id / "levels.json"
        os.utime(index, (time.time() - 1000 + age, time.time() - 1000 + age))
    levels.seen(services, images[0].id)
    levels.make(services, images[2])
    there = [levels.find(services, image.id) is not None for image in images]
    assert there == [True, False, True]


def test_the_cache_leaves_the_disk_its_reserve(make_services: Callable[..., Services], keep: Keep, file: bytes) -> None:
    services = make_services()
    image = keep(services, file)
    levels.make(services, image)
    full = make_services(upload_free_bytes=shutil.disk_usage(services.folder).total)
    other = keep(full, encode_png(np.full((300, 300), 9, np.uint16)))
    with pytest.raises(StorageFull):
        levels.make(full, other)
    assert [place.name for place in (services.folder / "levels").iterdir()] == [".locks"]


def test_nothing_stays_of_an_image_that_is_deleted_while_it_is_decoded(
    services: Services, keep: Keep, file: bytes, decoded: list[object]
) -> None:
    image = keep(services, file)
    with ThreadPoolExecutor(1) as threads:
        making = threads.submit(levels.make, services, image)
        while not decoded:
            time.sleep(0.005)
        with services.database.session() as session:
            session.delete(session.get_one(Image, image.id))
        making.result()
    assert levels.find(services, image.id) is None
    assert not (services.folder / "levels" / image.id).exists()


def test_forgotten_levels_are_gone_and_forgetting_twice_is_no_error(
    services: Services, keep: Keep, file: bytes
) -> None:
    image = keep(services, file)
    levels.make(services, image)
    for _ in range(2):
        levels.forget(services, image.id)
        assert not (services.folder / "levels" / image.id).exists()


def test_a_file_that_cannot_be_decoded_leaves_nothing(services: Services, keep: Keep, file: bytes) -> None:
    image = keep(services, file[:-5000])
    with pytest.raises(MalformedFile):
        levels.make(services, image)
    assert [place.name for place in (services.folder / "levels").iterdir()] == [".locks"]


def test_who_waits_too_long_for_an_image_is_told_so(tmp_path: Path) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with turns.alone(tmp_path, "a" * 32):
            held.set()
            done.wait(10)

    with ThreadPoolExecutor(1) as threads:
        threads.submit(hold)
        assert held.wait(10)
        try:
            with pytest.raises(Overloaded), turns.alone(tmp_path, "a" * 32, patience=0.05):
                pass
            with turns.alone(tmp_path, "b" * 32, patience=0.05):
                pass
        finally:
            done.set()
    with turns.alone(tmp_path, "a" * 32, patience=5.0):
        pass


def test_more_than_a_few_pictures_at_once_are_refused() -> None:
    with turns.turn(), turns.turn(), pytest.raises(Overloaded), turns.turn(patience=0.05):
        pass
    with turns.turn(patience=0.05):
        pass


@pytest.mark.parametrize("name", ["", "..", "../" + "a" * 29, "A" * 32, "a" * 33, "a" * 31 + "/"])
def test_only_an_identifier_becomes_a_folder(services: Services, name: str) -> None:
    with pytest.raises(InternalError):
        levels.folder(services, name)


def test_packed_tiles_are_gzip_of_equal_bytes_each_time() -> None:
    import gzip

    tile = np.arange(65536, dtype="<u2").tobytes()
    assert gzip.decompress(tiles.packed(tile)) == tile
    assert tiles.packed(tile) == tiles.packed(tile)
