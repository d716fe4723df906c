"""CaDTD: frames of cataract surgery with boxes of tools, of the videos of CATARACTS (Jiang et al. 2021)."""

import dataclasses
import re

from tfmed.data.case import Case
from tfmed.errors import DataError
from tfmed.files import PathLike

from .listing import folder
from .voc_folder import voc_cases

_LAYOUT = "frames named after their videos (Video01_frame000090.png) and one XML of the same name per annotated frame"
# The numbers of the files. The paper's table calls 10 Bonn Forceps and 11 Secondary Knife; the labels follow CaDIS,
# where they are these.
TOOLS = (
    "Phacoemulsifier Handpiece", "Lens Injector", "I/A Handpiece", "Secondary Knife", "Micromanipulator",
    "Capsulorhexis Forceps", "Hydrodissection Cannula", "Viscoelastic Cannula", "Capsulorhexis Cystotome",
    "Rycroft Cannula", "Bonn Forceps", "Primary Knife",
)  # fmt: skip
_VIDEO = r"(?i)video[_ ]?0*(\d+)"
_TESTED = ("2", "12", "22")  # the test videos of CaDIS; the paper does not name its three


def cadtd(root: PathLike | None = None, group_pattern: str = _VIDEO, labelled_list: str | None = None) -> list[Case]:
    """Frames (as "red", "green", "blue") with `meta["objects"]`, classes by name; frames without XML are unlabelled.

    A video is a group; `meta["part"]` is "test" for videos 2, 12 and 22.

    Args:
        root: folder with the frames and the XML files of one of the two label sets, whole tools or tool heads.
        group_pattern, labelled_list: as of `voc_folder`.

    Raises:
        DataError: as `voc_folder`, or a class is no number from 1 to 12.
    """
    base = folder(root, "cadtd", _LAYOUT)

    def part(path):
        found = re.search(_VIDEO, path.as_posix())
        return "test" if found and found[1] in _TESTED else None

    def renamed(objects, path):
        for name in objects.names:
            if not (name.isascii() and name.isdigit() and 1 <= int(name) <= len(TOOLS)):
                raise DataError(
                    f"{path}: has an object of class {name[:40]!r}; CaDTD has the classes 1 to {len(TOOLS)}"
                )
        return dataclasses.replace(objects, names=tuple(TOOLS[int(name) - 1] for name in objects.names))

    return voc_cases(base, "cadtd", _LAYOUT, group_pattern, labelled_list, part, renamed)
