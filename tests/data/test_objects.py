"""Pictures with boxed objects: the phantom, the sources' trees, and boxes that follow the letterbox."""

import json

import numpy as np
import pytest
from PIL import Image

from tfmed.data import objects, phantoms, sources
from tfmed.data.phantoms.surgery import TOOLS, surgery, surgery_objects
from tfmed.data.preprocess import Letterbox
from tfmed.data.sources.cadtd import TOOLS as CADTD
from tfmed.errors import DataError, UserError
from tfmed.io.itk import LPS_RAS
from tfmed.io.objects import Objects, write_boxes_csv, write_coco, write_voc
from tfmed.io.volume import Volume

BOX = Objects(np.array([[2.0, 3, 10, 9]]), ("Knife",))


def frame(path, size=(16, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3)).astype("uint8")).save(path)
    return path


# --- trees ------------------------------------------------------------------------------------------------------------


def voc_tree(root):
    for name in ("v1_f1", "v1_f2", "v2_f1"):
        frame(root / "JPEGImages" / f"{name}.png")
    (root / "Annotations").mkdir()
    write_voc(root / "Annotations/v1_f1.xml", BOX, (16, 12))
    write_voc(root / "Annotations/v1_f2.xml", Objects(np.zeros((0, 4)), ()), (16, 12))
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "ImageSets/Main/train.txt").write_text("v1_f2\n")
    (root / "ImageSets/Main/test.txt").write_text("v1_f1\n\n")
    return root


def test_voc_s_tree(tmp_path):
    cases = sources.open("voc_folder", voc_tree(tmp_path), group_pattern=r"(v\d)_")
    assert [case.id for case in cases] == ["v1_f1", "v1_f2", "v2_f1"]
    assert [case.meta.get("objects") for case in cases] == [[["Knife", 2, 3, 10, 9]], [], None]
    assert [case.group for case in cases] == ["v1", "v1", "v2"]
    assert [case.meta.get("part") for case in cases] == ["test", "train", None]
    assert sources.unused(tmp_path, cases) == []
    (tmp_path / "few.txt").write_text("JPEGImages/v1_f2.png\n")
    few = sources.open("voc_folder", tmp_path, labelled_list="few.txt")
    assert [case.meta.get("objects") for case in few] == [None, [], None]


@pytest.mark.parametrize("name, words", [
    ("lost", "is of no image"), ("listed", "is listed and not there"), ("no list", "cannot be read"),
    ("empty", "holds no case"), ("twice", "fits two images"), ("entities", "has a DTD"),
])  # fmt: skip
def test_what_is_wrong_with_a_tree(name, words, tmp_path):
    options = {}
    if name != "empty":
        voc_tree(tmp_path)
    if name == "lost":
        write_voc(tmp_path / "Annotations/v9.xml", BOX, (16, 12))
    elif name in ("listed", "no list"):
        options = {"labelled_list": "few.txt"}
        if name == "listed":
            (tmp_path / "few.txt").write_text("v7\n")
    elif name == "twice":
        frame(tmp_path / "more/v1_f1.png")
    elif name == "entities":
        text = (tmp_path / "Annotations/v1_f1.xml").read_text()
        (tmp_path / "Annotations/v1_f1.xml").write_text('<!DOCTYPE a [<!ENTITY e "x">]>' + text)
    with pytest.raises(DataError, match=words):
        sources.open("voc_folder", tmp_path, **options)


def test_cadtd_s_tree(tmp_path):
    """Numbers for names, videos for groups, and frames twice as large as what the files were made for."""
    for video, number in (("Video1", "000090"), ("Video12", "000010"), ("Video30", "000000")):
        frame(tmp_path / "frames" / f"{video}_frame{number}.png", (32, 24))
    write_voc(tmp_path / "Video1_frame000090.xml", Objects(BOX.boxes, ("11",)), (16, 12))
    write_voc(tmp_path / "Video12_frame000010.xml", Objects(BOX.boxes, ("3",)), (16, 12))
    cases = sources.open("cadtd", tmp_path)
    assert [case.group for case in cases] == ["12", "1", "30"] and cases[2].meta == {}
    assert [case.meta.get("part") for case in cases] == ["test", None, None]
    assert [case.meta.get("objects") for case in cases[:2]] == [
        [["I/A Handpiece", 4, 6, 20, 18]], [["Bonn Forceps", 4, 6, 20, 18]]]  # fmt: skip
    assert CADTD[9] == "Rycroft Cannula" and len(set(CADTD)) == 12
    write_voc(tmp_path / "Video30_frame000000.xml", Objects(BOX.boxes, ("13",)), (16, 12))
    with pytest.raises(DataError, match=r"of class '13'; CaDTD has the classes 1 to 12"):
        sources.open("cadtd", tmp_path)


def panels(name, *corners):
    """An annotation of ImageCLEF 2016, each panel by its four corners."""
    points = [
        "".join(f'<point x="{x}" y="{y}"/>' for x, y in ((a, b), (c, b), (c, d), (a, d))) for a, b, c, d in corners
    ]
    return f"<annotation><filename>{name}</filename>{''.join(f'<object>{one}</object>' for one in points)}</annotation>"


def imageclef_tree(root, **changes):
    """Three figures of training, one of them in no XML, and one of the test part."""
    for name in ("Training2016/a", "Training2016/b", "Training2016/c", "Test2016/d"):
        frame(root / f"FigureSeparation{name}.jpg")
    train = panels("a", (0, 0, 8, 12), (9, 0, 16, 12)) + panels("b.jpg")
    (root / "FigureSeparationTraining2016-GT.xml").write_text(f"<figures>{changes.get('train', train)}</figures>")
    (root / "FigureSeparationTest2016GT.xml").write_text(changes.get("test", panels("d", (2, 3, 10, 9))))
    return root


def test_imageclef_s_tree(tmp_path):
    cases = sources.open("imageclef2016", imageclef_tree(tmp_path))
    assert [case.id for case in cases] == ["a", "b", "c", "d"]
    assert [case.meta.get("objects") for case in cases] == [
        [["panel", 0, 0, 8, 12], ["panel", 9, 0, 16, 12]], [], None, [["panel", 2, 3, 10, 9]]]  # fmt: skip
    assert [case.meta.get("part") for case in cases] == ["train", "train", None, "test"]
    assert sources.unused(tmp_path, cases) == [] and set(cases[0].images) == {"red", "green", "blue"}


@pytest.mark.parametrize("changes, words", [
    ({"train": panels("e", (0, 0, 8, 12))}, "names figure 'e', which is not there"),
    ({"train": panels("a") * 2}, "names figure 'a' twice"),
    ({"train": panels("d", (0, 0, 8, 12))}, "is named by"),
    ({"train": panels("", (0, 0, 8, 12))}, "annotation 1 has no filename"),
    ({"train": panels("a", (0, 0, 80, 12))}, r"figure a: box 1 is \(0, 0, 80, 12\), outside of the image of 16 x 12"),
    ({"train": panels("a", (0, 0, "x", 12))}, "panel 1: has a corner with x 'x', no number"),
    ({"train": "<annotation><filename>a</filename><object/></annotation>"}, "panel 1: has 0 points"),
    ({"train": ""}, "has no annotation of a figure"),
    ({"test": '<!DOCTYPE a [<!ENTITY e "x">]><annotation/>'}, "has a DTD"),
])  # fmt: skip
def test_what_is_wrong_with_imageclef(changes, words, tmp_path):
    with pytest.raises(DataError, match=words):
        sources.open("imageclef2016", imageclef_tree(tmp_path, **changes))


@pytest.mark.parametrize("kind", ["coco", "boxes_folder"])
def test_pictures_and_one_file_of_boxes(kind, tmp_path):
    """Named by its path, or by its name alone where that is the only one."""
    for name in ("one/a.png", "two/a.png", "two/b.png", "c.png"):
        frame(tmp_path / name)
    none = Objects(np.zeros((0, 4)), ())

    def write(**named):
        if kind == "coco":
            write_coco(tmp_path / "annotations.json", {n: ((16, 12), o) for n, o in named.items()}, ("Knife",))
        else:
            write_boxes_csv(tmp_path / "boxes.csv", named)

    write(**{"two/a.png": BOX, "b.png": none})
    found = {case.id: case.meta.get("objects") for case in sources.open(kind, tmp_path)}
    assert (
        found == {"one-a": None, "two-a": [["Knife", 2, 3, 10, 9]], "b": [], "c": None}
        or list(found.values()).count(None) == 2
    )
    assert [["Knife", 2, 3, 10, 9]] in found.values() and [] in found.values()
    write(**{"a.png": BOX})
    with pytest.raises(DataError, match="of 2 images"):
        sources.open(kind, tmp_path)
    write(**{"d.png": BOX})
    with pytest.raises(DataError, match="not there"):
        sources.open(kind, tmp_path)
    if kind == "coco":
        table = json.loads((tmp_path / "annotations.json").read_text())
        table["images"][0] |= {"file_name": "c.png", "width": 20}
        (tmp_path / "annotations.json").write_text(json.dumps(table))
        with pytest.raises(DataError, match=r"16 x 12 pixels, and annotations.json says 20 x 12"):
            sources.open(kind, tmp_path)
        (tmp_path / "annotations.json").unlink()
        with pytest.raises(DataError, match="does not exist; source coco expects"):
            sources.open(kind, tmp_path)


# --- phantom ----------------------------------------------------------------------------------------------------------


def test_boxes_are_tight_around_what_is_seen():
    some = 0
    for seed in range(12):
        made = surgery(seed, (64, 96), kinds=12, fewest=0, most=4)
        names, boxes = surgery_objects(seed, (64, 96), kinds=12, fewest=0, most=4)
        assert names == made.names and set(names) <= set(TOOLS)
        np.testing.assert_array_equal(boxes, made.boxes)
        np.testing.assert_array_equal(objects.mask_boxes(made.labels.array[0], range(1, len(names) + 1)), boxes)
        some += len(names)
    assert some > 12
    whole, head = (surgery_objects(3, (64, 96), part_boxed=part)[1] for part in ("tool", "head"))
    area = [np.prod(one[:, 2:] - one[:, :2], -1).mean() for one in (whole, head)]
    assert area[1] < area[0]


def test_a_frame_is_its_seed_s_and_video_s():
    one, again, other = (surgery(1, (48, 64), video=v).red.array for v in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any() and one.min() >= 0 and one.max() <= 255
    for options, words in (
        ({"kinds": 13}, "kinds"),
        ({"fewest": 3, "most": 2}, "fewest"),
        ({"part_boxed": "x"}, "part_boxed"),
    ):
        with pytest.raises(UserError, match=words):
            surgery(0, (48, 64), **options)


def test_the_phantom_source():
    cases = sources.open("phantom_surgical_tools", cases=30, unlabelled=20, shape=(48, 64), kinds=3, videos=4)
    plain = [case for case in cases if "objects" not in case.meta]
    assert len(plain) == 20 and len(objects.annotated(cases)) == 10
    assert len({case.group for case in objects.annotated(cases)}) == 4
    assert not {case.group for case in plain} & {case.group for case in objects.annotated(cases)}
    one = cases[0]
    label = phantoms.read(one.label).array[0]
    found = objects.of_case(one)
    np.testing.assert_array_equal(objects.mask_boxes(label, range(1, len(found.names) + 1)), found.boxes)
    with pytest.raises(DataError, match="videos must be an integer"):
        sources.open("phantom_surgical_tools", videos=0)


# --- boxes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size, shape", [((60, 40), (64, 96)), ((30, 90), (64, 64)), ((64, 96), (64, 96)), ((7, 200), (32, 64))]
)
def test_boxes_follow_the_letterbox_and_come_back(size, shape):
    mask = np.zeros((1, *size), "uint8")
    y0, y1, x0, x1 = size[0] // 5, size[0] * 4 // 5, size[1] // 4, size[1] // 2
    mask[0, y0:y1, x0:x1] = 255
    volume = Volume(mask, LPS_RAS)
    made = Letterbox(size=shape, fill=7).apply(volume)
    assert made.shape == (1, *shape)
    box = np.array([[x0, y0, x1, y1]], float)
    moved = objects.between_images(box, volume.affine, made.affine)
    inside = made.array[0] > 127
    inside &= made.array[0] != 7
    np.testing.assert_allclose(moved, objects.mask_boxes(inside, [1]), atol=1.01)
    np.testing.assert_allclose(objects.between_images(moved, made.affine, volume.affine), box, atol=1e-9)
    scale = min(shape[0] / size[0], shape[1] / size[1])
    grown = (moved[0, 2:] - moved[0, :2]) / (box[0, 2:] - box[0, :2])
    np.testing.assert_allclose(grown, scale, atol=0.6 / min(size) * scale + 0.02)


def test_what_is_left_at_a_border_and_padded_rows():
    boxes, kept = objects.within([[-5, 0, 3, 4], [15.5, 0, 20, 9], [20, 0, 30, 5]], (16, 12))
    np.testing.assert_array_equal(boxes[kept], [[0, 0, 3, 4]])
    rows, numbers = objects.padded(boxes[kept], np.array([2]), 3)
    np.testing.assert_array_equal(rows, [[0, 0, 3, 4], [-1] * 4, [-1] * 4])
    assert numbers.tolist() == [2, -1, -1]
    with pytest.raises(DataError, match=r"raise model.most_boxes"):
        objects.padded(boxes, np.zeros(3), 2)
    with pytest.raises(DataError, match=r"case: has an object of class 'Hook'.*model.classes"):
        objects.numbers_of(["Hook"], ("Knife",), "case")
