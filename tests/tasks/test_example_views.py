"""Examples of bundles as views, of answers of every kind: arrays as they lie in a bundle."""

import json

import numpy as np
import pytest

from tfmed.engine import bundle, example
from tfmed.errors import RunError
from tfmed.tasks import example_views

pytestmark = pytest.mark.current
PICTURE = np.linspace(0, 255, 2 * 20 * 30 * 3, dtype=np.float32).reshape(2, 20, 30, 3)
BOXES = {"boxes": np.array([[[3, 4, 13, 12], [0, 0, 9, 9]]] * 2, np.float32), "count": np.array([1, 2], np.int32),
         "classes": np.array([[1, -1]] * 2, np.int32), "scores": np.array([[0.75, 0]] * 2, np.float32)}  # fmt: skip


@pytest.fixture
def shown(tmp_path):
    """Function of a note, inputs and answers -> the View of a bundle that has them."""

    def view(note, inputs, answers):
        (tmp_path / "b" / bundle.MODEL).mkdir(parents=True)
        (tmp_path / "b" / bundle.MODEL / "tfmed.json").write_text(json.dumps(note), encoding="utf-8")
        example.write(tmp_path / "b", inputs, answers)
        about = {"signature": "serving_default", "kind": "made", "inputs": [*inputs], "answers": [*answers]}
        manifest = bundle.Manifest(tfmed_bundle=1, tfmed="1", method="m", stack="addons", example=about,
                                   needs_data=None, left_out=[], files={})  # fmt: skip
        return example_views.view(bundle.Bundle(tmp_path / "b", manifest, ""))

    return view


def told(view):
    """{title of a panel: names of its layers}."""
    return {panel.title: [layer.name for layer in panel.layers] for panel in view.panels}


def test_classes_of_a_segmenter_lie_over_its_input(shown):
    chances = np.zeros((4, 5, 6, 3), np.float32)
    chances[..., 0], chances[1, 2, 3] = 1, (0.1, 0.2, 0.7)
    note = {"task": "segmentation", "modalities": ["t1", "t2"], "label_values": [0, 1, 4], "names": {"4": "tumour"}}
    found = shown(note, {"image": np.ones((4, 5, 6, 2), np.float32)}, {"probabilities": chances})
    over = ["most probable class", "probability of label 1", "probability of tumour"]
    assert told(found) == {"input": ["t1", "t2"], "answer": ["t1", "t2", *over]} and "no person's scan" in found.note
    labels, _, tumour = found.panels[1].layers[2:]
    assert np.argwhere(labels.volume.array == 2).tolist() == [[1, 2, 3]] and labels.classes[2][0] == "tumour"
    np.testing.assert_array_equal(tumour.volume.array, chances[..., 2])


def test_points_and_boxes_of_the_first_picture_are_drawn(shown):
    note = {"task": "detection", "modalities": ["red", "green", "blue"], "classes": ["knife", "clip"]}
    found = shown(note, {"image": PICTURE}, BOXES)
    (box,) = [layer for layer in found.panels[1].layers if layer.name == "found"]
    assert box.classes[1][0] == "clip 0.75" and list(box.classes) == [1] and box.volume.array.any()
    np.testing.assert_allclose(found.panels[0].layers[0].volume.array[0], PICTURE[0], atol=0.5)  # in colour


def test_named_points_are_drawn(shown):
    points = np.array([[[4.0, 7.0], [20.0, 11.0]], [[0.0, 0.0], [1.0, 1.0]]], np.float32)
    note = {"task": "named_landmarks", "landmarks": ["apex", "base"]}
    found = shown(note, {"image": PICTURE[..., :1]}, {"points": points})
    drawn = found.panels[1].layers[1]
    assert [name for name, _ in drawn.classes.values()] == ["apex", "base"]
    finer = drawn.volume.shape[1] / 20
    rows, columns = np.nonzero(drawn.volume.array[0] == 2)
    np.testing.assert_allclose([rows.mean(), columns.mean()], (np.array([11, 20]) + 0.5) * finer - 0.5, atol=0.5)


def test_maps_of_points_and_objects(shown):
    maps = np.random.default_rng(0).random((2, 20, 30, 2), np.float32)
    found = shown({"task": "instances"}, {"image": PICTURE[..., :1]}, {"maps": maps})
    assert told(found)["answer"][1:] == ["centroids", "regions"]
    np.testing.assert_array_equal(found.panels[1].layers[2].volume.array, maps[:1, ..., 1])


def test_completions_stand_beside_the_hole(shown):
    plane = PICTURE[0, ..., 0]
    made = np.stack([plane, plane + 1])
    inputs = {"image": plane, "mask": (plane > 100).astype(np.float32), "count": np.int32(2), "seed": np.int64(7)}
    found = shown({"task": "inpainting"}, inputs, {"completions": made})
    assert told(found) == {"input": ["image", "hole"], "completions": ["completions"]}
    np.testing.assert_array_equal(found.panels[1].layers[0].volume.array, made[:1])


def test_what_a_generator_gives_is_shown_alone(shown):
    volumes = np.random.default_rng(0).random((1, 5, 6, 7), np.float32)
    found = shown({}, {"seed": np.int64(7), "n": np.int32(1)}, {"volumes": volumes, "affine": np.eye(4)})
    assert told(found) == {"volumes": ["volumes"]} and found.panels[0].layers[0].volume.shape == (5, 6, 7)


def test_classes_of_an_image_are_told(shown):
    note = {"task": "classification", "classes": ["healthy", "ill"], "modalities": ["image"]}
    found = shown(note, {"image": PICTURE[:1, ..., 0]}, {"probabilities": np.array([0.25, 0.75], np.float32)})
    assert told(found) == {"input": ["image"]} and found.note.endswith("healthy 25.0%, ill 75.0%")


def test_an_example_without_an_image_says_what_to_do(shown):
    with pytest.raises(RunError, match=r"takes z and gives w.*tfmed sample"):
        shown({}, {"z": np.zeros((1, 8), np.float32)}, {"w": np.zeros((1, 4, 8), np.float32)})
