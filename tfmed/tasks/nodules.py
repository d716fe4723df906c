"""What methods share that edit lung nodules: scans with and without, cubes around nodules, edits of whole volumes."""

import functools

import numpy as np
import tensorflow as tf

from tfmed.data import splits
from tfmed.data.checks import CaseSpec
from tfmed.data.nodules import VOI, Places, blend_weights, nodules_of
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Orient, Resample, resample
from tfmed.data.preprocess.geometry import boxed
from tfmed.data.sampling import Stream, flipped, shuffled
from tfmed.data.unbiased import counts_of
from tfmed.engine.abilities import CanPreview
from tfmed.engine.method import Method
from tfmed.errors import DataError
from tfmed.metrics.aggregate import mean_and_std
from tfmed.pictures.images import ImageGrid
from tfmed.pictures.volumes import planes
from tfmed.tasks.generation import unit_window
from tfmed.tasks.synthesis import MoreCases, synthesised
from tfmed.training.painter import hidden

_RADIUS = Stream("nodules.radius", 0x4AD1)


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


class NoduleScans(Method):
    """Base of methods that put nodules into chest CTs or take them out, with what their config says of scans and cubes.

    Cases are of three origins: "nodules" (those of `data.source` that have some), "healthy" and "synthetic".
    """

    case_spec = CaseSpec(images=("ct",), minimum_shape=(8, 8, 8))

    # --- which scans there are ----------------------------------------------------------------------------------------

    @property
    def window(self):
        """HU -> [-1, 1]."""
        return unit_window(self.config.window_hu)

    def preprocessing(self):
        return (*super().preprocessing(), Orient(to="RAS"), Resample(shape=self.config.volume_shape), self.window)

    @functools.cached_property
    def origins(self):
        """Origin ("nodules", "healthy") -> {part: list of Case}, each split alike by patient."""
        data, config = self.settings.data, self.config
        own = MoreCases(source=data.source, root=data.root, options=data.options).cases()
        having = [case for case in own if self.nodules(case)]
        if not having:
            raise DataError(f"no scan of source {data.source} has a nodule; the phantom has data.options.nodules")
        rest = [case for case in own if not self.nodules(case)]
        healthy = config.healthy.cases() if config.healthy else rest
        if not healthy:
            raise DataError("every scan has a nodule; name a source of scans without in model.healthy")
        twice = {case.group for case in having} & {case.group for case in healthy}
        if twice and config.healthy:
            raise DataError(f"patient {min(twice)} is in data.source and in model.healthy; choose other scans or seeds")
        healthy = [case for case in healthy if case.group not in twice]
        return self.split({"nodules": having, "healthy": healthy})

    @functools.cached_property
    def cases(self):
        """{"train", "validation", "test"} -> list of Case; synthetic ones that lie in files train."""
        found = splits.joined(self.origins)
        if self.config.uses_synthetic and not self.config.synthetic_run:
            found["train"] += self.synthetic
        return found

    @functools.cached_property
    def synthetic(self):
        """Synthetic Cases; those of a run are made here, once."""
        config = self.config
        if not config.synthetic_run:
            return config.synthetic.cases()
        folder = self.settings.data.cache_folder() / "synthetic"
        return synthesised(config.synthetic_run, config.synthetic_volumes, folder, self.settings.train.precision)

    # --- what is known of a scan --------------------------------------------------------------------------------------

    @functools.cached_property
    def _known(self):
        return {}  # (what, address of a scan) -> what is known of it

    def _once(self, what, case, make):
        key = (what, case.images["ct"])
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def nodules(self, case):
        """The nodules of a scan."""
        return self._once("nodules", case, lambda: nodules_of(case))

    def volume(self, case):
        """The prepared Volume of a scan, a memory map in [-1, 1]."""
        return self.cache.get(case.images["ct"], series_uid=case.meta.get("series_uid"))

    def places(self, case):
        """Where a scan could have nodules."""
        return self._once("places", case, lambda: Places(case, self.volume(case), self.window, self.settings.seed))

    @functools.cached_property
    def radii(self):
        """Radii in mm of the nodules of the training scans."""
        return np.array([n.radius_mm for case in self.origins["nodules"]["train"] for n in self.nodules(case)])

    @functools.cached_property
    def counts(self):
        """How many nodules each training scan with nodules has."""
        return counts_of([self.nodules(case) for case in self.origins["nodules"]["train"]])

    # --- samples of the injector and the eraser -----------------------------------------------------------------------

    def real_cubes(self):
        """Samples of the injector: cubes around the nodules of training scans."""
        self.prepared("train")
        pairs = [(case, nodule) for case in self.origins["nodules"]["train"] for nodule in self.nodules(case)]
        return self._cubes(lambda index: pairs[shuffled(self.settings.seed, index, len(pairs))])

    def healthy_cubes(self):
        """Samples of the eraser: cubes anywhere in the lungs of healthy training scans; radii as nodules have them."""
        self.prepared("train")
        cases, seed = self.origins["healthy"]["train"], self.settings.seed

        def pick(index):
            case = cases[shuffled(seed, index, len(cases))]
            radius = _RADIUS(seed, index).choice(self.radii)
            return case, self.places(case).draw([radius], index, _RADIUS.number)[0]

        return self._cubes(pick)

    def _cubes(self, pick):
        def read(index):
            case, nodule = pick(index)
            volume = self.volume(case)
            voi, mask, weight = cube_of(self.config, nodule, volume)
            cubes = {"voi": voi.cut(volume.array), "mask": mask, "weight": weight}
            return {name: self._flipped(cube, index)[..., None] for name, cube in cubes.items()}

        spec = {name: ((self.config.voi,) * 3 + (1,), "float32") for name in ("voi", "mask", "weight")}
        return Samples(read, spec, self.settings.train.batch_size)

    def _flipped(self, array, index):
        """Left-right or not, as a sample's index says."""
        return flipped(array, self.settings.seed, index) if self.config.flip else array


class NoduleEditing(NoduleScans, CanPreview):
    """A method with a trained "injector" and "eraser" (see `training.painter`)."""

    @functools.cached_property
    def editor(self):
        """The trained injector and eraser."""
        return Editor(self.config, self.models["injector"], self.models["eraser"])

    def cube_rows(self, run, part):
        """Mean absolute errors in HU inside masks: a real nodule hidden and painted again; a healthy place with a
        nodule pasted in, and after that erased."""
        kinds = {"real nodule, injected again": [], "healthy place, injected": [], "healthy place, then erased": []}
        for case in self.origins["nodules"][part]:
            for nodule in self.nodules(case):
                cube, mask, weight, made = self._painted_nodule(case, nodule)
                kinds["real nodule, injected again"].append(self._error(cube, made, mask))
        for case in self.origins["healthy"][part]:
            place = self.places(case).draw([float(np.median(self.radii))], 0)[0]
            cube, mask, weight, made = self._painted_nodule(case, place)
            kinds["healthy place, injected"].append(self._error(cube, made, mask))
            kinds["healthy place, then erased"].append(self._error(cube, self._erased(made, mask, weight), mask))
        return [{"run": run, "cubes": name, "number": len(values)} | mean_and_std("MAE HU", values)
                for name, values in kinds.items() if values]  # fmt: skip

    def _painted_nodule(self, case, nodule):
        volume = self.volume(case)
        voi, mask, weight = cube_of(self.config, nodule, volume)
        cube = voi.cut(volume.array)
        return cube, mask, weight, cube + weight * (self.editor.painted("inject", cube, mask) - cube)

    def _erased(self, cube, mask, weight):
        return cube + weight * (self.editor.painted("erase", cube, mask) - cube)

    def _error(self, cube, made, mask):
        low, high = self.config.window_hu
        return float((np.abs(cube - made) * mask).sum() / mask.sum() * (high - low) / 2)

    def previews(self):
        """Cubes in three planes: real nodules, hidden, injected again, erased; healthy places, likewise."""
        if "eraser" not in self.models:
            return {}
        part = "test" if self.origins["nodules"]["test"] else "train"
        self.prepared(part)
        rows = {"as scanned": [], "hidden": [], "injected": [], "erased (right: after injecting)": []}
        radius = float(np.quantile(self.radii, 0.75))
        for origin in ("nodules", "healthy"):
            for case in self.origins[origin][part][:2]:
                real = max(self.nodules(case), key=lambda n: n.radius_mm) if origin == "nodules" else None
                cube, mask, weight, made = self._painted_nodule(case, real or self.places(case).draw([radius], 0)[0])
                erased = self._erased(cube if real else made, mask, weight)
                for row, array in zip(rows.values(), (cube, hidden(cube, mask), made, erased), strict=True):
                    row += self._planes(array, self.volume(case))
        low, high = self.config.window_hu
        text = (
            f"Rows: {', '.join(rows)}. Columns: axial, coronal and sagittal planes through two real nodules, and "
            f"through two healthy places. Black is {low:g}, white {high:g} HU."
        )
        return {"cubes": ImageGrid(rows, (-1, 1), text)}

    def _planes(self, cube, volume):
        """Three planes through the middle of a cube, all of one size and with square pixels."""
        spacing = np.array(volume.spacing)
        shape = [round(n) for n in self.config.voi * spacing / spacing.max()]
        small = resample(volume.replace(array=cube), shape)
        starts = [-((self.config.voi - n) // 2) for n in shape]
        square = boxed(small, starts, [self.config.voi] * 3, -1.0)
        return [image for image, _ in planes(square).values()]

    def editing_calls(self):
        """Of an `ExportModule`, on float32 arrays in HU, axes towards RAS; sides of cubes as for the networks.

        "erase": a `cube` with a nodule in its middle -> `cube`; "inject": a `cube` and its `mask` (1 where the nodule
        is to be painted) -> `cube`.
        """
        injector, eraser, window = self.models["injector"], self.models["eraser"], self.window

        def painted(model, shown):
            return {"cube": window.invert(model.generator(shown[None, ..., None], training=False)[0, ..., 0])}

        def erase(cube):
            return painted(eraser, window.graph(cube))

        def inject(cube, mask):
            return painted(injector, hidden(window.graph(cube), mask))

        cube, mask = (tf.TensorSpec((None, None, None), tf.float32, name) for name in ("cube", "mask"))
        return {"erase": (erase, [cube]), "inject": (inject, [cube, mask])}
