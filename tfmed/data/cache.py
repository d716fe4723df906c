"""The preprocessing cache: each case once, keyed by content and settings, written in one piece, read by memory map."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import pathlib
import re
import stat
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tfmed.data import phantoms, preprocess, trained_on
from tfmed.data.case import Case
from tfmed.data.census import is_picture
from tfmed.data.entries import Entries
from tfmed.data.preprocess import Step
from tfmed.data.readers import read_address, read_case
from tfmed.errors import DataError
from tfmed.files import PathLike, own_text, write_text
from tfmed.io import Volume, companions_of, file_of, piece_of
from tfmed.io.companions import data_files

if TYPE_CHECKING:
    from tfmed.data.checks import CaseSpec

log = logging.getLogger("tfmed")
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared case: all its images on one grid.

    Args:
        image: float `(z, y, x, channel)`, a channel per image; read-only memory map.
        label: class numbers, uint8 `(z, y, x)`, likewise; None for a case without.
        affine: of both, as of a Volume.
        voxels: number of voxels of each class, or None.
        facts: of its images as their files are; see `trained_on.facts`. None of a case that was prepared without.
    """

    image: np.ndarray
    label: np.ndarray | None
    affine: np.ndarray
    voxels: list[int] | None
    facts: dict[str, Any] | None = None


class Cache:
    """Prepared volumes on disk.

    Args:
        folder: where the cache lives; made when needed. Several processes may share it.
        steps: preprocessing steps, in order.
        image_dtype: "float32" or "float16", of cached images. Labels keep their dtype.
    """

    def __init__(self, folder: PathLike, steps: Iterable[Step], image_dtype: str = "float32") -> None:
        self.folder = pathlib.Path(folder)
        self.steps = tuple(steps)
        self.image_dtype = np.dtype(image_dtype)
        settings = [step.model_dump(mode="json") for step in self.steps]
        self._recipe = json.dumps([preprocess.VERSION, str(self.image_dtype), settings], sort_keys=True)
        self._keys: dict[tuple, str] = {}
        self._entries = Entries(folder)

    def get(self, address: str, is_label: bool = False, series_uid: str | None = None) -> Volume:
        """The prepared Volume (its array a read-only memory map `(z, y, x[, channel])`), made first if need be.

        Raises:
            ImageIntegrityError: the source file is damaged.
            DataError: a step cannot be done.
        """
        memo = (address, is_label, series_uid)
        if memo not in self._keys:
            self._keys[memo] = self._key(address, is_label, series_uid)
        key = self._keys[memo]
        arrays, note = self._entries.read(key) or self._made(key, address, is_label, series_uid)
        return Volume(arrays[""], np.array(note["affine"]))

    def stack(self, case: Case, case_spec: "CaseSpec") -> Prepared:
        """The `Prepared` case, made first if need be: its images as channels, its labels as class numbers.

        Raises:
            ImageIntegrityError: a source file is damaged.
            DataError: the label map holds unknown values, or a step cannot be done; the line names the case.
        """
        memo = (case.id, *case.images.items(), case.label, repr(_mapping(case)), repr(case_spec))
        if memo not in self._keys:
            self._keys[memo] = self._stack_key(case, case_spec)
        key = self._keys[memo]
        arrays, note = self._entries.read(key) or self._made_stack(key, case, case_spec)
        affine, facts = np.array(note["affine"]), note.get("facts")
        return Prepared(arrays[""], arrays.get("label"), affine, note["label"], facts)

    def _stack_key(self, case: Case, case_spec: "CaseSpec") -> str:
        addresses = [case.images[name] for name in case_spec.images]
        label = case.label if case_spec.label != "none" else None
        content = [self.content(address) for address in [*addresses, *([label] if label else [])]]
        inputs = [
            content,
            case.meta.get("series_uid"),
            _mapping(case),
            case_spec.label_values,
            bool(label),
        ]
        return hashlib.sha256(f"stack|{json.dumps(inputs)}|{self._recipe}".encode()).hexdigest()[:40]

    def _made_stack(self, key: str, case: Case, case_spec: "CaseSpec") -> Any:
        values = case_spec.label_values or ()  # a method that stacks names them
        with _named(case.id):
            images, label = read_case(case, case_spec)
            if label is not None:  # before the steps, which pad with class 0
                label = preprocess.class_labels(label, values)
            facts = trained_on.facts(
                dict(zip(case_spec.images, images, strict=True)), all(map(is_picture, case.images.values()))
            )
            images, label = preprocess.run_together(self.steps, images, label)
            arrays = {"": self._stored(np.concatenate([_with_channels(v.array) for v in images], -1))}
        note = {"affine": images[0].affine.tolist(), "label": None, "facts": facts}
        if label is not None:
            arrays["label"] = label.array
            note["label"] = np.bincount(label.array.ravel(), minlength=len(values)).tolist()
        self._entries.write(key, arrays, note)
        return self._entries.read(key)

    def has(self, case: Case, case_spec: "CaseSpec") -> bool:
        """Whether everything that a method wants of a case is prepared already; False for a file that is not there."""
        if case_spec.stack:
            try:
                return set(case_spec.images) <= set(case.images) and self._entries.has(self._stack_key(case, case_spec))
            except OSError:
                return False
        series_uid = case.meta.get("series_uid")
        addresses: list[Any] = [(case.images.get(name), False, series_uid) for name in case_spec.images]
        if case_spec.label != "none" and case.label is not None:
            addresses.append((case.label, True, None))
        try:
            return all(a[0] and self._entries.has(self._key(*a)) for a in addresses)
        except OSError:
            return False

    def _key(self, address: str, is_label: bool, series_uid: str | None) -> str:
        content = self.content(address)
        return hashlib.sha256(f"{content}|{series_uid}|{is_label}|{self._recipe}".encode()).hexdigest()[:40]

    def _made(self, key: str, address: str, is_label: bool, series_uid: str | None) -> Any:
        with _named(address):
            volume = preprocess.run(self.steps, read_address(address, series_uid), is_label)
            array = volume.array if is_label else self._stored(volume.array)
        self._entries.write(key, {"": array}, {"affine": volume.affine.tolist()})
        return self._entries.read(key)

    def _stored(self, array: np.ndarray) -> np.ndarray:
        """An image in the dtype of the cache, which must be able to hold it, and to tell voxels apart."""
        largest = np.finfo(self.image_dtype).max
        with np.errstate(over="ignore"):
            stored = array.astype(self.image_dtype, copy=False)
        if self.image_dtype == np.float16 and np.isfinite(array).all() and not np.isfinite(stored).all():
            raise DataError(
                f"data.cache_dtype float16 holds values up to {largest:g}, and the prepared image has larger ones; set "
                "it to float32, or normalise in data.preprocess"
            )
        if not np.isfinite(stored).all():
            raise DataError("some voxels are NaN or infinite after data.preprocess; check the image's values and units")
        if stored.size and (stored.min((0, 1, 2)) == stored.max((0, 1, 2))).any():
            raise DataError(
                f"every voxel is {stored.flat[0]:g} after data.preprocess; check the image's units and the window"
            )
        return stored

    def content(self, address: str) -> str:
        """What tells the content of an address from any other: a digest of its files, or the phantom's description.

        Raises:
            OSError: a file is missing or cannot be read.
        """
        if phantoms.is_address(address):
            return f"{address}|{phantoms.VERSION}"
        if piece_of(address):
            content = [self.content(path) for path in (file_of(address), *companions_of(address))]
            return f"{content}|{piece_of(address)}"
        path = pathlib.Path(address)
        if not path.is_dir() and not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: is neither a file nor a folder; remove it")
        files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path, *data_files(path)]
        signature = "|".join(f"{p.resolve()}:{(s := p.stat()).st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}" for p in files)
        note = self.folder / "hashes" / f"{hashlib.sha256(signature.encode()).hexdigest()[:40]}.txt"
        if known := _digest_in(note):
            return known
        digest = hashlib.sha256()
        for p in files:
            digest.update(p.name.encode() + b"\0")
            with open(p, "rb") as stream:
                while block := stream.read(1 << 22):
                    digest.update(block)
        write_text(note, digest.hexdigest())
        return digest.hexdigest()


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Steps know nothing of cases: their errors get the name here."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{what}: {error}") from None


def _digest_in(note: pathlib.Path) -> str | None:
    """The digest in a note of an earlier look at a file; None where there is none, or no whole one."""
    try:
        text = own_text(note)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        text = ""
    if not _DIGEST.fullmatch(text):
        log.warning("%s: is damaged; the file that it tells of is read again", note)
        return None
    return text


def _mapping(case: Case) -> Any:
    """What is done to the numbers of a case's label map."""
    groups = case.meta.get("label_groups")
    return case.meta.get("label_values") if groups is None else [case.meta.get("label_values"), groups]


def _with_channels(array: np.ndarray) -> np.ndarray:
    return array if array.ndim == 4 else array[..., None]
