"""What several readers say of one nodule: ratings made binary, and a class of its size (Havaei et al. 2021)."""

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# A characteristic is 1 where its median rating is at least this; 6 is a nodule without calcification.
THRESHOLDS = {"malignancy": 3.5, "calcification": 6.0, "margin": 4.0, "sphericity": 4.0, "subtlety": 4.0,
              "texture": 4.0}  # fmt: skip
SIZES_MM = (2.0, 4.0, 6.0, 8.0, 10.0, 12.0)


def medians(marks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """{characteristic: median of the readers' ratings}, of those that every mark rates.

    Args:
        marks: dicts with `ratings`, as `meta["nodules"]` of source lidc_idri has them.
    """
    rated = [mark["ratings"] for mark in marks]
    shared = [name for name in (rated[0] if rated else ()) if all(name in one for one in rated)]
    return {name: float(np.median([one[name] for one in rated])) for name in shared}


def binary(rated: Mapping[str, float], thresholds: Mapping[str, float]) -> dict[str, int]:
    """{characteristic: 1 where its median is at least the threshold, else 0}, in the thresholds' order.

    Example:
        >>> binary({"calcification": 5.5, "texture": 5.0}, {"texture": 4, "calcification": 6})
        {'texture': 1, 'calcification': 0}
    """
    return {name: int(rated[name] >= least) for name, least in thresholds.items()}


def size_class(diameter_mm: float, sizes_mm: Sequence[float] = SIZES_MM) -> str:
    """The name of the interval that holds a diameter; what is smaller or larger than all is of the first or the last.

    Args:
        diameter_mm: of the nodule.
        sizes_mm: rising ends of the intervals, each of which holds its lower end.

    Example:
        >>> [size_class(mm) for mm in (3.1, 4, 11.9, 30)]
        ['2-4', '4-6', '10-12', '10-12']
    """
    place = bisect.bisect_right(sizes_mm, diameter_mm, 1, len(sizes_mm) - 1)
    return f"{sizes_mm[place - 1]:g}-{sizes_mm[place]:g}"
