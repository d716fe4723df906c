"""Patches vote for where an object lies in a box that is too wide for it: the box shrinks to those that say yes.

After the box correction of box-supervised segmentation from 3-D boxes; the cleanups are not part of the paper.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import scipy

from tfmed.data.boxes import area, tile_starts, tiles

Filter = Literal["none", "largest_component", "min_neighbours"]
Uncovered = Literal["keep", "drop"]
_LEAST = 2  # of the neighbours of a patch, for `min_neighbours`


def shows_object(masks: np.ndarray) -> np.ndarray:
    """Whether more than half of each patch's pixels are foreground, bool `(...)` of masks `(..., side, side)`."""
    masks = np.asarray(masks) != 0
    return 2 * np.count_nonzero(masks, (-2, -1)) > masks.shape[-1] * masks.shape[-2]


def perfect_votes(mask: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """What a classifier without errors would say of a slice's patches, bool `(rows, columns)`.

    Args:
        mask: of the slice, `(y, x)`.
        box, side: see `corrected_box`.
    """
    return shows_object(tiles(mask, box, side))


def corrected_box(
    box: np.ndarray,
    votes: np.ndarray,
    side: int,
    cleanup: Filter = "none",
    uncovered: Uncovered = "keep",
) -> np.ndarray:
    """The bounding rectangle of all patches that voted yes, within the box: int32 `(4,)`.

    Args:
        box: (y0, y1, x0, x1), tiled by patches half a side apart, see `tfmed.data.boxes.tile_starts`.
        votes: bool `(rows, columns)`.
        side: of a patch, in pixels.
        cleanup: which votes count: all, those of the largest connected group of patches, or those that two neighbours
            (of eight; fewer where there are fewer) share. One wrong vote in a corner restores the whole box.
        uncovered: without any yes the box stays ("keep"), or there is none ("drop").
    """
    box, votes = np.asarray(box, np.int32), cleaned(votes, cleanup)
    if not votes.any():
        return box if uncovered == "keep" else np.zeros(4, np.int32)
    found = []
    for axis, (first, end) in enumerate(((box[0], box[1]), (box[2], box[3]))):
        starts = tile_starts(end - first, side)[votes.any(1 - axis)]
        found += [first + starts[0], min(first + starts[-1] + side, end)]
    return np.array(found, np.int32)


def cleaned(votes: np.ndarray, cleanup: Filter) -> np.ndarray:
    """The votes that count, bool `(rows, columns)`; all of them where the cleanup would leave none."""
    votes = np.asarray(votes, bool)
    if cleanup == "largest_component" and votes.any():
        groups, _ = scipy.ndimage.label(votes)
        sizes = np.bincount(groups.ravel())
        sizes[0] = 0
        return groups == sizes.argmax()
    if cleanup == "min_neighbours":
        around = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
        count = scipy.ndimage.convolve(votes.astype(int), around, mode="constant")
        there = scipy.ndimage.convolve(np.ones_like(votes, int), around, mode="constant")
        kept = votes & (count >= np.minimum(_LEAST, there))
        return kept if kept.any() else votes
    return votes


def corrected_boxes(
    wide: np.ndarray,
    vote: Callable[[int, np.ndarray], np.ndarray],
    side: int,
    cleanup: Filter = "none",
    uncovered: Uncovered = "keep",
) -> np.ndarray:
    """The corrected box of each slice of a volume, int32 `(z, 4)`.

    Args:
        wide: boxes of the slices `(z, 4)`; slices without one stay without.
        vote: function of (z, box) -> votes bool `(rows, columns)`.
        side, cleanup, uncovered: see `corrected_box`.
    """
    found = np.zeros_like(wide)
    for z in np.flatnonzero(area(wide)):
        found[z] = corrected_box(wide[z], vote(int(z), wide[z]), side, cleanup, uncovered)
    return found
