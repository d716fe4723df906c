"""3D-SqueezeNet: a small classifier of volumes."""

from collections.abc import Sequence

import keras

from tfmed.compat import KerasTensor
from tfmed.nn.blocks import norm_layer
from tfmed.nn.dropout import Dropout, seeds

FIRES = ((16, 64), (32, 128), (48, 192), (64, 256))


def squeezenet3d(
    channels: int = 1,
    outputs: int = 1,
    first: int = 64,
    fires: Sequence[tuple[int, int]] = FIRES,
    strides: tuple[int, int, int] = (2, 2, 2),
    dropout: float = 0.5,
    seed: int = 0,
    name: str = "squeezenet",
) -> keras.Model:
    """3D-SqueezeNet 1.1 (Köpüklü et al. 2019, after Iandola et al. 2016): `(n, z, y, x, channels)` -> `(n, outputs)`.

    Logits, float32. The network halves a volume `len(fires)` times after the first convolution; any size will do.

    Args:
        first: width of the first convolution.
        fires: (squeezed width, width of each of the two expansions) of each pair of fire modules.
        strides: of the first convolution; the original, for films, has (1, 2, 2).
        dropout: rate before the last convolution.
        seed: of the dropout masks.
    """
    inputs = keras.Input((None, None, None, channels))
    x = keras.layers.Conv3D(first, 3, strides, "same", use_bias=False, kernel_initializer="he_normal", name="first")(
        inputs
    )
    x = keras.layers.ReLU()(norm_layer("batch", "first_norm")(x))
    for i, (squeezed, expanded) in enumerate(fires):
        x = keras.layers.MaxPooling3D(3, 2, "same", name=f"pool{i}")(x)
        x = fire(x, squeezed, expanded, f"fire{i}a")
        x = fire(x, squeezed, expanded, f"fire{i}b")
    x = Dropout(dropout, seed=next(seeds(seed)), name="dropout")(x) if dropout else x
    x = keras.layers.Conv3D(outputs, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), name="last")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling3D(dtype="float32", name="mean")(x), name=name)


def fire(x: KerasTensor, squeezed: int, expanded: int, name: str) -> KerasTensor:
    """Fire module: squeeze by 1 x 1 x 1, then 1 x 1 x 1 beside 3 x 3 x 3; the input is added where widths agree."""

    def conv(value: KerasTensor, width: int, kernel: int, role: str) -> KerasTensor:
        value = keras.layers.Conv3D(
            width, kernel, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_{role}"
        )(value)
        return norm_layer("batch", f"{name}_{role}_norm")(value)

    inner = keras.layers.ReLU()(conv(x, squeezed, 1, "squeeze"))
    both = keras.layers.Concatenate()([conv(inner, expanded, 1, "expand1"), conv(inner, expanded, 3, "expand3")])
    if x.shape[-1] == 2 * expanded:
        both = keras.layers.Add()([both, x])
    return keras.layers.ReLU()(both)
