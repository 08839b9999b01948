"""Read the pieces of a model's description, of whatever Keras wrote it: layers, calls, shapes.

References
----------
``get_config`` of ``Functional`` and ``Sequential``: keras 1.2 ``engine/topology.py``,
tf.keras 2.3–2.15 ``engine/functional.py``, keras 3 ``src/models/functional.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mammolens.errors import ModelFileMalformed
from mammolens.models.importing import limits

MAX_DEPTH = 16
"""Models within models; the students' deepest hold three."""

MAX_NESTING = 200
"""Objects within objects; a model in a model takes six."""

Reference = tuple[str, int, int]
"""Layer, which of its calls, which of its outputs."""

Shape = tuple[int | None, int | None, int | None]
"""Height, width and channels; None where the file leaves them open."""

_MODELS = {"Model", "Functional", "Sequential"}
_OWN_MODULES = ("keras.", "tensorflow.keras.", "tensorflow.python.keras.", "tf_keras.")
_KERAS_1 = {
    "Convolution2D": "Conv2D",
    "DepthwiseConvolution2D": "DepthwiseConv2D",
    "nb_filter": "filters",
    "subsample": "strides",
    "border_mode": "padding",
    "dim_ordering": "data_format",
    "bias": "use_bias",
    "output_dim": "units",
}
_KERAS_1_MERGES = {"sum": "Add", "mul": "Multiply", "concat": "Concatenate"}


def shown(name: str | Sequence[str]) -> str:
    """Name of a layer or a tensor, quoted, as it may stand in a message."""
    return f"'{limits.shown(name if isinstance(name, str) else '/'.join(name))}'"


def plain(value: Any, depth: int = 0) -> Any:
    """Undo the wrapping of tuples, which SavedModel (``items``) and Keras 3 (``config``) write as objects.

    Raises
    ------
    ModelFileMalformed
        If the value is nested absurdly deep.
    """
    if depth > MAX_NESTING:
        raise ModelFileMalformed("The file's description of the model is nested too deeply.")
    if isinstance(value, Mapping):
        if value.get("class_name") == "__tuple__":
            inner = value.get("items", value.get("config"))
            return plain(inner.get("value") if isinstance(inner, Mapping) else inner, depth + 1)
        return {key: plain(each, depth + 1) for key, each in value.items()}
    return [plain(each, depth + 1) for each in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class Entry:
    """A layer as its model describes it."""

    name: str
    kind: str
    own: bool
    settings: Mapping[str, Any]
    layers: tuple[Mapping[str, Any], ...] | None
    nodes: tuple[Any, ...]

    @staticmethod
    def of(raw: object) -> Entry:
        """Read one, or refuse it."""
        if not isinstance(raw, Mapping) or not isinstance(raw.get("class_name"), str):
            raise ModelFileMalformed("The file's description of the model holds something that is no layer.")
        config = raw.get("config")
        settings = config if isinstance(config, Mapping) else {}
        # A class registered by the user is called "package>Class".
        kind = raw["class_name"].rpartition(">")[2]
        module = raw.get("module")
        own = ">" not in raw["class_name"] and (
            "module" not in raw or (isinstance(module, str) and f"{module}.".startswith(_OWN_MODULES))
        )
        name = raw.get("name", settings.get("name"))
        nodes = raw.get("inbound_nodes", ())
        return Entry(
            name if isinstance(name, str) else kind,
            kind,
            own,
            settings,
            layers_of(raw) if is_model(raw) else None,
            tuple(nodes) if isinstance(nodes, list | tuple) else (),
        )

    @property
    def functional(self) -> bool:
        """Whether it is a model whose layers say what they are called on."""
        return "input_layers" in self.settings


def is_model(raw: object) -> bool:
    """Whether an entry describes a model: by its class, or by the layers that it lists."""
    if not isinstance(raw, Mapping):
        return False
    config = raw.get("config")
    if isinstance(config, list):
        return str(raw.get("class_name")).rpartition(">")[2] in _MODELS
    return isinstance(config, Mapping) and isinstance(config.get("layers"), list)


def layers_of(raw: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Layers of a model; Keras 1 and 2.0–2.2.2 described a sequential one by the list alone."""
    config = raw["config"]
    return tuple(config if isinstance(config, list) else config["layers"])


def modern(kind: str, settings: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Class and configuration of Keras 1 by the names of Keras 2."""
    if kind == "Merge":
        axis = settings.get("concat_axis", -1)
        return _KERAS_1_MERGES.get(str(settings.get("mode")), kind), {**settings, "axis": axis}
    kind = _KERAS_1.get(kind, kind)
    renamed = {_KERAS_1.get(key, key): value for key, value in settings.items()}
    if "nb_row" in settings:
        renamed["kernel_size"] = [settings["nb_row"], settings.get("nb_col")]
    if renamed.get("data_format") in ("tf", "th"):
        renamed["data_format"] = "channels_last" if renamed["data_format"] == "tf" else "channels_first"
    return kind, renamed


def input_shape(raw: object, depth: int = 0) -> Shape:
    """Shape of a model's input, from the first place that tells it; models within fill what it leaves open."""
    nothing: Shape = (None, None, None)
    if depth > MAX_DEPTH or not isinstance(raw, Mapping):
        return nothing
    config = raw.get("config")
    settings = config if isinstance(config, Mapping) else {}
    found: list[object] = [settings.get(key) for key in ("batch_shape", "batch_input_shape")]
    inner = nothing
    if is_model(raw):
        layers = layers_of(raw)
        # The input comes first in a sequential model; a functional one names it.
        first = _named_input(layers, settings) if "input_layers" in settings else layers[:1]
        found += [input_shape(layer, depth + 1) for layer in first] + [settings.get("build_input_shape")]
        inner = next((input_shape(layer, depth + 1) for layer in layers if is_model(layer)), nothing)
    outer = next((each for each in map(_spatial, found) if each[2] is not None), nothing)
    height, width = (own if own is not None else within for own, within in zip(outer[:2], inner[:2], strict=True))
    return height, width, outer[2] if outer[2] is not None else inner[2]


def _named_input(layers: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    names = [name for name, _, _ in references(settings["input_layers"])]
    return [layer for layer in layers if Entry.of(layer).name in names[:1]]


def _spatial(shape: object) -> Shape:
    """Height, width and channels of a shape, with or without the batch."""
    if not isinstance(shape, list | tuple) or len(shape) not in (3, 4):
        return None, None, None
    rows, columns, channels = (each if isinstance(each, int) and each > 0 else None for each in shape[-3:])
    return rows, columns, channels


def references(raw: object) -> list[Reference]:
    """Tensors that a model names as its inputs or outputs."""
    if isinstance(raw, Mapping):
        raw = list(raw.values())
    if not isinstance(raw, list | tuple):
        raise ModelFileMalformed("The file's description of the model does not name its inputs and outputs.")
    if len(raw) == 3 and isinstance(raw[0], str):
        raw = [raw]
    return [_reference(each) for each in raw]


def _reference(raw: object) -> Reference:
    if isinstance(raw, list | tuple) and len(raw) >= 3:
        name, node, tensor = raw[:3]
        if isinstance(name, str) and isinstance(node, int) and isinstance(tensor, int):
            return name, node, tensor
    raise ModelFileMalformed("The file's description of the model refers to a layer in no known way.")


@dataclass(slots=True)
class Node:
    """One call as a model describes it: its tensors by reference, and what else it was given."""

    references: list[Reference] = field(default_factory=list)
    constants: dict[int | str, Any] = field(default_factory=dict)

    def take(self, place: int | str, value: object) -> None:
        """Note an argument: tensors are references, all else is constant."""
        tensors = list(_tensors(value, 0))
        if not tensors:
            self.constants[place] = value
        elif place != "mask":
            self.references += tensors


def _tensors(value: object, depth: int) -> Iterator[Reference]:
    """Tensors within an argument of a call of Keras 3."""
    if depth > MAX_DEPTH:
        raise ModelFileMalformed("The file's description of the model is nested too deeply.")
    if isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each, depth + 1)
    elif isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__":
        config = value.get("config")
        yield _reference(config.get("keras_history") if isinstance(config, Mapping) else None)


def node_of(raw: object, names: Mapping[str, Any]) -> Node:
    """Read one entry of ``inbound_nodes``."""
    node = Node()
    if isinstance(raw, Mapping):
        positional, named = raw.get("args", ()), raw.get("kwargs", {})
        if not isinstance(positional, list | tuple) or not isinstance(named, Mapping):
            raise ModelFileMalformed("The file's description of the model calls a layer in no known way.")
        for place, value in (*enumerate(positional), *named.items()):
            # At inference Keras 3 calls every layer with training=False, whatever it was called with when the model
            # was made, and that is the default of its augmentation layers: True. Keras 2 keeps to it.
            if place != "training":
                node.take(place, value)
        return node
    if not isinstance(raw, list | tuple):
        raise ModelFileMalformed("The file's description of the model calls a layer in no known way.")
    for position, each in enumerate([raw] if raw and isinstance(raw[0], str) else raw):
        # tf.keras 2.4 and later: a number in a tensor's place.
        if isinstance(each, list | tuple) and len(each) >= 3 and each[0] == "_CONSTANT_VALUE":
            node.constants[position] = each[2]
        else:
            node.references.append(_reference(each))
        for key, value in each[3].items() if len(each) > 3 and isinstance(each[3], Mapping) else ():
            if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str) and value[0] in names:
                node.references.append(_reference(value))
            else:
                node.constants[key] = value
    return node
