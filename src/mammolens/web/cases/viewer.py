"""How somebody wants the viewer to be, kept with the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from mammolens.errors import RequestInvalid
from mammolens.explain.colours import COLOUR_MAPS
from mammolens.web.access import Actor
from mammolens.web.database.tables import User

FAINTEST, STRONGEST = 0.1, 0.8
"""Most that the map may cover of a pixel: never so much that the breast is hidden."""


@dataclass(frozen=True, slots=True)
class Look:
    """The viewer's look.

    Attributes
    ----------
    map : bool
        Whether map and marks are shown.
    opacity : float
        Share of the colour where the evidence is strongest, `FAINTEST` to `STRONGEST`.
    colours : {"inferno", "cividis"}
    contour, boxes : bool
        Whether the line at the region threshold and the boxes are drawn with the map.
    """

    map: bool = True
    opacity: float = 0.6
    colours: str = COLOUR_MAPS[0]
    contour: bool = True
    boxes: bool = True

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Look:
        """Read a look; what is missing is as usual.

        Raises
        ------
        RequestInvalid
            If a value does not fit.
        """
        usual = asdict(cls())
        if unknown := set(values) - set(usual):
            raise RequestInvalid(f"The viewer has {len(unknown)} settings fewer than were sent. Reload the page.")
        merged = usual | dict(values)
        switches = (merged["map"], merged["contour"], merged["boxes"])
        opacity, colours = merged["opacity"], merged["colours"]
        if not all(isinstance(switch, bool) for switch in switches) or colours not in COLOUR_MAPS:
            raise RequestInvalid("A setting of the viewer does not fit. Reload the page.")
        if isinstance(opacity, bool) or not isinstance(opacity, int | float) or not FAINTEST <= opacity <= STRONGEST:
            raise RequestInvalid(f"The map's opacity lies between {FAINTEST} and {STRONGEST}.")
        return cls(**merged)


def look_of(session: Session, asking: Actor) -> Look:
    """Look that somebody has chosen, else the usual one."""
    user = session.get_one(User, asking.user_id)
    return Look.of(user.preferences.get("viewer", {}))


def remember(session: Session, asking: Actor, look: Look) -> None:
    """Keep a look with the user.

    Parameters
    ----------
    session : Session
        A transaction.
    asking : Actor
    look : Look
    """
    user = session.get_one(User, asking.user_id)
    user.preferences = user.preferences | {"viewer": asdict(look)}
