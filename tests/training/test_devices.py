"""Several accelerators share a batch on JAX, and nowhere else."""

from __future__ import annotations

import pytest

keras = pytest.importorskip("keras")

from mammolens.errors import ConfigurationError  # noqa: E402
from mammolens.training import devices  # noqa: E402


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    made: list[object] = []
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0", "gpu:1"])
    monkeypatch.setattr(keras.distribution, "DataParallel", lambda devices: tuple(devices))
    monkeypatch.setattr(keras.distribution, "set_distribution", made.append)
    return made


def test_batches_are_shared_on_jax_with_several_devices(chosen: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert devices.spread(16) == 2
    assert chosen == [("gpu:0", "gpu:1")]
    with pytest.raises(ConfigurationError, match="multiple of the 2 accelerators"):
        devices.spread(15)
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0"])
    assert devices.spread(15) == 1


def test_other_backends_use_one_device(chosen: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    assert devices.spread(15) == 1
    assert chosen == []
