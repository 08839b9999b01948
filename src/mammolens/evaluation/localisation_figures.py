"""Figures of one map over many pictures, each with an interval by bootstrap over women."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.evaluation.localisation_rows import THRESHOLDS, Row
from mammolens.evaluation.resampling import DRAWS, Estimate, estimates

RATES = (0.25, 0.5, 1.0, 2.0)
"""False regions per image at which the sensitivity is given."""

_HALF = int(np.flatnonzero(THRESHOLDS == 0.5)[0])


@dataclass(frozen=True, slots=True)
class Served:
    """What the regions give that predictions are shown with.

    Attributes
    ----------
    sensitivity : Estimate
        Share of lesions with a region near them.
    false_regions : Estimate
        Per image.
    """

    sensitivity: Estimate
    false_regions: Estimate


@dataclass(frozen=True, slots=True)
class Figures:
    """How well a map shows where the lesions are.

    Attributes
    ----------
    inside, near : Estimate
        Pointing game: share of pictures with a lesion whose map's peak lies within
        an outline, and near one (within 1.25 radii).
    energy : Estimate
        Mean share of the map's sum within the outlines.
    overlap : Estimate
        Mean intersection over union at a threshold that is a share of the picture's
        own peak and was chosen, for each woman, on all the others.
    overlap_at_half : Estimate
        The same at half the peak, fixed beforehand.
    threshold : float
        The share of the peak that is best over all women.
    froc : dict of float to Estimate
        Sensitivity (share of lesions with a region near them) at `RATES`.
    served : Served or None
        At the threshold of predictions, for the map that they are shown with.
    silent : int
        Pictures with a lesion whose map is 0 throughout; they count as misses.
    """

    inside: Estimate
    near: Estimate
    energy: Estimate
    overlap: Estimate
    overlap_at_half: Estimate
    threshold: float
    froc: dict[float, Estimate]
    served: Served | None
    silent: int

    def as_dict(self) -> dict[str, Any]:
        """Give plain values, ready for JSON."""
        plain: dict[str, Any] = {
            name: getattr(self, name).as_dict() for name in ("inside", "near", "energy", "overlap", "overlap_at_half")
        }
        plain["threshold"], plain["silent"] = self.threshold, self.silent
        plain["froc"] = [{"false_regions_per_image": rate, **each.as_dict()} for rate, each in self.froc.items()]
        plain["served"] = None
        if self.served is not None:
            plain["served"] = {
                "sensitivity": self.served.sensitivity.as_dict(),
                "false_regions_per_image": self.served.false_regions.as_dict(),
            }
        return plain


def figures(
    rows: Sequence[Row], women: Sequence[str], served: float | None = None, draws: int = DRAWS, seed: int = 0
) -> Figures:
    """Sum up a map's rows.

    Parameters
    ----------
    rows : sequence of Row
        One for each picture, at least one of them with a lesion.
    women : sequence of str
        Of the same pictures.
    served : float, optional
        Score from which a region is shown, in the map's unit.
    draws, seed : int
        Of the bootstrap.

    Returns
    -------
    Figures
    """
    lesions = [i for i, each in enumerate(rows) if each.inside is not None]
    of_lesions = np.asarray(women)[lesions]
    overlaps = np.array([rows[i].overlaps for i in lesions])

    def mean(values: Sequence[float] | NDArray[np.float64]) -> Estimate:
        return mean_estimate(np.asarray(values, np.float64), of_lesions, draws, seed)

    rates = _Froc(rows, np.asarray(women))
    return Figures(
        inside=mean([float(bool(rows[i].inside)) for i in lesions]),
        near=mean([float(bool(rows[i].near)) for i in lesions]),
        energy=mean([rows[i].energy for i in lesions]),
        overlap=mean(_left_out(overlaps, of_lesions)),
        overlap_at_half=mean(overlaps[:, _HALF]),
        threshold=float(THRESHOLDS[overlaps.mean(axis=0).argmax()]),
        froc=rates.sensitivities(draws, seed),
        served=None if served is None else rates.served(served, draws, seed),
        silent=sum(rows[i].silent for i in lesions),
    )


def mean_estimate(values: NDArray[np.float64], women: NDArray[Any], draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Mean over pictures, values of shape (N,), with a 95 % percentile interval by resampling women."""
    (found,) = estimates(lambda w: {"mean": w @ values / w.sum(axis=1)}, women, draws=draws, seed=seed).values()
    return found


def _left_out(overlaps: NDArray[np.float64], women: NDArray[Any]) -> NDArray[np.float64]:
    """Overlap of each picture at the threshold that is best for all other women; at half the peak if there are none."""
    chosen = np.empty(len(overlaps))
    for woman in np.unique(women):
        hers = women == woman
        best = int(overlaps[~hers].mean(axis=0).argmax()) if not hers.all() else _HALF
        chosen[hers] = overlaps[hers, best]
    return chosen


class _Froc:
    """Regions of a map over all pictures, and what any choice of pictures makes of them."""

    def __init__(self, rows: Sequence[Row], women: NDArray[Any]) -> None:
        self._women = women
        self._lesion_of = np.array([i for i, row in enumerate(rows) for _ in row.found], np.intp)
        self._found = np.array([score for row in rows for score in row.found])
        false_of = np.array([i for i, row in enumerate(rows) for _ in row.false], np.intp)
        scores = np.array([score for row in rows for score in row.false])
        order = np.argsort(-scores, kind="stable")
        self._false_of, self._false = false_of[order], scores[order]

    def _share(self, weights: NDArray[np.float64], found: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Share of lesions that are found, shape (B,); NaN for samples without a lesion."""
        of_lesions = weights[:, self._lesion_of]
        total = of_lesions.sum(axis=1)
        return np.asarray(np.where(total > 0, (of_lesions * found).sum(axis=1) / np.maximum(total, 1e-12), np.nan))

    def _sensitivity(self, weights: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
        """Sensitivity at a rate of false regions, each picture taken as often as ``weights`` (B, N) says."""
        so_far = weights[:, self._false_of].cumsum(axis=1) / weights.sum(axis=1, keepdims=True)
        # The first false region that is one too many, and all that are no higher, are left away.
        limits = np.append(self._false, -np.inf)[(so_far <= rate).sum(axis=1)]
        return self._share(weights, self._found > limits[:, None])

    def sensitivities(self, draws: int, seed: int) -> dict[float, Estimate]:
        """Sensitivity at each of `RATES`."""

        def at_rates(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
            return {str(rate): self._sensitivity(weights, rate) for rate in RATES}

        found = estimates(at_rates, self._women, draws=draws, seed=seed)
        return {rate: found[str(rate)] for rate in RATES}

    def served(self, threshold: float, draws: int, seed: int) -> Served:
        """Sensitivity and false regions of what lies at or above a threshold."""
        found, false = self._found >= threshold, self._false_of[self._false >= threshold]

        def at_threshold(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
            rate = weights[:, false].sum(axis=1) / weights.sum(axis=1)
            return {"sensitivity": self._share(weights, found), "false": rate}

        both = estimates(at_threshold, self._women, draws=draws, seed=seed)
        return Served(both["sensitivity"], both["false"])
