"""Classifier two-sample test: can a network tell synthetic images from real ones? And its features, for distances."""

import dataclasses
import warnings

import numpy as np
import scipy.stats
import tensorflow as tf

from tfmed import compat
from tfmed.nn.adam import Adam
from tfmed.nn.gan2d import image_classifier


@dataclasses.dataclass(frozen=True)
class TwoSample:
    """Of a test with as many synthetic as real samples as there are; synthetic is the positive class.

    Args:
        recall, specificity: share of synthetic and of real samples that are recognised; 0.5 is chance, the best value.
        accuracy: share of all samples, each set counting half.
        auc: area under the ROC curve.
        score: 2 |accuracy - 0.5|: 0 where the sets cannot be told apart.
        p_value: of accuracy above chance if they were one distribution (Lopez-Paz & Oquab 2017, Sect. 3).
    """

    recall: float
    specificity: float
    accuracy: float
    auc: float
    score: float
    p_value: float


def two_sample_test(synthetic, real, threshold=0.5):
    """TwoSample of a classifier's outputs (probability, or any score) for synthetic `(n,)` and real samples `(m,)`.

    Raises:
        ValueError: a set is empty, or outputs are not finite.
    """
    s, r = (np.asarray(part, np.float64).ravel() for part in (synthetic, real))
    if not len(s) or not len(r):
        raise ValueError(f"{len(s)} synthetic and {len(r)} real samples: a two-sample test needs some of both")
    if not (np.isfinite(s).all() and np.isfinite(r).all()):
        raise ValueError("outputs of the classifier are NaN or infinite; lower its learning rate")
    recall, specificity = float(np.mean(s > threshold)), float(np.mean(r <= threshold))
    accuracy = (recall + specificity) / 2
    # Of the mean of two independent shares; 1 / (4 n) for n samples, half of them synthetic.
    deviation = np.sqrt((1 / len(s) + 1 / len(r)) / 16)
    ranks = scipy.stats.rankdata(np.concatenate([s, r]))[: len(s)]
    auc = (ranks.sum() - len(s) * (len(s) + 1) / 2) / (len(s) * len(r))
    p_value = float(scipy.stats.norm.sf((accuracy - 0.5) / deviation))
    return TwoSample(recall, specificity, accuracy, float(auc), 2 * abs(accuracy - 0.5), p_value)


class Discriminator:
    """A trained classifier of images.

    Args:
        network: see `tfmed.nn.gan2d.image_classifier`.
        batch_size: images at a time.
    """

    def __init__(self, network, batch_size=128):
        self.network, self.batch_size = network, batch_size
        self._call = tf.function(lambda x: network(x, training=False), reduce_retracing=True)

    def features(self, images):
        """Penultimate layer's outputs `(n, d)` of images `(n, H, W)` in [0, 1]."""
        return self._outputs(images, 0)

    def probability(self, images):
        """Probability `(n,)` that each of the images `(n, H, W)` is synthetic."""
        return 1.0 / (1.0 + np.exp(-np.clip(self._outputs(images, 1)[:, 0], -500, 500)))

    def _outputs(self, images, which):
        starts = range(0, len(images), self.batch_size)
        batches = (np.asarray(images[i : i + self.batch_size], np.float32)[..., None] for i in starts)
        return np.concatenate([self._call(tf.constant(x))[which].numpy().astype(np.float64) for x in batches])


def train_discriminator(real, synthetic, seed=0, epochs=20, batch_size=128, learning_rate=1e-3, **network):
    """A Discriminator trained to tell synthetic images (1) from real ones (0): binary cross-entropy, Adam, no stopping.

    Args:
        real, synthetic: `(n, H, W)` and `(m, H, W)` in [0, 1], arrays or memory maps; batches are read as needed.
        seed: of weights and order: the same numbers again with the same seed.
        network: of `image_classifier`: `channels`, `features`.

    Raises:
        ValueError: sets that are empty or differ in size, or values outside of [0, 1].
    """
    _check(real, synthetic)
    model = image_classifier(np.shape(real)[1:], seed=seed, **network)
    optimizer = Adam(learning_rate)
    optimizer.build(model.trainable_variables)
    variables = [compat.tensor_variable(v) for v in model.trainable_variables]

    @tf.function(reduce_retracing=True)
    def step(images, labels):
        with tf.GradientTape() as tape:
            logits = tf.cast(model(images, training=True)[1][:, 0], tf.float32)
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))
        compat.apply_gradients(optimizer, tape.gradient(loss, variables), model.trainable_variables)

    rng, count = np.random.default_rng(seed), len(real) + len(synthetic)
    for _ in range(epochs):
        order = rng.permutation(count)
        for start in range(0, count, batch_size):
            chosen = np.sort(order[start : start + batch_size])  # sorted: memory maps are read forwards
            own, made = chosen[chosen < len(real)], chosen[chosen >= len(real)] - len(real)
            images = np.concatenate([real[own], synthetic[made]]).astype(np.float32)[..., None]
            step(tf.constant(images), tf.constant(np.repeat([0.0, 1.0], [len(own), len(made)]), tf.float32))
    return Discriminator(model, batch_size)


def _check(real, synthetic):
    for name, images in (("real", real), ("synthetic", synthetic)):
        if np.ndim(images) != 3 or not len(images):
            raise ValueError(f"{name}: images must be (n, H, W), at least one; got shape {np.shape(images)}")
        low, high = np.min(images), np.max(images)
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise ValueError(f"{name}: values {low:.4g} .. {high:.4g} lie outside of [0, 1]; rescale the images")
    if np.shape(real)[1:] != np.shape(synthetic)[1:]:
        raise ValueError(f"real {np.shape(real)[1:]} and synthetic {np.shape(synthetic)[1:]} images differ in size")


def check_disjoint(train_groups, test_groups):
    """Leak guard: ValueError when a patient is in both parts of the real data."""
    both = sorted(set(map(str, train_groups)) & set(map(str, test_groups)))
    if both:
        more = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
        raise ValueError(f"patient {both[0]}{more} is in the training and in the test part; split by patient")


def auxiliary_classifiers(real_train, synthetic_train, real_test, synthetic_test, seed=0):
    """{name: TwoSample} of plain classifiers of features: tree, forest, linear SVM, neighbours, AdaBoost."""
    from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC
    from sklearn.tree import DecisionTreeClassifier

    classifiers = {
        "decision tree": DecisionTreeClassifier(random_state=seed),
        "random forest": RandomForestClassifier(random_state=seed),
        "linear SVM": make_pipeline(StandardScaler(), LinearSVC(random_state=seed, dual="auto")),
        "nearest neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier()),
        "AdaBoost": AdaBoostClassifier(random_state=seed),
    }
    x = np.concatenate([real_train, synthetic_train])
    labels = np.repeat([0, 1], [len(real_train), len(synthetic_train)])
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of AdaBoost's changing defaults, and of an SVM that has not converged
        for name, classifier in classifiers.items():
            classifier.fit(x, labels)
            decide = getattr(classifier, "predict_proba", None)
            scores = [decide(part)[:, 1] - 0.5 if decide else classifier.decision_function(part)
                      for part in (synthetic_test, real_test)]  # fmt: skip
            found[name] = two_sample_test(*scores, threshold=0.0)
    return found
