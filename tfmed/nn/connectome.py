"""Layers for connectivity matrices: edge to edge, edge to node, node to graph (BrainNetCNN).

Kawahara et al., "BrainNetCNN: Convolutional neural networks for brain networks", NeuroImage 2017, Eq. 1-3. All take a
batch `(n, ...)` of any number of regions d, which is fixed when the layer is built.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed.compat import leaky_relu


class _Connectome(keras.layers.Layer):
    """What these layers share: a number of filters, and kernels `(length, channels, filters)`, Glorot uniform."""

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"filters": self.filters}

    def _add(self, name: str, length: int, channels: int) -> Any:
        # As of a convolution of that length; Keras reads the fan-in off the shape.
        start = keras.initializers.GlorotUniform()
        return self.add_weight(name=name, shape=(length, channels, self.filters), initializer=start)

    def _add_bias(self) -> Any:
        return self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")


class EdgeToEdge(_Connectome):
    """`(n, d, d, c)` -> `(n, d, d, filters)`: out[i, j] = sum_k x[i, k] r[k] + x[k, j] s[k] + b (Eq. 1).

    An edge sees all edges of its two regions. 2 d c filters + filters parameters.
    """

    def build(self, shape: tuple[Any, ...]) -> None:
        self.rows = self._add("rows", shape[1], shape[-1])
        self.columns = self._add("columns", shape[1], shape[-1])
        self.bias = self._add_bias()
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        of_rows = tf.einsum("nikc,kco->nio", x, self.rows)
        of_columns = tf.einsum("nkjc,kco->njo", x, self.columns)
        return of_rows[:, :, None] + (of_columns + self.bias)[:, None]

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*shape[:-1], self.filters)


class EdgeToNode(_Connectome):
    """`(n, d, d, c)` -> `(n, d, filters)`: out[i] = sum_k x[i, k] r[k] + b (Eq. 2, of symmetric matrices)."""

    def build(self, shape: tuple[Any, ...]) -> None:
        self.rows = self._add("rows", shape[1], shape[-1])
        self.bias = self._add_bias()
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.einsum("nikc,kco->nio", x, self.rows) + self.bias

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], shape[1], self.filters)


class NodeToGraph(_Connectome):
    """`(n, d, c)` -> `(n, filters)`: out = sum_i x[i] t[i] + b (Eq. 3)."""

    def build(self, shape: tuple[Any, ...]) -> None:
        self.nodes = self._add("nodes", shape[1], shape[-1])
        self.bias = self._add_bias()
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.einsum("nic,ico->no", x, self.nodes) + self.bias

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], self.filters)


def connectome_critic(
    regions: int,
    edge_filters: Sequence[int] = (32, 32),
    node_filters: int = 64,
    dense: Sequence[int] = (256, 128, 64, 30),
    outputs: int = 1,
    plain: bool = False,
    dropout: float = 0.0,
    name: str = "critic",
) -> keras.Model:
    """Matrices `(n, d, d)` -> scores `(n, outputs)` float32: edge to edge, edge to node, dense layers.

    With 90 regions and these widths 1,892,477 parameters; no normalisation, so that a gradient penalty may be used.

    Args:
        plain: 3 x 3 convolutions in place of edge to edge layers, an ablation.
        dropout: before each dense layer.
    """
    inputs = keras.Input((regions, regions))
    x = keras.layers.Reshape((regions, regions, 1))(inputs)
    for i, width in enumerate(edge_filters, 1):
        layer = keras.layers.Conv2D(width, 3, padding="same", name=f"conv{i}") if plain else None
        x = leaky_relu(0.33)((layer or EdgeToEdge(width, name=f"edges{i}"))(x))
    x = leaky_relu(0.33)(EdgeToNode(node_filters, name="nodes")(x))
    x = keras.layers.Flatten()(x)
    for i, width in enumerate(dense, 1):
        x = keras.layers.Dropout(dropout)(x) if dropout else x
        x = leaky_relu(0.33)(keras.layers.Dense(width, name=f"dense{i}")(x))
    return keras.Model(inputs, keras.layers.Dense(outputs, dtype="float32", name="score")(x), name=name)
