"""Nodules put into volumes and taken out of them by trained networks; places for them."""

import zlib

import numpy as np

from tfmed.data.nodules import VOI, Nodule, blend_weights, lung_points
from tfmed.data.sampling import Stream, generator
from tfmed.errors import DataError
from tfmed.methods.ctsgan_nodules.model import hidden

_LUNGS = Stream("ctsgan_nodules.lungs", 0x91ACE)

_PLACES = 512  # looked at per scan


def cube_of(config, nodule, volume):
    """The VOI of a nodule in a prepared volume, its mask and the weights of pasting (float32 `(s, s, s)`).

    The mask is a ball of `mask_scale` times the nodule's radius and `mask_margin` voxels more, as far as the cube
    reaches; weights are 0 outside of it, so that pasting changes nothing there.
    """
    spacing = volume.spacing
    voi = VOI.around(nodule.centre_zyx(volume.affine), config.voi, spacing)
    reach = config.mask_scale * nodule.radius_mm + config.mask_margin * max(spacing)
    reach = min(reach, (config.voi / 2 - 1) * min(spacing))
    mask = (voi.distance_mm <= reach).astype(np.float32)
    return voi, mask, blend_weights(voi.distance_mm, reach, config.blend * max(spacing))


class Editor:
    """Edits of prepared volumes, in memory as small patches.

    Args:
        config: the method's `Config`.
        injector, eraser: the trained models.
    """

    def __init__(self, config, injector, eraser):
        self.config = config
        self._painted = {"inject": injector.painted, "erase": eraser.painted}

    def painted(self, kind, cube, mask):
        """A cube `(s, s, s)` with a nodule in its mask ("inject"), or without one ("erase"); numpy, float32."""
        shown = hidden(cube, mask) if kind == "inject" else cube
        return self._painted[kind](shown[None, ..., None].astype(np.float32)).numpy()[0, ..., 0]

    def patches(self, kind, volume, nodules):
        """The patches, one for each nodule, that change a volume; a later one sees what the earlier ones changed."""
        if not nodules:
            return []
        array, found = np.array(volume.array, np.float32), []
        for nodule in nodules:
            voi, mask, weight = cube_of(self.config, nodule, volume)
            patch = voi.blended(array, self.painted(kind, voi.cut(array), mask), weight)
            patch.paste(array)
            found.append(patch)
        return found


class Places:
    """Where nodules could be in a scan.

    Args:
        case: the Case.
        volume: its prepared Volume.
        window: the Window with which it was prepared.
        seed: the places are a function of it and of the case's id.

    Raises:
        DataError: no lungs are found.
    """

    def __init__(self, case, volume, window, seed):
        self.key = zlib.crc32(case.id.encode())
        self.affine, self.seed = volume.affine, seed
        rng = _LUNGS(seed, self.key)
        points, self.depth = lung_points(window.invert(volume.array), volume.spacing, _PLACES, rng)
        if not len(points):
            raise DataError(f"{case.id}: no lungs are found in it to put a nodule into; remove the case")
        self.mm = (np.c_[points[:, ::-1], np.ones(len(points))] @ volume.affine.T)[:, :3]

    def draw(self, radii_mm, *keys):
        """A `Nodule` for each radius, inside the lungs and apart from one another as far as there is room.

        Args:
            keys: integers; the draw is a pure function of them, the scan and the seed.
        """
        rng, chosen = generator(self.seed, self.key, *keys), []
        for radius in radii_mm:
            room = self.depth - radius
            for other in chosen:
                room = np.minimum(room, np.linalg.norm(self.mm - other.centre_mm, axis=1) - radius - other.radius_mm)
            fit = np.flatnonzero(room > 0)
            pick = int(fit[rng.integers(len(fit))]) if len(fit) else int(np.argmax(room))
            chosen.append(Nodule(tuple(float(v) for v in self.mm[pick]), float(radius)))
        return chosen
