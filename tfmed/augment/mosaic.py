"""How YOLOv5 changes pictures with boxes: four in one, scaled and moved, other hues (Jocher et al., release 5.0).

Pictures, boxes and draws are those of `tfmed.augment.boxes`.
"""

from collections.abc import Sequence

import numpy as np

from tfmed.augment.boxes import FILL, warped, warped_boxes

_LEAST_SIDE = 2.0  # px of a box that stays
_LEAST_SHARE = 0.1  # of its area that is still in the picture
_SLIMMEST = 20.0  # times as long as wide


def mosaic(
    pictures: Sequence[tuple[np.ndarray, np.ndarray]], draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four pictures of one size around a point, on grey twice as high and wide.

    The point lies in the middle half of each axis; what reaches beyond the borders is cut off.

    Returns:
        (picture, boxes cut at its borders, int rows of the given boxes, one picture's after another's).
    """
    height, width, depth = pictures[0][0].shape
    canvas = np.full((2 * height, 2 * width, depth), FILL, np.uint8)
    x, y = (int(draw.uniform(0.5, 1.5) * side) for side in (width, height))
    moved = []
    for number, (image, boxes) in enumerate(pictures):
        left, top = (x if number % 2 else x - width), (y if number // 2 else y - height)
        rows, columns = (slice(max(at, 0), at + side) for at, side in ((top, height), (left, width)))
        here = canvas[rows, columns]
        here[:] = image[max(-top, 0) :, max(-left, 0) :][: here.shape[0], : here.shape[1]]
        moved.append(np.asarray(boxes, np.float64).reshape(-1, 4) + (left, top, left, top))
    return canvas, *cut(np.concatenate(moved), canvas.shape)


def placed(
    image: np.ndarray,
    boxes: np.ndarray,
    draw: np.random.Generator,
    size: tuple[int, int],
    scale: float = 0.5,
    translate: float = 0.1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The middle of a picture, larger or smaller and moved, in another size; grey where nothing comes.

    Args:
        size: (rows, columns) of the result.
        scale: sides are 1 - scale to 1 + scale times as long.
        translate: the middle lies up to this share of a side of the result away from its middle.

    Returns:
        (picture, boxes cut at its borders, int rows of the given boxes).
    """
    boxes, factor = np.asarray(boxes, np.float64).reshape(-1, 4), draw.uniform(1 - scale, 1 + scale)
    middle = np.array([image.shape[1], image.shape[0]]) / 2
    target = draw.uniform(0.5 - translate, 0.5 + translate, 2) * (size[1], size[0])
    matrix = np.column_stack([factor * np.eye(2), target - factor * middle])
    return warped(image, matrix, size), *cut(warped_boxes(boxes, matrix), size)


def cut(boxes: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(boxes cut at the borders of a picture (y, x, ...), int rows of those that stay).

    A box stays of which more than 2 px are left each way, and a tenth of its area, not slimmer than 1 to 20.
    """
    inside = np.clip(boxes, 0, [shape[1], shape[0], shape[1], shape[0]])
    sides, before = inside[:, 2:] - inside[:, :2], boxes[:, 2:] - boxes[:, :2]
    enough = (sides > _LEAST_SIDE).all(-1) & (sides.prod(-1) > _LEAST_SHARE * before.prod(-1))
    rows = np.flatnonzero(enough & (sides.max(-1) < _SLIMMEST * sides.min(-1)))
    return inside[rows], rows


def other_hues(image: np.ndarray, draw: np.random.Generator, most: tuple[float, float, float]) -> np.ndarray:
    """The picture with hue, saturation and value multiplied by factors up to `most` away from 1, one draw for each."""
    import cv2

    factors = 1 + draw.uniform(-1, 1, 3) * most
    values = np.arange(256)[:, None] * factors
    table = np.column_stack([values[:, 0] % 180, np.minimum(values[:, 1:], 255)]).astype(np.uint8)
    changed = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), np.ascontiguousarray(table[:, None]))
    return cv2.cvtColor(changed, cv2.COLOR_HSV2RGB)
