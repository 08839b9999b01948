"""Migrations make the tables that the code means, on both kinds of database, and keep what is in them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select
from sqlalchemy.exc import IntegrityError

from mammolens.errors import ConfigurationError, DatabaseUnavailable
from mammolens.web.app import Services
from mammolens.web.database.columns import Base, now
from mammolens.web.database.connection import MIGRATIONS, Database
from mammolens.web.database.tables import AuditEvent, Case, Image, Role, User
from support.postgres import Postgres


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def any_services(request: pytest.FixtureRequest, make_services: Callable[..., Services]) -> Services:
    if request.param == "sqlite":
        return make_services()
    server: Postgres = request.getfixturevalue("postgres")
    return make_services(database_url=server.new_database())


def _add_case(services: Services) -> str:
    with services.database.session() as session:
        owner = User(name="nurse", password_hash="-", role=Role.READER)
        session.add(owner)
        session.flush()
        case = Case(number=1001, owner_id=owner.id, examination="x")
        session.add(case)
        session.flush()
        image = Image(case_id=case.id, sha256="a" * 64, bytes=1, kind="png")
        session.add(image)
        session.flush()
        return image.id


def test_migrations_make_the_tables_that_the_code_means(any_services: Services) -> None:
    with any_services.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_second_upgrade_changes_nothing_and_loses_nothing(any_services: Services) -> None:
    image_id = _add_case(any_services)
    any_services.database.upgrade()
    with any_services.database.reading() as session:
        assert session.scalars(select(Image.id)).all() == [image_id]


def test_down_and_up_again_leaves_the_same_tables(any_services: Services) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with any_services.database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert set(inspect(any_services.database.engine).get_table_names()) <= {"alembic_version"}
    any_services.database.upgrade()
    with any_services.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_deleting_a_case_takes_its_images_by_the_database_itself(any_services: Services) -> None:
    _add_case(any_services)
    with any_services.database.session() as session:
        session.execute(Base.metadata.tables["cases"].delete())
    with any_services.database.reading() as session:
        assert session.scalars(select(Image.id)).all() == []


def test_an_image_without_a_case_is_refused_by_the_database(any_services: Services) -> None:
    def add() -> None:
        with any_services.database.session() as session:
            session.add(Image(case_id="0" * 32, sha256="a" * 64, bytes=1, kind="png"))

    with pytest.raises(IntegrityError):
        add()


def test_points_in_time_come_back_aware_and_to_the_microsecond(any_services: Services) -> None:
    moment = dt.datetime(2026, 3, 29, 3, 30, 0, 123456, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    with any_services.database.session() as session:
        session.add(
            AuditEvent(number=1, at=moment, actor="a", action="b", subject="c", detail={}, previous="0", hash="1")
        )
    with any_services.database.reading() as session:
        (found,) = session.scalars(select(AuditEvent.at))
    assert found == moment
    assert found.utcoffset() == dt.timedelta(0)
    assert now().tzinfo is not None


def test_an_address_that_is_none_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="MAMMOLENS_DATABASE_URL"):
        Database("nonsense")


def test_a_database_that_is_not_there_is_unavailable() -> None:
    database = Database("postgresql+psycopg://nobody@/none?host=/nowhere")
    with pytest.raises(DatabaseUnavailable):
        database.upgrade()
    with pytest.raises(DatabaseUnavailable), database.reading() as session:
        session.scalars(select(User.id)).all()
