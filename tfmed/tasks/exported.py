"""SavedModels that `tfmed export` wrote, opened again: what predicts with them, whatever their task."""

import pathlib
import tempfile
from typing import Annotated

import numpy as np
import pydantic
import tensorflow as tf

from tfmed.config import Interval
from tfmed.data import preprocess
from tfmed.data.census import is_picture
from tfmed.data.instances import instances
from tfmed.data.readers import read_address
from tfmed.data.trained_on import TrainedOn
from tfmed.engine import saved_model
from tfmed.engine.exporting import NOTE
from tfmed.errors import UserError
from tfmed.files import plain_json
from tfmed.io import write_volume
from tfmed.io.stack import write_picture
from tfmed.tasks.box_finder import BoxFinder
from tfmed.tasks.classification import CaseClassifier
from tfmed.tasks.completion import Completer
from tfmed.tasks.instance_prediction import Finder
from tfmed.tasks.landmark_settings import decoding_of
from tfmed.tasks.point_finder import LandmarkFinder, PointFinder
from tfmed.tasks.prediction import Segmenter
from tfmed.tasks.sorter import Sorter
from tfmed.tasks.style_transferrer import StyleTransferrer
from tfmed.tasks.translation import Output, VolumeTranslator

# What a note may hold: outputs become names of files, label values become voxels.
_TEXTS = pydantic.TypeAdapter(Annotated[list[str], pydantic.Field(min_length=1)])
_OUTPUT_NAMES = pydantic.TypeAdapter(list[Annotated[str, pydantic.Field(pattern=r"^\w[\w.-]*$", max_length=100)]])
_LABEL_VALUES = pydantic.TypeAdapter(
    Annotated[list[Annotated[int, pydantic.Field(ge=-(2**15), lt=2**16)]], pydantic.Field(min_length=2, max_length=256)]
)
_CLASSES = pydantic.TypeAdapter(
    Annotated[list[Annotated[int, pydantic.Field(ge=1, lt=256)]], pydantic.Field(max_length=256)]
)
_NAMES = pydantic.TypeAdapter(
    dict[Annotated[int, pydantic.Field(ge=-(2**15), lt=2**16)], Annotated[str, pydantic.Field(max_length=1000)]]
)
_THRESHOLDS = pydantic.TypeAdapter(
    tuple[Annotated[float, pydantic.Field(gt=0, lt=1)], Annotated[float, pydantic.Field(gt=0, lt=1)] | None]
)
_THRESHOLD = pydantic.TypeAdapter(Annotated[float, pydantic.Field(ge=0, le=1)] | None)
_CLUSTERS = pydantic.TypeAdapter(
    Annotated[list[Annotated[str, pydantic.Field(max_length=1000)]], pydantic.Field(min_length=1, max_length=2**16)]
)
_SEED = pydantic.TypeAdapter(Annotated[int, pydantic.Field(ge=0, lt=2**62)])
_INTERVAL, _COUNT = pydantic.TypeAdapter(Interval), pydantic.TypeAdapter(Annotated[int, pydantic.Field(ge=1, le=2**16)])
_STEPS = pydantic.TypeAdapter(tuple[preprocess.Step, ...])
_OUTPUT = pydantic.TypeAdapter(Output)


def given(folder, images):
    """(name of a signature, {name of an argument: array}): what a SavedModel is first given when it predicts a case.

    Args:
        folder: of the SavedModel.
        images: {name of an image: address} of the case, of which it takes what it needs.

    Raises:
        UserError: it takes no images, or cannot predict the case.
    """
    note, calls = plain_json(pathlib.Path(folder) / NOTE), []
    wanted = note.get("modalities") or [note.get("modality")]
    if None in wanted or not set(wanted) <= set(images):
        raise UserError(f"{folder}: takes no image of a case alone")
    predictor = open_model(folder, lambda signatures: _Heard(signatures, calls))
    with tempfile.TemporaryDirectory() as place:
        files = [f"{name}={_as_file(images[name], pathlib.Path(place) / name)}" for name in wanted]
        for _ in predictor.predict([",".join(files)], pathlib.Path(place) / "out"):
            break
    if not calls:
        raise UserError(f"{folder}: does not look at the images of a case")
    return calls[0]


def _as_file(address, stem):
    """The image at an address as a file of its own, which a word of the command can name."""
    volume = read_address(address)
    path = stem.with_name(f"{stem.name}{'.png' if is_picture(address) else '.nii.gz'}")
    if is_picture(address):
        write_picture(volume.array[0], path)
    else:
        write_volume(volume, path)
    return path


class _Heard(dict):
    """Signatures that note what they are called with, in a list."""

    def __init__(self, signatures, calls):
        super().__init__({name: _heard(name, call, calls) for name, call in signatures.items()})


def _heard(name, call, calls):
    def heard(**arguments):
        calls.append((name, {key: np.asarray(value) for key, value in arguments.items()}))
        return call(**arguments)

    heard.structured_input_signature = call.structured_input_signature
    heard.structured_outputs = call.structured_outputs
    return heard


def open_model(folder, listening=lambda signatures: signatures):
    """What predicts with a SavedModel: it has `outputs` and `predict(words, out, outputs)`.

    Args:
        folder: of the SavedModel.
        listening: function of its signatures -> those that are used in their place.

    Raises:
        UserError: the folder is not one, or its files are damaged or do not belong together.
    """
    folder = pathlib.Path(folder)
    try:
        note = plain_json(folder / NOTE)
        steps = _STEPS.validate_python(note["steps"])
        of_task = _TASKS[note.get("task", "segmentation")](note)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{folder / NOTE}: missing or damaged ({type(error).__name__}); give the SavedModel of a method that takes "
            "images, or export its run again"
        ) from None
    try:
        model = tf.saved_model.load(str(folder))
        return of_task(folder, steps, listening(model.signatures))
    except UserError:
        raise
    except Exception as error:  # TensorFlow and protobuf have no common one
        raise UserError(f"{folder}: cannot be loaded ({type(error).__name__}); export the run again") from None


def open_bundled(found):
    """As `open_model`, of a Bundle, whose SavedModel is looked at before it is loaded.

    Raises:
        UserError: it is damaged, or does what a model should not.
    """
    try:
        saved_model.check(found.model)
    except ValueError as error:
        raise UserError(f"{found.path}: {error}; do not use it") from None
    return open_model(found.model)


class ExportedSegmenter(Segmenter):
    """Segments with a SavedModel.

    Args:
        probabilities: function of float32 `(z, y, x, channel)` and affine `(4, 4)` -> float32 `(z, y, x, class)`.
        modalities, label_values, steps, single, names, trained_on, threshold: as for a `Segmenter`.
    """

    def __init__(self, modalities, label_values, steps, probabilities, single, names, trained_on, threshold):
        super().__init__(modalities, label_values, steps, None, single, names, trained_on, threshold)
        self.on_grid = probabilities


def _segmenter(note):
    modalities = _TEXTS.validate_python(note["modalities"])
    label_values = _LABEL_VALUES.validate_python(note["label_values"])
    single = _CLASSES.validate_python(note.get("single", []))
    names = _NAMES.validate_python(note.get("names", {}))
    seen = TrainedOn.from_note(note.get("trained_on"))
    threshold = _THRESHOLD.validate_python(note.get("threshold"))

    def opened(folder, steps, signatures):
        run = signatures["probabilities"]
        image, answer = run.structured_input_signature[1]["image"], run.structured_outputs["probabilities"]
        sizes = image.shape[-1], answer.shape[-1]
        if sizes != (len(modalities), len(label_values)):
            raise UserError(
                f"{folder / NOTE}: names {len(modalities)} images and {len(label_values)} classes, and the model has "
                f"{sizes[0]} and {sizes[1]}; export the run again"
            )

        takes_affine = "affine" in run.structured_input_signature[1]

        def probabilities(stack, affine):
            place = {"affine": tf.constant(affine, tf.float64)} if takes_affine else {}
            return run(image=tf.constant(stack), **place)["probabilities"].numpy()

        return ExportedSegmenter(modalities, label_values, steps, probabilities, single, names, seen, threshold)

    return opened


def _translator(note):
    outputs = {
        name: _OUTPUT.validate_python(note["outputs"][name])
        for name in _OUTPUT_NAMES.validate_python([*note["outputs"]])
    }
    names = {name: str(note["signatures"][name]) for name in outputs}
    (modality,), usual = _TEXTS.validate_python([note["modality"]]), tuple(note["usual"])
    if not usual or not set(usual) <= set(outputs):
        raise ValueError("usual: names no outputs")

    def opened(folder, steps, signatures):
        used = {name: signatures[name] for name in names.values()}

        def compute(array):
            made = {name: run(image=tf.constant(array, tf.float32)) for name, run in used.items()}
            return {name: np.asarray(made[signature][name]) for name, signature in names.items()}

        return VolumeTranslator(modality, steps, outputs, compute, usual)

    return opened


def _classifier(note):
    modalities = _TEXTS.validate_python(note.get("modalities") or [note["modality"]])  # older ones have the latter
    classes = _TEXTS.validate_python(note["classes"])

    def opened(folder, steps, signatures):
        run = signatures["serving_default"]

        def compute(array):
            return run(image=tf.constant(array, tf.float32))["probabilities"].numpy()

        return CaseClassifier(modalities, steps, classes, compute)

    return opened


def _finder(note):
    (modality,) = _TEXTS.validate_python([note["modality"]])
    how = _THRESHOLDS.validate_python([note["centroid_threshold"], note["region_threshold"]]), note["surface"]
    if how[1] not in ("distance", "region"):
        raise ValueError("surface: is unknown")

    def opened(folder, steps, signatures):
        run = signatures["serving_default"]

        def maps(image):
            return run(image=tf.constant(image[None, ..., None], tf.float32))["maps"][0].numpy()

        return Finder(modality, steps, maps, lambda found: instances(found[..., 0], found[..., 1], *how[0], how[1]))

    return opened


def _points(note):
    modalities, decoding = _TEXTS.validate_python(note["modalities"]), decoding_of(note["decoding"])

    def opened(folder, steps, signatures):
        run = signatures["serving_default"]

        def heatmap(image):
            return run(image=tf.constant(image, tf.float32))["heatmap"].numpy()[0, ..., 0]

        return PointFinder(modalities, steps, decoding, heatmap)

    return opened


def _landmarks(note):
    modalities, names = _TEXTS.validate_python(note["modalities"]), _TEXTS.validate_python(note["landmarks"])

    def opened(folder, steps, signatures):
        run = signatures["serving_default"]
        if (count := run.structured_outputs["points"].shape[1]) != len(names):
            raise UserError(
                f"{folder / NOTE}: names {len(names)} landmarks, and the model has {count}; export the run again"
            )

        def places(image):
            return run(image=tf.constant(image, tf.float32))["points"].numpy()[0]

        return LandmarkFinder(modalities, steps, names, places)

    return opened


def _boxes(note):
    modalities, classes = _TEXTS.validate_python(note["modalities"]), _TEXTS.validate_python(note["classes"])

    def opened(folder, steps, signatures):
        run = signatures["serving_default"]

        def compute(stack):
            return {name: value.numpy() for name, value in run(image=tf.constant(stack, tf.float32)).items()}

        return BoxFinder(modalities, steps, classes, compute)

    return opened


def _style_transferrer(note):
    (modality,), seed = _TEXTS.validate_python([note["modality"]]), _SEED.validate_python(note["seed"])

    def opened(folder, steps, signatures):
        transfer, draw = signatures["transfer"], signatures["draw"] if note["draws"] else None

        def in_style(contents, style):
            styles = np.repeat(style, len(contents), 0)
            return transfer(image=tf.constant(contents), style=tf.constant(styles))["transferred"].numpy()

        def drawn(contents, number):
            which = {"seed": tf.constant(seed, tf.int64), "number": tf.constant(number, tf.int64)}
            return draw(image=tf.constant(contents), **which)["transferred"].numpy()

        size = transfer.structured_input_signature[1]["image"].shape[1:3]
        return StyleTransferrer(modality, steps, size, in_style, draw and drawn)

    return opened


def _completer(note):
    grey, multiple = _INTERVAL.validate_python(note["grey"]), _COUNT.validate_python(note["multiple"])
    count, seen_stays = _COUNT.validate_python(note["completions"]), bool(note["seen_stays"])

    def opened(folder, steps, signatures):
        run = signatures["serving_default"]

        def compute(image, mask):
            values = {"image": tf.constant(image, tf.float32), "mask": tf.constant(mask, tf.float32)}
            return run(count=tf.constant(count, tf.int32), seed=tf.constant(0, tf.int64), **values)[
                "completions"
            ].numpy()

        return Completer(steps, grey, multiple, compute, seen_stays)

    return opened


def _sorter(note):
    names = _CLUSTERS.validate_python(note["names"])
    slices = None if note["slices"] is None else _COUNT.validate_python(note["slices"])

    def opened(folder, steps, signatures):
        run = signatures["serving_default"]
        if (count := run.structured_outputs["distances"].shape[1]) != len(names):
            raise UserError(
                f"{folder / NOTE}: names {len(names)} clusters, and the model has {count}; export the run again"
            )
        return Sorter(steps, slices, names, lambda chosen: run(image=tf.constant(chosen))["distances"].numpy())

    return opened


def _needs_run(note):
    raise UserError(
        "this SavedModel sees slices alone: where landmarks lie needs the reference volume, too; give the run to "
        "'tfmed predict'"
    )


_TASKS = {
    "segmentation": _segmenter, "translation": _translator, "classification": _classifier, "instances": _finder,
    "landmarks": _points, "named_landmarks": _landmarks, "volume_landmarks": _needs_run,
    "detection": _boxes, "style_transfer": _style_transferrer, "inpainting": _completer,
    "clustering": _sorter,
}  # fmt: skip
