"""Training cases that a trained run makes of others: scans in drawn styles, with filled holes, pictures of classes."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tfmed import registry
from tfmed.data.case import Case
from tfmed.data.census import is_picture
from tfmed.data.readers import read_address
from tfmed.data.sampling import Stream, shuffled
from tfmed.data.settings import AugmentWith
from tfmed.engine.abilities import CanAlter, CanGenerateClasses
from tfmed.engine.method import Method
from tfmed.engine.run import Run, load_run
from tfmed.engine.split_record import SplitRecord
from tfmed.engine.terminal import log
from tfmed.errors import DataError, RunError
from tfmed.io import Volume, write_volume
from tfmed.io.addresses import COLOURS, GREY
from tfmed.io.stack import write_picture

_ALTERED, _CLASSES = Stream("made_cases.altered"), Stream("made_cases.classes")
_SETTING = "data.augment_with"


def made_cases(method: Method, wish: AugmentWith) -> tuple[list[Case], str]:
    """(cases made of a method's training cases by a run, digest of that run).

    Their images lie in the cache and are made where they are missing; an altered case has its original's patient and
    label, a generated one is a patient of its own.

    Args:
        method: one that `takes_altered`, or `takes_generated`.
        wish: `data.augment_with` of its settings.

    Raises:
        RunError: the run cannot make any, or was trained on a case that this method validates or tests with.
        DataError: an image cannot be altered, or the run does not know a class.
    """
    run = load_run(wish.run)
    maker = registry.method_class(run.method_name)
    if not issubclass(maker, CanAlter | CanGenerateClasses):
        raise RunError(
            f"{_SETTING}: {run.path} is a run of {run.method_name}, which makes no training cases; give one of style "
            "transfer, of inpainting or of pictures by class"
        )
    if issubclass(maker, CanGenerateClasses) and not method.takes_generated:
        raise RunError(
            f"{_SETTING}: {run.path} makes pictures of classes, without labels to segment; give a run of style "
            "transfer or of inpainting"
        )
    train = method.cases["train"]
    _refuse_leak(run, method)
    identity = _identity(run)
    count = round(len(train) * wish.share / (1 - wish.share))
    make = _generated if issubclass(maker, CanGenerateClasses) else _altered
    made = list(make(method, run, identity, wish, train, count))
    log.info("%s: %d training cases made by %s, beside %d", _SETTING, len(made), run.path, len(train))
    return made, identity


def _altered(
    method: Method, run: Run, identity: str, wish: AugmentWith, cases: Sequence[Case], count: int
) -> Iterator[Case]:
    """`count` cases whose image is shown otherwise; the originals come in turn, in an order of the seed."""
    name, maker = _model(run).image, _maker(run)
    for number in range(count):
        case = cases[shuffled(wish.seed, number, len(cases))]
        if name not in case.images:
            raise DataError(
                f"{case.id}: has no image {name!r}, which {run.path} alters; it has {', '.join(case.images)}"
            )
        address = case.images[name]
        key = _digest([identity, wish.seed, number, method.cache.content(address), case.meta.get("series_uid")])
        path = method.settings.data.cache_folder() / "made" / f"{key}.{'png' if is_picture(address) else 'nii.gz'}"
        if not path.is_file():
            image = read_address(address, case.meta.get("series_uid"))
            try:
                found = maker().altered(image, int(_ALTERED(wish.seed, number).integers(2**31)))
            except DataError as error:  # of one that does not know the file
                raise DataError(f"{_SETTING}: {address}: {error}") from None
            _write(_in_own_type(found, image), path)
        images = {**case.images, name: _address(path)}
        yield dataclasses.replace(case, id=f"{case.id}, altered {number}", images=images)


def _generated(
    method: Method, run: Run, identity: str, wish: AugmentWith, cases: Sequence[Case], count: int
) -> Iterator[Case]:
    """About `count` cases, of each class as large a share as the training cases have of it."""
    maker, known = _maker(run), _model(run).classes
    classes = [str(case.meta["class"]) for case in cases]
    for number, of_class in enumerate(sorted(set(classes))):
        if of_class not in known:
            raise DataError(f"{_SETTING}: {run.path} knows no class {of_class!r}; it knows {', '.join(known)}")
        each = round(count * classes.count(of_class) / len(classes))
        key = _digest([identity, wish.seed, of_class])
        folder = method.settings.data.cache_folder() / "made"
        paths = [folder / f"{key}-{k:06d}.png" for k in range(each)]
        if not all(path.is_file() for path in paths):
            seed = int(_CLASSES(wish.seed, number).integers(2**31))
            folder.mkdir(parents=True, exist_ok=True)
            for path, picture in zip(paths, maker().generated(of_class, each, seed), strict=True):
                write_picture(picture, path)
        for k, path in enumerate(paths):
            made = f"{of_class}, made {k}"
            pieces = {name: name if name in COLOURS else GREY for name in method.case_spec.images}
            images = {name: f"{path}::{piece}" for name, piece in pieces.items()}
            yield Case(made, made, images, meta={"class": of_class})


def _address(path: pathlib.Path) -> str:
    """Of what was written, as a case has it."""
    return f"{path}::{GREY}" if path.suffix == ".png" else str(path)


def _write(image: Volume, path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        write_picture(image.array[0], path)
    else:
        write_volume(image, path)


def _maker(run: Run) -> Callable[[], Any]:
    """Function that gives a run's Method with its models, which are restored once, when something has to be made."""
    return functools.cache(run.restored)


def _model(run: Run) -> Any:
    """The `model` section of a run's settings, whatever its method."""
    return run.settings.model


def _in_own_type(found: Volume, image: Volume) -> Volume:
    """A Volume in the type of numbers of its original."""
    kind = image.array.dtype
    if kind.kind not in "iu":
        return found.replace(array=found.array.astype(np.float32))
    limits = np.iinfo(kind)
    return found.replace(array=np.clip(np.rint(found.array), limits.min, limits.max).astype(kind))


def _identity(run: Run) -> str:
    """Digest of a run's settings and of the weights that it is used with.

    Raises:
        RunError: it has no checkpoint.
    """
    found = run.checkpoints.latest(best=True)
    if found is None:
        raise RunError(
            f"{_SETTING}: {run.path} has no checkpoint; train it first: python -m tfmed.fit {run.path} --resume"
        )
    return _digest([run.settings.model_dump(mode="json"), found[1]["sha256"]])


def _refuse_leak(run: Run, method: Method) -> None:
    """RunError where a run was trained on what a method validates or tests with: on its files, or on its patients."""
    record = SplitRecord.read(run.path)
    known = run.learnt().get("train", frozenset())
    if record is None and not known:
        log.warning(
            "%s: keeps no split, so that nobody can tell whether it was trained on cases to test with", run.path
        )
        return
    own, theirs = method.settings.data, run.settings.data
    same = (own.source, own.root, own.options) == (theirs.source, theirs.root, theirs.options)
    seen = [entry for parts in record.kinds.values() for entry in parts["train"]] if record else []
    files = known | {digest for entry in seen for digest in entry["sha256"]}
    patients = {entry["patient"] for entry in seen} if same else set()
    kinds = (method.split_record or method.record_split()).kinds
    for part in ("validation", "test"):
        for entry in (entry for parts in kinds.values() for entry in parts[part]):
            if entry["patient"] in patients or files & set(entry["sha256"]):
                raise RunError(
                    f"{_SETTING}: {run.path} was trained on {entry['id']}, a {part} case here; train both with the "
                    "same data section and the same data.split.seed"
                )


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:40]
