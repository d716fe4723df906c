"""Networks of translation: pix2pix's U-Net and PatchGAN, for slices and volumes, and pix2pixHD's global generator."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfmed.compat import KerasTensor, leaky_relu
from tfmed.nn.blocks import conv_init, norm_layer
from tfmed.nn.dropout import Dropout, seeds
from tfmed.nn.upconv import Doubling4

_SLOPE = 0.2
_MOST = 8  # times the first width
_CONV = {2: keras.layers.Conv2D, 3: keras.layers.Conv3D}
_DOUBLING: dict[int, Callable[..., keras.layers.Layer]] = {
    2: Doubling4,
    3: lambda width, **options: keras.layers.Conv3DTranspose(width, 4, 2, "same", **options),
}
_ZEROS = {2: keras.layers.ZeroPadding2D, 3: keras.layers.ZeroPadding3D}


def unet_generator(
    downs: int,
    channels: int = 1,
    outputs: int = 1,
    first: int = 64,
    dropout: float = 0.5,
    seed: int = 0,
    name: str = "generator",
    dims: int = 2,
) -> keras.Model:
    """pix2pix's U-Net (Isola et al. 2017): `(n, h, w, channels)` -> `(n, h, w, outputs)` in [-1, 1], float32.

    Volumes are `(n, d, h, w, channels)`. Sides are multiples of 2^downs; where they are 2^downs the innermost map is
    one pixel. Widths are `first` times 1, 2, 4, 8, 8, ...; instance normalisation without parameters after every
    convolution but the first, the innermost and the last; dropout on the `downs - 5` middle levels of the decoder,
    none at inference.

    Args:
        downs: stride-2 steps, at least 2 (the paper's unet_512 has 9).
        first: width of the first convolution.
        dropout: rate.
        seed: of the dropout masks.
        dims: 2 for slices, 3 for volumes.
    """
    widths = [first * min(2**i, _MOST) for i in range(downs)]
    inputs, masks = keras.Input((*[None] * dims, channels)), seeds(seed)
    x, skips = inputs, []
    for i, width in enumerate(widths):
        x = leaky_relu(_SLOPE)(x) if i else x
        x = _CONV[dims](width, 4, 2, "same", kernel_initializer=conv_init(), name=f"down{i}")(x)
        x = instance_norm(f"down{i}_norm")(x) if 0 < i < downs - 1 else x
        skips.append(x)
    for i in reversed(range(downs)):
        x = keras.layers.ReLU()(x)
        width = widths[i - 1] if i else outputs
        x = _DOUBLING[dims](width, kernel_initializer=conv_init(), name=f"up{i}")(x)
        if i:
            x = instance_norm(f"up{i}_norm")(x)
            if 5 <= i + 1 < downs and dropout:
                x = Dropout(dropout, seed=next(masks), name=f"up{i}_dropout")(x)
            x = keras.layers.Concatenate()([skips[i - 1], x])
    return keras.Model(inputs, keras.layers.Activation("tanh", dtype="float32")(x), name=name)


def global_generator(
    downs: int = 4, blocks: int = 9, channels: int = 1, outputs: int = 1, first: int = 64, name: str = "generator"
) -> keras.Model:
    """pix2pixHD's global generator (Wang et al. 2018): `(n, h, w, channels)` -> `(n, h, w, outputs)`, float32.

    Values are in [-1, 1]; h and w are multiples of 2^downs and above 3 pixels. Widths are `first` times 1, 2, 4, ...,
    without an upper bound; borders are mirrored, but for the strided convolutions, whose padding is zero.

    Args:
        downs: stride-2 steps.
        blocks: residual blocks at the smallest size.
        first: width of the first convolution.
    """
    x = inputs = keras.Input((None, None, channels))
    x = _norm_relu(_mirrored_conv(x, first, 7, "first"), "first")
    for i in range(1, downs + 1):
        x = _norm_relu(_conv(first * 2**i, 3, 2, name=f"down{i}")(x), f"down{i}")
    for i in range(blocks):
        y = _norm_relu(_mirrored_conv(x, first * 2**downs, 3, f"block{i}_0"), f"block{i}_0")
        y = instance_norm(f"block{i}_1_norm")(_mirrored_conv(y, first * 2**downs, 3, f"block{i}_1"))
        x = keras.layers.Add()([x, y])
    for i in reversed(range(downs)):
        up = keras.layers.Conv2DTranspose(first * 2**i, 3, 2, "same", kernel_initializer=conv_init(), name=f"up{i}")
        x = _norm_relu(up(x), f"up{i}")
    x = _mirrored_conv(x, outputs, 7, "last")
    return keras.Model(inputs, keras.layers.Activation("tanh", dtype="float32")(x), name=name)


def patch_critic(
    layers: int, channels: int = 1, first: int = 64, name: str = "critic", features: bool = False, dims: int = 2
) -> keras.Model:
    """PatchGAN: `(n, h, w, channels)` -> map of logits `(n, h', w', 1)`, each of a patch of the image.

    Volumes are `(n, d, h, w, channels)`. Patches are 70, 142 and 286 pixels wide for 3, 4 and 5 layers.

    Args:
        layers: stride-2 convolutions; widths are `first` times 1, 2, 4, 8, 8, ....
        features: answer with the list of the blocks' activations, and the logits last (of feature matching).
        dims: 2 for slices, 3 for volumes.
    """
    inputs = keras.Input((*[None] * dims, channels))
    x = leaky_relu(_SLOPE)(_padded_conv(inputs, first, 2, "block0"))
    seen = [x]
    for i in range(1, layers + 1):
        x = _padded_conv(x, first * min(2**i, _MOST), 2 if i < layers else 1, f"block{i}")
        x = leaky_relu(_SLOPE)(instance_norm(f"block{i}_norm")(x))
        seen.append(x)
    score = _padded_conv(x, 1, 1, "score")
    return keras.Model(inputs, [*seen, score] if features else score, name=name)


def map_critic(channels: int, widths: Sequence[int] = (64, 128, 256, 512), name: str = "critic") -> keras.Model:
    """Maps `(n, h, w, channels)` -> logits `(n, h', w', 1)` at 1/32 of the sides, rounded up; of which set they are.

    A 4 x 4 convolution with stride 2 and LeakyReLU 0.2 for each width, and one to the logits; without norms, as of
    critics that look at what a segmenter puts out (Tsai et al. 2018).

    Args:
        channels: of a map.
        widths: maps of the convolutions; sides shrink 2 ** (their number + 1) times.
    """
    x = inputs = keras.Input((None, None, channels))
    for i, width in enumerate(widths):
        x = leaky_relu(_SLOPE)(keras.layers.Conv2D(width, 4, 2, "same", name=f"block{i}")(x))
    return keras.Model(inputs, keras.layers.Conv2D(1, 4, 2, "same", name="score")(x), name=name)


def receptive_field(layers: int) -> int:
    """Side in pixels of the patch that one logit of `patch_critic` sees.

    Example:
        >>> receptive_field(3)
        70
    """
    side = 1
    for stride in (1, 1, *[2] * layers):
        side = (side - 1) * stride + 4
    return side


def instance_norm(name: str | None = None) -> keras.layers.Layer:
    """Instance normalisation without parameters, epsilon 1e-5."""
    return norm_layer("instance", name, affine=False)


@keras.saving.register_keras_serializable("tfmed")
class Mirror(keras.layers.Layer):
    """Continue images by their mirror image: `(n, h, w, c)` -> `(n, h + 2 width, w + 2 width, c)`.

    Args:
        width: pixels on every side, fewer than the image has.
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.pad(x, [[0, 0], [self.width] * 2, [self.width] * 2, [0, 0]], "REFLECT")

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        n, h, w, c = shape
        return (n, *(None if side is None else side + 2 * self.width for side in (h, w)), c)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"width": self.width}


def _mirrored_conv(x: KerasTensor, width: int, kernel: int, name: str) -> KerasTensor:
    layer = keras.layers.Conv2D(width, kernel, 1, "valid", kernel_initializer=conv_init(), name=name)
    return layer(Mirror(kernel // 2)(x))


def _norm_relu(x: KerasTensor, name: str) -> KerasTensor:
    return keras.layers.ReLU()(instance_norm(f"{name}_norm")(x))


def _conv(width: int, kernel: int, stride: int = 1, name: str | None = None) -> keras.layers.Layer:
    return keras.layers.Conv2D(width, kernel, stride, "same", kernel_initializer=conv_init(), name=name)


def _padded_conv(x: KerasTensor, width: int, stride: int, name: str) -> KerasTensor:
    """4 x 4 (x 4) with zeros around: "same" would give maps of another size where the stride is 1."""
    dims = len(x.shape) - 2
    layer = _CONV[dims](width, 4, stride, "valid", kernel_initializer=conv_init(), name=name)
    return layer(_ZEROS[dims](1)(x))
