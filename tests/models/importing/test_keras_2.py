"""Descriptions of Keras 2 in words that Keras 3 understands; that Keras does is tested with the importer."""

from __future__ import annotations

import copy
from typing import Any

from mammolens.models.importing import keras_2


def layer(kind: str, name: str, *calls: Any, **settings: Any) -> dict[str, Any]:
    """A layer as tf_keras 2.13 and later describe it."""
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": {"name": name, **settings},
        "registered_name": None,
        "build_config": {"input_shape": [None, 8, 8, 3]},
        "name": name,
        "inbound_nodes": [[list(call) for call in calls]] if calls else [],
    }


def functional(layers: list[dict[str, Any]], output: list[Any]) -> dict[str, Any]:
    config = {"name": "whole", "layers": layers, "input_layers": [["image", 0, 0]], "output_layers": [output]}
    return {"class_name": "Functional", "config": config}


def student() -> dict[str, Any]:
    return functional(
        [
            layer("InputLayer", "image"),
            layer("Sequential", "augment", ["image", 0, 0, {}]) | {"config": {"name": "augment", "layers": []}},
            layer("Functional", "trunk", ["augment", 1, 0, {"training": False}]),
            layer("RandomFlip", "flip", ["trunk", 1, 0, {}], rng_type="stateful"),
            layer("Dense", "out", ["flip", 0, 0, {}], units=1),
        ],
        ["out", 0, 0],
    )


def entries(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in config["config"]["layers"]}


def test_layers_lose_their_modules_and_keep_their_settings() -> None:
    made = entries(keras_2.describe(student(), ()))
    assert made["out"] == {
        "class_name": "Dense",
        "config": {"name": "out", "units": 1},
        "name": "out",
        "inbound_nodes": [[["flip", 0, 0, {}]]],
    }


def test_idle_layers_of_keras_change_nothing_and_no_others_do() -> None:
    made = entries(keras_2.describe(student(), {"flip", "out"}))
    assert made["flip"]["class_name"] == keras_2.UNCHANGED
    assert made["flip"]["config"] == {"name": "flip"}
    assert made["out"]["class_name"] == "Dense"


def test_calls_of_models_are_counted_from_0() -> None:
    made = entries(keras_2.describe(student(), ()))
    assert made["trunk"]["inbound_nodes"] == [[["augment", 0, 0, {"training": False}]]]
    assert made["flip"]["inbound_nodes"] == [[["trunk", 0, 0, {}]]]


def test_the_only_input_and_output_stand_alone() -> None:
    made = keras_2.describe(student(), ())["config"]
    assert (made["input_layers"], made["output_layers"]) == (["image", 0, 0], ["out", 0, 0])


def test_calls_that_count_from_0_already_stay() -> None:
    config = student()
    config["config"]["layers"][2]["inbound_nodes"] = [[["augment", 0, 0, {}]]]
    made = entries(keras_2.describe(config, ()))
    assert made["trunk"]["inbound_nodes"] == [[["augment", 0, 0, {}]]]


def test_what_it_is_given_stays_as_it_was() -> None:
    config = student()
    before = copy.deepcopy(config)
    keras_2.describe(config, {"flip"})
    assert config == before
