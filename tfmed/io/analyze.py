"""Analyze 7.5 pairs (.hdr and .img): the format before NIfTI, in which OASIS-1 came.

The header says how large voxels are, and nothing reliable of where they lie: x is taken to run to the left, y to the
front and z up, as SPM and nibabel take it, with the world's origin in the middle of the volume.
"""

import math
import os
import pathlib

import nibabel
import numpy as np

from tfmed.files import PathLike, open_file
from tfmed.io.errors import damage
from tfmed.io.geometry import Geometry, allocate, check_affine, volume_of
from tfmed.io.volume import Volume

_LENGTH = 348  # bytes of the header
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"}
_REPAIR = "copy both files again, or convert them to .nii.gz"


def read_analyze(path: PathLike) -> Volume:
    """The Volume of a pair, of which `path` is the .hdr; voxels keep their stored dtype.

    Raises:
        ImageIntegrityError: a file is missing, the header contradicts itself or the other file's size, or it is no
            volume of real numbers.
    """
    shape, stored, offset, affine = _header(path)
    voxels = allocate(math.prod(shape) * stored.itemsize, path)
    with open_file(voxels_of(path)) as file:
        file.seek(offset)
        if file.readinto(voxels.data) != voxels.nbytes:
            raise damage(voxels_of(path), "it ends before its voxels do", _REPAIR)
    array = voxels.view(stored).astype(stored.newbyteorder("="), copy=False)
    return volume_of(array.reshape(shape), affine, path)


def read_analyze_geometry(path: PathLike) -> Geometry:
    """The Geometry of a pair, from the header and the other file's size."""
    shape, stored, _, affine = _header(path)
    return Geometry(shape, affine, stored.newbyteorder("="))


def voxels_of(path: PathLike) -> pathlib.Path:
    """The .img beside a .hdr, whose suffix may be in capitals as well."""
    path = pathlib.Path(path)
    return path.with_suffix(".IMG" if path.suffix.isupper() else ".img")


def _header(path: PathLike) -> tuple[tuple[int, ...], np.dtype, int, np.ndarray]:
    """(shape `(z, y, x)`, stored dtype, byte at which voxels begin, affine)."""
    try:
        with open_file(path) as file:
            block = file.read(_LENGTH)
        size = os.stat(voxels_of(path)).st_size
    except FileNotFoundError as error:
        raise damage(
            error.filename or path, "it is missing; an image of this kind is a .hdr and a .img", _REPAIR
        ) from None
    except OSError as error:
        raise damage(path, f"it cannot be read ({error.strerror})", "check the path and the permissions") from None
    order = {int.from_bytes(block[:4], order): order for order in ("little", "big")}.get(_LENGTH)
    if len(block) < _LENGTH or order is None:
        raise damage(path, "it is no Analyze header of 348 bytes", _REPAIR)
    if block[344:347] in (b"ni1", b"n+1"):
        raise damage(path, "its voxels are in another file (.hdr/.img pair)", "convert it to one .nii or .nii.gz file")
    raw = nibabel.AnalyzeHeader(block, {"little": "<", "big": ">"}[order], check=False)
    count = int(raw["dim"][0])
    sizes = [int(side) for side in raw["dim"][1 : count + 1]] if 3 <= count <= 7 else []
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) != 3 or min(sizes) < 1:
        raise damage(path, f"its axes are {tuple(sizes)}, a volume has 3", _REPAIR)
    code, bits = int(raw["datatype"]), int(raw["bitpix"])
    if code not in _TYPES or bits != 8 * np.dtype(_TYPES[code]).itemsize:
        raise damage(
            path, f"its voxels are of datatype {code} with {bits} bits, which is no type of real numbers", _REPAIR
        )
    stored, offset = np.dtype({"little": "<", "big": ">"}[order] + _TYPES[code]), float(raw["vox_offset"])
    need = math.prod(sizes) * stored.itemsize
    if not 0 <= offset < 2**31 or offset != int(offset) or size != offset + need:
        raise damage(
            voxels_of(path), f"it has {size} bytes where its header announces {need} from byte {offset:g}", _REPAIR
        )
    zooms = np.abs(np.asarray(raw["pixdim"][1:4], np.float64))
    affine = np.diag([-zooms[0], zooms[1], zooms[2], 1.0])
    with np.errstate(all="ignore"):  # what is not finite is told by `check_affine`
        affine[:3, 3] = -affine[:3, :3] @ ((np.array(sizes) - 1) / 2)
    return tuple(sizes[::-1]), stored, int(offset), check_affine(affine, path)
