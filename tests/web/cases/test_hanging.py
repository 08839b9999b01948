"""Hanging: right breast on the reader's left, chest walls back to back."""

from __future__ import annotations

import datetime as dt

import pytest

from mammolens.web.cases.hanging import chest_wall, flipped, hang, name_of, place_of
from mammolens.web.database.tables import Image, ImageState, Result

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def picture(
    name: str, minute: int = 0, state: ImageState = ImageState.ANSWERED, modifiers: tuple[str, ...] = ()
) -> Image:
    side, _, view = name.partition(" ")
    return Image(
        id=f"{name}/{minute}",
        case_id="c",
        sha256="0" * 64,
        bytes=1,
        kind="dicom",
        arrived=START + dt.timedelta(minutes=minute),
        state=state,
        laterality=side or None,
        view=view or None,
        view_modifiers=list(modifiers),
    )


def answer(mirrored: bool) -> Result:
    return Result(geometry={"box": [0, 0, 10, 10], "mirrored": mirrored, "size": [4, 4]})


def test_four_views_hang_right_before_left_and_cc_above_mlo_in_any_order_of_arrival() -> None:
    images = [picture("L MLO", 0), picture("R MLO", 1), picture("L CC", 2), picture("R CC", 3)]
    hung = hang(images)
    assert [cell.image.id.split("/")[0] for cell in hung.cells if cell.image] == ["R CC", "L CC", "R MLO", "L MLO"]
    assert [cell.side for cell in hung.cells] == ["right", "left", "right", "left"]
    assert hung.columns == 2
    assert hung.others == ()


def test_a_missing_view_leaves_its_place_empty_and_a_missing_row_leaves_none() -> None:
    hung = hang([picture("R CC"), picture("R MLO"), picture("L MLO")])
    assert [(cell.place, cell.image is None) for cell in hung.cells] == [
        (("R", "CC"), False),
        (("L", "CC"), True),
        (("R", "MLO"), False),
        (("L", "MLO"), False),
    ]
    assert [cell.place for cell in hang([picture("R MLO"), picture("L MLO")]).cells] == [("R", "MLO"), ("L", "MLO")]


def test_of_a_repeated_view_the_newer_hangs_unless_only_the_older_has_an_answer() -> None:
    older, newer = picture("R CC", 0), picture("R CC", 5)
    hung = hang([newer, older, picture("L CC", 1)])
    assert hung.cells[0].image is newer
    assert hung.others == (older,)
    newer.state = ImageState.REFUSED
    assert hang([newer, older, picture("L CC", 1)]).cells[0].image is older


def test_spot_views_and_rare_views_do_not_hang_but_are_kept() -> None:
    spot, lateral = picture("L CC", 3, modifiers=("spot compression",)), picture("L ML", 4)
    hung = hang([picture("R CC"), picture("L CC"), spot, lateral])
    assert hung.others == (spot, lateral)
    assert place_of(spot) is None
    assert place_of(lateral) is None
    assert name_of(spot) == "L CC spot compression"


def test_pictures_of_unknown_view_stand_in_a_plain_grid_in_order_of_arrival() -> None:
    hung = hang([picture("", 2), picture("", 1), picture("", 3)])
    assert [cell.image.arrived.minute for cell in hung.cells if cell.image] == [1, 2, 3]
    assert {cell.side for cell in hung.cells} == {None}
    assert hang([picture("")]).columns == 1


@pytest.mark.parametrize(
    ("mirrored", "stored", "as_right", "as_left"), [(True, "right", False, True), (False, "left", True, False)]
)
def test_a_picture_is_turned_exactly_when_its_chest_wall_lies_on_the_outer_side(
    mirrored: bool, stored: str, as_right: bool, as_left: bool
) -> None:
    result = answer(mirrored)
    assert chest_wall(result) == stored
    assert flipped("right", result) is as_right
    assert flipped("left", result) is as_left
    assert flipped(None, result) is False


def test_without_an_answer_nothing_is_turned() -> None:
    assert chest_wall(None) is None
    assert flipped("left", None) is False
