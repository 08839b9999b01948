"""Which model is in use: chosen, rolled back, checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mammolens.errors import BundleNotFound, BundleTampered, CaseConflict
from mammolens.models.bundle import BUILT_IN, DEFAULT, load_bundle
from mammolens.web import models_in_use
from mammolens.web.app import Services


@pytest.fixture
def opened(home: Path, make_services: Callable[..., Services]) -> Services:
    """Services whose home is the process's own, where models are installed."""
    return make_services(home=home)


@pytest.fixture
def second(home: Path) -> Path:
    """Install the built-in bundle once more, as another one."""
    place = home / "models" / "second"
    shutil.copytree(BUILT_IN / DEFAULT, place)
    manifest = json.loads((place / "manifest.json").read_text())
    (place / "manifest.json").write_text(json.dumps({**manifest, "name": "second", "version": "2"}))
    return place


def test_before_any_choice_the_built_in_model_is_in_use(opened: Services) -> None:
    with opened.database.reading() as session:
        use = models_in_use.current(session)
        assert models_in_use.history(session) == []
    identity = load_bundle("default").identity
    assert (use.name, use.version, use.sha256) == (identity.name, identity.version, identity.sha256)
    assert models_in_use.open_bundle(use).identity == identity
    assert models_in_use.manifest_of(use) == load_bundle("default").manifest


def test_switch_and_roll_back_change_the_model_in_use_and_keep_the_history(opened: Services, second: Path) -> None:
    with opened.database.session() as session:
        first = models_in_use.current(session)
        assert models_in_use.switch(session, "second", "chief").version == "2"
    with opened.database.session() as session:
        assert models_in_use.current(session).place == "second"
        assert models_in_use.roll_back(session, "chief") == first
        assert models_in_use.current(session) == first
    with opened.database.session() as session:
        assert models_in_use.roll_back(session, "other").name == "second"
        rows = models_in_use.history(session)
    assert [(row.model_name, row.chosen_by) for row in rows] == [
        ("second", "other"), (DEFAULT, "chief"), ("second", "chief"), (DEFAULT, models_in_use.SYSTEM),
    ]  # fmt: skip
    assert len({row.since for row in rows}) == 4


def test_what_is_in_use_or_not_installed_or_a_path_is_not_switched_to(opened: Services, second: Path) -> None:
    with opened.database.session() as session:
        with pytest.raises(CaseConflict):
            models_in_use.switch(session, DEFAULT, "chief")
        for place in ("none", str(second), "../models/second", ""):
            with pytest.raises(BundleNotFound):
                models_in_use.switch(session, place, "chief")
        with pytest.raises(CaseConflict):
            models_in_use.roll_back(session, "chief")
        assert models_in_use.history(session) == []


def test_a_damaged_bundle_is_not_put_in_use(opened: Services, second: Path) -> None:
    with (second / "model.onnx").open("ab") as file:
        file.write(b"x")
    with opened.database.session() as session:
        with pytest.raises(BundleTampered):
            models_in_use.switch(session, "second", "chief")
        assert models_in_use.current(session).name == DEFAULT


def test_a_bundle_that_was_exchanged_after_it_was_chosen_is_not_opened(opened: Services, second: Path) -> None:
    with opened.database.session() as session:
        use = models_in_use.switch(session, "second", "chief")
    manifest = json.loads((second / "manifest.json").read_text())
    (second / "manifest.json").write_text(json.dumps({**manifest, "version": "3"}))
    with pytest.raises(BundleTampered):
        models_in_use.open_bundle(use)
    assert models_in_use.manifest_of(use) is None


def test_broken_bundles_are_listed_with_the_reason(opened: Services, second: Path) -> None:
    (second / "manifest.json").write_text("{}")
    (second.parent / "third.zip").write_bytes(b"no archive")
    found = {one.place: one for one in models_in_use.available()}
    assert found[DEFAULT].error is None
    assert {name for name, one in found.items() if one.error is not None} == {"second", "third"}
