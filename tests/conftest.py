"""Fixtures shared by all tests."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

from mammolens.models.efficientnet import features_of, kernels, normalisation
from mammolens.models.network import Convolution, InputContract, InputScale, Network
from mammolens.settings import settings
from support.small import shrink

REPOSITORY = Path(__file__).resolve().parents[1]
END_LIMIT = 300.0
"""Seconds that a test's fixtures have to be put away."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    # After a failure, the limits of the test itself have been used up or called off.
    faulthandler.dump_traceback_later(END_LIMIT, file=item.config.stash[fault_handler_stderr_fd_key], exit=True)
    return (yield)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real images that developers and CI have beside the checkout; skips where it is missing."""
    folder = Path(os.environ.get("MAMMOLENS_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("the shared images are not on this machine (set MAMMOLENS_SHARED)")
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home of Mammolens, for this test alone."""
    monkeypatch.setenv("MAMMOLENS_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    yield tmp_path / "home"
    settings.cache_clear()


@pytest.fixture
def small_b0(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a network of a few thousand weights in the place of EfficientNet-B0."""
    shrink(monkeypatch)


_GAINS = {"dwconv": 2.8, "se_reduce": 0.3, "se_expand": 0.3, "project_conv": 6.0}
"""Variances that make up for swish (0.36 of a normal variable's power) and for gates that are half open."""


def _random_network(
    architecture: str = "efficientnet-b0",
    size: tuple[int, int] = (64, 48),
    channels: Literal[1, 3] = 1,
    scale: InputScale = "255",
    seed: int = 0,
) -> Network:
    random = np.random.default_rng(seed)
    convolutions = {}
    for layer, shape in kernels(architecture, channels).items():
        depthwise = layer.endswith("dwconv")
        fan_in, width = (shape[0] * shape[1], shape[2]) if depthwise else (int(np.prod(shape[:3])), shape[3])
        gain = next((gain for kind, gain in _GAINS.items() if layer.endswith(kind)), 1.0)
        kernel = random.normal(0.0, np.sqrt(gain / fan_in), shape).astype(np.float32)
        convolutions[layer] = Convolution(kernel, random.normal(0.0, 0.1, width).astype(np.float32))
    factor, offset = (np.array(values, np.float32) for values in normalisation(channels))
    if scale != "255":
        factor = factor * np.float32(255.0 if scale == "1" else 127.5)
    return Network(
        architecture=architecture,
        contract=InputContract(*size, channels=channels, scale=scale),
        factor=factor,
        offset=offset,
        convolutions=convolutions,
        head=random.normal(0.0, 0.05, features_of(architecture)).astype(np.float32),
        bias=0.125,
    )


@pytest.fixture(scope="session")
def random_network() -> Callable[..., Network]:
    """Make a network of random weights that keep activations of ordinary size: architecture, size, channels, …."""
    return _random_network
