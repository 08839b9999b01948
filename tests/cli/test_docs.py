"""docs/command-line.md against the commands that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from mammolens.cli import terminal
from mammolens.cli.main import app

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"


def commands(command: Any, name: str = "mammolens") -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child, inner in children.items():
        yield from commands(inner, f"{name} {child}")


def documented() -> dict[str, str]:
    """Sections of the page by their heading; what stands before the first one is the application's."""
    parts = re.split(r"^## (mammolens .+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {"mammolens": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def parameters(command: Any) -> dict[str, Any]:
    """Parameters by the name that a user types; help is everywhere."""
    return {
        (parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar): parameter
        for parameter in command.params
        if parameter.opts[0] not in ("--help", "-h")
    }


def rows(section: str) -> dict[str, list[str]]:
    """Rows of a section's table of parameters: name to the other cells."""
    table = re.findall(r"^\| `([^`|]+)` \| (.*) \|$", section, re.MULTILINE)
    return {name: re.split(r" ?\| ?", rest) for name, rest in table if not name.islower() or name.startswith("--")}


def test_every_command_has_a_section_and_no_other_has() -> None:
    assert sorted(documented()) == sorted(["mammolens", *(name for name, _ in commands(get_command(app)))])


@pytest.mark.parametrize("name", ["mammolens", *(name for name, _ in commands(get_command(app)))])
def test_every_parameter_has_its_row_and_its_default(name: str) -> None:
    command = get_command(app) if name == "mammolens" else dict(commands(get_command(app)))[name]
    table = rows(documented()[name])
    found = parameters(command)
    assert list(table) == list(found)
    for parameter, cells in table.items():
        default = found[parameter].default
        if len(cells) > 1 and isinstance(default, str | int | Path) and not isinstance(default, bool):
            assert cells[0] == f"`{default}`", parameter


def test_every_option_stands_in_the_usage_line() -> None:
    for name in ("mammolens predict", "mammolens preview", "mammolens train"):
        usage = documented()[name].split("```")[1]
        for parameter in parameters(dict(commands(get_command(app)))[name]):
            assert parameter in usage, (name, parameter)


def test_every_exit_status_is_documented() -> None:
    table = dict(re.findall(r"^\| (\d+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    drawn = dict(re.findall(r"^(\d+) {2,}(\S.*)$", terminal.__doc__ or "", re.MULTILINE))
    assert set(table) == set(drawn) == {"0", "1", "2", "3", "70", "130", "141"}


def test_the_page_is_in_the_index() -> None:
    assert "(command-line.md)" in (PAGE.parent / "index.md").read_text(encoding="utf-8")
