"""What `tfmed view` shows of a bundle: the example that lies in it, an input and what its SavedModel answers."""

import dataclasses

import numpy as np

from tfmed.engine import example
from tfmed.engine.exporting import NOTE
from tfmed.errors import RunError
from tfmed.files import plain_json
from tfmed.io.itk import LPS_RAS
from tfmed.io.volume import Volume
from tfmed.pictures import layers, marks
from tfmed.pictures.layers import Panel, View

_KINDS = {"made": "made from a seed, no person's scan", "phantom": "of a phantom", "case": "of a case of its data"}
_PICTURES = ("landmarks", "named_landmarks", "detection", "instances", "style_transfer", "inpainting")
_NUMBERS = ("affine", "points", "boxes", "classes", "scores", "count", "cluster", "distances", "z", "w")  # no images
_MAPS = ("probabilities", "heatmap", "maps")  # of numbers from 0 to 1 on the input's grid
_TOLD, _MOST_TOLD = ("probabilities", "cluster"), 12  # answers that are told, and how many numbers of them


def view(found):
    """The View of a Bundle's example: its input, what lies over it, and the images that are made of it.

    Raises:
        RunError: neither what it takes nor what it gives is an image, or it is damaged.
    """
    inputs, answers = example.arrays(found)
    note = _note(found)
    given, made = ({name: volume for name, array in arrays.items() if (volume := _volume(name, array, note))}
                   for arrays in (inputs, answers))  # fmt: skip
    if not given and not made:
        raise RunError(
            f"{found.path}: its example shows no image (it takes {', '.join(inputs)} and gives {', '.join(answers)}); "
            "give the files that 'tfmed predict' or 'tfmed sample' write with it"
        )
    ground = [layer for name, volume in given.items() for layer in _layers(name, volume, note)]
    over = [layer for name in _MAPS if name in made for layer in _maps(made.pop(name), note)]
    over += _marks(given, answers, note)
    panels = [Panel("input", tuple(ground))] if ground else []
    panels += [Panel("answer", (*ground, *over))] if over else []
    panels += [Panel(name, tuple(_layers(name, volume, note))) for name, volume in made.items()]
    said = [f"example {_KINDS[found.manifest.example.kind]}", *_numbers(answers, note)]
    return View(found.path.resolve().name, tuple(panels), "; ".join(said))


def _note(found):
    """What stands beside the SavedModel; {} where nothing does."""
    path = found.model / NOTE
    try:
        return dict(plain_json(path)) if path.is_file() else {}
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path}: is damaged ({type(error).__name__}); copy the bundle anew") from None


def _volume(name, array, note):
    """An array as a Volume `(z, y, x[, channel])`, of several items the first; None where it is no image."""
    task = note.get("task")
    if name in _NUMBERS or array.ndim < 2 or not array.size:
        return None
    if task in _PICTURES:  # one after another
        array = array[None] if array.ndim == 2 else array[:1]
    elif task is None and array.ndim > 2:  # what generators give, likewise
        array = array[0] if array.ndim == 5 or (array.ndim == 4 and array.shape[-1] > 3) else array[:1]
    if array.ndim not in (3, 4):
        return None
    return Volume(array, LPS_RAS)


def _layers(name, volume, note):
    """The layers of an image: of colours one, else one of each channel, the first one shown."""
    array = volume.array
    if name == "mask":
        return [layers.labels("hole", volume.replace(array=(array > 0).astype(np.uint8)), {1: "missing"})]
    if array.dtype.kind in "iu" and array.ndim == 3 and name == "labels":
        return [layers.labels(name, volume, _classes(note))]
    if array.ndim == 3:
        return [layers.image(name, volume)]
    if array.shape[-1] == 3 and volume.shape[0] == 1:
        high = 1 if array.max() <= 1 else 255
        return [
            layers.image(name, volume.replace(array=np.rint(255 / high * np.clip(array, 0, high)).astype(np.uint8)))
        ]
    names = note.get("modalities") or []
    names = names if len(names) == array.shape[-1] else [f"{name} {k}" for k in range(1, array.shape[-1] + 1)]
    found = [layers.image(one, volume.replace(array=np.ascontiguousarray(array[..., k])))
             for k, one in enumerate(names)]  # fmt: skip
    return [dataclasses.replace(one, shown=k == 0) for k, one in enumerate(found)]


def _maps(volume, note):
    """The layers of maps of probabilities; of classes beside the background also which is the most probable one."""
    if note.get("task") != "segmentation":
        names = ["centroids", "regions"] if volume.array.shape[-1] == 2 else ["heatmap"]
        shown = dict(zip(names, range(volume.array.shape[-1]), strict=False))
    else:
        shown = {f"probability of {name}": k for k, name in _classes(note).items() if k < volume.array.shape[-1]}
    maps = [layers.probability(name, volume.replace(array=np.ascontiguousarray(volume.array[..., k])))
            for name, k in shown.items()]  # fmt: skip
    if note.get("task") != "segmentation":
        return [dataclasses.replace(one, shown=k == len(maps) - 1) for k, one in enumerate(maps)]
    labels = volume.replace(array=volume.array.argmax(-1).astype(np.uint8))
    return [layers.labels("most probable class", labels, _classes(note)), *maps]


def _classes(note):
    """{class number: name} of a segmenter's note."""
    values, names = note.get("label_values", [0, 1]), note.get("names", {})
    return {k: names.get(str(value), f"label {value}") for k, value in enumerate(values) if k}


def _marks(given, answers, note):
    """The layers of points and boxes that were found in the first picture."""
    if not given:
        return []
    ground = next(iter(given.values()))
    if "points" in answers:
        points = np.asarray(answers["points"][0], np.float64)
        names = note.get("landmarks") or [str(k) for k in range(1, len(points) + 1)]
        places = np.insert(points[:, ::-1], 0, 0, axis=1)
        return [marks.points("found", ground, places, names, np.ones(len(points), bool))]
    if "boxes" in answers:
        count = int(answers["count"][0])
        names = [f"{note['classes'][k]} {score:.2f}" for k, score in
                 zip(answers["classes"][0][:count], answers["scores"][0][:count], strict=True)]  # fmt: skip
        return [marks.boxes("found", ground, answers["boxes"][0][:count], names, np.ones(count, bool))]
    return []


def _numbers(answers, note):
    """What small answers are, in words."""
    for name in _TOLD:
        if name in answers and answers[name].ndim == 1:
            values = answers[name][:_MOST_TOLD]
            if name == "probabilities" and note.get("classes"):
                told = [f"{one} {value:.1%}" for one, value in zip(note["classes"], values, strict=False)]
            else:
                told = [f"{value:.3g}" for value in values]
            yield f"{name}: {', '.join(told)}"
