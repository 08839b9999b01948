"""What somebody has chosen for their own screen: a table of names and what each may hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mammolens.errors import RequestInvalid
from mammolens.web.database.tables import User

CHOICES: dict[str, tuple[str, ...]] = {
    "theme": ("dark", "light"),
    "language": ("en", "de"),
    "colour_map": ("inferno", "cividis"),
}


def _one_of(choices: tuple[str, ...]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in choices


def _fraction(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


RULES: dict[str, Callable[[Any], bool]] = {
    **{name: _one_of(choices) for name, choices in CHOICES.items()},
    "heat_map": _truth,
    "contour": _truth,
    "opacity": _fraction,
}
DEFAULTS: dict[str, Any] = {"theme": "dark", "colour_map": "inferno", "heat_map": True, "contour": True, "opacity": 0.5}


def of(user: User) -> dict[str, Any]:
    """Give what somebody has chosen, and the defaults of the rest."""
    return DEFAULTS | user.preferences


def keep(user: User, given: Any) -> None:
    """Keep what somebody has chosen.

    Raises
    ------
    RequestInvalid
        If a name or a value is not of the table; nothing is kept then.
    """
    if not isinstance(given, Mapping):
        raise RequestInvalid("Preferences are names with values.")
    wrong = [name for name, value in given.items() if name not in RULES or not RULES[name](value)]
    if wrong:
        raise RequestInvalid("There is no such preference, or it can't have this value.")
    user.preferences = user.preferences | dict(given)


def from_form(fields: Mapping[str, str]) -> dict[str, str]:
    """Take the preferences out of a form's fields."""
    return {name: value for name, value in fields.items() if name in CHOICES}
