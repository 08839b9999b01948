"""The bounded child: every death is one typed error, and nothing is lost, mixed up or left behind."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mammolens import errors
from mammolens.imaging import display, sandbox
from mammolens.imaging.display import RenderOptions
from mammolens.imaging.png import encode_png, write_png
from mammolens.imaging.reading import ReadOptions, read_mammogram
from mammolens.imaging.sandbox import DecodePool, default_pool
from mammolens.types import Notice, PixelSpacing

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits are tested where they hold: on Linux")


@pytest.fixture(autouse=True)
def _evil_module_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)


def evil_pool(workers: int = 1, **limits: float) -> DecodePool:
    return DecodePool(workers, module="evil_worker", **{"seconds": 20.0, **limits})


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    """One child for all tests that leave the pool in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
        with evil_pool() as made:
            yield made


def value_of(pool: DecodePool, command: bytes) -> int:
    return int(pool.read(command).pixels[0, 0])


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def children_of(pid: int) -> list[int]:
    """Processes, zombies included, whose parent is ``pid``."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat[1]) == pid:
            found.append(int(entry.name))
    return found


def wait_until(condition: object, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.01)
    return False


def test_every_field_arrives_as_it_was_sent(pool: DecodePool) -> None:
    mammogram = pool.read(b"picture 4321")
    np.testing.assert_array_equal(mammogram.pixels, np.full((4, 6), 4321, np.uint16))
    assert mammogram.pixels.dtype == np.uint16
    assert (mammogram.rows, mammogram.columns, mammogram.reduction) == (4, 6, 1)
    assert (mammogram.sha256, mammogram.source) == ("0" * 64, "dicom")
    assert (mammogram.laterality, mammogram.view) == ("L", "MLO")
    assert mammogram.view_modifiers == ("spot compression",)
    assert mammogram.pixel_spacing == PixelSpacing(0.07, 0.08, "imager")
    assert mammogram.negative is True
    assert mammogram.notices == (Notice("code", "Message."),)


def test_a_path_is_read_by_the_child_from_where_the_parent_stands(
    pool: DecodePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = os.fsdecode(b"\xe4\xb9\xb3 \xff.dcm")
    (tmp_path / name).write_bytes(b"picture 5")
    monkeypatch.chdir(tmp_path)
    assert [int(pool.read(source).pixels[0, 0]) for source in (name, Path(name), tmp_path / name)] == [5, 5, 5]


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (b"signal SIGKILL", errors.DecoderDied),
        (b"signal SIGSEGV", errors.DecoderDied),
        (b"signal SIGABRT", errors.DecoderDied),
        (b"signal SIGXCPU", errors.DecodeTimeout),
        (b"exit 0", errors.DecoderDied),
        (b"exit 1", errors.DecoderDied),
        (b"allocate", errors.DecodeOutOfMemory),
        (b"hoard", errors.DecodeOutOfMemory),
        (b"panic", errors.DecodeError),
        (b"raise", errors.DecodeError),
        (b"recurse", errors.DecodeError),
        (b"refuse", errors.NoBreast),
        (b"leak", errors.DecodeError),
        (b"garbage", errors.DecodeError),
        (b"huge-header", errors.DecodeError),
        (b"not-json", errors.DecodeError),
    ],
)
def test_every_death_is_one_typed_error_and_the_next_job_works(
    pool: DecodePool, command: bytes, error: type[errors.InputError]
) -> None:
    began = time.monotonic()
    with pytest.raises(errors.InputError) as caught:
        pool.read(command)
    assert type(caught.value) is error
    assert time.monotonic() - began < 15
    assert "DOE" not in caught.value.message
    assert "/" not in caught.value.message
    assert caught.value.__cause__ is None
    assert value_of(pool, b"picture 9") == 9


@pytest.mark.parametrize(
    "lie",
    ['{"shape":[65535,65535]}', '{"dtype":"|O"}', '{"view":"DOE^JANE"}', '{"error":"bundle-tampered","message":"x"}'],
)
def test_a_reply_that_does_not_hold_is_a_decode_error(pool: DecodePool, lie: str) -> None:
    with pytest.raises(errors.DecodeError) as caught:
        pool.read(f"lie {lie}".encode())
    assert type(caught.value) is errors.DecodeError
    assert "DOE" not in caught.value.message
    assert value_of(pool, b"picture 9") == 9


@pytest.mark.parametrize("command", [b"sleep", b"half", b"spin"])
def test_a_job_over_its_seconds_is_killed_and_the_next_works(command: bytes) -> None:
    with evil_pool(seconds=0.5) as pool:
        assert value_of(pool, b"picture 1") == 1
        (before,) = pool.process_ids
        began = time.monotonic()
        with pytest.raises(errors.DecodeTimeout):
            pool.read(command)
        assert 0.5 <= time.monotonic() - began < 3.0
        assert value_of(pool, b"picture 2") == 2
        assert before not in pool.process_ids
        assert not Path(f"/proc/{before}").exists()


def test_the_kernel_ends_a_child_that_uses_up_its_processor_time(pool: DecodePool) -> None:
    began = time.monotonic()
    with pytest.raises(errors.DecodeTimeout):
        pool.read(b"spin 0.1")
    assert time.monotonic() - began < 15
    assert value_of(pool, b"picture 2") == 2


def test_kill_minus_nine_in_mid_job_is_decoder_died_and_the_next_job_works() -> None:
    with evil_pool() as pool:
        assert value_of(pool, b"picture 1") == 1
        (pid,) = pool.process_ids
        threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
        with pytest.raises(errors.DecoderDied):
            pool.read(b"sleep")
        assert value_of(pool, b"picture 2") == 2


def test_a_child_killed_while_idle_costs_no_job() -> None:
    with evil_pool() as pool:
        for value in range(5):
            assert value_of(pool, f"picture {value}".encode()) == value
            os.kill(pool.process_ids[0], signal.SIGKILL)


def test_random_kills_lose_nothing_and_mix_nothing_up() -> None:
    rng, stop = random.Random(7), threading.Event()
    with evil_pool(2) as pool:
        futures = [pool.submit(f"slow {value}".encode()) for value in range(500)]

        def kill_now_and_then() -> None:
            for _ in range(12):
                for pid in rng.sample(pool.process_ids, 1) if pool.process_ids else []:
                    os.kill(pid, signal.SIGKILL)
                if stop.wait(rng.uniform(0.05, 0.6)):
                    return

        killer = threading.Thread(target=kill_now_and_then)
        killer.start()
        answered, died = 0, 0
        for value, future in enumerate(futures):
            try:
                assert future.result(timeout=120).pixels[0, 0] == value
                answered += 1
            except errors.DecoderDied:
                died += 1
        stop.set()
        killer.join()
    assert answered + died == 500
    assert died >= 1
    assert answered >= 400


def test_a_second_thread_is_for_a_child_that_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_processors", lambda: 4)
    with evil_pool(2) as pool:
        pool.start(1)
        assert pool._job("read", b"", ReadOptions()).threads == 2
        pool.start(2)
        assert pool._job("read", b"", ReadOptions()).threads == 1
    monkeypatch.setattr(sandbox, "_processors", lambda: 1)
    with evil_pool(1) as pool:
        assert pool._job("read", b"", ReadOptions()).threads == 1


def test_eight_threads_get_their_own_answers() -> None:
    with evil_pool(2) as pool, ThreadPoolExecutor(8) as threads:
        values = list(threads.map(lambda value: value_of(pool, f"slow {value}".encode()), range(80)))
        assert len(pool.process_ids) == 2
    assert values == list(range(80))


def test_submit_gives_typed_errors_and_keeps_order() -> None:
    with evil_pool(2) as pool:
        futures = [pool.submit(command) for command in (b"slow 1", b"refuse", b"picture 3")]
        assert futures[0].result().pixels[0, 0] == 1
        assert isinstance(futures[1].exception(), errors.NoBreast)
        assert futures[2].result().pixels[0, 0] == 3


def test_what_a_library_prints_does_not_garble_the_answer(pool: DecodePool) -> None:
    assert value_of(pool, b"print") == 0
    assert value_of(pool, b"picture 8") == 8


def test_a_large_picture_arrives_whole(pool: DecodePool) -> None:
    mammogram = pool.read(b"large")
    assert mammogram.pixels.shape == (1339, 1229)
    assert (mammogram.pixels == 7).all()
    assert mammogram.pixels.flags.writeable


def test_large_files_arrive_whole(pool: DecodePool) -> None:
    assert value_of(pool, b"picture 77" + b" " * (64 << 20)) == 77


def test_a_file_over_the_childs_memory_is_out_of_memory() -> None:
    with evil_pool(memory_bytes=600 << 20) as pool:
        with pytest.raises(errors.DecodeOutOfMemory):
            pool.read(bytes(500 << 20))
        assert value_of(pool, b"picture 1") == 1


def test_a_child_can_not_write_a_file(pool: DecodePool, tmp_path: Path) -> None:
    with pytest.raises(errors.DecodeError):
        pool.read(f"write {tmp_path / 'out'}".encode())
    assert not (tmp_path / "out").exists() or (tmp_path / "out").stat().st_size == 0


def test_children_are_bounded_and_know_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAMMOLENS_TEST_SECRET", "hunter2")
    with evil_pool(memory_bytes=1 << 30) as pool:
        assert value_of(pool, b"picture 1") == 1
        (pid,) = pool.process_ids
        limits = {
            line[:26].strip(): line[26:].split()[0] for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
        }
        status = Path(f"/proc/{pid}/status").read_text()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert os.getsid(pid) == pid
    assert limits["Max address space"] == str(1 << 30)
    assert limits["Max core file size"] == "0"
    assert limits["Max file size"] == "0"
    assert int(limits["Max open files"]) <= 64
    assert 20 < int(limits["Max cpu time"]) < 40
    assert "NoNewPrivs:\t1" in status
    assert "Threads:\t1\n" in status
    assert b"hunter2" not in environment


def test_a_child_is_replaced_after_its_share_of_jobs() -> None:
    with evil_pool(recycle_after=3) as pool:
        pids = [value_of(pool, b"pid") for _ in range(9)]
    assert [len(set(pids[i : i + 3])) for i in (0, 3, 6)] == [1, 1, 1]
    assert len(set(pids)) == 3


def test_start_warms_up_without_waiting() -> None:
    with evil_pool(3) as pool:
        assert pool.process_ids == []
        pool.start(1)
        assert len(pool.process_ids) == 1
        pool.start()
        assert len(pool.process_ids) == 3
        assert value_of(pool, b"picture 4") == 4


def test_no_process_and_no_descriptor_is_left_after_close() -> None:
    evil_pool().close()
    before, children = descriptors(), children_of(os.getpid())
    pool = evil_pool(2)
    pool.start()
    assert value_of(pool, b"picture 4") == 4
    for command in (b"signal SIGKILL", b"garbage"):
        with pytest.raises(errors.DecodeError):
            pool.read(command)
    running = [pool.submit(command) for command in (b"sleep", b"sleep", b"sleep", b"sleep")]
    assert wait_until(lambda: running[1].running())
    pool.close()
    pool.close()
    assert isinstance(running[0].exception(timeout=5), errors.DecoderDied)
    with pytest.raises(CancelledError):
        running[3].result(timeout=5)
    assert descriptors() == before
    assert children_of(os.getpid()) == children
    with pytest.raises(errors.ConfigurationError):
        pool.read(b"picture 1")
    with pytest.raises(errors.ConfigurationError):
        pool.submit(b"picture 1")


def test_a_forgotten_pool_leaves_nothing() -> None:
    before = children_of(os.getpid())
    pool = evil_pool()
    assert pool.submit(b"picture 4").result().pixels[0, 0] == 4
    del pool
    gc.collect()
    assert children_of(os.getpid()) == before


def test_a_module_that_does_not_start_is_decoder_died() -> None:
    for pool in (DecodePool(1, module="no_such_module_at_all"), evil_pool(memory_bytes=48 << 20)):
        with pool, pytest.raises(errors.DecoderDied, match="MAMMOLENS_DECODE_MEMORY_BYTES"):
            pool.read(b"picture 1")


@pytest.mark.parametrize("figures", [{"workers": 0}, {"seconds": 0.0}, {"memory_bytes": 0}, {"recycle_after": 0}])
def test_figures_that_make_no_sense_are_refused(figures: dict[str, int]) -> None:
    with pytest.raises(errors.ConfigurationError):
        DecodePool(**figures)


def test_trusted_files_are_read_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with evil_pool() as pool:
        with pytest.raises(errors.UnknownFormat):
            pool.read(b"picture 1", trusted=True)
        assert pool.process_ids == []
    with evil_pool(in_process=True) as pool:
        pool.start()
        with pytest.raises(errors.UnknownFormat):
            pool.submit(b"picture 1").result()
        assert pool.process_ids == []


def test_default_pool_is_one_until_it_is_closed() -> None:
    first = default_pool()
    assert default_pool() is first
    first.close()
    second = default_pool()
    assert second is not first
    second.close()


PROGRAM = """
import signal, sys, time
from mammolens.imaging.sandbox import DecodePool
pool = DecodePool(2, module="evil_worker", seconds=1.0)
pool.read(b"picture 1")
futures = [pool.submit(b"sleep") for _ in range(50)]
while len(pool.process_ids) < 2:
    time.sleep(0.01)
print(*pool.process_ids, flush=True)
{rest}
"""


@pytest.mark.parametrize(
    ("rest", "sent"),
    [
        ("sys.exit(0)", None),
        ("futures[0].result()", signal.SIGINT),
        ("time.sleep(60)", signal.SIGKILL),
    ],
)
def test_a_program_that_ends_any_way_leaves_no_process(rest: str, sent: signal.Signals | None) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(rest=rest)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    ) as program:
        assert program.stdout is not None
        pids = [int(pid) for pid in program.stdout.readline().split()]
        assert len(pids) == 2
        if sent is not None:
            os.killpg(program.pid, sent)
        program.wait(timeout=20)
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own answer to SIGINT, which a shell takes away from what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupting_a_read_leaves_the_pool_in_order() -> None:
    with evil_pool() as pool:
        assert value_of(pool, b"picture 1") == 1
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            pool.read(b"sleep")
        assert value_of(pool, b"picture 2") == 2


def test_options_reach_the_child_as_they_were_given() -> None:
    options = ReadOptions(any_modality=True, min_size=(96, 64))
    job = DecodePool(1)._job("read", b"x", options)
    assert job.options["any_modality"] is True
    assert job.max_pixels == options.limits.max_pixels
    assert sandbox.WORKER == "mammolens.imaging.worker"


def test_the_real_child_renders_and_reads_as_this_process_does(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:320, :240]
    inside = ((rows - 160) / 120.0) ** 2 + (columns / 170.0) ** 2 < 1.0
    noise = np.random.default_rng(5).normal(0, 300, (320, 240))
    path = tmp_path / "picture"
    write_png(path, np.where(inside, 2000 + noise, 60).clip(0, 4095).astype(np.uint16))
    options = RenderOptions(bits=16, size=100, window=(2000.0, 3000.0))
    read = ReadOptions(any_modality=True)
    with DecodePool(1) as pool:
        np.testing.assert_array_equal(pool.render(path, options), display.render(path, options))
        there, here = pool.read(path.read_bytes(), read), read_mammogram(path, read)
        np.testing.assert_array_equal(there.pixels, here.pixels)
        assert replace(there, pixels=here.pixels) == here
        assert there.breast is not None
        assert here.breast is not None
        np.testing.assert_array_equal(there.breast.mask, here.breast.mask)
        assert (there.breast.box, there.breast.chest_wall) == (here.breast.box, here.breast.chest_wall)
        assert there.breast.area == here.breast.area
        with pytest.raises(errors.FileMissing):
            pool.read(tmp_path / "DOE^JANE.dcm")
        with pytest.raises(errors.NoBreast):
            pool.render(encode_png(np.zeros((64, 64), np.uint8)), RenderOptions(crop=True))
        assert pool.render(path).shape == (320, 240)
