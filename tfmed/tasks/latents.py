"""Style and noise that a volume is made from: from a seed or a file, mixed, and between two of them."""

import dataclasses
import math
import zipfile

import numpy as np
import tensorflow as tf

from tfmed.engine.options import GREATEST
from tfmed.errors import DataError, UserError
from tfmed.files import atomic_path, expanded
from tfmed.io import npy
from tfmed.ops.styles import mix_styles, to_unit


@dataclasses.dataclass(frozen=True)
class Latents:
    """Style and noise of one volume.

    Args:
        name: what pictures call it.
        styles: w of every layer, `(1, layers, latent)`.
        noise: of every noisy layer, `(1, d, h, w, 1)` each; () without noise.
    """

    name: str
    styles: tf.Tensor
    noise: tuple

    def synthesise(self, model):
        """The volume `(d, h, w)` in [0, 1]."""
        return to_unit(model.synthesise(self.styles, self.noise))[0, ..., 0]

    def save(self, path):
        """Write an .npz of plain arrays: `styles` and `noise_00`, `noise_01`, ..."""
        arrays = {f"noise_{i:02d}": np.asarray(maps) for i, maps in enumerate(self.noise)}
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, styles=np.asarray(self.styles), **arrays)


def of_seed(model, seed, psi=1.0):
    """Latents of the first sample of a seed."""
    return Latents(f"seed {seed}", model.styles(model.map(model.latent(seed, 0), psi)), model.noise_maps(seed, 0))


def seed_of(word):
    """The seed that a word of digits is; None of another word. UserError: it is beyond `GREATEST`."""
    if not str(word).isdecimal():
        return None
    if len(str(word)) > 10 or int(word) > GREATEST:
        raise UserError(f"{str(word)[:20]}: is beyond reason; give a seed of at most {GREATEST}")
    return int(word)


def of_word(model, word, psi=1.0):
    """Latents of a seed (digits) or of an .npz file that `tfmed project` wrote.

    Raises:
        UserError: neither; DataError: the file is damaged, or was made with other networks.
    """
    if (seed := seed_of(word)) is not None:
        return of_seed(model, seed, psi)
    path = expanded(word)
    if not path.is_file():
        raise UserError(f"{word}: is neither a seed (a whole number) nor a latent.npz that 'tfmed project' wrote")
    shapes = [(1, *shape) for shape in model.synthesis.noise_shapes] if model.config.noise else []
    expected = {"styles": (1, model.layers_w, model.config.latent_size)}
    expected |= {f"noise_{i:02d}": shape for i, shape in enumerate(shapes)}
    try:
        arrays = _arrays(path, expected)
    except DataError:
        raise
    except Exception:  # zip files and their packings have no common one
        raise DataError(f"{path}: is not a whole latent.npz; project the volume again") from None
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise DataError(f"{path}: holds values that are NaN, infinite or beyond float32; project the volume again")
    styles, *noise = map(tf.constant, arrays.values())
    return Latents(str(path), styles, tuple(noise))


def _arrays(path, expected):
    """{name: float32 array} of a .npz that holds arrays of these names and shapes; nothing larger is read.

    Raises:
        DataError: it holds others.
    """
    found = {}
    with zipfile.ZipFile(path) as archive:
        same = sorted(archive.namelist()) == sorted(f"{name}.npy" for name in expected)
        for name, shape in expected.items() if same else ():
            with archive.open(f"{name}.npy") as stream:
                header = npy.read_header(stream)
                same = same and header[0] == shape
                if same:
                    with np.errstate(over="ignore"):
                        found[name] = npy.read_numbers(stream, *header).astype(np.float32)
    if not same:
        raise DataError(f"{path}: was made with other networks; project the volume with this run")
    return found


def mix(coarse, fine, crossover):
    """Latents with styles and noise of `coarse` before layer `crossover`, of `fine` from it on (Sect. 3, Fig. 5)."""
    styles = mix_styles(coarse.styles, fine.styles, crossover, coarse.styles.shape[1])
    noise = (*coarse.noise[:crossover], *fine.noise[crossover:])
    return Latents(f"{coarse.name} / {fine.name}", styles, noise)


def between(first, second, share):
    """Latents on the way from one to the other: styles on a line, noise on an arc (which keeps its variance)."""
    styles = (1.0 - share) * first.styles + share * second.styles
    one, other = math.cos(share * math.pi / 2), math.sin(share * math.pi / 2)
    noise = tuple(one * a + other * b for a, b in zip(first.noise, second.noise, strict=True))
    return Latents(f"{share:.2f}", styles, noise)
