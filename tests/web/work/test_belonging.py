"""A folder never meets another installation's database: its pictures would be taken for orphans."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mammolens.errors import ConfigurationError
from mammolens.web.app import Services
from mammolens.web.store import Store
from mammolens.web.work import belonging

Add = Callable[..., list[str]]
Make = Callable[..., Services]


def test_a_tied_pair_starts_again_and_again(make_services: Make, add_images: Add) -> None:
    services = make_services()
    belonging.ensure(services)
    add_images(services, [b"picture"])
    belonging.ensure(services)
    assert (services.folder / belonging.MARK).stat().st_mode & 0o777 == 0o600


def test_an_empty_database_beside_a_full_folder_is_refused(
    make_services: Make, add_images: Add, tmp_path: Path
) -> None:
    services = make_services()
    belonging.ensure(services)
    add_images(services, [b"picture"])
    other = make_services(database_url=f"sqlite:///{tmp_path / 'other.db'}")
    with pytest.raises(ConfigurationError, match="MAMMOLENS_DATABASE_URL"):
        belonging.ensure(other)
    assert sum(len(hashes) for hashes in Store(services.folder).hashes()) == 1


def test_an_empty_folder_beside_a_full_database_is_refused(
    make_services: Make, add_images: Add, tmp_path: Path
) -> None:
    address = f"sqlite:///{tmp_path / 'one.db'}"
    services = make_services(database_url=address)
    belonging.ensure(services)
    add_images(services, [b"picture"])
    with pytest.raises(ConfigurationError, match="same backup"):
        belonging.ensure(make_services(home=tmp_path / "elsewhere", database_url=address))


def test_two_tied_pairs_can_not_be_crossed(make_services: Make, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'one.db'}"
    belonging.ensure(make_services(home=tmp_path / "a", database_url=address))
    belonging.ensure(make_services(home=tmp_path / "b"))
    with pytest.raises(ConfigurationError):
        belonging.ensure(make_services(home=tmp_path / "b", database_url=address))


def test_files_beside_a_database_that_was_deleted_are_kept(make_services: Make, add_images: Add) -> None:
    services = make_services()
    add_images(services, [b"picture"])
    services.database.close()
    for path in services.folder.glob("mammolens.db*"):
        path.unlink()
    with pytest.raises(ConfigurationError):
        belonging.ensure(make_services())


def test_a_pair_that_was_never_tied_is_tied_where_both_hold_pictures(make_services: Make, add_images: Add) -> None:
    services = make_services()
    add_images(services, [b"picture"])
    belonging.ensure(services)
    belonging.ensure(services)
    assert (services.folder / belonging.MARK).exists()


def test_a_start_that_was_cut_off_between_the_two_marks_goes_on(make_services: Make) -> None:
    services = make_services()
    belonging.ensure(services)
    (services.folder / belonging.MARK).unlink()
    belonging.ensure(services)
    assert (services.folder / belonging.MARK).exists()
