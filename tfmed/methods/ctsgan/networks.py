"""The four networks of CT-SGAN (Sect. 2 and Fig. 2): R_v, G_slice, D_slice, D_slab."""

import keras
import tensorflow as tf

from tfmed.compat import leaky_relu
from tfmed.nn.blocks import conv_init, norm_layer


@keras.utils.register_keras_serializable("tfmed")
class Memory(keras.initializers.Initializer):
    """Biases of an LSTM `(4 * units,)` whose cells forget at rates spread over 1 .. `longest` steps.

    Forget gates start at log(u), input gates at -log(u), u uniform in [1, longest - 1] ("chrono" initialisation, Tallec
    & Ollivier, ICLR 2018, Eq. 16). With Keras' own biases a cell forgets within four slices and cannot tell the apex
    of a lung from its base.
    """

    def __init__(self, longest, seed=None):
        self.longest, self.seed = longest, seed

    def __call__(self, shape, dtype="float32", **kwargs):
        forget = tf.math.log(tf.random.uniform((shape[0] // 4,), 1.0, max(self.longest - 1.0, 1.001), seed=self.seed))
        return tf.cast(tf.concat([-forget, forget, tf.zeros_like(forget), tf.zeros_like(forget)], 0), dtype)

    def get_config(self):
        return {"longest": self.longest, "seed": self.seed}


@keras.utils.register_keras_serializable("tfmed")
class SliceSequence(keras.layers.Layer):
    """R_v: i.i.d. noise along the body axis -> one latent per position, which knows its neighbours on both sides.

    Args:
        units: LSTM (or GRU) units per direction; the latent has twice as many entries.
        cell: "bilstm" (the paper), "gru" (MoCoGAN's, one direction with 2 * units), or "iid" (no recurrence: a dense
            layer per position, the ablation).
        memory: how many slices the LSTM's cells remember at the start of training; None: Keras' biases (about four).

    Call arguments:
        noise: eps, `(batch, positions, noise size)`, float32.
        state: h_0 and c_0, `(batch, 4 * units)`, float32: forward h, forward c, backward h, backward c.

    Returns:
        z_slc, `(batch, positions, 2 * units)`, float32.
    """

    def __init__(self, units=64, cell="bilstm", memory=None, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})  # tiny, and a recurrence loses digits in half precision
        self.units, self.cell, self.memory = units, cell, memory
        if cell == "bilstm":
            biases = {} if memory is None else {"bias_initializer": Memory(memory), "unit_forget_bias": False}
            lstm = keras.layers.LSTM(units, return_sequences=True, dtype="float32", **biases)
            self.recurrence = keras.layers.Bidirectional(lstm, dtype="float32")
        elif cell == "gru":
            self.recurrence = keras.layers.GRU(2 * units, return_sequences=True, dtype="float32")
        else:
            self.recurrence = keras.layers.Dense(2 * units, activation="tanh", dtype="float32")

    def call(self, noise, state):
        if self.cell == "bilstm":
            return self.recurrence(noise, initial_state=tf.split(state, 4, axis=1))
        if self.cell == "gru":
            return self.recurrence(noise, initial_state=state[:, : 2 * self.units])
        return self.recurrence(noise)

    def get_config(self):
        return super().get_config() | {"units": self.units, "cell": self.cell, "memory": self.memory}


def slice_generator(latent, size, channels, base=7, norm="batch", slice_channels=3, name="slice_generator"):
    """G_slice: `(n, latent)` -> `(n, size, size, slice_channels)` in [-1, 1] (float32).

    Args:
        latent: entries of z = (z_pat, z_slc).
        size: pixels per side, base * 2 ** len(channels).
        channels: of the dense stage and of each transposed convolution but the last; the paper size has five.
        norm: "batch", "instance" or "none".
    """
    biased = norm == "none"
    inputs = keras.Input((latent,))
    x = keras.layers.Dense(base * base * channels[0], use_bias=biased, kernel_initializer=conv_init(), name="stage0")(
        inputs
    )
    x = keras.layers.Reshape((base, base, channels[0]))(x)
    x = keras.layers.ReLU()(norm_layer(norm, "norm0")(x))
    for i, width in enumerate(channels[1:], start=1):
        x = _up(width, biased, f"stage{i}")(x)
        x = keras.layers.ReLU()(norm_layer(norm, f"norm{i}")(x))
    x = _up(slice_channels, True, f"stage{len(channels)}")(x)
    return keras.Model(inputs, keras.layers.Activation("tanh", dtype="float32")(x), name=name)


def slice_critic(size, channels, norm="none", slice_channels=3, position=True, name="slice_critic"):
    """D_slice: `(n, size, size, slice_channels [+ 1])` -> score `(n, 1)`.

    Args:
        channels: of the stride-2 convolutions.
        norm: "none", "instance" or "layer" (a penalty per image forbids batch statistics); not in the first block.
        position: whether a constant channel tells the slice's position, -1 (lowest) to 1.
    """
    inputs = keras.Input((size, size, slice_channels + int(position)))
    x = inputs
    for i, width in enumerate(channels):
        x = keras.layers.Conv2D(width, 4, 2, "same", kernel_initializer=conv_init(), name=f"block{i}")(x)
        x = leaky_relu(0.2)(norm_layer(norm if i else "none")(x))
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(1, kernel_initializer=conv_init(), name="score")(x), name=name)


def slab_critic(length, size, channels, depth_kernel=4, norm="none", name="slab_critic"):
    """D_slab: `(n, length, size, size, 1)` -> patch scores `(n, depth, height, width, 1)`.

    Kernels are valid along the body axis and stride 2 within the slice (MoCoGAN's video critic).

    Args:
        length: T, slices in a slab.
        depth_kernel: kernel size along the body axis; `length > (len(channels) + 1) * (depth_kernel - 1)`.
    """
    inputs = keras.Input((length, size, size, 1))
    x = inputs
    for i, width in enumerate(channels):
        x = keras.layers.ZeroPadding3D((0, 1, 1))(x)
        kernel = (depth_kernel, 4, 4)
        x = keras.layers.Conv3D(width, kernel, (1, 2, 2), kernel_initializer=conv_init(), name=f"block{i}")(x)
        x = leaky_relu(0.2)(norm_layer(norm if i else "none")(x))
    x = keras.layers.Conv3D(1, (depth_kernel, 4, 4), kernel_initializer=conv_init(), name="score")(x)
    return keras.Model(inputs, x, name=name)


def _up(channels, use_bias, name):
    return keras.layers.Conv2DTranspose(
        channels, 4, 2, "same", use_bias=use_bias, kernel_initializer=conv_init(), name=name
    )
