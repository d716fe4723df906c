"""RHVAE's training step against pythae's on PyTorch: the same weights, pictures and numbers.

Run: python -m benchmarks.peers.rhvae --peer PYTHON [--rounds 7] [--only "step, d = 2"]

PYTHON has torch and pythae. Pictures are 28 x 28, 100 in a batch; encoder, decoder and metric have a hidden layer of
400 on both sides (the released model's; pythae's encoder and decoder get theirs from here, as its own have 512). The
first side of ours does what pythae does: the step in z is explicit, and forces are constants to the gradient. The
second one is tfmed's default, the implicit step and gradients through everything.

Compared are the losses on the same noise, but for the constant d/2 log(2 pi) that pythae leaves out. Behind its first
leapfrog step pythae's slope of the kinetic energy goes through the momentum too, which came out of the last step with
its graph; for the comparison alone that is cut, and losses then agree. Leapfrog steps are pythae's 0.001: at 0.01 the
first weights' implicit equations do not settle, and the losses of both sides differ by far.
"""

import numpy as np

from benchmarks.support.pairs import main, near
from benchmarks.support.weights import set_weights, written

BATCH, SIDE, HIDDEN = 100, 28, 400
LEAPFROGS, LENGTH, TEMPERING, RATE = 3, 1e-3, 0.3, 1e-3
TEMPERATURE, REGULARISATION = 1.5, 1e-3
STEPS = 10  # in a round
NETWORKS = ("encoder", "decoder", "metric")


def inputs(d):
    """Discs of random places and sizes, with edges a pixel wide, and the noise of the comparison."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    centres, radii = draw.uniform(8, 20, (2, BATCH, 1, 1)), draw.uniform(3, 8, (BATCH, 1, 1))
    away = np.hypot(y - centres[0], x - centres[1])
    images = np.clip(radii - away + 0.5, 0, 1).astype(np.float32)
    noise, momentum = draw.normal(size=(2, BATCH, d)).astype(np.float32)
    return {"images": images, "noise": noise, "momentum": momentum}


def ours(**how):
    """tfmed's step, as the engine's loop runs it."""

    def setup(given, folder):
        import tfmed  # isort: skip # noqa: F401 - before TensorFlow, for which it chooses oneDNN
        import tensorflow as tf

        from tfmed.methods.rhvae import RHVAE, Config

        d = given["noise"].shape[1]
        config = Config(size=(SIDE, SIDE), latent_size=d, hidden=(HIDDEN,), leapfrog_steps=LEAPFROGS,
                        leapfrog_size=LENGTH, tempering=TEMPERING, temperature=TEMPERATURE,
                        regularisation=REGULARISATION, learning_rate=RATE, **how)  # fmt: skip
        model = RHVAE(config, count=BATCH, per_step=BATCH)
        for name, network in zip(NETWORKS, (model.encoder, model.decoder, model.factor), strict=True):
            set_weights(network, folder / f"{name}.npz")
        images = tf.constant(given["images"][..., None])
        step = tf.function(model.train_step, autograph=False)

        def run(number):
            for k in range(STEPS):
                first = (number * STEPS + k) * BATCH
                batch = {"image": images, "index": tf.range(first, first + BATCH, dtype=tf.int64)}
                step(batch)["loss"].numpy()

        def results():
            bound, _ = model.bound(images, tf.constant(given["noise"]), tf.constant(given["momentum"]))
            return {"losses": -bound.numpy().mean()}

        return run, results, STEPS

    return setup


def theirs(given, folder):
    """pythae's model, PyTorch's Adam."""
    import torch
    from pythae.models import RHVAE, RHVAEConfig
    from pythae.models.nn.default_architectures import Decoder_AE_MLP, Encoder_VAE_MLP
    from torch import nn

    torch.manual_seed(0)
    d = given["noise"].shape[1]
    config = RHVAEConfig(input_dim=(1, SIDE, SIDE), latent_dim=d, n_lf=LEAPFROGS, eps_lf=LENGTH, beta_zero=TEMPERING,
                         temperature=TEMPERATURE, regularization=REGULARISATION,
                         reconstruction_loss="bce")  # fmt: skip
    encoder, decoder = Encoder_VAE_MLP(config), Decoder_AE_MLP(config)
    pixels = SIDE**2
    encoder.layers = nn.ModuleList([nn.Sequential(nn.Linear(pixels, HIDDEN), nn.ReLU())])
    encoder.embedding, encoder.log_var = nn.Linear(HIDDEN, d), nn.Linear(HIDDEN, d)
    decoder.layers = nn.ModuleList([nn.Sequential(nn.Linear(d, HIDDEN), nn.ReLU()),
                                    nn.Sequential(nn.Linear(HIDDEN, pixels), nn.Sigmoid())])  # fmt: skip
    model = RHVAE(config, encoder, decoder)
    for name in NETWORKS:
        written(getattr(model, name), folder / f"{name}.npz")
    images = {"data": torch.from_numpy(given["images"])[:, None]}
    optimizer = torch.optim.Adam((w for w in model.parameters() if w.requires_grad), RATE)
    model.train()

    def run(number):
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            loss = model(images).loss
            loss.backward()
            optimizer.step()
            float(loss)

    def results():
        step, drawn = model._leap_step_1, torch.randn_like
        model._leap_step_1 = lambda recon, x, z, rho, *metric: step(recon, x, z, rho.detach().requires_grad_(), *metric)
        noise = [torch.from_numpy(given[name]) for name in ("noise", "momentum")]
        torch.randn_like = lambda *args, **how: noise.pop(0)  # pythae draws the latents' noise, then the momenta's
        try:
            return {"losses": float(model(images).loss)}
        finally:
            torch.randn_like = drawn
            del model._leap_step_1

    return run, results, STEPS


def check(given, found):
    """Losses per picture in nats; the default's path is another, so that its loss need only be near."""
    d = given["noise"].shape[1]
    theirs = found["pythae"]["losses"] + 0.5 * d * np.log(2 * np.pi)
    released, default = found["tfmed, as released"]["losses"], found["tfmed, default"]["losses"]
    return [near(f"d = {d}: loss {theirs:.3f} per picture", released, theirs, 1e-3 * abs(theirs)),
            f"d = {d}: tfmed's default loss on the same noise {float(default):.3f}"]  # fmt: skip


CASES = {f"step, d = {d}": (lambda d=d: inputs(d)) for d in (2, 10)}
SIDES = {
    "tfmed, as released": ours(implicit=False, through_forces=False),
    "tfmed, default": ours(),
    "pythae": theirs,
}

if __name__ == "__main__":
    main(__doc__, CASES, SIDES, check, "pythae")
