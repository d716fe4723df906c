"""FSMethod: pairs, crops, windows, predictions, pictures and export of MR-to-CT synthesis."""

import functools

import numpy as np
import tensorflow as tf

from tfmed.augment.paired import VolumePolicy, sample_grid
from tfmed.data.checks import CaseSpec
from tfmed.data.patches import Patches, check_sizes
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Orient, Window, ZScore
from tfmed.data.preprocess.geometry import boxed_array
from tfmed.data.sampling import Stream
from tfmed.engine.abilities import Evaluation, Split
from tfmed.engine.exporting import ExportModule
from tfmed.errors import UserError
from tfmed.io import Volume
from tfmed.methods.fsmr2ct import evaluation
from tfmed.methods.fsmr2ct.config import Config
from tfmed.methods.fsmr2ct.frequencies import PairTargets, in_hu, lowpass
from tfmed.methods.fsmr2ct.model import Synthesizer
from tfmed.ops.sliding_window import sliding_window, window_graph
from tfmed.ops.warp import warp_array
from tfmed.tasks.translation import Output, TranslationMethod, VolumeTranslator

_ROTATIONS = Stream("fsmr2ct.rotations", 0xF5)

MR, CT, LOW = range(3)  # channels of a prepared pair


class FSMethod(TranslationMethod):
    """Synthesis of CTs from MRs; a case has an "mr" and a "ct" on one grid."""

    Config = Config
    case_spec = CaseSpec(("mr", "ct"), minimum_shape=(4, 4, 4), stack=True)
    outputs = ("ct", "low", "high")

    # --- data -------------------------------------------------------------------------------------------------------

    @property
    def geometry(self):
        """What is done to both images alike: the settings' steps, axes towards RAS."""
        return (*super().preprocessing(), Orient(to="RAS"))

    def preprocessing(self):
        """All steps; the last one makes the MR, the CT and its low frequencies of a pair."""
        c = self.config
        targets = PairTargets(window_hu=c.window_hu, range=c.range, lowpass=c.lowpass, size=c.lowpass_size)
        return (*self.geometry, targets)

    @property
    def window(self):
        """HU -> what the network gives."""
        return Window(window_hu=self.config.window_hu, range=self.config.range)

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
        """Voxels (z, y, x) around a crop that its rotation may bring in."""
        c = self.config
        if not c.rotate_degrees or not c.rotate_chance:
            return (0, 0, 0)
        angles = np.deg2rad(np.linspace(0, c.rotate_degrees, 181))
        half = [(side - 1) / 2 for side in c.patch[1:]]
        reach = [np.max(a * np.cos(angles) + b * np.sin(angles)) - a for a, b in (half, half[::-1])]
        return (0, *(int(np.ceil(more)) for more in reach))

    def samples(self):
        """Samples `mr`, `ct` and `high` `(*patch, 1)`: a crop of a pair, rotated about z, MR and CT alike."""
        c, seed = self.config, self.settings.seed
        patches = Patches(self.open, self.prepared("train"), c.patch, seed, margin=self.margin)

        def read(index):
            image, _, case = patches(index)
            image = self._rotated(np.asarray(image, np.float32), self.open(case).affine, index)
            low = image[..., LOW]
            if c.domain == "crop":
                low = lowpass(image[..., CT], c.lowpass, c.lowpass_size)
            parts = {"mr": image[..., MR], "ct": image[..., CT], "high": image[..., CT] - low}
            return {name: part[..., None] for name, part in parts.items()}

        spec = {name: ((*c.patch, 1), "float32") for name in ("mr", "ct", "high")}
        return Samples(read, spec, self.settings.train.batch_size)

    def _rotated(self, image, affine, index):
        """A crop without its margin; as often as the settings say rotated first."""
        c = self.config
        draw = _ROTATIONS(self.settings.seed, index)
        if not any(self.margin) or draw.random() >= c.rotate_chance:
            return boxed_array(image, self.margin, c.patch)
        spacing = tuple(np.linalg.norm(affine[:3, :3], axis=0)[::-1].tolist())
        turn = ((-c.rotate_degrees, c.rotate_degrees), (0, 0), (0, 0))
        policy = VolumePolicy(flip=None, shift=None, rotate=turn, spacing=spacing)
        grid = sample_grid(int(draw.integers(2**31)), c.patch, policy) + np.float32(self.margin)
        return warp_array(image, grid, order=1, fill="edge")

    # --- training ---------------------------------------------------------------------------------------------------

    def stages(self):
        """One stage, of one phase or two; see `Synthesizer`."""
        make = functools.partial(Synthesizer, steps=self.settings.train.steps)
        yield self.stage("synthesis", make, self.samples, self.config.learning_rate, validation=self.validation)

    def validated(self):
        """Names of what `validation` gives."""
        return evaluation.SCORES

    def validation(self, model):
        """{"mae_hu", "psnr_db", "ssim", ...}: means over the validation cases."""
        cases = self.cases["validation"]
        pairs = [self.open(case) for case in cases]
        rows = [evaluation.scores(self, pair, self.synthesise(pair.image)) for pair in pairs]
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}

    # --- using a trained model --------------------------------------------------------------------------------------

    @property
    def windows(self):
        """How windows stand and are blended."""
        c = self.config
        return {"window": c.patch, "overlap": c.overlap, "blend": c.blend, "pad": "edge"}

    def synthesise(self, image):
        """{"ct": HU, and with frequency supervision "low", "high": HU}, float32 `(z, y, x)`.

        Args:
            image: a prepared MR, `(z, y, x, channel)`; only the first channel is looked at.
        """
        network = self.model.generator
        answer = self.compiled(network, lambda windows: network(windows, training=False))
        parts = sliding_window(answer, np.asarray(image)[..., MR : MR + 1], **self.windows)
        return in_hu(parts, self.window, self.config.clip)

    def translator(self):
        """MR -> "ct", and with frequency supervision "low" and "high", on the MR's own grid, int16 HU."""
        air = Output(outside=self.config.window_hu[0])
        kinds = {"ct": air} | ({"low": air, "high": Output()} if self.config.head == "freq" else {})
        steps = (*self.geometry, ZScore())
        return VolumeTranslator("mr", steps, kinds, lambda mr: self.synthesise(mr[..., None]), usual=("ct",))

    def predict(self, words, out, outputs=None):
        """Write `<name>_ct.nii.gz`, and if asked for `_low` and `_high`, one path at a time."""
        if self.config.head != "freq" and set(outputs or ("ct",)) != {"ct"}:
            raise UserError(f"--outputs: a network with head {self.config.head} gives ct alone; leave --outputs out")
        return super().predict(words, out, outputs)

    def evaluate(self, methods, part: Split = "test"):
        """{"evaluation": a row per run, "cases": a row per run and case}; see `evaluation.evaluate`."""
        return Evaluation(*evaluation.evaluate(self, methods, part))

    def previews(self):
        """A test case (without any: of validation or training): MR, CTs, their difference; a joint histogram."""
        part = next(part for part in ("test", "validation", "train") if self.cases[part])
        self.prepared(part)
        case = self.cases[part][0]
        return evaluation.pictures(self, {case.id: self.synthesise(self.open(case).image)}, [case])

    def as_volume(self, case, array):
        """A Volume on the grid of a prepared case."""
        return Volume(np.asarray(array, np.float32), self.open(case).affine)

    def export_module(self):
        """Of an MR `image` `(z, y, x)` float32, as it is after the settings' preprocessing, axes towards RAS, it gives
        `ct` in HU, and with frequency supervision by "frequencies" `low` and `high`."""
        network, window, clip = self.model.generator, self.window, self.config.clip
        blended = window_graph(lambda windows: network(windows, training=False), **self.windows)

        def made(image):
            return in_hu(blended(ZScore().graph(image)[..., None]), window, clip)

        takes = [tf.TensorSpec((None, None, None), tf.float32, "image")]
        calls = {"serving_default": (lambda image: {"ct": made(image)["ct"]}, takes)}
        if self.config.head == "freq":
            calls["frequencies"] = (lambda image: {name: made(image)[name] for name in ("low", "high")}, takes)
        of = {name: "serving_default" if name == "ct" else "frequencies" for name in self.translator().outputs}
        return ExportModule([self.model], calls, self.translator().note(of, inside=1))
