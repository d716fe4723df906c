"""What is done with a trained run: scores, predictions, samples; the verbs of these names and the methods of `Run`."""

import csv
import itertools
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfmed import registry
from tfmed.engine import previews, report
from tfmed.engine.abilities import WITHOUT, CanEvaluate, CanPredict, CanSample, CanView, Evaluation
from tfmed.engine.run import Run, load_run
from tfmed.errors import RunError, UserError
from tfmed.files import PathLike, atomic_path, expanded, write_error
from tfmed.io.read import READERS
from tfmed.io.stack import SUFFIXES as PICTURES
from tfmed.pictures import of_files
from tfmed.pictures.layers import Panel, View


def opened(run: "Run | PathLike", ability: type) -> Run:
    """A Run whose method has an ability.

    Raises:
        RunError: it has not, or there is no run.
    """
    run = run if isinstance(run, Run) else load_run(run)
    if not issubclass(registry.method_class(run.method_name), ability):
        raise RunError(f"{run.path}: method {run.method_name!r} {WITHOUT[ability]}")
    return run


def evaluate(
    run: "Run | PathLike",
    compare: Sequence["Run | PathLike"] = (),
    out: PathLike | None = None,
    data: Sequence[str] = (),
    **options: Any,
) -> Evaluation:
    """Score a trained run, and write its tables, pictures and report into its directory.

    Args:
        run: Run, its directory, or a bundle's.
        compare: further runs of the same method, such as a baseline's, for the same tables.
        out: another folder to write to; a bundle, and scores on other data, need one.
        data: `key=value` that say where other data lie, as `Run.on_other_data` takes them: all cases then test.
        options: those of the method, such as `part="validation"`; see `tfmed evaluate RUN --help`.

    Returns:
        {name of a table: list of rows}, "evaluation" first.
    """
    run = to_be_scored(opened(run, CanEvaluate), out, data)
    return evaluate_method(run, run.restored(), compare, options, out, data)


def to_be_scored(run: Run, out: PathLike | None, data: Sequence[str]) -> Run:
    """A Run with the data that it is to be scored on.

    Raises:
        UserError: there is no place to write to, or `data` says something else than where other data lie.
    """
    if out is None:
        run.check_writable("say where to write by --out")
    if data and out is None:
        raise UserError("scores on other data are none of the run's own; say where to write them by --out")
    return run.on_other_data(data) if data else run


def evaluate_method(
    run: Run, method: Any, compare: Sequence["Run | PathLike"], options: Mapping[str, Any],
    out: PathLike | None = None, data: Sequence[str] = (),
) -> Evaluation:  # fmt: skip
    """As `evaluate`, of a Run that `to_be_scored` gave, and whose Method is restored already."""
    others = [to_be_scored(opened(other, CanEvaluate), out or run.path, data) for other in compare]
    for other in others:
        if other.method_name != run.method_name:
            raise RunError(
                f"{other.path}: is a run of {other.method_name}, not {run.method_name}; compare like with like"
            )
    names = _names([run.path, *(other.path for other in others)])
    methods = [method, *(other.restored() for other in others)]
    found = method.evaluate(dict(zip(names, methods, strict=True)), **options)
    place = run if out is None else Run(new_folder(out), run.settings)
    for name, rows in found.items():
        _write(place.path / f"{name}.csv", rows)
    previews.write(found.pictures, place.path, None)
    report.write(place)
    return found


def views(
    runs: Sequence["Run | PathLike"], part: str = "test", count: int | None = None
) -> tuple[list[Run], Iterator[View]]:
    """(the Runs, a View of each case of the first one's part); of runs that generate, of samples.

    Args:
        runs: Runs of one method, or their directories; what each makes of a case stands side by side.
        part: "test", "validation" or "train".
        count: of views at most; default all cases, or four samples.

    Raises:
        RunError: the runs are of different methods, or of one whose cases are no images.
    """
    opened_runs = [run if isinstance(run, Run) else load_run(run) for run in runs]
    first = opened_runs[0]
    kind = registry.method_class(first.method_name)
    if not issubclass(kind, (CanView, CanSample)):
        raise RunError(f"{first.path}: method {first.method_name!r} has no cases to look at one by one; see its "
                       "report.html, or predict images and give their files")  # fmt: skip
    for other in opened_runs[1:]:
        if other.method_name != first.method_name:
            raise RunError(
                f"{other.path}: is a run of {other.method_name}, not {first.method_name}; view like with like"
            )
    names = _names([run.path for run in opened_runs])
    methods: dict[str, Any] = {name: run.restored() for name, run in zip(names, opened_runs, strict=True)}
    found = methods[names[0]].views(methods, part) if issubclass(kind, CanView) else _of_samples(methods, count or 4)
    return opened_runs, itertools.islice(found, count)


def _of_samples(methods: Mapping[str, Any], count: int) -> Iterator[View]:
    """Views of samples, as they are written, with the label maps that lie beside them."""
    made = [method.sample(count) for method in methods.values()]
    for number, items in enumerate(zip(*made, strict=True)):
        panels = []
        for (name, method), item in zip(methods.items(), items, strict=True):
            with tempfile.TemporaryDirectory() as folder:
                path = method.write_sample(item, pathlib.Path(folder), f"sample-{number:04d}")
                if not path.name.endswith((*READERS, *PICTURES)):
                    raise RunError(f"{name}: its samples are no images; see its report.html")
                beside = sorted(str(one) for one in path.parent.glob(f"sample-{number:04d}_labels.*"))
                (shown,) = of_files.views([str(path), *beside])
            kind = "" if path.parent == pathlib.Path(folder) else f": {path.parent.name}"  # of classes, in folders
            panels.append(Panel(f"{name}{kind}", shown.panels[0].layers))
        yield View(f"sample {number}", tuple(panels))


def predict(
    run: "Run | PathLike", inputs: PathLike | Sequence[PathLike], out: PathLike, outputs: Sequence[str] | None = None
) -> list[pathlib.Path]:
    """Apply a trained run to images, and write what it makes of each below a folder; returns the files.

    Args:
        run: Run, or its directory (`tfmed.predict` takes SavedModels too).
        inputs: a file or folder of a DICOM series, or several; `t1=FILE,t2=FILE` for several modalities.
        out: folder to write.
        outputs: which of the method's outputs; None: the usual ones.
    """
    run = opened(run, CanPredict)
    known = registry.method_class(run.method_name).outputs
    for name in outputs or ():
        if name not in known:
            raise UserError(f"outputs: no output {name!r}; known: {', '.join(known) or 'none, leave it out'}")
    return list(predictions(run.restored(), inputs, out, outputs))


def predictions(
    predictor: Any, inputs: PathLike | Sequence[PathLike], out: PathLike, outputs: Sequence[str] | None
) -> Iterator[pathlib.Path]:
    """As `predict`, of whatever has a `predict`; one path at a time."""
    words = [inputs] if isinstance(inputs, (str, os.PathLike)) else inputs
    return predictor.predict([str(word) for word in words], expanded(out), outputs)


def sample(run: "Run | PathLike", count: int, out: PathLike, seed: int = 0, **options: Any) -> list[pathlib.Path]:
    """Write `count` items that a trained generator makes below a folder; returns the files.

    Args:
        run: Run, or its directory.
        count: number of items.
        out: folder to write.
        seed: of the items.
        options: those of the method's `sample`; see `tfmed sample RUN --help`.
    """
    run = opened(run, CanSample)
    return list(samples(run.restored(), count, out, seed, options, {}))


def samples(
    method: Any, count: int, out: PathLike, seed: int, options: Mapping[str, Any], writing: Mapping[str, Any]
) -> Iterator[pathlib.Path]:
    """As `sample`, of a restored Method; one path at a time."""
    folder = new_folder(out)
    for index, item in enumerate(method.sample(count, seed, **options)):
        yield method.write_sample(item, folder, f"sample-{index:04d}", **writing)


def new_folder(path: PathLike) -> pathlib.Path:
    """The folder at a path, made if need be; RunError when it cannot be."""
    path = expanded(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    return path


def _names(paths: Sequence[pathlib.Path]) -> list[str]:
    """What tables call the runs: their folders' names, or the paths where two have one name."""
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path.resolve()) for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"compare: {name} is there twice; name each run once")
    return names


def _write(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
