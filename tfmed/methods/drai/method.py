"""DRAI as a method: samples, hybrids, and how far its codes are apart."""

import functools

import numpy as np
import tensorflow as tf

from tfmed.augment.dihedral import dihedral
from tfmed.data import sources
from tfmed.data.classes import conditions_of, of_class
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import shuffled
from tfmed.engine.abilities import Count, Seed
from tfmed.engine.exporting import ExportModule
from tfmed.methods.drai.baselines import ConditionalAVAE, ConditionalInfoGAN, OneCode, TwoCodeAVAE, TwoCodeInfoGAN
from tfmed.methods.drai.model import DRAI
from tfmed.methods.drai.settings import Config
from tfmed.metrics.disentanglement import cross_image_consistency, probe_r2
from tfmed.metrics.features import open_features
from tfmed.metrics.generative import frechet_distance
from tfmed.pictures.images import ImageGrid
from tfmed.tasks.class_generation import ClassGenerationMethod, shown

MODELS = {"drai": DRAI, "d_cinfogan": TwoCodeInfoGAN, "d_cavae": TwoCodeAVAE, "cinfogan": ConditionalInfoGAN,
          "cavae": ConditionalAVAE}  # fmt: skip
_AT_ONCE = 64  # pictures that are decoded together
_EACH = 2**40  # sample numbers of a class
_SHOWN = 6  # pictures whose codes are swapped


class DRAIMethod(ClassGenerationMethod):
    """Class-conditional generation with two codes, and what tells how far they are apart."""

    Config = Config

    @property
    def channels(self):
        """Which images of a case are a picture's channels."""
        return ("red", "green", "blue") if self.config.colour else (self.config.image,)

    @functools.cached_property
    def cases(self):
        """`Parts` of all cases; with `binary` conditions a patient may have several classes, which are not split alike
        then."""
        if not self.config.binary:
            return super().cases
        data = self.settings.data
        return self.split({"cases": sources.open(data.source, data.root, **data.options)})["cases"]

    def conditions(self, cases):
        """What is told of cases, float32 `(n, width)`."""
        return conditions_of(cases, self.config.classes, self.config.binary)

    @functools.cache  # noqa: B019 - a method lives as long as its run
    def conditions_of_class(self, number):
        """What may be told of pictures of a class, float32 `(n, width)`: as of the training cases of the class."""
        if not self.config.binary:
            return np.eye(len(self.config.classes), dtype=np.float32)[number : number + 1]
        return self.conditions(of_class(self.cases, "train", self.config.classes[number]))

    # --- training -------------------------------------------------------------------------------------------------

    def samples(self):
        """Samples: a picture, the same turned or flipped, its condition, and a picture of another condition.

        With two passes the next step has the same pictures again, but for that of a pair the other one comes first.
        """
        for number in range(len(self.config.classes)):
            self.of_class("train", number)  # too few are told
        pictures, _ = self.pictures("train")
        conditions = self.conditions(self.prepared("train"))
        kinds, kind_of = np.unique(conditions, axis=0, return_inverse=True)
        kind_of = kind_of.reshape(-1)  # a version of numpy keeps an axis
        others = [np.flatnonzero(kind_of != k) for k in range(len(kinds))]
        seed, passes, per_step = self.settings.seed, self.config.passes, self.settings.train.batch_size

        def read(index):
            step, place = divmod(index, per_step)
            number = step // passes * per_step + place
            chosen, rng = shuffled(seed, number, len(pictures)), np.random.default_rng([seed, number])
            other = rng.choice(others[kind_of[chosen]])
            image, mismatched = (self.augmented(pictures[k], rng) for k in (chosen, other))
            pair = image, dihedral(image, rng.integers(1, 6))
            image, turned = pair if step % passes == 0 else pair[::-1]
            return {"image": image, "turned": turned, "mismatched": mismatched, "condition": conditions[chosen]}

        shape = (*self.config.size, len(self.channels))
        spec = {name: (shape, "float32") for name in ("image", "turned", "mismatched")}
        return Samples(read, spec | {"condition": (conditions.shape[1:], "float32")}, per_step)

    def augmented(self, picture, rng):
        """A picture moved by up to `pad` pixels, what comes in mirrored, and flipped half of the time."""
        pad, (height, width) = self.config.pad, self.config.size
        top, left, flip = rng.integers(0, 2 * pad + 1), rng.integers(0, 2 * pad + 1), rng.random() < 0.5
        moved = np.pad(picture, ((pad, pad), (pad, pad), (0, 0)), "symmetric")[top : top + height, left : left + width]
        return moved[:, ::-1] if flip and self.config.flip else moved

    def stages(self):
        yield self.stage("drai", MODELS[self.config.objective], self.samples, self.config.learning_rate)

    @property
    def infers_content(self):
        """Whether the content is a code that pictures have, not their class."""
        return not issubclass(MODELS[self.config.objective], OneCode)

    # --- using a trained model ------------------------------------------------------------------------------------

    def ways(self):
        """How the content is found given the class, the usual way first."""
        return self.config.ways

    def generate(self, count, number, seed=0, way=None):
        """`count` pictures of a class, `(count, y, x, channel)`; the k-th is a function of (seed, class, k).

        What else is told of it, as `binary` names it, is that of a training case of the class, which is drawn.
        """
        model, way = self.model, way or self.config.ways[0]
        told = tf.constant(self.conditions_of_class(number))
        takes = [tf.TensorSpec((), tf.int32), tf.TensorSpec((None, told.shape[1]), tf.float32)]
        takes += [tf.TensorSpec((), tf.int64)] * 2
        sample = self.compiled(f"sample-{way}", model.generator, functools.partial(model.sample, way=way), takes)
        parts = [sample(tf.constant(min(_AT_ONCE, count - first)), told, tf.constant(seed, tf.int64),
                        tf.constant(number * _EACH + first, tf.int64)).numpy()
                 for first in range(0, count, _AT_ONCE)]  # fmt: skip
        return np.concatenate(parts) if parts else np.zeros((0, *self.config.size, len(self.channels)), np.float32)

    def encode(self, pictures):
        """(content, style) codes, arrays `(n, d)`, of pictures `(n, y, x, channel)` in [0, 1]; a content that is not
        inferred is None."""
        encode = self.compiled("encode", self.model.generator, self.model.codes)
        parts = [encode(tf.constant(pictures[k : k + _AT_ONCE])) for k in range(0, len(pictures), _AT_ONCE)]
        style, *content = (np.concatenate(part) for part in zip(*parts, strict=True))
        return (content[0] if content else None), style

    def decode(self, content, style):
        """Pictures `(n, y, x, channel)` in [0, 1] of codes `(n, d)`."""
        decode = self.compiled("decode", self.model.generator, lambda z, c: self.model((z, c)))
        parts = [decode(tf.constant(style[k : k + _AT_ONCE]), tf.constant(content[k : k + _AT_ONCE])).numpy()
                 for k in range(0, len(style), _AT_ONCE)]  # fmt: skip
        return np.concatenate(parts)

    def previews(self):
        """Real and generated pictures of each class; hybrids: contents of rows in the styles of columns."""
        pictures, labels = self.pictures("validation" if len(self.pictures("validation")[0]) else "train")
        order = np.argsort(np.argsort(labels, kind="stable") % max(1, len(labels) // _SHOWN), kind="stable")[:_SHOWN]
        chosen = pictures[order]
        (content, style), blank = self.encode(chosen), np.ones_like(chosen[0])
        lefts = {f"content {k + 1}": picture for k, picture in enumerate(chosen)}
        caption = (
            "Hybrids: the content of the picture on the left in the style of the one above; on the diagonal, both."
        )
        if content is None:
            content = [self.conditions_of_class(number)[0] for number in range(len(self.config.classes))]
            lefts = dict.fromkeys(self.config.classes, blank)
            caption = "Hybrids: each class in the style of the picture above."
        rows = {"styles": [blank, *chosen]}
        for (name, left), code in zip(lefts.items(), content, strict=True):
            rows[name] = [left, *self.decode(np.repeat(code[None], len(chosen), 0), style)]
        swaps = ImageGrid({name: [shown(p) for p in row] for name, row in rows.items()}, (0.0, 1.0), caption)
        return super().previews() | {"hybrids": swaps}

    def evaluate(self, methods, count: Count = 200, seed: Seed = 0):
        """As of all that generate classes, and {"distance": the Frechet distance of generated from real pictures,
        "disentanglement": CIFC of test pictures, and how well one code tells the other}.

        Args:
            methods: name of the run -> its Method, this one among them; all see this one's pictures.
            count: generated pictures of each class.
            seed: of the pictures and of the classifiers.
        """
        evaluation = super().evaluate(methods, count, seed)
        network = open_features(self.config.features)
        real, _ = self.pictures("train")
        test, _ = self.pictures("test")
        known = network(2 * real - 1)[0]
        rows = [
            {"pictures": "real, test", network.number("frechet"): frechet_distance(network(2 * test - 1)[0], known)}
        ]
        for name, method in methods.items():
            made = np.concatenate([method.generate(count, k, seed) for k in range(len(self.config.classes))])
            distance = frechet_distance(network(2 * made - 1)[0], known)
            rows.append({"pictures": name, network.number("frechet"): distance})
        two_codes = {name: method for name, method in methods.items()
                     if isinstance(method, DRAIMethod) and method.infers_content}  # fmt: skip
        apart = [{"run": name} | self.disentanglement(method, test, seed) for name, method in two_codes.items()]
        evaluation.update({"distance": rows} | ({"disentanglement": apart} if apart else {}))
        return evaluation

    def disentanglement(self, method, pictures, seed):
        """{"cifc", "relative cifc", and R^2 of a linear and a perceptron's probe of one code from the other}."""
        order = np.random.default_rng(seed).permutation(len(pictures))
        half = len(pictures) // 2
        found = cross_image_consistency(
            method.encode, method.decode, *(pictures[o] for o in (order[:half], order[half : 2 * half]))
        )
        row, (content, style) = {"cifc": found["cifc"], "relative cifc": found["relative"]}, method.encode(pictures)
        for kind in ("linear", "mlp") if len(pictures) >= 8 else ():
            row[f"style from content, {kind} R2"] = probe_r2(content, style, kind, seed)
            row[f"content from style, {kind} R2"] = probe_r2(style, content, kind, seed)
        return row

    def export_module(self):
        """Its `sample(seed, count)` gives `pictures` `(classes, count, y, x, channel)` float32 in [0, 1]; its
        `swap(content, style)`, where there are two codes, gives hybrids `pictures` of two batches of pictures
        `(n, y, x, channel)` in [0, 1]."""
        model, shape = self.model, (None, *self.config.size, len(self.channels))
        way = self.config.ways[0]
        told = [self.conditions_of_class(k) for k in range(len(self.config.classes))]

        def sample(seed, count):
            made = [model.sample(count, told[k], seed, k * _EACH, way) for k in range(len(self.config.classes))]
            return {"pictures": tf.stack(made)}

        def swap(content, style):
            return {"pictures": model((model.codes(style)[0], model.codes(content)[1]))}

        takes = [tf.TensorSpec((), tf.int64, "seed"), tf.TensorSpec((), tf.int32, "count")]
        two = [tf.TensorSpec(shape, tf.float32, name) for name in ("content", "style")]
        functions = {"sample": (sample, takes)} | ({"swap": (swap, two)} if self.infers_content else {})
        return ExportModule([model], functions, {"classes": list(self.config.classes)})
