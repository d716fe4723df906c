"""BridgeMethod: data, pictures, evaluation and export of pix2pix M->C, C->M and their baselines."""

import functools

import numpy as np

from tfmed.augment.crop import crop_grid
from tfmed.data import checks, sources, splits
from tfmed.data.cache import Cache
from tfmed.data.checks import CaseSpec
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Orient, PercentileScale
from tfmed.data.preprocess.geometry import boxed_array
from tfmed.data.sampling import Stream, shuffled
from tfmed.engine.abilities import Evaluation, Features, Seed
from tfmed.errors import DataError
from tfmed.methods.pix2pix_bridge import evaluation
from tfmed.methods.pix2pix_bridge.config import Config
from tfmed.methods.pix2pix_bridge.cyclegan import CycleGAN
from tfmed.methods.pix2pix_bridge.export import TranslationModule
from tfmed.methods.pix2pix_bridge.model import Translator
from tfmed.methods.pix2pix_bridge.pix2pixhd import Pix2PixHD
from tfmed.ops.warp import warp_array
from tfmed.pictures.images import ImageGrid
from tfmed.tasks.generation import unit_window
from tfmed.tasks.structures import Segmenters, open_segmenters
from tfmed.tasks.translation import Output, TranslationMethod, VolumeTranslator

_CROPS = Stream("pix2pix_bridge.crops", 0x9A12)

_SMALLEST = (1, 8, 8)
_MODELS = {"pix2pix": Translator, "pix2pixhd": Pix2PixHD, "cyclegan": CycleGAN}


class BridgeMethod(TranslationMethod):
    """Translation of slices between MR and CT.

    A case with "mr" and "mrcat" is a pair, on one grid; its "ct", if it has one, only serves evaluation. A case with
    "ct" alone is an unpaired CT.
    """

    Config = Config
    outputs = ("ct", "mr")

    # --- data -------------------------------------------------------------------------------------------------------

    def preprocessing(self):
        """The steps of CTs; an MR's last one is another."""
        return (*super().preprocessing(), Orient(to="RAS"), self.window)

    @property
    def window(self):
        """HU -> [-1, 1]."""
        return unit_window(self.config.window_hu)

    @property
    def mr_scale(self):
        """Values of an MR -> [-1, 1]."""
        return PercentileScale(percentile=self.config.mr_percentile, range=(-1.0, 1.0))

    @functools.cached_property
    def mr_cache(self):
        """Prepared MRs."""
        data = self.settings.data
        return Cache(data.cache_folder(), (*self.preprocessing()[:-1], self.mr_scale), data.cache_dtype)

    @functools.cached_property
    def cases(self):
        """{"train", "validation", "test"} -> list of Case: pairs and unpaired CTs are split alike, each by patient."""
        data = self.settings.data
        found = sources.open(data.source, data.root, **data.options)
        patients = {case.group for case in found if is_pair(case)}
        pairs = [case for case in found if case.group in patients]
        others = [case for case in found if case.group not in patients]
        if not pairs:
            raise DataError("no case has the images 'mr' and 'mrcat'; this method needs pairs of them")
        if self.config.uses_ct and not any(not is_pair(case) for case in found):
            raise DataError("no case has a 'ct' alone; add unpaired CTs, or set model.unpaired_critic=false, coin=0")
        kinds = {"pairs": pairs} | ({"unpaired CTs": others} if others else {})
        return splits.joined(self.split(kinds))

    @property
    def image_names(self):
        return ("mr", "mrcat", "ct")

    def problems(self, case):
        """What keeps a case from being used: a list of lines; a case without any is then in the cache."""
        case_spec = CaseSpec(("mr", "mrcat"), minimum_shape=_SMALLEST, stack=True) if is_pair(case) else CaseSpec(
            ("ct",), minimum_shape=_SMALLEST)  # fmt: skip
        if all(self._cache_of(name).has(case, CaseSpec((name,))) for name in case_spec.images):
            return []
        found = [] if checks.is_phantom(case) else checks.check_case(case, case_spec)
        if found:
            return found
        try:
            for name in case_spec.images:
                self.volume(case, name)
        except DataError as error:
            return [str(error)]
        return []

    def prepared(self, part, progress=lambda items, text: items):
        """The cases of a part of the split, checked, in the cache."""
        found = [line for case in progress(self.cases[part], "Preparing cases") for line in self.problems(case)]
        if found:
            more = f" (and {len(found) - 1} more; 'tfmed prepare' lists them all)" if len(found) > 1 else ""
            raise DataError(found[0] + more)
        return self.cases[part]

    def _cache_of(self, name):
        return self.mr_cache if name == "mr" else self.cache

    def volume(self, case, name):
        """A prepared Volume of a case, a memory map in [-1, 1]."""
        return self._cache_of(name).get(case.images[name], series_uid=case.meta.get("series_uid"))

    def pairs(self, part):
        """The pairs of a part of the split."""
        return [case for case in self.cases[part] if is_pair(case)]

    def unpaired(self, part):
        """The unpaired CTs of a part of the split."""
        return [case for case in self.cases[part] if not is_pair(case)]

    def samples(self):
        """Samples: slices of a pair moved alike, and an independent slice of an unpaired CT."""
        self.prepared("train")
        size, seed, kinds = self.config.size, self.settings.seed, {("mr", "mrcat"): self.pairs("train")}
        if self.config.target == "mr":
            self.mr_white()  # kept with the run, so that translating needs no training data
        if self.config.uses_ct:
            kinds[("ct",)] = self.unpaired("train")
        slices = {names: [(case, z) for case in cases for z in range(self.volume(case, names[0]).shape[0])]
                  for names, cases in kinds.items()}  # fmt: skip

        def read(index):
            sample = {}
            for stream, (names, places) in enumerate(slices.items()):
                case, z = places[shuffled(2 * seed + stream, index, len(places))]
                stacked = np.stack([self.volume(case, name).array[z] for name in names], -1)
                number = int(_CROPS(seed, index, stream).integers(2**31))
                grid = crop_grid(number, stacked.shape[:2], size, self.config.zoom, self.config.flip)
                moved = warp_array(stacked.astype(np.float32), grid, fill=-1.0)
                sample |= {name: moved[..., k : k + 1] for k, name in enumerate(names)}
            return sample

        spec = {name: ((size, size, 1), "float32") for names in kinds for name in names}
        return Samples(read, spec, self.settings.train.batch_size)

    # --- training ---------------------------------------------------------------------------------------------------

    def stages(self):
        """One stage."""
        c = self.config
        yield self.stage("translator", _MODELS[c.architecture], self.samples, c.learning_rate)

    # --- using a trained model ----------------------------------------------------------------------------------------

    def translate(self, volume):
        """The translation `(z, y, x)` float32 in [-1, 1] of a prepared volume."""
        return self.model.translated(np.asarray(volume.array, np.float32)).numpy()

    def mr_white(self):
        """The value that 1 stands for in translated MRs: the median over the MRs of training."""

        def make():
            steps = Cache(self.settings.data.cache_folder(), self.preprocessing()[:-1])
            return float(np.median([self.mr_scale.white(steps.get(case.images["mr"]).array)
                                    for case in self.pairs("train")]))  # fmt: skip

        return self.records.recall("mr_white", make, lambda found: isinstance(found, float)) or make()

    def translator(self):
        """An MR's CT in int16 HU, or a CT's MR in float32 on the scale of the training MRs."""
        c, steps = self.config, self.preprocessing()
        if c.source == "mr":
            steps = (*steps[:-1], self.mr_scale)
        kind = Output(outside=c.window_hu[0]) if c.target == "ct" else Output(hounsfield=False)
        return VolumeTranslator(c.source, steps, {c.target: kind}, self._translated)

    def _translated(self, prepared):
        made = self.model.translated(prepared).numpy()
        if self.config.target == "ct":
            return {"ct": self.window.invert(made)}
        return {"mr": (made + 1) * np.float32(self.mr_white() / 2)}

    def evaluate(self, methods, features: Features = "random:0", seed: Seed = 0, segmenters: Segmenters = None):
        """{"evaluation": a row per run}; see `evaluation.evaluate`."""
        if isinstance(segmenters, tuple):
            segmenters = open_segmenters(segmenters)
        return Evaluation(evaluation.evaluate(self, methods, features, segmenters))

    def previews(self):
        """Middle slices: source, translation, aligned target and their difference; real images of the target."""
        part = "test" if self.pairs("test") else "train"
        self.prepared(part)
        c2m = self.config.direction == "c2m"
        rows = {}
        for case in self.pairs(part)[:6]:
            first, second = ("mrcat", "mr") if c2m else ("mr", "mrcat")
            source, target = (self._middle(case, name) for name in (first, second))
            made = self._made(source)
            shown = {first.upper(): source, f"synthetic {self.config.target.upper()}": made, second.upper(): target,
                     "difference": (made - target) / 2}  # fmt: skip
            for name, image in shown.items():
                rows.setdefault(name, []).append(image)
        for case in self.unpaired(part)[:6]:
            image = self._middle(case, "ct")
            rows.setdefault("CT of others", []).append(image)
            if c2m:
                rows.setdefault("its synthetic MR", []).append(self._made(image))
        size = self.config.size
        rows = {name: [boxed_array(image[None], [0, *((n - size) // 2 for n in image.shape)], [1, size, size], -1.0)[0]
                       [::-1, ::-1] for image in images] for name, images in rows.items()}  # fmt: skip
        low, high = self.config.window_hu
        text = f"Rows: {', '.join(rows)}. CT: black is {low:g}, white {high:g} HU; of a difference, grey is none."
        return {"translation": ImageGrid(rows, (-1, 1), text)}

    def _middle(self, case, name):
        array = self.volume(case, name).array
        return np.asarray(array[array.shape[0] // 2], np.float32)

    def _made(self, image):
        return self.model.translated(image[None]).numpy()[0]

    def export_module(self):
        """A `tf.Module` that translates a volume of any size, values as in files."""
        white = self.mr_white() if self.config.direction == "c2m" else None
        return TranslationModule(self.model, self.window, self.config.mr_percentile, white, self.translator())


def is_pair(case):
    """Whether a case is (or is meant as) a pair of MR and MRCAT."""
    return "mr" in case.images or "mrcat" in case.images
