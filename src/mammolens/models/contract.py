"""From preprocessed pictures to a model's own input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mammolens.models.efficientnet import normalisation
from mammolens.models.network import InputContract

CAFFE_MEAN = (103.939, 116.779, 123.68)
"""Mean of ImageNet's blue, green and red in 0..255, as ``imagenet-bgr`` takes it off."""


def to_input(images: NDArray[np.uint8], contract: InputContract) -> NDArray[np.float32]:
    """Put preprocessed pictures into a model's scale and number of channels.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W)
        As `mammolens.imaging.preprocess` makes them.
    contract : InputContract
        A model of one channel that wants ``imagenet`` or ``imagenet-bgr`` gets the
        mean over the channels of what a model of three would be given.

    Returns
    -------
    ndarray of float32, shape (N, H, W, C)

    Notes
    -----
    The scales are those of ``keras.applications.imagenet_utils.preprocess_input``:
    ``-1..1`` is its mode ``tf``, ``imagenet`` its ``torch``, ``imagenet-bgr`` its
    ``caffe``.
    """
    grey = images.astype(np.float32)[..., None]
    factor, offset = _line(contract)
    if factor.size == 1 and offset.size == 1:
        # One sum for all channels; 0..255 stays as it is.
        scaled = grey if contract.scale == "255" else grey * factor + offset
        return np.repeat(scaled, contract.channels, axis=-1) if contract.channels > 1 else scaled
    return grey * factor + offset


def _line(contract: InputContract) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factor and offset from 0..255 to the contract's scale; of one channel or of all."""
    factor, offset = {
        "255": ((1.0,), (0.0,)),
        "1": ((1.0 / 255.0,), (0.0,)),
        "-1..1": ((1.0 / 127.5,), (-1.0,)),
        "imagenet": normalisation(3),
        "imagenet-bgr": ((1.0,), tuple(-mean for mean in CAFFE_MEAN)),
    }[contract.scale]
    if contract.channels == 1:
        factor, offset = (float(np.mean(factor)),), (float(np.mean(offset)),)
    return np.array(factor, np.float32), np.array(offset, np.float32)
