"""Figures of one map over many pictures, each with an interval by bootstrap over women."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.evaluation.localisation_rows import THRESHOLDS, Row
from mammolens.evaluation.metrics import Estimate, resampled

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
            name: estimate_dict(getattr(self, name))
            for name in ("inside", "near", "energy", "overlap", "overlap_at_half")
        }
        plain["threshold"], plain["silent"] = self.threshold, self.silent
        plain["froc"] = [{"false_regions_per_image": rate, **estimate_dict(each)} for rate, each in self.froc.items()]
        plain["served"] = None
        if self.served is not None:
            plain["served"] = {
                "sensitivity": estimate_dict(self.served.sensitivity),
                "false_regions_per_image": estimate_dict(self.served.false_regions),
            }
        return plain


def estimate_dict(estimate: Estimate) -> dict[str, float]:
    """Give an estimate as plain values."""
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def figures(
    rows: Sequence[Row], women: Sequence[str], served: float | None = None, draws: int = 2000, seed: int = 0
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


def mean_estimate(values: NDArray[np.float64], women: NDArray[Any], draws: int = 2000, seed: int = 0) -> Estimate:
    """Mean over pictures with a 95 % percentile interval by resampling women, each with all her pictures."""
    means = [float(values[chosen].mean()) for chosen in resampled(women, draws, seed)]
    low, high = np.percentile(means, (2.5, 97.5))
    return Estimate(float(values.mean()), float(low), float(high))


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
        self._women, self._pictures = women, len(rows)
        self._lesion_of = np.array([i for i, row in enumerate(rows) for _ in row.found], np.intp)
        self._found = np.array([score for row in rows for score in row.found])
        false_of = np.array([i for i, row in enumerate(rows) for _ in row.false], np.intp)
        scores = np.array([score for row in rows for score in row.false])
        order = np.argsort(-scores, kind="stable")
        self._false_of, self._false = false_of[order], scores[order]

    def _sensitivity(self, times: NDArray[np.intp], rate: float) -> float:
        """Sensitivity at a rate of false regions, each picture taken as often as ``times`` says."""
        so_far = times[self._false_of].cumsum() / times.sum()
        # The first false region that is one too many, and all that are no higher, are left away.
        beyond = int(np.searchsorted(so_far, rate, side="right"))
        limit = self._false[beyond] if beyond < len(self._false) else -np.inf
        return self._share(times, self._found > limit)

    def _share(self, times: NDArray[np.intp], found: NDArray[np.bool_]) -> float:
        weights = times[self._lesion_of]
        return float((weights * found).sum() / weights.sum()) if weights.sum() else float("nan")

    def _samples(self, draws: int, seed: int) -> list[NDArray[np.intp]]:
        return [np.bincount(chosen, minlength=self._pictures) for chosen in resampled(self._women, draws, seed)]

    def _whole(self) -> NDArray[np.intp]:
        return np.ones(self._pictures, np.intp)

    def sensitivities(self, draws: int, seed: int) -> dict[float, Estimate]:
        """Sensitivity at each of `RATES`."""
        samples = self._samples(draws, seed)
        return {
            rate: _interval(self._sensitivity(self._whole(), rate), [self._sensitivity(t, rate) for t in samples])
            for rate in RATES
        }

    def served(self, threshold: float, draws: int, seed: int) -> Served:
        """Sensitivity and false regions of what lies at or above a threshold."""
        found, false = self._found >= threshold, self._false_of[self._false >= threshold]
        samples = self._samples(draws, seed)

        def rate(times: NDArray[np.intp]) -> float:
            return float(times[false].sum() / times.sum())

        whole = self._whole()
        return Served(
            _interval(self._share(whole, found), [self._share(times, found) for times in samples]),
            _interval(rate(whole), [rate(times) for times in samples]),
        )


def _interval(value: float, sampled: Sequence[float]) -> Estimate:
    low, high = np.nanpercentile(sampled, (2.5, 97.5))
    return Estimate(value, float(low), float(high))
