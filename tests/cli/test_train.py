"""``mammolens train``: what it starts, and what it says when it can't or is stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mammolens.cli import train

Run = Callable[..., Any]

CONFIG = """
output = "run"
[model]
name = "tiny"
architecture = "efficientnet-b0"
size = [64, 48]
imagenet = "weights.h5"
[data]
dataset = "rsna-640"
folder = "data"
[fit]
epochs = 1
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_BACKEND", "as it was")  # so that it is put back whatever the command sets
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    return path


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(train, "find_spec", lambda name: object() if name in names else None)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("keras", "tensorflow", "torch", "jax"), "tensorflow"),
        (("keras", "torch", "jax"), "torch"),
        (("keras", "jax"), "jax"),
    ],
)
def test_the_first_installed_backend_is_chosen(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], chosen: str
) -> None:
    installed(monkeypatch, *names)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    train.choose_backend()
    assert os.environ["KERAS_BACKEND"] == chosen
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    train.choose_backend()
    assert os.environ["KERAS_BACKEND"] == "jax"


@pytest.mark.parametrize("names", [(), ("keras",), ("tensorflow",)])
def test_without_the_extra_it_says_what_to_install(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    installed(monkeypatch, *names)
    result = run("train", config)
    assert result.exit_code == 2
    assert result.stderr == (
        "error [configuration-error]: Training needs Keras with a backend. Run: pip install 'mammolens[train]'.\n"
    )


@pytest.mark.parametrize("content", [None, "not toml", "[model]\n", CONFIG + "nix = 1\n"])
def test_a_wrong_configuration_is_wrong_usage(run: Run, config: Path, content: str | None) -> None:
    if content is None:
        config.unlink()
    else:
        config.write_text(content)
    result = run("train", config)
    assert result.exit_code == 2
    assert result.stderr.startswith("error [configuration-error]: ")


def test_a_run_ends_with_the_path_of_its_bundle(run: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mammolens.training import crossval, finish

    asked = []
    monkeypatch.setattr(crossval, "train", lambda wanted: asked.append(wanted) or "the run")
    monkeypatch.setattr(finish, "finish", lambda wanted, done: Path(f"{wanted.output}/{done}"))
    result = run("train", config)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{config.parent}/run/the run\n"
    assert asked[0].model.name == "tiny"


def test_an_interruption_says_how_to_go_on(run: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mammolens.training import crossval

    def interrupt(wanted: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(crossval, "train", interrupt)
    result = run("train", config)
    assert result.exit_code == 130
    assert "Run the same command again" in result.stderr


def test_missing_data_are_named_as_such(run: Run, config: Path) -> None:
    result = run("train", config)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error [training-data-error]: ")


def test_set_replaces_values_of_the_file_and_is_checked_as_it_is(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mammolens.training import crossval, finish

    asked = []
    monkeypatch.setattr(crossval, "train", lambda wanted: asked.append(wanted) or "the run")
    monkeypatch.setattr(finish, "finish", lambda wanted, done: wanted.output)
    assert run("train", config, "--set", "fit.epochs=7", "--set", "model.size=[96, 80]").exit_code == 0
    assert (asked[0].fit.epochs, asked[0].model.size) == (7, (96, 80))
    result = run("train", config, "--set", "fit.epochs=seven")
    assert result.exit_code == 2
    assert "Text needs quotes" in result.stderr
    assert len(asked) == 1


def test_bundle_that_is_not_there_is_missed_before_the_training_and_not_after(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mammolens.training import crossval

    asked = []
    monkeypatch.setattr(crossval, "train", asked.append)
    result = run("train", config, "--set", "model.views=2", "--set", 'model.single="nowhere"')
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error [bundle-not-found]: ")
    assert asked == []
