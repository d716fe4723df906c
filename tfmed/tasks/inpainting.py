"""What methods share that fill holes of pictures: data, masks, scores, files, pictures."""

import functools

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, model_validator

from tfmed.augment import masks
from tfmed.config import Interval, MethodConfig, Voxels
from tfmed.data.checks import CaseSpec
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Window
from tfmed.data.sampling import Stream, shuffled
from tfmed.engine.abilities import (
    CanAlter,
    CanEvaluate,
    CanExport,
    CanPredict,
    CanPreview,
    CanView,
    Evaluation,
    Seed,
    Split,
)
from tfmed.engine.exporting import ExportModule
from tfmed.engine.method import Method
from tfmed.errors import DataError
from tfmed.losses.perceptual import gram
from tfmed.metrics.aggregate import mean_and_std
from tfmed.metrics.image_quality import patch_scores
from tfmed.pictures.images import ImageGrid
from tfmed.tasks import completion, needles, views
from tfmed.tasks.generation import sized_picture

_MASKS, _SCORED = Stream("inpainting.masks"), Stream("inpainting.scored_masks")
_ALTERED = Stream("inpainting.altered_masks")
_SHOWN = 4  # cases of a picture
_MOVING = ("orient", "resample", "crop", "letterbox", "shrink", "crop_foreground")  # steps that leave values alone
Strokes = tuple[int, int]


class InpaintingConfig(MethodConfig):
    """Pictures with holes; lengths are pixels of the prepared picture."""

    image: str = "image"  # of a case: the picture that is learnt and compared with
    shown: str | None = None  # of a case: the picture whose holes are filled in evaluation, where it is another
    holes: str | None = None  # of a case: a mask of what is missing, for evaluation; without one masks are drawn
    size: tuple[Voxels, Voxels] = (256, 256)  # pixels (y, x)
    grey: Interval = (0.0, 255.0)  # values that are 0 and 1 for the network
    strokes: Strokes = (35, 69)  # of a drawn mask: how many, least and most
    stroke_width: Strokes = (5, 29)  # pixels
    stroke_length: Strokes = (0, 29)  # pixels
    strokes_joined: bool = False  # each begins where the one before ended, instead of all at one point
    missing: tuple[float, float] = (0.002, 0.5)  # least and largest share of a picture that a drawn mask takes away
    fill: float = Field(1.0, ge=0, le=1)  # of missing pixels, as the network sees them
    completions: int = Field(10, ge=1, le=1000)  # of a picture, where it is scored or predicted
    margin: int = Field(5, ge=0, le=1000)  # pixels that the scored box is wider than the holes
    telea_radius: float = Field(3.0, gt=0, le=100)  # pixels; of the fast-marching baseline
    needle: needles.NeedleTracking | None = None  # with it evaluation also looks for needles; see `tasks.needles`

    @model_validator(mode="after")
    def _ranges(self):
        least = {"strokes": (1, 500), "stroke_width": (1, 512), "stroke_length": (0, 512)}
        for name, (lowest, highest) in least.items():
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                raise ValueError(f"{name}: {low}, {high}: give two numbers from {lowest} to {highest}, the least first")
        low, high = self.missing
        if not 0 <= low < high < 1:
            raise ValueError(f"missing: {low:g}, {high:g}: give two shares from 0 to below 1, the least first")
        return self


class InpaintingMethod(Method, CanPredict, CanPreview, CanView, CanEvaluate, CanExport, CanAlter):
    """Base of methods that fill holes of pictures; its config is an `InpaintingConfig`.

    A subclass gives `stages` and `complete`, and says by `multiple` what sides its network takes, by `seen_stays`
    whether it leaves seen pixels as they are, and by `texture` which features textures are compared by.
    """

    Config = InpaintingConfig
    outputs = completion.OUTPUTS
    multiple = 1
    seen_stays = True

    @classmethod
    def check(cls, settings):
        for step in settings.data.preprocess:
            if step.step not in _MOVING:
                raise ValueError(
                    f"data.preprocess: step {step.step} changes values, which completions are given back in; take it "
                    "out, and set model.grey to the values that are black and white"
                )

    @property
    def case_spec(self):
        """One picture per case, and those that evaluation asks for."""
        c = self.config
        names = dict.fromkeys(filter(None, (c.image, c.shown, c.holes, c.needle and c.needle.image)))
        return CaseSpec(tuple(names), "none", minimum_shape=(1, 8, 8), stack=True)

    # --- data ---------------------------------------------------------------------------------------------------------

    @property
    def scale(self):
        """Values of pictures -> [0, 1]."""
        return Window(window_hu=self.config.grey, range=(0.0, 1.0))

    def preprocessing(self):
        return (*super().preprocessing(), self.scale)

    def picture(self, case, name=None):
        """A case's prepared image of a name, by default the one that is learnt; `(y, x, 1)` float32 in [0, 1]."""
        found = np.asarray(self.cache.stack(case, self.case_spec).image, np.float32)
        found = sized_picture(case, found, self.config.size)
        at = self.case_spec.images.index(name or self.config.image)
        return found[..., at : at + 1]

    def spacing(self, case):
        """Size of a prepared picture's pixels in mm, (y, x)."""
        return np.linalg.norm(self.cache.stack(case, self.case_spec).affine[:3, :3], axis=0)[1::-1]

    def drawn(self, random):
        """A mask `(y, x, 1)` float32, 1 where something is missing.

        Raises:
            DataError: masks as the settings want them do not cover as much as they say.
        """
        c = self.config
        how = (c.strokes, c.stroke_width, c.stroke_length, c.strokes_joined, c.missing)
        try:
            return masks.free_form(random, c.size, *how)[..., None].astype(np.float32)
        except ValueError as error:
            raise DataError(f"model.missing: {error}") from None

    def samples(self):
        """Samples `image`, `mask` (1 missing) and `depth` (pixels to what is seen), `(y, x, 1)` float32 each."""
        cases, seed = self.prepared("train"), self.settings.seed

        def read(index):
            image = self.picture(cases[shuffled(seed, index, len(cases))])
            mask = self.drawn(_MASKS(seed, index))
            return {"image": image, "mask": mask, "depth": masks.depth_map(mask[..., 0])[..., None]}

        spec = {name: ((*self.config.size, 1), "float32") for name in ("image", "mask", "depth")}
        return Samples(read, spec, self.settings.train.batch_size)

    def scored(self, part, seed=0):
        """[(case, what was there, what is shown, mask)] of a part, `(y, x)` each; a case's drawn mask is the seed's.

        Raises:
            DataError: a case's own mask marks nothing or all.
        """
        found, c = [], self.config
        for number, case in enumerate(self.prepared(part)):
            if c.holes is None:
                mask = self.drawn(_SCORED(seed, number))[..., 0]
            else:
                mask = (self.picture(case, c.holes)[..., 0] > 0).astype(np.float32)
                if mask.min() == mask.max():
                    what = "every" if mask.max() else "no"
                    raise DataError(f"{case.id}: image {c.holes!r} marks {what} pixel as missing; remove the case")
            found.append((case, self.picture(case)[..., 0], self.picture(case, c.shown)[..., 0], mask))
        return found

    def validation_batches(self, size):
        """Batches of the validation pictures, as of `samples`, each with a mask that stays the same; a list."""
        items = self.scored("validation")
        found = []
        for first in range(0, len(items), size):
            _, truth, _, holes = zip(*items[first : first + size], strict=True)
            arrays = {"image": truth, "mask": holes, "depth": [masks.depth_map(mask) for mask in holes]}
            batch = {name: tf.constant(np.stack(values)[..., None], tf.float32) for name, values in arrays.items()}
            found.append(batch | {"index": tf.range(first, first + len(truth), dtype=tf.int64)})
        return found

    # --- using a trained model ----------------------------------------------------------------------------------------

    def complete(self, images, masks, count, seed=0):
        """Completions `(n, count, y, x, 1)`, a tensor in [0, 1]; the k-th is a function of (seed, k).

        Args:
            images, masks: tensors `(n, y, x, 1)`, the images in [0, 1]; masks are 1 where something is missing.
            count: int32 scalar.
            seed: int64 scalar.
        """
        raise NotImplementedError

    def filled(self, image, mask, count=None, seed=0):
        """Completions `(count, y, x)` float32 of an image `(y, x)` in [0, 1], an array; compiled once."""
        plane = tf.TensorSpec((1, None, None, 1), tf.float32)
        takes = [plane, plane, tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.int64)]
        call = self.compiled("complete", self.network, self.complete, takes)
        each = [tf.constant(np.asarray(one, np.float32)[None, ..., None]) for one in (image, mask)]
        count = count or self.config.completions
        return call(*each, tf.constant(count, tf.int32), tf.constant(seed, tf.int64))[0, ..., 0].numpy()

    @property
    def network(self) -> keras.Model:
        """What `complete` computes with."""
        return self.model

    def completer(self, count=None, seed=0):
        """The `Completer` of the trained model, by default of as many completions as the settings say."""

        def compute(image, mask):
            return self.scale.invert(self.filled(self.scale.graph(image).numpy(), mask, count, seed))

        how = (self.preprocessing()[:-1], self.config.grey, self.multiple)
        return completion.Completer(*how, compute, self.seen_stays)

    def predict(self, words, out, outputs=None):
        """Write `<name>_<output>` of each input, one path at a time; see `Completer.predict`."""
        return self.completer().predict(words, out, outputs)

    def altered(self, image, seed):
        """The Volume with a drawn hole in each slice, filled."""
        planes, completer = [], self.completer(1, seed)
        for number, plane in enumerate(image.array):
            hole = resized(self.drawn(_ALTERED(seed, number))[..., 0], plane.shape)
            one = image.replace(array=plane[None])
            planes.append(completer(one, one.replace(array=hole[None]))[0])
        return image.replace(array=np.stack(planes))

    def texture(self):
        """A `FeatureNetwork` by whose layers' Gram matrices textures are compared, or None."""
        return None

    def evaluate(self, methods, part: Split = "test", seed: Seed = 0):
        """{"evaluation": a row per run and baseline, "cases": a row of each per picture}.

        Columns, of the box around the holes: L1, PSNR (dB) and SSIM of the first completion, their means over all
        completions, those of the best one by PSNR, PSNR of the mean completion, the spread (standard deviation of
        completions over the missing pixels), and how far the texture is from the truth's (difference of Gram matrices
        over the truth's, mean over layers, named after the network). With `model.needle` also {"needles": how far found
        needles are from labelled ones, before and after their unseen stretches are filled, "needle cases"}.

        Args:
            methods: name of the run -> its Method, this one among them; all see this one's pictures and masks.
            part: of the split.
            seed: of masks and completions.
        """
        items, cases = self.scored(part, seed), []
        shown: dict[str, tuple] = {}
        if not items:
            raise DataError(f"no {part} picture to score by; set data.split.{part} above 0")
        for case, truth, seen, mask in items:
            made = {run: method.filled(seen, mask, seed=seed) for run, method in methods.items()}
            made |= {name: fill(seen, mask)[None] for name, fill in self.baselines().items()}
            for run, found in made.items():
                cases.append({"run": run, "case": case.id} | self._scores(found, truth, mask))
            if len(shown) < _SHOWN:
                shown[case.id] = truth, mask, made[next(iter(methods))]
        table = [{"run": run, "pictures": len(items)} | summary([row for row in cases if row["run"] == run])
                 for run in made]  # fmt: skip
        tables = {"evaluation": table, "cases": cases} | self.tracked(methods, part, seed)
        return Evaluation(tables, {"completed": _grid(shown)})

    def baselines(self):
        """{name: function of (image, mask) `(y, x)` -> the image with filled holes} of what is not trained."""
        return {"Telea": functools.partial(telea, radius=self.config.telea_radius), "mean": mean_fill}

    def tracked(self, methods, part, seed=0):
        """Tables of `tasks.needles` of the shown pictures, as they are and filled by methods and baselines; {} without
        `model.needle`."""
        if self.config.needle is None:
            return {}
        fills = {run: lambda image, mask, method=method: method.filled(image, mask, 1, seed)[0]
                 for run, method in methods.items()}  # fmt: skip
        pictures = ((case.id, self.picture(case, self.config.shown)[..., 0],
                     self.picture(case, self.config.needle.image)[..., 0] > 0, self.spacing(case))
                    for case in self.prepared(part))  # fmt: skip
        return needles.tracked(self.config.needle, pictures, fills | self.baselines(), seed)

    def _scores(self, found, truth, mask):
        """Columns of a case's completions `(n, y, x)`."""
        each = [patch_scores(one, truth, mask, self.config.margin) for one in found]
        best = max(each, key=lambda scores: scores["PSNR"])
        row = dict(each[0])
        row |= {f"{name}, mean of all": float(np.mean([scores[name] for scores in each])) for name in best}
        row |= {f"{name}, best": value for name, value in best.items()}
        row["PSNR, mean image"] = patch_scores(found.mean(0), truth, mask, self.config.margin)["PSNR"]
        row["spread"] = float(found.std(0)[mask > 0].mean())
        if self._textures:
            name, grams = self._textures
            pairs = zip(grams(found[0]), grams(truth), strict=True)
            row[name] = float(np.mean([np.linalg.norm(one - other) / np.linalg.norm(other) for one, other in pairs]))
        return row

    @functools.cached_property
    def _textures(self):
        """(name of the column, function of `(y, x)` -> its Gram matrices), or None."""
        network = self.texture()
        if network is None or not network.layers:
            return None

        def grams(image):
            found = network(tf.constant(image[None, ..., None]))
            return [gram(found[name]).numpy()[0] for name in network.layers]

        return f"texture ({network.name})", grams

    def previews(self):
        """Pictures with holes, some completions, their mean and spread."""
        part = next((part for part in ("validation", "test", "train") if self.cases[part]), "train")
        shown = {}
        for case, truth, seen, mask in self.scored(part)[:_SHOWN]:
            shown[case.id] = truth, mask, self.filled(seen, mask, seed=self.settings.seed)
        return {"completed": _grid(shown)}

    def views(self, methods, part="test"):
        """Each picture with its hole, and completions; see `tasks.views`."""
        return views.completed(methods, part)

    def export_module(self):
        """Its `complete` takes `image` `(y, x)` float32 in the pictures' values, `mask` `(y, x)` float32 (1 missing),
        `count` and `seed`, and gives `completions` `(count, y, x)` float32 in these values. Sides are multiples of
        `multiple`."""
        scale, completer = self.scale, self.completer()

        def complete(image, mask, count, seed):
            found = self.complete(scale.graph(image)[None, ..., None], mask[None, ..., None], count, seed)
            return {"completions": scale.invert(found[0, ..., 0])}

        plane = (None, None)
        takes = [tf.TensorSpec(plane, tf.float32, "image"), tf.TensorSpec(plane, tf.float32, "mask"),
                 tf.TensorSpec((), tf.int32, "count"), tf.TensorSpec((), tf.int64, "seed")]  # fmt: skip
        return ExportModule([self.network], {"complete": (complete, takes)}, completer.note(self.config.completions))


def summary(rows):
    """{"<column> mean", "<column> std"} of the scores of cases."""
    names = [name for name in rows[0] if name not in ("run", "case")]
    return {key: value for name in names for key, value in mean_and_std(name, [row[name] for row in rows]).items()}


def resized(mask, shape):
    """A mask `(y, x)` of other pixels, each that of the place it lies at."""
    rows, columns = ((np.arange(side) * had) // side for side, had in zip(shape, mask.shape, strict=True))
    return mask[rows[:, None], columns]


def telea(image, mask, radius=3.0):
    """An image `(y, x)` in [0, 1] whose holes are filled by fast marching (Telea 2004), of 256 grey values."""
    import cv2

    grey = np.rint(255 * np.asarray(image)).astype(np.uint8)
    found = cv2.inpaint(grey, (np.asarray(mask) > 0).astype(np.uint8), radius, cv2.INPAINT_TELEA)
    return np.where(np.asarray(mask) > 0, found.astype(np.float32) / 255, image).astype(np.float32)


def mean_fill(image, mask):
    """An image `(y, x)` with the mean of its seen pixels in its holes."""
    seen = np.asarray(mask) == 0
    return np.where(seen, image, np.asarray(image)[seen].mean()).astype(np.float32)


def _grid(items):
    rows, window = completion.rows(items, (0.0, 1.0))
    return ImageGrid(rows, window, completion.CAPTION)
