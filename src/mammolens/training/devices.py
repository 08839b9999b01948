"""Several accelerators at once: each takes its share of every batch."""

from __future__ import annotations

import logging

from mammolens.errors import ConfigurationError

_log = logging.getLogger(__name__)


def spread(batch_size: int) -> int:
    """Have Keras spread batches over all accelerators, where there are several and it can.

    It can on JAX alone; on another backend one accelerator is used. Call it before the
    first network is built.

    Parameters
    ----------
    batch_size : int
        Images of a batch, all accelerators together.

    Returns
    -------
    int
        How many accelerators (or processors, where there are none) take part.

    Raises
    ------
    ConfigurationError
        If the batch can't be shared out evenly.
    """
    import keras

    if keras.backend.backend() != "jax":
        return 1
    devices = keras.distribution.list_devices()
    if len(devices) < 2:
        return 1
    if batch_size % len(devices):
        raise ConfigurationError(f"[fit] batch_size must be a multiple of the {len(devices)} accelerators.")
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    _log.info("Batches are shared by %d accelerators.", len(devices))
    return len(devices)
