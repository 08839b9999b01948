"""Networks of any size without training: what a forward pass costs does not depend on the weights' values."""

from __future__ import annotations

import math

import numpy as np

from mammolens.models.efficientnet import features_of, kernels, normalisation
from mammolens.models.network import Convolution, InputContract, Network


def random_network(architecture: str, size: tuple[int, int], seed: int = 0) -> Network:
    """Network with weights by He's rule, so that activations neither vanish (denormal numbers are slow) nor explode.

    Parameters
    ----------
    architecture : str
        A key of `mammolens.models.efficientnet.VARIANTS`.
    size : tuple of int
        ``(height, width)`` of the input, one grey channel in 0..255.
    seed : int
    """
    random = np.random.default_rng(seed)
    convolutions = {}
    for name, shape in kernels(architecture).items():
        wide = shape[2] if name.endswith("dwconv") else shape[3]
        weights_in = math.prod(shape[:2] if name.endswith("dwconv") else shape[:3])
        kernel = random.normal(0.0, math.sqrt(2.0 / weights_in), shape).astype(np.float32)
        convolutions[name] = Convolution(kernel, random.normal(0.0, 0.1, wide).astype(np.float32))
    factor, offset = normalisation(1)
    features = features_of(architecture)
    return Network(
        architecture=architecture,
        contract=InputContract(height=size[0], width=size[1]),
        factor=np.array(factor, np.float32),
        offset=np.array(offset, np.float32),
        convolutions=convolutions,
        head=random.normal(0.0, 1.0 / math.sqrt(features), features).astype(np.float32),
        bias=0.0,
    )
