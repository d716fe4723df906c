"""The paper's rivals (Appendix D), of two codes and of one: a conditional InfoGAN and an adversarial autoencoder."""

import tensorflow as tf

from tfmed.methods.drai.model import AGAIN, INFERRED, TwoCodeModel, mean_abs
from tfmed.nn.gaussian import kl_between, kl_to_standard, log_density, reparametrised


class TwoCodeInfoGAN(TwoCodeModel):
    """D-cInfoGAN: codes are inferred of made pictures alone; encoders never see real ones (Eq. 8, Fig. 7b).

    The style's encoder raises the likelihood of the style that a picture was made of, the content's lowers the
    distance from its content.
    """

    critics = ("critic_image", "critic_class")

    def term_weights(self):
        """1, as all of the paper's."""
        return {"style_information": 1.0, "content_cycle": 1.0, "kl": self.config.kl_weight}

    def made(self, batch):
        """What is drawn, and the pictures of it."""
        made = self.drawn(batch)
        return made | {"fake": self.generator([made["style"], made["content"]], training=True)}

    def critic_loss(self, batch, made):
        """Real pictures are to score high, alone and with their class; made ones low."""
        (critic, _, _), label = self.losses_of_scores, made["class"]
        terms = [critic(self.judged("critic_image", made["image"]), self.judged("critic_image", made["fake"])),
                 critic(self.judged("critic_class", made["image"], label),
                        self.judged("critic_class", made["fake"], label))]  # fmt: skip
        loss = tf.reduce_mean(tf.add_n(terms))
        return loss, {"critic": loss}

    def scores_to_raise(self, batch, made):
        """Made ones are to score high."""
        _, high, _ = self.losses_of_scores
        return [high(self.judge("critic_image", made["fake"])),
                high(self.judge("critic_class", made["fake"], made["class"]))]  # fmt: skip

    def style_information(self, batch, made):
        """-log Q of the style that a picture was made of, given the picture."""
        return self.mean_over("style", -log_density(made["style"], *self.style_encoder(made["fake"], training=True)))

    def content_cycle(self, batch, made):
        """Mean absolute difference of the content that a picture was made of and that inferred of it."""
        noise = self.noise(batch, (self.config.content_size,), AGAIN)
        found = reparametrised(*self.content_encoder(made["fake"], training=True), noise)
        return mean_abs(found - made["content"])

    def kl(self, batch, made):
        """Divergence of the content given the class from the standard normal."""
        return self.mean_over("content", kl_to_standard(*made["content_of_class"]))


class TwoCodeAVAE(TwoCodeModel):
    """D-cAVAE: an autoencoder of two codes whose reconstructions are judged by critics (Fig. 8b).

    The prior of the content is that given the class; the paper does not say how it is learnt. Of the pairs that the
    critic of reconstructions sees the paper prints the second as twice the reconstruction, which would not be one of
    this picture; it is the picture with its reconstruction here (Li et al. 2017, ALICE).
    """

    critics = ("critic_cycle", "critic_class", "critic_class_style", "critic_class_content")
    inferred = ("style", "content")

    def term_weights(self):
        """Of the divergences."""
        return {"kl": self.config.kl_weight}

    def made(self, batch):
        """Codes inferred of the pictures, and what they give."""
        made = self.drawn(batch)
        for k, kind in enumerate(self.inferred):
            found = getattr(self, f"{kind}_encoder")(made["image"], training=True)
            noise = self.noise(batch, (getattr(self.config, f"{kind}_size"),), INFERRED + k)
            made |= {f"{kind}_of_image": found, f"inferred_{kind}": reparametrised(*found, noise)}
        codes = [made["inferred_style"], made.get("inferred_content", made["content"])]
        return made | {"again": self.generator(codes, training=True)}

    def pairs(self, made, image):
        """{critic: inputs} for a picture, or its reconstruction, in its class and with its codes."""
        label = made["class"]
        found = {"critic_cycle": (tf.concat([made["image"], image], -1),), "critic_class": (image, label)}
        for kind in self.inferred:
            found[f"critic_class_{kind}"] = (image, tf.concat([label, made[f"inferred_{kind}"]], -1))
        return found

    def critic_loss(self, batch, made):
        """Pictures are to score high, reconstructions low."""
        critic, _, _ = self.losses_of_scores
        real, again = (self.pairs(made, made[name]) for name in ("image", "again"))
        terms = [critic(self.judged(name, *real[name]), self.judged(name, *again[name])) for name in self.critics]
        loss = tf.reduce_mean(tf.add_n(terms))
        return loss, {"critic": loss}

    def scores_to_raise(self, batch, made):
        """Reconstructions are to score high."""
        _, high, _ = self.losses_of_scores
        return [high(self.judge(name, *inputs)) for name, inputs in self.pairs(made, made["again"]).items()]

    def kl(self, batch, made):
        """Divergences of the style from the standard normal, and of the content from that given the class."""
        style = self.mean_over("style", kl_to_standard(*made["style_of_image"]))
        return style + self.mean_over("content", kl_between(*made["content_of_image"], *made["content_of_class"]))


class OneCode:
    """Of a `TwoCodeModel`: the condition itself in the place of the content, which nothing draws or infers."""

    networks: tuple[str, ...] = ("generator", "style_encoder")

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(config.model_copy(update={"content_size": config.condition_width}), rate, **kwargs)

    def content_given(self, classes, noise, training=False):
        """{"content": the condition}."""
        return {"content": classes}


class ConditionalInfoGAN(OneCode, TwoCodeInfoGAN):
    """cInfoGAN: only the style is inferred, of made pictures (Fig. 7a)."""

    def term_weights(self):
        """1, as all of the paper's."""
        return {"style_information": 1.0}


class ConditionalAVAE(OneCode, TwoCodeAVAE):
    """cAVAE: only the style is inferred; the decoder is given the class (Fig. 8a)."""

    critics = ("critic_cycle", "critic_class", "critic_class_style")
    inferred = ("style",)

    def kl(self, batch, made):
        """Divergence of the style from the standard normal."""
        return self.mean_over("style", kl_to_standard(*made["style_of_image"]))
