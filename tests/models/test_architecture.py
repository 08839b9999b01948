"""The figures of EfficientNet against those published."""

from __future__ import annotations

import pytest

from mammolens.models.architecture import VARIANTS, blocks, features_of, multiply_adds, parameters

# Millions of parameters (with 1,000 classes) and billions of multiply-adds at the default size:
# M. Tan and Q. V. Le, ICML 2019, table 2.
PUBLISHED = {
    "efficientnet-b0": (5.3, 0.39),
    "efficientnet-b1": (7.8, 0.70),
    "efficientnet-b2": (9.2, 1.0),
    "efficientnet-b3": (12.0, 1.8),
}


@pytest.mark.parametrize("architecture", list(VARIANTS))
def test_parameters_and_multiply_adds_are_the_published_ones(architecture: str) -> None:
    millions, billions = PUBLISHED[architecture]
    with_classes = parameters(architecture, channels=3) + 999 * (features_of(architecture) + 1)
    assert with_classes / 1e6 == pytest.approx(millions, rel=0.03)
    size = VARIANTS[architecture].size
    assert multiply_adds(architecture, (size, size), channels=3) / 1e9 == pytest.approx(billions, rel=0.03)


def test_default_sizes_are_those_of_the_paper() -> None:
    assert [scaling.size for scaling in VARIANTS.values()] == [224, 240, 260, 300]


def test_blocks_of_b0_are_those_of_table_1() -> None:
    # Table 1 of the paper: repeats, channels, kernel and resolution of the seven stages.
    found = list(blocks("efficientnet-b0"))
    assert [sum(block.name.startswith(f"block{stage}") for block in found) for stage in range(1, 8)] == [
        1, 2, 2, 3, 3, 4, 1,
    ]  # fmt: skip
    assert [block.filters_out for block in found if block.name.endswith("a_")] == [16, 24, 40, 80, 112, 192, 320]
    assert [block.kernel for block in found if block.name.endswith("a_")] == [3, 3, 5, 3, 5, 5, 3]
    assert [block.name for block in found if block.stride == 2] == ["block2a_", "block3a_", "block4a_", "block6a_"]
    assert found[0].skip is False
    assert found[2].skip is True


def test_four_times_the_pixels_are_four_times_the_work() -> None:
    small, large = (multiply_adds("efficientnet-b2", size) for size in ((512, 384), (1024, 768)))
    assert large / small == pytest.approx(4.0, rel=0.01)
