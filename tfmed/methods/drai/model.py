"""What objectives of two codes share, and DRAI's: critics of pictures and codes, and everything that they judge."""

import tensorflow as tf

from tfmed.losses.adversarial import LOSSES
from tfmed.methods.drai.networks import build_network
from tfmed.nn.adam import Adam
from tfmed.nn.gaussian import kl_to_standard, reparametrised
from tfmed.nn.gradient_reversal import reversed_gradient
from tfmed.ops import draws
from tfmed.training.adversarial import SharedForwardModel

CHOICES = 2**60  # beyond all numbers of pictures
STYLE, CONTENT, INFERRED, AGAIN = 0, 1, 2, 4  # tags of noise; the last two are of two draws each


class TwoCodeModel(SharedForwardModel):
    """What all objectives share: a generator of two codes, their encoders, and the content given the class.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.

    A training batch holds `image` `(b, y, x, channel)`, `turned`, the same turned or flipped, and `mismatched`,
    pictures of other conditions, all in [0, 1], and `condition` `(b, width)`, what is told of a picture (see
    `data.classes.conditions_of`). A subclass names its `critics`, and gives `term_weights`, `made`, `critic_loss`,
    `scores_to_raise` and a method for each term.
    """

    critics = ()
    networks: tuple[str, ...] = ("generator", "style_encoder", "content_encoder", "condition")

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(**kwargs)
        self.config, c = config, config
        names = [*self.networks, *self.predictors()]
        for name in (*names, *self.critics):
            setattr(self, name, build_network(c, name))
        rate = c.learning_rate if rate is None else rate
        adam = [Adam(rate, c.beta_1, c.beta_2) for _ in range(2)]
        self.weights_of_terms = {name: weight for name, weight in self.term_weights().items() if weight}
        self.finish_building(
            {"critic": (adam[0], [getattr(self, name) for name in self.critics]),
             "generator": (adam[1], [getattr(self, name) for name in names])},
            ["critic", "generator", *self.weights_of_terms],
        )  # fmt: skip

    def predictors(self):
        """Names of further networks that are trained with the generator."""
        return ()

    def term_weights(self):
        """{term: weight} of what is added to the critics' scores."""
        raise NotImplementedError

    def call(self, codes, training=False):
        """(style, content) -> pictures in [0, 1]."""
        return (self.generator(list(codes), training=training) + 1.0) / 2.0

    # --- training -------------------------------------------------------------------------------------------------

    def drawn(self, batch):
        """{"image" in [-1, 1], "class": its condition, "content_of_class", and a drawn "style" and "content"}."""
        made = {"image": 2.0 * batch["image"] - 1.0, "class": batch["condition"]}
        made["style"] = self.noise(batch, (self.config.style_size,), STYLE)
        noise = self.noise(batch, (self.config.content_size,), CONTENT)
        return made | self.content_given(made["class"], noise, training=True)

    def content_given(self, classes, noise, training=False):
        """{"content_of_class": (mean, logarithm of the variance) of the content given the class, "content": drawn}."""
        given = self.condition(classes, training=training)
        return {"content_of_class": given, "content": reparametrised(*given, noise)}

    def generator_loss(self, batch, made):
        """The critics' scores and the sum of all terms (Eq. 2)."""
        adversarial = tf.reduce_mean(tf.add_n(self.scores_to_raise(batch, made)))
        terms = {name: getattr(self, name)(batch, made) for name in self.weights_of_terms}
        loss = adversarial + tf.add_n([self.weights_of_terms[name] * term for name, term in terms.items()] or [0.0])
        return loss, {"generator": adversarial} | terms

    @property
    def losses_of_scores(self):
        """(critic of real and fake, "is to score high", "is to score low"), each one value per sample."""
        kind = "js" if self.config.gan_loss == "log" else "least_squares"
        critic, high = LOSSES[kind]
        low = (lambda score: tf.nn.softplus(score[:, 0])) if kind == "js" else lambda score: 0.5 * score[:, 0] ** 2
        return critic, high, low

    def judge(self, name, *inputs):
        """Scores `(n, 1)` by a critic."""
        return getattr(self, name)(list(inputs) if len(inputs) > 1 else inputs[0], training=True)

    def judged(self, name, *inputs):
        """The same of inputs that learn nothing from it."""
        return self.judge(name, *(tf.stop_gradient(x) for x in inputs))

    def mean_over(self, kind, values):
        """The mean over samples of a sum over a code's dimensions, and by the settings over these too."""
        share = 1 if self.config.kl_reduce == "sum" else getattr(self.config, f"{kind}_size")
        return tf.reduce_mean(values) / share

    # --- using it -------------------------------------------------------------------------------------------------

    def codes(self, pictures):
        """(style, content) of pictures `(n, y, x, channel)` in [0, 1]: means of what is inferred, by its encoders."""
        image = 2.0 * tf.cast(pictures, tf.float32) - 1.0
        encoders = [getattr(self, name) for name in ("style_encoder", "content_encoder") if name in self.networks]
        return tuple(encoder(image, training=False)[0] for encoder in encoders)

    def sample(self, count, conditions, seed, first=0, way="drawn"):
        """Pictures `(count, y, x, channel)` in [0, 1], each a function of (seed, its number), and of one of some
        `conditions` `(n, width)`, which is drawn."""
        numbers = tf.cast(first, tf.int64) + tf.range(count, dtype=tf.int64)
        noise = draws.normals((self.config.style_size + self.config.content_size,), seed, numbers)
        style, noise = tf.split(noise, [self.config.style_size, self.config.content_size], 1)
        told = tf.gather(conditions, draws.choices(tf.shape(conditions)[0], seed, numbers + CHOICES))
        noise = noise if way == "drawn" else tf.zeros_like(noise)
        return self((style, self.content_given(told, noise)["content"]))


class DRAI(TwoCodeModel):
    """Critics of pictures and codes together, both cycles, and two regularisers; see `TwoCodeModel`."""

    critics = ("critic_image", "critic_class", "critic_style", "critic_content")

    def predictors(self):
        """Those of one code from the other."""
        return ("style_of_content", "content_of_style") if self.config.mi_reg else ()

    def term_weights(self):
        """As the settings have them."""
        c = self.config
        return {"image_cycle": c.image_cycle, "feature_cycle": c.feature_cycle, "self_reg": c.self_reg,
                "mi_reg": c.mi_reg, "kl": c.kl_weight}  # fmt: skip

    def made(self, batch):
        """What a batch gives: codes drawn and inferred, with what they were drawn from, and pictures of the former."""
        made = self.drawn(batch)
        image, turned = made["image"], 2.0 * batch["turned"] - 1.0
        pair = tf.concat([image, turned], 0) if self.config.self_reg else image
        for k, kind in enumerate(("style", "content")):
            size = getattr(self.config, f"{kind}_size")
            mean, log_variance = getattr(self, f"{kind}_encoder")(pair, training=True)
            noise = tf.concat([self.noise(batch, (size,), INFERRED + k)] * (2 if self.config.self_reg else 1), 0)
            code = reparametrised(mean, log_variance, noise)
            count = tf.shape(image)[0]
            made[f"inferred_{kind}"], made[f"turned_{kind}"] = code[:count], code[count:]
            made[f"{kind}_of_image"] = mean[:count], log_variance[:count]
        made["fake"] = self.generator([made["style"], made["content"]], training=True)
        return made

    def critic_loss(self, batch, made):
        """Real pictures and what was inferred of them are to score high, made ones and what they were made of low."""
        (critic, _, _), judged = self.losses_of_scores, self.judged
        image, fake, label = made["image"], made["fake"], made["class"]
        mismatched = 2.0 * batch["mismatched"] - 1.0
        matched = judged("critic_class", image, label)
        wrong = [judged("critic_class", mismatched, label), judged("critic_class", fake, label)]
        terms = [critic(judged("critic_image", image), judged("critic_image", fake))]
        terms += [0.5 * critic(matched, score) for score in wrong]
        for kind in ("style", "content"):
            real = judged(f"critic_{kind}", image, made[f"inferred_{kind}"])
            terms.append(critic(real, judged(f"critic_{kind}", fake, made[kind])))
        loss = tf.reduce_mean(tf.add_n(terms))
        return loss, {"critic": loss}

    def scores_to_raise(self, batch, made):
        """Made ones are to score high; what was inferred, with its picture, low."""
        _, high, low = self.losses_of_scores
        image, fake = made["image"], made["fake"]
        scores = [high(self.judge("critic_image", fake)), high(self.judge("critic_class", fake, made["class"]))]
        for kind in ("style", "content"):
            scores.append(high(self.judge(f"critic_{kind}", fake, made[kind])))
            scores.append(low(self.judge(f"critic_{kind}", image, made[f"inferred_{kind}"])))
        return scores

    # --- terms ----------------------------------------------------------------------------------------------------

    def image_cycle(self, batch, made):
        """Mean absolute difference of pictures and what their own codes give."""
        codes = [made["inferred_style"], made["inferred_content"]]
        return mean_abs(made["image"] - self.generator(codes, training=True))

    def feature_cycle(self, batch, made):
        """Mean absolute difference of the codes that pictures were made of and those inferred of them."""
        terms = []
        for k, kind in enumerate(("style", "content")):
            noise = self.noise(batch, (getattr(self.config, f"{kind}_size"),), AGAIN + k)
            code = reparametrised(*getattr(self, f"{kind}_encoder")(made["fake"], training=True), noise)
            terms.append(mean_abs(code - made[kind]))
        return tf.add_n(terms)

    def self_reg(self, batch, made):
        """Contents of a pair attract each other, styles repel (Eq. 7)."""
        apart = [tf.reduce_mean(tf.abs(made[f"inferred_{kind}"] - made[f"turned_{kind}"]), -1)
                 for kind in ("content", "style")]  # fmt: skip
        return tf.reduce_mean(apart[0] - repelled(apart[1], self.config.repel_margin))

    def mi_reg(self, batch, made):
        """Errors of predicting one code from the other; predictors lower them, and encoders raise them (Eq. 3)."""
        style, content = made["inferred_style"], made["inferred_content"]
        found = self.style_of_content(reversed_gradient(content), training=True)
        other = self.content_of_style(reversed_gradient(style), training=True)
        return mean_abs(tf.stop_gradient(style) - found) + mean_abs(tf.stop_gradient(content) - other)

    def kl(self, batch, made):
        """Divergences from the standard normal of both inferred codes and of the content given the class."""
        each = []
        for name, kind in (("style_of_image", "style"), ("content_of_image", "content"),
                           ("content_of_class", "content")):  # fmt: skip
            each.append(self.mean_over(kind, kl_to_standard(*made[name])))
        return tf.add_n(each)


def mean_abs(values):
    """Mean absolute value."""
    return tf.reduce_mean(tf.abs(values))


def repelled(distance, margin=None):
    """What repelling still gains from a distance: all of it, or up to a margin."""
    return distance if margin is None else tf.minimum(distance, margin)
