"""What the tables are made of: points in time, identifiers, enumerations, and the base that names constraints."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Enum, Integer, MetaData, TypeDecorator
from sqlalchemy.orm import DeclarativeBase


def now() -> dt.datetime:
    """Give the present time, UTC, aware."""
    return dt.datetime.now(dt.UTC)


def new_id() -> str:
    """Give a fresh identifier that tells nothing: 32 hexadecimal digits."""
    return uuid.uuid4().hex


class Moment(TypeDecorator[dt.datetime]):
    """Point in time: aware UTC in Python, the same without zone in the database."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Refuse times without zone, turn the rest to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A point in time needs a zone.")
        return value.astimezone(dt.UTC).replace(tzinfo=None)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Say that what is stored is UTC."""
        return None if value is None else value.replace(tzinfo=dt.UTC)


class Base(DeclarativeBase):
    """What all tables share: constraint names that migrations can rely on."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dt.datetime: Moment(), dict[str, Any]: JSON(), list[Any]: JSON()}  # noqa: RUF012


def words(kind: type[enum.Enum]) -> Enum:
    """Column type of an enumeration: its values as text, checked by the database."""
    return Enum(
        kind, values_callable=lambda members: [member.value for member in members], native_enum=False, length=24
    )


Serial = BigInteger().with_variant(Integer, "sqlite")
