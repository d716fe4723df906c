"""SavedModels, manifests and folders that a bundle of other hands could hold."""

import hashlib
import json
import os
import pathlib
import tempfile

import tensorflow as tf

WRITTEN = os.path.join(tempfile.gettempdir(), f"tfmed-written-by-a-model-{os.getpid()}")  # what no model may write


def rehashed(bundle):
    """The bundle with a manifest of what lies there now: as somebody would pass it on who means harm."""
    path = bundle / "bundle.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    files = [file for file in sorted(bundle.rglob("*")) if file.is_file() and file != path]
    manifest["files"] = {
        str(file.relative_to(bundle)): {
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "bytes": file.stat().st_size,
        }
        for file in files
    }
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return bundle


def manifest(**changes):
    """What gives a bundle another manifest."""

    def make(bundle):
        path = bundle / "bundle.json"
        values = json.loads(path.read_text(encoding="utf-8")) | changes
        path.write_text(json.dumps(values), encoding="utf-8")

    return make


def listing(name):
    """What adds a file to the manifest."""

    def make(bundle):
        values = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
        values["files"][name] = {"sha256": "0" * 64, "bytes": 1}
        manifest(files=values["files"])(bundle)

    return make


def text(name, content):
    """What writes other text into a file of a bundle."""
    return lambda bundle: (bundle / name).write_text(content, encoding="utf-8")


def link(name, target):
    """What puts a symbolic link in the place of a file, or folder, of a bundle; its content lies at the target."""

    def make(bundle):
        there = pathlib.Path(f"{bundle}-elsewhere")
        os.rename(bundle / name, there)
        os.symlink(target or there, bundle / name)

    return make


def model(call):
    """What puts a SavedModel of a function in the place of a bundle's, with a manifest that tells of it."""

    def make(bundle):
        module = tf.Module()
        module.call = tf.function(
            call, input_signature=[tf.TensorSpec((), tf.int64, name) for name in ("seed", "index")]
        )
        tf.saved_model.save(module, str(bundle / "saved_model"), signatures={"serving_default": module.call})
        (bundle / "saved_model" / "assets").rmdir()
        rehashed(bundle)

    return make


def reads_a_file(seed, index):
    return {"volume": tf.strings.length(tf.io.read_file("/etc/hostname"))}


def writes_a_file(seed, index):
    tf.io.write_file(WRITTEN, "x")
    return {"volume": seed}


def calls_python(seed, index):
    return {"volume": tf.numpy_function(lambda x: x, [seed], tf.int64)}


def saves_tensors(seed, index):
    tf.raw_ops.SaveV2(prefix=WRITTEN, tensor_names=["x"], shape_and_slices=[""], tensors=[seed])
    return {"volume": seed}


def in_a_branch(seed, index):
    return {"volume": tf.cond(seed > 0, lambda: reads_a_file(seed, index)["volume"], lambda: 0)}


class Table(tf.Module):
    """Fills a table while it is loaded."""

    def __init__(self):
        super().__init__()
        filled = tf.lookup.KeyValueTensorInitializer(tf.constant(["a"]), tf.constant([1], tf.int64))
        self.table = tf.lookup.StaticHashTable(filled, -1)
        specs = [tf.TensorSpec((), tf.int64, name) for name in ("seed", "index")]
        self.call = tf.function(lambda seed, index: {"volume": self.table.lookup(tf.constant("a"))}, specs)


def with_a_table(bundle):
    """Put a SavedModel that runs something while it is loaded in the place of a bundle's."""
    module = Table()
    tf.saved_model.save(module, str(bundle / "saved_model"), signatures={"serving_default": module.call})
    (bundle / "saved_model" / "assets").rmdir()
    rehashed(bundle)


def huge_weights(bundle):
    """An index that tells of weights that no file holds."""
    prefix = next((bundle / "weights").iterdir()) / "variables"
    tf.train.Checkpoint(v00000=tf.Variable(tf.zeros([1000]))).write(str(prefix))
    prefix.with_name("variables.data-00000-of-00001").write_bytes(b"")
    path = prefix.with_name("state.json")
    state = json.loads(path.read_text(encoding="utf-8"))
    state["sha256"] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in path.parent.glob("var*")}
    path.write_text(json.dumps(state), encoding="utf-8")
    rehashed(bundle)


def huge_state(bundle):
    """A state that tells of weights beyond any memory."""
    path = next((bundle / "weights").iterdir()) / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    state["variables"][0][0] = [2**40, 2**10]
    path.write_text(json.dumps(state), encoding="utf-8")
    rehashed(bundle)


def npy(header, data=b""):
    """What makes the example's input an array file of another header."""

    def make(bundle):
        text = f"{header}\n".encode()
        path = bundle / "example" / "input.seed.npy"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data)
        rehashed(bundle)

    return make
