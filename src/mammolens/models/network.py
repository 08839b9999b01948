"""A trained EfficientNet as plain arrays: what every importer makes and every export takes.

Keras, a checkpoint and a stranger's HDF5 file all end here, so there is one graph
writer, one weights file and one parity proof, whatever the weights came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mammolens.errors import BundleInvalid

_LARGEST_HALF = 65504.0

InputScale = Literal["255", "1", "-1..1", "imagenet", "imagenet-bgr"]
"""Scale of a model's input.

``255``: grey values 0..255 as they are; ``1``: divided by 255; ``-1..1``: divided by
127.5, less 1; ``imagenet``: divided by 255, less ImageNet's mean, divided by its
deviation, per channel ("torch" in Keras); ``imagenet-bgr``: channels reversed, less
ImageNet's mean in 0..255 ("caffe" in Keras).
"""


@dataclass(frozen=True, slots=True)
class InputContract:
    """What a model expects of its input.

    Attributes
    ----------
    height, width : int
        Pixels.
    channels : {1, 3}
        3: the grey picture three times.
    scale : InputScale
    """

    height: int
    width: int
    channels: Literal[1, 3] = 1
    scale: InputScale = "255"


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution with its batch normalisation folded in.

    Attributes
    ----------
    kernel : ndarray of float32
        ``(kh, kw, in, out)``, or ``(kh, kw, C, 1)`` if depthwise.
    bias : ndarray of float32, shape (out,) or (C,)
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Network:
    """EfficientNet with global average pooling and a linear head of one logit.

    Attributes
    ----------
    architecture : str
        A key of `mammolens.models.efficientnet.VARIANTS`.
    contract : InputContract
    factor, offset : ndarray of float32, shape (channels,), or (3,) for one channel
        The network's own first step, ``x * factor + offset`` on an input in the
        contract's scale (its rescaling and normalisation layers in one). Three elements
        for one channel: the network repeats it three times, and its first convolution
        takes three.
    convolutions : mapping of str to Convolution
        By the layer names of ``keras.applications``: ``stem_conv``,
        ``block1a_dwconv``, ``block1a_se_reduce``, …, ``top_conv``.
    head : ndarray of float32, shape (C,)
        The logit's weight of each pooled feature; for a softmax of two, the
        malignant column less the benign one.
    bias : float
    """

    architecture: str
    contract: InputContract
    factor: NDArray[np.float32]
    offset: NDArray[np.float32]
    convolutions: Mapping[str, Convolution]
    head: NDArray[np.float32]
    bias: float

    def at(self, size: tuple[int, int]) -> Network:
        """Give the same network for inputs of ``size`` (height, width)."""
        return replace(self, contract=replace(self.contract, height=size[0], width=size[1]))

    def rounded(self) -> Network:
        """Give the network with kernels that 16 bits hold exactly: 11 significant bits each.

        Biases and head stay as they are: they are few, and small values of a head would
        lose more than that.

        Raises
        ------
        BundleInvalid
            If a kernel's value is too large for 16 bits.
        """
        rounded = {}
        for layer, convolution in self.convolutions.items():
            if not np.abs(convolution.kernel).max() <= _LARGEST_HALF:
                raise BundleInvalid("A weight of the model is too large for 16 bits.")
            kernel = convolution.kernel.astype(np.float16).astype(np.float32)
            rounded[layer] = replace(convolution, kernel=kernel)
        return replace(self, convolutions=rounded)


@dataclass(frozen=True, slots=True)
class PairNetwork:
    """Network of two views of a breast with a linear head: each view's own network, whose logits and a bias add up.

    Attributes
    ----------
    cc, mlo : Network
        Of the craniocaudal and of the oblique view, of one architecture, contract and first step; their own bias is
        0. With one backbone for both, their convolutions are the same mapping.
    bias : float
    """

    cc: Network
    mlo: Network
    bias: float

    @property
    def shared(self) -> bool:
        """Whether one backbone sees both views."""
        return self.cc.convolutions is self.mlo.convolutions

    def rounded(self) -> PairNetwork:
        """Give the network with kernels that 16 bits hold exactly; see `Network.rounded`."""
        cc = self.cc.rounded()
        mlo = replace(self.mlo, convolutions=cc.convolutions) if self.shared else self.mlo.rounded()
        return PairNetwork(cc, mlo, self.bias)
