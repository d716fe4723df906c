"""Phantom pictures of textures, a class each, made when they are read."""

from tfmed.data.case import Case
from tfmed.data.phantoms.plane_texture import KINDS
from tfmed.files import PathLike

from .phantom_cases import of_classes, phantom_cases


def phantom_textures(
    root: PathLike | None = None,
    cases: int = 400,
    seed: int = 0,
    shape: tuple[int, ...] = (32, 32),
    classes: tuple[str, ...] = KINDS,
    shares: tuple[float, ...] = (),
    noise: float = 0.6,
) -> list[Case]:
    """Pictures (image "image") of textures; `meta["class"]` is the texture's kind.

    Args:
        root: ignored.
        cases: how many, 1 to 100,000.
        seed: another seed gives other pictures.
        classes: of "vertical", "horizontal", "blobs" and "checkerboard".
        shares: of the classes, summing to 1; none: all alike, in turn.
        shape, noise: as in `phantoms.plane_texture`.

    Raises:
        DataError: a number is out of range, there is no such class, or shares are not one to a class.
        UserError: another option has the wrong type.
    """
    images = {"image": "image"}
    plain = phantom_cases("plane_texture", "texture", images, cases, seed, cases, shape=shape, noise=noise)
    return of_classes("phantom_textures", plain, "kind", classes, KINDS, shares)
