"""Active learning of classes: rounds of training, asking for the classes of further cases, and labelling them."""

import dataclasses
import functools
import math
import pathlib

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tfmed.config import PathText
from tfmed.data import class_answers, sources, splits
from tfmed.data.acquisition import cases as acquisition
from tfmed.data.classes import by_class, numbers_of
from tfmed.data.desks import ClassDesk
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream, shuffled
from tfmed.engine.abilities import CanAsk, Evaluation, Split
from tfmed.errors import DataError, RunError
from tfmed.tasks import query_tables
from tfmed.tasks.classification import ClassesConfig, ClassificationMethod

_QUERIES, _POOL = Stream("case_queries.queries"), Stream("case_queries.pool")


class CaseQueriesConfig(ClassesConfig):
    """What is labelled when, and by whom."""

    initial_share: float = Field(0.1, gt=0, le=1)  # of the pool, labelled at the start, at random
    query_share: float = Field(0.1, gt=0, le=1)  # of the pool, asked for in a round
    rounds: int = Field(3, ge=0, le=1000)  # of asking
    min_per_class: NonNegativeInt = 0  # cases of each class at the start
    epochs: PositiveInt = 25  # of each training, at most `train.steps`
    repeats: int = Field(5, ge=1, le=1000)  # trainings on the last labelled set, which scores are averaged over
    class_shares: tuple[PositiveFloat, ...] | None = None  # training cases are thinned out to these; null: all
    test_per_class: PositiveInt | None = None  # the first cases of each class test; needs data.split.given
    answers: PathText | None = None  # table (id, class) or folder of classes that a person fills; null: labels answer
    unlabelled: str = "unlabelled"  # class of the cases that then await an answer

    @property
    def called(self):
        """The way of asking in words."""
        return "queries"

    @model_validator(mode="after")
    def _pool_lasts(self):
        if self.initial_share + self.rounds * self.query_share > 1 + 1e-9 and not self.answers:
            raise ValueError("initial_share + rounds * query_share is more than the whole pool; lower one of them")
        shares = self.class_shares
        if shares and (len(shares) != len(self.classes) or abs(sum(shares) - 1) > 1e-6):
            raise ValueError("class_shares: give a share for each class, 1 in sum")
        if self.answers and (self.min_per_class or shares):
            name = "min_per_class" if self.min_per_class else "class_shares"
            raise ValueError(f"{name}: with answers all labelled cases count from the start; leave it out")
        return self


class CaseQueryMethod(ClassificationMethod, CanAsk):
    """Base of methods that ask for the classes of cases; its config is a `CaseQueriesConfig`.

    A subclass gives `model_made`, `view` and `chosen`. What was asked for is a list of lists of ids: the first cases,
    then those of each round.
    """

    Config = CaseQueriesConfig

    @classmethod
    def check(cls, settings):
        if settings.model.test_per_class and not settings.data.split.given:
            raise ValueError("model.test_per_class: names the test cases; set data.split.given to true")
        if settings.data.labelled_share != 1:
            raise ValueError("data.labelled_share means nothing here; set model.initial_share instead")
        c = settings.model
        if settings.data.augment_with and (c.initial_share < 1 or c.rounds or c.answers or c.class_shares):
            raise ValueError(
                "data.augment_with: cases are made of labelled ones, and what is asked for is real; label all from the "
                "start by model.initial_share=1 and model.rounds=0, without model.answers and model.class_shares"
            )

    def model_made(self, config, rate, epoch, **options):
        """A `ClassifierModel` with new weights; `epoch` steps are one pass over the labelled cases."""
        raise NotImplementedError

    def view(self, case, seed, index):
        """A case's image as the network sees it in training; a function of the seed and the sample's number."""
        raise NotImplementedError

    def chosen(self, cases, labelled, count, draw):
        """(places of `count` cases to ask for, in order, scores of all cases or None), with the newest model.

        Args:
            cases: of the pool.
            labelled: bool `(cases,)`.
            count: of cases that are asked for.
            draw: numpy Generator.
        """
        raise NotImplementedError

    # --- the pool -----------------------------------------------------------------------------------------------------

    @functools.cached_property
    def cases(self):
        """As of all methods with classes; cases that await an answer are in "train"."""
        c, data = self.config, self.settings.data
        found = sources.open(data.source, data.root, **data.options)
        waiting = [case for case in found if c.answers and case.meta.get("class") == c.unlabelled]
        names = {case.id for case in waiting}
        known = by_class([case for case in found if case.id not in names])
        if c.test_per_class:
            known = {kind: [_of_part(case, "test" if k < c.test_per_class else "train") for k, case in enumerate(some)]
                     for kind, some in known.items()}  # fmt: skip
        parts = splits.joined(self.split(known))
        if not c.answers:
            return parts
        if not waiting:
            raise DataError(f"no case is of class {c.unlabelled!r}, those that await an answer; set model.unlabelled")
        return splits.joined({"known": parts, "waiting": self.all_train("waiting", waiting, data.root)})

    @functools.cached_property
    def pool_cases(self):
        """{id: Case} of the training cases, thinned out to `class_shares`.

        Raises:
            DataError: they are of one class alone, or of another than the settings know.
        """
        c, cases = self.config, self.cases["train"]
        numbers_of([case for case in cases if not (c.answers and case.meta["class"] == c.unlabelled)], c.classes)
        kinds = {name: [case for case in cases if case.meta["class"] == name] for name in c.classes}
        if sum(map(bool, kinds.values())) < 2:
            raise DataError("the training cases are of one class; nothing can be told apart: check model.classes")
        if c.class_shares:
            shares = dict(zip(c.classes, c.class_shares, strict=True))
            whole, kept = min(len(kinds[name]) / share for name, share in shares.items()), set()
            for k, (name, share) in enumerate(shares.items()):
                order = _POOL(self.settings.seed, k).permutation(len(kinds[name]))
                kept |= {kinds[name][place].id for place in order[: round(whole * share)]}
            cases = [case for case in cases if case.id in kept]
        return {case.id: case for case in cases}

    def budget(self, share):
        """How many cases a share of the pool is."""
        count = math.floor(share * len(self.pool_cases) + 1e-9)
        if count < 1:
            raise DataError(
                f"a share of {share:g} of a pool of {len(self.pool_cases)} cases is less than one case; raise "
                "model.initial_share and model.query_share"
            )
        return count

    def first(self):
        """Ids of the cases that are labelled from the start."""
        c, ids = self.config, list(self.pool_cases)
        if c.answers:
            known = [one for one in ids if self.pool_cases[one].meta["class"] != c.unlabelled]
            left, each = len(ids) - len(known), self.budget(c.query_share)
            if c.rounds * each > left:
                raise DataError(
                    f"{left} cases await an answer, and {c.rounds} rounds ask for {each} each; lower model.rounds or "
                    "model.query_share"
                )
            return known
        draw, chosen, count = _QUERIES(self.settings.seed, 0), np.zeros(len(ids), bool), self.budget(c.initial_share)
        for kind in c.classes if c.min_per_class else ():
            other = np.array([self.pool_cases[one].meta["class"] != kind for one in ids])
            chosen[acquisition.random_cases(other, min(c.min_per_class, int((~other).sum())), draw)] = True
        chosen[acquisition.random_cases(chosen, max(0, count - int(chosen.sum())), draw)] = True
        return [ids[k] for k in np.flatnonzero(chosen)]

    # --- rounds -------------------------------------------------------------------------------------------------------

    def stages(self):
        config = self.config
        asked = [] if self.records.frozen else [self.first()]
        yield self._stage("initial", asked)
        for number in range(1, config.rounds + 1):
            make = functools.partial(self.query, number, asked)
            found = self.records.recall(f"query{number}", make, query_tables.is_query)
            if found is None:  # a run that is only looked at ends where nothing has been asked for yet
                return
            asked = [*asked, found["asked"]]
            yield self._stage(f"round{number}", asked)
        for number in range(1, config.repeats):
            yield self._stage(f"repeat{number}", asked, number)

    def _stage(self, name, asked, repeat=0):
        """Training from new weights on all that was asked for."""
        train = self.settings.train
        epoch = max(1, -(-(sum(map(len, asked)) + len(self.made)) // train.batch_size))
        steps = None if self.records.frozen else min(train.steps, self.config.epochs * epoch)
        samples = functools.partial(self.round_samples, name, asked, self.settings.seed + repeat)
        how = dict(steps=steps, validation=self.validate, epoch=epoch)
        return self.stage(name, self.model_made, samples, self.config.learning_rate, **how)

    def round_samples(self, name, asked, seed):
        """Samples: `image` and `label`; each epoch shows every labelled case once, and every one that was made."""
        classes = self.classes_of(asked)
        cases = [dataclasses.replace(self.pool_cases[one], meta={"class": kind}) for one, kind in classes.items()]
        labels = numbers_of([*cases, *self.made], self.config.classes)
        counted = {f"labelled_{name}": list(classes.values())}
        if not name.startswith("repeat"):
            counted[f"asked_{name}"] = [classes[one] for one in asked[-1]]
        for key, kinds in counted.items():
            make = functools.partial(acquisition.class_counts, kinds, self.config.classes)
            self.records.recall(key, make, query_tables.is_counts)
        cases = [*(self.pool_cases[one] for one in classes), *self.made]

        def read(index):
            k = shuffled(seed, index, len(cases))
            return {"image": self.view(cases[k], seed, index), "label": labels[k]}

        spec = {"image": (self.array(cases[0]).shape, "float32"), "label": ((), "int32")}
        return Samples(read, spec, self.settings.train.batch_size)

    def query(self, number, asked):
        """{"asked": ids in the order in which they were chosen, "scores": {id: score}}, and the table of them."""
        ids, count = list(self.pool_cases), self.budget(self.config.query_share)
        labelled = np.isin(ids, [one for some in asked for one in some])
        draw = _QUERIES(self.settings.seed, number)
        chosen, scores = self.chosen(list(self.pool_cases.values()), labelled, count, draw)
        told = {} if scores is None else {ids[k]: float(scores[k]) for k in chosen}
        if self.records.folder is not None and self.records.writes:
            class_answers.write_query(self._table(number), [self.pool_cases[ids[k]] for k in chosen], told)
        return {"asked": [ids[k] for k in chosen], "scores": told}

    def _table(self, number):
        folder = pathlib.Path("records") if self.records.folder is None else self.records.folder
        return folder.parent / "queries" / f"round{number}.csv"

    # --- who answers --------------------------------------------------------------------------------------------------

    def classes_of(self, asked):
        """{id: class} of all that was asked for: by the labels, or as a person answered."""
        found = {one: self.pool_cases[one].meta["class"] for one in asked[0]}
        for number, some in enumerate(asked[1:], 1):
            if self.config.answers:
                make = functools.partial(self.answers, number, asked[1:], dict(found))
                found |= self.records.recall(f"answers{number}", make, query_tables.is_answers)
            else:
                found |= {one: self.pool_cases[one].meta["class"] for one in some}
        return found

    def answers(self, number, asked, known):
        """{id: class} that a person gave to the cases of a round.

        Args:
            number: of the round, from 1.
            asked: ids of each round.
            known: {id: class} of the rounds before.

        Raises:
            RunError: some are missing.
            DataError: an answer is wrong, or has changed since a network was trained on it.
        """
        path, cases = self.config.answers, [self.pool_cases[one] for some in asked[:number] for one in some]
        found, wanted = class_answers.read_answers(path, self.config.classes, cases), asked[number - 1]
        if changed := [one for one in found if one in known and found[one] != known[one]]:
            raise DataError(
                f"{path}: {changed[0]!r} was {known[changed[0]]!r} when a network was trained on it; put that back, or "
                "train a new run"
            )
        if missing := [one for one in wanted if one not in found]:
            class_answers.refuse(number, missing, len(wanted), self._table(number), path)
        return {one: found[one] for one in wanted}

    def desk_of(self, folder):
        """The desk at which a person answers in a page."""
        c = self.config
        if not c.answers:
            raise RunError(f"{folder}: asks nobody, its labels answer; train one with model.answers=TABLE")
        return ClassDesk(folder / "queries", c.answers, c.classes,
                         lambda number: (folder / "records" / f"answers{number}.json").exists())  # fmt: skip

    # --- what verbs ask for -------------------------------------------------------------------------------------------

    @property
    def classifiers(self):
        """{stage: model} of the trainings on the last labelled set."""
        last = f"round{self.config.rounds}" if self.config.rounds else "initial"
        found = {name: model for name, model in self.models.items() if name == last or name.startswith("repeat")}
        return found or dict(list(self.models.items())[-1:])

    def scores_of(self, probabilities, labels):
        """As of all classifiers, with the recall of each class and the calibration error."""
        return query_tables.all_scores(probabilities, labels, self.config.classes)

    def evaluate(self, methods, part: Split = "test"):
        """As of all classifiers, and "rounds": a row per run and training; learning curves, class histograms."""
        found = super().evaluate(methods, part)
        rows = query_tables.round_rows(methods, part, *self.labelled(part))
        pictures = {"learning": query_tables.curves(rows, part)} | query_tables.histograms(methods)
        return Evaluation(found | {"rounds": rows}, found.pictures | pictures)

    def previews(self):
        """The confusion on the validation cases, and how many cases of each class every round asked for."""
        confusion = super().previews() if self.cases["validation"] else {}
        return confusion | query_tables.histograms({"run": self})


def _of_part(case, part):
    return dataclasses.replace(case, meta={**case.meta, "part": part})
