"""Side tasks: what else a table knows of its pictures, asked of the network while it learns.

Whether a tumour was invasive, a benign breast hard to tell, a woman recalled, how old
she is and how dense her breast: a network that must say these as well has less room to
learn the pictures by heart. The heads of the side tasks are thrown away with the fit.

References
----------
R. Caruana, "Multitask Learning", Machine Learning 28, 1997, 41-75.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mammolens.datasets import Case
from mammolens.errors import ConfigurationError
from mammolens.evaluation.logistic import logistic_regression
from mammolens.evaluation.ridge import ridge_regression
from mammolens.training.optimisation import loss_of
from mammolens.training.sections import FitConfig

LAYER = "side"
"""Name of the layer that answers the side tasks."""


@dataclass(frozen=True, slots=True)
class SideTasks:
    """Side tasks of a run.

    Attributes
    ----------
    targets : ndarray of float32, shape (N, K)
        Of each image: 0 or 1 for a yes-or-no question, else standardised; NaN where not known.
    questions : tuple of bool, length K
        Whether a task is a yes-or-no question.
    """

    targets: NDArray[np.float32]
    questions: tuple[bool, ...]

    @classmethod
    def of(cls, names: Sequence[str], cases: Sequence[Case], fitted: NDArray[np.int64]) -> SideTasks:
        """Take them from a case table.

        Parameters
        ----------
        names : sequence of str, length K
        cases : sequence of Case, length N
        fitted : ndarray of int64
            Images whose mean and spread a number is standardised by.

        Returns
        -------
        SideTasks

        Raises
        ------
        ConfigurationError
            If too little is known of one to learn it: it is not known of any image to
            fit, or the same of all.
        """
        values = np.array([[case.side_labels.get(name, np.nan) for name in names] for case in cases], np.float64)
        questions = []
        for column, name in enumerate(names):
            known = values[fitted, column][np.isfinite(values[fitted, column])]
            if not known.size or known.min() == known.max():
                there = sorted({label for case in cases for label in case.side_labels})
                raise ConfigurationError(
                    f"[fit] side_tasks: nothing can be learned of {name!r} from this data set's pictures. "
                    f"It knows: {', '.join(there) or 'nothing of the kind'}."
                )
            questions.append(bool(np.isin(known, (0.0, 1.0)).all()))
            if not questions[-1]:
                values[:, column] = (values[:, column] - known.mean()) / known.std()
        return cls(values.astype(np.float32), tuple(questions))


def with_side_head(model: Any, tasks: SideTasks) -> Any:
    """Build a network that answers the side tasks beside its logit.

    Parameters
    ----------
    model : keras.Model
        Of one view or two; its layers are shared.
    tasks : SideTasks

    Returns
    -------
    keras.Model
        To ``(N, 1 + K)``: the logit, then one answer for each task.
    """
    import keras

    answers = keras.layers.Dense(len(tasks.questions), name=LAYER, dtype="float32")(
        model.get_layer("top_dropout").output
    )
    both = keras.layers.Concatenate(name="answers", dtype="float32")([model.output, answers])
    return keras.Model(model.inputs, both, name=f"{model.name}-side")


def loss(config: FitConfig, tasks: SideTasks) -> Any:
    """Loss of the logit, and of each side task where it is known: cross-entropy, or half the squared error.

    Parameters
    ----------
    config : FitConfig
    tasks : SideTasks

    Returns
    -------
    callable
        Of targets and answers, both (N, 1 + K), to one loss for each image.
    """
    from keras import ops

    of_label = loss_of(config)
    questions = np.array(tasks.questions, np.float32)

    def each(targets: Any, answers: Any) -> Any:
        asked, said = targets[:, 1:], answers[:, 1:]
        known = ops.cast(ops.isfinite(asked), "float32")
        asked = ops.where(known > 0.0, asked, 0.0)
        told = ops.binary_crossentropy(ops.clip(asked, 0.0, 1.0), said, from_logits=True)
        missed = 0.5 * ops.square(asked - said)
        beside = known * (questions * told + (1.0 - questions) * missed)
        return of_label.call(targets[:, :1], answers[:, :1]) + config.side_weight * ops.sum(beside, axis=-1)

    return each


def start_side_head(
    model: Any, features: NDArray[np.float32], tasks: SideTasks, rows: NDArray[np.int64], penalty: float
) -> None:
    """Set the head of the side tasks to linear probes of the features, as the head of the label is set.

    Parameters
    ----------
    model : keras.Model
        As `with_side_head` made it.
    features : ndarray of float32, shape (n, C)
        Of the images at ``rows``.
    tasks : SideTasks
    rows : ndarray of int64, shape (n,)
    penalty : float
        Ridge penalty for each image.
    """
    kernels, biases = [], []
    for column, question in enumerate(tasks.questions):
        targets = tasks.targets[rows, column].astype(np.float64)
        known = np.isfinite(targets)
        probe = logistic_regression if question else ridge_regression
        kernel, bias = probe(features[known], targets[known], penalty)
        kernels.append(kernel)
        biases.append(bias)
    model.get_layer(LAYER).set_weights([np.stack(kernels, axis=1).astype(np.float32), np.array(biases, np.float32)])
