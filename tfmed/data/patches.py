"""Which case and which patch a sample is: random, around foreground, or slice by slice; pure functions of the index."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfmed.data.cache import Prepared
from tfmed.data.case import Case
from tfmed.data.preprocess.geometry import boxed_array
from tfmed.data.sampling import Stream, shuffled
from tfmed.errors import DataError

_PLACES = Stream("patches.places", 0x9A7C)


class Patches:
    """Draws patches from prepared cases.

    A patch of depth 1 is a slice: every slice of every case is then visited once per epoch. Deeper patches visit every
    case once per epoch, at a random place.

    Args:
        open_case: case -> Prepared.
        cases: list of Case.
        shape: voxels (z, y, x) of a patch; around a case that is smaller its border voxels, and labels, continue, as in
            `ops.sliding_window`.
        seed: integer from which all draws derive.
        foreground: share of the patches that are centred on a labelled voxel (of a class chosen evenly); cases without
            a label, or with an empty one, give random patches instead.
        slices: case id -> slices (z) that may be drawn: patches of depth 1 show no other, deeper ones lie around one.
            None: all.
        margin: voxels (z, y, x) of the image around a patch on each side, for networks without padding; the label has
            none.
        pad: how an image goes on past its border: "edge" (its border voxels continue) or "reflect".
    """

    def __init__(
        self,
        open_case: Callable[[Case], Prepared],
        cases: Sequence[Case],
        shape: Sequence[int],
        seed: int,
        foreground: float = 0.0,
        slices: Mapping[str, Sequence[int]] | None = None,
        margin: Sequence[int] = (0, 0, 0),
        pad: str = "edge",
    ) -> None:
        self.open, self.cases, self.shape = open_case, list(cases), tuple(shape)
        self.seed, self.foreground, self.slices = seed, foreground, slices
        self.margin, self.pad = tuple(margin), pad
        self._first = {case.id: k for k, case in reversed(list(enumerate(self.cases)))}  # a case may stand there often
        self._found = functools.lru_cache(maxsize=256)(self._voxels)

    def __call__(self, number: int) -> tuple[np.ndarray, np.ndarray | None, Case]:
        """(image `(*shape + 2 * margin, channel)`, label `(*shape)` uint8 or None, case) of a patch."""
        case, starts = self.place(number)
        prepared = self.open(case)
        begin = [start - edge for start, edge in zip(starts, self.margin, strict=True)]
        seen = [side + 2 * edge for side, edge in zip(self.shape, self.margin, strict=True)]
        image = boxed_array(prepared.image, begin, seen, self.pad)
        label = None if prepared.label is None else boxed_array(prepared.label, starts, self.shape, "edge")
        return image, label, case

    def place(self, number: int) -> tuple[Case, list[int]]:
        """(case, voxel (z, y, x) at which the patch of this number begins, outside of a case that is smaller)."""
        if self.shape[0] == 1:
            k, z = self._slice(number)
        else:
            k, z = shuffled(self.seed, number, len(self.cases)), None
        size = self.open(self.cases[k]).image.shape[:3]
        draw = _PLACES(self.seed, number)
        return self.cases[k], self._starts(k, size, draw, z)

    def _slice(self, number: int) -> tuple[int, int]:
        """(case, slice) of a number: all slices of all cases, shuffled anew each epoch."""
        offsets = self._offsets
        place = shuffled(self.seed, number, int(offsets[-1]))
        k = int(np.searchsorted(offsets, place, side="right")) - 1
        within = place - int(offsets[k])
        chosen = self._chosen(k)
        return k, within if chosen is None else int(chosen[within])

    @functools.cached_property
    def _offsets(self) -> np.ndarray:
        counts = []
        for k, case in enumerate(self.cases):
            chosen = self._chosen(k)
            counts.append(self.open(case).image.shape[0] if chosen is None else len(chosen))
        return np.concatenate([[0], np.cumsum(counts)])

    def _chosen(self, k: int) -> Sequence[int] | None:
        return None if self.slices is None else self.slices[self.cases[k].id]

    def _starts(self, k: int, size: Sequence[int], draw: np.random.Generator, z: int | None) -> list[int]:
        starts = [_anywhere(draw, have, want) for have, want in zip(size, self.shape, strict=True)]
        if z is not None:
            starts[0] = z
        elif self.slices is not None:
            starts[0] = _around(int(draw.choice(self.slices[self.cases[k].id])), size[0], self.shape[0])
        if not self.foreground or draw.random() >= self.foreground:
            return starts
        voxels = self._found(self._first[self.cases[k].id], z)
        if not voxels:
            return starts
        points = voxels[draw.integers(len(voxels))]
        point = points[draw.integers(len(points))]
        centred = [_around(int(p), have, want) for p, have, want in zip(point, size, self.shape, strict=True)]
        return centred if z is None else [z, *centred[1:]]

    def _voxels(self, k: int, z: int | None) -> list[np.ndarray]:
        """For each foreground class in a case's drawable slices (or in slice z): up to 4096 voxels, (z, y, x)."""
        label = self.open(self.cases[k]).label
        if label is None:
            return []
        chosen = None if z is not None or self.slices is None else np.asarray(self._chosen(k))
        searched = np.asarray(label[z : z + 1] if z is not None else label if chosen is None else label[chosen])
        found = []
        for value in np.flatnonzero(np.bincount(searched.ravel())[1:]) + 1:
            flat = np.flatnonzero(searched == value)
            step = -(-len(flat) // 4096)
            points = np.stack(np.unravel_index(flat[::step], searched.shape), -1)
            if chosen is not None:
                points[:, 0] = chosen[points[:, 0]]
            found.append(points)
        return found


def check_sizes(open_case: Callable[[Case], Prepared], cases: Sequence[Case], shape: Sequence[int]) -> None:
    """Refuse cases that would be mostly padding.

    Args:
        open_case: case -> Prepared.
        cases: list of Case.
        shape: voxels (z, y, x) of a patch.

    Raises:
        DataError: a case has less than half of a patch along an axis.
    """
    for case in cases:
        size = open_case(case).image.shape[:3]
        if any(2 * have < want for have, want in zip(size, shape, strict=True)):
            raise DataError(
                f"{case.id}: its {size} voxels (z, y, x) after preprocessing are less than half of model.patch "
                f"{tuple(shape)}; lower model.patch, or remove the case"
            )


def _anywhere(draw: np.random.Generator, have: int, want: int) -> int:
    """Where a patch begins along an axis: anywhere inside, or so that a smaller volume lies in its middle."""
    return int(draw.integers(have - want + 1)) if have > want else -((want - have) // 2)


def _around(point: int, have: int, want: int) -> int:
    """Where a patch around a point begins, moved inside as far as it fits."""
    return min(max(point - want // 2, 0), have - want) if have > want else -((want - have) // 2)
