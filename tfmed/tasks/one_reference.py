"""From one annotated reference to the landmarks of any volume, with a network that sees slices.

The localisation, rotation and registration of Wang et al. (DALI 2021, Alg. 2): the centre of what a network sees along
three axes is looked at again until it stays; principal axes give the rotation; the registration of two small patches
carries the landmarks over. Voxels are (z, y, x).
"""

import dataclasses
import functools

import numpy as np

from tfmed.data.deformable import correlation, register
from tfmed.data.preprocess.geometry import boxed_array
from tfmed.data.turned_patches import TurnedPatch
from tfmed.io.geometry import spacing_of
from tfmed.ops import moments as axes_of
from tfmed.ops.three_views import LEAST, centred_box
from tfmed.tasks.volume_landmarks import Located, to_mm, to_voxels

_COARSE = (4, 2)  # voxels of the levels on which four rotations are compared
WAYS = {  # of finding landmarks with a trained network: what differs from the settings
    "reg_only": {"localise": False, "registration": True},
    "one_pass": {"most_iterations": 1},
    "no_rotation": {"sign": "none"},
    "no_registration": {"registration": False},
}


def settle(look, start, spacing, tolerance_mm, most):
    """Look where the centre was last seen until it stays: ([centre after each look], last look, whether it stayed).

    Args:
        look: voxel (z, y, x) -> `Look` around it.
        start: voxel at which to begin.
        spacing: mm of a voxel.
        tolerance_mm: a centre that moves by this or less stays.
        most: looks.
    """
    centre, path = np.asarray(start, np.float64), []
    for _ in range(most):
        seen = look(centre)
        path.append(seen.centre)
        moved, centre = np.linalg.norm((seen.centre - centre) * spacing), seen.centre
        if moved <= tolerance_mm:
            return path, seen, True
    return path, seen, False


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
    """One look at a cube of whole voxels: the combined map, its centre in the volume's voxels, its mass."""

    map: np.ndarray
    centre: np.ndarray
    mass: float

    @property
    def sureness(self):
        """Sum of the squares of the map: mass that is spread thinly, as noise is, counts for next to nothing."""
        return float(np.square(self.map, dtype=np.float64).sum())


class Locator:
    """From one reference to the landmarks of any volume.

    Args:
        config: the method's `Config`.
        views: function of a cube `(side, side, side)` float32 -> maps of three views `(3, ...)` and what is made of
            them: (combined map, centre in its voxels, mass, centre of the views' mean or NaN).
        reference: Prepared, with label.
        landmarks: `(n, 3)` in mm.
    """

    def __init__(self, config, views, reference, landmarks):
        self.config, self.views = config, views
        self.image = np.asarray(reference.image[..., 0], np.float32)
        self.spacing = spacing_of(reference.affine)
        self.landmarks = to_voxels(landmarks, reference.affine)
        self.middle = np.argwhere(np.asarray(reference.label)).mean(0)  # C_ref
        if config.localise:
            _, self.seen, _ = self.settled(self.image, self.spacing, self.middle)
            self.moments = axes_of.moments(self.seen.map, self.spacing)
            self.frame = self.patch(self.seen.centre, self.spacing)
            self.fixed = self.frame.read(self.image, fill=float(self.image.min()))

    def patch(self, centre, spacing, rotation=None):
        """A `TurnedPatch` of the settings' size."""
        rotation = np.eye(3) if rotation is None else rotation
        return TurnedPatch(centre, self.config.side, spacing, self.config.spacing_mm, rotation)

    def look(self, image, centre):
        """A `Look` at a volume around a voxel."""
        side = self.config.side
        starts = centred_box(centre, side)
        cube = np.ascontiguousarray(boxed_array(image, starts, (side,) * 3, float(image.min())), np.float32)
        found, at, mass, mean = (np.asarray(value) for value in self.views(cube))
        at = at if mass > LEAST else mean  # of no common mass: the mean of the views tells where to look next
        at = centre if np.isnan(at).any() else starts + at.astype(np.float64)
        return Look(found, np.asarray(at, np.float64), float(mass))

    def settled(self, image, spacing, start):
        """`settle` in a volume."""
        config = self.config
        look = functools.partial(self.look, image)
        return settle(look, start, np.asarray(spacing), config.tolerance_mm, config.most_iterations)

    def scanned(self, image):
        """The voxel of a coarse grid around which the map has most mass."""
        step = self.config.side / 2
        lines = [np.linspace(0, n - 1, max(2, int(np.ceil(n / step)) + 1))[1:-1] if n > step else [(n - 1) / 2]
                 for n in image.shape]  # fmt: skip
        places = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 3)
        return max((self.look(image, place) for place in places), key=lambda seen: seen.mass).centre

    def __call__(self, image, affine):
        """The Located of a prepared volume `(z, y, x)` in [0, 1]."""
        spacing = spacing_of(affine)
        if not self.config.localise:
            fit = self.registered(self.image, image, self.spacing, spacing)
            points = to_mm(fit.moved(self.landmarks * self.spacing) / spacing, affine)
            return Located(points, np.zeros((0, 3)), "", {"NCC before": fit.before, "NCC after": fit.after})
        start = self.scanned(image) if self.config.start == "scan" else self.middle
        path, seen, stayed = self.settled(image, spacing, start)
        facts = {"iterations": len(path), "stayed": stayed, "mass": seen.mass}
        facts["score"] = seen.sureness / self.seen.sureness if self.seen.sureness > LEAST else 0.0
        centres = to_mm(np.array(path), affine)
        found = axes_of.moments(seen.map, spacing)
        if problem := self.problem(facts["score"], found):
            return Located(np.full(self.landmarks.shape, np.nan), centres, problem, facts)
        rotation = self.rotation(image, spacing, seen.centre, found)
        frame = self.patch(seen.centre, spacing, rotation)
        moving = frame.read(image, fill=float(image.min()))
        offsets = self.frame.from_volume(self.landmarks)
        facts |= {"turned degrees": axes_of.angle_of(rotation), "NCC before": correlation(self.fixed, moving)}
        if self.config.registration:
            if np.ptp(moving) == 0:
                return Located(np.full(self.landmarks.shape, np.nan), centres, "all around is of one value", facts)
            pitch = (self.config.spacing_mm,) * 3
            fit, half = self.registered(self.fixed, moving, pitch, pitch), (self.config.side - 1) / 2 * pitch[0]
            offsets = fit.moved(offsets + half) - half
            facts["NCC after"] = fit.after
        return Located(to_mm(frame.to_volume(offsets), affine), centres, "", facts)

    def problem(self, score, found):
        """Why a structure counts as missing, or ""."""
        if self.moments is None or self.seen.sureness <= LEAST:
            return "the network does not see the structure in the reference itself; train it longer"
        if score < self.config.least_score or found is None:
            least = self.config.least_score
            return f"the structure was not found (score {score:.3g}, where the reference has 1 and {least:g} is needed)"
        return ""

    def rotation(self, image, spacing, centre, found):
        """Q `(3, 3)`, from the reference's axes to those that were found; no turn where none is small enough."""
        config = self.config
        if config.sign == "none":
            return np.eye(3)
        most = 180.0 if config.max_turn_deg is None else config.max_turn_deg
        four = [q for q in axes_of.candidates(self.moments, found) if axes_of.angle_of(q) <= most]
        if not four:
            return np.eye(3)
        if config.sign == "skewness":
            told = axes_of.by_skewness(self.moments, found)
            rotation = next((q for q in four if np.allclose(q, told)), four[0])
        else:
            low = float(image.min())
            rotation = max(four, key=lambda q: self.likeness(self.patch(centre, spacing, q).read(image, fill=low)))
        unsure = self.moments.ambiguous or found.ambiguous
        return np.eye(3) if unsure and axes_of.angle_of(rotation) > config.most_degrees else rotation

    def likeness(self, moving):
        """Correlation of a target's patch with the reference's, by the settings as it lies or after a rigid fit."""
        if self.config.sign == "ncc" or np.ptp(moving) == 0:
            return correlation(self.fixed, moving)
        pitch = (self.config.spacing_mm,) * 3
        match = self.config.match_histograms
        return register(self.fixed, moving, pitch, demons=False, match=match, factors=_COARSE).after

    def registered(self, fixed, moving, spacing, moving_spacing):
        """The `Transport` of two volumes, by the settings."""
        config = self.config
        return register(fixed, moving, spacing, moving_spacing, iterations=config.demons_iterations,
                        smoothing=config.smoothing, match=config.match_histograms)  # fmt: skip
