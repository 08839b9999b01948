"""The one place where other libraries' failures on hostile bytes become this package's errors."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from mammolens.errors import DecodeOutOfMemory, InputError, MammolensError

_QUIET = threading.RLock()
_PYDICOM_LOG = logging.getLogger("pydicom")


@contextmanager
def translated(error: type[InputError], message: str) -> Iterator[None]:
    """Turn whatever a parser or a decoder throws at its input into one typed error.

    Parsers of other libraries fail on mutated bytes in ways that no list holds
    (``struct.error``, ``AttributeError``, ``RecursionError``, …), so every ``Exception`` is
    translated; it stays reachable as the cause. Ours pass unchanged.

    Parameters
    ----------
    error : type of InputError
        What it becomes.
    message : str
        Its message; the foreign text is not shown, it may quote the header.

    Raises
    ------
    DecodeOutOfMemory
        On ``MemoryError``.
    """
    try:
        yield
    except MammolensError:
        raise
    except MemoryError as cause:
        raise DecodeOutOfMemory(
            "There was not enough memory to decode the picture. Raise MAMMOLENS_DECODE_MEMORY_BYTES or give a "
            "smaller picture."
        ) from cause
    except Exception as cause:
        raise error(message) from cause


@contextmanager
def unwarned() -> Iterator[None]:
    """Keep pydicom quiet about malformed values: its warnings and its log quote header values.

    Warning filters and loggers are global, so this holds a lock; keep the body short.
    """
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, _PYDICOM_LOG.disabled = _PYDICOM_LOG.disabled, True
        try:
            yield
        finally:
            _PYDICOM_LOG.disabled = before
