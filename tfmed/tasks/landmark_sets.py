"""What methods share that learn points from two sets of frames, one of them of a simulator: data, moves and colours."""

import functools

import tensorflow as tf

from tfmed.augment import intensity
from tfmed.augment.paired import Policy, sample_grid
from tfmed.data import sources
from tfmed.data.checks import prepare_cases
from tfmed.data.points import padded, present, through_grid
from tfmed.errors import DataError
from tfmed.ops.warp import warp_array
from tfmed.tasks.landmarks import LandmarkMethod


class TwoSetLandmarkMethod(LandmarkMethod):
    """Base of methods whose `config.simulator`, an `ImageSet` or None, trains beside the cases of section `data`."""

    @functools.cached_property
    def simulated(self):
        """The simulator's annotated cases, all of which train."""
        one = self.config.simulator
        if one is None:
            return []
        found = self.annotated(sources.open(one.source, one.root, **one.options))
        if not found:
            raise DataError("model.simulator: no frame has points; check its root and options")
        here = {case.group for part in ("validation", "test") for case in self.cases[part]}
        if twice := sorted(here & {case.group for case in found}):
            raise DataError(f"model.simulator: {twice[0]} is held out in the data section; give other frames")
        return self.all_train("simulator", found, one.root)["train"]

    def prepared(self, part, progress=None):
        """As `LandmarkMethod.prepared`; the simulator's frames with the training cases."""
        cases = super().prepared(part, progress)
        if part == "train" and self.simulated:
            prepare_cases(
                self.simulated, self.cache, self.case_spec, **({} if progress is None else {"progress": progress})
            )
            self.check_frames(self.simulated)
        return cases


def sample_spec(config):
    """What `moved` gives: {name: (shape, dtype)}."""
    most = config.most_points
    spec = {"image": ((*config.size, len(config.modalities)), "float32")}
    return spec | {"points": ((most, 2), "float32"), "there": ((most,), "bool")}


def moved(image, points, most_points, draw, flip=0.5, turn=None):
    """{"image", "points", "there"}: a frame `(y, x, channel)` and its points `(n, 2)`, mirrored and turned alike.

    What a turn brings in from outside is black; points that leave the frame are gone.

    Args:
        most_points: rows of the points that are returned; `there` tells which are points.
        draw: a numpy Generator.
        flip: chance of each flip.
        turn: (least, most) degrees; None for none.
    """
    policy = Policy(flip=flip or None, shift=None, rotate=turn)
    if policy.flip or turn:
        grid = sample_grid(int(draw.integers(2**31)), image.shape[:2], policy)
        image, points = warp_array(image, grid), present(through_grid(points, grid))
    points, there = padded(points, most_points)
    return {"image": image, "points": points, "there": there}


def coloured(image, index, seed, share, by, jitter=True):
    """Images `(n, y, x, channel)` in [0, 1] in other light, and other colours, each by its own draws.

    Args:
        image: float32.
        index: int64 `(n,)`, indices of the samples, from which the draws come.
        seed: of the training.
        share: chance of each of the two changes.
        by: strength: what is added to values, and the relative change of contrast (saturation and hue in jitter).
        jitter: the first change is of colours too; False: there is the second alone, brightness and contrast.
    """
    if not share or not by:
        return image
    for k in range(2) if jitter else [1]:
        draws = tf.stack([tf.fill(tf.shape(index), tf.constant(8 * seed + k, tf.int64)), index], 1)
        changed = intensity.contrast(intensity.brightness(image, draws, (-by, by)), draws, (1 - by, 1 + by))
        if k == 0 and image.shape[-1] == 3:
            changed = intensity.saturation(changed, draws, (1 - by, 1 + by))
            changed = intensity.hue(tf.clip_by_value(changed, 0.0, 1.0), draws, (-by, by))
        image = intensity.chosen(draws, share, tf.clip_by_value(changed, 0.0, 1.0), image)
    return image
