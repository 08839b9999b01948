"""A model without what it learned: the weights of some or all layers in random order.

What explains a model must change when the model does. Each tensor's values are
shuffled within the tensor, so that their distribution stays.

References
----------
J. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018,
arXiv:1810.03292 (cascading randomisation, from the head downwards).
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from mammolens.errors import BundleInvalid
from mammolens.models.bundle import ModelBundle
from mammolens.models.head import onnx_library

STAGES: dict[str, str] = {
    "head": r"logit/",
    "head and last convolution": r"logit/|top_conv/",
    "head to block 5": r"logit/|top_conv/|block[567]",
    "everything": r"logit/|top_conv/|block|stem_conv/",
}
"""How far down from the head layers are shuffled, and the pattern of their tensors' names."""


def randomised(bundle: ModelBundle, stage: str = "everything", seed: int = 0) -> ModelBundle:
    """Shuffle the weights of a bundle's upper layers.

    Parameters
    ----------
    bundle : ModelBundle
    stage : str
        A key of `STAGES`.
    seed : int

    Returns
    -------
    ModelBundle
        The same but for the graph's weights; the numbers of its manifest don't
        hold for it, so it is for measurements only.

    Raises
    ------
    BundleInvalid
        If the graph is not one of Mammolens' own, so that its layers aren't known.
    ConfigurationError
        If onnx is not installed.
    """
    onnx = onnx_library()
    random = np.random.default_rng(seed)
    model = onnx.load_from_string(bundle.graph)
    # The networks of an ensemble have a name of their own before those of their layers.
    pattern, shuffled = re.compile(rf"(?:member\d+/)?(?:{STAGES[stage]})"), 0
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if pattern.match(tensor.name) and values.dtype.kind == "f" and values.size > 1:
            mixed = random.permutation(values.ravel()).reshape(values.shape)
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(mixed), tensor.name))
            shuffled += 1
    if not shuffled:
        raise BundleInvalid("The model's layers aren't known by their names, so they can't be shuffled one by one.")
    return replace(bundle, graph=model.SerializeToString(deterministic=True))
