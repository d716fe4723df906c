"""CT-SGAN's own networks, slices and slabs, the training step and the sampler (Sect. 2, Eq. 1-2)."""

import keras
import numpy as np
import tensorflow as tf

from tfmed.data.sampling import Stream
from tfmed.losses.adversarial import LOSSES
from tfmed.nn.adam import Adam
from tfmed.nn.slice_gan import slab_critic, slice_critic, slice_generator
from tfmed.ops import draws
from tfmed.training.adversarial import AdversarialModel

_SLABS = Stream("ctsgan.slabs", 0x51AB)


@keras.utils.register_keras_serializable("tfmed")
class Memory(keras.initializers.Initializer):
    """Biases of an LSTM `(4 * units,)` whose cells forget at rates spread over 1 .. `longest` steps.

    Forget gates start at log(u), input gates at -log(u), u uniform in [1, longest - 1] ("chrono" initialisation, Tallec
    & Ollivier, ICLR 2018, Eq. 16). With Keras' own biases a cell forgets within four slices and cannot tell the apex
    of a lung from its base.
    """

    def __init__(self, longest, seed=None):
        self.longest, self.seed = longest, seed

    def __call__(self, shape, dtype="float32", **kwargs):
        forget = tf.math.log(tf.random.uniform((shape[0] // 4,), 1.0, max(self.longest - 1.0, 1.001), seed=self.seed))
        return tf.cast(tf.concat([-forget, forget, tf.zeros_like(forget), tf.zeros_like(forget)], 0), dtype)

    def get_config(self):
        return {"longest": self.longest, "seed": self.seed}


@keras.utils.register_keras_serializable("tfmed")
class SliceSequence(keras.layers.Layer):
    """R_v: i.i.d. noise along the body axis -> one latent per position, which knows its neighbours on both sides.

    Args:
        units: LSTM (or GRU) units per direction; the latent has twice as many entries.
        cell: "bilstm" (the paper), "gru" (MoCoGAN's, one direction with 2 * units), or "iid" (no recurrence: a dense
            layer per position, the ablation).
        memory: how many slices the LSTM's cells remember at the start of training; None: Keras' biases (about four).

    Call arguments:
        noise: eps, `(batch, positions, noise size)`, float32.
        state: h_0 and c_0, `(batch, 4 * units)`, float32: forward h, forward c, backward h, backward c.

    Returns:
        z_slc, `(batch, positions, 2 * units)`, float32.
    """

    def __init__(self, units=64, cell="bilstm", memory=None, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})  # tiny, and a recurrence loses digits in half precision
        self.units, self.cell, self.memory = units, cell, memory
        if cell == "bilstm":
            biases = {} if memory is None else {"bias_initializer": Memory(memory), "unit_forget_bias": False}
            lstm = keras.layers.LSTM(units, return_sequences=True, dtype="float32", **biases)
            self.recurrence = keras.layers.Bidirectional(lstm, dtype="float32")
        elif cell == "gru":
            self.recurrence = keras.layers.GRU(2 * units, return_sequences=True, dtype="float32")
        else:
            self.recurrence = keras.layers.Dense(2 * units, activation="tanh", dtype="float32")

    def call(self, noise, state):
        if self.cell == "bilstm":
            return self.recurrence(noise, initial_state=tf.split(state, 4, axis=1))
        if self.cell == "gru":
            return self.recurrence(noise, initial_state=state[:, : 2 * self.units])
        return self.recurrence(noise)

    def get_config(self):
        return super().get_config() | {"units": self.units, "cell": self.cell, "memory": self.memory}


def build_network(config, name):
    """One bare network of CT-SGAN: "slice_sequence", "slice_generator", "slice_critic" or "slab_critic"."""
    _, size, _ = config.volume_shape
    if name == "slice_sequence":
        layer = SliceSequence(config.lstm_units, config.cell, config.lstm_memory, name=name)
        layer(tf.zeros((1, 2, config.slice_noise_size)), tf.zeros((1, 4 * config.lstm_units)))
        return layer
    if name == "slice_generator":
        latent = config.patient_noise_size + 2 * config.lstm_units
        return slice_generator(
            latent, config.generator_channels, config.base_size, config.generator_norm, config.slice_channels
        )
    if name == "slice_critic":
        return slice_critic(
            size, config.slice_critic_channels, config.critic_norm, config.slice_channels, config.position_conditioning
        )
    return slab_critic(
        config.slab_length, size, config.slab_critic_channels, config.slab_depth_kernel, config.critic_norm
    )


class CTSGAN(AdversarialModel):
    """R_v, G_slice, D_slice and D_slab with their alternating updates.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.

    A training batch holds `slab` `(b, T + 2, H, W)` in [-1, 1], `start` `(b,)` (first centre slice), `chosen` `(b, N)`.

    Example:
        >>> from tfmed.methods.ctsgan import Config
        >>> model = CTSGAN(Config(volume_shape=(34, 28, 28), generator_channels=(32, 16),
        ...                       slice_critic_channels=(16, 32), slab_critic_channels=(16,),
        ...                       slab_length=8, slab_depth_kernel=3))
        >>> model.sample(seed=0).shape
        (34, 28, 28)
    """

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(critic_steps=config.critic_steps, ema_decay=config.ema_decay, **kwargs)
        self.config = config
        self.length = config.volume_shape[0]
        self.positions = positions(self.length, config.slice_channels)
        make = {
            name: lambda name=name: build_network(config, name)
            for name in ("slice_sequence", "slice_generator", "slice_critic", "slab_critic")
        }
        self.slice_sequence, self.slice_generator = make["slice_sequence"](), make["slice_generator"]()
        self.slice_critic = make["slice_critic"]()
        self.slab_critic = make["slab_critic"]() if config.use_slab_critic else None
        self.average_sequence = self.average_of(make["slice_sequence"])
        self.average_generator = self.average_of(make["slice_generator"])
        self.start_averages(
            [(self.average_sequence, self.slice_sequence), (self.average_generator, self.slice_generator)]
        )
        rate = config.learning_rate if rate is None else rate
        critics = [critic for critic in (self.slice_critic, self.slab_critic) if critic is not None]
        self.finish_building(
            {
                "critic": (Adam(rate, config.beta_1, config.beta_2), critics),
                "generator": (
                    Adam(rate, config.beta_1, config.beta_2),
                    [self.slice_sequence, self.slice_generator],
                ),
            },
            logged=[
                f"{side}_{critic}"
                for side in ("critic", "generator", "penalty")
                for critic in (("slice", "slab") if config.use_slab_critic else ("slice",))
            ],
        )

    # --- latents: z_i = (z_pat, z_slc_i) -------------------------------------------------------------------------

    def draw_noise(self, normal):
        """(z_pat, eps, state) from `normal(shape, tag)`, shapes without the batch axis; an ablated noise is zero."""
        c = self.config
        patient = normal((c.patient_noise_size,), 0)
        noise = normal((self.positions, c.slice_noise_size), 1)
        state = normal((4 * c.lstm_units,), 2)
        if not c.patient_noise:
            patient = tf.zeros_like(patient)
        if not c.slice_noise:
            noise, state = tf.zeros_like(noise), tf.zeros_like(state)
        return patient, noise, state

    def latents(self, patient, noise, state, sequence=None):
        """z of every position, `(b, positions, patient size + 2 * units)`; z_pat is the same at all of them."""
        slices = (sequence or self.slice_sequence)(noise, state)
        repeated = tf.repeat(patient[:, None], tf.shape(slices)[1], axis=1)
        return tf.concat([repeated, slices], axis=2)

    # --- training -----------------------------------------------------------------------------------------------

    def generate_slab(self, batch, tag):
        """Decode the T positions of each sample's slab: `(b, T, H, W, slice_channels)`."""
        noise = self.draw_noise(lambda shape, number: self.noise(batch, shape, 4 * tag + number))
        z = self.latents(*noise)
        first = batch["start"] - (1 if self.config.slice_channels == 3 else 0)
        wanted = first[:, None] + tf.range(self.config.slab_length)[None]
        z = tf.gather(z, wanted, batch_dims=1)
        images = self.slice_generator(tf.reshape(z, (-1, z.shape[-1])), training=True)
        return tf.reshape(images, (-1, self.config.slab_length, *images.shape[1:]))

    def slices_and_positions(self, thin, batch):
        """The N chosen slices of each slab `(b * N, H, W, c)`, and their positions `(b * N,)`."""
        chosen = tf.gather(thin, batch["chosen"], batch_dims=1)
        first = batch["start"] - (1 if self.config.slice_channels == 3 else 0)
        place = tf.reshape(first[:, None] + batch["chosen"], [-1])
        return tf.reshape(chosen, (-1, *thin.shape[2:])), place

    def judge_slices(self, images, place):
        """D_slice with the position told, or not."""
        if self.config.position_conditioning:
            images = position_channel(images, place, self.positions)
        return self.slice_critic(images, training=True)

    def judge_slab(self, slab):
        """D_slab on `(b, T, H, W, 1)`."""
        return self.slab_critic(slab, training=True)

    def views(self, thin, batch):
        """{critic: (images, function that judges them)}: what each critic looks at."""
        images, place = self.slices_and_positions(thin, batch)
        found = {"slice": (images, lambda x: self.judge_slices(x, place))}
        if self.slab_critic is not None:
            centre = thin[..., thin.shape[-1] // 2, None]
            found["slab"] = (centre, self.judge_slab)
        return found

    def critic_loss(self, batch, tag):
        """Both critics' losses with their gradient penalties; the generators only supply images."""
        fake = tf.stop_gradient(self.generate_slab(batch, tag))
        real = thin_slices(batch["slab"], self.config.slice_channels)
        real_views, fake_views = self.views(real, batch), self.views(fake, batch)
        loss, logs = 0.0, {}
        for critic, (real_images, judge) in real_views.items():
            fake_images = fake_views[critic][0]
            value = tf.reduce_mean(LOSSES[self.config.loss][0](judge(real_images), judge(fake_images)))
            gp, weight = self.config.gp, self.config.gp_weight
            penalty = self.gradient_penalty(gp, judge, real_images, fake_images, weight, batch, 4 * tag + 3)
            loss += value + penalty
            logs |= {f"critic_{critic}": value, f"penalty_{critic}": penalty}
        return loss, logs

    def generator_loss(self, batch, tag):
        """What both critics say of new images; D_slice's part is summed over the N slices (Eq. 2) or averaged."""
        loss, logs = 0.0, {}
        for critic, (images, judge) in self.views(self.generate_slab(batch, tag), batch).items():
            value = tf.reduce_mean(LOSSES[self.config.loss][1](judge(images)))
            summed = critic == "slice" and self.config.slice_reduction == "sum"
            loss += value * (self.config.slices_per_slab if summed else 1)
            logs[f"generator_{critic}"] = value
        return loss, logs

    # --- sampling -----------------------------------------------------------------------------------------------

    def sample_latents(self, patient_seed, slice_seed, length=None):
        """z of one volume, `(positions, latent)`; each seed is a pair of integers (stateless)."""
        count = positions(length or self.length, self.config.slice_channels)

        def normal(shape, tag):
            shape = (count, *shape[1:]) if tag == 1 else shape
            seed = patient_seed if tag == 0 else slice_seed
            return draws.normal((1, *shape), seed[0], seed[1] * 4 + tag)

        return self.latents(*self.draw_noise(normal), sequence=self.average_sequence)[0]

    @tf.function(reduce_retracing=True, autograph=False)
    def decode(self, z):
        """Thin slices `(n, H, W, slice_channels)` of latents `(n, latent)`, in inference mode."""
        return (self.average_generator or self.slice_generator)(z, training=False)

    def sample(self, seed=0, index=0, length=None, chunk=32, fixed=None, convert=None, dtype="float32"):
        """Generate one volume; besides it, memory holds one chunk of slices.

        Args:
            seed, index: the same pair gives the same volume, whatever else is sampled.
            length: slices; another one than in training asks the networks for what they have not seen.
            chunk: slices decoded at a time.
            fixed: "patient" or "slices": that noise is the same for all indices.
            convert: applied to slices before they are stored, value by value, e.g. to HU.
            dtype: of the result.

        Returns:
            `(length, H, W)`, in [-1, 1] unless converted.
        """
        length = length or self.length
        seeds = [(seed, 0 if fixed == noise else index) for noise in ("patient", "slices")]
        z = self.sample_latents(*seeds, length=length)
        volume = np.empty((length, *self.config.volume_shape[1:]), dtype)
        convert = convert or (lambda values: values)
        first_centre = 1 if self.config.slice_channels == 3 else 0
        for begin in range(0, z.shape[0], chunk):
            thin = self.decode(z[begin : begin + chunk]).numpy()
            centres = convert(thin[..., thin.shape[-1] // 2])
            volume[begin + first_centre : begin + first_centre + len(thin)] = centres
            if first_centre and begin == 0:
                volume[0] = convert(thin[0, ..., 0])
            if first_centre and begin + chunk >= z.shape[0]:
                volume[-1] = convert(thin[-1, ..., 2])
        return volume

    def volume(self, seed, index, convert, dtype, chunk=32):
        """As `sample`, of tensors: `(length, H, W)` of `dtype`; besides it, memory holds `chunk` slices."""
        z = self.sample_latents((seed, index), (seed, index))
        chunks = -(-z.shape[0] // chunk)
        padded = tf.pad(z, [[0, chunks * chunk - z.shape[0]], [0, 0]])
        thin = tf.map_fn(
            lambda latents: convert(self.decode(latents)),
            tf.reshape(padded, (chunks, chunk, z.shape[-1])),
            fn_output_signature=dtype,
            parallel_iterations=1,
        )
        return assemble(tf.reshape(thin, (-1, *thin.shape[2:]))[: z.shape[0]])

    def call(self, z, training=False):
        """Volume `(positions + 2, H, W)` of the latents of all positions `(positions, latent)`, decoded at once."""
        return assemble(self.decode(z))


# --- slices, slabs and volumes: sampling, packing and exact assembly --------------------------------------------------


def positions(length, slice_channels=3):
    """How many slices are decoded for a volume of `length` slices: two fewer than it has when each shows three."""
    return length - 2 if slice_channels == 3 else length


def draw_slab(seed, index, length, slab_length, slice_count):
    """Where sample `index` looks: the first centre slice of its slab, and the slices of it that D_slice sees.

    Returns:
        (start, chosen): start in 1 .. length - 1 - slab_length, uniform: all slices of the slab have neighbours;
        chosen `(slice_count,)` int32, distinct offsets within the slab, ascending.
    """
    rng = _SLABS(seed, index)
    start = int(rng.integers(1, length - slab_length))
    chosen = np.sort(rng.permutation(slab_length)[:slice_count]).astype(np.int32)
    return start, chosen


def thin_slices(slab, slice_channels=3):
    """Slab with its two neighbours `(b, T + 2, H, W)` -> thin slices `(b, T, H, W, slice_channels)`."""
    if slice_channels == 1:
        return slab[:, 1:-1, ..., None]
    return tf.stack([slab[:, :-2], slab[:, 1:-1], slab[:, 2:]], axis=-1)


def assemble(slices):
    """Thin slices of all positions in order -> the volume; the exact inverse of cutting a volume into thin slices.

    Args:
        slices: `(positions, H, W, 3)`, or `(positions, H, W, 1)`; numpy array or tensor.

    Returns:
        `(positions + 2, H, W)` (or `(positions, H, W)`): the centre channels, and at both ends the outer ones.
    """
    if slices.shape[-1] == 1:
        return slices[..., 0]
    concat = np.concatenate if isinstance(slices, np.ndarray) else tf.concat
    return concat([slices[:1, ..., 0], slices[..., 1], slices[-1:, ..., 2]], 0)


def position_channel(images, position, count):
    """Join a constant channel to images: 2 * position / (count - 1) - 1, from -1 at the first position to 1 (0 if one).

    Args:
        images: `(n, H, W, c)`.
        position: `(n,)` integers in 0 .. count - 1.
        count: number of positions.
    """
    value = 2.0 * tf.cast(position, tf.float32) / max(count - 1, 1) - (1.0 if count > 1 else 0.0)
    plane = tf.ones_like(images[..., :1]) * tf.cast(value, images.dtype)[:, None, None, None]
    return tf.concat([images, plane], axis=-1)
