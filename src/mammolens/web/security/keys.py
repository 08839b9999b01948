"""The application's one secret: a file of random bytes that every other key is derived from."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from mammolens.errors import ConfigurationError

NAME = "secret.key"
LENGTH = 64


def application_key(folder: Path) -> bytes:
    """Read the application's key; made at the first call, readable by its owner only.

    Parameters
    ----------
    folder : Path
        `mammolens.web.app.Services.folder`.

    Returns
    -------
    bytes
        64 random bytes. Use `derive` and never the key itself.

    Raises
    ------
    ConfigurationError
        If the file is there and holds something else, or can't be read or made.
    """
    path = folder / NAME
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError:
        raise ConfigurationError(
            f"{NAME} in the application's folder can't be read or made. Check who owns the folder."
        ) from None
    if len(key) != LENGTH:
        raise ConfigurationError(f"{NAME} in the application's folder is damaged. Restore it from a backup.")
    return key


def derive(key: bytes, purpose: str, data: bytes = b"") -> bytes:
    """Derive a key, or the keyed hash of something, for one purpose: HMAC-SHA-256 (RFC 2104).

    Parameters
    ----------
    key : bytes
        `application_key`.
    purpose : str
        What it is for; two purposes share nothing. Holds no NUL.
    data : bytes
        What is hashed; empty for a key.

    Returns
    -------
    bytes
        32.
    """
    if "\0" in purpose:
        raise ValueError("A purpose holds no NUL.")
    return hmac.new(key, purpose.encode() + b"\0" + data, hashlib.sha256).digest()


def _make(path: Path) -> None:
    """Write a new key whole or not at all; of two processes that start together, one wins and both read its key."""
    fresh = path.with_name(f".{NAME}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(LENGTH))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            return
    finally:
        fresh.unlink()
