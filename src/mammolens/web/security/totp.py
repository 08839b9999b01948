"""The second step of sign-in: codes by time (TOTP, RFC 6238; six digits, 30 seconds, SHA-1 as all apps have it).

The database holds a random number for each user; the secret is derived from it with the application's key, so that who
has the database alone can make no codes.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from typing import Any, cast

import pyotp
import segno
from sqlalchemy import CursorResult, or_, update
from sqlalchemy.orm import Session

from mammolens.errors import CaseConflict, RequestInvalid
from mammolens.web.database.tables import User
from mammolens.web.security.keys import derive

STEP = 30
"""Seconds."""
DRIFT = 1
"""Steps that a telephone's clock may be off, either way."""


def secret_of(key: bytes, user: User) -> str:
    """Secret of a user, base 32 as apps take it; the user has begun (`begin`)."""
    if user.totp_secret is None:
        raise CaseConflict("The second step has not been set up.")
    return base64.b32encode(derive(key, "totp", user.totp_secret)[:20]).decode()


def begin(user: User) -> None:
    """Draw a new secret; it counts once `confirm` has seen a code of it.

    Raises
    ------
    CaseConflict
        If the second step is on.
    """
    if user.totp_confirmed:
        raise CaseConflict("The second step is on already. Turn it off first.")
    user.totp_secret, user.totp_last_step = secrets.token_bytes(32), None


def confirm(session: Session, key: bytes, user: User, code: str) -> None:
    """Turn the second step on, with a code that shows that the app has the secret.

    Raises
    ------
    RequestInvalid
        If the code does not fit.
    CaseConflict
        If it has not begun.
    """
    if not take(session, key, user, code):
        raise RequestInvalid("The code does not fit. Check the telephone's clock, wait for the next code, try again.")
    user.totp_confirmed = True


def turn_off(user: User) -> None:
    """Forget the secret."""
    user.totp_secret, user.totp_confirmed, user.totp_last_step = None, False, None


def take(session: Session, key: bytes, user: User, code: str) -> bool:
    """Take a code: tells whether it fits the time, give or take `DRIFT`, and is newer than the last that was taken."""
    digits = "".join(code.split())
    generator = pyotp.TOTP(secret_of(key, user))
    present = int(time.time()) // STEP
    fitting = [
        step
        for step in range(present - DRIFT, present + DRIFT + 1)
        if hmac.compare_digest(generator.generate_otp(step).encode(), digits.encode())
    ]
    if not fitting:
        return False
    newer = or_(User.totp_last_step.is_(None), User.totp_last_step < fitting[-1])
    result = session.execute(update(User).where(User.id == user.id, newer).values(totp_last_step=fitting[-1]))
    return cast(CursorResult[Any], result).rowcount == 1


def picture(secret: str, name: str) -> str:
    """Draw the QR code that apps read, as an SVG element that needs no style; black on white in any theme."""
    address = pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name="Mammolens")
    return segno.make(address, micro=False).svg_inline(
        omitsize=True, border=3, dark="#000", light="#fff", svgclass=None
    )
