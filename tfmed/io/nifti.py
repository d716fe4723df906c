"""NIfTI-1 and NIfTI-2 (.nii, .nii.gz) with nothing taken on trust.

The header is validated against the file's size before anything is allocated; gzip is read to its end, so that its
checksum is compared. nibabel parses the header and computes the affine. A flipped bit among the voxels of an
*uncompressed* .nii cannot be noticed by anyone: the format has no checksum. Keep archives as .nii.gz.
"""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError

from tfmed.files import PathLike
from tfmed.io.compression import Damaged, GzipFile, PlainFile
from tfmed.io.errors import damage
from tfmed.io.geometry import Geometry, allocate, check_affine, volume_of
from tfmed.io.volume import Volume

REAL_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
REFUSED_TYPES = {1: "1-bit", 32: "complex", 128: "RGB", 1536: "128-bit float", 1792: "complex", 2048: "complex",
                 2304: "RGBA"}  # fmt: skip
KINDS = {348: (nibabel.Nifti1Header, b"n+1\0", b"ni1\0"), 540: (nibabel.Nifti2Header, b"n+2\0", b"ni2\0")}
REPAIR = "write the file again with a tool that keeps to the NIfTI standard"


@dataclasses.dataclass(frozen=True)
class Header:
    """A validated header: array shape `(z, y, x[, channel])`, stored dtype, byte offset, scaling and affine."""

    shape: tuple[int, ...]
    stored: np.dtype
    offset: int
    slope: float
    inter: float
    affine: np.ndarray

    @property
    def count(self) -> int:
        """Bytes of voxels in the file."""
        return math.prod(self.shape) * self.stored.itemsize

    @property
    def scaled(self) -> bool:
        """Whether the stored numbers become others."""
        return (self.slope, self.inter) != (1.0, 0.0)

    @property
    def dtype(self) -> np.dtype:
        """The array's dtype: the stored one, or float32 where slope and intercept apply."""
        return np.dtype("f4") if self.scaled else self.stored.newbyteorder("=")


def read_nifti(path: PathLike) -> Volume:
    """A Volume from a .nii or .nii.gz.

    Voxels keep their stored dtype; where the header scales them they are float32. Axes of length 1 behind the third
    are dropped, a fourth axis becomes the channel.

    Raises:
        ImageIntegrityError: the file is damaged, or not a volume of real numbers.
    """
    with _opened(path) as (stream, header):
        voxels = allocate(header.count, path)
        stream.skip(header.offset - stream.at)
        stream.readinto(voxels.data)
        stream.finish()
    return volume_of(_scaled(_arranged(voxels, header), header), header.affine, path)


def read_nifti_geometry(path: PathLike) -> Geometry:
    """The Geometry from the header alone; the voxels (and a gzip's checksum) are not looked at."""
    with _opened(path) as (_, header):
        return Geometry(header.shape, header.affine, header.dtype)


@contextlib.contextmanager
def _opened(path: PathLike) -> Iterator[tuple[PlainFile | GzipFile, Header]]:
    """(stream behind the header, validated header); whatever goes wrong inside becomes an ImageIntegrityError."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise damage(path, "the file is empty")
            stream = _stream(file, path, size)
            header = _header(stream, path)
            stream.check_size(header.offset + header.count)
            yield stream, header
    except Damaged as reason:
        raise damage(path, str(reason)) from None
    except OSError as error:
        raise damage(path, f"it cannot be read ({error.strerror})", "check the path and the permissions") from None


def _stream(file: BufferedIOBase, path: PathLike, size: int) -> PlainFile | GzipFile:
    magic = file.read(2)
    file.seek(0)
    if str(path).lower().endswith(".gz"):
        return GzipFile(file, size)
    if magic == b"\x1f\x8b":
        raise damage(path, "it is a gzip file", "rename it to end in .nii.gz")
    return PlainFile(file, size)


def _header(stream: PlainFile | GzipFile, path: PathLike) -> Header:
    """Read and validate the header; `stream` then stands at its last byte."""
    block = stream.read(4)
    for order in ("little", "big"):
        length = int.from_bytes(block, order)
        if length in KINDS:
            block += stream.read(length - 4)
            return _validated(block, length, {"little": "<", "big": ">"}[order], path)
    raise damage(path, "it does not begin with a NIfTI header", "give a NIfTI file, or copy it again")


def _validated(block: bytes, length: int, order: str, path: PathLike) -> Header:
    kind, single, pair = KINDS[length]
    raw = kind(block, order, check=False)
    magic = block[344:348] if length == 348 else block[4:8]
    if magic == pair:
        raise damage(path, "its voxels are in another file (.hdr/.img pair)", "convert it to one .nii or .nii.gz file")
    if magic != single:
        raise damage(path, "the NIfTI magic is missing", "give a NIfTI file, or copy it again")
    if int(raw["xyzt_units"]) & 7 not in (0, 2):
        raise damage(path, "its unit of length is not the millimetre", "convert its geometry to mm")
    stored = _stored_type(raw, order, path)
    slope, inter = _scaling(raw, stored, path)
    return Header(_shape(raw, path), stored, _offset(raw, length, path), slope, inter, _affine(raw, path))


def _shape(raw: Any, path: PathLike) -> tuple[int, ...]:
    dims = [int(size) for size in raw["dim"]]
    if not 1 <= dims[0] <= 7:
        raise damage(path, f"its number of axes is {dims[0]}", REPAIR)
    sizes = dims[1 : dims[0] + 1]
    if min(sizes) < 1:
        raise damage(path, f"an axis has length {min(sizes)}", REPAIR)
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) not in (3, 4):
        raise damage(path, f"it has {len(sizes)} axes {tuple(sizes)}, a volume has 3, or 4 with channels",
                     "split or stack it into volumes")  # fmt: skip
    return tuple(sizes[2::-1] + sizes[3:])


def _stored_type(raw: Any, order: str, path: PathLike) -> np.dtype:
    code, bits = int(raw["datatype"]), int(raw["bitpix"])
    if code in REFUSED_TYPES:
        raise damage(path, f"its voxels are {REFUSED_TYPES[code]}", "convert it to a volume of real numbers")
    if code not in REAL_TYPES:
        raise damage(path, f"its datatype code {code} is unknown", REPAIR)
    stored = np.dtype(order + REAL_TYPES[code])
    if bits != 8 * stored.itemsize:
        raise damage(path, f"its header contradicts itself: datatype {code} with {bits} bits per voxel", REPAIR)
    return stored


def _offset(raw: Any, length: int, path: PathLike) -> int:
    offset = float(raw["vox_offset"])
    if not math.isfinite(offset) or offset != int(offset) or not length + 4 <= offset < 2**40:
        raise damage(path, f"its voxels are said to begin at byte {offset:g}", REPAIR)
    return int(offset)


def _scaling(raw: Any, stored: np.dtype, path: PathLike) -> tuple[float, float]:
    """(slope, intercept); (1, 0) where the standard says that none applies: slope 0, and NaN as most tools write it."""
    slope, inter = float(raw["scl_slope"]), float(raw["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not math.isfinite(slope) or not math.isfinite(inter):
        raise damage(path, f"its intensity scaling is not finite (slope {slope:g}, intercept {inter:g})", REPAIR)
    greatest = int(np.iinfo(stored).max) if stored.kind in "iu" else 1
    if abs(slope) * greatest + abs(inter) > float(np.finfo("f4").max):
        raise damage(path, f"its intensity scaling overflows (slope {slope:g}, intercept {inter:g})", REPAIR)
    return slope, inter


def _affine(raw: Any, path: PathLike) -> np.ndarray:
    """sform before qform before pixdim, as nibabel chooses; but nothing is guessed where the chosen one is broken."""
    codes = int(raw["sform_code"]), int(raw["qform_code"])
    if not all(0 <= code <= 5 for code in codes):
        raise damage(path, f"its sform and qform codes {codes} are unknown", REPAIR)
    zooms = np.asarray(raw["pixdim"][1:4], np.float64)
    if codes[0] == 0 and not (np.isfinite(zooms).all() and (zooms > 0).all()):
        raise damage(path, f"its voxel sizes {tuple(zooms.tolist())} are not positive", "repair the header's geometry")
    if codes[0] == 0 and raw["pixdim"][0] == 0:
        raw["pixdim"][0] = 1  # the standard: a qfac of 0 means 1
    if codes[0] == 0 and codes[1] > 0:
        _shorten_quaternion(raw)
    try:
        with np.errstate(all="ignore"):
            affine = raw.get_best_affine()
    except (HeaderDataError, ValueError, ArithmeticError, np.linalg.LinAlgError):
        raise damage(path, "its qform is not a rotation", "repair the header's geometry") from None
    return check_affine(affine, path)


def _shorten_quaternion(raw: Any) -> None:
    """A quaternion that rounding made longer than 1 is brought back to it, as other readers do."""
    names = ("quatern_b", "quatern_c", "quatern_d")
    length = math.sqrt(sum(float(raw[name]) ** 2 for name in names))
    if 1 < length < 1 + 1e-3:
        for name in names:
            raw[name] = float(raw[name]) / length


def _arranged(voxels: np.ndarray, header: Header) -> np.ndarray:
    """Bytes -> native array; NIfTI's first axis runs fastest, so that the reversed shape needs no copy."""
    array = voxels.view(header.stored)
    if not header.stored.isnative:
        array = array.byteswap(inplace=True).view(header.stored.newbyteorder("="))
    if len(header.shape) == 3:
        return array.reshape(header.shape)
    return np.ascontiguousarray(np.moveaxis(array.reshape(header.shape[3:] + header.shape[:3]), 0, -1))


def _scaled(array: np.ndarray, header: Header) -> np.ndarray:
    if not header.scaled:
        return array
    with np.errstate(all="ignore"):
        if array.dtype.itemsize <= 2 or array.dtype == np.float32:
            result = array.astype(np.float32)
            result *= np.float32(header.slope)
            result += np.float32(header.inter)
            return result
        # 32-bit integers and float64 do not fit into float32 before they are scaled
        return (array * np.float64(header.slope) + np.float64(header.inter)).astype(np.float32)
