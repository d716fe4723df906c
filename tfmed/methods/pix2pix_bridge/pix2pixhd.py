"""pix2pixHD (Wang et al. 2018), a baseline on pairs: its global generator, and critics at several scales."""

import tensorflow as tf

from tfmed.losses.adversarial import least_squares_critic, least_squares_generator
from tfmed.methods.pix2pix_bridge.model import SliceTranslator, build_network
from tfmed.nn.adam import Adam
from tfmed.nn.translation import patch_critic


class Pix2PixHD(SliceTranslator):
    """A generator, and PatchGANs that see (source, translation) at full, half, ... size; least-squares losses.

    Feature matching takes the place of the L1 loss. The public code also compares features of a network that was
    trained on photographs, which needs a download: that term is left out.

    Args:
        config: the method's `Config`.
        rate: learning rate or `Schedule`; default the config's.

    A training batch holds `mr` and `mrcat`, a pair, each `(b, size, size, 1)` in [-1, 1].
    """

    def __init__(self, config, rate=None, seed=0, **kwargs):
        super().__init__(config, seed=seed, **kwargs)
        rate = config.learning_rate if rate is None else rate
        self.generator = build_network(config, "generator", seed)
        self.critics = [
            patch_critic(config.critic_layers, 2, config.critic_first, f"critic{i}", features=True)
            for i in range(config.critic_scales)
        ]
        optimizers = (Adam(rate, config.beta_1, config.beta_2, 1e-8) for _ in range(2))
        networks = {"critic": self.critics, "generator": [self.generator]}
        self.finish_building(
            {name: (next(optimizers), found) for name, found in networks.items()},
            ["critic_loss", "generator_critic", "feature_matching"],
        )

    def made(self, batch):
        """Translations of a batch's sources."""
        return self.generator(self.ends(batch)[0], training=True)

    def ends(self, batch):
        """(source images, target images) of a batch."""
        names = ("mr", "mrcat") if self.config.direction == "m2c" else ("mrcat", "mr")
        return tuple(batch[name] for name in names)

    def judged(self, source, image):
        """What each scale's critic sees in (source, image): its blocks' activations, and the logits last."""
        pair, found = tf.concat([source, image], -1), []
        for critic in self.critics:
            found.append(critic(pair, training=True))
            pair = tf.nn.avg_pool2d(pair, 3, 2, "SAME")
        return found

    def critic_loss(self, batch, fake):
        """Pairs against (source, translation), at every scale."""
        source, target = self.ends(batch)
        scales = zip(self.judged(source, target), self.judged(source, fake), strict=True)
        loss = tf.add_n([tf.reduce_mean(least_squares_critic(real[-1], made[-1])) for real, made in scales])
        return loss, {"critic_loss": loss}

    def generator_loss(self, batch, fake):
        """Fool the critics, and look to them like the target: mean distance of activations."""
        source, target = self.ends(batch)
        seen, real = self.judged(source, fake), self.judged(source, target)
        fooled = tf.add_n([2.0 * tf.reduce_mean(least_squares_generator(made[-1])) for made in seen])
        distances = [
            tf.reduce_mean(tf.abs(tf.stop_gradient(true) - own))
            for made, known in zip(seen, real, strict=True)
            for own, true in zip(made[:-1], known[:-1], strict=True)
        ]
        # Mean over scales; four times the mean over the blocks, as in the public code.
        matching = 4.0 * tf.reduce_mean(tf.stack(distances))
        total = fooled + self.config.feature_weight * matching
        return total, {"generator_critic": fooled, "feature_matching": matching}
