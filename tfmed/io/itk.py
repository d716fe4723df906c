"""SimpleITK images <-> Volumes, and .nrrd / .mha / .mhd files.

ITK's world is LPS+, ours (as NIfTI's) is RAS+: the first two world axes change their sign.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import SimpleITK as sitk

from tfmed.files import PathLike
from tfmed.io import metaimage, nrrd
from tfmed.io.errors import damage
from tfmed.io.geometry import Geometry, check_affine, check_memory, volume_of
from tfmed.io.payload import read_header
from tfmed.io.volume import Volume

LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
FORMATS = {".nrrd": nrrd, ".mha": metaimage, ".mhd": metaimage}
NAMES = ("Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float32", "Float64")
TYPES = {getattr(sitk, prefix + name): np.dtype(name.lower()) for prefix in ("sitk", "sitkVector") for name in NAMES}


def read_itk(path: PathLike) -> Volume:
    """A Volume from a .nrrd, .mha or .mhd; dtype as stored, components become the channel axis.

    Raises:
        ImageIntegrityError: sizes or checksums do not agree, the data file is missing, or it is not a volume.
    """
    count = _format(path).check(path)
    check_memory(count, path)
    with quiet(path):
        image = sitk.ReadImage(str(path))
    _require_volume(image, path)
    array = sitk.GetArrayFromImage(image)
    if array.nbytes != count:
        raise damage(path, f"{array.nbytes} bytes of voxels were read where its header announces {count}")
    return volume_of(_without_channel(array), _in_millimetres(affine_of(image), path), path)


def read_itk_geometry(path: PathLike) -> Geometry:
    """The Geometry from the header of a .nrrd, .mha or .mhd."""
    read_header(path)
    with quiet(path):
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
    _require_volume(reader, path)
    shape = tuple(int(size) for size in reader.GetSize()[::-1])
    if reader.GetNumberOfComponents() > 1:
        shape += (reader.GetNumberOfComponents(),)
    return Geometry(shape, check_affine(_in_millimetres(affine_of(reader), path), path), TYPES[reader.GetPixelID()])


def affine_of(image: sitk.Image | sitk.ImageFileReader) -> np.ndarray:
    """The RAS+ affine `(4, 4)` in mm of a 3-D SimpleITK image or image reader."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return LPS_RAS @ affine


def image_of(volume: Volume) -> sitk.Image:
    """The SimpleITK image of a Volume, without any metadata; bool becomes uint8, float16 becomes float32."""
    image = sitk.GetImageFromArray(storable(volume.array), isVector=volume.array.ndim == 4)
    affine = LPS_RAS @ volume.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def storable(array: np.ndarray) -> np.ndarray:
    """`array` in native byte order and in a dtype that every file format knows."""
    other: dict[str, np.dtype] = {"bool": np.dtype("u1"), "float16": np.dtype("f4")}
    dtype = other.get(array.dtype.name, array.dtype.newbyteorder("="))
    return np.ascontiguousarray(array, dtype)


@contextlib.contextmanager
def quiet(path: PathLike) -> Iterator[None]:
    """ITK without its own warnings on the terminal; its many-lined exceptions become one line about `path`."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    except RuntimeError as error:
        raise damage(path, f"ITK cannot read it ({_reason(error)})") from None
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _reason(error: Exception) -> str:
    """The last line of an ITK message, which is the one that tells the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].split("ERROR:")[-1].strip()[:200] if lines else "no reason given"


def _format(path: PathLike) -> Any:
    """The module that knows the headers of a file's kind."""
    return FORMATS["." + str(path).lower().rsplit(".", 1)[-1]]


def _in_millimetres(affine: np.ndarray, path: PathLike) -> np.ndarray:
    """ITK passes over the units that a header names."""
    return np.diag([*_format(path).millimetres(path), 1.0]) @ affine


def _require_volume(image: sitk.Image | sitk.ImageFileReader, path: PathLike) -> None:
    if image.GetDimension() != 3:
        raise damage(path, f"it has {image.GetDimension()} axes, a volume has 3", "split or stack it into volumes")
    if image.GetPixelID() not in TYPES:
        kind = sitk.GetPixelIDValueAsString(image.GetPixelID())
        raise damage(path, f"its voxels are of type {kind}", "convert it to a volume of real numbers")


def _without_channel(array: np.ndarray) -> np.ndarray:
    return array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array
