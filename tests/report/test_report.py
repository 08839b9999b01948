"""The report's page: what it says, how it hangs the views, and that no text breaks out of its place."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mammolens.models.bundle import load_bundle
from mammolens.report import ReportEntry, ReportModel, write_report
from mammolens.types import (
    CropGeometry,
    Mammogram,
    ModelIdentity,
    Notice,
    PixelSpacing,
    Prediction,
    Region,
    Timing,
)

IDENTITY = ModelIdentity("mammolens-b0", "1.2.3", "5f" * 32)
MODEL = ReportModel(
    IDENTITY, prevalence=0.34, calibrated_on="2672 pictures of 757 women", sensitivity=0.78, specificity=0.71
)


class Page(HTMLParser):
    """Elements, attributes and text of a page, as a browser would see them."""

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attributes[name] or "" for found, attributes in self.tags if found == tag and name in attributes]


def png(path: Path, width: int = 40, height: int = 50) -> Path:
    """Write a black picture by hand, so that the test needs no encoder of the house."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = zlib.compress((b"\0" + b"\0" * width) * height)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


def prediction(
    probability: float = 0.62,
    laterality: str | None = "L",
    view: str | None = "CC",
    *,
    modifiers: tuple[str, ...] = (),
    spacing: PixelSpacing | None = None,
    regions: tuple[Region, ...] = (),
    notices: tuple[Notice, ...] = (),
) -> Prediction:
    malignant = probability >= 0.31
    mammogram = Mammogram(
        np.zeros((1, 1), np.uint8),
        2294,
        1914,
        laterality=laterality,
        view=view,
        view_modifiers=modifiers,
        pixel_spacing=spacing,
    )
    return Prediction(
        probability=probability,
        logit=0.0,
        threshold=0.31,
        label="malignant" if malignant else "benign",
        confidence=probability if malignant else 1 - probability,
        mammogram=mammogram,
        heatmap=np.zeros((1, 1), np.float32),
        geometry=CropGeometry((0.0, 0.0, 1914.0, 2294.0), False, (512, 384)),
        regions=regions,
        notices=notices,
        model=IDENTITY,
        timing=Timing(1, 1, 1, 1, 4),
    )


def entry(folder: Path, name: str, answer: Prediction) -> ReportEntry:
    return ReportEntry(
        f"{name}.dcm", answer, picture=png(folder / f"{name}.png"), overlay=png(folder / f"{name}.overlay.png", 46)
    )


def written(folder: Path, entries: list[ReportEntry], model: ReportModel = MODEL) -> Page:
    target = write_report(folder, entries, model)
    assert target == folder / "report.html"
    return Page(target.read_text(encoding="utf-8"))


def four(folder: Path) -> list[ReportEntry]:
    views = [("L", "MLO"), ("R", "CC"), ("R", "MLO"), ("L", "CC")]
    return [entry(folder, side + view, prediction(0.1 + 0.2 * i, side, view)) for i, (side, view) in enumerate(views)]


def test_four_views_hang_mirrored_with_the_chest_walls_in_the_middle(tmp_path: Path) -> None:
    page = written(tmp_path, four(tmp_path))
    shown = [source for source in page.attributes("img", "src") if "overlay" not in source]
    assert shown == ["./RCC.png", "./LCC.png", "./RMLO.png", "./LMLO.png"]
    assert page.attributes("article", "class") == ["view right", "view left"] * 2
    assert "hung" in page.attributes("div", "class")
    # A right breast's row runs backwards, so that its plain picture lies next to the left breast's.
    style = re.sub(r"\s+", " ", (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert ".right .pictures { flex-direction: row-reverse; }" in style


def test_a_missing_view_leaves_its_place_empty(tmp_path: Path) -> None:
    entries = [item for item in four(tmp_path) if item.title != "LCC.dcm"]
    page = written(tmp_path, entries)
    assert "no L CC given" in page.text
    assert page.attributes("article", "class") == ["view right", "view right", "view left"]


def test_one_breast_alone_hangs_in_its_two_places(tmp_path: Path) -> None:
    page = written(tmp_path, [item for item in four(tmp_path) if item.title.startswith("R")])
    assert page.text.count("given") == 2
    only_cc = [item for item in four(tmp_path) if "CC" in item.title]
    assert "given" not in written(tmp_path, only_cc).text


@pytest.mark.parametrize(
    "extra",
    [
        prediction(0.2, "L", "CC"),
        prediction(0.2, "L", None),
        prediction(0.2, None, "CC"),
        prediction(0.2, "L", "ML"),
        prediction(0.2, "B", "MLO"),
        prediction(0.2, "R", "CC", modifiers=("magnification",)),
    ],
)
def test_what_does_not_hang_as_one_examination_is_shown_in_the_order_given(tmp_path: Path, extra: Prediction) -> None:
    entries = [*(item for item in four(tmp_path) if item.title != "RCC.dcm"), entry(tmp_path, "extra", extra)]
    page = written(tmp_path, entries)
    shown = [source for source in page.attributes("img", "src") if "overlay" not in source]
    assert shown == ["./LMLO.png", "./RMLO.png", "./LCC.png", "./extra.png"]
    assert "grid" in page.attributes("div", "class")
    assert "hung" not in page.attributes("div", "class")


def test_every_picture_stands_beside_its_overlay_with_its_size_known(tmp_path: Path) -> None:
    page = written(tmp_path, [entry(tmp_path, "a", prediction()), entry(tmp_path, "b", prediction())])
    assert page.attributes("img", "src") == ["./a.png", "./a.overlay.png", "./b.png", "./b.overlay.png"]
    assert page.attributes("img", "width") == ["40", "46", "40", "46"]
    assert page.attributes("img", "height") == ["50"] * 4
    assert all(page.attributes("img", "alt"))


@pytest.mark.parametrize(
    ("probability", "level", "filled", "words"),
    [
        (0.309, "low", 3, "benign, below the threshold 0.310"),
        (0.31, "raised", 3, "malignant, at or above the threshold 0.310"),
        (0.65, "raised", 6, "malignant, at or above the threshold 0.310"),
        (0.66, "high", 7, "malignant, at or above the threshold 0.310"),
    ],
)
def test_score_label_confidence_and_threshold_are_said(
    tmp_path: Path, probability: float, level: str, filled: int, words: str
) -> None:
    page = written(tmp_path, [entry(tmp_path, "a", prediction(probability))])
    confidence = probability if probability >= 0.31 else 1 - probability
    assert f"{probability:.3f}" in page.text
    assert words in page.text
    assert f"confidence {confidence:.3f}" in page.text
    assert page.attributes("span", "class").count(f"bar {level}") == 2
    assert page.attributes("i", "class") == ["on"] * (2 * filled)


def test_regions_are_given_in_pixels_and_millimetres(tmp_path: Path) -> None:
    region = Region((100, 200, 340, 320), (220, 260), 0.934)
    spacing = PixelSpacing(row=0.1, column=0.05, origin="imager")
    page = written(tmp_path, [entry(tmp_path, "a", prediction(regions=(region,), spacing=spacing))])
    assert "1 0.93 220, 260 240 × 120 12.0 × 12.0" in page.text
    assert "Size, mm" in page.text
    assert "at the detector" in page.text
    without = written(tmp_path, [entry(tmp_path, "a", prediction(regions=(region,)))])
    assert "240 × 120" in without.text
    assert "Size, mm" not in without.text
    assert "Millimetres" not in without.text
    assert "No region stands out." in written(tmp_path, [entry(tmp_path, "a", prediction())]).text


def test_notices_and_refusals_are_said_in_words_with_their_codes(tmp_path: Path) -> None:
    notice = Notice("multi-frame", "The central frame was taken.")
    refused = ReportEntry("chart.dcm", code="no-breast", message="No breast was found in this picture.")
    page = written(tmp_path, [entry(tmp_path, "a", prediction(notices=(notice,))), refused])
    assert "The central frame was taken. multi-frame" in page.text
    assert "chart.dcm No breast was found in this picture. no-breast" in page.text
    assert "1 picture answered · 1 at or above the threshold · 1 refused" in page.text


def test_the_number_is_explained_with_the_set_it_was_calibrated_on(tmp_path: Path) -> None:
    page = written(tmp_path, [entry(tmp_path, "a", prediction(0.62)), entry(tmp_path, "b", prediction(0.2))])
    assert "calibrated on 2672 pictures of 757 women" in page.text
    assert "of 1000 pictures with this score in that set, about 620 showed cancer; 34 of 100 pictures" in page.text
    assert "In that set 78 of 100 pictures with cancer reached the threshold, and 71 of 100" in page.text
    # By hand: odds 0.62/0.38 = 1.6316, times (0.006/0.994)/(0.34/0.66) = 0.011717, gives 0.019117, so 18.8 of 1000.
    assert "it stands for about 19 of 1000" in page.text
    assert "mammolens-b0" in page.text
    assert "1.2.3" in page.text
    assert "5f" * 32 in page.text


def test_an_unknown_calibration_is_not_made_up(tmp_path: Path) -> None:
    page = written(tmp_path, [entry(tmp_path, "a", prediction(0.62))], ReportModel(IDENTITY))
    assert "calibrated by the model's makers" in page.text
    assert "Cancer is rarer in screening" not in page.text
    assert "of 100 pictures" not in page.text


def test_a_model_without_calibration_is_not_given_one(tmp_path: Path) -> None:
    model = ReportModel(IDENTITY, calibrated=False)
    page = written(tmp_path, [entry(tmp_path, "a", prediction(0.62))], model)
    assert "The model was never calibrated." in page.text
    assert "of 1000 pictures" not in page.text
    assert "calibrated by the model's makers" not in page.text


def test_report_of_an_imported_bundle_says_nothing_that_nobody_measured() -> None:
    bundle = load_bundle("default")
    unknown = {"calibration": None, "training": None}
    points = tuple(
        point.model_copy(update={"sensitivity": None, "specificity": None})
        for point in bundle.manifest.operating_points
    )
    manifest = bundle.manifest.model_copy(update={**unknown, "operating_points": points})
    assert ReportModel.of(replace(bundle, manifest=manifest)) == ReportModel(bundle.identity, calibrated=False)
    known = ReportModel.of(bundle)
    assert known.calibrated
    assert known.prevalence is not None
    assert known.sensitivity is not None


@pytest.mark.parametrize("count", [0, 1, 4])
def test_research_use_only_stands_exactly_once(tmp_path: Path, count: int) -> None:
    written(tmp_path, four(tmp_path)[:count])
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(re.findall("research use only", content, re.IGNORECASE)) == 1
    assert "Research use only, not a medical device." in content


HOSTILE = [
    "<script>alert(1)</script>.dcm",
    '"><img src=x onerror=alert(1)>.png',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "&lt;script&gt;",
    "$style ${body} $headline",
    "a\u202egnp.mcd",
    "null\x00bell\x07line\nbreak",
    "half\udce4pair",
    "<!-- ",
    "]]>",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_breaks_out_of_its_place(tmp_path: Path, name: str) -> None:
    plain = written(tmp_path, [entry(tmp_path, "a", prediction()), ReportEntry("b", code="c", message="d")])
    expected = [tag for tag, _ in plain.tags]
    answer = replace(entry(tmp_path, "a", prediction(view=name, notices=())), title=name)
    page = written(
        tmp_path,
        [answer, ReportEntry(name, code=name, message=name)],
        replace(MODEL, identity=replace(IDENTITY, name=name)),
    )
    assert [tag for tag, _ in page.tags] == expected
    assert not any(attribute.startswith("on") for _, attributes in page.tags for attribute in attributes)
    shown = "".join(character if character.isprintable() else "\ufffd" for character in name)
    # Three titles, the refusal's code and the model's name; view and message stand among other words.
    assert page.words.count(shown) == 5
    assert re.sub(r"\s+", " ", shown).strip() in page.text


@pytest.mark.parametrize("name", ["<script>.png", "a b&c?d#e%41.png", "data:text", "javascript:alert(1)", "乳腺.png"])
def test_addresses_of_pictures_are_quoted_and_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    from urllib.parse import unquote, urlsplit

    target = png(tmp_path / "pictures" / name)
    page = written(tmp_path, [ReportEntry("a", prediction(), picture=target)])
    (source,) = page.attributes("img", "src")
    parts = urlsplit(source)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert (tmp_path / unquote(parts.path)).samefile(target)


def test_a_picture_outside_the_folder_is_refused(tmp_path: Path) -> None:
    outside = png(tmp_path / "elsewhere.png")
    with pytest.raises(ValueError, match="folder"):
        write_report(tmp_path / "report", [ReportEntry("a", prediction(), picture=outside)], MODEL)


def test_a_picture_that_is_no_png_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"<svg onload=alert(1)>")
    with pytest.raises(ValueError, match="PNG"):
        write_report(tmp_path, [ReportEntry("a", prediction(), picture=tmp_path / "a.png")], MODEL)


def test_the_page_needs_neither_network_nor_script(tmp_path: Path) -> None:
    page = written(tmp_path, four(tmp_path))
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "://" not in content
    assert "@import" not in content
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base", "form"})
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'"
    assert page.open == []


def test_equal_entries_give_equal_bytes(tmp_path: Path) -> None:
    first = write_report(tmp_path, four(tmp_path), MODEL).read_bytes()
    assert write_report(tmp_path, four(tmp_path), MODEL).read_bytes() == first


def test_an_empty_report_says_what_to_do(tmp_path: Path) -> None:
    assert "Name a mammogram (DICOM, PNG or JPEG) or a folder of them." in written(tmp_path, []).text


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"code": "no-breast"},
        {"prediction": prediction(), "code": "no-breast", "message": "No breast."},
        {"prediction": prediction(), "code": "no-breast"},
    ],
)
def test_an_entry_is_an_answer_or_a_refusal(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="either"):
        ReportEntry("a", **wrong)  # type: ignore[arg-type]


def _luminance(colour: str) -> float:
    """Relative luminance of ``oklch(L% C H)`` (Ottosson 2020; WCAG 2.2)."""
    lightness, chroma, hue = (float(part) for part in re.findall(r"[\d.]+", colour))
    a, b = chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))
    root = np.array(
        [
            [1, 0.3963377774, 0.2158037573],
            [1, -0.1055613458, -0.0638541728],
            [1, -0.0894841775, -1.2914855480],
        ]
    ) @ [lightness / 100, a, b]
    red, green, blue = np.clip(
        np.array(
            [
                [4.0767416621, -3.3077115913, 0.2309699292],
                [-1.2684380046, 2.6097574011, -0.3413193965],
                [-0.0041960863, -0.7034186147, 1.7076147010],
            ]
        )
        @ root**3,
        0,
        1,
    )
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_colours_keep_the_contrast_that_the_look_asks_for(tmp_path: Path, scheme: str) -> None:
    written(tmp_path, [])
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    tables = re.findall(r":root \{(.*?)\}", content, re.DOTALL)
    table = tables[0 if scheme == "dark" else 1]
    colours = {name: _luminance(value) for name, value in re.findall(r"--(\w+): (oklch\([^)]*\))", table)}

    def contrast(name: str) -> float:
        low, high = sorted((colours[name], colours["ground"]))
        return (high + 0.05) / (low + 0.05)

    assert {name: contrast(name) for name in ("text", "quiet", "accent") if contrast(name) < 4.5} == {}
    assert {name: contrast(name) for name in ("low", "raised", "high") if contrast(name) < 3.0} == {}
