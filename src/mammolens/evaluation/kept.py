"""Scores kept between runs, so that an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import TracebackType
from typing import IO

from mammolens.datasets import Case
from mammolens.errors import OutputError

NAME = "scores.jsonl"


class KeptScores:
    """Scores of one model by the content of the picture, one line each, written as they come.

    Refusals are not kept: what caused one may be mended by the next run.

    Parameters
    ----------
    folder : Path
        Holds ``scores.jsonl``; made where it is missing.
    model_sha256 : str
        Of the bundle: lines of another one are not taken, and stay.

    Raises
    ------
    OutputError
        If the folder can't be written to.
    """

    def __init__(self, folder: Path, model_sha256: str) -> None:
        self._model = model_sha256
        self._known: dict[str, float] = {}
        self._digests: dict[Path, str] = {}
        path = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
            # What stands behind the last line break was cut off by a kill, and is scored again.
            whole = lines[:-1]
            for line in whole:
                self._read(line)
            if lines[-1]:
                path.write_bytes(b"".join(line + b"\n" for line in whole))
            self._file: IO[str] = path.open("a", encoding="utf-8")
        except OSError as error:
            raise OutputError("Scores can't be kept in the output folder. Check its rights and space.") from error

    def _read(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            model, picture, found = row["model"], row["picture"], row["found"]
        except (ValueError, KeyError, TypeError):
            return
        if model == self._model and isinstance(picture, str) and isinstance(found, float):
            self._known[picture] = found

    def get(self, case: Case) -> float | None:
        """Logit; None where it is not known."""
        return self._known.get(self._digest(case.path))

    def put(self, case: Case, found: float) -> None:
        """Keep a logit; on the disk before this returns, as far as the system's buffers go."""
        digest = self._digest(case.path)
        self._known[digest] = found
        row = {"model": self._model, "picture": digest, "found": found}
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError("Scores can't be kept in the output folder. Check its space.") from error

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            try:
                with path.open("rb") as file:
                    self._digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError:
                # The predictor will say what is wrong with it; nothing is known of it here.
                self._digests[path] = f"unreadable:{hashlib.sha256(str(path).encode()).hexdigest()}"
        return self._digests[path]

    def __enter__(self) -> KeptScores:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()
