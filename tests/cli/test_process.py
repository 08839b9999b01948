"""The command line as a process: streaming, interruption, closed pipes, start-up."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., subprocess.Popen[str]]
Folder = Callable[[dict[str, str]], Path]


def test_lines_come_as_soon_as_they_are_known(start: Start, folder: Folder) -> None:
    place = folder({"a": "ok 0.1", "b": "asleep"})
    process = start("predict", place, "--json", "-", "--no-artifacts", "--jobs", "1")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert (Path(first["path"]).name, process.poll()) == ("a", None)
    process.kill()
    process.communicate()


def test_lines_in_a_file_are_there_before_the_run_ends(start: Start, folder: Folder, tmp_path: Path) -> None:
    place = folder({"a": "ok 0.1", "b": "asleep"})
    process = start("predict", place, "--json", "out.jsonl", "--no-artifacts", "--jobs", "1")
    assert process.stdout is not None
    header, row = process.stdout.readline(), process.stdout.readline()
    assert "probability" in header
    assert "0.1000" in row
    assert json.loads((tmp_path / "out.jsonl").read_text())["probability"] == 0.1
    process.kill()
    process.communicate()


def test_interruption_ends_with_130_and_whole_lines(start: Start, folder: Folder) -> None:
    place = folder({f"{number:03}": "slow 0.1" for number in range(600)})
    process = start("predict", place, "--json", "-", "--no-artifacts")
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    rest, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 5
    assert all(json.loads(line)["status"] == "ok" for line in [first, *rest.splitlines()])
    assert err.strip() == "Interrupted."


@pytest.mark.parametrize("arguments", [("--json", "-"), ()])
def test_a_reader_that_leaves_ends_it_quietly(start: Start, folder: Folder, arguments: tuple[str, ...]) -> None:
    place = folder({f"{number:04}": "ok 0.1" for number in range(3000)})
    process = start("predict", place, "--no-artifacts", *arguments)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() != ""
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


def test_the_bar_goes_to_the_terminal_and_the_table_where_it_was_sent(start: Start, folder: Folder) -> None:
    place = folder({f"{number}": "slow 0.1" for number in range(5)})
    ours, theirs = os.openpty()
    process = start("predict", place, "--no-artifacts", terminal=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # Linux says so when the other end is closed
        pass
    out, _ = process.communicate(timeout=60)
    assert b"Answering" in shown
    assert len(out.splitlines()) == 6
    assert b"0.1000" not in shown


def test_help_takes_less_than_half_a_second_of_the_processor(start: Start) -> None:
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        out, err = start("--help", fake=False).communicate(timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "predict" in out
        assert err == ""
    # Time of the processor, not of the clock: what else runs on the machine is not ours.
    assert min(times) < 0.5


@pytest.mark.parametrize(
    "arguments", [["--help"], ["predict", "--help"], ["models", "--help"], ["doctor", "-h"], ["--version"], ["predict"]]
)
def test_parsing_alone_loads_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import atexit, sys\n"
        "heavy = {'numpy', 'pydicom', 'cv2', 'onnxruntime', 'imagecodecs', 'keras', 'rich', 'PIL'}\n"
        "atexit.register(lambda: print('HEAVY', sorted(heavy & set(sys.modules))))\n"
        "from mammolens.cli.main import app_entry\n"
        "app_entry()\n"
    )
    source = str(Path(__file__).parents[2] / "src")
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert result.stdout.endswith("HEAVY []\n")


def test_the_module_is_the_command(start: Start) -> None:
    out, _ = start("--version", fake=False).communicate(timeout=60)
    import mammolens

    assert out == f"mammolens {mammolens.__version__}\n"


def test_a_bug_in_a_command_shows_no_foreign_text(tmp_path: Path) -> None:
    program = (
        "import mammolens.imaging.sandbox as sandbox\n"
        "def fail(): raise RuntimeError('Doe^Jane')\n"
        "sandbox.default_pool = fail\n"
        "from mammolens.cli.main import app_entry\n"
        "app_entry()\n"
    )
    picture = tmp_path / "a.png"
    picture.write_bytes(b"x")
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    for debug, shown in (([], False), (["--debug"], True)):
        result = subprocess.run(
            [sys.executable, "-c", program, *debug, "predict", str(picture)],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert result.returncode == 70
        assert "error [internal-error]: Mammolens failed." in result.stderr
        assert ("Doe^Jane" in result.stderr) is shown
        assert ("Traceback" in result.stderr) is shown
