"""Augmentation of pictures with boxes: weak (mirrored), and strong (Sohn et al., "STAC", 2020): colour, place, cutout.

Pictures are uint8 `(y, x, 3)`, boxes float `(n, 4)` of (x0, y0, x1, y1) in pixels from the left and upper edge. All
draws come from a numpy Generator, so that a sample is a function of what that was made of. What is brought in is grey.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

FILL = 125
Where = Literal["one", "image", "box", "both"]
_LEAST_SIDE = 1.0  # px of what is left of a box


def mirrored(image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its boxes, left and right exchanged."""
    boxes, width = np.asarray(boxes, np.float64).reshape(-1, 4), image.shape[1]
    return np.ascontiguousarray(image[:, ::-1]), np.stack(
        [width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], -1
    )


def weak(
    image: np.ndarray, boxes: np.ndarray, draw: np.random.Generator, flip: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Mirrored, with the chance `flip`."""
    return mirrored(image, boxes) if draw.random() < flip else (image, np.asarray(boxes, np.float64).reshape(-1, 4))


def strong(
    image: np.ndarray, boxes: np.ndarray, draw: np.random.Generator, where: Where = "one"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(picture, boxes, int rows of the boxes that are left) after colour, a geometric operation, and cutout.

    Boxes are cut at the borders; where none of some is left, the picture is returned as it was.

    Args:
        where: the geometric operation: of the whole picture, of the inside of one box, of either by chance ("one"), or
            both in turn.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    changed, moved, rows = coloured(image, draw), boxes, np.arange(len(boxes))
    if where == "one":
        where = "image" if draw.random() < 0.5 else "box"
    if where in ("image", "both"):
        matrix = affine(image.shape, draw, 0.1, 30.0)
        changed, moved = warped(changed, matrix), warped_boxes(moved, matrix)
        moved, rows = inside(moved, image.shape)
        if len(boxes) and not len(moved):
            return image, boxes, np.arange(len(boxes))
    if where in ("box", "both"):
        changed = within_a_box(changed, moved, draw)
    return cut_out(changed, draw), moved, rows


# --- colour -----------------------------------------------------------------------------------------------------------


def _autocontrast(image: np.ndarray, amount: float) -> np.ndarray:
    """Each channel's values stretched to 0 to 255."""
    low, high = (extreme(image, (0, 1)).astype(np.float64) for extreme in (np.min, np.max))
    scale = 255 / np.where(high > low, high - low, 255)
    return _by_table(image, np.arange(256)[:, None] * scale - np.where(high > low, low, 0) * scale)


def _equalized(image: np.ndarray, amount: float) -> np.ndarray:
    """Each channel's values spread evenly."""
    return _by_table(image, np.stack([_equalizing(channel) for channel in np.moveaxis(image, -1, 0)], -1))


def _equalizing(channel: np.ndarray) -> np.ndarray:
    """The `(256,)` new values that equalize one channel."""
    counts = np.bincount(channel.ravel(), minlength=256)
    step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
    if not step:
        return np.arange(256)
    return (step // 2 + np.cumsum(counts) - counts) // step


def _solarized(image: np.ndarray, amount: float) -> np.ndarray:
    values = np.arange(256)
    return _by_table(image, np.where(values < int(256 * amount), values, 255 - values))


def _posterized(image: np.ndarray, amount: float) -> np.ndarray:
    return _by_table(image, np.arange(256) & -(1 << (4 - int(4 * amount))))


def _brightened(image: np.ndarray, amount: float) -> np.ndarray:
    return _by_table(image, np.arange(256) * _factor(amount))


def _contrasted(image: np.ndarray, amount: float) -> np.ndarray:
    """Distances from the picture's mean grey value, changed."""
    import cv2

    middle = int(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean() + 0.5)
    return _by_table(image, middle + (np.arange(256) - middle) * _factor(amount))


def _saturated(image: np.ndarray, amount: float) -> np.ndarray:
    """Distances of the channels from the pixel's grey value, changed."""
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return _away_from(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), image, amount)


def _sharpened(image: np.ndarray, amount: float) -> np.ndarray:
    """Distances from the smoothed picture, changed; pixels at the borders are left."""
    import cv2

    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
    smooth = cv2.filter2D(image, -1, kernel)
    for border in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        smooth[border] = image[border]
    return _away_from(smooth, image, amount)


def _factor(amount: float) -> float:
    return 0.1 + 1.8 * amount


def _by_table(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The picture with each value replaced by that of a table, `(256,)` or, one for each channel, `(256, 3)`."""
    import cv2

    table = np.clip(table, 0, 255).astype(np.uint8)
    return cv2.LUT(image, np.ascontiguousarray(np.broadcast_to(table.reshape(256, 1, -1), (256, 1, image.shape[-1]))))


def _away_from(base: np.ndarray, image: np.ndarray, amount: float) -> np.ndarray:
    """`base` and as many times the way from there to the picture as the amount says."""
    import cv2

    return cv2.addWeighted(image, _factor(amount), base, 1 - _factor(amount), 0)


COLOURS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "identity": lambda image, amount: image,
    "autocontrast": _autocontrast,
    "equalize": _equalized,
    "solarize": _solarized,
    "color": _saturated,
    "contrast": _contrasted,
    "brightness": _brightened,
    "sharpness": _sharpened,
    "posterize": _posterized,
}


def coloured(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The picture after one of `COLOURS`, of a strength of 1 to 9 tenths."""
    name = list(COLOURS)[int(draw.integers(len(COLOURS)))]
    amount = int(draw.integers(1, 10)) / 10
    return COLOURS[name](np.ascontiguousarray(image), amount)


# --- place ------------------------------------------------------------------------------------------------------------


def affine(shape: tuple[int, ...], draw: np.random.Generator, shift: float, degrees: float) -> np.ndarray:
    """One of four moves of a picture about its middle, by a drawn amount: float64 `(2, 3)`, old places to new ones.

    Args:
        shape: (y, x, ...) of the picture.
        draw: a numpy Generator.
        shift: largest translation along x or y, of the side.
        degrees: largest rotation, and largest angle of shear along x, either way.
    """
    height, width = shape[:2]
    amount, kind = draw.uniform(-1, 1), int(draw.integers(4))
    matrix, offset = np.eye(2), np.zeros(2)
    if kind < 2:
        offset[kind] = amount * shift * (width, height)[kind]
    else:
        angle = np.deg2rad(amount * degrees)
        matrix = (np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) if kind == 2
                  else np.array([[1.0, np.tan(angle)], [0.0, 1.0]]))  # fmt: skip
        middle = np.array([width, height]) / 2
        offset = middle - matrix @ middle
    return np.concatenate([matrix, offset[:, None]], 1)


def warped(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """The picture moved by an affine map of places `(2, 3)`, bilinear; grey where nothing comes.

    Args:
        size: (rows, columns) of the result; None: as before.
    """
    import cv2

    half = np.full(2, 0.5)
    offset = matrix[:, 2] + matrix[:, :2] @ half - half  # OpenCV has the middles of pixels at whole numbers
    matrix, fill = np.column_stack([matrix[:, :2], offset]), (FILL,) * 3
    rows, columns = size or image.shape[:2]
    return cv2.warpAffine(
        image, matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )


def warped_boxes(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The boxes around what an affine map of places makes of boxes."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    corners = boxes[:, [[0, 1], [2, 1], [0, 3], [2, 3]]] @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([corners.min(1), corners.max(1)], -1)


def inside(boxes: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(boxes cut at the borders of a picture (y, x, ...), int rows of those of which a pixel is left each way)."""
    cut = np.clip(boxes, 0, [shape[1], shape[0], shape[1], shape[0]])
    rows = np.flatnonzero((cut[:, 2:] - cut[:, :2] >= _LEAST_SIDE).all(-1))
    return cut[rows], rows


def within_a_box(image: np.ndarray, boxes: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The picture with the inside of one box moved by up to 5 % of its sides or 10 degrees; unchanged without boxes."""
    chosen, steps = draw.random(), draw.integers(2**31)
    if not len(boxes):
        return image
    x0, y0, x1, y1 = (round(edge) for edge in boxes[int(chosen * len(boxes))])
    within = image[y0:y1, x0:x1]
    if not within.size:
        return image
    changed = image.copy()
    matrix = affine(within.shape, np.random.default_rng(int(steps)), 0.05, 10.0)
    changed[y0:y1, x0:x1] = warped(np.ascontiguousarray(within), matrix)
    return changed


def cut_out(image: np.ndarray, draw: np.random.Generator, most: int = 5, share: float = 0.2) -> np.ndarray:
    """The picture with 1 to `most` grey squares, each of up to `share` of its shorter side."""
    height, width = image.shape[:2]
    changed = image.copy()
    for _ in range(int(draw.integers(1, most + 1))):
        half = draw.uniform(0, share) * min(height, width) / 2
        x, y = draw.uniform(0, width), draw.uniform(0, height)
        edges = [round(edge) for edge in (y - half, y + half, x - half, x + half)]
        changed[max(edges[0], 0) : max(edges[1], 0), max(edges[2], 0) : max(edges[3], 0)] = FILL
    return changed
