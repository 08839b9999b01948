"""Nodes and constants of an ONNX graph, collected one by one under names of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET = 17
"""Of the graphs that are written here; the nodes are the same in 13 to 17."""


class Writer:
    """Collects nodes and constants.

    Parameters
    ----------
    prefix : str
        Begins every name that is made up here.
    """

    def __init__(self, prefix: str = "") -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self._prefix = prefix
        self._count = 0
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: NDArray[Any]) -> str:
        """Add a constant and give its name."""
        name = self._name("constant")
        self.constants.append(self._numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def number(self, value: float) -> str:
        """Add a float32 scalar."""
        return self.constant(np.array(value, np.float32))

    def whole(self, *values: int) -> str:
        """Add a list of int64."""
        return self.constant(np.array(values, np.int64))

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node of one output and give that output's name."""
        output = output or self._name(kind.lower())
        self.nodes.append(self._helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{self._prefix}{kind}_{self._count}"
