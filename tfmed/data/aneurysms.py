"""Where the aneurysms of a case are."""

import numpy as np

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.data.phantoms.tof_mra import placed_aneurysms
from tfmed.data.spheres import Sphere, to_mm
from tfmed.errors import DataError


def tells_aneurysms(case: Case) -> bool:
    """Whether a case's source tells its aneurysms, so that `aneurysms_of` gives them."""
    address = case.images.get("tof")
    return "aneurysms" in case.meta or (phantoms.is_address(address) and phantoms.parse(address)[0] == "tof_mra")


def aneurysms_of(case: Case, affine: np.ndarray) -> list[Sphere]:
    """The aneurysms of a case as spheres, empty for a healthy one; treated ones are none of them.

    They come from `meta["aneurysms"]`, a list of dict(centre_zyx, radius_mm) as ADAM has it, or are those of a phantom.

    Args:
        case: Case.
        affine: of the image as the data set has it, not of a resampled one.

    Raises:
        DataError: the case says nothing of aneurysms.
    """
    if "aneurysms" in case.meta:
        marks = case.meta["aneurysms"]
        return [Sphere(tuple(map(float, to_mm(one["centre_zyx"], affine))), float(one["radius_mm"])) for one in marks]
    address = case.images.get("tof")
    if phantoms.is_address(address) and (parsed := phantoms.parse(address))[0] == "tof_mra":
        return list(placed_aneurysms(**{name: value for name, value in parsed[1].items() if name != "part"}))
    raise DataError(f"{case.id}: its source tells no aneurysms; use adam or phantom_tof_mra")
