"""Windows over volumes: blending alone changes nothing, as by brute force, the same in a graph, flat in memory."""

import itertools
import subprocess
import sys
import tracemalloc

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tfmed.ops
from tests.support.alone import in_fresh_process
from tfmed.engine.exporting import ExportModule
from tfmed.ops.sliding_window import SIGMA, _lattice, sliding_window, window_graph

pytestmark = pytest.mark.one_stack

BLENDS = ("constant", "gaussian")
WINDOW = (8, 10, 12)
ODD = [(23, 17, 30, 2), (5, 11, 37, 2), (9, 7, 5, 2)]  # the last two are smaller than the window along some axes


def picture(shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


PLACE = picture((*WINDOW, 1), seed=1)


def placed(windows):
    """A network whose answer depends on the place within the window: any wrong weight shows."""
    return windows * PLACE + 0.5


def by_brute_force(model_fn, volume, window, overlap, blend):
    """Sum of weighted answers over sum of weights, in float64, for volumes no smaller than the window."""
    size, total, weights = volume.shape[: len(window)], 0.0, 0.0
    one = np.ones(window)
    if blend == "gaussian":
        for axis, length in enumerate(window):
            place = np.arange(length) - (length - 1) / 2
            profile = np.exp(-(place**2) / (2 * (SIGMA * length) ** 2))
            one = one * profile.reshape([-1 if a == axis else 1 for a in range(len(window))])
    starts = []
    for length, whole in zip(window, size, strict=True):
        step = max(1, int(length * (1 - overlap)))
        starts.append([*range(0, whole - length, step), whole - length])
    total, weights = np.zeros(volume.shape), np.zeros((*size, 1))
    for corner in itertools.product(*starts):
        box = tuple(slice(s, s + n) for s, n in zip(corner, window, strict=True))
        total[box] += np.asarray(model_fn(volume[box][None]))[0] * one[..., None]
        weights[box] += one[..., None]
    return total / weights


# --- exact ------------------------------------------------------------------------------------------------------------


def test_the_module_is_the_function():
    volume = picture((9, 9, 9))
    np.testing.assert_allclose(tfmed.ops.sliding_window(lambda w: w, volume, 4, 0.5, "constant"), volume, rtol=1e-6)


@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("shape, window", [
    ((23, 17, 30), WINDOW), ((23, 17, 30, 3), WINDOW), ((5, 40, 3), WINDOW), ((31, 20), (7, 9)), ((31, 20, 2), (7, 50)),
])  # fmt: skip
def test_identity_gives_the_volume_back(shape, window, blend):
    volume = picture(shape)
    for overlap in (0, 0.25, 0.5, 0.8):
        found = sliding_window(lambda w: w, volume, window, overlap, blend)
        assert found.shape == shape and found.dtype == np.float32
        np.testing.assert_allclose(found, volume, atol=1e-5 if overlap > 0.5 else 1e-6)  # up to 180 windows per voxel


@pytest.mark.parametrize("blend", BLENDS)
def test_a_linear_network_acts_voxel_by_voxel(blend):
    volume, mix = picture((19, 13, 21, 2)), picture((2, 5), 3)
    found = sliding_window(lambda w: w @ mix - 1, volume, WINDOW, 0.5, blend, batch=4)
    np.testing.assert_allclose(found, volume @ mix - 1, atol=2e-6)


@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.6])
def test_equals_brute_force(overlap, batch, blend):
    volume = picture(ODD[0])
    found = sliding_window(placed, volume, WINDOW, overlap, blend, batch=batch)
    np.testing.assert_allclose(found, by_brute_force(placed, volume, WINDOW, overlap, blend), atol=2e-6)


@settings(max_examples=80, deadline=None)
@given(size=st.integers(1, 80), window=st.integers(1, 40), overlap=st.floats(0, 0.99), blend=st.sampled_from(BLENDS))
def test_every_voxel_is_covered(size, window, overlap, blend):
    """Windows reach both ends; all shares are positive and add up to 1 at each voxel."""
    axis = _lattice(2, window, overlap, blend, 1, "edge", (), 1).axis(0, size)
    total = np.zeros(size)
    for k in range(len(axis.starts)):
        assert (axis.share(k) > 0).all()
        total[axis.box(k)] += axis.share(k)
    np.testing.assert_allclose(total, 1, atol=1e-5)
    assert axis.box(0).start == 0 and axis.box(len(axis.starts) - 1).stop == size
    assert axis.starts == sorted(set(axis.starts))


@pytest.mark.parametrize("pad, inside", [("edge", 0.0), (0.0, 0.0), (7.5, 7.5)])
def test_what_surrounds_a_small_volume(pad, inside):
    seen = []
    volume = picture((4, 12, 12)) * 0 if pad == "edge" else picture((4, 12, 12))
    sliding_window(lambda w: seen.append(w) or w, volume, (8, 12, 12), pad=pad)
    (window,) = seen
    assert window.shape == (1, 8, 12, 12, 1)
    np.testing.assert_array_equal(window[0, 2:6, ..., 0], volume)
    np.testing.assert_array_equal(window[0, [0, 1, 6, 7]], inside)


def test_the_window_is_enlarged_to_a_multiple_and_batches_are_kept_small():
    seen, volume = [], picture((40, 40, 40))
    sliding_window(lambda w: seen.append(w.shape) or w, volume, (10, 16, 17), multiple=(4, 8, 8), batch=3)
    assert {shape[1:] for shape in seen} == {(12, 16, 24, 1)}
    assert {shape[0] for shape in seen} <= {1, 2, 3} and seen[0][0] == 3


def test_flips_are_averaged():
    volume, axes = picture((8, 10, 12, 2)), (0, 2)
    expected = np.mean([np.flip(placed(np.flip(volume[None], by)), by)[0] for by in ((), (1,), (3,), (1, 3))], axis=0)
    np.testing.assert_allclose(sliding_window(placed, volume, WINDOW, flips=axes), expected, atol=1e-6)
    found = window_graph(placed, WINDOW, flips=axes)(volume)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float64", "bool"])
def test_volumes_of_any_type(dtype):
    volume = (picture((9, 9, 9)) * 200).astype(dtype)
    np.testing.assert_allclose(sliding_window(lambda w: w, volume, 5, 0.5), volume.astype(np.float32), rtol=1e-5)


# --- where the answer goes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blend", BLENDS)
def test_from_and_to_memory_maps(tmp_path, blend):
    volume = picture((30, 12, 14))
    np.save(tmp_path / "in.npy", volume)
    source = np.load(tmp_path / "in.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float32, volume.shape)
    out[...] = 99  # what lay there is not added to
    assert sliding_window(lambda w: w, source, 8, 0.5, blend, out=out) is out
    out.flush()
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), volume, atol=1e-6)


@pytest.mark.parametrize("shape", ODD)
@pytest.mark.parametrize("batch", [1, 3])
def test_planes_are_finished_as_they_get_complete(shape, batch):
    volume, counts = picture(shape), []

    def finish(planes):
        counts.append(len(planes))
        return planes.argmax(-1).astype(np.uint8)

    labels = sliding_window(placed, volume, WINDOW, 0.5, finish=finish, batch=batch)
    assert labels.dtype == np.uint8 and sum(counts) == shape[0] and max(counts) <= WINDOW[0]
    np.testing.assert_array_equal(labels, sliding_window(placed, volume, WINDOW, 0.5).argmax(-1))
    out = np.full(shape[:-1], 9, np.uint8)
    assert sliding_window(placed, volume, WINDOW, 0.5, finish=finish, out=out) is out
    np.testing.assert_array_equal(out, labels)


def peak(function):
    tracemalloc.start()
    try:
        result = function()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def test_memory_is_the_answer_and_little_more():
    volume = picture((64, 96, 80))
    used, found = peak(lambda: sliding_window(lambda w: w, volume, 32, 0.5))
    assert used < 1.2 * found.nbytes
    classes = np.arange(16, dtype=np.float32)
    used, labels = peak(lambda: sliding_window(
        lambda w: w * classes, volume, (8, 32, 32), 0.5, finish=lambda p: p.argmax(-1).astype("uint8")
    ))  # fmt: skip
    assert used < 0.4 * volume.nbytes * len(classes) and labels.nbytes == volume.size


LONG = """
import sys, numpy as np
from tfmed.ops.sliding_window import sliding_window
def private():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) / 1024
def used(length, finish):
    volume = np.memmap(sys.argv[1], np.float32, "w+", shape=(length, 32, 32))
    out = np.memmap(sys.argv[2], np.float32, "w+", shape=(length, 32, 32))
    seen = []
    sliding_window(lambda w: seen.append(private()) or w, volume, (16, 32, 32), finish=finish, out=out)
    return max(seen)
for finish in (None, lambda planes: planes[..., 0]):
    short = used(64, finish)
    print(used(6144, finish) - short)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_the_length_of_the_volume(tmp_path):
    """24 MiB from one memory map to another."""
    command = [sys.executable, "-c", LONG, str(tmp_path / "in"), str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    assert not result.returncode, result.stderr
    assert all(float(growth) < 6 for growth in result.stdout.split()), result.stdout


# --- in a graph -------------------------------------------------------------------------------------------------------


def in_graph(*arguments, channels=2, **options):
    signature = [tf.TensorSpec([None] * 3 + ([channels] if channels else []), tf.float32)]
    return tf.function(window_graph(*arguments, **options), input_signature=signature)


@pytest.mark.parametrize("blend, batch, pad", [("constant", 1, "edge"), ("gaussian", 1, 3.0), ("gaussian", 3, "edge")])
def test_the_graph_gives_the_same(blend, batch, pad):
    graph = in_graph(placed, WINDOW, 0.5, blend, batch=batch, pad=pad)
    labels = in_graph(placed, WINDOW, 0.5, blend, batch=batch, pad=pad, finish=lambda p: tf.argmax(p, -1))
    for shape in ODD:
        volume = picture(shape)
        expected = sliding_window(placed, volume, WINDOW, 0.5, blend, pad=pad)
        np.testing.assert_allclose(graph(volume), expected, atol=1e-5)
        np.testing.assert_array_equal(labels(volume), graph(volume).numpy().argmax(-1))


def test_graphs_of_pictures_and_of_volumes_without_channels():
    flat = window_graph(lambda w: w, (6, 7), 0.5)
    for shape in [(15, 20), (3, 20, 4)]:
        np.testing.assert_allclose(tf.function(flat)(picture(shape)), picture(shape), atol=1e-6)
    found = in_graph(lambda w: w, 6, channels=None)(picture((7, 9, 20)))
    np.testing.assert_allclose(found, picture((7, 9, 20)), atol=1e-6)


def segmenter(model):
    """Volume of any size in its own unit -> labels and probabilities."""
    windows = window_graph(lambda w: model(w, training=False), 16, 0.5, multiple=4)

    def segment(volume):
        mean, variance = tf.nn.moments(volume, [0, 1, 2])
        probabilities = windows((volume - mean) / tf.sqrt(variance))
        return {"probabilities": probabilities, "labels": tf.argmax(probabilities, -1, output_type=tf.int32)}

    return ExportModule([model], {"segment": (segment, [tf.TensorSpec((None, None, None), tf.float32, "volume")])})


FRESH = """
import numpy as np, tensorflow as tf
segment = tf.saved_model.load(sys.argv[1]).signatures['serving_default']
with np.load(sys.argv[2]) as volumes:
    answers = {name: segment(volume=tf.constant(volumes[name])) for name in volumes.files}
np.savez(sys.argv[3], **{f"{k}/{name}": v.numpy() for name, answer in answers.items() for k, v in answer.items()})
"""


def test_exported_and_run_without_tfmed(tmp_path):
    """A SavedModel that normalises, blends and labels volumes of any size: the same on three odd shapes."""
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Conv3D(4, 3, padding="same", activation="relu"),
              keras.layers.Conv3D(3, 3, padding="same", activation="softmax")]  # fmt: skip
    model = keras.Sequential([keras.Input((None, None, None, 1)), *layers])
    module = segmenter(model)
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.signatures())
    volumes = {str(i): 40 * picture(shape, i) - 7 for i, shape in enumerate([(17, 23, 29), (9, 41, 16), (33, 5, 11)])}
    np.savez(tmp_path / "volumes.npz", **volumes)
    result = in_fresh_process(FRESH, tmp_path / "model", tmp_path / "volumes.npz", tmp_path / "out.npz")
    assert not result, result
    with np.load(tmp_path / "out.npz") as found:
        for name, volume in volumes.items():
            normal = (volume - volume.mean()) / volume.std()
            expected = sliding_window(lambda w: model(w, training=False), normal, 16, 0.5)
            np.testing.assert_allclose(found[f"probabilities/{name}"], expected, atol=1e-5)
            first, second = np.sort(expected, -1)[..., :-3:-1].transpose(3, 0, 1, 2)
            clear = first - second > 1e-4
            assert clear.mean() > 0.99 and found[f"labels/{name}"].shape == volume.shape
            np.testing.assert_array_equal(found[f"labels/{name}"][clear], expected.argmax(-1)[clear])


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, word", [
    ({"window": 0}, "window"), ({"window": (4, 4)}, "window"), ({"window": 2.5}, "window"),
    ({"window": None}, "window"), ({"window": (4,)}, "window"), ({"overlap": 1}, "overlap"),
    ({"overlap": -0.1}, "overlap"),
    ({"overlap": (0.5, 0.5)}, "overlap"), ({"overlap": float("nan")}, "overlap"), ({"blend": "linear"}, "blend"),
    ({"batch": 0}, "batch"), ({"batch": True}, "batch"), ({"pad": "wrap"}, "pad"), ({"pad": float("inf")}, "pad"),
    ({"flips": (3,)}, "flips"), ({"flips": (1, 1)}, "flips"), ({"multiple": 0}, "multiple"),
])  # fmt: skip
def test_bad_arguments_are_named(options, word):
    arguments = {"window": 4, **options}
    with pytest.raises(ValueError, match=word):
        sliding_window(lambda w: w, picture((8, 8, 8, 2)), **arguments)
    if arguments["window"] != (4, 4):  # two axes are fine for a graph until it meets a volume
        with pytest.raises(ValueError, match=word):
            window_graph(lambda w: w, **arguments)


@pytest.mark.parametrize("volume", [
    np.zeros((0, 4, 4)), np.zeros(5), np.zeros((2, 2, 2, 2, 2)), np.array([["a", "b"]]), np.zeros((4, 4, 4), complex),
])  # fmt: skip
def test_bad_volumes_are_named(volume):
    with pytest.raises(ValueError, match=r"volume|window"):
        sliding_window(lambda w: w, volume, 4)


@pytest.mark.parametrize("model_fn, word", [
    (lambda w: w[:, 1:], "network"), (lambda w: w[..., 0], "network"), (lambda w: {"a": w}, "network"),
    (lambda w: [w], "network"),
])  # fmt: skip
def test_networks_that_do_not_fit_are_named(model_fn, word):
    for run in (lambda: sliding_window(model_fn, picture((8, 8, 8, 2)), 4),
                lambda: in_graph(model_fn, 4)(picture((8, 8, 8, 2)))):  # fmt: skip
        with pytest.raises(ValueError, match=word):
            run()


# --- networks without padding -----------------------------------------------------------------------------------------

KERNEL = picture((3, 5, 3, 2, 3), seed=4) - 0.5  # its answer lacks (1, 2, 1) voxels on each side
PADS = {"edge": {"mode": "edge"}, "reflect": {"mode": "reflect"}, 2.5: {"constant_values": 2.5}}


def valid(windows):
    return tf.tanh(tf.nn.conv3d(tf.cast(windows, tf.float32), KERNEL, [1] * 5, "VALID"))


def at_once(volume, pad):
    """The network on the whole volume with its surroundings."""
    widths = [(edge, edge) for edge in (1, 2, 1)] + [(0, 0)]
    return valid(np.pad(volume, widths, **PADS[pad])[None])[0].numpy()


@pytest.mark.parametrize("pad", PADS)
@pytest.mark.parametrize("overlap, blend, batch", [(0, "constant", 1), (0.4, "gaussian", 3)])
def test_with_margins_windows_equal_the_whole_volume_at_once(pad, overlap, blend, batch):
    volume = picture(ODD[0])
    options = dict(window=(6, 5, 9), overlap=overlap, blend=blend, batch=batch, pad=pad, margin=(1, 2, 1))
    found = sliding_window(valid, volume, **options)
    np.testing.assert_allclose(found, at_once(volume, pad), atol=2e-6)
    planes = sliding_window(valid, volume, **options, finish=lambda planes: planes.max(-1))
    np.testing.assert_allclose(planes, at_once(volume, pad).max(-1), atol=2e-6)
    graph = tf.function(window_graph(valid, **options))
    np.testing.assert_allclose(graph(tf.constant(volume)), at_once(volume, pad), atol=2e-6)


@pytest.mark.parametrize("pad", PADS)
@pytest.mark.parametrize("shape", [(3, 9, 11, 2), (2, 3, 1, 2), (1, 1, 40, 2)])
def test_margins_around_volumes_smaller_than_the_window(pad, shape):
    """The surroundings are larger than the volume: mirrors show mirrors."""
    volume, window, edge = picture(shape), (4, 8, 12), (3, 5, 2)
    seen = []

    def middle(windows):
        seen.append(windows)
        return windows[:, 3:-3, 5:-5, 2:-2]

    answer = sliding_window(middle, volume, window, 0, pad=pad, margin=edge)
    np.testing.assert_allclose(answer, volume, atol=1e-6)
    widths = []
    for size, side, border in zip(shape, window, edge, strict=False):
        missing = max(side - size, 0)
        widths.append((missing // 2 + border, missing - missing // 2 + border))
    whole = np.pad(volume, [*widths, (0, 0)], **PADS[pad])
    np.testing.assert_array_equal(seen[0][0], whole[:10, :18, :16])
    np.testing.assert_array_equal(seen[-1][0], whole[:, -18:, -16:])
    graph = in_graph(lambda w: w[:, 3:-3, 5:-5, 2:-2] * 2, window, 0, pad=pad, margin=edge)
    np.testing.assert_allclose(graph(volume), 2 * volume, atol=1e-6)
    spread = tf.ones((7, 11, 5, 2, 2))  # sums over the whole margin: every voxel of the surroundings counts
    sums = dict(window=window, overlap=0, pad=pad, margin=edge)

    def summed(windows):
        return tf.nn.conv3d(tf.cast(windows, tf.float32), spread, [1] * 5, "VALID")

    np.testing.assert_allclose(in_graph(summed, **sums)(volume), sliding_window(summed, volume, **sums), rtol=1e-5)


def test_with_margins_in_two_dimensions_with_flips():
    """A symmetric network sees the same whichever way the window lies."""
    image = picture((21, 30, 1))
    kernel = tf.ones((3, 3, 1, 1)) / 9

    def mean(windows):
        return tf.nn.conv2d(tf.cast(windows, tf.float32), kernel, 1, "VALID").numpy()

    once = mean(np.pad(image, [(1, 1), (1, 1), (0, 0)], mode="reflect")[None])[0]
    for flips in ((), (0, 1)):
        found = sliding_window(mean, image, (8, 8), 0.25, pad="reflect", margin=1, flips=flips)
        np.testing.assert_allclose(found, once, atol=1e-6)


def test_wrong_margins_are_named():
    for margin in (-1, 0.5, (1, 2)):
        with pytest.raises(ValueError, match="margin"):
            sliding_window(valid, picture((9, 9, 9, 2)), 4, margin=margin)
    with pytest.raises(ValueError, match="must answer"):
        sliding_window(valid, picture((9, 9, 9, 2)), 4, margin=2)
    with pytest.raises(ValueError, match="reflect"):
        sliding_window(lambda w: w, picture((9, 9, 9)), 4, pad="wrap")


def test_labels_cannot_be_blended():
    with pytest.raises(ValueError, match="blended"):
        sliding_window(lambda w: w.argmax(-1)[..., None], picture((8, 8, 8, 2)), 4)
    with pytest.raises(ValueError, match="blended"):
        in_graph(lambda w: tf.argmax(w, -1)[..., None], 4)(picture((8, 8, 8, 2)))


def test_outputs_that_do_not_fit_are_named():
    volume = picture((8, 8, 8))
    for out in (np.zeros((8, 8, 7), "f"), np.zeros((8, 8, 8, 2), "f"), np.zeros((8, 8, 8), np.uint8), volume):
        with pytest.raises(ValueError, match="out"):
            sliding_window(lambda w: w, volume, 4, out=out)
    with pytest.raises(ValueError, match="finish"):
        sliding_window(lambda w: w, volume, 4, finish=lambda planes: planes[:, 0])
    with pytest.raises(ValueError, match="finish"):
        window_graph(lambda w: w, 4, finish=lambda planes: planes[:, 0])(volume)
    with pytest.raises(ValueError, match="channels"):
        tf.function(window_graph(lambda w: w, 4)).get_concrete_function(tf.TensorSpec((4, 4, 4, None)))


# --- tiles: the middles of overlapping patches, side by side ----------------------------------------------------------


def middle(patches, margin=2):
    """What is left of the answer for a patch."""
    return patches[:, margin:-margin, margin:-margin, margin:-margin]


def mean_of_27(patches):
    """A network that sees a voxel to each side: the middle of its answer is right."""
    patches = tf.convert_to_tensor(patches)
    return middle(tf.nn.conv3d(patches, tf.ones((3, 3, 3, 1, 1)) / 27, [1] * 5, "SAME"))


TILES = {"window": (4, 4, 4), "overlap": 0, "blend": "tiles", "margin": 2, "pad": 0.0}


@settings(max_examples=80, deadline=None)
@given(size=st.integers(1, 80), window=st.integers(1, 40))
def test_tiles_cover_each_voxel_once(size, window):
    axis = _lattice(2, window, 0, "tiles", 1, "edge", (), 1).axis(0, size)
    total = np.zeros(size, int)
    for k in range(len(axis.starts)):
        total[axis.box(k)] += 1
        assert (axis.share(k) == 1).all() and axis.starts[k] == k * window
    assert (total == 1).all() and axis.final(len(axis.starts) - 1) == size


TILED = [(4, 8, 4, 1), (9, 5, 11, 1), (3, 2, 1, 1), (1, 13, 6, 1)]


def test_tiles_of_an_identity_give_the_volume_back():
    """Bit for bit: nothing is blended."""
    for shape in TILED:
        volume = picture(shape)
        for batch in (1, 3):
            np.testing.assert_array_equal(sliding_window(middle, volume, **TILES, batch=batch), volume)
        np.testing.assert_array_equal(sliding_window(middle, volume, **TILES, finish=lambda planes: planes), volume)


@pytest.mark.parametrize("batch, finish", [(1, None), (3, lambda planes: tf.cast(255 * planes, tf.uint8))])
def test_tiles_of_an_identity_in_a_graph(batch, finish):
    spec = tf.TensorSpec((None, None, None, 1))
    run = tf.function(window_graph(middle, **TILES, batch=batch, finish=finish), [spec], autograph=False)
    for shape in TILED:
        volume = picture(shape)
        np.testing.assert_array_equal(run(volume), volume if finish is None else finish(volume))


def test_tiles_do_not_show_where_a_volume_begins():
    """As the network over all of the volume at once, with zeros around it, wherever tiles lie."""
    volume = picture((11, 14, 9, 1))
    whole = tf.nn.conv3d(volume[None], tf.ones((3, 3, 3, 1, 1)) / 27, [1] * 5, "SAME")[0]
    np.testing.assert_allclose(sliding_window(mean_of_27, volume, **TILES), whole, atol=1e-6)
    for start in range(1, 4):
        found = sliding_window(mean_of_27, volume[start:, start:], **TILES)
        np.testing.assert_allclose(found[1:, 1:], whole[start + 1 :, start + 1 :], atol=1e-6)


def test_tiles_that_overlap_are_refused():
    with pytest.raises(ValueError, match="tiles do not overlap"):
        sliding_window(middle, picture((4, 4, 4, 1)), (4, 4, 4), 0.25, "tiles")
