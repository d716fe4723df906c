"""What methods share that make CTs of MR volumes: pairs on one grid, rotated crops, windows, scores, pictures."""

import functools

import numpy as np

from tfmed.augment.paired import VolumePolicy, sample_grid
from tfmed.data.checks import CaseSpec
from tfmed.data.patches import check_sizes
from tfmed.data.preprocess import Orient
from tfmed.data.preprocess.geometry import boxed_array
from tfmed.data.sampling import Stream
from tfmed.engine.abilities import Evaluation, Split
from tfmed.io import Volume
from tfmed.io.geometry import spacing_of
from tfmed.ops.warp import warp_array
from tfmed.tasks import ct_scores
from tfmed.tasks.translation import TranslationMethod

_ROTATIONS = Stream("ct_synthesis.rotations", 0xF5)

MR, CT, LOW = range(3)  # channels of a prepared pair


def turned_reach(shape, degrees, spacing_mm):
    """Pixels (y, x) by which a crop, turned in its plane about its centre by 0 to `degrees` (90), leaves its sides."""
    angles = np.deg2rad(np.linspace(0, degrees, 181))
    half = (np.array(shape) - 1) / 2 * spacing_mm
    reach = [np.max(a * np.cos(angles) + b * np.sin(angles)) - a for a, b in (half, half[::-1])]
    return np.ceil(np.divide(reach, spacing_mm)).astype(int)


class CTSynthesisMethod(TranslationMethod):
    """Base of methods that make CTs of MRs; a case has an "mr" and a "ct" on one grid.

    A subclass gives `preprocessing`, whose last step makes the three channels of a pair, `window` (HU -> what the
    network gives), and `synthesise`, a prepared MR -> {"ct": HU, ...}; its config says `window_hu`, `patch`, `overlap`,
    `blend`, `rotate_degrees`, `rotate_chance` and `edge_share`.
    """

    case_spec = CaseSpec(("mr", "ct"), minimum_shape=(4, 4, 4), stack=True)

    @property
    def geometry(self):
        """What is done to both images alike: the settings' steps, axes towards RAS."""
        return (*super().preprocessing(), Orient(to="RAS"))

    def open(self, case):
        """The Prepared pair; see `MR`, `CT` and `LOW`."""
        return self.cache.stack(case, self.case_spec)

    def prepared(self, part, progress=None):
        """As `Method.prepared`; whatever training would stumble over later is told with the training cases."""
        cases = super().prepared(part, progress)
        if part == "train":
            check_sizes(self.open, cases, self.config.patch)
            if self.cases["validation"]:
                super().prepared("validation", progress)
        return cases

    @functools.cached_property
    def margin(self):
        """Voxels (z, y, x) around a crop that its rotation may bring in, in any training case."""
        c = self.config
        if not c.rotate_degrees or not c.rotate_chance:
            return (0, 0, 0)
        pixels = {tuple(spacing_of(self.open(case).affine)[1:]) for case in self.prepared("train")}
        return (0, *np.max([turned_reach(c.patch[1:], c.rotate_degrees, pixel) for pixel in pixels], 0).tolist())

    def rotated(self, image, affine, index):
        """A crop without its margin; as often as the settings say rotated first."""
        c = self.config
        draw = _ROTATIONS(self.settings.seed, index)
        if not any(self.margin) or draw.random() >= c.rotate_chance:
            return boxed_array(image, self.margin, c.patch)
        spacing = tuple(spacing_of(affine).tolist())
        turn = ((-c.rotate_degrees, c.rotate_degrees), (0, 0), (0, 0))
        policy = VolumePolicy(flip=None, shift=None, rotate=turn, spacing=spacing)
        grid = sample_grid(int(draw.integers(2**31)), c.patch, policy) + np.float32(self.margin)
        return warp_array(image, grid, order=1, fill="edge")

    @property
    def windows(self):
        """How windows stand and are blended."""
        c = self.config
        return {"window": c.patch, "overlap": c.overlap, "blend": c.blend, "pad": "edge"}

    def validated(self):
        """Names of what `validation` gives."""
        return ct_scores.SCORES

    def validation(self, model):
        """{"mae_hu", "psnr_db", "ssim", ...}: means over the validation cases."""
        cases = self.cases["validation"]
        pairs = [self.open(case) for case in cases]
        rows = [ct_scores.scores(self, pair, self.synthesise(pair.image)) for pair in pairs]
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}

    def evaluate(self, methods, part: Split = "test"):
        """{"evaluation": a row per run, "cases": a row per run and case}; see `ct_scores.evaluate`."""
        return Evaluation(*ct_scores.evaluate(self, methods, part))

    def previews(self):
        """A test case (without any: of validation or training): MR, CTs, their difference; a joint histogram."""
        part = next(part for part in ("test", "validation", "train") if self.cases[part])
        self.prepared(part)
        case = self.cases[part][0]
        return ct_scores.pictures(self, {case.id: self.synthesise(self.open(case).image)}, [case])

    def as_volume(self, case, array):
        """A Volume on the grid of a prepared case."""
        return Volume(np.asarray(array, np.float32), self.open(case).affine)
