"""Case: where the files of one examination are. Paths only, so that listing ten thousand cases stays cheap."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Case:
    """One examination.

    Args:
        id: unique within its source, any text; file names are made of it by `tfmed.files.safe_name`.
        group: the patient (or surgery, or slide) that it belongs to; splits never separate a group.
        images: name of the modality -> path of a file, path of a DICOM series folder, or `phantom:` address.
        label: path or `phantom:` address of the label map, or None.
        meta: whatever else the source knows (nodules, diagnosis, ...), plain values only.
    """

    id: str
    group: str
    images: Mapping[str, str]
    label: str | None = None
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)
