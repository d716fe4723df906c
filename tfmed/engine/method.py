"""Method: what a paper's file gives to the engine."""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import keras
import pydantic
import tensorflow as tf

from tfmed.config import MethodConfig
from tfmed.data import checks, sources, splits
from tfmed.data.cache import Cache
from tfmed.data.checks import Wants
from tfmed.data.pipeline import Samples
from tfmed.engine.records import Records
from tfmed.engine.settings import Settings
from tfmed.io import write_volume


@dataclasses.dataclass
class Stage:
    """One training of one model.

    Args:
        name: unique within the method; checkpoints and metrics carry it.
        model: makes the model (called inside the strategy's scope); it has `train_step`, and is built.
        train: makes the samples; called only when the stage is really trained.
        steps: number of training steps.
        validation: model -> {metric: value}, or None.
    """

    name: str
    model: Callable[[], keras.Model]
    train: Callable[[], Samples]
    steps: int
    validation: Callable[[keras.Model], dict] | None = None


class Method:
    """Base of all methods: data, splits and cache are here; a subclass adds what its paper says.

    A subclass sets `Config` and `wants`, and gives `stages`; what it can do beyond training it says by defining
    `previews`, `evaluate`, `sample`, `predict`, `project`, `mixtures` and `way` (of a generator's latents), and
    `export_module`.

    Args:
        settings: the run's settings.
    """

    Config = MethodConfig
    wants = Wants()
    maps = ()  # what `predict` can be asked for; where it is not, it is given `maps` None
    fixable = ()  # what `sample` can keep the same in all volumes (its argument `fixed`)

    def __init__(self, settings):
        self.settings = settings
        self.config = settings.model
        self.models = {}  # stage name -> model, filled as stages are trained or restored
        self.records = Records()  # what is decided between stages; a run's lie in its directory
        self._compiled = (None, None)

    @classmethod
    def settings_class(cls):
        """The type of this method's settings."""
        return pydantic.create_model("Settings", __base__=Settings, model=(cls.Config, cls.Config()))

    @classmethod
    def check(cls, settings):
        """Rules that join several sections; raise ValueError with a message that says how to mend it."""

    def preprocessing(self):
        """All preprocessing steps, in order: those of the settings, then the method's own."""
        return self.settings.data.preprocess

    def compiled(self, network, call):
        """`call`, a function of tensors that uses a network, as a graph: traced again only for another network."""
        if self._compiled[0] is not network:
            self._compiled = (network, tf.function(call, autograph=False))
        return self._compiled[1]

    def stages(self) -> Iterator[Stage]:
        """The stages in order; a later one may use `self.models` of those before it, each with its best weights.

        What is decided by looking at these models goes through `self.records`.
        """
        raise TypeError(f"{type(self).__name__} defines no stages")

    @functools.cached_property
    def cache(self):
        data = self.settings.data
        return Cache(data.cache_folder(), self.preprocessing(), data.cache_dtype)

    @functools.cached_property
    def cases(self):
        """{"train", "validation", "test"} -> list of Case, split by patient group."""
        data = self.settings.data
        found = sources.open(data.source, data.root, **data.options)
        return splits.split(found, data.split, self.settings.seed, labelled=self.wants.label != "none")

    def problems(self, case):
        """What keeps a case from being used: a list of lines; a case without any is then in the cache."""
        return checks.check_case(case, self.wants) or checks.fill(case, self.cache, self.wants)

    def write_sample(self, item, folder, name, kind=None):
        """Write an item of `sample` below a folder (a Path); returns its path. Here a Volume, by default .nii.gz."""
        path = folder / f"{name}.{kind or 'nii.gz'}"
        write_volume(item, path)
        return path

    def prepared(self, part, progress=None):
        """The cases of a part of the split, checked, in the cache."""
        arguments = {} if progress is None else {"progress": progress}
        checks.prepare_cases(self.cases[part], self.cache, self.wants, **arguments)
        return self.cases[part]
