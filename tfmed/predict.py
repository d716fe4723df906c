"""python -m tfmed.predict MODEL... INPUT... --out DIR: apply a trained model to volumes."""

import itertools
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tfmed import cli
from tfmed.errors import UserError
from tfmed.files import PathLike, expanded

if TYPE_CHECKING:
    from tfmed.engine.run import Run


def main(argv: Sequence[str]) -> None:
    parser = cli.parser("predict", "Apply a trained model to volumes.")
    parser.add_argument(
        "words",
        nargs="+",
        metavar="model [model ...] input",
        help="run directories, or SavedModels or bundles that 'tfmed export' wrote (of several segmenters the "
        "probabilities are averaged), then volumes: files, folders of DICOM series; for several modalities "
        "t1=FILE,t2=FILE, or a folder with files that end in _t1, _t2",
    )
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument(
        "--outputs",
        "--maps",
        metavar="NAME,NAME",
        help="what to write: of segmentation labels,probabilities,entropy (default: labels), of MR to CT ct,low,high "
        "(default: ct)",
    )
    parser.add_argument(
        "--format",
        choices=("nifti", "dicom-seg"),
        default="nifti",
        help="dicom-seg: write the labels of a segmented DICOM series as a DICOM Segmentation that refers to it; the "
        "patient's and study's fields of the series are copied into it",
    )
    arguments = parser.parse_args(argv)
    outputs = None if arguments.outputs is None else arguments.outputs.split(",")
    models = list(itertools.takewhile(_is_model, arguments.words)) or arguments.words[:1]
    inputs = arguments.words[len(models) :]
    if not inputs:
        raise UserError("predict: there are models and no input; see 'tfmed predict --help'")
    cli.start_tensorflow()
    from tfmed.engine import use

    paths = _paths(models, inputs, arguments.out, outputs, arguments.format)
    use.new_folder(arguments.out)
    for path in paths:
        print(path)


def _is_model(word: PathLike) -> bool:
    folder = expanded(word)
    return any((folder / name).is_file() for name in ("config.yaml", "bundle.json", "saved_model.pb"))


def _paths(
    models: "Sequence[Run | PathLike]", inputs: PathLike | Sequence[PathLike], out: PathLike,
    outputs: Sequence[str] | None, form: str,
) -> Iterator[pathlib.Path]:  # fmt: skip
    from tfmed import registry
    from tfmed.engine import use
    from tfmed.engine.abilities import CanPredict
    from tfmed.engine.bundle import BundledRun
    from tfmed.engine.run import Run
    from tfmed.tasks import exported
    from tfmed.tasks.prediction import Ensemble, Segmenter

    predictors = []
    for model in models:
        if not isinstance(model, Run) and (expanded(model) / "saved_model.pb").is_file():
            predictor = exported.open_model(expanded(model))
            chosen = _chosen(outputs, predictor.outputs, form)
        else:
            run = use.opened(model, CanPredict)
            chosen = _chosen(outputs, registry.method_class(run.method_name).outputs, form)
            if isinstance(run, BundledRun) and run.bundle.manifest.needs_data is not None:
                predictor = exported.open_bundled(run.bundle)
            else:
                predictor = run.restored()
        predictors.append(predictor)
    if len(predictors) > 1:
        members = [one.segmenter() if hasattr(one, "segmenter") else one for one in predictors]
        if not all(isinstance(member, Segmenter) for member in members):
            raise UserError("predict: several models are averaged where all are segmenters; give one model")
        predictor = Ensemble(members)
    return use.predictions(predictor, inputs, out, chosen)


def _chosen(outputs: Sequence[str] | None, known: Sequence[str], form: str) -> Sequence[str] | None:
    """The outputs that were asked for, or None."""
    if form == "dicom-seg":
        from tfmed.tasks.prediction import DICOM_SEG

        if "labels" not in known or outputs not in (None, ["labels"]):
            raise UserError("--format dicom-seg: is for the labels of a segmentation; leave it out")
        return [DICOM_SEG]
    for name in outputs or ():
        if name not in known:
            raise UserError(f"--outputs: no output {name!r}; known: {', '.join(known) or 'none, leave it out'}")
    return outputs


def _predict(
    model: "Run | PathLike | Sequence[Run | PathLike]",
    inputs: PathLike | Sequence[PathLike],
    out: PathLike,
    outputs: Sequence[str] | None = None,
    format: Literal["nifti", "dicom-seg"] = "nifti",
) -> list[pathlib.Path]:
    """Apply a trained model to images, and write what it makes of each below a folder.

    Args:
        model: Run, its directory, or a SavedModel or bundle that `tfmed.export` wrote; of several segmenters the
            probabilities are averaged.
        inputs: a file or folder of a DICOM series, or several; `t1=FILE,t2=FILE` for several modalities.
        out: folder to write.
        outputs: which of the method's outputs; None: the usual ones.
        format: "dicom-seg" writes the labels of a segmented DICOM series as a DICOM Segmentation.

    Returns:
        The files.
    """
    models: Any = model if isinstance(model, (list, tuple)) else [model]
    return list(_paths(models, inputs, out, outputs, format))


if __name__ == "__main__":
    sys.exit(cli.run(main))
cli.callable_module(__name__, _predict)
