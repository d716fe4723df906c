"""Method: what a paper's file gives to the engine."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import pydantic
import tensorflow as tf

from tfmed.config import MethodConfig
from tfmed.data import checks, sources, splits
from tfmed.data.cache import Cache
from tfmed.data.case import Case
from tfmed.data.checks import CaseSpec
from tfmed.data.pipeline import Samples
from tfmed.engine.records import Records
from tfmed.engine.settings import Settings
from tfmed.engine.split_record import SplitRecord, entries, unseen
from tfmed.errors import RunError
from tfmed.training.schedules import learning_rate


@dataclasses.dataclass
class Rounds:
    """Parts of a stage, before each of which its model is looked at: no sample of a round is read before.

    Args:
        steps: of a round.
        begin: (model, steps taken so far, whether these were the last) -> {name: number to log}. Called before the
            first step that is taken, which in a run that goes on may lie within a round, before each further round,
            and behind the last step. What it decides lies in the model's variables, so that checkpoints hold it; it is
            a function of the settings, the model and the step.
    """

    steps: int
    begin: Callable[[keras.Model, int, bool], dict[str, float]]


@dataclasses.dataclass
class Stage:
    """One training of one model.

    Args:
        name: unique within the method; checkpoints and metrics carry it.
        model: makes the model (called inside the strategy's scope); it has `train_step`, and is built.
        train: makes the samples; called only when the stage is really trained.
        steps: number of training steps.
        validation: model -> {metric: value}, or None.
        rounds: of a stage whose samples go by what its model says now and then; None: they do not.
    """

    name: str
    model: Callable[[], keras.Model]
    train: Callable[[], Samples]
    steps: int
    validation: Callable[[keras.Model], dict[str, float]] | None = None
    rounds: "Rounds | None" = None


class Method:
    """Base of all methods: data, splits and cache are here; a subclass adds what its paper says.

    A subclass sets `Config` and `case_spec`, and gives `stages`; what it can do beyond training it declares by deriving
    from classes of `tfmed.engine.abilities`, or from a base of `tfmed.tasks` that does.

    Args:
        settings: the run's settings.
    """

    Config: type[MethodConfig] = MethodConfig
    case_spec: CaseSpec = CaseSpec()
    made_to_size: bool = False  # cases are prepared to the size that networks see; samples are described without them
    takes_altered: bool = False  # whether it may train on cases that `data.augment_with` makes of its training cases
    takes_generated: bool = False  # likewise, on pictures of its classes
    in_space: bool = True  # whether a case's images have voxels, which `tfmed prepare` describes and compares

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.config: Any = settings.model  # of the class's `Config`
        self.models: dict[str, keras.Model] = {}  # stage name -> model, filled as stages are trained or restored
        self.records = Records()  # what is decided between stages; a run's lie in its directory
        self.split_record: SplitRecord | None = None  # of the run that this method belongs to, once it is drawn
        self.seen_images: frozenset[str] | None = None  # digests of images, where other data are tested
        self.drawn_split: dict[str, dict[str, list[Case]]] = {}  # kind of case -> its parts, as drawn here
        self.made: list[Case] = []  # training cases that another run has made, beside those of the split
        self.roots: dict[str, str | None] = {}  # kind of case -> folder of its data set, where it is not data.root
        self._compiled: dict[str, tuple[keras.Model, Any]] = {}

    @classmethod
    def settings_class(cls) -> type[Settings]:
        """The type of this method's settings."""
        return pydantic.create_model("Settings", __base__=Settings, model=(cls.Config, cls.Config()))

    @classmethod
    def leaves_open(cls, settings: Settings) -> bool:
        """Whether settings leave something open that `planned` chooses."""
        return False

    @classmethod
    def check_planned(cls, settings: Settings, what: str) -> None:
        """RunError where settings leave something open that several runs, or machines, must have alike."""
        if cls.leaves_open(settings):
            raise RunError(
                f"{what}: its plan is still to be made; write it by 'tfmed plan FOLDER --out FILE', and use that file"
            )

    @classmethod
    def planned(
        cls,
        settings: Settings,
        stored: Settings | None = None,
        progress: Callable[[Any, str], Any] = lambda items, text: items,
    ) -> Settings:
        """The settings with what they leave open chosen by looking at the data; most methods leave nothing open.

        Args:
            settings: the run's.
            stored: the settings of the run that goes on, whose choices hold; None for a new run.
        """
        return settings

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Rules that join several sections; raise ValueError with a message that says how to fix it."""

    def preprocessing(self) -> tuple:
        """All preprocessing steps, in order: those of the settings, then the method's own."""
        return self.settings.data.preprocess

    def compiled(
        self, name: str, network: keras.Model, call: Callable[..., Any], takes: Sequence[tf.TensorSpec] | None = None
    ) -> Callable[..., Any]:
        """`call`, a function of tensors that uses a network, as a graph: of one name, it is traced again only for
        another network (and, where `takes` does not say what it takes, for other shapes)."""
        known, graph = self._compiled.get(name, (None, None))
        if known is not network:
            graph = tf.function(call, takes, autograph=False)
            self._compiled[name] = network, graph
        return graph

    def stages(self) -> Iterator[Stage]:
        """The stages in order; a later one may use `self.models` of those before it, each with its best weights.

        What is decided by looking at these models goes through `self.records`.
        """
        raise TypeError(f"{type(self).__name__} defines no stages")

    def stage(
        self,
        name: str,
        model: Callable[..., keras.Model],
        samples: Callable[[], Samples],
        rate: float | tuple[float, ...],
        *,
        steps: int | None = None,
        per_step: int | None = None,
        validation: Callable[[keras.Model], dict[str, float]] | None = None,
        rounds: Rounds | None = None,
        **options: Any,
    ) -> Stage:
        """A Stage whose model is made as all are: `model(config, rate, seed=..., per_step=..., ...)`.

        Args:
            name, validation, rounds: of the Stage.
            model: class of a TrainingModel, or another function that makes one.
            samples: makes the samples.
            rate: base learning rate, or several, which then follow the schedule of the settings.
            steps: default `train.steps`.
            per_step: samples in a step's global batch; default `train.batch_size`.
            options: further arguments of the model.
        """
        train = self.settings.train

        def make() -> keras.Model:
            rates = (
                [learning_rate(one, train) for one in rate] if isinstance(rate, tuple) else learning_rate(rate, train)
            )
            shared = {"seed": self.settings.seed, "per_step": per_step or train.batch_size}
            shared |= {"gradient_accumulation": train.gradient_accumulation}
            return model(self.config, rates, **shared | options)

        return Stage(name, make, samples, steps or train.steps, validation, rounds)

    def validated(self) -> Sequence[str]:
        """Names of the numbers that validations give, those that early stopping can go by; () where there are none."""
        return ()

    def validation_cases(self) -> list[Case]:
        """The cases that validations look at; without any there are no such numbers."""
        return self.cases["validation"]

    @property
    def model(self) -> keras.Model:
        """The newest model, with its trained weights."""
        return list(self.models.values())[-1]

    @functools.cached_property
    def cache(self) -> Cache:
        data = self.settings.data
        return Cache(data.cache_folder(), self.preprocessing(), data.cache_dtype)

    @functools.cached_property
    def cases(self) -> splits.Parts:
        """`Parts`: "train", "validation", "test" -> list of Case, split by patient group."""
        data = self.settings.data
        found = sources.open(data.source, data.root, **data.options)
        parts = self.split({"cases": found}, labelled=self.case_spec.label != "none")["cases"]
        return parts.with_cases(lambda cases: [self.as_used(case) for case in cases])

    def as_used(self, case: Case) -> Case:
        """A Case of the source as this method takes it."""
        return case

    def split(self, kinds: Mapping[str, list[Case]], labelled: splits.Labelled = False) -> dict[str, splits.Parts]:
        """{kind: `Parts`} of {kind: list of Case}: each kind split alike; in a run's method as when the run was made.

        Raises:
            DataError: as `splits.split`.
        """
        data = self.settings.data
        if self.seen_images is not None:
            return {kind: unseen(cases, self.seen_images, self.cache.content) for kind, cases in kinds.items()}
        if self.split_record:
            return {kind: self.split_record.parts(kind, cases, data.root, self.cache.content)
                    for kind, cases in kinds.items()}  # fmt: skip
        drawn = splits.split_each(kinds, data.split, self.settings.seed, labelled, self.sizes)
        self.drawn_split = self.drawn_split | drawn
        return {kind: splits.Parts(parts) for kind, parts in drawn.items()}

    @property
    def sizes(self) -> Callable[[Sequence[Case]], Mapping[str, float]] | None:
        """Function of cases -> {patient: size}, by which `data.split.balanced` makes folds; None: nothing is known."""
        return None

    def all_train(self, kind: str, cases: list[Case], root: str | None) -> splits.Parts:
        """The `Parts` of cases beside those of the `data` section, all of which train; in a run's method those of then.

        Args:
            kind: of the cases, in the record of the run.
            cases: list of Case.
            root: their data set's folder, or None.
        """
        if self.split_record:
            return self.split_record.parts(kind, cases, root, self.cache.content)
        self.roots[kind] = root
        drawn = {part: cases if part == "train" else [] for part in splits.PARTS}
        self.drawn_split = self.drawn_split | {kind: drawn}
        return splits.Parts(drawn)

    def record_split(self) -> SplitRecord:
        """The `SplitRecord` of what was drawn."""
        root = self.settings.data.root
        return SplitRecord({kind: entries(parts, self.roots.get(kind, root), self.cache.content)
                            for kind, parts in self.drawn_split.items()})  # fmt: skip

    @property
    def image_names(self) -> Any:
        """Names of the images that the method reads of a case."""
        return self.case_spec.images

    def problems(self, case: Case) -> list[str]:
        """What keeps a case from being used: a list of lines; a case without any is then in the cache."""
        return checks.check_case(case, self.case_spec) or checks.fill(case, self.cache, self.case_spec)

    def further_problems(self, progress: Callable[[Any, str], Any] = lambda items, text: items) -> dict[str, list[str]]:
        """{name of a case: what keeps it from being used} of data sets beside that of the `data` section."""
        return {}

    def prepared(self, part: str, progress: Callable[[Any], Any] | None = None) -> list[Case]:
        """The cases of a part of the split, checked, in the cache; those that train with those made of them."""
        arguments: dict[str, Any] = {} if progress is None else {"progress": progress}
        cases = [*self.cases[part], *(self.made if part == "train" else ())]
        checks.prepare_cases(cases, self.cache, self.case_spec, **arguments)
        return cases
