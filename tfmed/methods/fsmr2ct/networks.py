"""Networks of frequency-supervised synthesis: a base network, the split of its features, and the two branches."""

import keras
import tensorflow as tf

from tfmed.compat import leaky_relu
from tfmed.nn import voxelwise3d
from tfmed.nn.voxelwise3d import SLOPE, instance_norm


def build_network(config, name="synthesis"):
    """A bare network: "synthesis", or "critic" (of high frequencies, or of whole CTs).

    synthesis: MR `(n, z, y, x, 1)` -> `(n, z, y, x, k)` float32: the CT, and with frequency supervision (k = 3) its
    low and its high frequencies, whose sum it is. critic: `(n, z, y, x, 1 or 2)` -> logits `(n, 1)`.
    """
    if name == "critic":
        channels = 2 if config.d_condition == "channel" else 1
        return voxelwise3d.encoder_critic(config.widths, channels, config.pool)
    base = base_network(config)
    outputs = {"plain": plain_head, "boundary": boundary_head, "freq": frequency_head}[config.head](base.output, config)
    return keras.Model(base.input, outputs, name="synthesis")


def base_network(config):
    """The network whose last features V are read: MR `(n, z, y, x, 1)` -> `(n, z, y, x, C)`."""
    if config.base == "unet":
        return voxelwise3d.unet_features(config.widths, pool=config.pool)
    return voxelwise3d.fcnet_features() if config.base == "fcnet" else voxelwise3d.highres_features()


# --- the ways to a CT -------------------------------------------------------------------------------------------------


def plain_head(features, config):
    """One convolution."""
    return _output(_conv(1, 3, "head")(features), config)


def boundary_head(features, config):
    """The same, and a residual correction of the map itself (Peng et al. 2017)."""
    rough = _conv(1, 3, "head")(features)
    hidden = keras.layers.ReLU()(_conv(1, 3, "boundary0")(rough))
    return _output(keras.layers.Add(name="refined")([rough, _conv(1, 3, "boundary1")(hidden)]), config)


def frequency_head(features, config):
    """Low frequencies straight from their features, high ones from refined features; the CT is their sum."""
    low, high = Decomposition(name="decomposition")(features)
    low = _conv(1, 3, "low")(low)
    high = _conv(1, 3, "high")(refinement(config, features.shape[-1])(high))
    low, high = (keras.layers.Activation("linear", dtype="float32")(channel) for channel in (low, high))
    whole = _output(keras.layers.Add(dtype="float32", name="sum")([low, high]), config)
    return keras.layers.Concatenate(dtype="float32", name="parts")([whole, low, high])


def _output(x, config):
    return keras.layers.Activation(config.output, dtype="float32", name="ct")(x)


@keras.utils.register_keras_serializable("tfmed")
class Decomposition(keras.layers.Layer):
    """Splits features V by two maps that add up to 1: `(n, z, y, x, C)` -> [p_l V, p_h V], whose sum is V."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = _conv(2, 3, "maps")

    def build(self, input_shape):
        """Weights of the maps' convolution."""
        self.conv.build(input_shape)
        self.built = True

    def maps(self, features):
        """[p_l, p_h] `(n, z, y, x, 2)`."""
        return tf.nn.softmax(self.conv(features), -1)

    def call(self, features):
        """[low, high] features."""
        low, high = tf.split(self.maps(features), 2, -1)
        return [low * features, high * features]

    def compute_output_shape(self, input_shape):
        """Shapes of both."""
        return [tuple(input_shape)] * 2


# --- refinement -------------------------------------------------------------------------------------------------------


def refinement(config, channels):
    """The refinement of high-frequency features, `(n, z, y, x, channels)` -> `(n, z, y, x, refine_width)`, as set."""
    kind, size, width = config.refine, config.refine_size, config.refine_width
    inputs = keras.Input((None, None, None, channels))
    if kind == "factor":
        chains = [_chain(inputs, [_along(axis, size) for axis in order], width, config, f"chain{i}")
                  for i, order in enumerate(((0, 1, 2), (1, 2, 0), (2, 0, 1)))]  # fmt: skip
        return keras.Model(inputs, keras.layers.Add(name="chains")(chains), name="refinement")
    kernels = [3] * size if kind == "stack" else [size] * 3
    return keras.Model(inputs, _chain(inputs, kernels, width, config, "layers"), name="refinement")


def _along(axis, size):
    """A kernel of `size` voxels along one axis."""
    return tuple(size if a == axis else 1 for a in range(3))


def _chain(x, kernels, width, config, label):
    for i, kernel in enumerate(kernels):
        x = _conv(width, kernel, f"{label}_conv{i}")(x)
        x = instance_norm(f"{label}_norm{i}")(x) if config.refine_norm == "instance" else x
        x = leaky_relu(SLOPE)(x) if config.refine_activation == "leaky_relu" else x
    return x


def _conv(width, kernel, name):
    return keras.layers.Conv3D(width, kernel, padding="same", kernel_initializer="he_normal", name=name)
