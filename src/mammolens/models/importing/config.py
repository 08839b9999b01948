"""The description of a model, as any Keras wrote it, flattened into one graph of calls.

A description is a tree: models hold layers and other models, and say how one layer is
called on the output of another. Three generations of the format are read: Keras 1
(``nb_filter``, lists for sequential models), Keras 2 (``inbound_nodes`` as lists) and
Keras 3 (``inbound_nodes`` as ``args`` and ``kwargs``). Nothing in it is ever executed
or looked up as code.

References
----------
Pieces of the format: `mammolens.models.importing.description`. Weight groups: keras 3
``src/saving/saving_lib.py``, ``_save_container_state``.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mammolens.errors import ModelFileMalformed, ModelUnsupported
from mammolens.models.importing.description import (
    MAX_DEPTH,
    Entry,
    Node,
    Reference,
    Shape,
    input_shape,
    is_model,
    modern,
    node_of,
    plain,
    references,
    shown,
)

__all__ = ["Call", "Graph", "Layer", "flatten", "shown", "snake_case"]

MAX_CALLS = 20_000
"""Calls of layers; EfficientNet-B7 needs 813."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of the file.

    Attributes
    ----------
    path : tuple of str
        Its name, after those of the models that it lies in, outermost first.
    stored : tuple of str
        Where Keras 3 puts its weights: classes in snake case, counted within each
        model: ``("functional", "conv2d_3")``.
    kind : str
        Class, by the name that Keras 2 and 3 have for it.
    own : bool
        Whether it may be one of Keras' own classes; False if it says that it is not.
    operation : bool
        Whether it is a bare operation of Keras 3 (``x / 255``), not a layer.
    settings : mapping
        Its configuration, with the keys of Keras 2.
    """

    path: tuple[str, ...]
    stored: tuple[str, ...]
    kind: str
    own: bool
    operation: bool
    settings: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a layer.

    Attributes
    ----------
    layer : Layer
    inputs : tuple of int
        The calls that its tensors come from; each comes before it in the graph.
    constants : mapping of int or str to object
        What else it was given, by position or name.
    """

    layer: Layer
    inputs: tuple[int, ...]
    constants: Mapping[int | str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Graph:
    """A model as calls of layers, nested models dissolved.

    Attributes
    ----------
    calls : tuple of Call
        Each after those that it takes its input from. The first is the input.
    output : int
        The call that gives the answer.
    shape : tuple of int or None
        ``(height, width, channels)`` of the input; None where the file leaves it open.
    models : tuple of Layer
        The models within the model, and the outermost one first.
    """

    calls: tuple[Call, ...]
    output: int
    shape: Shape
    models: tuple[Layer, ...]


def snake_case(name: str) -> str:
    """Class name as Keras makes layer names and weight groups of it (``Conv2D`` → ``conv2d``)."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def flatten(config: Mapping[str, Any]) -> Graph:
    """Dissolve a model's description into calls of layers.

    Parameters
    ----------
    config : mapping
        ``{"class_name": …, "config": …}``, as the file holds it.

    Returns
    -------
    Graph

    Raises
    ------
    ModelFileMalformed
        If the description contradicts itself, or is of absurd size.
    ModelUnsupported
        If the model has several inputs or outputs, or is not made of layers.
    """
    config = plain(config)
    if not is_model(config):
        raise ModelUnsupported(
            "The file describes no sequential or functional model. Save it from such a model, or try --foreign."
        )
    flattening = _Flattening()
    outputs = flattening.model(Entry.of(config), (), (), None)
    if len(outputs) != 1 or flattening.inputs != 1:
        raise ModelUnsupported("The model has several inputs or outputs; only one of each can be imported.")
    return Graph(tuple(flattening.calls), outputs[0], input_shape(config), tuple(flattening.models))


def _numbered(children: Mapping[str, Entry], wanted: list[Reference]) -> dict[tuple[str, int], Node]:
    """Give the calls of a functional model's layers, by layer and by the number under which others refer to them.

    Keras 2 counts the calls of a model within a model from 1: its call 0 is the one
    that it was built with, and not written.
    """
    nodes = {name: [node_of(raw, children) for raw in child.nodes] for name, child in children.items()}
    referred: dict[str, set[int]] = {}
    for name, index, _ in (*wanted, *(each for calls in nodes.values() for node in calls for each in node.references)):
        referred.setdefault(name, set()).add(index)
    numbered: dict[tuple[str, int], Node] = {}
    for name, calls in nodes.items():
        used = referred.get(name, set())
        first = 1 if children[name].layers is not None and len(calls) in used and 0 not in used else 0
        numbered |= {(name, first + index): node for index, node in enumerate(calls)}
    return numbered


class _Flattening:
    """Collects calls while models are dissolved."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.models: list[Layer] = []
        self.inputs = 0

    def call(self, layer: Layer, inputs: tuple[int, ...], constants: Mapping[int | str, Any]) -> int:
        if len(self.calls) >= MAX_CALLS:
            raise ModelFileMalformed(f"The model calls more than {MAX_CALLS} layers.")
        self.calls.append(Call(layer, inputs, constants))
        return len(self.calls) - 1

    def model(
        self, entry: Entry, path: tuple[str, ...], stored: tuple[str, ...], feeds: tuple[int, ...] | None
    ) -> tuple[int, ...]:
        """Dissolve one model, called on ``feeds`` (None: the outermost one). Gives its outputs."""
        if len(path) > MAX_DEPTH:
            raise ModelFileMalformed(f"Models lie in models more than {MAX_DEPTH} deep.")
        self.models.append(Layer(path or (entry.name,), stored, entry.kind, entry.own, False, entry.settings))
        counts: dict[str, int] = {}
        children: dict[str, tuple[Entry, tuple[str, ...], tuple[str, ...]]] = {}
        for raw in entry.layers or ():
            child = Entry.of(raw)
            group = snake_case(child.kind)
            counts[group] = count = counts.get(group, -1) + 1
            if child.name in children:
                raise ModelFileMalformed(f"Two layers of one model are called {shown(child.name)}.")
            places = (*path, child.name), (*stored, f"{group}_{count}" if count else group)
            children[child.name] = (child, *places)
        return (self._functional if entry.functional else self._sequential)(entry, children, feeds)

    def _apply(
        self, child: tuple[Entry, tuple[str, ...], tuple[str, ...]], inputs: tuple[int, ...], node: Node
    ) -> tuple[int, ...]:
        entry, path, stored = child
        if node.constants.get("training") is True:
            raise ModelUnsupported(
                f"The model calls {shown(path)} as in training, so that it answers at random. Save it without that."
            )
        if entry.layers is None:
            kind, settings = modern(entry.kind, entry.settings)
            # Every layer says whether it can be trained; the bare operations of Keras 3 do not.
            operation = entry.own and "trainable" not in settings and "mode" not in settings
            return (self.call(Layer(path, stored, kind, entry.own, operation, settings), inputs, node.constants),)
        return self.model(entry, path, stored, inputs)

    def _input(self, path: tuple[str, ...], feeds: tuple[int, ...] | None) -> tuple[int, ...]:
        if feeds is not None:
            return feeds
        self.inputs += 1
        return (self.call(Layer(path, path, "InputLayer", True, False, {}), (), {}),)

    def _sequential(self, entry: Entry, children: Mapping[str, Any], feeds: tuple[int, ...] | None) -> tuple[int, ...]:
        flow = self._input((entry.name,), feeds)
        for child in children.values():
            if child[0].kind != "InputLayer":
                flow = self._apply(child, flow, Node())
        return flow

    def _functional(self, entry: Entry, children: Mapping[str, Any], feeds: tuple[int, ...] | None) -> tuple[int, ...]:
        inputs = references(entry.settings["input_layers"])
        if feeds is not None and len(feeds) != len(inputs):
            raise ModelFileMalformed(f"The model {shown(entry.name)} is called with a wrong number of inputs.")
        given: dict[Reference, int] = {}
        for position, reference in enumerate(inputs):
            given[reference] = self._input((reference[0],), None if feeds is None else feeds[position : position + 1])[
                0
            ]
        wanted = references(entry.settings.get("output_layers"))
        nodes = _numbered({name: child for name, (child, _, _) in children.items()}, wanted)
        missing = {key: set(node.references) - given.keys() for key, node in nodes.items()}
        readers: dict[Reference, list[tuple[str, int]]] = {}
        for key, needed in missing.items():
            for reference in needed:
                readers.setdefault(reference, []).append(key)
        ready = deque(key for key, node in nodes.items() if node.references and not missing[key])
        while ready:
            name, index = ready.popleft()
            node = nodes[name, index]
            outputs = self._apply(children[name], tuple(given[each] for each in node.references), node)
            for tensor, output in enumerate(outputs):
                reference = (name, index, tensor)
                given[reference] = output
                for reader in readers.get(reference, ()):
                    missing[reader].discard(reference)
                    if not missing[reader]:
                        ready.append(reader)
        if not all(reference in given for reference in wanted):
            raise ModelFileMalformed(f"The description of the model {shown(entry.name)} does not lead to its output.")
        return tuple(given[reference] for reference in wanted)
