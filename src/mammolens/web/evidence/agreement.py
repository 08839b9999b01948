"""How model and readers agree: the assessment in force of each breast, and the answer that it was written beside."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from mammolens.web.access import Actor
from mammolens.web.cases.assessments import positive
from mammolens.web.cases.disagreements import counted


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts of breasts.

    Attributes
    ----------
    both, model_only, reader_only, neither : int
        Who finds the breast suspicious: the model at its threshold, the reader by BI-RADS 0, 4, 5 or 6.
    without_answer : int
        Assessed, but the model said nothing of the breast.
    marks_right, marks_wrong : int
        How often readers said that they agree with the marks, or not.
    by_category : tuple of (int, int, int)
        BI-RADS category, breasts below the threshold, breasts at or above it.
    """

    both: int
    model_only: int
    reader_only: int
    neither: int
    without_answer: int
    marks_right: int
    marks_wrong: int
    by_category: tuple[tuple[int, int, int], ...]

    @property
    def breasts(self) -> int:
        """Breasts that both have judged."""
        return self.both + self.model_only + self.reader_only + self.neither

    @property
    def share(self) -> float | None:
        """Share of breasts judged alike, 0 to 1; None where there are none."""
        return (self.both + self.neither) / self.breasts if self.breasts else None

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa; None where it is not defined: no breasts, or one verdict alone.

        J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20, 1960.
        """
        if self.share is None:
            return None
        model = (self.both + self.model_only) / self.breasts
        reader = (self.both + self.reader_only) / self.breasts
        chance = model * reader + (1 - model) * (1 - reader)
        return None if chance == 1 else (self.share - chance) / (1 - chance)


def agreement(session: Session, asking: Actor) -> Agreement:
    """Count how readers and model agree in the cases that somebody sees."""
    cells = {(model, reader): 0 for model in (False, True) for reader in (False, True)}
    without, marks = 0, {True: 0, False: 0}
    categories = {category: [0, 0] for category in range(7)}
    for birads, suspicious, agrees, count in counted(session, asking):
        if agrees is not None:
            marks[agrees] += count
        if suspicious is None:
            without += count
            continue
        cells[suspicious, positive(birads)] += count
        categories[birads][suspicious] += count
    return Agreement(
        both=cells[True, True],
        model_only=cells[True, False],
        reader_only=cells[False, True],
        neither=cells[False, False],
        without_answer=without,
        marks_right=marks[True],
        marks_wrong=marks[False],
        by_category=tuple((category, below, above) for category, (below, above) in categories.items()),
    )
