"""Stages in front of the fine-tune, in their order; a new one is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mammolens.training import lesion_search, patches

if TYPE_CHECKING:
    from mammolens.training.fit import Fit

WARM_UPS: tuple[Callable[[Fit, Any], None], ...] = (lesion_search.warm_up, patches.warm_up)
"""Each gets the fit and the network with ImageNet's weights, and changes those of its convolutions.

It leaves the network alone where the configuration does not ask for it. It fits
``split.fit`` and no other image, and keeps what it has done below ``folder``, so that
it is not done again after an interruption. The head is probed afterwards.
"""
