"""NoduleScans: the scans of all sources, their nodules, and the samples that each stage is trained on."""

import functools

import numpy as np

from tfmed.data import splits
from tfmed.data.checks import CaseSpec
from tfmed.data.nodules import nodules_of
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Orient, Resample, Window
from tfmed.data.sampling import Stream, flipped, shuffled
from tfmed.engine.method import Method
from tfmed.engine.terminal import progress
from tfmed.errors import DataError
from tfmed.methods.ctsgan_nodules import protocol
from tfmed.methods.ctsgan_nodules.config import Config, Scans
from tfmed.methods.ctsgan_nodules.editing import Places, cube_of
from tfmed.methods.ctsgan_nodules.synthesis import synthesised

_RADIUS, _COUNT = Stream("ctsgan_nodules.radius", 0x4AD1), Stream("ctsgan_nodules.count", 0xC047)
_SYNTHETIC = 0x5F7  # tells the places in synthetic scans from those in real ones


class NoduleScans(Method):
    """The data side of the experiment.

    Cases are of three origins: "nodules" (those of `data.source` that have some), "healthy" and "synthetic".
    """

    Config = Config
    case_spec = CaseSpec(images=("ct",), minimum_shape=(8, 8, 8))

    # --- which scans there are ----------------------------------------------------------------------------------------

    @property
    def window(self):
        """HU -> [-1, 1]."""
        return Window(window_hu=self.config.window_hu, range=(-1.0, 1.0))

    def preprocessing(self):
        return (*super().preprocessing(), Orient(to="RAS"), Resample(shape=self.config.volume_shape), self.window)

    @functools.cached_property
    def origins(self):
        """Origin ("nodules", "healthy") -> {part: list of Case}, each split alike by patient."""
        data, config = self.settings.data, self.config
        own = Scans(source=data.source, root=data.root, options=data.options).cases()
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
        if "synthetic" in self.config.regimes and not self.config.synthetic_run:
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
        return protocol.counts_of([self.nodules(case) for case in self.origins["nodules"]["train"]])

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

    # --- samples of the classifier ------------------------------------------------------------------------------------

    def scans(self, part):
        """The unbiased `Scan`s of a part of the split."""
        return protocol.unbiased(*(self.origins[name][part] for name in ("nodules", "healthy")), self.settings.seed)

    def synthetic_scans(self, seed):
        """Synthetic `Scan`s: half of them get nodules."""
        return protocol.mixed(self.synthetic, "synthetic", self.settings.seed + 7919 * (seed + 1))

    def edits(self, editor, scans, size_mm, seed):
        """The patches of scans, {case id: list}; injected nodules are `size_mm` in diameter.

        Args:
            editor: the Editor.
            scans: list of Scan.
            seed: of the number and places of nodules in synthetic scans; real scans' are the same for all seeds.
        """
        found = {}
        for scan in progress(scans, f"Editing scans, {size_mm:g} mm"):
            key = _SYNTHETIC + seed if scan.origin == "synthetic" else 0
            found[scan.case.id] = self._patches(editor, scan, size_mm, key)
        return found

    def _patches(self, editor, scan, size_mm, key):
        case, volume = scan.case, self.volume(scan.case)
        if scan.edit == protocol.ERASE:
            return self._once("erased", case, lambda: editor.patches("erase", volume, self.nodules(case)))
        if scan.origin == "synthetic" and self._told(case):
            raise DataError(f"{case.id}: synthetic scans must have no nodules; set nodules of the source to 0")
        if scan.edit == protocol.KEEP:
            return []
        places = self.places(case)
        count = int(_COUNT(self.settings.seed, places.key, key).choice(self.counts))
        return editor.patches("inject", volume, places.draw([size_mm / 2] * count, key, _COUNT.number))

    def _told(self, case):
        try:
            return self.nodules(case)
        except DataError:  # a folder of volumes
            return []

    def shown(self, scan, patches):
        """The volume of a scan as the classifier is shown it: edited, `(z, y, x, 1)` float32 in [0, 1]."""
        array = np.array(self.volume(scan.case).array, np.float32)
        for patch in patches:
            patch.paste(array)
        return (0.5 * array + 0.5)[..., None]

    def volumes(self, scans, edits, seed):
        """Samples of the classifier: volumes with and without nodules in turn."""

        def read(index):
            scan = protocol.deal(scans, seed, index)
            volume = self.shown(scan, edits[scan.case.id])[..., 0]
            return {"volume": self._flipped(volume, index)[..., None], "label": np.float32(scan.label)}

        spec = {"volume": ((*self.config.volume_shape, 1), "float32"), "label": ((), "float32")}
        return Samples(read, spec, self.config.classifier_batch)
