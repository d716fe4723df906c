"""Scans for a classifier of nodules: neither the scanner nor the patient tells whether there is one.

Scans with nodules and scans without come from different scanners; half of each are edited, so that both classes come
from both (Pesaranghader et al., DGM4MICCAI 2021, Fig. 3a).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfmed.data.case import Case
from tfmed.data.nodules import Nodule
from tfmed.data.sampling import Stream, shuffled

_ORDER = Stream("unbiased.order", 0x0DD)

KEEP, ERASE, INJECT = "keep", "erase", "inject"


@dataclasses.dataclass(frozen=True)
class Scan:
    """A scan as the classifier is shown it.

    Args:
        case: the Case.
        origin: "nodules" (LIDC-IDRI), "healthy" (NLST) or "synthetic".
        edit: "keep", "erase" (its nodules) or "inject" (nodules into it).
        label: 1 with nodules, 0 without.
    """

    case: Case
    origin: str
    edit: str
    label: int


def mixed(cases: Sequence[Case], origin: str, seed: int) -> list[Scan]:
    """Scans of one origin, half of them edited: of two classes, as near to balance as their number allows.

    Args:
        cases: list of Case, of patients all with nodules (origin "nodules") or all without (the others).
        seed: which half is edited; a pure function of it and of the number of cases.
    """
    edit = ERASE if origin == "nodules" else INJECT
    order = _ORDER(seed, len(cases)).permutation(len(cases))
    edited = set(order[: len(cases) // 2].tolist())
    return [
        Scan(case, origin, edit if k in edited else KEEP, int((k in edited) == (edit == INJECT)))
        for k, case in enumerate(cases)
    ]


def unbiased(with_nodules: Sequence[Case], healthy: Sequence[Case], seed: int) -> list[Scan]:
    """Scans of both sources: half of those with nodules are freed of them, half of the healthy ones get some."""
    return mixed(with_nodules, "nodules", seed) + mixed(healthy, "healthy", seed + 1)


def deal(scans: Sequence[Scan], seed: int, index: int) -> Scan:
    """The scan of a sample index: classes in turn, each in an order of its own that is new in every epoch.

    Args:
        scans: list of Scan, with both labels among them.
        seed, index: the sample is a pure function of them.
    """
    half, label = divmod(int(index), 2)
    own = [scan for scan in scans if scan.label == label]
    return own[shuffled(seed + label, half, len(own))]


def counts_of(nodules: Sequence[Sequence[Nodule]]) -> np.ndarray:
    """How many nodules the scans with nodules have: an array to draw from.

    Args:
        nodules: list of lists of `Nodule`, one a scan.
    """
    return np.array([len(found) for found in nodules if found])
