"""A ZIP gives its pictures and nothing else: no path of its own, no more than it may, no half of it unsaid."""

from __future__ import annotations

import io
import random
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from mammolens.errors import InputError, MalformedFile, TooLarge, UnsupportedEncoding
from mammolens.web.app import Services
from mammolens.web.database.tables import BatchFile, Case, Identifier, Image
from mammolens.web.intake.archive import Archive, Limit, is_zip
from mammolens.web.intake.receive import Received, Refused

Upload = Callable[..., list[Received | Refused]]
ROOM = Limit(500, 2 << 30)


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def opened(tmp_path: Path, data: bytes, limit: Limit = ROOM) -> Archive:
    path = tmp_path / "given.zip"
    path.write_bytes(data)
    return Archive(path, limit)


def everything_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_a_study_in_a_zip_becomes_its_case_and_the_rest_is_named(
    services: Services, upload: Upload, phantom_files: dict[str, bytes]
) -> None:
    files = {f"STUDY/{name[:-4]}": data for name, data in phantom_files.items() if name.endswith(".dcm")}
    data = zipped({**files, "STUDY/letter.txt": b"Dear colleague", "DICOMDIR": b"x", "__MACOSX/._RCC": b"x"})
    outcomes = upload({"study.zip": data})
    assert [type(outcome) for outcome in outcomes] == [*[Received] * 4, Refused]
    assert {outcome.case_number for outcome in outcomes if isinstance(outcome, Received)} == {1001}
    with services.database.reading() as session:
        names = set(session.scalars(select(BatchFile.name)))
        assert names == {f"study.zip/{name}" for name in [*files, "STUDY/letter.txt"]}
    assert list((services.folder / "incoming").iterdir()) == []


def test_the_same_zip_again_adds_nothing(services: Services, upload: Upload, phantom_files: dict[str, bytes]) -> None:
    data = zipped({"LCC.dcm": phantom_files["LCC.dcm"]})
    upload({"study.zip": data})
    [again] = upload({"study.zip": data})
    assert isinstance(again, Received)
    assert again.duplicate
    with services.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == 1


def test_names_that_climb_out_write_nothing_outside_the_store(
    services: Services, upload: Upload, grey_png: Callable[[int], bytes], tmp_path: Path
) -> None:
    names = ["../../../evil.png", "/etc/evil.png", "..", "~/x.png"]
    names += ["C:\\windows\\evil.png", "a/../../b.png", "a\\..\\c.png"]
    before = everything_below(tmp_path)
    outcomes = upload({"bad.zip": zipped({name: grey_png(place) for place, name in enumerate(names)})})
    assert [type(outcome) for outcome in outcomes] == [Received] * len(names)
    fresh = everything_below(tmp_path) - before
    store = services.folder / "store"
    inside = {path for path in fresh if path.parent.parent == store and len(path.name) == 64}
    others = {path.name for path in fresh - inside}
    assert len(inside) == len(names)
    assert others <= {".lock", "secret.key", "mammolens.db", "mammolens.db-wal", "mammolens.db-shm"}
    with services.database.reading() as session:
        kept = set(session.scalars(select(Identifier.file_name)))
        assert kept == {
            "bad.zip/evil.png", "bad.zip/etc/evil.png", "bad.zip/windows/evil.png", "bad.zip/a/b.png",
            "bad.zip/unnamed", "bad.zip/~/x.png", "bad.zip/a/c.png",
        }  # fmt: skip


def test_a_zip_in_a_zip_is_refused_and_not_opened(
    services: Services, upload: Upload, grey_png: Callable[[int], bytes]
) -> None:
    inner = zipped({"1.png": grey_png(1)})
    first, second = upload({"outer.zip": zipped({"inner.zip": inner, "2.png": grey_png(2)})})
    assert isinstance(first, Refused)
    assert first.error.code == "unknown-format"
    assert isinstance(second, Received)
    with services.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == 1


def test_an_encrypted_file_is_refused_with_what_would_help(tmp_path: Path, grey_png: Callable[[int], bytes]) -> None:
    data = bytearray(zipped({"1.png": grey_png(1)}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.index(mark) + at
        data[place] |= 1
    with opened(tmp_path, bytes(data)) as archive:
        [entry] = archive.entries()
        with pytest.raises(UnsupportedEncoding, match="password"), entry.opened():
            pytest.fail("an encrypted file was opened")


def test_other_compressions_than_deflate_are_refused(tmp_path: Path, grey_png: Callable[[int], bytes]) -> None:
    with opened(tmp_path, zipped({"1.png": grey_png(1)}, zipfile.ZIP_LZMA)) as archive:
        [entry] = archive.entries()
        with pytest.raises(UnsupportedEncoding, match="deflate"), entry.opened():
            pytest.fail("an LZMA entry was opened")


def test_a_bomb_is_refused_by_its_header_within_two_seconds(services: Services, upload: Upload) -> None:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("bomb.png", "w", force_zip64=True) as file,
    ):
        file.write(b"\x89PNG\r\n\x1a\n")
        for _ in range(70):
            file.write(bytes(1 << 20))
    began = time.process_time()
    [outcome] = upload({"bomb.zip": stream.getvalue()})
    assert isinstance(outcome, Refused)
    assert outcome.error.code == "too-large"
    assert time.process_time() - began < 2.0
    assert everything_below(services.folder / "store") <= {services.folder / "store" / ".lock"}


def test_a_header_that_understates_its_size_gives_nothing(tmp_path: Path) -> None:
    data = bytearray(zipped({"1.png": b"\x89PNG\r\n\x1a\n" + bytes(100_000)}))
    for mark, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<L", data, data.index(mark) + at, 1000)
    with opened(tmp_path, bytes(data)) as archive:
        [entry] = archive.entries()
        with entry.opened() as stream, pytest.raises(MalformedFile):
            stream.read(4096)


@pytest.mark.parametrize("limit", [Limit(2, 1 << 20), Limit(500, 150)])
def test_more_files_or_bytes_than_allowed_are_refused_as_a_whole(tmp_path: Path, limit: Limit) -> None:
    data = zipped({f"{number}.png": bytes(100) for number in range(3)})
    with pytest.raises(TooLarge, match="Split it"):
        opened(tmp_path, data, limit)


def test_a_directory_of_a_hundred_thousand_names_is_not_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    count = 100_000
    stream.write(b"PK\x03\x04" + entry * count)
    stream.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(entry) * count, 4, 0))
    with pytest.raises(TooLarge, match="more files than"):
        opened(tmp_path, stream.getvalue())


def test_a_wrong_checksum_refuses_that_file_and_keeps_the_others(
    upload: Upload, grey_png: Callable[[int], bytes]
) -> None:
    good, bad = grey_png(1), grey_png(2)
    data = bytearray(zipped({"bad.png": bad, "good.png": good}, zipfile.ZIP_STORED))
    data[data.index(bad) + len(bad) - 20] ^= 0xFF
    first, second = upload({"study.zip": bytes(data)})
    assert isinstance(first, Refused)
    assert first.error.code == "malformed-file"
    assert isinstance(second, Received)


@pytest.mark.parametrize("data", [b"PK\x03\x04 and nothing more", b"PK\x05\x06" + bytes(300)])
def test_what_only_begins_like_a_zip_is_refused(services: Services, upload: Upload, data: bytes) -> None:
    [outcome] = upload({"x.zip": data})
    assert isinstance(outcome, Refused)
    assert outcome.error.code in ("malformed-file", "input-error")
    with services.database.reading() as session:
        assert session.scalar(select(BatchFile.error_code)) == outcome.error.code
        assert session.scalar(select(func.count()).select_from(Case)) == 0


def test_an_empty_zip_says_so(upload: Upload) -> None:
    [outcome] = upload({"x.zip": zipped({})})
    assert isinstance(outcome, Refused)
    assert "no files" in outcome.error.message


def test_a_dicom_file_whose_preamble_begins_like_a_zip_is_dicom(
    upload: Upload, phantom_files: dict[str, bytes]
) -> None:
    data = b"PK\x03\x04" + bytes(124) + phantom_files["RCC.dcm"][128:]
    assert not is_zip(data[:256])
    [outcome] = upload({"RCC.dcm": data})
    assert isinstance(outcome, Received)


def test_every_refusal_of_a_mangled_zip_is_typed(tmp_path: Path, grey_png: Callable[[int], bytes]) -> None:
    draw = random.Random(4)
    whole = zipped({f"{number}.png": grey_png(number) for number in range(3)})
    read = refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if draw.random() < 0.3:
            del data[draw.randint(20, len(data)) :]
        try:
            with opened(tmp_path, bytes(data)) as archive:
                for entry in archive.entries():
                    with entry.opened() as stream:
                        while stream.read(4096):
                            pass
                    read += 1
        except InputError:
            refused += 1
    assert refused > 100
    assert read > 10
