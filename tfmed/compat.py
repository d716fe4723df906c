"""The only file that knows which stack is installed: the few things that differ between Keras 2.15 and Keras 3."""

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

KERAS_3 = int(keras.__version__.split(".")[0]) >= 3
STACK = "current" if KERAS_3 else "addons"

if KERAS_3:  # what layers make of an Input; here for others
    from keras import KerasTensor as KerasTensor
else:
    from keras.src.engine.keras_tensor import KerasTensor as KerasTensor


def tensor_variable(variable: Any) -> tf.Variable:
    """The `tf.Variable` (possibly distributed) behind a Keras variable."""
    return variable.value if KERAS_3 and isinstance(variable, keras.Variable) else variable


def functional_call(
    model: keras.Model, trainable: Sequence[tf.Tensor], state: Sequence[tf.Tensor], inputs: Any, training: bool = False
) -> tuple[Any, list[tf.Tensor]]:
    """(what a built model answers with other weights, its other state after that); none of its variables is written.

    Differentiable with respect to the weights, to any order. On Keras 2 no layer of the model may synchronise replicas
    in its call, and every variable must be an attribute of its layer, as those of Keras' own are.

    Args:
        model: a built model or layer.
        trainable, state: tensors in place of its `trainable_variables` and its `non_trainable_variables`.
        inputs, training: of the call.

    Raises:
        ValueError: another number of tensors than of variables, or a variable that cannot be replaced.
    """
    wanted = model.trainable_variables, model.non_trainable_variables
    if [len(one) for one in wanted] != [len(trainable), len(state)]:
        raise ValueError(
            f"{model.name}: {len(trainable)} weights and {len(state)} others given for {len(wanted[0])} and "
            f"{len(wanted[1])} variables"
        )
    if KERAS_3:
        return model.stateless_call(list(trainable), list(state), inputs, training=training)
    replaced: dict[int, Any] = {id(variable): value for variable, value in zip(wanted[0], trainable, strict=True)}
    held = [_Held(value) for value in state]
    replaced |= {id(variable): value for variable, value in zip(wanted[1], held, strict=True)}
    places = [
        (layer, name, value)
        for layer in layers_within(model)
        for name, value in vars(layer).items()
        if id(value) in replaced
    ]
    if lost := replaced.keys() - {id(value) for _, _, value in places}:
        names = [variable.name for one in wanted for variable in one if id(variable) in lost]
        raise ValueError(f"{model.name}: {names[0]} is no attribute of its layer, and cannot be replaced")
    try:
        for layer, name, variable in places:
            vars(layer)[name] = _as_read(layer, variable, replaced[id(variable)])
        return model(inputs, training=training), [one.value() for one in held]
    finally:
        for layer, name, variable in places:
            vars(layer)[name] = variable


def _as_read(layer: keras.layers.Layer, variable: Any, value: Any) -> Any:
    """A value as a layer reads it in its call: in the dtype that it computes in, where its variable is so cast."""
    if type(variable).__name__ != "AutoCastVariable" or isinstance(value, _Held) or not value.dtype.is_floating:
        return value
    return tf.cast(value, layer.compute_dtype)


class _Held:
    """Stands in for a variable that a layer writes while it is called: what is written is kept here, as a tensor."""

    def __init__(self, value: tf.Tensor) -> None:
        self._value = tf.convert_to_tensor(value)

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> tf.Tensor:
        return self._value if dtype is None or dtype == self._value.dtype else tf.cast(self._value, dtype)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._value, name)  # dtype, shape and the like

    def __getitem__(self, places: Any) -> tf.Tensor:
        return self._value[places]

    def __add__(self, other: Any) -> tf.Tensor:
        return self._value + other

    def __sub__(self, other: Any) -> tf.Tensor:
        return self._value - other

    def __mul__(self, other: Any) -> tf.Tensor:
        return self._value * other

    def value(self) -> tf.Tensor:
        """What is held now."""
        return self._value

    read_value = value

    def assign(self, value: Any, **_: Any) -> tf.Tensor:
        """Hold another value."""
        self._value = tf.cast(value, self._value.dtype)
        return self._value

    def assign_add(self, delta: Any, **_: Any) -> tf.Tensor:
        """Hold so much more."""
        return self.assign(self._value + delta)

    def assign_sub(self, delta: Any, **_: Any) -> tf.Tensor:
        """Hold so much less."""
        return self.assign(self._value - delta)


def optimizer_variables(optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """All state of an optimizer, the dynamic loss scale included."""
    variables = list(optimizer.variables)
    scale = getattr(optimizer, "_loss_scale", None)
    if scale is not None and hasattr(scale, "_weights"):  # Keras 2's LossScaleOptimizer keeps these apart
        variables += list(scale._weights.values())
    return variables


def moments(adam: keras.optimizers.Adam, variable: Any) -> tuple[Any, Any]:
    """The running means of a variable's gradients and of their squares, as an Adam keeps them."""
    place = adam._get_variable_index(variable) if KERAS_3 else adam._index_dict[adam._var_key(variable)]
    return adam._momentums[place], adam._velocities[place]


def metric_variables(model: keras.Model) -> list[Any]:
    """State of the running means that a model logs."""
    return [variable for metric in model.metrics for variable in metric.variables]


def weights(model: keras.layers.Layer) -> list[Any]:
    """The weights of a model, or a layer, in an order that both stacks share: its own, then those of its layers.

    Without the state of metrics, optimizers and seed generators.
    """
    found, seen = [], {id(variable) for variable in metric_variables(model)}
    for layer in layers_within(model):
        inside = {id(variable) for below in _layers_of(layer) for variable in below.weights}
        for variable in layer.weights:
            if id(variable) not in inside and id(variable) not in seen:
                seen.add(id(variable))
                found.append(variable)
    return found


def _layers_of(layer: keras.layers.Layer) -> list[Any]:
    return list(layer._layers if KERAS_3 else layer._flatten_layers(recursive=False, include_self=False))


def layers_within(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """A layer or model, and all layers inside it, however deep."""
    yield layer
    for below in _layers_of(layer):
        if isinstance(below, keras.layers.Layer):
            yield from layers_within(below)


def scaled_for_float16(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer with dynamic loss scaling, which float16 gradients need."""
    if KERAS_3:
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return keras.mixed_precision.LossScaleOptimizer(optimizer)


def scale_loss(optimizer: keras.optimizers.Optimizer, loss: tf.Tensor) -> tf.Tensor:
    """The loss as it must be differentiated: scaled up when the optimizer scales losses."""
    if isinstance(optimizer, _loss_scale_class()):
        return optimizer.scale_loss(loss) if KERAS_3 else optimizer.get_scaled_loss(loss)
    return loss


def apply_gradients(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor], variables: Sequence[Any]
) -> None:
    """One update; gradients are of the scaled loss and are summed over replicas."""
    if not KERAS_3 and isinstance(optimizer, _loss_scale_class()):
        gradients = optimizer.get_unscaled_gradients(gradients)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def set_precision(policy: str) -> None:
    """Set the global dtype policy: `float32`, `mixed_bfloat16` or `mixed_float16`."""
    if KERAS_3:
        keras.config.set_dtype_policy(policy)
    else:
        keras.mixed_precision.set_global_policy(policy)


def precision() -> str:
    """Name of the global dtype policy."""
    return keras.config.dtype_policy().name if KERAS_3 else keras.mixed_precision.global_policy().name


def _loss_scale_class() -> Any:
    return keras.optimizers.LossScaleOptimizer if KERAS_3 else keras.mixed_precision.LossScaleOptimizer


def synchronize(norm: keras.layers.BatchNormalization) -> None:
    """Make a batch normalisation that was built already take its moments over all replicas, where there are several."""
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        norm.synchronized = True
        if not KERAS_3:  # whose fused kernel knows of one replica only
            norm.fused = False


def of_one_replica(norm: keras.layers.BatchNormalization) -> None:
    """Make a batch normalisation that was built already take its moments over the batch that it is given, alone."""
    norm.synchronized = False


def leaky_relu(slope: float, name: str | None = None) -> keras.layers.Layer:
    """A LeakyReLU layer; its argument has another name on each stack."""
    argument = "negative_slope" if KERAS_3 else "alpha"
    return keras.layers.LeakyReLU(**{argument: slope}, name=name)


@keras.saving.register_keras_serializable("tfmed")
class _SampleNormalization(keras.layers.GroupNormalization):
    """Keras 2's layer with one group, as Keras 3 has it: moments in float32, and of no mask.

    Keras 2 multiplies by an array of ones first; a training graph is half as large without, and as fast.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        values = tf.cast(inputs, tf.float32)
        mean, variance = tf.nn.moments(values, list(range(1, len(inputs.shape))), keepdims=True)
        scale, offset = (None if w is None else tf.cast(w, tf.float32) for w in (self.gamma, self.beta))
        return tf.cast(tf.nn.batch_normalization(values, mean, variance, offset, scale, self.epsilon), inputs.dtype)


def sample_normalization(**options: Any) -> keras.layers.Layer:
    """A GroupNormalization layer of `(b, ..., channel)` over all of a sample."""
    return (keras.layers.GroupNormalization if KERAS_3 else _SampleNormalization)(groups=1, **options)


def import_imgaug() -> Any:
    """The imgaug package, made to work with numpy 2, for which its last release was not written.

    Use `import_imgaug().augmenters`; a plain `import imgaug` fails on stack `current`.
    """
    if not hasattr(np, "sctypes"):
        np.sctypes = {  # type: ignore[attr-defined, typeddict-item]
            "int": [np.int8, np.int16, np.int32, np.int64],
            "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
            "float": [np.float16, np.float32, np.float64, np.longdouble],
        }
    imgaug = importlib.import_module("imgaug")
    elastic = importlib.import_module("imgaug.augmenters").ElasticTransformation
    if not hasattr(elastic, "_tfmed_original_map"):
        elastic._tfmed_original_map = elastic._map_coordinates
        elastic._map_coordinates = staticmethod(_map_with_float32_shifts)
    return imgaug


def _map_with_float32_shifts(image: np.ndarray, dx: np.ndarray, dy: np.ndarray, **options: Any) -> np.ndarray:
    """OpenCV takes float32 maps only; under numpy 2 imgaug makes float64 ones."""
    elastic = importlib.import_module("imgaug.augmenters").ElasticTransformation
    shifts = (np.asarray(shift, np.float32) for shift in (dx, dy))
    return elastic._tfmed_original_map(image, *shifts, **options)


def graphs_inside(graph: tf.Graph, operation: tf.Operation) -> list[tf.Graph]:
    """The graphs of what an operation of a graph calls: the bodies of loops, branches and functions."""
    values = [operation.node_def.attr[name] for name in operation.node_def.attr]
    called = [one.name for value in values for one in (value.func, *value.list.func) if one.name]
    found = [graph._get_function(name) for name in called]
    return [function.graph for function in found if function is not None]
