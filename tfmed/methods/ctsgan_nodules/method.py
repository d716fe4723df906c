"""NodulesMethod: stages, the table and the bar chart, pictures and export."""

import functools

import numpy as np
import tensorflow as tf

from tfmed.data.preprocess import resample
from tfmed.data.preprocess.geometry import boxed
from tfmed.engine.abilities import CanEvaluate, CanExport, CanPreview, Evaluation, Split
from tfmed.engine.exporting import ExportModule
from tfmed.engine.method import Stage
from tfmed.methods.ctsgan_nodules.editing import Editor, cube_of
from tfmed.methods.ctsgan_nodules.model import Classifier, Eraser, Injector, hidden
from tfmed.methods.ctsgan_nodules.scans import NoduleScans
from tfmed.metrics.aggregate import mean_and_std
from tfmed.pictures.charts import Bars
from tfmed.pictures.images import ImageGrid
from tfmed.pictures.volumes import planes

_TITLES = {"real": "real only", "synthetic": "synthetic only", "finetuned": "synthetic, then real"}


class NodulesMethod(NoduleScans, CanPreview, CanEvaluate, CanExport):
    """Injector, eraser, then a classifier for each size of nodules, seed and regime."""

    # --- training -----------------------------------------------------------------------------------------------------

    def stages(self):
        """ "injector", "eraser", and "<regime>-<size>mm-<seed>" for every classifier."""
        config = self.config
        yield self._painter("injector", Injector, self.real_cubes)
        injector = self.models["injector"]

        def inject(cubes):
            return injector.generator(cubes, training=False)

        yield self._painter("eraser", Eraser, self.healthy_cubes, inject=inject)
        for size in config.nodule_sizes_mm:
            for seed in range(config.seeds):
                for regime in config.regimes:
                    yield self._classifier(regime, size, seed)

    def _painter(self, name, kind, samples, **options):
        return self.stage(name, kind, samples, self.config.learning_rate, **options)

    def _classifier(self, regime, size, seed):
        config = self.config
        before = self.models[stage_name("synthetic", size, seed)] if regime == "finetuned" else None

        def model():
            start = before.network.get_weights() if before else None
            return Classifier(config, self.settings.seed + seed, start, per_step=config.classifier_batch)

        def samples():
            self.prepared("train")
            scans = self.synthetic_scans(seed) if regime == "synthetic" else self.scans("train")
            return self.volumes(scans, self.edits(self.editor, scans, size, seed), self.settings.seed + seed)

        steps = config.finetune_steps if regime == "finetuned" and config.finetune_steps else config.classifier_steps
        return Stage(stage_name(regime, size, seed), model, samples, steps, lambda m: self.validate(m, size))

    @functools.cached_property
    def editor(self):
        """The trained injector and eraser."""
        return Editor(self.config, self.models["injector"], self.models["eraser"])

    def validated(self):
        """Names of what `validate` gives."""
        return ("loss", "accuracy")

    def validation_cases(self):
        """The scans with nodules; there are as many without."""
        return self.origins["nodules"]["validation"]

    def validate(self, model, size):
        """{"loss", "accuracy"} of a classifier on the validation scans; {} where there are none."""
        if not self.validation_cases():
            return {}
        logits, labels, _ = self.judged(model, "validation", size)
        loss = np.logaddexp(0, np.where(labels == 1, -logits, logits))
        return {"loss": float(loss.mean()), "accuracy": float(((logits > 0) == (labels == 1)).mean())}

    def judged(self, model, part, size):
        """(logits, labels, origins), arrays over the scans of a part of the split with nodules of a size."""
        scans, edits = self._edited(part, size)
        logits, batch = [], self.config.classifier_batch
        for first in range(0, len(scans), batch):
            volumes = [self.shown(scan, edits[scan.case.id]) for scan in scans[first : first + batch]]
            logits.append(model.logits(np.stack(volumes)).numpy())
        return np.concatenate(logits), np.array([s.label for s in scans]), np.array([s.origin for s in scans])

    def _edited(self, part, size):
        if getattr(self, "_last_edited", (None,))[0] != (part, size):  # validations ask for one part after another
            self.prepared(part)
            scans = self.scans(part)
            self._last_edited = ((part, size), scans, self.edits(self.editor, scans, size, 0))
        return self._last_edited[1:]

    # --- the table ----------------------------------------------------------------------------------------------------

    def evaluate(self, methods, part: Split = "test"):
        """{"evaluation": rows of Fig. 3b, one for each size and regime; "vois": how injector and eraser do}.

        Sensitivity is told for real and for injected nodules, specificity for scans that never had nodules and for
        erased ones. Writes the bar chart too.

        Args:
            methods: name of the run -> its Method, this one among them.
            part: of the split.
        """
        rows = [row for name, method in methods.items() for row in method.rows(name, part)]
        vois = [row for name, method in methods.items() for row in method.vois(name, part)]
        return Evaluation({"evaluation": rows, "vois": vois}, {"accuracy": _chart(rows, part)})

    def rows(self, run, part):
        """Rows of one run: means over seeds, and their standard deviation."""
        found = []
        for size in self.config.nodule_sizes_mm:
            for regime in self.config.regimes:
                models = [self.models.get(stage_name(regime, size, seed)) for seed in range(self.config.seeds)]
                scores = [_scores(*self.judged(model, part, size)) for model in models if model]
                row = {"run": run, "nodules mm": size, "training data": _TITLES[regime], "seeds": len(scores)}
                for key in scores[0] if scores else ():
                    row |= mean_and_std(key, [score[key] for score in scores])
                found += [row] if scores else []
        return found

    def vois(self, run, part):
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

    # --- pictures and export ------------------------------------------------------------------------------------------

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

    def export_module(self):
        """Signatures on float32 arrays in HU, axes towards RAS.

        "erase": a `cube` with a nodule in its middle -> `cube`; "inject": a `cube` and its `mask` (1 where the nodule
        is to be painted) -> `cube`; "classify", of a run with classifiers: `volume` `(z, y, x)` -> `probability` () of
        the last one that it has nodules. Sides of cubes are multiples of 2^downs.
        """
        injector, eraser, *classifiers = self.models.values()
        window = self.window

        def painted(model, shown):
            return {"cube": window.invert(model.generator(shown[None, ..., None], training=False)[0, ..., 0])}

        def erase(cube):
            return painted(eraser, window.graph(cube))

        def inject(cube, mask):
            return painted(injector, hidden(window.graph(cube), mask))

        def classify(volume):
            shown = (window.graph(volume) + 1.0) * 0.5
            logit = classifiers[-1].network(shown[None, ..., None], training=False)[0, 0]
            return {"probability": tf.sigmoid(tf.cast(logit, tf.float32))}

        cube, mask, volume = (tf.TensorSpec((None, None, None), tf.float32, n) for n in ("cube", "mask", "volume"))
        calls = {"erase": (erase, [cube]), "inject": (inject, [cube, mask])}
        calls |= {"classify": (classify, [volume])} if classifiers else {}
        return ExportModule([eraser, injector, *classifiers[-1:]], calls)


def stage_name(regime, size, seed):
    """The name of a classifier's stage."""
    return f"{regime}-{size:g}mm-{seed}"


def _scores(logits, labels, origins):
    found, real = logits > 0, origins == "nodules"
    kinds = {
        "accuracy": (found == (labels == 1), np.ones(len(labels), bool)),
        "sensitivity (real)": (found, (labels == 1) & real),
        "sensitivity (injected)": (found, (labels == 1) & ~real),
        "specificity (healthy)": (~found, (labels == 0) & ~real),
        "specificity (erased)": (~found, (labels == 0) & real),
    }
    return {name: float(right[which].mean()) for name, (right, which) in kinds.items() if which.any()}


def _chart(rows, part):
    runs = list(dict.fromkeys(row["run"] for row in rows))
    bars = {}
    for row in rows:
        title = row["training data"] if len(runs) == 1 else f"{row['run']}: {row['training data']}"
        bars.setdefault(title, {})[f"{row['nodules mm']:g}"] = (row["accuracy mean"], row["accuracy std"])
    text = (
        f"Accuracy on the {part} scans, half of which have nodules, by the size of injected nodules and by what the "
        "classifier was trained on: means over seeds, whiskers of one standard deviation. Dashed: guessing."
    )
    return Bars(bars, "diameter of injected nodules (mm)", "accuracy", 0.5, text)
