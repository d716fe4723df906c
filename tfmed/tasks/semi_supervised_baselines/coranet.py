"""CoraNet, conservative-radical network (Shi et al., IEEE TMI 2021), reimplemented.

Idea: two further heads learn the labels with unequal costs: for the conservative one a wrong foreground voxel is dear,
for the radical one a missed one. Where both agree, an unlabelled voxel is certain, and the main head learns its own
prediction there (self-training); where they do not, all three heads must agree with those of a mean teacher. Training
begins with labels alone. The main head is used afterwards.

Deviates: pseudo labels and certain regions are made afresh at every step, by a pass without dropout, and not every ten
epochs. Dice is that of the foreground classes. The means over regions are taken for each volume.
"""

from typing import Literal

import tensorflow as tf
from pydantic import Field

from tfmed.losses import segmentation as losses
from tfmed.nn.branches import branch
from tfmed.tasks.semi_supervised_baselines.base import BaselineLearner, Taught

HEADS = ("logits", "conservative", "radical")


class CoraNet(Taught):
    """`model.architecture: {name: coranet}`; its beta_ce and beta_dice are 1/4 each."""

    name: Literal["coranet"] = "coranet"
    weight: float = Field(0.02, ge=0)  # of the uncertain region; 0.1 * 0.1 of a sum over two classes
    noise: float = Field(0.0, ge=0)
    cost: float = Field(5.0, ge=1)  # of the dear mistake, against 1 for the other
    heads: float = Field(0.25, ge=0)  # weight of each of the two heads' cross-entropies
    certain: float = Field(2.0, ge=0)  # weight of L_Seg on the certain region: (CE + Dice) / 2
    pretrained: float = Field(0.13, ge=0, lt=1)  # share of the steps before unlabelled volumes count: 30 of 231 epochs


class CoraNetLearner(BaselineLearner):
    """L = L_Seg + heads (L_conservative + L_radical) + certain L_Seg(certain region) + w(t) L_consistency(the rest)."""

    terms = ("heads", "certain", "consistency", "certain_share")

    @staticmethod
    def branches(config):
        """A convolution of their own, and logits."""
        norm = getattr(config.network, "norm", "instance")
        return {
            name: lambda shape, name=name: branch(shape, config.classes, convolutions=1, norm=norm, name=name)
            for name in HEADS[1:]
        }

    def further_terms(self, batch, images, found):
        """What the further heads, the certain and the uncertain region teach; logs the certain region's share."""
        _, unlabelled = self.streams.divide(images)
        pseudo, certain = self.regions(unlabelled)
        student = {name: self.streams.divide(found[name]) for name in HEADS}
        self_training = self.volume_loss(student["logits"][1], pseudo, pseudo, certain)
        (teacher,) = self.taught(batch, images, 1)
        differences = [losses.consistency(student[name][1], teacher[name], ~certain) for name in HEADS]
        started = tf.cast(self.step_of(batch) >= int(self.baseline.pretrained * self.steps), tf.float32)
        return {
            "heads": (self.baseline.heads, self.head_loss(batch, student)),
            "certain": (started * self.baseline.certain, tf.reduce_mean(self_training)),
            "consistency": (started * self.ramp(batch), tf.reduce_mean(tf.stack(differences))),
            "certain_share": (0.0, tf.reduce_mean(tf.cast(certain, tf.float32))),
        }

    def head_loss(self, batch, student):
        """Cross-entropies with unequal costs, means over labelled voxels weighted by their cost."""
        labels, _ = self.streams.divide(batch["label"])
        foreground = labels > 0
        total = 0.0
        for name, dear in (("conservative", ~foreground), ("radical", foreground)):
            costs = tf.where(dear, self.baseline.cost, 1.0)
            total += tf.reduce_mean(losses.cross_entropy(student[name][0], labels, costs))
        return total

    def regions(self, images):
        """(classes of the main head, where the other two agree), of a pass without dropout; no gradient."""
        plain = self.student(images, training=False)
        classes = {name: tf.stop_gradient(tf.argmax(plain[name], -1, tf.int32)) for name in HEADS}
        return classes["logits"], classes["conservative"] == classes["radical"]
