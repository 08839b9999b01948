"""Import of models from the server's folder: what may be chosen, how it runs, how it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from mammolens.errors import CaseConflict, RequestInvalid
from mammolens.models import weights_file
from mammolens.models.bundle import WEIGHTS, installed, load_bundle
from mammolens.web.administration import imports
from mammolens.web.app import Services
from mammolens.web.database.tables import AuditEvent, Choice


@pytest.fixture
def opened(home: Path, make_services: Callable[..., Services]) -> Services:
    return make_services(home=home)


def state_of(opened: Services) -> imports.State:
    with opened.database.reading() as session:
        found = imports.state(session)
    assert found is not None
    return found


def test_only_model_files_that_lie_in_the_folder_can_be_chosen(opened: Services, tmp_path: Path) -> None:
    folder = imports.folder(opened)
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "thesis.keras").write_bytes(b"x")
    (folder / "notes.txt").write_bytes(b"x")
    (folder / "saved").mkdir()
    (folder / "saved" / "saved_model.pb").write_bytes(b"x")
    (folder / "empty").mkdir()
    (tmp_path / "outside.h5").write_bytes(b"x")
    (folder / "link.h5").symlink_to(tmp_path / "outside.h5")
    assert imports.candidates(opened) == ["saved", "thesis.keras"]
    for file in ("link.h5", "../../outside.h5", str(tmp_path / "outside.h5"), "notes.txt", ""):
        with pytest.raises(RequestInvalid):
            imports.start(opened, "chief", file, imports.asked())


def test_what_the_file_is_said_to_be_is_checked() -> None:
    stated = imports.asked("efficientnet-b1", "384x288", "-1..1", "malignant,benign")
    assert (stated.architecture, stated.size, stated.scale) == ("efficientnet-b1", (384, 288), "-1..1")
    assert stated.classes == ("malignant", "benign")
    assert imports.asked().size is None
    for wrong in (
        ("resnet",),
        ("", "384"),
        ("", "384x"),
        ("", "31x64"),
        ("", "384x288x1"),
        ("", "", "2"),
        ("", "", "", "a,b"),
    ):
        with pytest.raises(RequestInvalid):
            imports.asked(*wrong)


def test_names_that_are_taken_or_illegal_are_refused_before_anything_runs(opened: Services, home: Path) -> None:
    (imports.folder(opened) / "thesis.onnx").write_bytes(b"x")
    (home / "models" / "taken").mkdir(parents=True)
    for name in ("taken", "../up", "Upper Case"):
        with pytest.raises(RequestInvalid):
            imports.start(opened, "chief", "thesis.onnx", imports.asked(), name=name)
    with opened.database.reading() as session:
        assert imports.state(session) is None


def test_a_file_that_is_no_model_ends_as_a_failure_with_its_code(opened: Services) -> None:
    (imports.folder(opened) / "thesis.keras").write_bytes(b"no model at all")
    imports.start(opened, "chief", "thesis.keras", imports.asked(), name="mine").join(120)
    found = state_of(opened)
    assert (found.state, found.name, found.code) == ("failed", "mine", "model-file-malformed")
    assert "thesis" not in found.message
    assert "mine" not in installed()
    with opened.database.reading() as session:
        entries = session.scalars(select(AuditEvent).order_by(AuditEvent.number)).all()
    assert [(entry.actor, entry.action, entry.subject) for entry in entries] == [
        ("chief", "model-import-begun", "model mine"),
        ("chief", "model-import-ended", "model mine"),
    ]
    assert entries[1].detail == {"state": "failed", "code": "model-file-malformed"}


def test_one_import_at_a_time_and_one_cut_off_by_a_stop_is_told(
    opened: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    (imports.folder(opened) / "thesis.keras").write_bytes(b"x")
    with opened.database.session() as session:
        session.add(Choice(name=imports.CHOICE, value={"state": "running", "run": "one", "name": "mine"}))
    assert state_of(opened).state == "interrupted"
    monkeypatch.setattr(imports, "_running", {"one"})
    assert state_of(opened).state == "running"
    with pytest.raises(CaseConflict):
        imports.start(opened, "chief", "thesis.keras", imports.asked())


@pytest.mark.slow
def test_an_imported_model_can_be_opened_and_put_in_use(opened: Services) -> None:
    pytest.importorskip("h5py")
    built_in = load_bundle()
    network, *_ = weights_file.networks(built_in.read(WEIGHTS), built_in.manifest)
    weights_file.write(network, imports.folder(opened) / "again.weights.h5")
    stated = imports.asked("efficientnet-b0", "384x288", "255", "benign,malignant")
    imports.start(opened, "chief", "again.weights.h5", stated, name="again").join(500)
    found = state_of(opened)
    assert (found.state, found.code, found.message) == ("done", "", "")
    assert load_bundle("again").manifest.source is not None
