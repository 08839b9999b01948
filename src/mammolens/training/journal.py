"""The experiment log: one CSV line an epoch, and the same for TensorBoard and, where it is installed, MLflow."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any


class Journal:
    """Appends figures of one run to ``log.csv``, to TensorBoard event files and to MLflow.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.csv"
        self._events = EventFileWriter(str(folder / "events"))
        self._mlflow = _MlflowRun(folder) if find_spec("mlflow") else None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log figures of one step.

        Parameters
        ----------
        step : int
            Optimiser steps done so far.
        values : mapping of str to float
            The same names at every call.
        """
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        fresh = not self._path.exists()
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["step", *values])
            writer.writerow([step, *(f"{value:.6g}" for value in values.values())])
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
        self._events.add_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._events.flush()
        if self._mlflow:
            self._mlflow.write(step, values)

    def __enter__(self) -> Journal:
        """Return the journal itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the event file."""
        self._events.close()
        if self._mlflow:
            self._mlflow.close(failed=kind is not None)


class _MlflowRun:
    """One run of MLflow, begun anew or gone on with; nothing here needs MLflow to be there."""

    def __init__(self, folder: Path) -> None:
        import mlflow

        # Without a server that somebody named, beside the other logs and not wherever the program was started.
        address = os.environ.get("MLFLOW_TRACKING_URI") or (folder / "mlflow").resolve().as_uri()
        self._client: Any = mlflow.MlflowClient(tracking_uri=address)
        kept = folder / "mlflow-run"
        if kept.exists():
            self._run = kept.read_text(encoding="utf-8")
            return
        found = self._client.get_experiment_by_name("mammolens")
        experiment = found.experiment_id if found else self._client.create_experiment("mammolens")
        name = f"{folder.parent.name}/{folder.name}"
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        kept.write_text(self._run, encoding="utf-8")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if math.isfinite(value):
                self._client.log_metric(self._run, name, value, step=step)

    def close(self, *, failed: bool) -> None:
        self._client.set_terminated(self._run, "KILLED" if failed else "FINISHED")
