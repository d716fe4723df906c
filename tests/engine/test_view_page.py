"""Pages of the viewer: files and layers, what a browser shows of them, and names that mean harm."""

import gzip
import importlib.util

import nibabel
import numpy as np
import pytest

from tests.support import browser
from tests.support.view_pages import layer_files
from tests.support.volumes import AFFINE
from tfmed import cli, view
from tfmed.engine import view_page
from tfmed.errors import UserError
from tfmed.io import Volume, read_volume, write_volume
from tfmed.io.label_tables import distinct_colours, read_itksnap_labels, write_itksnap_labels
from tfmed.io.stack import write_picture
from tfmed.pictures import layers, marks, niivue

HOSTILE = "</script x><!--<script>window.hacked = 1</script><img src=x onerror=window.hacked=2>"
pytestmark = pytest.mark.current


def ball(shape=(14, 18, 20)):
    """(image, label map of the classes 3 and 7) of a ball that differs from slice to slice."""
    z, y, x = np.indices(shape)
    far = np.sqrt(((z - 6.5) / 7) ** 2 + ((y - 8.5) / 9) ** 2 + ((x - 9.5) / 10) ** 2)
    image = np.where(far < 1, 60 * z + 10 * x, -900).astype(np.int16)
    return Volume(image, AFFINE), Volume(np.where(far < 0.5, 3, np.where(far < 0.9, 7, 0)).astype(np.uint8), AFFINE)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A scan, its label map, probabilities and the table of their names; a picture in colour and its labels."""
    folder = tmp_path_factory.mktemp("view")
    image, label = ball()
    write_volume(image, folder / "scan.nii.gz")
    write_volume(label, folder / "scan_labels.nii.gz")
    chance = np.stack([label.array == k for k in (0, 3, 7)], -1).astype(np.float32) * 0.75
    write_volume(Volume(chance, AFFINE), folder / "scan_probabilities.nii.gz")
    write_itksnap_labels({3: HOSTILE, 7: "shell"}, folder / "label_names.txt")
    colour = np.stack([np.full((18, 20), k, np.uint8) for k in (200, 120, 40)], -1)
    write_picture(colour, folder / "photo.png")
    write_picture(label.array[6], folder / "photo_labels.png")
    return folder


def test_layers_of_files_are_found_by_names_and_grids(files, tmp_path):
    words = [files / name for name in ("scan_labels.nii.gz", "scan.nii.gz", "scan_probabilities.nii.gz", "photo.png",
                                       "photo_labels.png")]  # fmt: skip
    assert cli.run(view.main, [*map(str, words), "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    views, data = layer_files(text)
    assert [one["title"] for one in views] == ["scan.nii.gz", "photo.png"]
    scan, photo = (one["panels"][0]["layers"] for one in views)
    assert [one["kind"] for one in scan] == ["image", "labels", "map", "map"] and scan[3][
        "name"
    ] == "probability of shell"
    assert [(one["number"], one["name"]) for one in scan[1]["classes"]] == [(3, HOSTILE), (7, "shell")]
    assert [tuple(one["colour"]) for one in scan[1]["classes"]] == distinct_colours(2)
    assert photo[0]["colour"] and [one["number"] for one in photo[1]["classes"]] == [3, 7]
    assert "Redistribution and use in source and binary forms" in text and "Niivue" in text  # the notice stays

    raw = text[text.index('id="views">') : text.index('id="data0"')]
    assert raw.count("<") == 2  # the end of its own script, and the next one

    image, label = ball()  # what stands in the page is what lay in the files, in their place
    kept = [nibabel.Nifti1Image.from_bytes(gzip.decompress(data[one["data"]])) for one in scan]
    np.testing.assert_array_equal(np.asarray(kept[0].dataobj).T, image.array)
    np.testing.assert_array_equal(np.asarray(kept[1].dataobj).T, np.searchsorted([0, 3, 7], label.array))
    np.testing.assert_allclose(np.asarray(kept[2].dataobj).T, 0.75 * (label.array == 3), atol=1 / 255)
    for one in kept:
        np.testing.assert_allclose(one.affine, AFFINE, atol=1e-5)


def test_code_cannot_end_its_script():
    held = view_page._as_script('a = "</script>"; b = "<!--"')
    assert held == 'a = "<\\/script>"; b = "<\\!--"'  # to JavaScript the same texts


def test_values_with_fractions_keep_four_digits():
    values = np.random.default_rng(0).normal(5, 3e4, (3, 4, 5)).astype(np.float32)
    values[0, 0, 0], values[0, 0, 1] = np.nan, np.inf
    packed = niivue.packed(layers.image("x", Volume(values, AFFINE)))
    found = np.asarray(nibabel.Nifti1Image.from_bytes(gzip.decompress(packed)).dataobj).T
    finite = np.isfinite(values)
    np.testing.assert_allclose(found[finite], values[finite], atol=np.ptp(values[finite]) / 60000)
    assert found[0, 0, 0] == pytest.approx(values[finite].min()) and found[0, 0, 1] == pytest.approx(
        values[finite].max()
    )


def test_errors_and_the_place_where_most_is_seen():
    right = np.zeros((4, 5, 6), np.uint8)
    right[2, 1:4, 2:5] = 1
    found = right.copy()
    found[2, 1, 2], found[2, 1, 3], found[0, 0, 0] = 0, 2, 1
    wrong = layers.errors(Volume(found, AFFINE), Volume(right, AFFINE))
    assert {k: np.argwhere(wrong.volume.array == k).tolist() for k in (1, 2, 3)} == {
        1: [[0, 0, 0]], 2: [[2, 1, 2]], 3: [[2, 1, 3]]}  # fmt: skip
    panel = layers.Panel("a", (layers.labels("right", Volume(right, AFFINE)),))
    np.testing.assert_allclose(layers.place([panel]), (AFFINE @ [3, 1, 2, 1])[:3])


def test_what_cannot_be_shown_is_one_line(files, tmp_path, capsys, monkeypatch):
    scan, out = str(files / "scan.nii.gz"), ["--out", str(tmp_path / "page.html")]
    (tmp_path / "bad.nii.gz").write_bytes((files / "scan.nii.gz").read_bytes()[:-30])
    for words, said in (([f"labels={files / 'scan_probabilities.nii.gz'}"], "3 channels"),
                        ([str(tmp_path / "bad.nii.gz")], "bad.nii.gz"), ([scan, "--spacing", "-1"], "--spacing"),
                        ([str(tmp_path / "none.nii.gz")], "no such file")):  # fmt: skip
        assert cli.run(view.main, [*words, *out]) == 2
        line = capsys.readouterr().err
        assert said in line and line.count("\n") == 1
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.run(view.main, [scan, *out]) == 2
    assert "pip install 'tfmed[view]'" in capsys.readouterr().err and not (tmp_path / "page.html").exists()


def test_a_page_has_a_largest_size(tmp_path, caplog):
    def one(name):
        noise = np.random.default_rng(0).integers(-9999, 9999, (8, 50, 50)).astype(np.int16)
        return layers.View(name, (layers.Panel(name, (layers.image(name, Volume(noise, AFFINE)),)),))

    assert view_page.write((one(name) for name in "abc"), tmp_path / "page.html", "t", largest_mb=0.08) == ["b", "c"]
    assert "b, c: left out" in caplog.text and "--spacing" in caplog.text
    views, data = layer_files((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(views) == len(data) == 1
    with pytest.raises(UserError, match=r"above 0\.01"):
        view_page.write([one("a")], tmp_path / "small.html", "t", largest_mb=0.01)


def test_names_of_labels_are_read_back(tmp_path):
    names = {k: f"name {k} of {'x' * k}" for k in (1, 2, 9)}
    write_itksnap_labels(names, tmp_path / "a.txt")
    assert {k: name for k, (name, _) in read_itksnap_labels(tmp_path / "a.txt").items()} == names
    (tmp_path / "b.txt").write_text("1 2 3\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"b\.txt"):
        read_itksnap_labels(tmp_path / "b.txt")


def test_a_widget_for_notebooks(files):
    scan, label = read_volume(files / "scan.nii.gz"), read_volume(files / "scan_labels.nii.gz")
    chance = layers.probability("chance", scan)
    shown = niivue.widget(layers.Panel("scan", (layers.image("ct", scan), layers.labels("organs", label), chance)))
    assert [volume.name for volume in shown.volumes] == ["ct.nii.gz", "organs.nii.gz", "chance.nii.gz"]
    assert shown.volumes[1].opacity == pytest.approx(0.6) and shown.opts.is_radiological_convention
    assert [volume.colormap for volume in shown.volumes][::2] == ["gray", "inferno"]  # saved notebooks keep their names


@pytest.fixture(scope="module")
def chromium():
    with browser.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def opened(chromium, files, tmp_path_factory):
    """(page that shows the files, what went wrong, what it asked for)."""
    path = tmp_path_factory.mktemp("page") / "a & <b>.html"
    words = [str(files / name) for name in ("scan.nii.gz", "scan_labels.nii.gz", "photo.png", "photo_labels.png")]
    assert cli.run(view.main, [*words, "--out", str(path)]) == 0
    page, wrong, asked = browser.page(chromium)
    page.goto(path.as_uri())
    page.evaluate("viewer.ready")
    return page, wrong, asked, path


def seen(page):
    """The first panel, once what was asked for is drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return browser.pixels(page.locator(".stage").first)


def test_a_browser_draws_scrolls_and_toggles(opened):
    page, wrong, asked, path = opened
    first = seen(page)
    assert first.std() > 20 and np.ptp(first, axis=2).max() > 60  # neither black nor grey alone: labels are coloured
    place = page.locator(".place").first.text_content()
    assert "scan_labels: </script x>" in place and "mm: scan " in place

    page.select_option("#way", "0")  # axial alone
    axial = seen(page)
    box = page.locator(".stage").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, 100)
    scrolled = seen(page)
    assert page.locator(".place").first.text_content() != place and np.abs(scrolled - axial).max() > 20

    slider = page.get_by_title("axial slice")
    slider.evaluate("(one) => { one.value = 2; one.dispatchEvent(new Event('input')) }")
    low = seen(page)
    assert np.abs(low - scrolled).max() > 60 and page.evaluate("viewer.panels[0].niivue.scene.crosshairPos[2]") < 0.3

    slider.evaluate("(one) => { one.value = 6; one.dispatchEvent(new Event('input')) }")
    before = seen(page)
    shell = page.get_by_label("shell")
    shell.uncheck()
    without_shell = seen(page)
    page.get_by_label("scan_labels", exact=True).uncheck()
    without = seen(page)
    coloured = [(np.ptp(one, axis=2) > 30).sum() for one in (before, without_shell, without)]
    assert coloured[0] > coloured[1] + 500 > coloured[2] + 1000
    orange = [(one[..., 0] - one[..., 2] > 60).sum() for one in (before, without_shell)]
    assert orange[1] > 0.9 * orange[0] > 500  # the other class stays
    page.select_option("#way", "4")
    assert seen(page).std() > 5
    assert page.evaluate("window.hacked") is None and wrong == [] and asked == [path.as_uri()]


@pytest.mark.one_stack
def test_a_browser_shows_pictures(opened):
    page, wrong, asked, path = opened
    page.select_option("#case", "1")
    page.evaluate("viewer.ready")
    shown = seen(page)
    middle = shown[shown.shape[0] // 2, shown.shape[1] // 2]
    page.get_by_label("photo_labels", exact=True).uncheck()
    bare = seen(page)[shown.shape[0] // 2, shown.shape[1] // 2]
    assert bare.tolist() == [200, 120, 40] and np.abs(middle - bare).max() > 20
    assert wrong == [] and asked == [path.as_uri()]


def marked_views():
    """A picture with points, one with a box, one with 300 objects, and a volume with a point."""
    grey = layers.image("grey", Volume(np.full((1, 30, 40), 100, np.uint8), AFFINE), (0, 255))
    there = np.array([[0.0, 9.0, 30.0], [0.0, 20.0, 12.0]])
    true = marks.points("reference", grey.volume, there, ["tip", "base: missed"], np.array([True, False]), True)
    found = marks.points("found", grey.volume, there[:1], ["tip 0.0 px"], np.ones(1, bool), towards=there[:1])
    yield layers.View("points", (layers.Panel("points", (grey, true, found)),))
    box = marks.boxes("found", grey.volume, np.array([[4.0, 10.0, 16.0, 26.0]]), ["knife 0.91"], np.ones(1, bool))
    yield layers.View("boxes", (layers.Panel("boxes", (grey, box)),))
    many = np.zeros((1, 30, 40), np.int16)
    many.reshape(-1)[:1200] = np.arange(1200) // 4 + 1
    objects = layers.labels("cells", Volume(many, AFFINE), {k: f"cell {k}" for k in range(1, 301)})
    yield layers.View("objects", (layers.Panel("objects", (grey, objects)),))
    ground = layers.image("scan", ball()[0])
    point = marks.points("found", ground.volume, np.array([[6.0, 8.0, 9.0], [2.0, 4.0, 3.0]]), ["apex", "base"],
                         np.ones(2, bool))  # fmt: skip
    yield layers.View("volume", (layers.Panel("volume", (ground, point)),))


@pytest.mark.one_stack
def test_a_browser_shows_marks_with_their_names(chromium, tmp_path):
    view_page.write(marked_views(), tmp_path / "page.html", "marks")
    page, wrong, asked = browser.page(chromium)
    page.goto((tmp_path / "page.html").as_uri())
    page.evaluate("viewer.ready")

    def choose(number):
        page.select_option("#case", str(number))
        page.evaluate("viewer.ready")

    def place(row, column):
        """(y, x) of the middle of a pixel of the picture, within the panel."""
        inner, outer = page.locator(".frame").bounding_box(), page.locator(".stage").bounding_box()
        return (int(inner["y"] - outer["y"] + (row + 0.5) * inner["height"] / 30),
                int(inner["x"] - outer["x"] + (column + 0.5) * inner["width"] / 40))  # fmt: skip

    shown = seen(page)
    assert page.locator(".name:visible").all_text_contents() == ["base: missed", "tip 0.0 px"]
    assert shown[place(9, 30)].tolist() == [255, 176, 0]  # a found point in the ring of the true one
    np.testing.assert_allclose([shown[place(20, 12)], shown[place(15, 20)]], 100, atol=2)  # within a ring, beside it
    page.get_by_label("tip 0.0 px").uncheck()
    np.testing.assert_allclose(seen(page)[place(9, 30)], 100, atol=2)
    page.get_by_label("reference", exact=True).uncheck()
    assert page.locator(".name:visible").count() == 0

    choose(1)
    shown, (row, column) = seen(page), place(18, 3.55)
    orange = (np.abs(shown[row] - [255, 176, 0]).sum(-1) < 30).nonzero()[0]
    assert (
        column - 2 < orange.min() < column + 6
        and np.ptp(orange) > 0.25 * page.locator(".frame").bounding_box()["width"]
    )

    choose(2)
    outer, (row, column) = page.locator(".stage").bounding_box(), place(29, 38)
    page.mouse.move(outer["x"] + column, outer["y"] + row)
    assert page.locator(".place").text_content() == "row 29, column 38: grey 100; cells: cell 300"
    assert (
        page.locator("summary", has_text="300 parts").is_visible()
        and page.get_by_label("cell 7", exact=True).is_hidden()
    )

    choose(3)
    shown = seen(page)
    assert (np.abs(shown - [255, 176, 0]).sum(-1) < 60).sum() > 20
    for name in ("base", "apex"):
        page.get_by_title(f"go to {name}").click()
        assert f"found: {name}" in page.locator(".place").text_content() and page.get_by_label(name).is_checked()
    assert wrong == [] and asked == [(tmp_path / "page.html").as_uri()]
