"""Code, and roads to code, in a model's configuration.

A configuration is only ever parsed here, never built from. It is refused all the
same where it carries code, because a network with code in it can't be imported
faithfully, and because such a file was made to harm whoever opens it with Keras.

======================================  ==========================================
what is refused                         known from
======================================  ==========================================
Lambda layers, ``__lambda__``,          CVE-2024-3660, CVE-2025-9905
marshalled or pickled code
classes that load other files           CVE-2025-12058 (``StringLookup``),
                                        CVE-2026-1669; ``TFSMLayer``,
                                        ``TorchModuleWrapper``
modules of Python itself and of         CVE-2025-1550
libraries that are no layers
Keras' own functions that fetch,        CVE-2025-8747 (``keras.utils.get_file``),
load or switch safety off               CVE-2025-9906
======================================  ==========================================

A class of the training script (``__main__``, ``my_layers``, a registered name) is a
name and nothing more on the default road, which knows what to do without it. On the
second road Keras would import it: there, ``strict=True`` refuses it too.
"""

from __future__ import annotations

import base64
import binascii
import builtins
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from mammolens.errors import ModelFileUnsafe
from mammolens.models.importing.limits import shown

_CODE_CLASSES = frozenset(("Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"))
_FILE_CLASSES = frozenset(("StringLookup", "IntegerLookup", "TextVectorization", "IndexLookup"))
_TF_OPS = re.compile(
    r"(tf\.)?(compat\.v1\.)?((math|nn|image|linalg|keras|__operators__)\..*|"
    r"(cast|reshape|identity|expand_dims|squeeze|concat|stack|unstack|tile|repeat|transpose|clip_by_value|"
    r"convert_to_tensor|broadcast_to|shape|rank|size|slice|strided_slice|gather|pad|reverse|split|where|"
    r"zeros_like|ones_like|one_hot|stop_gradient))"
)
_OP_LAYERS = frozenset(("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"))
_NO_LAYERS = re.compile(
    "numpy|scipy|h5py|onnx|onnxruntime|torch|jax|jaxlib|flax|pip|setuptools|pkg_resources|wheel|cloudpickle|dill|"
    "joblib|yaml|requests|urllib3|httpx|fsspec|gdown|pandas|PIL|cv2|matplotlib|IPython|ipykernel|pytest|_pytest|"
    "django|flask|jinja2|paramiko|psutil|sh"
)
_KERAS = frozenset(("keras", "tf_keras"))
_KERAS_DETOURS = frozenset(("src", "api", "_tf_keras", "keras", "v2", "_v2"))
_KERAS_ROOMS = re.compile(
    "layers|models|activations|initializers|regularizers|constraints|losses|metrics|optimizers|engine|trainers|"
    "random|dtype_policies|mixed_precision|quantizers|applications|legacy|ops"
)
_KERAS_FUNCTION_ROOMS = re.compile("activations|initializers|regularizers|constraints|losses|metrics|ops")
_KERAS_TOP = re.compile(
    "Functional|Sequential|Model|Layer|Loss|Metric|Optimizer|(Float|Quantized)?DTypePolicy|KerasTensor|Variable|"
    "Initializer|Quantizer|SeedGenerator"
)
_PLAIN_BUILTINS = re.compile("function|abs|max|min|sum|pow|round|list|tuple|dict|set|bool|int|float|str|bytes")
_LONG_TEXT = 64
_CODE_START = re.compile(r"[4Yg][A-Za-z0-9+/\n]+={0,2}\n?")
_MOST_ARGUMENTS = 32


def hostile_config(config: Mapping[str, Any], *, strict: bool = False) -> None:
    """Refuse a configuration that carries code or a road to code.

    Parameters
    ----------
    config : mapping
        A model's description, as JSON gave it.
    strict : bool
        Also refuse every class and function that is not Keras' own.

    Raises
    ------
    ModelFileUnsafe
    """
    for node in _nodes(config):
        if isinstance(node, str):
            if _is_code(node):
                raise _refusal("compiled Python code")
        elif "class_name" in node:
            _check_object(node, strict)
        if isinstance(node, dict) and any(key.endswith("_type") and node[key] == "lambda" for key in node):
            raise _refusal("a Python lambda")


def _nodes(config: Mapping[str, Any]) -> Iterator[dict[str, Any] | str]:
    """Every object and text of a JSON value, without recursion."""
    waiting: list[Any] = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, str):
            yield node


def _check_object(node: dict[str, Any], strict: bool) -> None:
    class_name, inner, module = node["class_name"], node.get("config"), node.get("module")
    registered = node.get("registered_name")
    if not isinstance(class_name, str) or not isinstance(module, str | None) or not isinstance(registered, str | None):
        raise _refusal("an object whose class is not named in the usual way")
    plain = class_name.rsplit(">", 1)[-1]
    if plain in _CODE_CLASSES:
        raise _refusal(f"code: a '{plain}'")
    if plain in _FILE_CLASSES and isinstance(inner, dict) and isinstance(inner.get("vocabulary"), str):
        raise _refusal(f"a '{plain}' that reads another file")
    if plain in _OP_LAYERS and isinstance(inner, dict):
        _check_operation(inner)
    name = inner if plain == "function" and isinstance(inner, str) else class_name
    if module is not None:
        _check_module(module, name, plain == "function", strict)
    if module is not None and _top(module) in _KERAS and registered not in (None, "", class_name, name):
        raise _refusal(f"a class of Keras under the foreign name '{shown(registered)}'")
    if strict and module is None and registered is not None:
        raise _foreign(name)


def _check_module(module: str, name: str, function: bool, strict: bool) -> None:
    """Judge the module that Keras would take a class or function from."""
    top = _top(module)
    if module == "builtins":
        # Keras names every function so whose home it does not know, a loss of the training script too.
        if not _PLAIN_BUILTINS.fullmatch(name) and (not function or hasattr(builtins, name)):
            raise _refusal(f"Python's own '{shown(name)}'")
    elif top in _KERAS:
        _check_keras(module, name, function)
    elif top == "tensorflow":
        if "keras" not in module.split(".") and name != "__typespec__":
            raise _refusal(f"'{shown(name)}' of TensorFlow, which is no layer")
    elif _NO_LAYERS.fullmatch(top) or top in sys.stdlib_module_names:
        raise _refusal(f"'{shown(name)}' of the module '{shown(module)}', which holds no layers")
    elif strict:
        raise _foreign(name)


def _check_keras(module: str, name: str, function: bool) -> None:
    rooms = [part for part in module.split(".")[1:] if part not in _KERAS_DETOURS]
    if rooms:
        known = (_KERAS_FUNCTION_ROOMS if function else _KERAS_ROOMS).fullmatch(rooms[0])
    else:
        known = None if function else _KERAS_TOP.fullmatch(name)
    if not known:
        raise _refusal(f"'{shown(name)}' of '{shown(module)}', which is no part of a network")
    if not function and rooms[:1] != ["ops"] and not name[:1].isupper():
        raise _refusal(f"'{shown(name)}' of '{shown(module)}', which is no class")


def _check_operation(inner: dict[str, Any]) -> None:
    """Judge a TensorFlow operation that Keras 2 wrapped in a layer."""
    operation = inner.get("function")
    if isinstance(operation, str) and not _TF_OPS.fullmatch(operation):
        raise _refusal(f"the TensorFlow function '{shown(operation)}'")


def _is_code(text: str) -> bool:
    """Whether a text is marshalled code or a pickle in base64."""
    if len(text) < _LONG_TEXT or not _CODE_START.match(text[:_LONG_TEXT]):
        return False
    try:
        head = base64.b64decode(text.replace("\n", "")[:32])
    except binascii.Error:
        return False
    # marshal: the type 'c', perhaps with its flag, then the number of arguments in four bytes; pickle: protocol 2 to 5
    code = head[0] in (0x63, 0xE3) and head[1] < _MOST_ARGUMENTS and not any(head[2:5])
    return code or (head[0] == 0x80 and head[1] in range(2, 6))


def _top(module: str) -> str:
    return module.split(".", 1)[0]


def _refusal(what: str) -> ModelFileUnsafe:
    return ModelFileUnsafe(
        f"The model's configuration holds {what}. Weights need none: build the model without it, load the weights "
        "there, and save it again; or do not use this file."
    )


def _foreign(name: str) -> ModelFileUnsafe:
    return ModelFileUnsafe(
        f"The configuration names '{shown(name)}', which is not Keras' own. This road builds only what Keras itself "
        "defines: replace it, or save the trained layers in a model without it."
    )
