"""Checks that `doctor` and `models verify` make, and how they are told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mammolens.errors import MammolensError

if TYPE_CHECKING:
    from mammolens.inference.engines import Engine
    from mammolens.models.bundle import ModelBundle

LOGIT_TOLERANCE = 1e-3
"""How far a golden input's logit may be from the one that the bundle records."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """Something looked at.

    Attributes
    ----------
    name : str
    ok : bool or None
        ``None`` where it is only told.
    detail : str
    """

    name: str
    ok: bool | None
    detail: str

    def line(self) -> str:
        """One line for people."""
        mark = {True: "ok", False: "FAILED", None: ""}[self.ok]
        return f"{mark:<7} {self.name:<30} {self.detail}".rstrip()


def verdict(checks: Iterable[Check]) -> bool:
    """Whether no check failed."""
    return all(check.ok is not False for check in checks)


def attempt(name: str, look: Callable[[], list[Check]]) -> list[Check]:
    """Make checks, where whatever goes wrong is a failed check.

    Parameters
    ----------
    name : str
        Of the failed check.
    look : callable
        Makes the checks.
    """
    try:
        return look()
    except MammolensError as error:
        return [Check(name, False, f"{error.message} [{error.code}]")]
    except Exception as error:
        # A check reports every failure; what it was stands in the log that --debug shows.
        _log.debug("%s failed", name, exc_info=True)
        return [Check(name, False, f"{type(error).__name__}; `mammolens --debug doctor` says more")]


def golden_checks(bundle: ModelBundle, engine: Engine) -> list[Check]:
    """Repeat the golden inputs of a bundle: preprocessing to the byte, logits to `LOGIT_TOLERANCE`."""
    from mammolens.models import golden

    manifest = bundle.manifest
    size = (manifest.preprocessing.height, manifest.preprocessing.width)
    if not manifest.golden:
        return [Check("golden inputs", False, "the manifest records none")]
    checks = []
    for recorded in manifest.golden:
        made = golden.model_input(recorded.seed, size)
        same = golden.digest(made) == recorded.input_sha256
        detail = "as recorded" if same else "preprocessing gives other bytes than recorded"
        checks.append(Check(f"golden input {recorded.seed}", same, detail))
        difference = abs(engine.run(made.image[None])[0].logit - recorded.logit)
        name = f"golden logit {recorded.seed} ({engine.name})"
        # A difference that is no number must fail.
        checks.append(Check(name, difference <= LOGIT_TOLERANCE, f"differs by {difference:.1e}"))
    return checks + _golden_checks_of_pair(bundle)


def _golden_checks_of_pair(bundle: ModelBundle) -> list[Check]:
    """Repeat the golden inputs of the network of two views: its shares as either view."""
    from mammolens.inference.pair import PairEngine
    from mammolens.models import golden

    if (section := bundle.manifest.pair) is None:
        return []
    engine, checks = PairEngine(bundle), []
    for recorded in section.golden:
        made = golden.model_input(recorded.seed, section.size)
        same = golden.digest(made) == recorded.input_sha256
        found = engine.share(made).logits
        # A difference that is no number must fail.
        differences = [abs(share - was) for share, was in zip(found, (recorded.cc, recorded.mlo), strict=True)]
        close = all(difference <= LOGIT_TOLERANCE for difference in differences)
        detail = f"differ by {max(differences):.1e}" if same else "preprocessing gives other bytes than recorded"
        checks.append(Check(f"two views, golden shares {recorded.seed}", same and close, detail))
    return checks
