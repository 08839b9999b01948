"""Networks as a configuration asks for them: of one view or two, with ImageNet's weights or random ones."""

from __future__ import annotations

from typing import Any

from mammolens.models import growth, two_view
from mammolens.models.efficientnet import FULL, Economy, build
from mammolens.models.transfer import load_imagenet, randomise
from mammolens.training.config import ModelConfig, TrainingConfig
from mammolens.training.optimisation import compile_model, schedule
from mammolens.training.side_tasks import SideTasks, loss, with_side_head


def network(config: TrainingConfig, size: tuple[int, int], dropout: float = 0.0, economy: Economy = FULL) -> Any:
    """Build the folded network of a configuration, without weights.

    Parameters
    ----------
    config : TrainingConfig
    size : tuple of int
        ``(height, width)`` of the input.
    dropout : float
    economy : Economy

    Returns
    -------
    keras.Model
        Of one picture, or of the two views of a breast.
    """
    name = config.model.architecture
    if config.model.views == 2:
        return two_view.build(name, size, folded=True, dropout=dropout, economy=economy)
    return build(name, size, folded=True, dropout=dropout, economy=economy)


def make_model(config: TrainingConfig, size: tuple[int, int], steps: int, tasks: SideTasks | None = None) -> Any:
    """Build the network for inputs of ``size``, frozen and compiled as configured, without weights.

    Parameters
    ----------
    config : TrainingConfig
    size : tuple of int
        ``(height, width)``.
    steps : int
        Batches of the whole fit, which the learning rate goes by.
    tasks : SideTasks, optional
        What it is to answer beside the logit.

    Returns
    -------
    keras.Model
        To ``(N, 1)`` logits, or ``(N, 1 + K)`` with the answers to the side tasks.
    """
    model = network(config, size, config.fit.dropout, economy_of(config))
    for trunk in trunks(model):
        freeze(trunk, config.model.frozen)
    if tasks is None:
        compile_model(model, config.fit, schedule(config.fit, steps))
        return model
    model = with_side_head(model, tasks)
    compile_model(model, config.fit, schedule(config.fit, steps), loss(config.fit, tasks))
    return model


def without_side_head(model: Any, config: TrainingConfig) -> Any:
    """Build the network of a configuration with the weights of one that answers side tasks as well."""
    plain = network(config, config.model.size)
    for layer in plain.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return plain


def economy_of(config: TrainingConfig) -> Economy:
    """How the training of a configuration saves memory."""
    return Economy(config.fit.precision, config.fit.checkpointing)


def trunks(model: Any) -> tuple[Any, ...]:
    """Networks that hold the convolutions: the model itself, or what its views go through."""
    if len(model.inputs) == 2:
        return tuple(dict.fromkeys(two_view.trunks(model)))
    if model.output_shape[-1] == 1:
        return (model,)
    import keras

    # Without what answers the side tasks.
    return (keras.Model(model.inputs, model.get_layer("logit").output),)


def freeze(trunk: Any, prefixes: tuple[str, ...]) -> None:
    """Keep the layers whose names begin so as they are."""
    for layer in trunk.layers:
        if layer.name.startswith(prefixes):
            layer.trainable = False


def copy_convolutions(source: Any, target: Any) -> None:
    """Give a network the weights of another's layers of the same names, all but the head's."""
    names = {layer.name for layer in source.layers}
    for layer in target.layers:
        if layer.weights and layer.name in names and layer.name != "logit":
            layer.set_weights(source.get_layer(layer.name).get_weights())


def load_start(model: Any, config: TrainingConfig) -> None:
    """Give a network the weights that its configuration starts from."""
    for trunk in trunks(model):
        _load_pretrained(trunk, config.model)


def _load_pretrained(trunk: Any, model: ModelConfig) -> None:
    """Give a trunk ImageNet's weights of its own architecture, what a smaller one's grow to, or random ones."""
    if model.imagenet == "none":
        randomise(trunk, model.architecture)
    elif model.grown_from is None:
        load_imagenet(trunk, model.architecture, model.imagenet)
    else:
        small = build(model.grown_from, model.size, folded=True)
        load_imagenet(small, model.grown_from, model.imagenet)
        growth.grow(small, model.grown_from, trunk, model.architecture)
