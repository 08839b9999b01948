"""The colours of the pages can be told apart: WCAG 2.2 contrast of every pair of text and ground, in both themes."""

from __future__ import annotations

import math
import re

import pytest

from mammolens.web.catalogues import WEB

CSS = (WEB / "static" / "base.css").read_text(encoding="utf-8")
GROUNDS = ("ground", "panel", "raised")


def tokens(theme: str) -> dict[str, tuple[float, float, float]]:
    """Lightness, chroma and hue of a theme's opaque colours."""
    block = re.search(rf'\[data-theme="{theme}"\] \{{(.*?)\n\}}', CSS, re.DOTALL)
    assert block
    found = re.findall(r"--([\w-]+): oklch\(([\d.]+)% ([\d.]+) ([\d.]+)\);", block[1])
    return {name: (float(light) / 100, float(chroma), float(hue)) for name, light, chroma, hue in found}


def luminance(colour: tuple[float, float, float]) -> float:
    """Relative luminance (WCAG 2.2) of an OKLCH colour; matrices of Ottosson's definition of OKLab (2020)."""
    light, chroma, hue = colour
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    red = 4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short
    shown = [min(max(part, 0.0), 1.0) for part in (red, green, blue)]
    return 0.2126 * shown[0] + 0.7152 * shown[1] + 0.0722 * shown[2]


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_of_black_and_white_is_21() -> None:
    assert contrast((0.0, 0.0, 0.0), (1.0, 0.0, 0.0)) == pytest.approx(21.0, abs=0.01)
    # sRGB #777 (OKLCH lightness 0.5693) on white: 4.48, the pair that just fails AA.
    assert contrast((0.5693, 0.0, 0.0), (1.0, 0.0, 0.0)) == pytest.approx(4.48, abs=0.02)


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("text", ["text", "quiet", "accent", "amber", "coral"])
def test_text_stands_out_from_every_ground(theme: str, text: str) -> None:
    colours = tokens(theme)
    for ground in GROUNDS:
        assert contrast(colours[text], colours[ground]) >= 4.5, ground


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_words_on_the_accent_and_on_the_mark_stand_out(theme: str) -> None:
    colours = tokens(theme)
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
    assert contrast(colours["text"], colours["mark"]) >= 4.5


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("drawn", ["edge", "signal-low", "amber", "coral", "accent"])
def test_borders_of_controls_and_signals_stand_out(theme: str, drawn: str) -> None:
    colours = tokens(theme)
    for ground in ("ground", "panel"):
        assert contrast(colours[drawn], colours[ground]) >= 3.0, ground


def test_stylesheets_name_no_colour_but_by_token() -> None:
    """Colours of our own outside the tables would be missing in one theme; greys on a picture's black are none."""
    for path in sorted(WEB.glob("static/**/*.css")):
        css = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        if path.name == "base.css":
            css = re.sub(r'(:root,\s*)?\[data-theme="\w+"\] \{.*?\n\}', "", css, flags=re.DOTALL)
        found = re.findall(r"#[0-9a-fA-F]{3,8}\b|\b(?:oklch|rgb|rgba|hsl)\([^)]*\)", css)
        coloured = [
            one for one in found if not re.fullmatch(r"#000|#fff|oklch\([\d.]+% 0 0\)|rgb\(0 0 0 / [\d.]+\)", one)
        ]
        assert coloured == [], path.name
