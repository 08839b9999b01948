"""Passwords: which ones are good enough, and how they are kept (Argon2id, RFC 9106)."""

from __future__ import annotations

import secrets
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from mammolens.errors import InternalError, RequestInvalid

MINIMUM, MAXIMUM = 12, 256
"""Characters."""

HASHER = PasswordHasher()
"""The library's defaults: RFC 9106's second recommended choice, 64 MiB and 3 passes."""

_GUESSABLE = 2
"""zxcvbn's scores up to this one mean fewer than 10 ** 8 guesses."""


def hash_password(password: str) -> str:
    """Hash a password for keeping."""
    return HASHER.hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """Tell whether a password is the one that a hash was made of.

    Parameters
    ----------
    stored : str or None
        None for a name that nobody has: the same work is done, and the answer is no.
    password : str

    Raises
    ------
    InternalError
        If what is stored is no Argon2 hash.
    """
    if len(password) > MAXIMUM:
        password = ""
    try:
        HASHER.verify(_nobody() if stored is None else stored, password)
    except VerifyMismatchError:
        return False
    except (InvalidHashError, VerificationError) as error:
        raise InternalError("A stored password hash is damaged. Set a new password for this user.") from error
    return stored is not None


def outdated(stored: str) -> bool:
    """Tell whether a hash was made with other parameters than today's."""
    return HASHER.check_needs_rehash(stored)


def check_new_password(password: str, *words: str) -> None:
    """Check that a password may be chosen.

    Parameters
    ----------
    password : str
    *words : str
        What an attacker would try first: the user's name, the group.

    Raises
    ------
    RequestInvalid
        If it is too short, too long, or easily guessed (zxcvbn, Wheeler, USENIX Security 2016, with its 30,000
        most used passwords).
    """
    from zxcvbn import zxcvbn  # type: ignore[import-untyped]

    if len(password) < MINIMUM:
        raise RequestInvalid("The password is too short. Take at least 12 characters.")
    if len(password) > MAXIMUM:
        raise RequestInvalid("The password is too long. Take at most 256 characters.")
    known = [part for word in (*words, "mammolens", "mammography") if (part := word.strip())]
    # Its time grows with the square of the length; the first 64 characters decide.
    if zxcvbn(password[:64], user_inputs=known)["score"] <= _GUESSABLE:
        raise RequestInvalid("The password is easily guessed. Take several words that nobody would put together.")


def random_password() -> str:
    """Draw a password of 120 bits, in letters and digits that are not taken for one another."""
    alphabet = "abcdefghijkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(6)) for _ in range(4))


def prepare() -> None:
    """Make the hash that unknown names are checked against, so that the first of them takes no longer than others."""
    _nobody()


def _nobody() -> str:
    """Hash that no password fits, made with today's parameters."""
    return _hash_for(HASHER)


@lru_cache(maxsize=4)
def _hash_for(hasher: PasswordHasher) -> str:
    return hasher.hash(secrets.token_hex(32))
