"""The notebooks' stored outputs, and the address that they install from.

python docs/notebooks.py                          runs all, each in an empty folder, and keeps what they show
python docs/notebooks.py quickstart detection     these alone
python docs/notebooks.py --address https://github.com/OWNER/tfmed    no run: what their first cells install, and badges

Needs the extra `notebooks`. Progress and warnings are not kept; pictures are kept small.
"""

import argparse
import base64
import io
import pathlib
import re
import sys
import tempfile
import time

import nbformat
from gallery import small
from nbclient import NotebookClient
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tfmed.files import atomic_path  # noqa: E402

FOLDER = ROOT / "notebooks"
MOST_BYTES = 45_000  # of a picture
PACKAGE = re.compile(r'^PACKAGE = "[^"]*"', re.MULTILINE)
BADGE = re.compile(r"\n*\[!\[Open in Colab\][^\n]*\n*")
COLAB = "https://colab.research.google.com"


def main(words):
    """Run the notebooks that are asked for, or write an address into them; returns the exit status."""
    names = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NOTEBOOK", help="default: all")
    parser.add_argument("--address", metavar="URL", help="of the public repository, as GitHub shows it")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.names) - set(names):
        parser.error(f"no notebook {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if arguments.address and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", arguments.address):
        parser.error("--address wants https://github.com/OWNER/NAME: Colab opens notebooks from there")
    for name in arguments.names or names:
        path = FOLDER / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        if arguments.address:
            lead_to(notebook, arguments.address, name)
        else:
            print(f"{name}: {run(notebook):.0f} s", flush=True)
        with atomic_path(path) as temporary:
            nbformat.write(notebook, temporary)
    return 0


def lead_to(notebook, address, name):
    """Let the first code cell install from the repository, and the first cell open the notebook on Colab."""
    install = next(cell for cell in notebook.cells if cell.cell_type == "code")
    install.source = PACKAGE.sub(f'PACKAGE = "git+{address}"', install.source)
    title, _, rest = BADGE.sub("\n\n", notebook.cells[0].source).partition("\n\n")
    opened = f"{COLAB}/github/{address.removeprefix('https://github.com/')}/blob/main/notebooks/{name}.ipynb"
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({opened})"
    notebook.cells[0].source = "\n\n".join(filter(None, (title, badge, rest)))


def run(notebook):
    """Run a notebook in an empty folder and tidy its outputs; returns the seconds that it took."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=None, record_timing=False, resources=resources).execute()
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [tidy(output, folder) for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    return time.monotonic() - started


def tidy(output, folder):
    """An output without the place where it was made, its picture small."""
    if "text" in output:
        output["text"] = output["text"].replace(folder, ".")
    data = output.get("data", {})
    if "image/png" in data:
        with Image.open(io.BytesIO(base64.b64decode(data.pop("image/png")))) as picture:
            data["image/jpeg"] = base64.b64encode(small(picture, MOST_BYTES)).decode()
    return output


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
