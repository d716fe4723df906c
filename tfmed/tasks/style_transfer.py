"""What methods share that show one picture in the style of another: pairs, files and folders, scores, pictures."""

import dataclasses
import functools
import pathlib
from typing import Annotated, Literal, get_args

import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveInt

from tfmed.config import Interval, MethodConfig, Voxels
from tfmed.data.census import is_picture
from tfmed.data.checks import CaseSpec
from tfmed.data.pipeline import Samples
from tfmed.data.preprocess import Window
from tfmed.data.readers import read_address, read_label
from tfmed.data.sampling import Stream, shuffled
from tfmed.engine.abilities import CanAlter, CanInterpolate, CanPredict, Count, Evaluation, Seed, Split
from tfmed.engine.exporting import ExportModule
from tfmed.engine.options import Option
from tfmed.errors import DataError, UserError
from tfmed.files import expanded
from tfmed.io import write_volume
from tfmed.io.stack import write_picture
from tfmed.io.volume import Volume
from tfmed.losses.perceptual import FeatureNetwork, style_loss
from tfmed.metrics.image_quality import edge_correlation
from tfmed.pictures.images import ImageGrid
from tfmed.tasks import prediction
from tfmed.tasks.generation import GenerationMethod, sized_picture
from tfmed.tasks.latents import seed_of
from tfmed.tasks.style_transferrer import StyleTransferrer, write_grey

_PARTNERS, _PAIRS = Stream("style_transfer.partners"), Stream("style_transfer.pairs")
_SHOWN = 4  # contents and styles of a picture

Weight = Annotated[float, Field(ge=0, le=1e6)]
Spatial = Literal["constant", "mixed", "iid", "scalar"]
Content = Annotated[str | None, Option("content", "a picture to show in styles; by default the run's test pictures")]
Source = Annotated[str | None, Option("style", "a picture whose style is shown; by default styles are drawn")]


class StyleTransferConfig(MethodConfig):
    """Pictures, and the frozen network by which styles are compared."""

    image: str = "image"  # which image of a case
    size: tuple[Voxels, Voxels] = (256, 256)  # pixels (y, x)
    grey: Interval = (0.0, 255.0)  # values mapped to [0, 1]
    features: str = "random:0"  # weights of VGG: a file, or random:SEED
    feature_side: int | None = Field(224, ge=16, le=4096)  # pixels to which VGG's images are resized; null: as they are
    feature_width: PositiveInt = Field(64, le=4096)  # channels of VGG's first block
    style_weights: tuple[Weight, Weight, Weight, Weight, Weight] = (0.1, 0.002, 0.001, 0.01, 10.0)  # blockN_conv1
    spatial: Spatial = "constant"  # of styles that are drawn

    @property
    def draws(self):
        """Whether styles can be drawn, and not only taken from pictures."""
        return True


def of_blocks(weights):
    """{"block1_conv1": weight, ...} of the weights of the blocks of VGG."""
    return {f"block{i}_conv1": weight for i, weight in enumerate(weights, 1)}


@dataclasses.dataclass(frozen=True)
class Style:
    """A style.

    Args:
        name: what pictures call it.
        maps: the tensors `(1, ...)` by which the model knows it.
    """

    name: str
    maps: tuple


@dataclasses.dataclass(frozen=True)
class Transferred:
    """A picture in a style.

    Args:
        name: of the content.
        volume: its Volume, on the grid of the content.
        label: the content's label map as it is, a Volume, or None.
    """

    name: str
    volume: Volume
    label: Volume | None = None


class StyleTransferMethod(GenerationMethod, CanPredict, CanInterpolate, CanAlter):
    """Base of methods of style transfer; its config is a `StyleTransferConfig`.

    A subclass gives `stages`. Its last model has `style_of(pictures)`, tensors `(n, ...)`; `shown(pictures, *style)`,
    pictures in styles; where its config `draws`, `drawn(indices, seed, spatial)`, as `style_of`; and `used`, all that
    these compute with. Pictures are float32 `(n, y, x, 1)` in [0, 1].
    """

    Config = StyleTransferConfig
    outputs = StyleTransferrer.outputs

    @property
    def case_spec(self):
        """One picture per case."""
        return CaseSpec((self.config.image,), "none", minimum_shape=(1, 8, 8), stack=True)

    def preprocessing(self):
        """The last step maps grey values to [0, 1]."""
        return (*super().preprocessing(), Window(window_hu=self.config.grey, range=(0.0, 1.0)))

    # --- data ---------------------------------------------------------------------------------------------------------

    def picture(self, case):
        """A case's prepared picture `(y, x, 1)` float32."""
        return sized_picture(
            case, np.asarray(self.cache.stack(case, self.case_spec).image, np.float32), self.config.size
        )

    def samples(self):
        """Samples `content` and `style` `(y, x, 1)`: an epoch shows every picture once, beside any picture of all."""
        cases, seed = self.prepared("train"), self.settings.seed
        for case in cases:
            self.picture(case)

        def read(index):
            partner = int(_PARTNERS(seed, index).integers(len(cases)))
            return {"content": self.picture(cases[shuffled(seed, index, len(cases))]),
                    "style": self.picture(cases[partner])}  # fmt: skip

        spec = {name: ((*self.config.size, 1), "float32") for name in ("content", "style")}
        return Samples(read, spec, self.settings.train.batch_size)

    def pairs(self, part, count, seed):
        """`count` pairs (Case of a content, Case of a style of another domain, if there is one) of a part.

        Raises:
            DataError: the part has fewer than two pictures.
        """
        cases = self.cases[part]
        if len(cases) < 2:
            raise DataError(f"{len(cases)} {part} pictures make no pair; set data.split.{part} higher")
        self.prepared(part)
        found = []
        for number in range(count):
            content = cases[number % len(cases)]
            others = [case for case in cases if domain_of(case) != domain_of(content)]
            others = others or [case for case in cases if case.id != content.id]
            found.append((content, others[int(_PAIRS(seed, number).integers(len(others)))]))
        return found

    # --- using a trained model ----------------------------------------------------------------------------------------

    def shown(self, contents, maps):
        """Pictures `(n, y, x, 1)` in the style of maps; a graph."""
        model = self.model
        graph = self.compiled("shown", model.used[0], model.shown)
        return graph(tf.constant(contents), *map(tf.convert_to_tensor, maps)).numpy()

    def style_of(self, pictures):
        """The maps of the style of pictures; a graph."""
        return self.compiled("style", self.model.used[0], self.model.style_of)(tf.constant(pictures))

    def drawn(self, number, seed, spatial=None):
        """The maps of a drawn style.

        Raises:
            UserError: the model draws none.
        """
        if not self.config.draws:
            raise UserError(f"a {self.config.architecture} model draws no styles; give a picture for a style")
        return self.model.drawn([number], seed, spatial or self.config.spatial)

    def transferrer(self):
        """The `StyleTransferrer` of the trained model."""

        def drawn(contents, number):
            return self.shown(contents, self.drawn(number, self.settings.seed))

        def in_style(contents, style):
            return self.shown(contents, self.style_of(style))

        c = self.config
        return StyleTransferrer(c.image, self.preprocessing(), c.size, in_style, drawn if c.draws else None)

    def predict(self, words, out, outputs=None):
        """Show pictures in a style, or in drawn ones; see `StyleTransferrer.predict`."""
        return self.transferrer().predict(words, out, outputs)

    def altered(self, image, seed):
        """The Volume in a drawn style; where none are drawn, in that of a training picture."""
        if self.config.draws:
            maps = self.drawn(0, seed)
        else:
            cases = self.prepared("train")
            maps = self.style_of(self.picture(cases[int(_PARTNERS(seed, 0).integers(len(cases)))])[None])
        return self.transferrer()(image, functools.partial(self.shown, maps=maps))

    def sample(
        self,
        count,
        seed=0,
        content: Content = None,
        style: Source = None,
        spatial: Annotated[Spatial | None, Option("spatial", "of drawn styles; by default the run's")] = None,
    ):
        """`count` `Transferred`: the run's test pictures in turn, or the one given, each in a style drawn for it, or in
        the one given; labels are those of the pictures."""
        transferrer = self.transferrer()
        fixed = None if style is None else self.style_of(transferrer.picture(style))
        contents = self._contents(content)
        for number in range(count):
            name, image, label = contents(number)
            maps = self.drawn(number, seed, spatial) if fixed is None else fixed
            yield Transferred(name, transferrer(image, functools.partial(self.shown, maps=maps)), label)

    def write_sample(self, item, folder, name, kind=None):
        """Write `<name>.png`, or a volume where it has several slices or a format is given; and `<name>_labels`."""
        if kind is None and item.volume.shape[0] == 1:
            path = folder / f"{name}.png"
            write_grey(item.volume.array[0], path)
            if item.label is not None:
                write_picture(item.label.array[0].astype(np.uint8), folder / f"{name}_labels.png")
            return path
        if item.label is not None:
            write_volume(item.label, folder / f"{name}_labels.{kind or 'nii.gz'}")
        path = folder / f"{name}.{kind or 'nii.gz'}"
        write_volume(item.volume, path)
        return path

    def _contents(self, content):
        """Function of a number -> (name, Volume as it lies on disk, its label map or None)."""
        if content is not None:
            image = read_address(f"{content}::grey" if is_picture(content) else content)
            prediction.check_grids([image], [content])
            return lambda number: (pathlib.Path(content).stem, image, None)
        cases = self.prepared("test" if self.cases["test"] else "train")

        def of_case(number):
            case = cases[number % len(cases)]
            label = None if case.label is None else read_label(case)
            return case.id, read_address(case.images[self.config.image], case.meta.get("series_uid")), label

        return of_case

    # --- between styles -----------------------------------------------------------------------------------------------

    def latents(self, word, psi=1.0):
        """The `Style` of a seed (digits), `psi` times what is drawn, or of a picture.

        Raises:
            UserError: neither; DataError: the picture is damaged, or the model draws no styles.
        """
        if (seed := seed_of(word)) is not None:
            return Style(f"seed {word}", tuple(psi * one for one in self.drawn(0, seed)))
        if not expanded(word).is_file():
            raise UserError(f"{word}: is neither a seed (a whole number) nor a picture")
        path = str(expanded(word))
        picture = self.transferrer().picture(path)
        return Style(pathlib.Path(path).name, tuple(self.style_of(picture)))

    def interpolated(self, first, second, steps, content: Content = None):
        """{share: `Transferred`} of a content from one `Style` to another, `steps` of them with both ends."""
        name, image, label = self._contents(content)(0)
        transferrer, found = self.transferrer(), {}
        for share in np.linspace(0, 1, steps):
            maps = between(first.maps, second.maps, share)
            made = transferrer(image, functools.partial(self.shown, maps=maps))
            found[f"{share:.3g}"] = Transferred(name, made, label)
        return found

    def interpolation_picture(self, way, first, second):
        """A strip of what `interpolated` gave."""
        return self._strip([item.volume.array[0] for item in way.values()], first.name, second.name, self.config.grey)

    def _strip(self, images, first, second, window):
        text = f"One content from the style of {first} to that of {second}, in equal steps."
        return ImageGrid({f"{first} - {second}": images}, window, text)

    def previews(self):
        """Contents in the styles of others and in drawn ones, and the way between two styles."""
        part = "test" if len(self.cases["test"]) > 1 else "train"
        seed, found = self.settings.seed, self.pairs(part, _SHOWN, self.settings.seed)
        contents, styles = (np.stack([self.picture(case) for case in cases]) for cases in zip(*found, strict=True))
        rows = {"style": [np.zeros(self.config.size, np.float32), *styles[..., 0]]}
        maps = [self.style_of(style[None]) for style in styles]
        for number, content in enumerate(contents, 1):
            made = [self.shown(content[None], one)[0, ..., 0] for one in maps]
            rows[f"content {number}, and in each style"] = [content[..., 0], *made]
        if self.config.draws:
            drawn = [self.shown(contents[:1], self.drawn(k, seed))[0, ..., 0] for k in range(_SHOWN)]
            rows["content 1, and in drawn styles"] = [contents[0, ..., 0], *drawn]
        grid = ImageGrid(rows, (0.0, 1.0), "Contents (first column) in the styles of other pictures (first row).")
        way = [self.shown(contents[:1], between(maps[0], maps[1], share))[0, ..., 0] for share in np.linspace(0, 1, 7)]
        names = [case.id for _, case in found]
        return {"styles": grid, "interpolation": self._strip(way, *names[:2], (0.0, 1.0))}

    # --- scores -------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def features(self):
        """The frozen network by which styles are compared."""
        c = self.config
        return FeatureNetwork(of_blocks(c.style_weights), c.features, "vgg16", c.feature_side, c.feature_width)

    def gram_distance(self, one, other):
        """The weighted difference of the Gram matrices of two pictures `(1, y, x, 1)`, a number."""
        found = self.features(tf.constant(one)), self.features(tf.constant(other))
        return float(style_loss(*found, of_blocks(self.config.style_weights))[0])

    def evaluate(self, methods, part: Split = "test", count: Count = 32, seed: Seed = 0):
        """{"evaluation": how near pictures are to their style and to their content, "diversity": how different drawn
        styles look}.

        Gram distances are named after the network that they are made with. Edges are the correlation of the Sobel
        gradients' magnitudes.

        Args:
            methods: name of the run -> its Method, this one among them; all see this one's pairs.
            part: of the split.
            count: pairs of a content and a style.
            seed: of the pairs and of drawn styles.
        """
        pairs = [(self.picture(a)[None], self.picture(b)[None]) for a, b in self.pairs(part, count, seed)]
        rows = [{"pictures": "untransferred"} | self._scores(pairs, [content for content, _ in pairs])]
        diversity = []
        for run, method in methods.items():
            made = [method.shown(content, method.style_of(style)) for content, style in pairs]
            rows.append({"pictures": run} | self._scores(pairs, made))
            for spatial in get_args(Spatial) if method.config.draws else ():
                drawn = [[method.shown(content, method.drawn(2 * k + i, seed, spatial)) for i in range(2)]
                         for k, (content, _) in enumerate(pairs)]  # fmt: skip
                edges = [edge_correlation(one[0][0, ..., 0], content[0, ..., 0])
                         for one, (content, _) in zip(drawn, pairs, strict=True)]  # fmt: skip
                apart = [float(np.abs(one - other).mean()) for one, other in drawn]
                diversity.append({"pictures": run, "drawn": spatial, "mean difference of two": float(np.mean(apart)),
                                  "edges with content": float(np.nanmean(edges))})  # fmt: skip
        return Evaluation({"evaluation": rows} | ({"diversity": diversity} if diversity else {}))

    def _scores(self, pairs, made):
        """Means over pairs, of what was made of them."""
        found = {}
        for (content, style), one in zip(pairs, made, strict=True):
            for name, other in (("style", style), ("content", content)):
                gram = f"Gram distance to {name} ({self.features.name})"
                found.setdefault(gram, []).append(self.gram_distance(one, other))
                found.setdefault(f"edges with {name}", []).append(edge_correlation(one[0, ..., 0], other[0, ..., 0]))
        return {name: float(np.nanmean(values)) for name, values in found.items()}

    # --- validation, export -------------------------------------------------------------------------------------------

    def validated(self):
        """Names of what `validation` gives."""
        return ("loss",) if self.validation_cases() else ()

    def validation(self, model):
        """{"loss"}: the mean over the validation pictures, each beside the next one."""
        cases = self.validation_cases()
        if not cases:
            return {}
        pictures = [self.picture(case) for case in self.prepared("validation")]
        size, losses = self.settings.train.batch_size, []
        for first in range(0, len(pictures), size):
            content = pictures[first : first + size]
            style = [pictures[(first + 1 + k) % len(pictures)] for k in range(len(content))]
            batch = {"content": tf.constant(np.stack(content)), "style": tf.constant(np.stack(style))}
            losses += [float(model.validation_loss(batch))] * len(content)
        return {"loss": float(np.mean(losses))}

    def export_module(self):
        """`transfer(image, style)`, pictures `(n, y, x, 1)` float32 in [0, 1], gives `transferred`; `draw(image,
        seed, number)` does in a drawn style."""
        model, shape = self.model, (None, *self.config.size, 1)
        image = tf.TensorSpec(shape, tf.float32, "image")

        def transfer(image, style):
            return {"transferred": model.shown(image, *model.style_of(style))}

        def draw(image, seed, number):
            return {"transferred": model.shown(image, *model.drawn(number[None], seed, self.config.spatial))}

        calls = {"transfer": (transfer, [image, tf.TensorSpec(shape, tf.float32, "style")])}
        if self.config.draws:
            calls["draw"] = draw, [image, *(tf.TensorSpec((), tf.int64, name) for name in ("seed", "number"))]
        return ExportModule(model.used, calls, self.transferrer().note() | {"seed": self.settings.seed})


def domain_of(case):
    """The domain, or class, that a case is known to be of, or ""."""
    return str(case.meta.get("domain", case.meta.get("class", "")))


def between(first, second, share):
    """Maps on a line between those of two styles."""
    return [(1.0 - share) * one + share * other for one, other in zip(first, second, strict=True)]
