"""How errors become HTTP: a status for each class, a page for people, a problem document for programs."""

from __future__ import annotations

from mammolens.errors import (
    CaseConflict,
    ConfigurationError,
    DatabaseUnavailable,
    InputError,
    MammolensError,
    NotFound,
    Overloaded,
    PermissionMissing,
    QuotaExceeded,
    RequestInvalid,
    SignInRequired,
    StorageFull,
    TooLarge,
)

STATUS: tuple[tuple[type[MammolensError], int], ...] = (
    (SignInRequired, 401),
    (PermissionMissing, 403),
    (NotFound, 404),
    (CaseConflict, 409),
    (TooLarge, 413),
    (QuotaExceeded, 413),
    (RequestInvalid, 400),
    (Overloaded, 503),
    (DatabaseUnavailable, 503),
    (StorageFull, 507),
    (InputError, 422),
    (ConfigurationError, 500),
)
"""First match wins; anything else is 500."""


def status_of(error: MammolensError) -> int:
    """HTTP status of an error."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)
