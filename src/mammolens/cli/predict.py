"""``mammolens predict``: files in, answers out."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from mammolens.cli import files, records, terminal
from mammolens.cli.table import Table
from mammolens.errors import InternalError, MammolensError, OutputError

if TYPE_CHECKING:
    from mammolens.imaging.options import ReadOptions
    from mammolens.imaging.sandbox import DecodePool
    from mammolens.inference import Predictor
    from mammolens.inference.grouping import Origin, Told
    from mammolens.types import Prediction

_log = logging.getLogger(__name__)

STANDARD_OUTPUT = Path("-")

_INTERNAL = (
    "Mammolens can't record this answer. Run `mammolens --debug predict …` on the file and report what it prints."
)


@dataclass(frozen=True, slots=True)
class Job:
    """What one call of the command is to do.

    Attributes
    ----------
    inputs : list of Path
        In the order of the answers.
    json : Path or None
        Where JSON Lines go.
    out : Path or None
        Folder of the artifacts; ``None`` where none are wanted.
    jobs : int
        Files in work at a time.
    exam : bool
        Whether examinations are answered for, too.
    told : dict of Path to (str, str)
        Side and view of pictures whose files don't tell, by absolute path.
    """

    inputs: list[Path]
    json: Path | None
    out: Path | None
    jobs: int
    exam: bool = False
    told: dict[Path, Told] = field(default_factory=dict)


def predict(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files, or folders with all that is in them.")],
    model: Annotated[str, typer.Option(metavar="M", help="Installed model, bundle, or model file.")] = "default",
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JSON Lines there; - is stdout.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the pictures.")] = Path("mammolens-output"),
    no_artifacts: Annotated[bool, typer.Option("--no-artifacts", help="Write no pictures.")] = False,
    engine: Annotated[
        str, typer.Option(metavar="E", help="Inference engine: auto, or one that `mammolens doctor` lists.")
    ] = "auto",
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Files in work at a time; one per core unless given.")
    ] = None,
    any_modality: Annotated[bool, typer.Option("--any-modality", help="Accept DICOM of other modalities.")] = False,
    frame: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Frame of a multi-frame file, from 0; else the middle one.")
    ] = None,
    exam: Annotated[bool, typer.Option("--exam", help="Answer for breasts and examinations, too.")] = False,
    views: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV that tells side and view of files that don't; with --exam.")
    ] = None,
) -> None:
    """Answer for mammograms: files and folders in, answers out.

    Exit status 0: all files were answered. 3: some were refused. 2: wrong usage.
    """
    job = _plan(paths, json, out, jobs, artifacts=not no_artifacts)
    if exam or views is not None:
        job = _with_examinations(job, exam, views)
    from mammolens.settings import settings

    threads = settings().threads or (1 if job.jobs > 1 else 0)
    from mammolens.imaging.sandbox import default_pool

    pool = default_pool()
    # The decoding processes come up while this one opens the model.
    pool.start(job.jobs)
    from mammolens.imaging.options import ReadOptions
    from mammolens.inference import Predictor
    from mammolens.models.importing.cache import place_of

    place = place_of(model, terminal.say)
    predictor = Predictor.from_bundle(place, engine=engine, threads=threads, pictures=len(job.inputs))
    with _interruptible(pool):
        count = _run(predictor, ReadOptions(any_modality=any_modality, frame=frame), job)
    if count:
        raise typer.Exit(terminal.REFUSED)


def _plan(paths: list[Path], json: Path | None, out: Path, jobs: int | None, *, artifacts: bool) -> Job:
    """Find the inputs and refuse what can't be meant; nothing is written before this is done."""
    pictures = files.identity(out)
    lines = None if json is None or json == STANDARD_OUTPUT else files.identity(json)
    inputs: list[Path] = []
    for path in paths:
        what = files.identity(path)
        if os.path.isdir(path):
            if artifacts and what == pictures:
                raise _misused("--out", "is a folder that is read. Give the pictures a folder of their own.")
            # What an earlier call wrote is no input of this one.
            inputs += files.find(path, (pictures, lines))
        elif not os.path.isfile(path):
            raise _misused("PATH", f"{terminal.printable(path)} is no file or folder, or can't be opened.")
        elif what == lines:
            raise _misused("--json", "would overwrite a file that is read.")
        else:
            inputs.append(path)
    if not inputs:
        raise _misused("PATH", "no file was found in the folders given.")
    if lines is not None and json is not None and files.overwrites_a_foreign_file(json):
        raise _misused("--json", "would overwrite a file that holds no JSON.")
    jobs = terminal.processors() if jobs is None else jobs
    return Job(inputs, json, out if artifacts else None, min(jobs, len(inputs)))


def _with_examinations(job: Job, exam: bool, views: Path | None) -> Job:
    from mammolens.inference.grouping import read_views

    if not exam:
        raise _misused("--views", "is for examinations. Give --exam with it.")
    return replace(job, exam=True, told={} if views is None else read_views(views))


def _misused(name: str, problem: str) -> typer.BadParameter:
    return typer.BadParameter(problem, param_hint=name)


def _run(predictor: Predictor, options: ReadOptions, job: Job) -> int:
    """Answer for every input; the number of refusals."""
    refusals = 0
    stems = records.Stems(() if job.out is None else job.inputs)
    with ExitStack() as stack:
        _prepare(job.out)
        stream = _json_stream(job.json, stack)
        table = Table() if stream is not sys.stdout else None
        # Lines of JSON and a bar do not go together on one terminal.
        watched = len(job.inputs) if table is not None or not sys.stdout.isatty() else 0
        advance = stack.enter_context(terminal.progress("Answering", watched))
        results = predictor.predict_many(job.inputs, options=options, jobs=job.jobs)
        answered: list[tuple[Path, Prediction, Origin]] = []
        for path, found in zip(job.inputs, results, strict=True):
            result = _told(found, job.told.get(Path(os.path.abspath(path))))
            record = _record(predictor, path, result, job.out, stems)
            refusals += record["status"] != "ok"
            if stream is not None:
                _write(stream, records.line(record))
            if table is not None:
                table.add(record)
            if job.exam and not isinstance(result, MammolensError) and record["status"] == "ok":
                answered.append((path, result.without_pixels(), predictor.origin(path, result, options)))
            advance()
        for record in _examinations(predictor, answered):
            if stream is not None:
                _write(stream, records.line(record))
            if table is not None:
                table.add_examination(record)
    if table is not None:
        _say_summary(len(job.inputs), refusals, job.out)
    return refusals


def _record(
    predictor: Predictor, path: Path, result: Prediction | MammolensError, out: Path | None, stems: records.Stems
) -> records.Record:
    """Make the record of a result; whatever fails here is a failure of this file, not of the run."""
    from mammolens.settings import settings

    most_bytes = settings().max_file_bytes
    try:
        if isinstance(result, MammolensError):
            raise result
        artifacts = {} if out is None else _artifacts(predictor, result, out, stems.take(path, result.mammogram.sha256))
        record = records.answered(path, result, artifacts)
        records.line(record)
        return record
    except MammolensError as error:
        if isinstance(error, InternalError):
            _log.debug("internal error", exc_info=True)
        return records.refused(path, files.sha256_of(path, most_bytes), error.code, error.message)
    except Exception:
        _log.debug("internal error", exc_info=True)
        return records.refused(path, files.sha256_of(path, most_bytes), InternalError.code, _INTERNAL)


def _told(result: Prediction | MammolensError, told: Told | None) -> Prediction | MammolensError:
    """Complete an answer by what the table of views tells; what the file itself says stands."""
    if told is None or isinstance(result, MammolensError):
        return result
    mammogram = result.mammogram
    side, view = mammogram.laterality or told[0], mammogram.view or told[1]
    return replace(result, mammogram=replace(mammogram, laterality=side, view=view))


def _examinations(predictor: Predictor, answered: list[tuple[Path, Prediction, Origin]]) -> Iterator[records.Record]:
    """Make the records of the examinations that the answered files are of."""
    paths = {id(prediction): path for path, prediction, _ in answered}
    if answered:
        for exam in predictor.examinations([(prediction, origin) for _, prediction, origin in answered]):
            yield records.examined(exam, paths)


def _artifacts(predictor: Predictor, prediction: Prediction, out: Path, stem: str) -> dict[str, str]:
    from mammolens.explain.overlay import write_artifacts

    written = write_artifacts(prediction, out, stem)
    paired = None if prediction.pair is None else predictor.paired(prediction)
    return written if paired is None else written | write_artifacts(paired, out, stem, "pair")


def _prepare(out: Path | None) -> None:
    """Make the folder of the artifacts, so that one that can't be written to fails before the first answer."""
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError("The folder of --out can't be made. Check its path and your rights.") from error


def _json_stream(json: Path | None, stack: ExitStack) -> TextIO | None:
    if json is None:
        return None
    if json == STANDARD_OUTPUT:
        return sys.stdout
    try:
        return stack.enter_context(json.open("w", encoding="utf-8", newline="\n"))
    except OSError as error:
        raise OutputError("The file of --json can't be written. Check its folder and your rights.") from error


def _write(stream: TextIO, line: str) -> None:
    """Write a line and let it go at once: a program may wait for it."""
    try:
        stream.write(line)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError("The JSON Lines can't be written. Check for free space.") from error


def _say_summary(count: int, refusals: int, out: Path | None) -> None:
    where = "" if out is None or refusals == count else f" Pictures in {terminal.printable(out)}."
    terminal.say(f"{count - refusals} answered, {refusals} refused.{where} {terminal.NOTE}")


@contextmanager
def _interruptible(pool: DecodePool) -> Iterator[None]:
    """Let Ctrl-C end the files in work, which else would be waited for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, place: Any) -> None:
        # From a thread, because the interrupted code may hold the pool's lock.
        threading.Thread(target=pool.close, daemon=True).start()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
