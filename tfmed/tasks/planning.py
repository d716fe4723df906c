"""A plan for a segmentation network from what the data are: every choice with its reason.

The idea, to derive the settings from a fingerprint of the data set by fixed rules, is nnU-Net's (Isensee et al.,
Nature Methods 2021); the rules here are for a budget of time on the machine at hand.
"""

import dataclasses
import math

import numpy as np
import yaml

from tfmed.errors import DataError

_MOST_CLASSES = 64
_FEWEST_VOXELS = 8  # of a class in all cases: nothing is learnt from less
_OF_SMALLEST, _NEXT_TO_NOTHING = 1.5, 8  # side of a patch by that of the smallest image; voxels
_MOST_GROWTH = 100  # times as many voxels after resampling; more are a slip in the header's units
_PATCH = {2: (96**2, 192**2, 320**2), 3: (32**3, 64**3, 96**3)}  # voxels: fewest, where nothing is known, most
_WIDE = 2 * 64**3  # voxels of a step from which on 16 channels are affordable; below it are 8
_THIN_GAIN = 2.5  # by how much 8 are faster
_STEPS = 600  # at least so many; patches are smaller where there is no time for them
_TRAINING = 0.75  # of the minutes, where the patch is chosen; the number of steps then follows from what is left
_VALIDATING = 0.12  # of the minutes, at most, unless two validations take longer
_PREDICTING = 0.35  # what a voxel of a prediction costs, by one of a training step
_READ_TWICE = {2: 1.8, 3: 2.4}  # how often the windows of a prediction cover a voxel, at an overlap of a quarter
_SEEN = 0.25  # of an image, that a patch should show; voxels are taken larger for it
_COARSEST = 2.0  # by how much, at most
_COARSE = 3.0  # times as far between slices as between pixels: what then a 3-D kernel sees is mostly one slice
_CT_AIR = -500.0  # HU; nothing but CT reaches down there


@dataclasses.dataclass(frozen=True)
class Choice:
    """One setting of a plan: its dotted name, its value, and why."""

    key: str
    value: object
    reason: str


def inline(value):
    """A plain value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("...\n").strip()


def as_file(settings, choices):
    """The text of a settings file: settings with choices made, each with its reason above it."""
    reasons = {choice.key: choice.reason for choice in choices}
    lines = [f"# Chosen by looking at {settings.data.root}, where a reason is given.", f"method: {settings.method}"]
    plain = settings.model_dump(mode="json", exclude_unset=True, exclude={"method", "profile"})
    for section, values in plain.items():
        if not isinstance(values, dict):
            lines.append(f"{section}: {inline(values)}")
            continue
        lines.append(f"{section}:")
        for name, value in values.items():
            reason = reasons.get(f"{section}.{name}")
            lines += ([f"  # {reason}"] if reason else []) + [f"  {name}: {inline(value)}"]
    return "\n".join(lines) + "\n"


@dataclasses.dataclass(frozen=True)
class Budget:
    """What time there is for a run.

    Attributes:
        minutes: from the first look at the data to the trained network.
        before: seconds of these until the first step: looking, preparing.
        validation_cases: how many are predicted at each validation.
    """

    minutes: float
    before: float = 0.0
    validation_cases: int = 0

    @property
    def seconds(self):
        """From the first step to the end; where next to nothing would be left, a third of the minutes."""
        return max(60 * self.minutes - self.before, 20 * self.minutes)

    def steps(self, step, validation, closing):
        """(number of steps, number of validations) of so many seconds each; `closing` validations come at the end."""
        most = int(np.clip(_VALIDATING * self.seconds / max(validation, 1e-3) - closing, 2, 8))
        left = max(self.seconds - (most + closing) * validation, self.seconds / 3)
        return int(np.clip(left / max(step, 1e-3), 50, 100_000)) // 50 * 50, most


def plan(found, budget, seconds_per_voxel=None, network=None, patch=None):
    """The choices for a data set, in the order in which they follow from each other: a list of `Choice`.

    Args:
        found: its `Fingerprint`.
        budget: the time that there is.
        seconds_per_voxel: what a step costs for each voxel of its batch on this machine; None: a guess.
        network, patch: those of the settings, where they are not to be chosen.
    """
    spacing, resampling, why_spacing = _spacing(found)
    axes, why_axes = _axes(_median_shape(found, spacing), spacing)
    affordable = _TRAINING * budget.seconds / (_STEPS * seconds_per_voxel) if seconds_per_voxel else None
    thin = network is None and affordable is not None and affordable < _WIDE
    gain = _THIN_GAIN if thin else 1.0
    affordable = affordable and affordable * gain
    voxels = _budget(axes, affordable)
    if patch is None and voxels < _SEEN * np.prod(_median_shape(found, spacing)[-axes:]):
        spacing, resampling, why_spacing = _coarser(found, spacing, axes, voxels)
    if patch is None:
        patch, factors, levels = _patch(_usual_shape(found, spacing), spacing, axes, voxels, network)
    else:
        levels, factors = _levels_of(patch)
    batch = _batch(patch, affordable)
    first = 8 if thin else 16
    chosen = {
        "name": "unet", "widths": [min(first * 2**level, 256) for level in range(levels)], "factors": factors,
        "norm": "instance", "activation": "leaky_relu",
    }  # fmt: skip
    per_voxel = (seconds_per_voxel or 1e-6) / gain
    case = np.prod(_median_shape(found, spacing))
    return [
        *_split(found),
        *_images_and_classes(found, resampling, why_spacing),
        Choice("model.patch", list(patch), f"{why_axes}; about {voxels:.0f} voxels in the images' shape"),
        Choice("model.network", chosen, f"{levels} levels from {first} channels on: as the patch and the time allow"),
        Choice("train.batch_size", batch, "2 volumes, or as many slices as there is time for, up to 16"),
        Choice("model.foreground", 0.5 if found.foreground < 0.05 else 0.33,
               f"labelled voxels are {100 * found.foreground:.2g} % of an image"),
        *_timetable(budget, axes, batch * math.prod(patch) * per_voxel, case * per_voxel),
    ]  # fmt: skip


def of_the_data(found):
    """The choices that any segmenter's settings need for a data set, of `plan`: a list of `Choice`."""
    _, resampling, why_spacing = _spacing(found)
    return [*_split(found), *_images_and_classes(found, resampling, why_spacing)]


def _images_and_classes(found, resampling, why_spacing):
    yield Choice("model.modalities", list(found.modalities), "the images of a case")
    yield _labels(found)
    yield Choice("data.preprocess", [*_turning(found), *resampling, *_intensity(found)],
                 f"{why_spacing}; {_intensity_reason(found)}")  # fmt: skip


def usual_shape(found):
    """The shape (z, y, x) that images have at the voxel size of `of_the_data`; smaller where some are much smaller."""
    return _usual_shape(found, _spacing(found)[0])


def timetable(found, settings, budget, seconds_per_voxel):
    """The choices that follow from how fast steps are, of `plan`, where all others are made.

    Args:
        found: the `Fingerprint`.
        settings: with the network, the patch and all that steps need.
        budget: the time that there is.
        seconds_per_voxel: what a step of these settings costs for each voxel of its batch on this machine.
    """
    patch, spacing = settings.model.patch, _resampled_to(settings)
    case = np.prod(_median_shape(found, np.median(found.spacings, axis=0) if spacing is None else spacing))
    step = settings.train.batch_size * math.prod(patch) * seconds_per_voxel
    return _timetable(budget, len(patch), step, case * seconds_per_voxel)


def _timetable(budget, axes, step, case):
    """See `timetable`; seconds of a step, and of as many voxels of a step as a case has."""
    validation = budget.validation_cases * _READ_TWICE[axes] * _PREDICTING * case
    steps, validations = budget.steps(step, validation, closing=1 + 2**axes)
    less = "less what looking, preparing and validations take"
    return [
        Choice("train.steps", steps, f"{budget.minutes:g} minutes at {step:.2g} s a step, {less}"),
        Choice("train.schedule", {"kind": "polynomial"}, "down to 0 at the last step"),
        Choice("train.validate_every", max(50, -(-steps // validations)), f"{validations} times at most"),
        Choice("train.preview_every", max(50, steps // 2), "at half time and at the end"),
        Choice("train.log_every", max(1, min(50, steps // 40)), "for a smooth curve"),
        Choice("train.checkpoint_every_steps", max(50, steps // 8), "eight times"),
    ]


def _resampled_to(settings):
    """The voxel size (z, y, x) in mm that cases are resampled to, or None."""
    return next((step.spacing_mm for step in settings.data.preprocess if step.step == "resample"), None)


def check(found, settings):
    """Raise a DataError where a case does not fit what was planned: known before anything is prepared.

    Args:
        found: the `Fingerprint`.
        settings: with all choices made.
    """
    spacing = _resampled_to(settings)
    for name, shape, own in zip(found.ids, found.shapes, found.spacings, strict=True):
        size = np.array(shape) * (1.0 if spacing is None else np.array(own) / spacing)
        have = f"{_times(shape)} voxels of {_times(own)} mm" + (
            f", resampled to {_times(spacing)} mm" if spacing else ""
        )
        if np.prod(size) > _MOST_GROWTH * np.prod(shape):
            many = f"would be {np.prod(size) / np.prod(shape):.0f} times as many"
            raise DataError(f"{name}: its {have}, {many}; are they in mm? Correct its header, or remove it")
        patch = settings.model.patch
        if any(2 * round(side) < want for side, want in zip(size[-len(patch) :], patch, strict=True)):
            half = f"are less than half of the patch {_times(patch)} that suits the others"
            raise DataError(f"{name}: its {have}, {half}; remove it, or set model.patch")


def _times(sizes):
    return " x ".join(f"{size:.3g}" for size in sizes)


def _split(found):
    """How cases are split where there are too few patients for three parts."""
    if found.labelled_patients == 1:
        reason = "one patient has label maps, and trains: nothing is left to score it on"
        yield Choice("data.split", {"validation": 0, "test": 0}, reason)
    if found.labelled_patients == 2:
        reason = "of two patients with label maps one trains and one validates"
        yield Choice("data.split", {"validation": 0.5, "test": 0}, reason)


def _labels(found):
    numbers = sorted(found.labels)
    if not numbers:
        raise DataError("the label maps are empty; is this the right folder?")
    if _are_instances(found):
        reason = f"{len(numbers)} numbers that count the objects of each image: all are one class"
        return Choice("model.labels", {"foreground": "any"}, reason)
    if len(numbers) > _MOST_CLASSES:
        reason = (f"{len(numbers)} numbers, more than the {_MOST_CLASSES} that are told apart: all are one class; name "
                  "those that you want")  # fmt: skip
        return Choice("model.labels", {"foreground": "any"}, reason)
    few = [number for number in numbers if found.labels[number][0] < _FEWEST_VOXELS]
    kept = [number for number in numbers if number not in few] or numbers
    reason = "the numbers in the label maps"
    if len(kept) < len(numbers):
        left = ", ".join(f"{number} ({found.labels[number][0]} in all)" for number in few)
        reason += f"; left out, for want of voxels to learn from: {left}"
    return Choice("model.labels", {f"label {number}": number for number in kept}, reason)


def _are_instances(found):
    """Whether the numbers count objects, 1 to n in each image: then high ones are rarer than low ones."""
    numbers = sorted(found.labels)
    times = [found.labels[number][1] for number in numbers]
    return len(numbers) > 8 and numbers == list(range(1, len(numbers) + 1)) and times == sorted(times, reverse=True) \
        and times[-1] < times[0]  # fmt: skip


def _spacing(found):
    """(target spacing (z, y, x) in mm, list of the resampling step or of nothing, why)."""
    spacings = np.array(found.spacings)
    median = np.median(spacings, axis=0)
    if found.orientation is None:
        return median, [], "pictures, which have no voxel size"
    if (np.abs(spacings / median - 1) < 0.02).all():
        return median, [_resampling(median)], "all voxels have one size, to which scans of another are resampled"
    coarse = int(median.argmax())
    target = median.copy()
    if median[coarse] > _COARSE * np.delete(median, coarse).max():
        target[coarse] = np.percentile(spacings[:, coarse], 10)
    return target, [_resampling(target)], "resampled to the median voxel size (of coarse slices to a fine one)"


def _turning(found):
    return [] if found.orientation is None else [{"step": "orient", "to": found.orientation}]


def _resampling(spacing):
    return {"step": "resample", "spacing_mm": [round(float(value), 4) for value in spacing]}


def _median_shape(found, spacing):
    sizes = np.array(found.shapes) * np.array(found.spacings) / spacing
    return np.maximum(np.rint(np.median(sizes, axis=0)).astype(int), 1)


def _usual_shape(found, spacing):
    """The median shape; smaller where a case has less than half of it, unless that is next to nothing (see `check`)."""
    sizes = np.array(found.shapes) * np.array(found.spacings) / spacing
    smallest = sizes.min(axis=0)
    median = _median_shape(found, spacing)
    limited = np.minimum(median, np.maximum((_OF_SMALLEST * smallest).astype(int), 1))
    return np.where(smallest >= _NEXT_TO_NOTHING, limited, median)


def _axes(shape, spacing):
    """(2 or 3, why)."""
    if shape[0] < 8:
        return 2, f"2-D, for there are {shape[0]} slices"
    ratio = spacing[0] / spacing[1:].max()
    if ratio > _COARSE:
        return 2, f"2-D, for slices lie {ratio:.1f} times as far apart as pixels"
    return 3, "3-D, for voxels are about as long as wide"


def _budget(axes, affordable):
    """Voxels of a patch: as many as there is time for."""
    fewest, usual, most = _PATCH[axes]
    return usual if affordable is None else float(np.clip(affordable / (2 if axes == 3 else 4), fewest, most))


def _coarser(found, spacing, axes, budget):
    """As `_spacing`, with larger voxels, so that a patch shows a good part of an image."""
    whole = np.prod(_median_shape(found, spacing)[-axes:])
    factor = min((_SEEN * whole / budget) ** (1 / axes), _COARSEST)
    larger = spacing.copy()
    larger[-axes:] *= factor
    reason = f"voxels {factor:.2g} times as large, so that a patch shows more of an image"
    return larger, [_resampling(larger)], reason


def _patch(shape, spacing, axes, budget, network=None):
    """(patch, factors by which levels shrink, number of levels), for a network if one is given."""
    shape, spacing = np.array(shape[-axes:], float), np.array(spacing[-axes:])
    sides = shape.copy()
    while np.prod(sides) > budget:  # the side that is longest in mm is cut first, so that patches become cubes
        longest = int((sides * spacing).argmax())
        sides[longest] *= 0.95
    if network is not None:
        levels, factors = len(network.widths), network.factors
        factors = [factors] * axes if isinstance(factors, int) else list(factors)
    else:
        levels, factors = _levels(sides)
    multiples = [factor ** (levels - 1) for factor in factors]
    patch = [max(1, round(side / multiple)) * multiple for side, multiple in zip(sides, multiples, strict=True)]
    return patch, factors, levels


def _levels(sides):
    """(number of levels, factors by which they shrink): as deep as the longest side allows, short sides left alone."""
    levels = int(np.clip(math.log2(sides.max() / 4) + 1, 2, 6))
    while True:
        factors = [2 if side >= 3 * 2 ** (levels - 1) else 1 for side in sides]
        if levels <= 3 or all(factor == 2 or side < 8 for factor, side in zip(factors, sides, strict=True)):
            return levels, factors
        levels -= 1


def _levels_of(patch):
    """The same for a patch that is given: every level halves each side that it can."""
    levels = 1
    while levels < 6 and max(patch) >= 8 * 2 ** (levels - 1) and any(side % 2**levels == 0 for side in patch):
        levels += 1
    return levels, [2 if side % 2 ** (levels - 1) == 0 and side >= 2**levels else 1 for side in patch]


def _batch(patch, affordable):
    if len(patch) == 3:
        return 2
    pixels = 4 * 128 * 128 if affordable is None else affordable
    return int(np.clip(pixels / math.prod(patch), 2, 16))


def _intensity(found):
    """The step that brings images to a mean of 0 and a deviation of 1."""
    if not _is_ct(found):
        return [{"step": "zscore"}]
    (low, high, mean, deviation, *_), *_ = found.values.values()
    high, deviation = max(high, low + 1), max(deviation, 1.0)
    scaled = [round((edge - mean) / deviation, 4) for edge in (low, high)]
    return [{"step": "window", "window_hu": [round(low, 1), round(high, 1)], "range": scaled}]


def _intensity_reason(found):
    if _is_ct(found):
        return "CT (values reach down to air): clipped to 0.5 and 99.5 % of the labelled voxels, scaled by their mean"
    return "no HU: each image by its own mean and standard deviation"


def _is_ct(found):
    return len(found.values) == 1 and all(lowest < _CT_AIR for *_, lowest, _ in found.values.values())
