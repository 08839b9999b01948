"""The log goes to MLflow too, where that is installed, and into one run across interruptions."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("tensorboard")

from mammolens.training import journal


class Client:
    """What Mammolens uses of MLflow's client."""

    def __init__(self, tracking_uri: str) -> None:
        self.address = tracking_uri
        made.append(self)
        self.metrics: list[tuple[str, str, float, int]] = []
        self.ended: list[tuple[str, str]] = []

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        return SimpleNamespace(experiment_id=name) if len(made) > 1 else None

    def create_experiment(self, name: str) -> str:
        return name

    def create_run(self, experiment: str, run_name: str) -> SimpleNamespace:
        return SimpleNamespace(info=SimpleNamespace(run_id=f"{experiment}:{run_name}"))

    def log_metric(self, run: str, name: str, value: float, step: int) -> None:
        self.metrics.append((run, name, value, step))

    def set_terminated(self, run: str, status: str) -> None:
        self.ended.append((run, status))


made: list[Client] = []


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    made.clear()
    module = ModuleType("mlflow")
    module.MlflowClient = Client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setattr(journal, "find_spec", lambda name: object())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_mlflow_gets_the_figures_that_are_numbers_into_one_run(
    mlflow: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run" / "fold1-seed1"

    def cut_short() -> None:
        with journal.Journal(folder) as log:
            log.write(3, {"loss": 0.5, "watch_auc": float("nan")})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_short()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://somewhere.example")
    with journal.Journal(folder) as log:
        log.write(6, {"loss": 0.25, "watch_auc": 0.75})
    first, second = made
    name = "mammolens:run/fold1-seed1"
    assert first.metrics == [(name, "loss", 0.5, 3)]
    assert second.metrics == [(name, "loss", 0.25, 6), (name, "watch_auc", 0.75, 6)]
    assert (first.ended, second.ended) == ([(name, "KILLED")], [(name, "FINISHED")])
    assert first.address.endswith("/run/fold1-seed1/mlflow")
    assert second.address == "https://somewhere.example"


def test_without_mlflow_the_log_is_csv_and_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "find_spec", lambda name: None)
    with journal.Journal(tmp_path) as log:
        log.write(1, {"loss": 0.5})
    with (tmp_path / "log.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"step": "1", "loss": "0.5"}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events", "log.csv"]
