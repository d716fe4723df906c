"""What `tfmed view` shows of a run's cases: the reference, what each run makes of the case, and where both differ."""

import dataclasses
import functools

import numpy as np

from tfmed.data.preprocess import class_labels, onto_grid
from tfmed.data.readers import read_address, read_case
from tfmed.errors import RunError
from tfmed.io.addresses import COLOURS
from tfmed.io.geometry import same_grid
from tfmed.io.itk import LPS_RAS
from tfmed.io.volume import Volume
from tfmed.metrics.image_quality import patch_scores
from tfmed.metrics.instances import instance_scores
from tfmed.metrics.segmentation import dice
from tfmed.pictures import layers
from tfmed.pictures.layers import Panel, View

_MOST_PROBABILITIES = 4  # classes whose probabilities are layers of their own, or are told
_MOST_SPREAD = 0.25  # standard deviation of completions, of the range of their values, that is as bright as it gets


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
    for case in cases_of(first, part):
        images, label = read_case(case, first.case_spec)
        ground = ground_of(first.case_spec.images, images)
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
    cases = [case for case in cases_of(first, part) if source in case.images]
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


def outlined(methods, part):
    """Views of images with single objects: reference and predictions, a colour for each object, and errors.

    Args:
        methods: name of the run -> its Method with `finder`, `case_spec` and a config of one modality.
        part: "test", "validation" or "train".

    Raises:
        RunError: the part has no case.
    """
    first = next(iter(methods.values()))
    (kind,) = first.config.modalities
    finders = {run: method.finder() for run, method in methods.items()}
    for case in cases_of(first, part):
        (image,), label = read_case(case, first.case_spec)
        ground, panels, said = ground_of((kind,), [image]), [], []
        if label is not None:
            panels.append(Panel("reference", (*ground, _objects("reference", label))))
        for run, finder in finders.items():
            found, end = finder(image), "" if len(methods) == 1 else f" of {run}"
            labels = image.replace(array=found["labels"][None])
            maps = [layers.probability(name, image.replace(array=found[name][None])) for name in finder.outputs[1:]]
            panels.append(Panel(f"prediction{end}", (*ground, _objects("prediction", labels), *maps)))
            if label is not None:
                masks = [one.replace(array=(one.array > 0).astype(np.uint8)) for one in (labels, label)]
                panels.append(Panel(f"errors{end}", (*ground, layers.errors(*masks))))
                said.append(_counted(instance_scores(labels.array, np.rint(label.array).astype(np.int64)), kind, end))
        yield View(case.id, tuple(panels), "; ".join(said))


def classified(methods, part):
    """Views of cases with their class, and what each run takes them for.

    Args:
        methods: name of the run -> its Method with `classifier`, `prepared_array` and `case_spec`.
        part: "test", "validation" or "train".

    Raises:
        RunError: the part has no case.
    """
    first = next(iter(methods.values()))
    classifiers = {run: method.classifier() for run, method in methods.items()}
    for case in cases_of(first, part):
        images, _ = read_case(case, first.case_spec)
        true = case.meta.get("class")
        known, said, wrong = "no reference" if true is None else f"reference: {true}", [], False
        for run, classifier in classifiers.items():
            found = classifier.compute(methods[run].prepared_array(case))
            order, who = np.argsort(-found, kind="stable"), "prediction" if len(methods) == 1 else run
            wrong |= true in classifier.classes and true != classifier.classes[order[0]]
            chances = ", ".join(f"{classifier.classes[k]} {found[k]:.1%}" for k in order[:_MOST_PROBABILITIES])
            known += f", {who}: {classifier.classes[order[0]]}"
            said.append(f"{who}: {chances}")
        panel = Panel(known, ground_of(first.case_spec.images, images))
        yield View(f"{case.id}: wrong" if wrong else case.id, (panel,), "; ".join(said))


def completed(methods, part):
    """Views of pictures with holes: the picture, what is seen of it, completions, and how far these spread.

    Args:
        methods: name of the run -> its Method with `scored` and `filled`; all see the first one's pictures and holes.
        part: "test", "validation" or "train".

    Raises:
        RunError: the part has no case.
    """
    first = next(iter(methods.values()))
    cases_of(first, part)
    for case, truth, seen, mask in first.scored(part):
        shown = {"picture": truth, "what is seen": np.where(mask > 0, 0, seen)}
        panels = [Panel(name, (layers.image(name, _plane(array), (0, 1)),)) for name, array in shown.items()]
        hole = layers.labels("hole", _plane(mask.astype(np.uint8)), {1: "missing"})
        panels[1] = dataclasses.replace(panels[1], layers=(*panels[1].layers, hole))
        said = []
        for run, method in methods.items():
            found, end = method.filled(seen, mask), "" if len(methods) == 1 else f" of {run}"
            pictures = {f"completion {k}": one for k, one in enumerate(found, 1)} | {"mean": found.mean(0)}
            made = [layers.image(name, _plane(array), (0, 1)) for name, array in pictures.items()]
            made = [dataclasses.replace(one, shown=k == 0) for k, one in enumerate(made)]
            ring = dataclasses.replace(hole, shown=False)
            panels.append(Panel(f"completions{end}", (*made, ring)))
            spread = layers.image("standard deviation", _plane(found.std(0)), (0, _MOST_SPREAD), "inferno")
            panels.append(Panel(f"spread of the completions{end}", (spread,)))
            psnr = [patch_scores(one, truth, mask, method.config.margin)["PSNR"] for one in found]
            said.append(f"PSNR{end} of the first completion {psnr[0]:.1f} dB, of the best of {len(psnr)} "
                        f"{max(psnr):.1f} dB; spread {found.std(0)[mask > 0].mean():.3f}")  # fmt: skip
        yield View(case.id, tuple(panels), "; ".join(said))


def _plane(array):
    """A picture `(y, x)` as a Volume."""
    return Volume(np.asarray(array)[None], LPS_RAS)


def _objects(name, volume):
    """The Layer of an instance map, a colour for each object."""
    numbers = np.unique(np.rint(volume.array).astype(np.int64))
    return layers.labels(name, volume, {int(k): f"object {k}" for k in numbers if k})


def _counted(scores, kind, end):
    """`InstanceScores` in words."""
    count, missed = len(scores.reference), int(scores.missed.sum())
    mean = f", mean Dice {scores.dice.mean():.2f}" if count else ""
    return f"prediction{end}: {count - missed} of {count} {kind} found, {scores.extra} false{mean}"


def ground_of(names, images):
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


def cases_of(method, part):
    """The cases of a part of the split; RunError where there are none."""
    cases = method.cases[part]
    if not cases:
        raise RunError(f"no case is in the part {part!r} of the split; choose another --part")
    return cases


def _dices(found, reference, names, run):
    """Dice of each class in words."""
    said = ", ".join(f"{name} {dice(found == k, reference == k):.2f}" for k, name in names.items())
    return f"{run + ': ' if run else ''}Dice {said}"
