"""The downstream graph network, and training sets that others make for it: SMOTE and ADASYN."""

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import accuracy_score, precision_score, recall_score

from tfmed import compat
from tfmed.data.connectomes import Connectomes
from tfmed.engine.terminal import log
from tfmed.methods.brainnetgan.model import chosen_class, class_loss, class_outputs
from tfmed.nn.adam import Adam
from tfmed.nn.connectome import GraphConv
from tfmed.ops.triangle import to_matrix, to_vector


def graph_network(config):
    """Matrices `(n, d, d)` -> class scores: graph convolutions on rows, mean over regions, two dense layers."""
    inputs = keras.Input((config.regions, config.regions))
    x = inputs
    for i, width in enumerate(config.graph_filters, 1):
        x = keras.layers.ReLU()(GraphConv(width, name=f"graph{i}")([x, inputs]))
    x = keras.layers.GlobalAveragePooling1D()(x)
    x = keras.layers.Dense(32, "relu", name="dense")(x)
    return keras.Model(inputs, keras.layers.Dense(class_outputs(config), dtype="float32", name="classes")(x))


def _loss(labels, scores):
    return class_loss(scores, tf.reshape(labels, (-1,)))  # Keras gives labels a second axis


class GraphClassifier:
    """A graph network that is trained from new weights again and again (tracing it once).

    Args:
        config: the method's `Config`.
    """

    def __init__(self, config):
        self.config, self.network = config, graph_network(config)
        self.network.compile(Adam(config.graph_learning_rate), _loss)
        self.network.optimizer.build(self.network.trainable_variables)
        self._fresh = [v.numpy() for v in map(compat.tensor_variable, self._state())]

    def _state(self):
        return compat.optimizer_variables(self.network.optimizer)

    def scores(self, train, validation, tests, seed):
        """{name: (accuracy, precision, recall)} of the best epoch by validation loss.

        Precision and recall are those of the second class; with more than two classes means over the classes.

        Args:
            train, validation: Connectomes.
            tests: {name: Connectomes} to score.
            seed: of the weights and of the order of the samples.
        """
        config = self.config
        keras.utils.set_random_seed(seed)
        self.network.set_weights(graph_network(config).get_weights())
        for variable, value in zip(map(compat.tensor_variable, self._state()), self._fresh, strict=True):
            variable.assign(value)
        stop = keras.callbacks.EarlyStopping("val_loss", patience=config.graph_patience, restore_best_weights=True)
        self.network.fit(
            train.matrices, train.labels, config.graph_batch, config.graph_epochs, verbose=0, callbacks=[stop],
            validation_data=(validation.matrices, validation.labels),
        )  # fmt: skip
        if stop.best_weights is not None:  # Keras 2 gives them back only where it stops early
            self.network.set_weights(stop.best_weights)
        return {name: self._score(test) for name, test in tests.items()}

    def _score(self, test):
        found = chosen_class(self.network.predict(test.matrices, verbose=0)).numpy()
        how = dict(average="binary" if len(self.config.classes) == 2 else "macro", zero_division=0.0)
        pair = (test.labels, found)
        return accuracy_score(*pair), precision_score(*pair, **how), recall_score(*pair, **how)


def oversampled(real, kind, seed=0):
    """As many matrices of each class as there are real ones, made by "smote" or "adasyn"; None where it makes none.

    Chawla et al., JAIR 2002; He et al., IJCNN 2008; both from imbalanced-learn, on the vectors of free entries. As
    classes may be balanced, each is asked to be doubled, and only what is new is kept.
    """
    from imblearn.over_sampling import ADASYN, SMOTE

    counts = np.bincount(real.labels)
    wanted = {label: 2 * int(count) for label, count in enumerate(counts) if count}
    neighbours = int(min(5, counts[counts > 0].min() - 1))
    if neighbours < 1:
        log.warning("%s: needs two subjects of each class; left out", kind)
        return None
    maker, option = {"smote": (SMOTE, "k_neighbors"), "adasyn": (ADASYN, "n_neighbors")}[kind]
    maker = maker(sampling_strategy=wanted, random_state=seed, **{option: neighbours})
    try:
        vectors, labels = maker.fit_resample(to_vector(real.matrices), real.labels)
    except (ValueError, RuntimeError) as error:  # ADASYN, where no neighbour is of another class
        log.warning("%s: makes nothing here (%s); left out", kind, str(error).splitlines()[0][:80])
        return None
    new = slice(len(real), None)
    matrices = to_matrix(vectors[new].astype(np.float32), real.matrices.shape[-1]).numpy()
    return Connectomes(matrices, labels[new].astype(np.int32), tuple(f"{kind}-{i}" for i in range(len(matrices))))


def joined(*sets):
    """Connectomes of several sets."""
    return Connectomes(
        np.concatenate([one.matrices for one in sets]),
        np.concatenate([one.labels for one in sets]),
        sum((one.ids for one in sets), ()),
    )
