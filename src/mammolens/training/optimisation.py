"""Loss, learning rate and optimiser of a fit, and the average of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mammolens.training.sections import FitConfig


def schedule(config: FitConfig, steps: int) -> Any:
    """Build the learning rate: linear warm-up, then a cosine to (nearly) nothing.

    Parameters
    ----------
    config : FitConfig
    steps : int
        Batches of the whole fit.

    Returns
    -------
    keras.optimizers.schedules.LearningRateSchedule

    References
    ----------
    I. Loshchilov and F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts",
    ICLR 2017, arXiv:1608.03983 (one cycle, without restarts).
    """
    import keras
    from keras import ops

    @keras.saving.register_keras_serializable("mammolens")
    class WarmCosine(keras.optimizers.schedules.LearningRateSchedule):
        """Linear warm-up and cosine decay."""

        def __call__(self, step: Any) -> Any:
            position = ops.cast(step, "float32") / steps
            rising = (position * steps + 1.0) / max(1.0, config.warmup * steps)
            falling = ops.clip((position - config.warmup) / (1.0 - config.warmup), 0.0, 1.0)
            decayed = 0.5 * (1.0 + ops.cos(np.pi * falling))
            return config.learning_rate * ops.minimum(rising, decayed + 1e-3)

        def get_config(self) -> dict[str, Any]:
            return {}

    return WarmCosine()


def loss_of(config: FitConfig) -> Any:
    """Loss on the logit.

    References
    ----------
    T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017,
    arXiv:1708.02002; label smoothing: C. Szegedy et al., CVPR 2016, arXiv:1512.00567.
    """
    import keras

    if config.loss == "focal":
        return keras.losses.BinaryFocalCrossentropy(
            gamma=config.focal_gamma, from_logits=True, label_smoothing=config.label_smoothing
        )
    return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)


def compile_model(model: Any, config: FitConfig, rate: Any, loss: Any = None) -> None:
    """Compile with AdamW; builds the optimiser's state.

    The accumulated gradients and the average of the weights are variables of the
    optimiser, so that a checkpoint of those holds them too.

    Parameters
    ----------
    model : keras.Model
    config : FitConfig
    rate : keras.optimizers.schedules.LearningRateSchedule
        Of batches, also where gradients are accumulated.
    loss : keras.losses.Loss, optional
        Of a stage of its own; default: `loss_of`.
    """
    import keras

    optimizer = keras.optimizers.AdamW(
        rate,
        weight_decay=config.weight_decay,
        clipnorm=1.0,
        use_ema=config.ema > 0.0,
        # Keras averages after each batch, also after those that change nothing yet.
        ema_momentum=config.ema ** (1.0 / config.accumulate),
        gradient_accumulation_steps=config.accumulate if config.accumulate > 1 else None,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    if config.precision == "mixed_float16":
        # Small gradients would become zero in 16 bits.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer=optimizer, loss=loss_of(config) if loss is None else loss)
    optimizer.build(model.trainable_variables)


@contextmanager
def averaged(model: Any) -> Iterator[Any]:
    """Give the model the average of its weights while it is looked at, where one is kept."""
    own = model.get_weights()
    if not take_average(model):
        yield model
        return
    try:
        yield model
    finally:
        model.set_weights(own)


def take_average(model: Any) -> bool:
    """Leave the model with the average of its weights; ``False`` where none is kept."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        return False
    optimizer.finalize_variable_values(model.trainable_variables)
    # On JAX weights and average are one array now, and a step or a prediction gives the arrays of the weights away.
    model.set_weights(model.get_weights())
    return True
