"""Slices of several volumes at the same places: time points, echoes, b-values, segments. And copies of one slice."""

import collections
import warnings

import numpy as np

from tfmed.io.dicom_pixels import stored_values
from tfmed.io.dicom_slices import values_of
from tfmed.io.dicom_tags import DIMENSIONS
from tfmed.io.errors import damage

LONGEST_LIST = 6


def one_volume(slices, folder, volume=None):
    """The slices of one volume; copies are dropped with a warning.

    Args:
        slices: Slices of one series.
        folder: what the series is called in an error.
        volume: which one, counted from 0 in the order of what tells them apart; may be None where there is only one.

    Raises:
        ImageIntegrityError: there are several and none is chosen, no such volume, or slices at one place that differ
            and that nothing tells apart.
    """
    places = _places(slices)
    if max(map(len, places.values())) == 1:
        found, names = [slices], ()
    else:
        found, names = _divided(places)
    if volume is None and len(found) > 1:
        raise damage(folder, f"it holds {len(found)} volumes at the same places ({_listed(found, names)})",
                     f"choose one with the option volume=0 to {len(found) - 1}, or as folder::0")  # fmt: skip
    if not 0 <= (volume or 0) < len(found):
        raise damage(folder, f"it holds {len(found)} volume(s), not the number {volume} (counted from 0) asked for",
                     "give another number")  # fmt: skip
    return found[volume or 0]


def pixels_in(one, opened=None):
    """The values (y, x) of a slice; int64 where they are whole.

    Args:
        one: a Slice.
        opened: a dict that keeps the readers of files with many slices between calls.
    """
    opened = {} if opened is None else opened
    if one.path not in opened:
        opened.clear()
        opened[one.path] = stored_values(one.pixels)
    stored = opened[one.path](one.frame)
    return values_of(stored[one.tile] if one.tile else stored, one)


def _places(slices):
    places = collections.defaultdict(list)
    for one in slices:
        places[one.place].append(one)
    return places


def _divided(places):
    """(list of lists of slices, names of what tells them apart)."""
    places = [_without_doubles(group) for group in places.values()]
    chosen = _telling(places)
    if not all(_differ(group, chosen) for group in places):
        places = [_without_equals(group, chosen) for group in places]
    if not all(_differ(group, chosen) for group in places):
        return _by_number(places), ("InstanceNumber",)
    volumes = collections.defaultdict(list)
    for group in places:
        for one in group:
            volumes[_key(one, chosen)].append(one)
    return [volumes[key] for key in sorted(volumes, key=_sortable)], tuple(DIMENSIONS[k] for k in chosen)


def _telling(places):
    """Indices of the dimensions that separate the slices at each place, and take no more values in all than at one."""
    chosen = []
    for index in range(len(DIMENSIONS)):
        counts = [len({one.labels[index] for one in group}) for group in places]
        every = {one.labels[index] for group in places for one in group}
        finer = any(len(_keys(group, [*chosen, index])) > len(_keys(group, chosen)) for group in places)
        if max(counts) > 1 and len(every) == max(counts) and finer:
            chosen.append(index)
    return chosen


def _key(one, chosen):
    return tuple(one.labels[index] for index in chosen)


def _keys(group, chosen):
    return {_key(one, chosen) for one in group}


def _differ(group, chosen):
    return len(_keys(group, chosen)) == len(group)


def _sortable(key):
    return [(isinstance(value, str), value) for value in key]


def _without_doubles(group):
    """One place's slices; files that hold the same object are copies."""
    kept = {}
    for one in group:
        first = kept.setdefault((one.instance, one.frame, one.labels), one)
        if first is not one:
            _compare(one, first)
    return list(kept.values())


def _without_equals(group, chosen):
    """One place's slices; what nothing tells apart must be equal."""
    kept = []
    for one in group:
        alike = [other for other in kept if _key(other, chosen) == _key(one, chosen)]
        equal = [other for other in alike if np.array_equal(pixels_in(one), pixels_in(other))]
        if equal:
            _told(one, equal[0])
        else:
            kept.append(one)
    return kept


def _compare(one, first):
    if not np.array_equal(pixels_in(one), pixels_in(first)):
        raise _conflict(one, first)
    _told(one, first)


def _told(one, first):
    warnings.warn(f"{one.path}: the same slice as {first.path.name}; left out", stacklevel=6)


def _conflict(one, first):
    return damage(one.path, f"it lies where {first.path.name} lies but shows something else",
                  "move one of the two acquisitions out of the folder")  # fmt: skip


def _by_number(places):
    """Volumes by the order in which the slices at each place were made, if each place has as many."""
    for group in places:
        if len(group) != len(places[0]) or len({one.number for one in group}) != len(group):
            longest = max(places, key=len)
            raise _conflict(longest[1], longest[0])
    ranked = [sorted(group, key=lambda one: one.number) for group in places]
    return [list(volume) for volume in zip(*ranked, strict=True)]


def _listed(volumes, names):
    """ "EchoTime 2.3, 4.6" """
    index = {name: k for k, name in enumerate(DIMENSIONS)}
    if not set(names) <= set(index):
        return "told apart by their InstanceNumber"
    texts = [" / ".join(_shown(volume[0].labels[index[name]]) for name in names) for volume in volumes]
    more = ", ..." if len(texts) > LONGEST_LIST else ""
    return f"{' / '.join(names)} {', '.join(texts[:LONGEST_LIST])}{more}"


def _shown(value):
    return (value or "none") if isinstance(value, str) else "\\".join(f"{number:g}" for number in value)
