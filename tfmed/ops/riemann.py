"""A latent space with a metric of its own: kernel metric, leapfrog, HMC, exponential map and random walk.

Sources: Chadebec and Allassonniere, "Data augmentation with variational autoencoders and manifold sampling", DGM4MICCAI
2021, Eq. 3 and Algorithm 1; Chadebec, Mantoux and Allassonniere, arXiv 2010.11518 (the metric, tempering); Girolami and
Calderhead, J. R. Stat. Soc. B 2011 (generalised leapfrog); Duane et al., Phys. Lett. B 1987 (HMC).

All are functions of tensors, batched and graph-safe, float32 or float64. Points, momenta and velocities are `(n, d)`.
Noise is given, never drawn, so that a sample can be a function of its seed and number.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf


class KernelMetric:
    """G^-1(z) = sum_i M_i exp(-|z - c_i|^2 / T^2) + lambda I.

    Far from all centroids G^-1 is lambda I: volumes sqrt(det G^-1), which are what is sampled, are smallest there.

    Args:
        centroids: c_i, `(N, d)`.
        matrices: M_i, `(N, d, d)`, symmetric and positive definite.
        temperature: T, in units of z.
        regularisation: lambda.
    """

    def __init__(self, centroids: tf.Tensor, matrices: tf.Tensor, temperature: float, regularisation: float) -> None:
        self.centroids, self.matrices = tf.convert_to_tensor(centroids), tf.convert_to_tensor(matrices)
        self.temperature, self.regularisation = temperature, regularisation
        self.size = self.centroids.shape[-1]
        self._flat = tf.reshape(self.matrices, (-1, self.size**2))

    def at(self, z: tf.Tensor) -> "MetricAt":
        """The metric at points `(n, d)`."""
        return MetricAt(self, z)

    def log_volume(self, z: tf.Tensor) -> tf.Tensor:
        """log sqrt(det G^-1) at points, `(n,)`: the logarithm of the density that Eq. 3 samples, but for a constant."""
        return self.at(z).log_volume

    def within(self, z: tf.Tensor, reach: float = 3.0) -> tf.Tensor:
        """Whether points lie in the box of the centroids, `reach` T larger on each side: the compact set S of Eq. 3."""
        low, high = (f(self.centroids, 0) for f in (tf.reduce_min, tf.reduce_max))
        more = tf.cast(reach * self.temperature, z.dtype)
        return tf.reduce_all((z >= low - more) & (z <= high + more), -1)


class MetricAt:
    """A `KernelMetric` at points `(n, d)`; each quantity is computed once, and only where it is asked for.

    Args:
        metric: the KernelMetric.
        z: the points.
    """

    def __init__(self, metric: KernelMetric, z: tf.Tensor) -> None:
        self.metric, self.z = metric, z

    @functools.cached_property
    def weights(self) -> tf.Tensor:
        """exp(-|z - c_i|^2 / T^2), `(n, N)`."""
        c = self.metric.centroids
        inner = tf.matmul(self.z, c, transpose_b=True)
        away = tf.reduce_sum(self.z**2, -1, keepdims=True) - 2.0 * inner + tf.reduce_sum(c**2, -1)
        return tf.exp(-tf.maximum(away, 0.0) / self.metric.temperature**2)

    @functools.cached_property
    def inverse(self) -> tf.Tensor:
        """G^-1, `(n, d, d)`."""
        size = self.metric.size
        found = tf.reshape(tf.matmul(self.weights, self.metric._flat), (-1, size, size))
        return found + self.metric.regularisation * tf.eye(size, dtype=self.z.dtype)

    @functools.cached_property
    def _cholesky(self) -> tf.Tensor:
        return tf.linalg.cholesky(self.inverse)

    @functools.cached_property
    def matrix(self) -> tf.Tensor:
        """G, `(n, d, d)`."""
        eye = tf.eye(self.metric.size, batch_shape=[tf.shape(self.z)[0]], dtype=self.z.dtype)
        return tf.linalg.cholesky_solve(self._cholesky, eye)

    @functools.cached_property
    def log_volume(self) -> tf.Tensor:
        """log sqrt(det G^-1), `(n,)`."""
        return tf.reduce_sum(tf.math.log(tf.linalg.diag_part(self._cholesky)), -1)

    @functools.cached_property
    def volume_gradient(self) -> tf.Tensor:
        """Gradient of `log_volume` in z: sum_i w_i tr(G M_i) (c_i - z) / T^2."""
        traces = tf.matmul(tf.reshape(self.matrix, (-1, self.metric.size**2)), self.metric._flat, transpose_b=True)
        return self._towards_centroids(traces)

    def velocity(self, momentum: tf.Tensor) -> tf.Tensor:
        """G^-1 rho, the gradient of the kinetic energy in the momentum."""
        return tf.linalg.matvec(self.inverse, momentum)

    def kinetic(self, momentum: tf.Tensor) -> tf.Tensor:
        """rho^T G^-1 rho / 2, `(n,)`."""
        return 0.5 * tf.reduce_sum(momentum * self.velocity(momentum), -1)

    def kinetic_gradient(self, momentum: tf.Tensor) -> tf.Tensor:
        """Gradient of `kinetic` in z: sum_i w_i (rho^T M_i rho) (c_i - z) / T^2."""
        pairs = tf.reshape(momentum[:, :, None] * momentum[:, None, :], (-1, self.metric.size**2))
        return self._towards_centroids(tf.matmul(pairs, self.metric._flat, transpose_b=True))

    def _towards_centroids(self, values: tf.Tensor) -> tf.Tensor:
        """sum_i w_i values_i (c_i - z) / T^2 of values `(n, N)`."""
        pull = self.weights * values
        towards = tf.matmul(pull, self.metric.centroids) - tf.reduce_sum(pull, -1, keepdims=True) * self.z
        return towards / self.metric.temperature**2


def tempering(step: int, steps: int, start: float) -> float:
    """sqrt(beta_k) of the quadratic schedule: `start` at step 0, 1 at the last one."""
    return 1.0 / ((1.0 - 1.0 / start) * step**2 / steps**2 + 1.0 / start) if steps else 1.0


def leapfrog(
    metric: KernelMetric,
    potential_gradient: Callable[[tf.Tensor], tf.Tensor],
    z: tf.Tensor,
    momentum: tf.Tensor,
    steps: int,
    step_size: float,
    start: float = 1.0,
    fixed_points: int = 3,
    implicit: bool = True,
    through_forces: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Generalised leapfrog on H(z, rho) = U(z) + rho^T G^-1(z) rho / 2 - log sqrt(det G^-1(z)), tempered.

    Args:
        metric: the KernelMetric.
        potential_gradient: gradient of U in z, `(n, d)` -> `(n, d)`; called once per step, and once before the first.
        z, momentum: where it starts.
        steps: K; 0 leaves both as they are.
        step_size: epsilon.
        start: sqrt(beta_0); after step k the momentum is scaled by sqrt(beta_(k-1) / beta_k). 1: not at all.
        fixed_points: iterations of both implicit equations.
        implicit: false takes G^-1 at the old z alone for the step in z, which neither keeps volumes nor is reversible.
        through_forces: false: forces are constants to a gradient of what is returned.

    Returns:
        (z, momentum) after the last step.
    """
    if not steps:
        return z, momentum
    kept = (lambda value: value) if through_forces else tf.stop_gradient
    here = metric.at(z)
    force = kept(potential_gradient(z) - here.volume_gradient)
    for k in range(1, steps + 1):
        half = momentum
        for _ in range(fixed_points):
            half = momentum - 0.5 * step_size * (force + kept(here.kinetic_gradient(half)))
        before = here.velocity(half)
        z_new = here.z + step_size * before
        for _ in range(fixed_points - 1 if implicit else 0):
            z_new = here.z + 0.5 * step_size * (before + metric.at(z_new).velocity(half))
        here = metric.at(z_new)
        force = kept(potential_gradient(z_new) - here.volume_gradient)
        momentum = half - 0.5 * step_size * (force + kept(here.kinetic_gradient(half)))
        momentum *= tempering(k - 1, steps, start) / tempering(k, steps, start)
    return here.z, momentum


def log_uniform(normal: tf.Tensor) -> tf.Tensor:
    """Logarithms of uniform numbers of (0, 1), from standard normal ones: for accepting with a probability."""
    return tf.math.log(tf.maximum(0.5 * tf.math.erfc(-normal * 0.5**0.5), 1e-30))


def hamiltonian_monte_carlo(
    density: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    start: tf.Tensor,
    momenta: tf.Tensor,
    choices: tf.Tensor,
    leapfrog_steps: int = 15,
    step_size: float = 0.05,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Chains of Hamiltonian Monte Carlo with an identity mass, side by side.

    Args:
        density: points -> (log density `(n,)`, but for a constant, -inf where there is none; its gradient `(n, d)`).
        start: `(n, d)`, where the density is above 0.
        momenta: standard normal, `(steps, n, d)`.
        choices: standard normal, `(steps, n)`: what proposals are accepted by.
        leapfrog_steps, step_size: of each proposal.

    Returns:
        (the last states `(n, d)`, the share of the proposals that each chain accepted `(n,)`).
    """
    limits = log_uniform(choices)
    step_size = tf.cast(step_size, start.dtype)

    def proposal(z: tf.Tensor, gradient: tf.Tensor, rho: tf.Tensor) -> Any:
        def move(k: tf.Tensor, z: tf.Tensor, rho: tf.Tensor, gradient: tf.Tensor, value: tf.Tensor) -> Any:
            rho += 0.5 * step_size * gradient
            z += step_size * rho
            value, gradient = density(z)
            return k + 1, z, rho + 0.5 * step_size * gradient, gradient, value

        first = (0, z, rho, gradient, tf.zeros_like(z[:, 0]))
        return tf.while_loop(lambda k, *_: k < leapfrog_steps, move, first)[1:]

    def step(k: tf.Tensor, z: tf.Tensor, value: tf.Tensor, gradient: tf.Tensor, taken: tf.Tensor) -> Any:
        new_z, rho, new_gradient, new_value = proposal(z, gradient, momenta[k])
        gain = new_value - value - 0.5 * tf.reduce_sum(rho**2 - momenta[k] ** 2, -1)
        good = gain > limits[k]  # false where the gain is -inf or NaN
        keep = lambda new, old: tf.where(good[:, None] if len(new.shape) == 2 else good, new, old)  # noqa: E731
        return (k + 1, keep(new_z, z), keep(new_value, value), keep(new_gradient, gradient),
                taken + tf.cast(good, taken.dtype))  # fmt: skip

    count = tf.shape(momenta)[0]
    first = (0, start, *density(start), tf.zeros_like(start[:, 0]))
    _, z, _, _, taken = tf.while_loop(lambda k, *_: k < count, step, first)
    return z, taken / tf.cast(tf.maximum(count, 1), taken.dtype)


def volume_density(metric: KernelMetric) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """The density of Eq. 3, 1_S(z) sqrt(det G^-1(z)), as `hamiltonian_monte_carlo` takes it."""

    def density(z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        here = metric.at(z)
        return _within(metric, z, here.log_volume), here.volume_gradient

    return density


def _within(metric: KernelMetric, z: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Values of points `(n,)`, -inf outside of the box."""
    return tf.where(metric.within(z), values, tf.cast(-float("inf"), z.dtype))


def exponential_map(
    metric: KernelMetric, start: tf.Tensor, velocity: tf.Tensor, steps: int = 10, sign: float = 1.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Where the geodesic from `start` with a velocity is after time 1, by the midpoint rule; and its momentum there.

    zdot = G^-1(z) q, qdot = -grad_z (q^T G^-1(z) q) / 2, from q = G(start) velocity.

    Args:
        metric: the KernelMetric.
        start, velocity: `(n, d)`.
        steps: of the integration.
        sign: 1; -1 turns the force round, as a published implementation has it: then paths are no geodesics.

    Returns:
        (point, momentum), `(n, d)` each.
    """
    here = metric.at(start)
    return shoot(metric, start, tf.linalg.matvec(here.matrix, velocity), steps, sign)


def shoot(
    metric: KernelMetric, start: tf.Tensor, momentum: tf.Tensor, steps: int = 10, sign: float = 1.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """As `exponential_map`, of a momentum in place of a velocity: what comes back with -q from where it arrived."""
    length = 1.0 / steps

    def slopes(z: tf.Tensor, q: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        here = metric.at(z)
        return here.velocity(q), -sign * here.kinetic_gradient(q)

    def step(k: tf.Tensor, z: tf.Tensor, q: tf.Tensor) -> Any:
        dz, dq = slopes(z, q)
        dz, dq = slopes(z + 0.5 * length * dz, q + 0.5 * length * dq)
        return k + 1, z + length * dz, q + length * dq

    _, z, q = tf.while_loop(lambda k, *_: k < steps, step, (0, start, momentum))
    return z, q


def random_walk(
    metric: KernelMetric,
    start: tf.Tensor,
    velocities: tf.Tensor,
    choices: tf.Tensor,
    integration_steps: int = 10,
    sign: float = 1.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The Riemannian random walk of Algorithm 1: geodesics in random directions, accepted by the ratio of volumes.

    A heuristic explorer: as proposals are not symmetric, it does not sample Eq. 3 (`hamiltonian_monte_carlo` does). It
    never leaves the box of `KernelMetric.within`, as nothing would call it back from there.

    Args:
        metric: the KernelMetric.
        start: `(n, d)`.
        velocities: `(steps, n, d)`, of N(0, s I).
        choices: standard normal, `(steps, n)`.
        integration_steps, sign: as of `exponential_map`.

    Returns:
        (the last states, the share of accepted proposals `(n,)`).
    """
    limits = log_uniform(choices)

    def step(k: tf.Tensor, z: tf.Tensor, value: tf.Tensor, taken: tf.Tensor) -> Any:
        new, _ = exponential_map(metric, z, velocities[k], integration_steps, sign)
        new_value = _within(metric, new, metric.log_volume(new))
        good = new_value - value > limits[k]
        return (k + 1, tf.where(good[:, None], new, z), tf.where(good, new_value, value),
                taken + tf.cast(good, taken.dtype))  # fmt: skip

    count = tf.shape(velocities)[0]
    first = (0, start, metric.log_volume(start), tf.zeros_like(start[:, 0]))
    _, z, _, taken = tf.while_loop(lambda k, *_: k < count, step, first)
    return z, taken / tf.cast(tf.maximum(count, 1), taken.dtype)
