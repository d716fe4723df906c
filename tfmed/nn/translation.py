"""Networks of image-to-image translation: pix2pix's U-Net and PatchGAN, and pix2pixHD's global generator."""

import keras

from tfmed.compat import leaky_relu
from tfmed.nn.blocks import conv_init
from tfmed.nn.dropout import Dropout, seeds

_SLOPE = 0.2
_MOST = 8  # times the first width


def unet_generator(downs, channels=1, outputs=1, first=64, dropout=0.5, seed=0, name="generator"):
    """pix2pix's U-Net (Isola et al. 2017): `(n, h, w, channels)` -> `(n, h, w, outputs)` in [-1, 1], float32.

    h and w are multiples of 2^downs; with sides of 2^downs the innermost map is one pixel. Widths are `first` times 1,
    2, 4, 8, 8, ...; instance normalisation without parameters after every convolution but the first, the innermost and
    the last; dropout on the `downs - 5` middle levels of the decoder, none at inference.

    Args:
        downs: stride-2 steps, at least 2 (the paper's unet_512 has 9).
        first: width of the first convolution.
        dropout: rate.
        seed: of the dropout masks.
    """
    widths = [first * min(2**i, _MOST) for i in range(downs)]
    inputs, masks = keras.Input((None, None, channels)), seeds(seed)
    x, skips = inputs, []
    for i, width in enumerate(widths):
        x = leaky_relu(_SLOPE)(x) if i else x
        x = _conv(width, 4, 2, name=f"down{i}")(x)
        x = instance_norm(f"down{i}_norm")(x) if 0 < i < downs - 1 else x
        skips.append(x)
    for i in reversed(range(downs)):
        x = keras.layers.ReLU()(x)
        width = widths[i - 1] if i else outputs
        x = keras.layers.Conv2DTranspose(width, 4, 2, "same", kernel_initializer=conv_init(), name=f"up{i}")(x)
        if i:
            x = instance_norm(f"up{i}_norm")(x)
            if 5 <= i + 1 < downs and dropout:
                x = Dropout(dropout, seed=next(masks), name=f"up{i}_dropout")(x)
            x = keras.layers.Concatenate()([skips[i - 1], x])
    return keras.Model(inputs, keras.layers.Activation("tanh", dtype="float32")(x), name=name)


def patch_critic(layers, channels=1, first=64, name="critic"):
    """PatchGAN: `(n, h, w, channels)` -> map of logits `(n, h', w', 1)`, each of a patch of the image.

    Patches are 70, 142 and 286 pixels wide for 3, 4 and 5 layers.

    Args:
        layers: stride-2 convolutions; widths are `first` times 1, 2, 4, 8, 8, ....
    """
    inputs = keras.Input((None, None, channels))
    x = leaky_relu(_SLOPE)(_padded_conv(inputs, first, 2, "block0"))
    for i in range(1, layers + 1):
        x = _padded_conv(x, first * min(2**i, _MOST), 2 if i < layers else 1, f"block{i}")
        x = leaky_relu(_SLOPE)(instance_norm(f"block{i}_norm")(x))
    return keras.Model(inputs, _padded_conv(x, 1, 1, "score"), name=name)


def receptive_field(layers):
    """Side in pixels of the patch that one logit of `patch_critic` sees."""
    side = 1
    for stride in (1, 1, *[2] * layers):
        side = (side - 1) * stride + 4
    return side


def instance_norm(name=None):
    """Instance normalisation without parameters, epsilon 1e-5."""
    return keras.layers.GroupNormalization(groups=-1, epsilon=1e-5, center=False, scale=False, name=name)


def _conv(width, kernel, stride=1, name=None):
    return keras.layers.Conv2D(width, kernel, stride, "same", kernel_initializer=conv_init(), name=name)


def _padded_conv(x, width, stride, name):
    """4 x 4 with one pixel of zeros around: "same" would give maps of another size where the stride is 1."""
    x = keras.layers.ZeroPadding2D(1)(x)
    return keras.layers.Conv2D(width, 4, stride, "valid", kernel_initializer=conv_init(), name=name)(x)
