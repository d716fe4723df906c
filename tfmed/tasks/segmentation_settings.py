"""The settings that segmentation methods share: images and classes, patches, inference, scores."""

import dataclasses
from typing import Literal

import pydantic
from pydantic import Field

from tfmed.config import MethodConfig, Strict, Voxels
from tfmed.tasks.backbones import Network, UNet


class Classes(Strict):
    """Which images a set of cases has, and which numbers of its label maps are which class."""

    modalities: tuple[str, ...] = Field(("mr",), min_length=1)  # names of a case's images: the network's channels
    labels: dict[str, Literal["any"] | int | tuple[int, ...]] = Field(default_factory=dict)  # see `_from_labels`
    label_values: tuple[int, ...] = (0, 1)  # the number of each class in files, background first
    regions: dict[str, tuple[int, ...]] = Field(default_factory=dict)  # what is scored: {name: label values}

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_labels(cls, values):
        """`labels: {liver: 1, kidneys: [2, 3], lesions: any}` names the classes: numbers in files that count as one.

        All others are background. A class is written as the first of its numbers (any: 1), and scored by its name.
        Classes are in the order in which they stand; in that of `label_values`, where a file that was written by a
        program has both.
        """
        labels = values.get("labels") if isinstance(values, dict) else None
        if not isinstance(labels, dict) or not labels:
            return values
        numbers = [_numbers(stored) for stored in labels.values()]
        first = [found[0] for found in numbers if found]
        if len(first) == len(numbers):
            given = values.get("label_values")
            if given is not None:
                numbered = [*given[:1], *sorted(given[1:], key=repr)] if isinstance(given, list | tuple) else None
                if numbered != [0, *sorted(first, key=repr)]:
                    raise ValueError(f"label_values: labels make them {[0, *first]}; give labels alone")
                order = {number: place for place, number in enumerate(given)}
                labels = dict(sorted(labels.items(), key=lambda one: order[_numbers(one[1])[0]]))
                values, first = values | {"labels": labels}, sorted(first, key=order.get)
            known = {"regions": {name: (one,) for name, one in zip(labels, first, strict=True)}}
            return known | values | {"label_values": (0, *first)}
        return values

    @pydantic.model_validator(mode="after")
    def _labels_differ(self):
        numbers = [number for stored in self.labels.values() for number in _numbers(stored)]
        if "any" in self.labels.values() and len(self.labels) > 1:
            raise ValueError("labels: `any` is all numbers but 0, so there can be no other class beside it")
        if any(not _numbers(stored) for stored in self.labels.values()) or len(set(numbers)) < len(numbers):
            raise ValueError("labels: each class needs numbers of its own")
        if any(number <= 0 for number in numbers):
            raise ValueError("labels: numbers of classes are above 0; what no class names is background")
        return self

    @property
    def label_groups(self):
        """[(number of a class, numbers in files or None for any)], or None where files hold the classes' numbers."""
        groups = [
            (_numbers(stored)[0], None if stored == "any" else _numbers(stored)) for stored in self.labels.values()
        ]
        return groups or None

    @pydantic.model_validator(mode="after")
    def _classes_fit(self):
        if len(set(self.label_values)) < len(self.label_values):
            raise ValueError("label_values: a number stands twice")
        if not 2 <= len(self.label_values) <= 256:
            raise ValueError(f"label_values: has {len(self.label_values)} numbers; give from 2 to 256")
        for name, values in self.regions.items():
            strange = sorted(set(values) - set(self.label_values))
            if strange or not values:
                raise ValueError(f"regions.{name}: {strange or values} are not among label_values {self.label_values}")
        return self

    @property
    def classes(self):
        return len(self.label_values)

    def as_used(self, case):
        """A Case of the set, with `labels` as its files' numbers are to be joined."""
        groups = self.label_groups
        return case if groups is None else dataclasses.replace(case, meta={**case.meta, "label_groups": groups})

    @property
    def class_names(self):
        """{number in files: name} where every class has a name of its own, else nothing."""
        names = {values[0]: name for name, values in self.regions.items() if len(values) == 1}
        return names if set(names) == set(self.label_values[1:]) else {}

    @property
    def scored(self):
        """{region: class numbers}; without `regions` each class by its number in files."""
        regions = self.regions or {f"label {value}": (value,) for value in self.label_values[1:]}
        return {name: [self.label_values.index(value) for value in values] for name, values in regions.items()}


class SegmentationConfig(Classes, MethodConfig):
    """What every segmentation method has in its `model` section, beside its own numbers."""

    patch: tuple[Voxels, ...] = Field((224, 224), min_length=2, max_length=3)  # voxels (y, x), or (z, y, x)
    network: Network = UNet()
    foreground: float = Field(0.0, ge=0, le=1)  # share of the patches that are centred on a labelled voxel
    pad: Literal["edge", "reflect"] = "edge"  # how an image goes on past its border, where a network reads on
    # inference
    overlap: float = Field(0.25, ge=0, lt=1)  # of neighbouring windows, which are as large as a patch
    blend: Literal["gaussian", "constant"] = "gaussian"
    flips: tuple[Literal["z", "y", "x"], ...] = ()  # mean over all flips along these axes
    mc_passes: int = Field(0, ge=0, le=1000)  # Monte Carlo dropout; 0: one pass without dropout
    # scores
    nsd_tolerance_mm: float = Field(2.0, ge=0, allow_inf_nan=False)  # of surface Dices

    @pydantic.model_validator(mode="after")
    def _sections_fit(self):
        try:
            multiples = self.network.multiple(len(self.patch))
        except ValueError as error:
            raise ValueError(f"network: {error}") from None
        if len(multiples) != len(self.patch):
            raise ValueError(f"network: is for {len(multiples)}-D patches, and patch has {len(self.patch)} numbers")
        for side, multiple, more in zip(self.patch, multiples, self.per_axis(self.network.remainder), strict=True):
            if (side - more) % multiple or side < more:
                needed = f"multiple of {multiple}" + (f" plus {more}" if more else "")
                raise ValueError(
                    f"patch: {side} is no {needed}, as network {self.network.name} needs; "
                    f"try {max(0 if more else 1, round((side - more) / multiple)) * multiple + more}"
                    + (f", or other {self.network.levels_by}" if self.network.levels_by else "")
                )
        if min(self.patch) < self.network.least:
            raise ValueError(
                f"patch: a side of {min(self.patch)} is too short for network {self.network.name}, which needs "
                f"{self.network.least}; give a larger patch, or fewer {self.network.levels_by}"
            )
        if "z" in self.flips and len(self.patch) == 2:
            raise ValueError("flips: slices have no axis z")
        return self

    def per_axis(self, numbers):
        """One number for each axis of a patch, of one or several."""
        return (numbers,) * len(self.patch) if isinstance(numbers, int) else tuple(numbers)

    @property
    def neighbours(self):
        """Slices on each side of a slice that a 2-D network sees with it, as further channels."""
        return 0

    @property
    def channels(self):
        """Of what a network sees."""
        return len(self.modalities) * (2 * self.neighbours + 1)


def _numbers(stored):
    """The numbers in files that a class of `labels` has."""
    return [1] if stored == "any" else [stored] if isinstance(stored, int) else list(stored)
