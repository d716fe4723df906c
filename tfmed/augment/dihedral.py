"""The eight symmetries of the square."""

import numpy as np

NAMES = ("identity", "quarter", "half", "three_quarters", "left_right", "up_down", "transpose", "transverse")


def dihedral(image: np.ndarray, which: int) -> np.ndarray:
    """A square image `(s, s, ...)` turned or flipped, exact; a view.

    Args:
        which: place in `NAMES`: turns go anticlockwise; left_right and up_down flip.

    Raises:
        ValueError: the image is not square, or there is no such symmetry.

    Example:
        >>> dihedral(np.array([[0, 1], [2, 3]]), NAMES.index("quarter")).tolist()
        [[1, 3], [0, 2]]
    """
    if image.shape[0] != image.shape[1]:
        raise ValueError(f"image is {image.shape[0]} x {image.shape[1]}; a square one can be turned by a quarter")
    if not 0 <= which < len(NAMES):
        raise ValueError(f"which is {which}; give 0 to {len(NAMES) - 1}")
    if which < 4:
        return np.rot90(image, which)
    return (image[:, ::-1], image[::-1], image.swapaxes(0, 1), image[::-1, ::-1].swapaxes(0, 1))[which - 4]
