"""Several data sets for one network: channels and classes of its own for each, so that it can tell them apart."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from tfmed.data.case import Case


@dataclasses.dataclass(frozen=True)
class SetCoding:
    """How images and labels of several data sets are written so that they fit into one batch (Guo et al. 2021).

    Channel coding: every set has channels of its own, and the others' are 0. Label coding: every set has classes of its
    own, and the background, class 0, is the same for all.

    Args:
        channels: number of each set's images.
        classes: number of each set's classes, the background included.
        slots: channels of its own for each set; False: all begin at the first channel, and what is left is 0.
        shared_background: False: each set's background is a class of its own too.

    Raises:
        ValueError: another number of channels than of classes, none, or one that is too small.

    Example:
        >>> coding = SetCoding(channels=(2, 1), classes=(2, 4))
        >>> coding.total_channels, coding.total_classes, coding.numbers(0), coding.numbers(1)
        (3, 5, (0, 1), (0, 2, 3, 4))
        >>> coding.image(np.ones((1, 1, 1)), 1).tolist(), coding.label(np.array([0, 1, 3]), 1).tolist()
        ([[[0.0, 0.0, 1.0]]], [0, 2, 4])
    """

    channels: tuple[int, ...]
    classes: tuple[int, ...]
    slots: bool = True
    shared_background: bool = True

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.classes) or not self.channels:
            raise ValueError(f"channels {self.channels} and classes {self.classes}: one number of each for every set")
        if min(self.channels) < 1 or min(self.classes) < 2:
            raise ValueError(f"channels {self.channels}, classes {self.classes}: at least 1 image and 2 classes")

    def __len__(self) -> int:
        return len(self.channels)

    @property
    def total_channels(self) -> int:
        """Channels of a coded image."""
        return sum(self.channels) if self.slots else max(self.channels)

    @property
    def total_classes(self) -> int:
        """Classes of all sets together."""
        return sum(self.classes) - (len(self) - 1 if self.shared_background else 0)

    def slot(self, number: int) -> tuple[int, int]:
        """(first, last + 1) channel of a set's images."""
        first = sum(self.channels[:number]) if self.slots else 0
        return first, first + self.channels[number]

    def numbers(self, number: int) -> tuple[int, ...]:
        """The class of all that each class of a set becomes, its background first."""
        before = sum(self.classes[:number])
        if not self.shared_background:
            return tuple(range(before, before + self.classes[number]))
        return (0, *range(before - number + 1, before - number + self.classes[number]))

    def counted(self, number: int) -> tuple[float, ...]:
        """A weight for each class of all: 1 for those of a set, 0 for others', as losses take them."""
        own = set(self.numbers(number))
        return tuple(float(k in own) for k in range(self.total_classes))

    def image(self, image: np.ndarray, number: int) -> np.ndarray:
        """A set's image `(..., channels)` -> coded `(..., total_channels)`, of the same dtype.

        Raises:
            ValueError: it has another number of channels.
        """
        first, end = self.slot(number)
        if image.shape[-1] != end - first:
            raise ValueError(f"set {number} has {end - first} channels, and the image {image.shape[-1]}")
        coded = np.zeros((*image.shape[:-1], self.total_channels), image.dtype)
        coded[..., first:end] = image
        return coded

    def own_image(self, coded: np.ndarray, number: int) -> np.ndarray:
        """The inverse of `image`."""
        return coded[..., slice(*self.slot(number))]

    def label(self, label: np.ndarray, number: int) -> np.ndarray:
        """A set's class numbers -> those of all, `uint8` (`uint16` where 256 do not suffice).

        Raises:
            ValueError: a number is none of the set's classes.
        """
        if label.size and not 0 <= int(label.min()) <= int(label.max()) < self.classes[number]:
            raise ValueError(f"set {number} has classes 0 to {self.classes[number] - 1}, and the labels others")
        return self._table(number)[label]

    def own_label(self, coded: np.ndarray, number: int) -> np.ndarray:
        """The inverse of `label`; classes of other sets become the background."""
        table = np.zeros(self.total_classes, np.uint8)
        table[list(self.numbers(number))] = np.arange(self.classes[number])
        return table[coded]

    @functools.lru_cache(maxsize=64)  # noqa: B019 - few, small and frozen
    def _table(self, number: int) -> np.ndarray:
        return np.array(self.numbers(number), np.uint8 if self.total_classes <= 256 else np.uint16)


def set_weights(target: float, others: int) -> tuple[float, ...]:
    """The weight of the target's loss, and an equal share of the rest for each other set; together 1.

    Args:
        target: 0 to 1; without other sets it is 1 whatever is given.
        others: number of the other sets.

    Raises:
        ValueError: a weight outside of 0 to 1.

    Example:
        >>> [round(weight, 3) for weight in set_weights(0.95, 2)]
        [0.95, 0.025, 0.025]
    """
    if not 0 <= target <= 1:
        raise ValueError(f"target weight {target}: from 0 to 1")
    return (target, *[(1 - target) / others] * others) if others else (1.0,)


def same_scans(one: Sequence[Case], other: Sequence[Case], content: Callable[[str], str]) -> list[str]:
    """Addresses in `other` of images that stand in `one` too, also as copies: what trains must not be tested.

    Args:
        one, other: lists of Case.
        content: function of an address -> digest of what it holds, such as `Cache.content`. Files that cannot be read
            count for nothing.
    """

    def digests(cases):
        for address in sorted({address for case in cases for address in case.images.values()}):
            with contextlib.suppress(OSError):
                yield content(address), address

    known = {digest for digest, _ in digests(one)}
    return [address for digest, address in digests(other) if digest in known]
