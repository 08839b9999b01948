"""Wrong passwords: each is counted before it is checked, and from the fifth in a row the name waits, ever longer.

Who is asked for a name that nobody has does the same work and gets the same answer.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from mammolens.web.database.columns import now
from mammolens.web.database.tables import Choice, User

FREE = 4
"""Wrong passwords in a row that cost nothing."""
FIRST_WAIT, LONGEST_WAIT = dt.timedelta(seconds=30), dt.timedelta(minutes=15)
"""The fifth wrong password costs the first, each further one twice as much, until the second."""
_UNKNOWN = "sign-ins-unknown-name"


def wait_after(failures: int) -> dt.timedelta:
    """How long a name waits after so many wrong passwords in a row."""
    if failures <= FREE:
        return dt.timedelta(0)
    doublings: int = min(failures - FREE - 1, 10)
    return min(FIRST_WAIT * (1 << doublings), LONGEST_WAIT)


def count(session: Session, user: User | None) -> bool:
    """Count a try before its password is checked, so that tries side by side can't outrun the count.

    Parameters
    ----------
    session : Session
        That writes; one write is done whatever the answer.
    user : User or None
        None for a name that nobody has.

    Returns
    -------
    bool
        Whether the password may count; False while the name waits.
    """
    moment = now()
    if user is None:
        _count_unknown(session)
        return False
    session.execute(update(User).where(User.id == user.id).values(failures=User.failures + 1))
    failures, locked_until = session.execute(select(User.failures, User.locked_until).where(User.id == user.id)).one()
    if locked_until is not None and moment < locked_until:
        # Tries while the name waits make the wait no longer: else anybody could keep a name out for good.
        session.execute(update(User).where(User.id == user.id).values(failures=User.failures - 1))
        return False
    wait = wait_after(failures)
    if wait:
        session.execute(update(User).where(User.id == user.id).values(locked_until=moment + wait))
    return True


def forget(session: Session, user_id: str) -> None:
    """Forget the wrong passwords of somebody who has shown who they are."""
    session.execute(update(User).where(User.id == user_id).values(failures=0, locked_until=None))


def _count_unknown(session: Session) -> None:
    row = session.get(Choice, _UNKNOWN)
    if row is None:
        session.add(Choice(name=_UNKNOWN, value={"count": 1}))
    else:
        row.value = {"count": int(row.value["count"]) + 1}
        row.changed = now()
    session.flush()
