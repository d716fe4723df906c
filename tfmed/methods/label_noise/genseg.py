"""GenSeg (Vorontsov et al. 2019, arXiv 1904.01636): slices are translated from diseased to healthy and back; what the
translation takes away is the tumour, and the decoder that makes it makes the mask, too."""

import keras
import tensorflow as tf

from tfmed.losses.adversarial import hinge_critic, wasserstein_generator
from tfmed.methods.label_noise.models import adam, build_network, supervised_loss
from tfmed.nn import spectral
from tfmed.nn.compressed_unet import image_decoder, residual_decoder
from tfmed.training.adversarial import SharedForwardModel

TUMOUR = 0  # tag of noise


class GenSegModel(SharedForwardModel):
    """Encoder, decoders of healthy slices and of what a tumour adds, and critics of both kinds of slices.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule.
        streams: the `Mixture` of a batch: annotated diseased slices, other diseased ones, healthy ones, of which there
            are as many as of both others.

    A batch holds `image` `(n, *patch, channel)` in [-1, 1] and `label` `(n, *patch)`, 0 where a slice is not annotated.
    """

    terms = ("adversarial", "image", "cycle", "code", "mask")

    def __init__(self, config, rate, *, streams, **kwargs):
        super().__init__(**kwargs)
        self.config, self.streams = config, streams
        self.encoder = build_network(config, self.noise_seed).get_layer("encoder")
        *fine, coarsest = self.encoder.outputs
        self.unique = round(config.segmenter.unique * coarsest.shape[-1])
        common = keras.Input((*coarsest.shape[1:-1], coarsest.shape[-1] - self.unique))
        channels, how = len(config.modalities), {"normalise": config.network.normalise}
        self.healthy_decoder = image_decoder(
            [*fine, common], channels, skips=False, activation="tanh", name="healthy_decoder", **how
        )
        self.tumour_decoder = residual_decoder(self.encoder.outputs, channels, config.classes, **how)
        inputs = keras.Input((None, None, channels))
        self.network = keras.Model(inputs, self.tumour_decoder(self.encoder(inputs))[1], name="genseg")
        for k, name in enumerate(("diseased_critic", "healthy_critic")):
            critic = spectral.multi_scale_critic(
                channels, config.segmenter.critic_widths, seed=1000 * self.noise_seed + 500 * k, name=name
            )
            setattr(self, name, critic)
        self.finish_building(
            {"critic": (adam(config, rate), [self.diseased_critic, self.healthy_critic]),
             "network": (adam(config, rate), [self.encoder, self.healthy_decoder, self.tumour_decoder])},
            ["loss", "critic", *self.terms],
        )  # fmt: skip

    def call(self, images, training=False):
        """Images `(n, *patch, channel)` -> logits of the mask."""
        return self.network(images, training=training)

    def translated(self, images):
        """(healthy slices, what a tumour adds to them) of diseased ones, each `(n, *patch, channel)`."""
        *fine, code = self.encoder(images, training=False)
        common = code[..., : code.shape[-1] - self.unique]
        healthy = self.healthy_decoder([*fine, common], training=False)
        return healthy, self.tumour_decoder([*fine, code], training=False)[0]

    # --- training -----------------------------------------------------------------------------------------------------

    @property
    def turns(self):
        """Critics, and then what they judge."""
        return {"critic": self.critic_loss, "network": self.network_loss}

    def train_step(self, batch):
        logs = super().train_step(batch)
        for critic in (self.diseased_critic, self.healthy_critic):
            spectral.follow(critic)
        return logs

    def divided(self, tensor):
        """(rows of diseased slices, annotated ones first; rows of healthy ones)."""
        *diseased, healthy = self.streams.divide(tensor)
        return tf.concat(diseased, 0), healthy

    def encoded(self, images):
        """(finer features, common code, unique code) of images."""
        *fine, code = self.encoder(images, training=True)
        return fine, *tf.split(code, [code.shape[-1] - self.unique, self.unique], -1)

    def made(self, batch):
        """Translations, each `(n, *patch, channel)`, by the public code's names: A are diseased slices, B healthy ones,
        AB diseased ones made healthy; the codes of all, and the logits of A."""
        a, b = self.divided(tf.cast(batch["image"], tf.float32))
        (fine_a, common_a, unique_a), (fine_b, common_b, _) = self.encoded(a), self.encoded(b)
        # Of the size of a code, the same for a slice however the batch is shared by replicas.
        drawn = tf.cast(self.divided(self.noise(batch, unique_a.shape[1:], TUMOUR))[1], unique_a.dtype)
        ab, bb = (self.healthy_decoder([*fine, common], training=True)
                  for fine, common in ((fine_a, common_a), (fine_b, common_b)))  # fmt: skip
        code_a, code_ba = tf.concat([common_a, unique_a], -1), tf.concat([common_b, drawn], -1)
        residual_a, logits = self.tumour_decoder([*fine_a, code_a], training=True)
        residual_b, _ = self.tumour_decoder([*fine_b, code_ba], training=True)
        made = {"A": a, "B": b, "AB": ab, "AA": ab + residual_a, "BB": bb, "BA": bb + residual_b, "logits": logits}
        _, common_ab, _ = self.encoded(made["AB"])
        fine_ba, common_ba, unique_ba = self.encoded(made["BA"])
        made["BAB"] = self.healthy_decoder([*fine_ba, common_ba], training=True)
        return made | {"codes": ((common_a, common_ab), (common_b, common_ba), (drawn, unique_ba))}

    def critic_loss(self, batch, made):
        """Hinge losses of both critics: of diseased slices and healthy ones given a tumour, and the other way round."""
        loss = tf.add_n([self.judged(critic, hinge_critic, tf.stop_gradient(real), tf.stop_gradient(fake))
                         for critic, real, fake in self.pairs(made)])  # fmt: skip
        return loss, {"critic": loss}

    def network_loss(self, batch, made):
        """The weighted sum of all terms; the mask's of annotated slices alone."""
        weights = self.config.segmenter
        labels, *_ = self.streams.divide(batch["label"])
        terms = {
            "adversarial": tf.add_n([self.judged(critic, wasserstein_generator, fake)
                                     for critic, _, fake in self.pairs(made)]),
            "image": mean_abs(made["AA"] - made["A"]) + mean_abs(made["BB"] - made["B"]),
            "cycle": mean_abs(made["BAB"] - made["B"]),
            "code": tf.add_n([mean_abs(before - after) for before, after in made["codes"]]),
            "mask": supervised_loss(self, made["logits"][: tf.shape(labels)[0]], labels),
        }  # fmt: skip
        loss = tf.add_n([getattr(weights, name) * term for name, term in terms.items()])
        return loss, {"loss": loss} | terms

    def pairs(self, made):
        """(critic, real slices, made ones)."""
        return (self.diseased_critic, made["A"], made["BA"]), (self.healthy_critic, made["B"], made["AB"])

    def judged(self, critic, loss, *images):
        """A loss of a critic's scores, the mean over samples and scales."""
        scores = zip(*(critic(one, training=True) for one in images), strict=True)
        values = [tf.reduce_mean(loss(*scale)) for scale in scores]
        return tf.add_n(values) / len(values)


def mean_abs(difference):
    """A scalar, float32."""
    return tf.reduce_mean(tf.abs(tf.cast(difference, tf.float32)))
