"""The description of a foreign model, written anew from a list of what is allowed.

Keras is never shown a stranger's configuration. Each layer of the file is looked up here;
what is not in the table is refused, and of what is, the settings that matter at inference
are checked one by one and copied, all others (initialisers, regularisers, seeds, dtypes)
are left out. What Keras 2 wrote and Keras 3 refuses goes the same way. The result
is in the words of Keras 3 whatever wrote the file, and names no class outside Keras.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mammolens.errors import ModelFileMalformed, ModelFileUnsafe, ModelUnsupported
from mammolens.models.importing.classes import ALIASES, ELSEWHERE_TRAINING_ONLY, TRAINING_ONLY
from mammolens.models.importing.config import shown
from mammolens.models.importing.foreign_calls import MOST_CALLS, OPERATIONS_MODULE, call, references
from mammolens.models.importing.foreign_layers import (
    HARMLESS,
    LAYERS,
    OPERATIONS,
    OWN_MODULES,
    RENAMED,
    REQUIRED,
    SCALING,
    TENSORFLOW,
    Json,
)
from mammolens.models.importing.onnx_rules import checked_shape

MOST_DEPTH = 8

_MODELS = ("Model", "Functional", "Sequential")
_AUGMENTING = re.compile(r"jitter|augment|random|noise|flip|rotat|mixup|cutmix|cutout|erasing|drop", re.IGNORECASE)

_IGNORED = re.compile(
    r"(name|trainable|dtype|data_format|batch_input_shape|batch_shape|input_shape|input_dtype|seed|momentum|fused|"
    r"renorm_momentum|renorm_clipping|synchronized|autocast|activity_regularizer|\w+_initializer|\w+_regularizer|"
    r"\w+_constraint|build_config|compile_config|input_dim|sparse|ragged|optional|supports_masking)"
)


@dataclass(frozen=True, slots=True)
class Clean:
    """A description that Keras may be shown.

    Attributes
    ----------
    model : dict
        ``{"class_name": …, "config": …}`` in the words of Keras 3.
    shape : tuple of int
        ``(height, width, channels)`` of the input.
    assumptions : tuple of str
    rescales : bool
        Whether a layer inside scales the input.
    name : str
        What it calls itself and its parts, for telling the architecture.
    """

    model: dict[str, Json]
    shape: tuple[int, int, int]
    assumptions: tuple[str, ...]
    rescales: bool
    name: str


def clean(config: Mapping[str, Json], size: tuple[int, int] | None = None, *, legacy: bool = False) -> Clean:
    """Write a model's description anew.

    Parameters
    ----------
    config : mapping
        As the file holds it.
    size : tuple of int, optional
        ``(height, width)`` where the file leaves it open.
    legacy : bool
        Whether Keras 1 or 2 wrote it.

    Returns
    -------
    Clean

    Raises
    ------
    ModelFileUnsafe
        If it asks for code: a Lambda, or a class of a module outside Keras.
    ModelUnsupported
        If it holds a layer or a setting that is not converted; the message names it.
    ModelFileMalformed
        If it breaks the rules of a description.
    ContractUnknown
        If neither the file nor ``size`` tells the input's size.
    """
    cleaning = _Cleaning(legacy)
    model = cleaning.model(config, 0)
    height, width, channels = checked_shape(*_declared(config, 0), size)
    _fix_input(model, [None, height, width, channels])
    return Clean(
        model,
        (height, width, channels),
        tuple(cleaning.assumptions),
        cleaning.rescales,
        " ".join(cleaning.names),
    )


def _declared(raw: Json, depth: int) -> tuple[int | None, int | None, int | None]:
    """Shape of the input, from the first place that tells it."""
    config = raw.get("config") if isinstance(raw, Mapping) else None
    settings = config if isinstance(config, Mapping) else {}
    shapes = [settings.get(key) for key in ("batch_shape", "batch_input_shape", "build_input_shape")]
    layers = config if isinstance(config, list) else settings.get("layers")
    if isinstance(layers, list) and depth <= MOST_DEPTH:
        named = [name for name, *_ in references(settings["input_layers"])] if "input_layers" in settings else None
        first = [each for each in layers if named is None or _entry_name(each) in named][:1]
        shapes = [[None, *_declared(each, depth + 1)] for each in first] + shapes
    for shape in shapes:
        if isinstance(shape, list | tuple) and len(shape) == 4 and shape[3] is not None:
            rows, columns, channels = (each if isinstance(each, int) and each > 0 else None for each in shape[1:])
            return rows, columns, channels
    return None, None, None


def _entry_name(raw: Json) -> Json:
    if not isinstance(raw, Mapping):
        return None
    config = raw.get("config")
    return raw.get("name", config.get("name") if isinstance(config, Mapping) else None)


class _Cleaning:
    """Collects what is learnt on the way through a description."""

    def __init__(self, legacy: bool) -> None:
        self.legacy = legacy
        self.assumptions: list[str] = []
        self.names: list[str] = []
        self.rescales = False
        self._count = 0

    def model(self, raw: Json, depth: int) -> dict[str, Json]:
        """Write a model anew, with those inside it."""
        config = raw.get("config") if isinstance(raw, Mapping) else None
        layers = config if isinstance(config, list) else config.get("layers") if isinstance(config, Mapping) else None
        if not isinstance(layers, list) or depth > MOST_DEPTH or not all(isinstance(each, Mapping) for each in layers):
            raise ModelFileMalformed("The file's description is none of a sequential or functional model.")
        settings = config if isinstance(config, Mapping) else {}
        name = _name(settings.get("name", "model"))
        self.names.append(name)
        calls = {id(each): each.get("inbound_nodes") or [] for each in layers}
        written = [self._entry(each, depth) for each in layers]
        made: dict[str, Json] = {"name": name, "trainable": settings.get("trainable") is not False, "layers": written}
        if "input_layers" not in settings:
            return {
                "module": "keras",
                "class_name": "Sequential",
                "config": made | {"dtype": "float32"},
                "registered_name": None,
            }
        nested = {each["name"]: each["class_name"] for each in written if each["class_name"] in _MODELS}
        for each, source in zip(written, layers, strict=True):
            each["inbound_nodes"] = [call(one, each, nested) for one in calls[id(source)]]
            if len(each["inbound_nodes"]) > 1 and each["class_name"] in _MODELS:
                raise ModelUnsupported(f"The model inside, {shown(each['name'])}, is called more than once.")
        made["input_layers"] = [[name, 0, 0] for name, *_ in references(settings["input_layers"])]
        made["output_layers"] = [
            # Keras counts a functional model's own making as its first call, here and nowhere else.
            [name, {"Functional": 1, "Sequential": 0}.get(nested.get(name, ""), index), 0]
            for name, index, _ in references(settings.get("output_layers"))
        ]
        if len(made["input_layers"]) != 1 or len(made["output_layers"]) != 1:
            raise ModelUnsupported("The model has several inputs or outputs; only one of each can be imported.")
        return {
            "module": "keras.src.models.functional",
            "class_name": "Functional",
            "config": made,
            "registered_name": "Functional",
        }

    def _entry(self, raw: Mapping[str, Json], depth: int) -> dict[str, Json]:
        self._count += 1
        if self._count > MOST_CALLS:
            raise ModelUnsupported(f"The model has more than {MOST_CALLS} layers.")
        kind, config = raw.get("class_name"), raw.get("config")
        if not isinstance(kind, str):
            raise ModelFileMalformed("The file's description of the model holds something that is no layer.")
        settings: Mapping[str, Json] = config if isinstance(config, Mapping) else {}
        name = _name(raw.get("name", settings.get("name", kind)))
        own = _is_own(raw, kind, name)
        kind = ALIASES.get(kind, kind)
        if own and (kind in _MODELS or "layers" in settings):
            return self.model(raw, depth + 1) | {"name": name}
        if own and kind == "InputLayer":
            shape = settings.get("batch_shape", settings.get("batch_input_shape"))
            return _layer(kind, name, {"batch_shape": _input_shape(shape)}, trainable=None)
        if own and kind == "TFOpLambda":
            kind = TENSORFLOW.get(str(settings.get("function")), kind)
            raw = {"module": OPERATIONS_MODULE}
        if own and kind in OPERATIONS and str(raw.get("module")).startswith("keras.src.ops"):
            self.rescales = True
            made = {"module": OPERATIONS_MODULE, "class_name": kind, "config": {"name": name}}
            return made | {"registered_name": kind, "name": name}
        if own and kind in LAYERS:
            self.rescales |= kind in SCALING
            checked = _checked(kind, name, settings)
            if self.legacy and checked.get("activation") in ("hard_sigmoid", "hard_silu"):
                # 0.2 x + 0.5 in Keras 1 and 2, x / 6 + 0.5 in Keras 3.
                raise ModelUnsupported(f"The layer {shown(name)} has an activation that Keras 2 defined otherwise.")
            return _layer(kind, name, checked, settings.get("trainable") is not False)
        if kind in (TRAINING_ONLY if own else ELSEWHERE_TRAINING_ONLY):
            return _layer("Identity", name, {}, trainable=False)
        if _AUGMENTING.search(kind) or (not own and _AUGMENTING.search(name)):
            self.assumptions.append(f"layer {shown(name)} of an unknown class changes nothing at inference")
            return _layer("Identity", name, {}, trainable=False)
        raise ModelUnsupported(
            f"The layer {shown(name)} of class {shown(kind)} is none that can be converted. "
            "Export the model as ONNX where it was made, and import that file."
        )


def _is_own(raw: Mapping[str, Json], kind: str, name: str) -> bool:
    """Whether a layer says that it is one of Keras' own; refuse what asks for code."""
    module, registered = raw.get("module"), raw.get("registered_name")
    if kind in ("Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"):
        raise ModelFileUnsafe(f"The layer {shown(name)} holds code ({kind}). Code of a model file is never run.")
    if module is None:
        # Keras 2 writes no module; Keras 3 writes null for a class that was registered nowhere.
        return "module" not in raw and ">" not in kind
    if isinstance(registered, str) and ">" in registered:
        return False
    if not isinstance(module, str) or not re.fullmatch(r"[\w.]+", module):
        raise ModelFileMalformed(f"The layer {shown(name)} names its class in no known way.")
    if module.split(".")[0] in {own.split(".")[0] for own in OWN_MODULES}:
        if not module.startswith(OWN_MODULES):
            raise ModelFileUnsafe(f"The layer {shown(name)} asks for code outside Keras. It is never run.")
        return True
    if isinstance(registered, str) and registered == kind:
        # A class of the training script that it did not register.
        return False
    raise ModelFileUnsafe(f"The layer {shown(name)} asks for code outside Keras. It is never run.")


def _layer(kind: str, name: str, settings: dict[str, Json], trainable: bool | None) -> dict[str, Json]:
    config = {"name": name, "dtype": "float32", **settings}
    if trainable is not None:
        config["trainable"] = trainable
    return {"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None, "name": name}


def _checked(kind: str, name: str, settings: Mapping[str, Json]) -> dict[str, Json]:
    """Check the settings of a layer that matter, and add those that are missing."""
    renamed = RENAMED.get(kind, {})
    given = {renamed.get(key, key): value for key, value in settings.items()}
    if given.get("data_format") not in (None, "channels_last"):
        raise ModelUnsupported("The model works channels first, which Keras can't run on a processor.")
    table = LAYERS[kind]
    made = {}
    for key, (missing, check) in table.items():
        value = given.get(key, missing)
        try:
            made[key] = check(None if value is REQUIRED else value)
        except (ValueError, TypeError, IndexError):
            raise ModelUnsupported(
                f"The layer {shown(name)} ({kind}) has a setting '{key}' that can't be converted."
            ) from None
    for key, value in given.items():
        if key in table or _IGNORED.fullmatch(str(key)) or not value or value in HARMLESS.get(key, ()):
            continue
        raise ModelUnsupported(f"The layer {shown(name)} ({kind}) has an unknown setting {shown(str(key))}.")
    return made


def _name(value: Json) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise ModelFileMalformed("The file's description of the model gives a layer no proper name.")
    return value


def _input_shape(value: Json) -> list[int | None]:
    shape = list(value) if isinstance(value, list | tuple) else []
    if not all(each is None or (isinstance(each, int) and 0 < each <= 1 << 24) for each in shape) or not shape:
        raise ModelFileMalformed("The file's description of the model gives its input no proper shape.")
    return [None, *shape[1:]]


def _fix_input(model: dict[str, Json], shape: list[int | None]) -> None:
    """Set the outermost input's shape; a sequential model gets an input layer where it has none."""
    config = model["config"]
    if model["class_name"] == "Sequential":
        if not config["layers"] or config["layers"][0]["class_name"] != "InputLayer":
            names = {each["name"] for each in config["layers"]}
            free = next(name for name in ("image", "image_", "image__") if name not in names)
            config["layers"].insert(0, _layer("InputLayer", free, {}, trainable=None))
        config["layers"][0]["config"]["batch_shape"] = shape
        return
    wanted = config["input_layers"][0][0]
    for each in config["layers"]:
        if each["name"] == wanted and each["class_name"] == "InputLayer":
            each["config"]["batch_shape"] = shape
            return
    raise ModelFileMalformed("The file's description of the model does not name its input.")


def single_calls(model: dict[str, Json]) -> dict[str, Json]:
    """Give a copy of a cleaned description in which every model's output is its first call, as `config` counts."""
    made = copy.deepcopy(model)
    waiting = [made]
    while waiting:
        config = waiting.pop()["config"]
        inner = [each for each in config["layers"] if each["class_name"] in _MODELS]
        waiting += inner
        names = {each["name"] for each in inner}
        if "output_layers" in config:
            config["output_layers"] = [
                [name, 0 if name in names else index, tensor] for name, index, tensor in config["output_layers"]
            ]
    return made


def bare(model: dict[str, Json]) -> tuple[dict[str, Json], bool]:
    """Take the last activation off a cleaned description.

    Parameters
    ----------
    model : dict
        Of `Clean`.

    Returns
    -------
    model : dict
        A copy that ends before its last activation.
    found : bool
        Whether the last layer was one that could be so changed.
    """
    made = copy.deepcopy(model)
    last: dict[str, Json] = made
    while last["class_name"] in _MODELS:
        config = last["config"]
        if last["class_name"] == "Sequential":
            shown_layers = [each for each in config["layers"] if each["class_name"] != "Identity"]
            last = shown_layers[-1]
        else:
            wanted = config["output_layers"][0][0]
            last = next(each for each in config["layers"] if each["name"] == wanted)
    if last["class_name"] in ("Softmax", "Activation"):
        last["class_name"], last["config"] = "Identity", {"name": last["name"], "dtype": "float32"}
        return made, True
    if "activation" in last["config"]:
        last["config"]["activation"] = "linear"
        return made, True
    return made, False
