"""Graph convolutions whose edges are learnt, and networks of them that move the vertices of an image."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from tfmed.ops.vertices import affine_about, perspective_about

Transform = Literal["affine", "perspective"]


@keras.utils.register_keras_serializable("tfmed")
class GraphConv(keras.layers.Layer):
    """f'_i = W1 f_i + sum_j E_ij W2 f_j + b, of vertices with features f and edges E.

    Morris et al., "Weisfeiler and Leman go neural", AAAI 2019, Eq. 5; with learnt edges Li et al., ECCV 2020.

    Args:
        filters: features of a vertex in its answer.
        initializer: of both kernels.
    """

    def __init__(self, filters: int, initializer: str = "glorot_uniform", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.initializer = filters, initializer

    def build(self, shapes: Sequence[tuple[Any, ...]]) -> None:
        """Weights of `[(n, vertices, features), edges]`."""
        shape = (shapes[0][-1], self.filters)
        self.own = self.add_weight(name="own", shape=shape, initializer=self.initializer)
        self.others = self.add_weight(name="others", shape=shape, initializer=self.initializer)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        self.built = True

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """[features `(n, vertices, k)`, edges `(vertices, vertices)`, or those of each `(n, vertices, vertices)`] ->
        `(n, vertices, filters)`."""
        features, edges = inputs
        near = tf.matmul(tf.cast(edges, features.dtype), tf.matmul(features, tf.cast(self.others, features.dtype)))
        return tf.matmul(features, tf.cast(self.own, features.dtype)) + near + tf.cast(self.bias, features.dtype)

    def compute_output_shape(self, shapes: Sequence[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """`filters` in place of the features."""
        return (*shapes[0][:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return super().get_config() | {"filters": self.filters, "initializer": self.initializer}


@keras.utils.register_keras_serializable("tfmed")
class RegionFeatures(keras.layers.Layer):
    """Connectivity matrices `(n, d, d)` -> features of their regions `(n, d, k)`.

    Args:
        kind: "row": a region's connections (k = d); "strength": their sum (k = 1); "constant": 1 (k = 1), so that a
            graph network sees the edges alone.
    """

    def __init__(self, kind: str = "row", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in ("row", "strength", "constant"):
            raise ValueError(f"kind is {kind!r}; it may be row, strength or constant")
        self.kind = kind

    def call(self, matrices: tf.Tensor) -> tf.Tensor:
        """The features."""
        if self.kind == "row":
            return matrices
        strength = tf.reduce_sum(matrices, -1, keepdims=True)
        return strength if self.kind == "strength" else tf.ones_like(strength)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """One feature, or as many as there are regions."""
        return tuple(shape) if self.kind == "row" else (*shape[:-1], 1)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return super().get_config() | {"kind": self.kind}


@keras.utils.register_keras_serializable("tfmed")
class GraphNetwork(keras.layers.Layer):
    """Three graph convolutions with ReLU, the first one's answer added to the third's, a narrow one, and a head.

    All of them share the trainable edges, which begin at 1 / vertices. The head is a Dense layer whose weights begin
    at 0, so that nothing moves at first.

    Args:
        vertices: their number.
        outputs: numbers that the head gives.
        width: features within.
        narrow: features that the head reads.
        pooled: the head reads the mean of all vertices, and gives `(n, outputs)`; False: `(n, vertices, outputs)`.
    """

    def __init__(
        self, vertices: int, outputs: int, width: int = 256, narrow: int = 32, pooled: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.vertices, self.outputs, self.width, self.narrow, self.pooled = vertices, outputs, width, narrow, pooled
        own = {"dtype": self.dtype_policy} if hasattr(self, "dtype_policy") else {"dtype": self.dtype}
        self.convolutions = [GraphConv(filters, "he_normal", name=f"graph{k}", **own)
                             for k, filters in enumerate((width, width, width, narrow))]  # fmt: skip
        self.head = keras.layers.Dense(outputs, kernel_initializer="zeros", name="head", **own)

    def build(self, input_shape: Any) -> None:
        """Weights of `(n, vertices, features)`."""
        square = (self.vertices, self.vertices)
        at_first = keras.initializers.Constant(1.0 / self.vertices)
        self.edges = self.add_weight(name="edges", shape=square, initializer=at_first)
        shape = tuple(input_shape)
        for layer in self.convolutions:
            layer.build([shape, square])
            shape = (*shape[:-1], layer.filters)
        self.head.build((shape[0], shape[-1]) if self.pooled else shape)
        self.built = True

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Features `(n, vertices, k)` -> `(n, vertices, outputs)`, or `(n, outputs)` of all vertices."""
        edges = tf.convert_to_tensor(self.edges)
        first, second, third, last = self.convolutions
        x = kept = tf.nn.relu(first([features, edges]))
        x = tf.nn.relu(second([x, edges]))
        x = tf.nn.relu(third([x, edges]) + kept)
        x = tf.nn.relu(last([x, edges]))
        return self.head(tf.reduce_mean(x, 1) if self.pooled else x)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """See `call`."""
        return (input_shape[0], self.outputs) if self.pooled else (*input_shape[:-1], self.outputs)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        own = {name: getattr(self, name) for name in ("vertices", "outputs", "width", "narrow", "pooled")}
        return super().get_config() | own


@keras.utils.register_keras_serializable("tfmed")
class GlobalTransform(keras.layers.Layer):
    """One affine or projective map of all vertices, by a `GraphNetwork` that looks at all of them; at first none.

    Args:
        vertices: their number.
        kind: "affine" (6 numbers) or "perspective" (9).
        width, narrow: of the `GraphNetwork`.
    """

    def __init__(
        self, vertices: int, kind: Transform = "affine", width: int = 256, narrow: int = 32, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if kind not in ("affine", "perspective"):
            raise ValueError(f"kind is {kind!r}; it may be affine or perspective")
        self.vertices, self.kind, self.width, self.narrow = vertices, kind, width, narrow
        own = {"dtype": self.dtype_policy} if hasattr(self, "dtype_policy") else {"dtype": self.dtype}
        outputs = 6 if kind == "affine" else 9
        self.graph = GraphNetwork(vertices, outputs, width, narrow, pooled=True, name="graph", **own)

    def build(self, features_shape: Any, *others: Any) -> None:
        """Weights of `(n, vertices, features)`."""
        self.graph.build(features_shape)
        self.built = True

    def call(self, features: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
        """Features `(n, vertices, k)` and points `(n, vertices, 2)` -> points."""
        told = self.graph(features)
        if self.kind == "affine":
            return affine_about(points, tf.reshape(told[:, :4], [-1, 2, 2]), told[:, 4:])
        return perspective_about(points, tf.reshape(told, [-1, 3, 3]))

    def compute_output_shape(self, features_shape: Any, points_shape: Any = None) -> tuple[int | None, ...]:
        """That of the points."""
        return (features_shape[0], self.vertices, 2)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return super().get_config() | {name: getattr(self, name) for name in ("vertices", "kind", "width", "narrow")}
