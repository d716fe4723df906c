"""Datasets of HDF5 files, as a derivative of the 2018 Left Atrium challenge stores its scans (Yu et al., UA-MT, 2019).

The arrays are (x, y, z) and tell neither position nor voxel size: they are turned to (z, y, x), with the challenge's
0.625 mm along each axis and RAS+ axes that begin at 0.
"""

import contextlib
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfmed.files import PathLike
from tfmed.io.errors import damage
from tfmed.io.geometry import Geometry, check_memory, volume_of
from tfmed.io.volume import Volume

SPACING = 0.625  # mm
SUFFIXES = (".h5", ".hdf5")


def read_hdf5(path: PathLike, name: str) -> Volume:
    """A Volume `(z, y, x)` from the dataset `name` of an HDF5 file; dtype as stored, bool as uint8.

    Compressed chunks carry a checksum, which is compared; uncompressed ones, and the file's own index, have none.
    Nothing outside the file is followed (links to other files, external storage).

    Raises:
        ImageIntegrityError: no such file or dataset, damage, chunks that were never written, or not three axes of real
            numbers.
    """
    with _opened(path, name) as dataset:
        check_memory(math.prod(dataset.shape) * dataset.dtype.itemsize, path)
        array = np.ascontiguousarray(dataset[()].T)
    return volume_of(array.astype(_dtype(array), copy=False), _affine(), path)


def read_hdf5_geometry(path: PathLike, name: str) -> Geometry:
    """The Geometry of a dataset, without reading its voxels."""
    with _opened(path, name) as dataset:
        return Geometry(dataset.shape[::-1], _affine(), _dtype(dataset))


def _affine() -> np.ndarray:
    return np.diag([SPACING, SPACING, SPACING, 1.0])


def _dtype(array: Any) -> np.dtype:
    return np.dtype("u1") if array.dtype.kind == "b" else array.dtype.newbyteorder("=")


@contextlib.contextmanager
def _opened(path: PathLike, name: str) -> Iterator[Any]:
    """The dataset, checked; whatever h5py finds wrong becomes an ImageIntegrityError."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield _checked(file, path, name)
    except FileNotFoundError:
        raise damage(path, "there is no such file", "check the path") from None
    except PermissionError:
        raise damage(path, "it cannot be read", "check the permissions") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, NotImplementedError) as error:
        raise damage(path, f"HDF5 cannot read {name} in it ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return (" ".join(str(error).strip("'\"").split()) or type(error).__name__)[:200]


def _checked(file: Any, path: PathLike, name: str) -> Any:
    import h5py

    at = file
    for step in [step for step in name.split("/") if step]:
        if not isinstance(at, h5py.Group) or step not in at:
            has = ", ".join(sorted(at)[:8]) if isinstance(at, h5py.Group) else "no more levels"
            raise damage(path, f"it holds no dataset {name!r} (has: {has})", "correct the address")
        if not isinstance(at.get(step, getlink=True), h5py.HardLink):
            raise damage(path, f"its {name!r} is a link", "store the array itself in the file")
        at = at[step]
    if not isinstance(at, h5py.Dataset) or len(at.shape or ()) != 3 or 0 in at.shape or at.dtype.kind not in "biuf":
        raise damage(path, f"its {name!r} is not an array with three axes of real numbers", "store such an array")
    if at.id.get_type() != h5py.h5t.py_create(at.dtype, logical=True):
        # A header has no checksum, and HDF5 knows numbers of any layout: a flipped bit there would give other voxels.
        raise damage(path, f"the numbers of its {name!r} are laid out as no processor stores them")
    if at.is_virtual or at.external:
        raise damage(path, f"the voxels of its {name!r} lie in other files", "store the array itself in the file")
    _check_written(at, path, name)
    return at


def _check_written(dataset: Any, path: PathLike, name: str) -> None:
    """HDF5 gives zeros where nothing was written, and stored bytes where its index says that none were compressed."""
    whole = math.prod(dataset.chunks or dataset.shape) * dataset.dtype.itemsize
    if dataset.chunks is None:
        written = dataset.id.get_storage_size() == whole
    else:
        starts = (range(0, size, chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        chunks = [dataset.id.get_chunk_info_by_coord(start) for start in itertools.product(*starts)]
        written = all(c.byte_offset is not None and (c.filter_mask == 0 or c.size == whole) for c in chunks)
    if not written:
        raise damage(path, f"parts of its {name!r} were never written", "write or copy the file again")
