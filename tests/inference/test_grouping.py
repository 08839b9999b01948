"""Which pictures make one examination."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammolens.errors import InputError
from mammolens.inference.grouping import Group, Origin, group, read_views


def test_study_outweighs_the_folder_and_two_studies_in_one_folder_are_two() -> None:
    origins = [Origin("1.2", "a", "L", "CC"), Origin("1.3", "a", "L", "CC"), Origin("1.2", "b", None, None)]
    assert group(origins) == [Group((0, 2), False), Group((1,), False)]


def test_pictures_without_study_are_grouped_by_folder_only_where_side_and_view_are_known() -> None:
    known = [Origin(None, "a", "L", "CC"), Origin(None, "a", "R", "MLO"), Origin(None, "b", "R", "MLO")]
    unknown = [Origin(None, "a", "L", None), Origin(None, "a", None, "CC"), Origin(None, "a", None, None)]
    assert group([*unknown, *known]) == [
        Group((0,), True),
        Group((1,), True),
        Group((2,), True),
        Group((3, 4), False),
        Group((5,), False),
    ]


def test_folder_called_like_a_study_is_not_that_study() -> None:
    assert len(group([Origin("1.2", "x"), Origin(None, "1.2", "L", "CC")])) == 2


def test_table_tells_side_and_view_relative_to_its_folder(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,malignant,laterality,view\na.png,0,l,cc\nsub/b.png,1,R,MLO\nc.png,0,,\n", encoding="utf-8")
    assert read_views(table) == {tmp_path / "a.png": ("L", "CC"), tmp_path / "sub" / "b.png": ("R", "MLO")}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("file,laterality\na.png,L\n", "needs the columns"),
        ("file,laterality,view\na.png,L,CC\nb.png,X,CC\n", "Line 3 "),
        ("file,laterality,view\na.png,L,sideways\n", "Line 2 "),
    ],
)
def test_table_that_breaks_the_rules_is_refused_by_its_line(tmp_path: Path, content: str, said: str) -> None:
    table = tmp_path / "views.csv"
    table.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_views(table)
    with pytest.raises(InputError, match="can't be read"):
        read_views(tmp_path / "missing.csv")
