"""What the viewer's scripts compute, in Chromium, against figures from the formulas themselves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from werkzeug.serving import make_server

CHROMIUM = Path("/usr/bin/chromium")

pytestmark = pytest.mark.slow

INFO = {
    "maximum": 4095,
    "window": {"low": 300.0, "high": 3300.0, "gamma": 1.25},
    "modality": {"slope": -2.0, "intercept": 100.0},
    "presets": [
        {"function": "LINEAR_EXACT", "centre": 2000.0, "width": 1000.0, "shown": {"centre": 2000.04, "width": 1000}},
        {"function": "SIGMOID", "centre": 1800.0, "width": 900.0, "shown": {"centre": 1800, "width": 900}},
        {"function": "TABLE", "first": 1000, "last": 3000, "values": [0, 10, 200, 255], "shown": None},
    ],
}


@pytest.fixture
def page(app: Flask) -> Iterator[Any]:
    """A page of the application in Chromium, so that its scripts can be imported."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with playwright.sync_playwright() as driver:
            arguments = ["--no-sandbox", "--disable-quic", "--disable-background-networking"]
            browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
            shown = browser.new_page()
            shown.goto(f"http://127.0.0.1:{server.server_port}/sign-in")
            yield shown
            browser.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def greys(page: Any, **shown: Any) -> np.ndarray[Any, Any]:
    wish = {"preset": -1, "shift": 0, "factor": 1, "invert": False} | shown
    script = """async ([info, wish]) => {
        const { table } = await import("/static/case/window.js");
        return [...table(info, wish)].map((colour) => [0, 8, 16, 24].map((bits) => (colour >>> bits) & 255));
    }"""
    colours = np.array(page.evaluate(script, [INFO, wish]))
    assert (colours[:, 0] == colours[:, 1]).all()
    assert (colours[:, 0] == colours[:, 2]).all()
    assert (colours[:, 3] == 255).all()
    return np.asarray(colours[:, 0])


def test_windows_give_the_greys_of_the_standard(page: Any) -> None:
    values = np.arange(4096, dtype=np.float64)
    stretch = np.clip((values - 300) / 3000, 0, 1) ** 1.25
    exact = np.clip((values - 2000) / 1000 + 0.5, 0, 1)
    sigmoid = 1 / (1 + np.exp(-4 * (values - 1800) / 900))
    lookup = np.interp(values, np.linspace(1000, 3000, 4), [0, 10, 200, 255]) / 255
    for preset, expected in ((-1, stretch), (0, exact), (1, sigmoid), (2, lookup)):
        given = greys(page, preset=preset)
        assert np.abs(given - 255 * expected).max() <= 0.5 + 1e-6, preset
        assert (greys(page, preset=preset, invert=True) == 255 - given).all()
    # Moved by a tenth of its width to the darker side, and half as wide.
    moved = np.clip((values - 2100) / 500 + 0.5, 0, 1)
    assert np.abs(greys(page, preset=0, shift=0.1, factor=0.5) - 255 * moved).max() <= 0.5 + 1e-6


def test_level_and_width_are_told_in_the_values_that_a_reader_knows(page: Any) -> None:
    script = """async ([info, wish]) => (await import("/static/case/window.js")).numbers(info, wish)"""
    untouched = {"preset": 0, "shift": 0, "factor": 1, "invert": False}
    assert page.evaluate(script, [INFO, untouched]) == {"level": 2000, "width": 1000}
    # Modality value = -2 v + 100: the stretch's middle of 1800 is -3500, its width of 3000 is 6000.
    assert page.evaluate(script, [INFO, untouched | {"preset": -1}]) == {"level": -3500, "width": 6000}


@pytest.mark.parametrize(
    ("chest", "flip", "edge"), [("right", False, 400), ("left", False, 0), ("right", True, 0), ("left", True, 400)]
)
def test_a_hung_picture_touches_the_seam_with_its_chest_wall(page: Any, chest: str, flip: bool, edge: int) -> None:
    script = """async ([chest, flip]) => {
        const { Camera, hang, fitting } = await import("/static/case/camera.js");
        const camera = new Camera();
        camera.flip = flip;
        const box = [100, 200, 1100, 2200];
        hang(camera, { box, chest, side: "right" }, fitting(box, 400, 300), 400);
        const wall = chest === "right" ? 1100 : 100;
        const there = camera.toScreen(wall, 1200, 400, 300);
        const back = camera.toSource(...camera.toScreen(123.5, 456.25, 400, 300), 400, 300);
        camera.zoom(2, 390, 20, 400, 300);
        return { there, back, scale: camera.scale };
    }"""
    found = page.evaluate(script, [chest, flip])
    assert found["there"] == pytest.approx([edge, 150])
    assert found["back"] == pytest.approx([123.5, 456.25])
    # 2000 rows on 96 % of 300 pixels, then twice as large.
    assert found["scale"] == pytest.approx(2 * 0.96 * 300 / 2000)


def test_zooming_keeps_the_point_under_the_pointer(page: Any) -> None:
    script = """async (flip) => {
        const { Camera } = await import("/static/case/camera.js");
        const camera = Object.assign(new Camera(), { cx: 500, cy: 600, scale: 0.5, fitted: 0.5, flip });
        const before = camera.toSource(30, 250, 400, 300);
        camera.zoom(3, 30, 250, 400, 300);
        return [before, camera.toSource(30, 250, 400, 300)];
    }"""
    for flip in (False, True):
        before, after = page.evaluate(script, flip)
        assert after == pytest.approx(before)
