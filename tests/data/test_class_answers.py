"""A person names classes: the table of what is asked for, and answers in a table or in folders."""

import csv

import pytest

from tfmed.data.case import Case
from tfmed.data.class_answers import read_answers, write_query
from tfmed.errors import DataError

pytestmark = pytest.mark.one_stack
CLASSES = ("benign", "malignant")
CASES = [Case("a-1", "a-1", {"image": "/scans/one.png::grey"}), Case("b/2", "b/2", {"image": "/scans/two.png::grey"}),
         Case("c", "c", {"image": "phantom:plane_shape?seed=1&part=image"})]  # fmt: skip


def test_the_table_of_a_query(tmp_path):
    write_query(tmp_path / "queries" / "round1.csv", CASES, {"a-1": 0.5, "b/2": 1 / 3})
    with open(tmp_path / "queries" / "round1.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["id"], row["path"], row["score"]) for row in rows] == [
        ("a-1", "/scans/one.png", "0.5"), ("b/2", "/scans/two.png", "0.333333"),
        ("c", "phantom:plane_shape?seed=1&part=image", "")]  # fmt: skip


def test_answers_of_a_table(tmp_path):
    """The query's own table with one column more; what has no class yet is missing."""
    path = tmp_path / "answers.csv"
    assert read_answers(path, CLASSES, CASES) == {}
    path.write_text("id,path,score,class\na-1,x,0.5,benign\nb/2,y,0.3,\nc,z,,malignant\n", encoding="utf-8")
    assert read_answers(path, CLASSES, CASES) == {"a-1": "benign", "c": "malignant"}


def test_answers_of_folders(tmp_path):
    """Files are called as they were, or as the case is, made safe for a name."""
    for name in ("benign/one.png", "malignant/c.txt", ".trash/d.png", "benign/.hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert read_answers(tmp_path, CLASSES, CASES) == {"a-1": "benign", "c": "malignant"}


@pytest.mark.parametrize("text, said", [
    ("id,class\nnobody,benign\n", "answers.csv:2: 'nobody' was not asked for"),
    ("id,class\na-1,bening\n", "class 'bening'; did you mean 'benign'?"),
    ("id,class\na-1,benign\na-1,malignant\n", "answers.csv:3: 'a-1' is answered twice, by 'benign' and 'malignant'"),
    ("name,class\na-1,benign\n", "has no column id"), ("", "has no column id"),
    ('id,class\n"a-1,benign\n', "answers.csv"),
])  # fmt: skip
def test_wrong_answers_are_one_line(tmp_path, text, said):
    path = tmp_path / "answers.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_answers(path, CLASSES, CASES)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_folders_are_one_line(tmp_path):
    (tmp_path / "bening").mkdir()
    with pytest.raises(DataError, match=r"bening: is no class; did you mean 'benign'\?"):
        read_answers(tmp_path, CLASSES, CASES)
    (tmp_path / "bening").rename(tmp_path / "benign")
    (tmp_path / "benign" / "three.png").touch()
    with pytest.raises(DataError, match=r"three.png: 'three' was not asked for"):
        read_answers(tmp_path, CLASSES, CASES)
