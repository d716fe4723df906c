"""Addresses of a piece of what lies at a path: `<path>::<piece>`.

| address | the Volume that it names |
|---|---|
| `scan.nii.gz::0` | channel 0 of a volume with several (of a volume without a channel axis: itself) |
| `case.h5::image` | the dataset `image` of an HDF5 file, see `tfmed.io.hdf5` |
| `lesion.png::grey` | a PNG, JPEG or TIFF as one slice, pixels of 1 mm; colour turned to grey (ITU-R BT.601) |
| `cells.jpg::red` (`green`, `blue`) | one channel of its colours likewise; of a grey picture itself |
| `mask.png::numbers` | likewise, of a label map: a colour that is no grey is no number and refused |
| `mask.jpg::bright` | likewise, 1 where a picture is brighter than 127, else 0: masks that JPEG has blurred |
| `nuclei.xml::outlines:cells.tif` | 1 within the outlines that an XML file has for a picture, see `tfmed.io.drawn` |
| `nuclei.xml::discs:cells.tif` | likewise, discs about the nuclei that it marks |
| `map.png::fused:others/map.png` | maps that several people drew of one picture, fused; more paths behind `;` |
| `block.tif::pages` | a TIFF of several grey pages as a volume, a page per slice, voxels of 1 mm |
| `block.tif::pages@0,9,8,20,64,48` | of that the box that begins at voxel (0, 9, 8) and is (20, 64, 48) large |
| `ct.nii.gz::around@-40.5,20,-110.2,66` | a square of 66 mm of the slice nearest to the point (x, y, z) in mm (RAS) |
| `dicom::1` | volume 1 of a DICOM series of several at the same places: times, echoes, b-values, segments |
| `patient::below` | a DICOM series whose slices lie in several folders below this one |
| `patient::below:1` | volume 1 of such a series |
| `DICOM_anon::one-series` | all slices in a folder as one series, whatever their SeriesInstanceUIDs |
| `Ground::names:../DICOM_anon` | images, one per slice of the DICOM series in a folder, which has the geometry |

A square's middle is as near to the point as whole pixels allow; beyond the image its border goes on. Any volume has
squares, and any folder with a DICOM series.
The last one's path to the series is absolute or begins at the folder of images; before the colon stands which image
belongs to which slice: `names` (by equal names, otherwise the first image to the slice whose file name comes first),
`ascending` or `descending` (the first image to the lowest or highest slice along the slices' normal).
"""

import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tfmed.files import PathLike
from tfmed.io.channels import Channels, check_channel
from tfmed.io.dicom import (
    geometry_from,
    list_dicom_series,
    read_dicom,
    read_dicom_geometry,
    volume_from,
)
from tfmed.io.dicom_files import DICOM_SUFFIXES, folders_below
from tfmed.io.dicom_header import looks_like_dicom
from tfmed.io.dicom_order import ordered
from tfmed.io.dicom_volumes import one_volume
from tfmed.io.drawn import discs, fused, outlines
from tfmed.io.errors import damage
from tfmed.io.geometry import Geometry, volume_of
from tfmed.io.hdf5 import SUFFIXES as HDF5_SUFFIXES
from tfmed.io.hdf5 import read_hdf5, read_hdf5_geometry
from tfmed.io.itk import LPS_RAS
from tfmed.io.picture_header import check_picture
from tfmed.io.stack import SUFFIXES as PICTURES
from tfmed.io.stack import images_in, natural, read_stack
from tfmed.io.volume import Volume

ONE_SERIES, GREY, NUMBERS, BELOW, PAGES = "one-series", "grey", "numbers", "below", "pages"
BRIGHT, OUTLINES, DISCS, FUSED, AROUND = "bright", "outlines", "discs", "fused", "around"
COLOURS = ("red", "green", "blue")
_OF_PICTURES = (GREY, NUMBERS, BRIGHT, *COLOURS)
_DRAWN = {OUTLINES: outlines, DISCS: discs}
_HALF = 127  # of white
_CHANNELS = Channels()
_LUMA = (0.299, 0.587, 0.114)
ORDERS = ("names", "ascending", "descending")
_MM = r"-?[0-9]{1,6}(?:\.[0-9]{1,6})?"
_ADDRESS = re.compile(
    rf"(.+\.(?i:h5|hdf5))::([^:]+)"
    rf"|(.+)::([0-9]{{1,9}}|{ONE_SERIES}|{'|'.join(_OF_PICTURES)}|{BELOW}(?::[0-9]{{1,9}})?"
    rf"|{PAGES}(?:@[0-9]{{1,9}}(?:,[0-9]{{1,9}}){{5}})?|{AROUND}@(?:{_MM},){{3}}{_MM}"
    rf"|(?:{'|'.join((*ORDERS, OUTLINES, DISCS, FUSED))}):.+)",
    re.DOTALL,
)


def split(address: PathLike) -> tuple[str, str]:
    """(path, piece) of an address, both text; the piece is "" where the address is a path alone.

    Example:
        >>> split("scans/t1.nii.gz::1"), split("scans/t1.nii.gz")
        (('scans/t1.nii.gz', '1'), ('scans/t1.nii.gz', ''))
    """
    text = os.fspath(address)
    found = _ADDRESS.fullmatch(text)
    if not found:
        return text, ""
    return (found[1], found[2]) if found[1] else (found[3], found[4])


def file_of(address: PathLike) -> str:
    """The path in an address, as text: the file or folder whose bytes it reads."""
    return split(address)[0]


def piece_of(address: PathLike) -> str:
    """The piece in an address, "" where it names all of a file: with the path's content it identifies the voxels."""
    return split(address)[1]


def companions_of(address: PathLike) -> tuple[str, ...]:
    """Further paths whose content counts: the folders below one, that of the series on which images lie, or the
    picture or the maps that belong to a file that is drawn or fused."""
    path, piece = split(address)
    if _is_drawn(piece):
        return tuple(map(str, _others(path, piece)))
    if _is_below(piece):
        return tuple(str(folder) for folder in folders_below(path)[1:])
    return (_series_of(path, piece),) if ":" in piece else ()


def read_piece(address: PathLike, read_whole: Callable[[str], Volume], series_uid: str | None = None) -> Volume:
    """The Volume behind an address that has a piece.

    Args:
        address: as in the module's table.
        read_whole: function path -> Volume, for files of several channels.
        series_uid: which DICOM series, where folders hold several.

    Raises:
        ImageIntegrityError: file or piece is missing or damaged, or image and slice do not fit.
    """
    path, piece = split(address)
    if path.lower().endswith(HDF5_SUFFIXES):
        return read_hdf5(path, piece)
    if piece == ONE_SERIES:
        return volume_from(one_volume(_slices(path), path), path)
    if piece in _OF_PICTURES:
        return _of_picture(path, piece)
    if _is_pages(piece):
        return _of_pages(path, piece)
    if _is_around(piece):
        return _around(read_whole(path), path, piece)
    if _is_below(piece):
        return read_dicom(*dicom_address(address, series_uid))
    if _is_drawn(piece):
        return _drawn(path, piece)
    if ":" in piece:
        return _stack_on_series(path, piece)
    if _is_dicom(path):
        return read_dicom(*dicom_address(address, series_uid))
    return _CHANNELS.take(path, int(piece), read_whole)


def read_piece_geometry(
    address: PathLike, read_whole_geometry: Callable[[str], Geometry], series_uid: str | None = None
) -> Geometry:
    """The Geometry of what `read_piece` would return, from headers alone."""
    path, piece = split(address)
    if path.lower().endswith(HDF5_SUFFIXES):
        return read_hdf5_geometry(path, piece)
    if piece == ONE_SERIES:
        return geometry_from(one_volume(_slices(path), path), path)
    if piece in _OF_PICTURES or _is_pages(piece) or _is_drawn(piece):
        read = _of_pages if _is_pages(piece) else _drawn if _is_drawn(piece) else _of_picture
        volume = read(path, piece)
        return Geometry(volume.shape, volume.affine, volume.array.dtype)
    if _is_around(piece):
        whole = read_whole_geometry(path)
        _, _, sides, affine = _square(whole, path, piece)
        return Geometry((1, *sides), affine, whole.dtype)
    if _is_below(piece):
        return read_dicom_geometry(*dicom_address(address, series_uid))
    if ":" in piece:
        pictures, size, affine = _pictures_on_series(path, piece)
        return Geometry((len(pictures), *size), affine, read_stack(pictures[:1]).array.dtype)
    if _is_dicom(path):
        return read_dicom_geometry(*dicom_address(address, series_uid))
    whole = read_whole_geometry(path)
    check_channel(path, int(piece), whole.shape)
    return Geometry(whole.shape[:3], whole.affine, whole.dtype)


def dicom_address(address: PathLike, series_uid: str | None = None) -> tuple[str, str | None, int | None, bool]:
    """(path, series_uid, volume, whether to search below) of the address of a DICOM series, for `tfmed.io.dicom`."""
    path, piece = split(address)
    return path, series_uid, int(piece) if piece.isdecimal() else _volume_in(piece), _is_below(piece)


def _is_below(piece: str) -> bool:
    return piece.partition(":")[0] == BELOW


def _is_pages(piece: str) -> bool:
    return piece.partition("@")[0] == PAGES


def _is_around(piece: str) -> bool:
    return piece.partition("@")[0] == AROUND


def _is_drawn(piece: str) -> bool:
    return piece.partition(":")[0] in (*_DRAWN, FUSED)


def _others(path: PathLike, piece: str) -> list[pathlib.Path]:
    """The paths behind the colon of a piece, absolute or beginning at the folder of the file."""
    return [pathlib.Path(path).parent / name for name in piece.partition(":")[2].split(";")]


def _drawn(path: PathLike, piece: str) -> Volume:
    kind, others = piece.partition(":")[0], _others(path, piece)
    for one in (pathlib.Path(path), *others):
        if not one.is_file():
            raise damage(one, "it does not exist", "copy it again")
    return fused([path, *others]) if kind == FUSED else _DRAWN[kind](path, others[0])


def _volume_in(piece: str) -> int | None:
    """Which volume a piece below:<n> names, or None."""
    number = piece.partition(":")[2]
    return int(number) if number else None


def _is_dicom(path: str) -> bool:
    """Whether a number behind `::` counts the volumes of a DICOM series and not the channels of a file."""
    return os.path.isdir(path) or path.lower().endswith(DICOM_SUFFIXES) or looks_like_dicom(path)


def _slices(folder: PathLike) -> list[Any]:
    """All slices in a folder, whatever series their files name."""
    slices = [one for series in list_dicom_series(folder) for one in series.slices]
    kinds = sorted({one.modality or "none" for one in slices})
    if len(kinds) > 1:
        raise damage(
            folder, f"it holds slices of several modalities ({', '.join(kinds)})", "put each into its own folder"
        )
    return slices


def _ordered(slices: list[Any], folder: PathLike) -> tuple[list[Any], np.ndarray]:
    """(slices along their normal, RAS+ affine of the grid)."""
    slices, affine = ordered(one_volume(slices, folder), folder)
    return slices, LPS_RAS @ affine


def _of_picture(path: PathLike, piece: str) -> Volume:
    """One image as a volume of one slice without channels, in its own dtype: grey, a channel, or numbers."""
    _refuse_opacity(path)
    volume = read_stack([path])
    if len(volume.array) != 1:
        raise damage(path, f"it holds {len(volume.array)} pages where one image is needed", "split it")
    if piece == BRIGHT:
        values = volume.array.astype(np.float32)
        bright = values if values.ndim == 3 else values[..., :3] @ np.array(_LUMA, np.float32)
        return volume.replace((bright > _HALF).astype(np.uint8))
    if volume.array.ndim == 3:
        return volume
    if piece in COLOURS:
        return volume.replace(np.ascontiguousarray(volume.array[..., COLOURS.index(piece)]))
    if piece == NUMBERS:
        return volume.replace(_number(volume.array[..., :3], path))
    grey = volume.array[..., :3].astype(np.float32) @ np.array(_LUMA, np.float32)
    whole = volume.array.dtype.kind in "iu"
    return volume.replace((np.rint(grey) if whole else grey).astype(volume.array.dtype))


def _of_pages(path: PathLike, piece: str) -> Volume:
    """All pages of a TIFF as slices, or a box of them; grey, in their own dtype."""
    _refuse_opacity(path)
    volume = read_stack(path)
    if volume.array.ndim == 4:
        raise damage(path, "its pages are in colour, where slices of a volume are grey", "convert them")
    box = [int(number) for number in piece.partition("@")[2].split(",") if number]
    if not box:
        return volume
    begin, size = box[:3], box[3:]
    if min(size) < 1 or any(b + n > have for b, n, have in zip(begin, size, volume.shape, strict=True)):
        raise damage(path, f"its {volume.shape} voxels do not hold the box of {tuple(size)} at {tuple(begin)}",
                     "check which file it is")  # fmt: skip
    moved = np.eye(4)
    moved[:3, 3] = begin[::-1]
    cut = volume.array[tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))]
    return volume_of(np.ascontiguousarray(cut), volume.affine @ moved, path)


def _around(whole: Volume, path: PathLike, piece: str) -> Volume:
    """A square of a slice about a point; beyond the image its border goes on."""
    if whole.array.ndim == 4:
        raise damage(path, "it has several channels, where a square is cut out of one", "split it")
    at, starts, sides, affine = _square(whole, path, piece)
    pixels = (np.clip(np.arange(s, s + n), 0, have - 1)
              for s, n, have in zip(starts, sides, whole.shape[1:], strict=True))  # fmt: skip
    return volume_of(whole.array[at][np.ix_(*pixels)][None], affine, path)


def _square(
    whole: Volume | Geometry, path: PathLike, piece: str
) -> tuple[int, tuple[int, int], tuple[int, int], np.ndarray]:
    """(slice, first pixel (y, x), pixels (y, x), affine) of a square about a point of a grid."""
    *point, side = (float(word) for word in piece.partition("@")[2].split(","))
    x, y, z = np.linalg.solve(whole.affine, [*point, 1.0])[:3]
    shape = whole.shape[:3]
    if any(not -0.5 <= at <= n - 0.5 for at, n in zip((z, y, x), shape, strict=True)):
        where = ", ".join(f"{one:g}" for one in point)
        raise damage(path, f"the point ({where}) in mm lies outside of it", "check which image it is of")
    spacing = np.linalg.norm(whole.affine[:3, :3], axis=0)[1::-1]  # mm of a pixel (y, x)
    sides = tuple(max(1, round(side / mm)) for mm in spacing)
    starts = tuple(round(at - (n - 1) / 2) for at, n in zip((y, x), sides, strict=True))
    at = min(max(round(z), 0), shape[0] - 1)
    moved = np.eye(4)
    moved[:3, 3] = (starts[1], starts[0], at)
    return at, starts, sides, whole.affine @ moved  # type: ignore[return-value]


def _number(colours: np.ndarray, path: PathLike) -> np.ndarray:
    """The grey values of pixels `(..., 3)` that are all grey."""
    odd = np.argwhere((colours != colours[..., :1]).any(-1))
    if len(odd):
        seen = ", ".join(map(str, colours[tuple(odd[0])].tolist()))
        raise damage(path, f"its pixels have colours such as ({seen}), where a grey value is the number of a class",
                     "save a grey picture with the number of its class at each pixel")  # fmt: skip
    return np.ascontiguousarray(colours[..., 0])


def _refuse_opacity(path: PathLike) -> None:
    """ITK takes a TIFF of grey and opacity for one channel, and gives wrong pixels without a word."""
    if os.fspath(path).lower().endswith(PICTURES) and check_picture(path).opacity:
        raise damage(path, "it has an opacity channel beside grey", "save it without")


def _stack_on_series(folder: PathLike, piece: str) -> Volume:
    pictures, size, affine = _pictures_on_series(folder, piece)
    array = read_stack(pictures).array
    if array.shape != (len(pictures), *size):
        what = f"{array.shape[2]} x {array.shape[1]} pixels" + (" in colour" if array.ndim == 4 else "")
        raise damage(folder, f"its images have {what}, the slices have {size[1]} x {size[0]}",
                     "give grey images of the slices' size")  # fmt: skip
    return volume_of(array, affine, folder)


def _pictures_on_series(folder: PathLike, piece: str) -> tuple[list[pathlib.Path], tuple[int, int], np.ndarray]:
    """(image files along the slices' normal, size (y, x) of a slice, RAS+ affine)."""
    series = _series_of(folder, piece)
    try:
        pictures, slices = images_in(folder), _slices(series)
    except OSError as error:
        raise damage(folder, f"it cannot be read ({error.strerror})", "check the path and the permissions") from None
    if len(pictures) != len(slices):
        raise damage(folder, f"it holds {len(pictures)} images for the {len(slices)} slices in {series}",
                     "copy both folders again")  # fmt: skip
    picture_of = _paired(pictures, slices, piece.partition(":")[0])
    kept, affine = _ordered(slices, series)
    return [picture_of[one.path] for one in kept], kept[0].size, affine


def _series_of(folder: PathLike, piece: str) -> str:
    return os.path.normpath(os.path.join(folder, piece.partition(":")[2]))


def _paired(pictures: list[pathlib.Path], slices: list[Any], order: str) -> dict[pathlib.Path, pathlib.Path]:
    """{path of a slice: path of its image}."""
    if order == "names":
        stems = {picture.stem: picture for picture in pictures}
        if stems.keys() == {one.path.stem for one in slices}:
            return {one.path: stems[one.path.stem] for one in slices}
        slices = sorted(slices, key=lambda one: natural(one.path.name))
    else:
        normal = slices[0].normal
        slices = sorted(slices, key=lambda one: float(one.position @ normal), reverse=order == "descending")
    return {one.path: picture for one, picture in zip(slices, pictures, strict=True)}
