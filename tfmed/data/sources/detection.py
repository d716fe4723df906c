"""Which source reads a folder: found by looking at its names, and at some pictures."""

import json
import pathlib
import re

from tfmed.errors import DataError, UserError
from tfmed.io.stack import SUFFIXES as PICTURES
from tfmed.io.stack import read_stack

from .listing import LABEL_ENDING, files_below, folder, volume_suffix

IMAGES = ("images", "imagesTr", "image", "imgs", "scans")
LABELS = ("labels", "labelsTr", "masks", "segmentations", "label", "mask", "annotations", "instances")
_LAYOUT = "images/ and labels/ (or masks/), x.nii.gz beside x_seg.nii.gz, dataset.json, or pictures in two folders"


def detect(root):
    """(name of a source, its options) for a folder of images with label maps.

    Raises:
        DataError: no layout that is known; the line tells which are.
    """
    base = folder(root, "segmentation", _LAYOUT)
    if (base / "dataset.json").is_file() and (base / "imagesTr").is_dir():
        return _challenge(base)
    images = next((name for name in IMAGES if (base / name).is_dir()), None)
    labels = next((name for name in LABELS if (base / name).is_dir()), None)
    if images and labels:
        kinds = {_kind(path) for path in files_below(base / images)} - {None}
        if len(kinds) > 1:
            raise DataError(f"{base / images}: holds volumes and pictures; move one kind out of it")
        if kinds:
            where = {"images": images, "labels": labels}
            options = _without(where, images="images", labels="labels")
            if kinds == {"picture"} and _in_colour(base / images):
                return "image_pairs", options | {"colour": True}
            source = "image_pairs" if kinds == {"picture"} else "nifti_folder"
            return source, options | {"modality": "image"}
    if images and not labels:
        known = ", ".join(f"{name}/" for name in LABELS)
        raise DataError(
            f"{base}: has {images}/ but no label maps; give them the names of their images in one of {known}"
        )
    ending = _label_ending(base)
    if ending:
        parts = {f"{part}_folder": part for part in ("validation", "test") if (base / part).is_dir()}
        return "paired_folder", {"image_suffix": ending[0], "label_suffix": ending[1], "modality": "image"} | parts
    raise DataError(f"{base}: no layout that is known; give {_LAYOUT}, or name data.source (README lists them)")


def _challenge(base):
    """Of the Medical Segmentation Decathlon, or of nnU-Net, whose dataset.json names the channels."""
    try:
        table = json.loads((base / "dataset.json").read_text(encoding="utf-8-sig"))
        channels = table.get("channel_names")
    except (OSError, ValueError, AttributeError, RecursionError):
        raise DataError(f"{base / 'dataset.json'}: cannot be read as a JSON object; copy it again") from None
    if channels is None:
        return "msd", {}
    options = {"images": "imagesTr", "labels": "labelsTr"}
    if len(channels) == 1:
        return "nifti_folder", options | {"modality": "image"}
    names = [re.sub(r"\W+", "_", str(channels[key])).strip("_").lower() for key in sorted(channels, key=int)]
    return "nifti_folder", options | {"channels": ",".join(names)}


def _without(options, **defaults):
    return {key: value for key, value in options.items() if value != defaults[key]}


def _kind(path):
    return "volume" if volume_suffix(path) else "picture" if path.suffix.lower() in PICTURES else None


def _in_colour(folder, most=8):
    """Whether any of some pictures has colours that are no greys; one that cannot be read tells nothing."""
    pictures = [path for path in files_below(folder) if _kind(path) == "picture"]
    for path in pictures[:: max(1, len(pictures) // most)]:
        try:
            array = read_stack([path]).array
        except UserError:
            continue
        if array.ndim == 4 and array.shape[3] >= 3 and (array[..., :3] != array[..., :1]).any():
            return True
    return False


def _label_ending(base):
    """(ending of images, ending of labels) where every label lies beside its image, or None."""
    stems = {path.parent / path.name.removesuffix(volume_suffix(path)) for path in files_below(base)
             if volume_suffix(path)}  # fmt: skip
    endings = {found[0] for stem in stems if (found := LABEL_ENDING.search(stem.name))}
    for ending in sorted(endings, key=lambda one: -sum(stem.name.endswith(one) for stem in stems)):
        for image_ending in ("", "_image", "_img", "-image"):
            plain = [pathlib.Path(f"{str(stem).removesuffix(ending)}{image_ending}") for stem in stems
                     if stem.name.endswith(ending)]  # fmt: skip
            if plain and all(path in stems for path in plain):
                return image_ending, ending
    return None
