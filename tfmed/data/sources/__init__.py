"""Sources: one function per dataset layout that lists its cases (paths only; nothing is decoded).

A new source is one file with one function `name(root=None, ...) -> list[Case]`, and one line in `_SOURCES`. Its keyword
arguments are its options, so a misspelt one is noticed before any file is touched. A source of sources takes `open`
first, and stands in `_OF_OTHERS`.
"""

import functools
import inspect
import os
from collections.abc import Sequence
from typing import Any

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.errors import DataError, nearest
from tfmed.files import PathLike
from tfmed.io import file_of, piece_of

from .accounting import unused
from .adam import adam
from .adaptor import adaptor
from .boxes_folder import boxes_folder
from .brats2019 import brats2019
from .breastpathq import breastpathq
from .cadtd import cadtd
from .chaos import chaos
from .coco import coco
from .connectome_folder import connectome_folder
from .covid19_radiography import covid19_radiography
from .csv_list import csv_list
from .detection import detect
from .dicom_folder import dicom_folder
from .digestpath import digestpath
from .epfl_mitochondria import epfl_mitochondria
from .glas import glas
from .gleason2019 import gleason2019
from .ham10000 import ham10000
from .hvsmr2016 import hvsmr2016
from .image_folder import image_folder
from .image_pairs import image_pairs
from .image_visits import image_visits
from .imageclef2016 import imageclef2016
from .joined import joined, roots_of
from .kits19 import kits19
from .la2018 import la2018
from .landmark_list import landmark_list
from .lidc_idri import lidc_idri
from .lidc_nodules import lidc_nodules
from .lits import lits
from .luna16 import luna16
from .mnms import mnms
from .modality_folders import modality_folders
from .monuseg import monuseg
from .mosmed import mosmed
from .msd import msd
from .nifti_folder import nifti_folder
from .nlst import nlst
from .nodules_erased import nodules_erased
from .oasis import oasis
from .paired_folder import paired_folder
from .phantom_brain_tumour import phantom_brain_tumour
from .phantom_cardiac import phantom_cardiac
from .phantom_cell_pairs import phantom_cell_pairs
from .phantom_chest_ct import phantom_chest_ct
from .phantom_coloured_shapes import phantom_coloured_shapes
from .phantom_connectome import phantom_connectome
from .phantom_endoscopy import phantom_endoscopy
from .phantom_ground_glass import phantom_ground_glass
from .phantom_histology import phantom_histology
from .phantom_left_atrium import phantom_left_atrium
from .phantom_liver_ct import phantom_liver_ct
from .phantom_lung_lesion import phantom_lung_lesion
from .phantom_mitochondria import phantom_mitochondria
from .phantom_panels import phantom_panels
from .phantom_pelvis import phantom_pelvis
from .phantom_radiograph import phantom_radiograph
from .phantom_shapes import phantom_shapes
from .phantom_stained_tissue import phantom_stained_tissue
from .phantom_surgical_tools import phantom_surgical_tools
from .phantom_temporal_bone import phantom_temporal_bone
from .phantom_textures import phantom_textures
from .phantom_tof_mra import phantom_tof_mra
from .phantom_ultrasound import phantom_ultrasound
from .points_folder import points_folder
from .series_archive import series_archive
from .ukbb_cardiac import ukbb_cardiac
from .voc_folder import voc_folder
from .wmh2017 import wmh2017

_SOURCES = {
    function.__name__: function
    for function in (
        adam, adaptor, boxes_folder, brats2019, breastpathq, cadtd, chaos, coco, connectome_folder,
        covid19_radiography, csv_list, dicom_folder, digestpath, epfl_mitochondria, glas, gleason2019, ham10000,
        hvsmr2016, image_folder, image_pairs, image_visits, imageclef2016, kits19, la2018, landmark_list,
        lidc_idri, lidc_nodules, lits, luna16, mnms, modality_folders, monuseg, mosmed, msd, nifti_folder, nlst, oasis,
        paired_folder, phantom_brain_tumour, phantom_cardiac, phantom_cell_pairs, phantom_chest_ct,
        phantom_coloured_shapes, phantom_connectome, phantom_endoscopy, phantom_ground_glass, phantom_histology,
        phantom_left_atrium, phantom_liver_ct, phantom_lung_lesion, phantom_mitochondria, phantom_panels,
        phantom_pelvis, phantom_radiograph, phantom_shapes, phantom_stained_tissue, phantom_surgical_tools,
        phantom_temporal_bone, phantom_textures, phantom_tof_mra, phantom_ultrasound, points_folder,
        series_archive, ukbb_cardiac, voc_folder, wmh2017,
    )
}  # fmt: skip
_OF_OTHERS = (joined, nodules_erased)


__all__ = ["detect", "names", "open", "roots_of", "unused"]


def names() -> list[str]:
    """The known sources, sorted."""
    return sorted(_SOURCES)


def open(name: str, root: PathLike | None = None, **options: Any) -> list[Case]:
    """The cases of a dataset, sorted by id; the same files give the same list.

    Args:
        name: one of `names()`.
        root: the dataset's folder (of `csv_list` the table); the phantoms need none.
        options: the source's own, see its docstring.

    Returns:
        list of `Case`, at least one.

    Raises:
        DataError: an unknown source or option; a folder that is missing, empty or laid out otherwise; a file that is of
            two patients.

    Example:
        >>> from tfmed.data import sources
        >>> cases = sources.open("phantom_chest_ct", cases=2)
        >>> [case.id for case in cases], sorted(cases[0].images)
        (['chest-0000000', 'chest-0000001'], ['ct'])
    """
    if name not in _SOURCES:
        raise DataError(f"no data source {name!r}{nearest(name, _SOURCES)}")
    known = {key: p.default for key, p in inspect.signature(_SOURCES[name]).parameters.items() if key != "root"}
    for key, value in options.items():
        if key not in known:
            raise DataError(f"source {name} has no option {key!r}{nearest(key, known)}")
        wanted = _wanted(known[key])
        if wanted and not (value is None and known[key] is None) and type(value) is not wanted[0]:
            raise DataError(f"source {name}: {key} must be {wanted[1]}; got {value!r}")
    cases = sorted(_SOURCES[name](root, **options), key=lambda case: case.id)
    _refuse_shared_files(cases)
    return cases


_SOURCES |= {function.__name__: functools.partial(function, open) for function in _OF_OTHERS}


def _refuse_shared_files(cases: Sequence[Case]) -> None:
    """One file is of one patient: under two names, or behind two links, it would stand on both sides of a split."""
    owners: dict[tuple, tuple[Case, str]] = {}
    for case in cases:
        for address in case.images.values():
            if phantoms.is_address(address):
                continue
            try:
                file = os.stat(file_of(address))
            except OSError:  # a link without content, say: whoever reads it tells
                continue
            key = file.st_dev, file.st_ino, piece_of(address), case.meta.get("series_uid")
            owner, where = owners.setdefault(key, (case, address))
            if owner.group != case.group and file.st_ino:
                raise DataError(
                    f"{address}: is the same file as {where}, as which it is of another patient ({owner.group}, not "
                    f"{case.group}); remove one of the two, or give both one group"
                )


def _wanted(default: object) -> tuple[type, str] | None:
    """Type and wording that an option with this default must have, or None where the source itself checks."""
    kinds = {str: "text", type(None): "text", bool: "true or false", int: "an integer"}
    kind = type(default)
    return ((str if default is None else kind), kinds[kind]) if kind in kinds else None
