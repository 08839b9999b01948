"""The ROC curve and what is read from it, for many weightings of the pictures at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_EDGE = 1e-9
"""Rounding that a share may be off by and still reach a limit."""


class Curve:
    """Corners of the ROC curve, from the strictest threshold to the loosest.

    Parameters
    ----------
    labels, scores : ndarray, shape (N,)
        Label 1 is malignant; pictures of equal score make one piece of the curve.
    weights : ndarray of float64, shape (B, N)
        How often each picture counts, in B samples.

    Attributes
    ----------
    positive, negative : ndarray of float64, shape (B,)
        Malignant and benign pictures.
    true, false : ndarray of float64, shape (B, K)
        Sensitivity, and 1 − specificity, at each corner from (0, 0) to (1, 1); NaN in samples of one class.
    thresholds : ndarray of float64, shape (K,)
        Score from which a picture is called at each corner; infinite at the first.
    """

    def __init__(
        self, labels: NDArray[np.generic], scores: NDArray[np.generic], weights: NDArray[np.float64] | None = None
    ) -> None:
        y, s = np.asarray(labels) > 0.5, np.asarray(scores, np.float64)
        order = np.argsort(-s, kind="stable")
        ends = np.flatnonzero(np.append(np.diff(s[order]) != 0.0, True))
        self.thresholds = np.append(np.inf, s[order][ends])
        sorted_ = (np.ones((1, len(y))) if weights is None else weights)[:, order]
        true = np.cumsum(sorted_ * y[order], axis=1)[:, ends]
        false = np.cumsum(sorted_ * ~y[order], axis=1)[:, ends]
        self.positive, self.negative = true[:, -1], false[:, -1]
        start = np.zeros((len(true), 1))
        with np.errstate(invalid="ignore", divide="ignore"):
            self.true = np.hstack([start, true / self.positive[:, None]])
            self.false = np.hstack([start, false / self.negative[:, None]])
        lacking = (self.positive == 0) | (self.negative == 0)
        self.true[lacking] = self.false[lacking] = np.nan

    def area(self) -> NDArray[np.float64]:
        """Area under the curve, ties counted half, shape (B,).

        References
        ----------
        J. A. Hanley and B. J. McNeil, Radiology 143:29–36, 1982.
        """
        found = np.sum(np.diff(self.false) * (self.true[:, 1:] + self.true[:, :-1]), axis=1) / 2.0
        return np.asarray(found, np.float64)

    def partial_area(self, specificity: float = 0.9) -> NDArray[np.float64]:
        """Area where the specificity is at least so high, standardised: 0.5 is chance, 1 perfect; shape (B,).

        References
        ----------
        D. K. McClish, "Analyzing a portion of the ROC curve", Medical Decision Making 9:190–195, 1989.
        """
        most = 1.0 - specificity
        x0, x1 = self.false[:, :-1], self.false[:, 1:]
        y0, y1 = self.true[:, :-1], self.true[:, 1:]
        end = np.clip(x1, x0, np.maximum(x0, most))
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(x1 > x0, (end - x0) / (x1 - x0), 0.0)
        inside = np.where(x0 < most, end - x0, 0.0)
        area = np.sum(inside * (2.0 * y0 + share * (y1 - y0)), axis=1) / 2.0
        least = most * most / 2.0
        found = 0.5 * (1.0 + (area - least) / (most - least))
        return np.where(np.isnan(self.true[:, 0]), np.nan, found)

    def average_precision(self) -> NDArray[np.float64]:
        """Area under the precision–recall curve as the mean of the precisions at each step of recall, shape (B,).

        References
        ----------
        J. Davis and M. Goadrich, ICML 2006, on why it is not to be had by joining the points with straight lines.
        """
        true, false = self.true * self.positive[:, None], self.false * self.negative[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(true + false > 0, true / (true + false), 0.0)
        found = np.sum(np.diff(self.true) * precision[:, 1:], axis=1)
        return np.where(np.isnan(self.true[:, 0]), np.nan, found)

    def sensitivity_at(self, specificity: float) -> NDArray[np.float64]:
        """Highest sensitivity of a threshold whose specificity is at least so high, shape (B,)."""
        reached = np.count_nonzero(self.false <= 1.0 - specificity + _EDGE, axis=1) - 1
        return np.take_along_axis(self.true, np.maximum(reached, 0)[:, None], axis=1)[:, 0]

    def specificity_at(self, sensitivity: float) -> NDArray[np.float64]:
        """Highest specificity of a threshold whose sensitivity is at least so high, shape (B,)."""
        first = np.argmax(self.true >= sensitivity - _EDGE, axis=1)
        return np.asarray(1.0 - np.take_along_axis(self.false, first[:, None], axis=1)[:, 0])

    def sensitivities(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Read the curve at given false positive rates, linear between its corners.

        Parameters
        ----------
        rates : ndarray of float64, shape (R,)
            0 to 1.

        Returns
        -------
        ndarray of float64, shape (B, R)
            Where the curve rises upright, its upper end; ties are one slanted piece (Fawcett, "An introduction to ROC
            analysis", Pattern Recognition Letters 27, 2006).
        """
        found = np.full((len(self.true), len(rates)), np.nan)
        for row in np.flatnonzero(~np.isnan(self.true[:, 0])):
            false, true = self.false[row], self.true[row]
            # The corner at or before each rate (of corners above each other the highest), and the one after it.
            before = np.searchsorted(false, rates, side="right") - 1
            after = np.minimum(before + 1, len(false) - 1)
            across = false[after] - false[before]
            share = np.divide(rates - false[before], across, out=np.zeros(len(rates)), where=across > 0.0)
            found[row] = true[before] + share * (true[after] - true[before])
        return found
