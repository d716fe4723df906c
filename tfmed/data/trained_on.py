"""What the images were like that a model was trained on, and in what another image is unlike all of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from tfmed.io import Volume

_AIR = -500.0  # HU; nothing but CT reaches down there
_BELOW = -100.0  # likewise, of CT whose air was cut off
_OTHER_SPACING = 3.0  # times larger or smaller than any voxel that was trained on


@dataclasses.dataclass(frozen=True)
class TrainedOn:
    """Ranges over the training cases, as their files are, before preprocessing.

    Args:
        lowest, highest: {image of a case: value}.
        spacing_mm: ((z, y, x) of the smallest, of the largest voxels); None of pictures, whose pixels have no length.
    """

    lowest: dict[str, float]
    highest: dict[str, float]
    spacing_mm: tuple[tuple[float, ...], tuple[float, ...]] | None

    @classmethod
    def of(cls, cases: Sequence[Any]) -> Optional["TrainedOn"]:
        """Of the facts that the cache notes of each case; None where it has none (as of an earlier version)."""
        if not cases or not all(cases):
            return None
        names = list(cases[0]["values"])
        spacings = [case["spacing_mm"] for case in cases]
        spacing = None if None in spacings else (tuple(np.min(spacings, 0)), tuple(np.max(spacings, 0)))
        lowest = {name: min(case["values"][name][0] for case in cases) for name in names}
        return cls(lowest, {name: max(case["values"][name][1] for case in cases) for name in names}, spacing)

    @classmethod
    def from_note(cls, note: Any) -> Optional["TrainedOn"]:
        """Of plain values, as `as_note` gives them; None of none.

        Raises:
            KeyError, TypeError, ValueError: they are something else.
        """
        if note is None:
            return None
        low, high = ({str(name): float(value) for name, value in note[key].items()} for key in ("lowest", "highest"))
        spacing = note["spacing_mm"]
        if spacing is not None:
            smallest, largest = (tuple(map(float, sizes)) for sizes in spacing)
            if not len(smallest) == len(largest) == 3:
                raise ValueError("spacing_mm: is no pair of (z, y, x)")
            spacing = smallest, largest
        return cls(low, high, spacing)

    def as_note(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        spacing = None if self.spacing_mm is None else [[float(size) for size in one] for one in self.spacing_mm]
        return {"lowest": self.lowest, "highest": self.highest, "spacing_mm": spacing}

    def unlike(self, name: str, facts: Mapping[str, Any]) -> list[str]:
        """What is unlike the training images in an image called `name`: a list of texts.

        Args:
            name: of the image within its case.
            facts: of the case, as the cache notes them.
        """
        (low, high), spacing = facts["values"][name], facts["spacing_mm"]
        known = f"{self.lowest[name]:g} to {self.highest[name]:g}"
        found = []
        if self.lowest[name] < _BELOW and low >= 0:
            found.append(f"has no value below 0, and the training images were CT, {known} HU")
        if low < _AIR and self.lowest[name] >= _BELOW:
            found.append(f"looks like CT ({low:g} to {high:g}), and the training images had values from {known}")
        if (spacing is None) != (self.spacing_mm is None):
            is_, were = ("a picture", "volumes") if spacing is None else ("a volume", "pictures")
            found.append(f"is {is_}, and the training images were {were}")
        elif spacing is not None and self.spacing_mm is not None:
            smallest, largest = np.array(self.spacing_mm[0]), np.array(self.spacing_mm[1])
            if (spacing < smallest / _OTHER_SPACING).any() or (spacing > largest * _OTHER_SPACING).any():
                found.append(f"has voxels of {_times(spacing)} mm, and the training images had {self._spacings()}")
        return found

    def _spacings(self) -> str:
        smallest, largest = map(_times, self.spacing_mm or ())
        return f"{smallest} mm" if smallest == largest else f"{smallest} to {largest} mm"


def facts(images: Mapping[str, Volume], pictures: bool) -> dict[str, Any]:
    """What the cache notes of a case: {"values": {name: (lowest, highest)}, "spacing_mm": (z, y, x) or None}.

    Args:
        images: {name: Volume}, as their files are.
        pictures: whether they are pictures, whose pixels have no length.
    """
    first = next(iter(images.values()))
    values = {name: [float(image.array.min()), float(image.array.max())] for name, image in images.items()}
    return {"values": values, "spacing_mm": None if pictures else [float(size) for size in first.spacing]}


def is_note(value: Any) -> bool:
    """Whether a value is one that `TrainedOn.as_note` gives, or None."""
    try:
        TrainedOn.from_note(value)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return True


def _times(sizes: Sequence[float]) -> str:
    return " x ".join(f"{size:.3g}" for size in sizes)
