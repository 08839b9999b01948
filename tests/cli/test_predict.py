"""``mammolens predict`` with a predictor that answers by a file's first word; see ``support/fake_command_line.py``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., Any]
Folder = Callable[[dict[str, str]], Path]


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def names(text: str) -> list[str]:
    return [Path(record["path"]).name for record in records(text)]


def test_an_answer_has_the_keys_of_the_schema_in_their_order(run: Run, fake: ModuleType, folder: Folder) -> None:
    path = folder({"a.dcm": "ok 0.25"}) / "a.dcm"
    result = run("predict", path, "--json", "-", "--no-artifacts")
    assert result.exit_code == 0
    digest = hashlib.sha256(b"ok 0.25").hexdigest()
    assert result.stdout == (
        '{"schema":"mammolens.prediction/1","path":' + json.dumps(str(path)) + f',"sha256":"{digest}","status":"ok",'
        '"probability":0.25,"label":"benign","confidence":0.75,"threshold":0.31,"laterality":"L","view":"MLO",'
        '"warnings":["low-resolution: The picture has few pixels."],'
        '"image":{"rows":80,"columns":60,"pixel_spacing_mm":[0.1,0.2]},'
        '"regions":[{"box":[10,20,30,40],"centre":[20,31],"score":0.9123}],'
        '"model":{"name":"fake","version":"1","sha256":"' + "f" * 64 + '"},"artifacts":{},'
        '"timing_ms":{"read":1.0,"preprocess":2.0,"infer":3.0,"explain":4.0,"total":10.0}}\n'
    )


def test_a_refusal_has_the_keys_of_the_schema_in_their_order(run: Run, fake: ModuleType, folder: Folder) -> None:
    path = folder({"a.dcm": "blank"}) / "a.dcm"
    result = run("predict", path, "--json", "-")
    assert result.exit_code == 3
    digest = hashlib.sha256(b"blank").hexdigest()
    assert result.stdout == (
        '{"schema":"mammolens.prediction/1","path":' + json.dumps(str(path)) + f',"sha256":"{digest}",'
        '"status":"refused","error":{"code":"blank-image","message":"The picture is blank."}}\n'
    )


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_every_input_gets_its_line_in_order_whatever_fails(
    run: Run, fake: ModuleType, folder: Folder, jobs: int
) -> None:
    kinds = ["slow 0.9", "ok 0.1", "blank", "broken", "engine", "nan", "ok 0.5"]
    contents = {f"{number:03}": kinds[number % 7] for number in range(42)}
    result = run("predict", folder(contents), "--json", "-", "--no-artifacts", "--jobs", jobs)
    assert result.exit_code == 3
    assert names(result.stdout) == sorted(contents)
    outcomes = [
        record["probability"] if record["status"] == "ok" else record["error"]["code"]
        for record in records(result.stdout)
    ]
    assert outcomes == [0.9, 0.1, "blank-image", "internal-error", "engine-error", "internal-error", 0.5] * 6


def test_a_thousand_files_go_on_after_a_bad_one(run: Run, fake: ModuleType, folder: Folder) -> None:
    contents = {f"{number:04}.png": "broken" if number == 3 else "ok 0.2" for number in range(1000)}
    result = run("predict", folder(contents), "--json", "-", "--no-artifacts")
    assert result.exit_code == 3
    assert [record["status"] == "ok" for record in records(result.stdout)] == [n != 3 for n in range(1000)]


def test_a_bug_is_reported_without_its_text_unless_asked_for(run: Run, fake: ModuleType, folder: Folder) -> None:
    path = folder({"a": "broken"}) / "a"
    quiet = run("predict", path, "--json", "-")
    assert fake.SECRET not in quiet.output
    assert "Traceback" not in quiet.output


def test_debug_prints_the_traceback_of_a_bug_on_standard_error(start: Run, folder: Folder) -> None:
    path = folder({"a": "broken"}) / "a"
    out, err = start("--debug", "predict", path, "--json", "-").communicate(timeout=60)
    assert [record["error"]["code"] for record in records(out)] == ["internal-error"]
    assert "Traceback" in err
    assert "RuntimeError: bad value" in err


def test_no_figure_is_nan_or_infinite(run: Run, fake: ModuleType, folder: Folder) -> None:
    result = run("predict", folder({"a": "nan", "b": "ok 0.25"}), "--json", "-", "--no-artifacts")
    assert "NaN" not in result.stdout
    assert [record["status"] for record in records(result.stdout)] == ["refused", "ok"]


def test_json_to_a_file_leaves_the_table_on_standard_output(run: Run, fake: ModuleType, folder: Folder) -> None:
    place = folder({"a.png": "ok 0.25", "b.png": "blank", "c.png": "ok 0.75"})
    result = run("predict", place, "--json", "out.jsonl", "--no-artifacts")
    assert result.exit_code == 3
    assert names(Path("out.jsonl").read_text(encoding="ascii")) == ["a.png", "b.png", "c.png"]
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["probability", "label", "side", "view", "x,y", "file"]
    assert rows[0].split() == ["0.2500", "benign", "L", "MLO", "20,31", str(place / "a.png"), "(low-resolution)"]
    assert rows[1].split()[:2] == ["-", "refused"]
    assert rows[1].endswith("b.png: The picture is blank. [blank-image]")
    assert rows[2].split()[:2] == ["0.7500", "malignant"]
    assert "2 answered, 1 refused." in result.stderr
    assert "research" in result.stderr


def test_json_on_standard_output_comes_alone(run: Run, fake: ModuleType, folder: Folder) -> None:
    result = run("predict", folder({"a": "ok 0.1", "b": "ok 0.2"}), "--json", "-")
    assert len(records(result.stdout)) == 2
    assert result.stderr == ""


def test_folders_are_read_recursively_in_the_order_of_names(run: Run, fake: ModuleType, folder: Folder) -> None:
    place = folder({"b/2": "ok", "b/1": "ok", "a": "ok", "c": "ok", "B": "ok", "b/x/0": "ok"})
    result = run("predict", place / "c", place, "--json", "-", "--no-artifacts")
    found = [str(Path(record["path"]).relative_to(place)) for record in records(result.stdout)]
    assert found == ["c", "B", "a", "b/1", "b/2", "b/x/0", "c"]


def test_what_is_no_image_gets_a_line_too(run: Run, fake: ModuleType, folder: Folder) -> None:
    result = run("predict", folder({"a.png": "ok", "labels.csv": "x,y", "readme": "hello"}), "--json", "-")
    assert names(result.stdout) == ["a.png", "labels.csv", "readme"]
    assert result.exit_code == 3


def test_hidden_files_directories_of_dicom_and_special_files_are_passed_over(
    run: Run, fake: ModuleType, folder: Folder
) -> None:
    place = folder({"a": "ok", ".hidden": "ok", "._a": "ok", ".git/x": "ok", "DICOMDIR": "ok", "d/dicomdir": "ok"})
    os.mkfifo(place / "pipe")
    (place / "device").symlink_to("/dev/zero")
    result = run("predict", place, "--json", "-", "--no-artifacts")
    assert names(result.stdout) == ["a"]
    assert result.exit_code == 0


def test_hidden_files_named_on_the_command_line_are_read(run: Run, fake: ModuleType, folder: Folder) -> None:
    place = folder({".hidden": "ok", "DICOMDIR": "ok"})
    result = run("predict", place / ".hidden", place / "DICOMDIR", "--json", "-", "--no-artifacts")
    assert names(result.stdout) == [".hidden", "DICOMDIR"]


def test_links_that_go_round_in_circles_end(run: Run, fake: ModuleType, folder: Folder) -> None:
    place = folder({"a/1": "ok", "b/2": "ok"})
    (place / "a" / "up").symlink_to(place)
    (place / "b" / "side").symlink_to(place / "a")
    (place / "self").symlink_to(place / "self")
    result = run("predict", place, "--json", "-", "--no-artifacts")
    assert names(result.stdout) == ["1", "2", "self"]
    assert [record["status"] for record in records(result.stdout)] == ["ok", "ok", "refused"]


def test_a_link_that_leads_nowhere_is_refused_without_a_hash(run: Run, fake: ModuleType, folder: Folder) -> None:
    place = folder({"a": "ok"})
    (place / "b").symlink_to(place / "gone")
    result = run("predict", place, "--json", "-", "--no-artifacts")
    last = records(result.stdout)[1]
    assert (last["sha256"], last["status"], last["error"]["code"]) == (None, "refused", "file-missing")


def test_a_folder_that_can_not_be_listed_gets_a_line(
    run: Run, fake: ModuleType, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, listdir = folder({"a": "ok", "shut/b": "ok"}), os.listdir

    def refuse(path: Path) -> list[str]:  # rights do not bind root, who may run these tests
        if Path(path).name == "shut":
            raise PermissionError
        return listdir(path)

    monkeypatch.setattr("mammolens.cli.files.os.listdir", refuse)
    result = run("predict", place, "--json", "-", "--no-artifacts")
    assert names(result.stdout) == ["a", "shut"]
    assert records(result.stdout)[1]["error"]["code"] == "file-missing"
    assert result.exit_code == 3


def test_hostile_names_are_shown_harmless_and_kept_apart(start: Run, tmp_path: Path) -> None:
    place = tmp_path / "in"
    place.mkdir()
    odd = [b"\xff.png", b"\x1b[31mred.png", b"line\nbreak.png", "a\u202egnp.exe".encode(), "\u2028.png".encode(), b"%s"]
    for name in odd:
        (place / os.fsdecode(name)).write_bytes(b"ok 0.25 " + name)
    out, err = start("predict", place, "--json", "-").communicate(timeout=60)
    found = records(out)
    assert len(found) == len(out.split("\n")) - 1 == len(odd)
    assert out.isascii()
    assert {Path(record["path"]).name for record in found} == {
        *(name.decode() for name in odd[1:]),
        "\\xff.png",
    }
    pictures = [record["artifacts"]["overlay"] for record in found]
    assert len(set(pictures)) == len(odd)
    assert all(Path(tmp_path / picture).is_file() for picture in pictures)
    assert {Path(tmp_path / picture).parent for picture in pictures} == {tmp_path / "mammolens-output"}
    assert err == ""


def test_hostile_names_can_not_reach_the_terminal(start: Run, tmp_path: Path) -> None:
    place = tmp_path / "in"
    place.mkdir()
    for name in (b"\xff", b"\x1b[31m", b"a\nb", "\u202e".encode()):
        (place / os.fsdecode(name)).write_bytes(b"blank")
    out, _ = start("predict", place, env={"PYTHONIOENCODING": "ascii"}).communicate(timeout=60)
    rows = out.split("\n")[1:-1]
    assert len(rows) == 4
    assert out.replace("\n", "").isprintable()
    assert [row.partition("in/")[2].partition(":")[0] for row in rows] == ["\\x1b[31m", "a\\nb", "\\u202e", "\\xff"]


def test_pictures_of_equal_names_do_not_collide(run: Run, fake: ModuleType, folder: Folder) -> None:
    contents = {
        "x/1.dcm": "ok 0.1",
        "y/1.dcm": "ok 0.2",
        "y/1.png": "ok 0.1",
        "z/1.DCM": "blank",
        "z/A.png": "ok 0.3",
        "z/a.png": "ok 0.4",
        "z/1.2.3": "ok 0.5",
        "z/1.2.4": "ok 0.6",
    }
    result = run("predict", folder(contents), "--json", "-", "--out", "pictures")
    found = [record for record in records(result.stdout) if record["status"] == "ok"]
    stems = [Path(record["artifacts"]["overlay"]).name.removesuffix(".overlay.png") for record in found]
    first, second, third, fourth = (hashlib.sha256(f"ok 0.{n}".encode()).hexdigest()[:8] for n in (1, 2, 3, 4))
    assert stems == [
        f"1-{first}",
        f"1-{second}",
        f"1-{first}-2",
        "1.2.3",
        "1.2.4",
        f"A-{third}",
        f"a-{fourth}",
    ]
    assert len(list(Path("pictures").iterdir())) == 3 * len(stems)


def test_pictures_are_where_the_record_says(run: Run, fake: ModuleType, folder: Folder) -> None:
    result = run("predict", folder({"a.dcm": "ok 0.25"}), "--json", "-")
    artifacts = records(result.stdout)[0]["artifacts"]
    assert artifacts["overlay"] == "mammolens-output/a.overlay.png"
    assert {"overlay", "heatmap"} <= artifacts.keys()
    with Image.open(artifacts["heatmap"]) as picture:
        assert (picture.size, picture.mode) == ((60, 80), "L")
    assert np.load(artifacts["heatmap_array"]).shape == (80, 60)


def test_without_artifacts_nothing_is_written(run: Run, fake: ModuleType, folder: Folder, tmp_path: Path) -> None:
    place = folder({"a.dcm": "ok 0.25"})
    assert run("predict", place, "--no-artifacts").exit_code == 0
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.dcm", "in"]


def test_results_are_no_inputs_of_the_next_run(run: Run, fake: ModuleType, folder: Folder) -> None:
    place = folder({"a.png": "ok 0.25", "b.png": "ok 0.5"})
    arguments = ("predict", place, "--json", place / "answers.jsonl", "--out", place / "pictures")
    first = run(*arguments)
    before = (place / "answers.jsonl").read_bytes()
    second = run(*arguments)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert names(before.decode()) == ["a.png", "b.png"]
    assert (place / "answers.jsonl").read_bytes() == before


def test_artifacts_that_can_not_be_written_refuse_the_file(run: Run, fake: ModuleType, folder: Folder) -> None:
    place = folder({"a.png": "ok 0.25", "b.png": "ok 0.5"})
    Path("out/a.overlay.png/x").mkdir(parents=True)
    result = run("predict", place, "--json", "-", "--out", "out")
    assert result.exit_code == 3
    assert [record.get("error", {}).get("code") for record in records(result.stdout)] == ["output-error", None]


def misuse(folder: Folder) -> dict[str, list[Any]]:
    place = folder({"a.png": "ok 0.25", "notes.txt": "mine", "empty/.x": ""})
    picture = place / "a.png"
    return {
        "no path": [],
        "missing path": [picture, place / "gone"],
        "empty folder": [place / "empty"],
        "a device": ["/dev/zero"],
        "unknown model": [picture, "--model", "nix"],
        "unknown engine": [picture, "--engine", "nix"],
        "no jobs": [picture, "--jobs", "0"],
        "jobs in words": [picture, "--jobs", "many"],
        "negative frame": [picture, "--frame", "-1"],
        "unknown option": [picture, "--nix"],
        "answers over the input": [picture, "--json", picture],
        "answers over another file": [picture, "--json", place / "notes.txt"],
        "answers into nowhere": [picture, "--json", place / "gone" / "x.jsonl"],
        "pictures among the inputs": [place, "--out", place],
        "pictures into a file": [picture, "--out", place / "notes.txt"],
    }


@pytest.mark.parametrize("case", list(misuse(lambda contents: Path("in"))))
def test_wrong_usage_ends_with_two_and_harms_nothing(run: Run, fake: ModuleType, folder: Folder, case: str) -> None:
    result = run("predict", *misuse(folder)[case])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "rror" in result.stderr
    assert Path("in/a.png").read_text() == "ok 0.25"
    assert Path("in/notes.txt").read_text() == "mine"


def test_a_setting_that_does_not_fit_is_wrong_usage(start: Run, folder: Folder) -> None:
    process = start("predict", folder({"a": "ok"}), env={"MAMMOLENS_MAX_PIXELS": "many"})
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.splitlines() == [
        "error [configuration-error]: MAMMOLENS_MAX_PIXELS: the value does not fit. See docs/settings.md."
    ]


def test_one_input_takes_all_cores_and_several_take_one_each(
    run: Run, fake: ModuleType, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mammolens.cli.terminal.processors", lambda: 4)
    place = folder({"a": "ok", "b": "ok"})
    for arguments in ((place / "a",), (place,), (place, "--jobs", "1")):
        assert run("predict", *arguments, "--no-artifacts").exit_code == 0
    assert [opened["threads"] for opened in fake.OPENED] == [0, 1, 0]


def test_options_reach_the_reader(run: Run, fake: ModuleType, folder: Folder) -> None:
    place = folder({"a": "ok"})
    run("predict", place, "--no-artifacts")
    run("predict", place, "--no-artifacts", "--any-modality", "--frame", "3")
    plain, asked = (opened["options"] for opened in fake.OPENED)
    assert (plain.any_modality, plain.frame) == (False, None)
    assert (asked.any_modality, asked.frame) == (True, 3)
