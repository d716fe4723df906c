"""What methods share that translate slices between MR and CT: pairs and unpaired CTs, their samples, scales, pictures.

A case with the images of `aligned` is a pair, on one grid; its "ct", if it has one, only serves evaluation. A case with
"ct" alone is an unpaired CT.
"""

import functools

import numpy as np
import tensorflow as tf

from tfmed.augment.crop import crop_grid
from tfmed.data import checks, sources, splits
from tfmed.data.cache import Cache
from tfmed.data.checks import CaseSpec
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Orient, PercentileScale
from tfmed.data.preprocess.geometry import boxed_array
from tfmed.data.sampling import Stream, shuffled
from tfmed.engine.abilities import Evaluation, Features, Seed
from tfmed.engine.exporting import ExportModule
from tfmed.errors import DataError
from tfmed.ops.warp import warp_array
from tfmed.pictures.images import ImageGrid
from tfmed.tasks import slice_scores
from tfmed.tasks.generation import unit_window
from tfmed.tasks.structures import Segmenters, open_segmenters
from tfmed.tasks.translation import Output, TranslationMethod, VolumeTranslator

_CROPS = Stream("slice_translation.crops", 0x9A12)
_SMALLEST = (1, 8, 8)
_SHOWN = 6  # cases of a picture


class SliceTranslationMethod(TranslationMethod):
    """Base of methods that translate slices between MR and CT.

    Its config says `window_hu`, `mr_percentile`, `size`, `zoom` and `flip`, whether training `uses_ct` that are
    unpaired, and what is the `source` and the `target`, "mr" or "ct"; its model has `translated`.
    """

    outputs = ("ct", "mr")
    aligned = ("mr", "mrcat")  # the images of a pair
    without_cts = ""  # what else than adding unpaired CTs helps where there are none

    # --- data ---------------------------------------------------------------------------------------------------------

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
        patients = {case.group for case in found if self.is_pair(case)}
        pairs = [case for case in found if case.group in patients]
        others = [case for case in found if case.group not in patients]
        if not pairs:
            names = " and ".join(map(repr, self.aligned))
            raise DataError(f"no case has the images {names}; this method needs pairs of them")
        if self.config.uses_ct and not any(not self.is_pair(case) for case in found):
            raise DataError(f"no case has a 'ct' alone; add unpaired CTs{self.without_cts}")
        kinds = {"pairs": pairs} | ({"unpaired CTs": others} if others else {})
        return splits.joined(self.split(kinds))

    def is_pair(self, case):
        """Whether a case is (or is meant as) a pair."""
        return any(name in case.images for name in self.aligned)

    @property
    def image_names(self):
        return (*self.aligned, "ct")

    def problems(self, case):
        """What keeps a case from being used: a list of lines; a case without any is then in the cache."""
        names = self.aligned if self.is_pair(case) else ("ct",)
        if all(self._cache_of(name).has(case, CaseSpec((name,))) for name in names):
            return []
        case_spec = CaseSpec(names, minimum_shape=_SMALLEST, stack=len(names) > 1)
        found = [] if checks.is_phantom(case) else checks.check_case(case, case_spec)
        if found:
            return found
        try:
            for name in names:
                self.volume(case, name)
        except DataError as error:
            return [str(error)]
        return []

    def prepared(self, part, progress=lambda items, text: items):
        """The cases of a part of the split, checked, in the cache."""
        cases = progress(self.cases[part], "Preparing cases")
        checks.refuse([line for case in cases for line in self.problems(case)])
        return self.cases[part]

    def _cache_of(self, name):
        return self.mr_cache if name == "mr" else self.cache

    def volume(self, case, name):
        """A prepared Volume of a case, a memory map in [-1, 1]."""
        return self._cache_of(name).get(case.images[name], series_uid=case.meta.get("series_uid"))

    def in_hu(self, volume):
        """A prepared CT Volume in HU."""
        return volume.replace(array=self.window.invert(volume.array))

    def pairs(self, part):
        """The pairs of a part of the split."""
        return [case for case in self.cases[part] if self.is_pair(case)]

    def unpaired(self, part):
        """The unpaired CTs of a part of the split."""
        return [case for case in self.cases[part] if not self.is_pair(case)]

    def samples(self):
        """Samples: slices of a pair moved alike, and an independent slice of an unpaired CT."""
        self.prepared("train")
        size, seed, kinds = self.config.size, self.settings.seed, {self.aligned: self.pairs("train")}
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

    @property
    def direction(self):
        """(name of the images that are translated, name of those of the other modality that are aligned with them)."""
        return self.aligned if self.config.source == "mr" else self.aligned[::-1]

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
        """{"evaluation": a row per run}; see `slice_scores.evaluate`."""
        if isinstance(segmenters, tuple):
            segmenters = open_segmenters(segmenters)
        return Evaluation(slice_scores.evaluate(self, methods, features, segmenters))

    def export_module(self):
        """Of `image` `(z, y, x)` float32, axes towards RAS, in HU or the MR's values, it gives `ct` or `mr`."""
        model, window, scale, translator = self.model, self.window, self.mr_scale, self.translator()
        white = self.mr_white() if self.config.target == "mr" else None

        def to_mr(image):
            return {"mr": (model.translated(window.graph(image)) + 1.0) * (white / 2.0)}

        def to_ct(image):
            scaled = tf.clip_by_value(image / _bright_percentile(image, scale.percentile), 0.0, 1.0) * 2.0 - 1.0
            return {"ct": window.invert(model.translated(scaled))}

        call = (to_ct if white is None else to_mr, [tf.TensorSpec((None, None, None), tf.float32, "image")])
        note = translator.note(dict.fromkeys(translator.outputs, "serving_default"), inside=1)
        # No critics, and no images that an image pool keeps.
        return ExportModule([model.generator], {"serving_default": call}, note)

    def previews(self):
        """Middle slices: source, translation, aligned target and their difference; real images of the target."""
        part = "test" if self.pairs("test") else "train"
        self.prepared(part)
        to_mr = self.config.target == "mr"
        first, second = reversed(self.aligned) if to_mr else self.aligned
        rows = {}
        for case in self.pairs(part)[:_SHOWN]:
            source, target = (self._middle(case, name) for name in (first, second))
            made = self._made(source)
            shown = {first.upper(): source, f"synthetic {self.config.target.upper()}": made, second.upper(): target,
                     "difference": (made - target) / 2}  # fmt: skip
            for name, image in shown.items():
                rows.setdefault(name, []).append(image)
        for case in self.unpaired(part)[:_SHOWN]:
            image = self._middle(case, "ct")
            rows.setdefault("CT of others", []).append(image)
            if to_mr:
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


def _bright_percentile(image, percentile):
    """As numpy's, of a tensor: linear between the two nearest of the sorted voxels above 0."""
    bright = tf.sort(tf.boolean_mask(image, image > 0))
    last = tf.size(bright) - 1
    place = tf.cast(last, tf.float64) * (percentile / 100.0)
    below = tf.cast(tf.floor(place), tf.int32)
    first, second = bright[below], bright[tf.minimum(below + 1, last)]
    return first + (second - first) * tf.cast(place - tf.floor(place), tf.float32)
