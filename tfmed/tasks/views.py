"""What `tfmed view` shows of a run's cases: the reference, what each run makes of the case, and where both differ."""

import dataclasses
import functools

import numpy as np

from tfmed.data.preprocess import class_labels, onto_grid
from tfmed.data.readers import read_address, read_case
from tfmed.errors import RunError
from tfmed.io.addresses import COLOURS
from tfmed.io.geometry import same_grid
from tfmed.metrics.segmentation import dice
from tfmed.pictures import layers
from tfmed.pictures.layers import Panel, View

_MOST_PROBABILITIES = 4  # classes whose probabilities are layers of their own


def segmented(methods, part):
    """Views of the cases of a part of the split: reference; segmentation, probabilities and entropy; errors.

    Args:
        methods: name of the run -> its Method with `segmenter`, `case_spec` and a config of label values.
        part: "test", "validation" or "train".

    Raises:
        RunError: the part has no case.
    """
    first = next(iter(methods.values()))
    values = first.config.label_values
    names = {k: first.config.class_names.get(value, f"label {value}") for k, value in enumerate(values) if k}
    segmenters = {name: method.segmenter() for name, method in methods.items()}
    for case in _cases(first, part):
        images, label = read_case(case, first.case_spec)
        ground = _ground(first.case_spec.images, images)
        reference = None if label is None else class_labels(label, values)
        panels, said = [], []
        if reference is not None:
            panels.append(Panel("reference", (*ground, layers.labels("reference", reference, names))))
        for run, segmenter in segmenters.items():
            found = segmenter(images)
            title = "prediction" if len(methods) == 1 else run
            over = [layers.labels("prediction", found.labels, names)]
            over += _probabilities(found.probabilities, names)
            panels.append(Panel(title, (*ground, *over, layers.entropy(found.entropy))))
            if reference is not None:
                panels.append(Panel(f"errors of {title}" if len(methods) > 1 else "errors",
                                    (*ground, layers.errors(found.labels, reference))))  # fmt: skip
                said.append(_dices(found.labels.array, reference.array, names, "" if len(methods) == 1 else run))
        yield View(case.id, tuple(panels), "; ".join(said))


def translated(methods, part, source, target):
    """Views of the pairs of a part of the split: source; target; what each run makes; the difference.

    Args:
        methods: name of the run -> its Method with `translator`.
        part: "test", "validation" or "train".
        source: name of the image that is translated.
        target: name of the real one of the other modality, on the same grid.

    Raises:
        RunError: the part has no such pair.
    """
    first = next(iter(methods.values()))
    cases = [case for case in _cases(first, part) if source in case.images]
    if not cases:
        raise RunError(f"no case of the part {part!r} has an image {source!r}; choose another --part")
    translators = {name: method.translator() for name, method in methods.items()}
    in_hu = next(iter(next(iter(translators.values())).kinds.values())).hounsfield  # values of MRs are nobody else's
    for case in cases:
        read = functools.partial(read_address, series_uid=case.meta.get("series_uid"))
        image = read(case.images[source])
        panels = [Panel(source.upper(), (layers.image(source.upper(), image),))]
        real = read(case.images[target]) if target in case.images else None
        window = None
        if real is not None:
            if not same_grid(image, real):
                real = onto_grid(real.replace(array=np.asarray(real.array, np.float32)), image.shape, image.affine)
            shown = layers.image(target.upper(), real)
            window = shown.window if in_hu else None
            panels.append(Panel(shown.name, (shown,)))
        for run, translator in translators.items():
            made = next(iter(translator(image).values()))
            name = "translation" if len(methods) == 1 else f"translation of {run}"
            panels.append(Panel(name, (layers.image(name, made, window),)))
            if window is not None:
                largest = (window[1] - window[0]) / 4
                said = f"{name} - {target.upper()}"
                panels.append(Panel(said, (layers.difference(made, real, largest, said),)))
        yield View(case.id, tuple(panels))


def _ground(names, images):
    """Layers of a case's images, the last one shown, as in previews; a picture of three colours is one."""
    if set(names) == set(COLOURS) and images[0].shape[0] == 1:
        planes = dict(zip(names, images, strict=True))
        stack = np.stack([planes[name].array for name in COLOURS], -1)
        if stack.min() >= 0 and stack.max() <= 255:
            return (layers.image("picture", images[0].replace(array=np.rint(stack).astype(np.uint8))),)
    found = [layers.image(name, one) for name, one in zip(names, images, strict=True)][::-1]
    return (found[0], *(dataclasses.replace(other, shown=False) for other in found[1:]))


def _probabilities(found, names):
    """A layer for each class that has a name; of many classes one, of the most probable class."""
    if len(names) > _MOST_PROBABILITIES:
        return [layers.probability("probability of the most probable class", found.replace(array=found.array.max(-1)))]
    return [layers.probability(f"probability of {name}", found.replace(array=np.ascontiguousarray(found.array[..., k])))
            for k, name in names.items()]  # fmt: skip


def _cases(method, part):
    cases = method.cases[part]
    if not cases:
        raise RunError(f"no case is in the part {part!r} of the split; choose another --part")
    return cases


def _dices(found, reference, names, run):
    """Dice of each class in words."""
    said = ", ".join(f"{name} {dice(found == k, reference == k):.2f}" for k, name in names.items())
    return f"{run + ': ' if run else ''}Dice {said}"
