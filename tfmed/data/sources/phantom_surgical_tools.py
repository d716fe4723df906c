"""Phantom frames of surgery with tools and their boxes: any number of frames of some videos, made when read."""

import dataclasses

from tfmed.data import phantoms
from tfmed.data.case import Case
from tfmed.data.objects import plain
from tfmed.data.phantoms.surgery import surgery_objects
from tfmed.files import PathLike
from tfmed.io.objects import Objects

from .phantom_cases import need, phantom_cases


def phantom_surgical_tools(
    root: PathLike | None = None,
    cases: int = 60,
    seed: int = 0,
    shape: tuple[int, ...] = (288, 512),
    kinds: int = 6,
    videos: int = 6,
    fewest: int = 1,
    most: int = 3,
    unlabelled: int = 0,
    part_boxed: str = "tool",
) -> list[Case]:
    """Frames (images "red", "green", "blue") whose `meta["objects"]` lists [kind, x0, y0, x1, y1] of each tool.

    A video is a group. Labelled frames are dealt out to the videos in turn; the unlabelled ones are of videos of their
    own, one for ten frames, as in the data set that the phantom stands for.

    Args:
        root: ignored.
        cases: how many frames, 1 to 100,000; frame k is the same whatever their number.
        seed: another seed gives other frames, of other videos.
        videos: of the labelled frames, 1 to 1000.
        shape, kinds, fewest, most, part_boxed: as in `phantoms.surgery`.
        unlabelled: how many of the last frames have no boxes.

    Raises:
        DataError: `cases`, `seed`, `videos` or `unlabelled` is out of range.
        UserError: another option has the wrong type, or is out of range.
    """
    need("surgical_tools", "cases", cases, 1, 100_000)
    need("surgical_tools", "videos", videos, 1, 1000)
    need("surgical_tools", "unlabelled", unlabelled, 0, cases)
    options = dict(shape=shape, kinds=kinds, fewest=fewest, most=most, part_boxed=part_boxed)
    channels = {name: name for name in ("red", "green", "blue")}
    found = []
    for number, case in enumerate(phantom_cases("surgery", "frame", channels, cases, seed, unlabelled, **options)):
        video = 10_000 * seed + (number % videos if case.label else 1000 + number // 10)
        images = {name: f"{address}&video={video}" for name, address in case.images.items()}
        label, meta = case.label and f"{case.label}&video={video}", dict(case.meta)
        if label:
            chosen = phantoms.parse(images["red"])[1]
            chosen.pop("part")
            names, boxes = surgery_objects(**chosen)
            meta["objects"] = plain(Objects(boxes, names))
        case = dataclasses.replace(case, group=f"video-{video:05d}", images=images, label=label, meta=meta)
        found.append(case)
    return found
