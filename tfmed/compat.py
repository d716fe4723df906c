"""The only file that knows which stack is installed: the few things that differ between Keras 2.15 and Keras 3."""

import keras

KERAS_3 = int(keras.__version__.split(".")[0]) >= 3
STACK = "current" if KERAS_3 else "addons"


def tensor_variable(variable):
    """The `tf.Variable` (possibly distributed) behind a Keras variable."""
    return variable.value if KERAS_3 and isinstance(variable, keras.Variable) else variable


def optimizer_variables(optimizer):
    """All state of an optimizer, the dynamic loss scale included."""
    variables = list(optimizer.variables)
    scale = getattr(optimizer, "_loss_scale", None)
    if scale is not None and hasattr(scale, "_weights"):  # Keras 2's LossScaleOptimizer keeps these apart
        variables += list(scale._weights.values())
    return variables


def metric_variables(model):
    """State of the running means that a model logs."""
    return [variable for metric in model.metrics for variable in metric.variables]


def scaled_for_float16(optimizer):
    """The optimizer with dynamic loss scaling, which float16 gradients need."""
    if KERAS_3:
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return keras.mixed_precision.LossScaleOptimizer(optimizer)


def scale_loss(optimizer, loss):
    """The loss as it must be differentiated: scaled up when the optimizer scales losses."""
    if isinstance(optimizer, _loss_scale_class()):
        return optimizer.scale_loss(loss) if KERAS_3 else optimizer.get_scaled_loss(loss)
    return loss


def apply_gradients(optimizer, gradients, variables):
    """One update; gradients are of the scaled loss and are summed over replicas."""
    if not KERAS_3 and isinstance(optimizer, _loss_scale_class()):
        gradients = optimizer.get_unscaled_gradients(gradients)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def set_precision(policy):
    """Set the global dtype policy: `float32`, `mixed_bfloat16` or `mixed_float16`."""
    if KERAS_3:
        keras.config.set_dtype_policy(policy)
    else:
        keras.mixed_precision.set_global_policy(policy)


def precision():
    """Name of the global dtype policy."""
    return keras.config.dtype_policy().name if KERAS_3 else keras.mixed_precision.global_policy().name


def _loss_scale_class():
    return keras.optimizers.LossScaleOptimizer if KERAS_3 else keras.mixed_precision.LossScaleOptimizer


def leaky_relu(slope, name=None):
    """A LeakyReLU layer; its argument has another name on each stack."""
    argument = "negative_slope" if KERAS_3 else "alpha"
    return keras.layers.LeakyReLU(**{argument: slope}, name=name)
