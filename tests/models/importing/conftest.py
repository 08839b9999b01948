"""What all hostile model files are held to, and the models that students bring."""

from __future__ import annotations

import importlib.util
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import support
from mammolens.errors import ModelFileError
from mammolens.models.importing.container import open_source

MOST_SECONDS = 5.0


def _processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _open_and_read(path: Path) -> None:
    """Do what every import does first."""
    for tensor in open_source(path).tensors:
        tensor.read()


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, type[ModelFileError]], str]:
    """Hold a file against the rule: refused with this error, within five seconds, its code not run.

    Its code would leave a file ``canary`` in ``tmp_path``. The seconds are processor
    time, here and in the process that opens the file: the wall clock depends on what
    else the machine does. Gives the message.
    """

    def check(path: Path, error: type[ModelFileError]) -> str:
        monkeypatch.chdir(tmp_path)
        before = _processor_seconds()
        with pytest.raises(error) as caught:
            _open_and_read(path)
        assert _processor_seconds() - before < MOST_SECONDS
        assert type(caught.value) is error
        assert caught.value.message.isprintable()
        assert str(tmp_path) not in caught.value.message
        assert not (tmp_path / "canary").exists()
        return caught.value.message

    return check


@pytest.fixture(scope="session")
def _student(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Any]:
    from support import students

    model = students.student()
    return students.saved(model, tmp_path_factory.mktemp("student")), students.logits(model)


@pytest.fixture(scope="session")
def student_files(_student: tuple[dict[str, Path], Any]) -> dict[str, Path]:
    """The textbook's model with B0 for pictures of 96 × 64, by layout: keras, h5, weights, legacy."""
    return _student[0]


@pytest.fixture(scope="session")
def student_logits(_student: tuple[dict[str, Path], Any]) -> Any:
    """What Keras answers for `mammolens.models.golden.variations`, shape (16,)."""
    return _student[1]


@pytest.fixture(scope="session")
def textbook_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The textbook's model itself: B2 for pictures of 260 × 260."""
    from support import students

    model = students.student("EfficientNetB2", (260, 260))
    made: dict[str, Path] = students.saved(model, tmp_path_factory.mktemp("textbook"))
    return made


@pytest.fixture(scope="session")
def keras_2_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of models that tf_keras wrote, in a process of its own: two kinds of Keras get into each other's way."""
    if importlib.util.find_spec("tf_keras") is None:
        pytest.skip("tf_keras, which writes the files of Keras 2, is not installed")
    folder = tmp_path_factory.mktemp("keras_2")
    script = Path(support.__file__).with_name("students_of_keras_2.py")
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    return folder
