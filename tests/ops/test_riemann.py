"""A metric from kernels: closed forms, finite differences, conservation laws, and what chains must converge to."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.ops import riemann

pytestmark = pytest.mark.one_stack


def half_ring(count=30, noise=0.05, thin=0.05):
    """Centroids on half a ring, each with a metric that is long along the ring; float64."""
    rng = np.random.default_rng(0)
    angle = np.linspace(0, np.pi, count)
    centroids = np.stack([np.cos(angle), np.sin(angle)], 1) * 2 + noise * rng.normal(size=(count, 2))
    along = np.stack([-np.sin(angle), np.cos(angle)], 1)
    matrices = along[:, :, None] * along[:, None] + thin * np.eye(2)
    return riemann.KernelMetric(centroids, matrices, 0.8, 1e-3)


def random_metric(seed=0, size=3, count=7):
    rng = np.random.default_rng(seed)
    lower = np.tril(rng.normal(size=(count, size, size)), -1) + np.eye(size) * rng.uniform(0.5, 2, (count, size, 1))
    return riemann.KernelMetric(rng.normal(size=(count, size)), lower @ lower.transpose(0, 2, 1), 1.5, 1e-2)


def points(seed, count, size, scale=1.0):
    return tf.constant(scale * np.random.default_rng(seed).normal(size=(count, size)))


def differences(function, z, step=1e-6):
    """The gradient `(n, d)` of a function of points -> `(n,)`, by central differences."""
    found = np.zeros(z.shape)
    for axis in range(z.shape[1]):
        more = step * np.eye(z.shape[1])[axis]
        found[:, axis] = (function(z + more) - function(z - more)) / (2 * step)
    return found


# --- the metric -------------------------------------------------------------------------------------------------------


def test_metric_is_what_the_equation_says():
    metric, z = random_metric(), points(1, 5, 3)
    expected = [
        sum(m * np.exp(-np.sum((one - c) ** 2) / 1.5**2) for c, m in
            zip(metric.centroids.numpy(), metric.matrices.numpy(), strict=True)) + 1e-2 * np.eye(3)
        for one in z.numpy()
    ]  # fmt: skip
    here = metric.at(z)
    np.testing.assert_allclose(here.inverse, expected, rtol=1e-10)
    np.testing.assert_allclose(here.inverse @ here.matrix, np.tile(np.eye(3), (5, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(here.log_volume, 0.5 * np.linalg.slogdet(expected)[1], rtol=1e-9)
    assert np.linalg.eigvalsh(here.inverse).min() >= 1e-2


def test_far_away_only_the_regularisation_is_left_and_at_a_lone_centroid_all_of_its_matrix():
    metric = random_metric()
    np.testing.assert_allclose(metric.at(tf.fill((1, 3), tf.constant(60.0, tf.float64))).inverse[0], 1e-2 * np.eye(3))
    lone = riemann.KernelMetric(metric.centroids[:1], metric.matrices[:1], 0.8, 0.1)
    np.testing.assert_allclose(lone.at(lone.centroids).inverse, lone.matrices + 0.1 * np.eye(3), rtol=1e-12)


def test_gradients_match_finite_differences():
    metric, z, momentum = random_metric(), points(2, 6, 3), points(3, 6, 3)
    here = metric.at(z)
    np.testing.assert_allclose(here.volume_gradient, differences(metric.log_volume, z), atol=1e-7)
    kinetic = differences(lambda at: metric.at(at).kinetic(momentum), z)
    np.testing.assert_allclose(here.kinetic_gradient(momentum), kinetic, atol=1e-7)
    np.testing.assert_allclose(here.velocity(momentum), differences(here.kinetic, momentum), atol=1e-7)


# --- leapfrog ---------------------------------------------------------------------------------------------------------


def energy(metric, z, momentum):
    """Of a potential |z|^2 / 2."""
    here = metric.at(z)
    return (0.5 * tf.reduce_sum(z**2, -1) + here.kinetic(momentum) - here.log_volume).numpy()


def moved(metric, z, momentum, steps=6, step_size=0.02, **how):
    return riemann.leapfrog(metric, lambda at: at, z, momentum, steps, step_size, **how)


def test_leapfrog_keeps_its_energy_to_the_second_order_and_goes_back():
    metric, z, momentum = random_metric(), points(4, 20, 3), points(5, 20, 3)
    drift = []
    for cut in (1, 2, 4):
        end = moved(metric, z, momentum, 4 * cut, 0.04 / cut, fixed_points=12)
        drift.append(np.abs(energy(metric, *end) - energy(metric, z, momentum)).max())
    assert 3 < drift[0] / drift[1] < 5 and 3 < drift[1] / drift[2] < 5, drift
    back = moved(metric, end[0], -end[1], 16, 0.01, fixed_points=12)
    np.testing.assert_allclose(back[0], z, atol=1e-9)
    np.testing.assert_allclose(back[1], -momentum, atol=1e-9)


@pytest.mark.parametrize("implicit", [True, False])
def test_only_the_implicit_step_keeps_volumes(implicit):
    """The determinant of the steps' Jacobian in phase space, by central differences."""
    metric, state = random_metric(size=2), np.concatenate([points(6, 1, 2), points(7, 1, 2)], 1)
    around = state + 1e-5 * np.concatenate([np.eye(4), -np.eye(4)])
    how = dict(steps=2, step_size=0.1, fixed_points=20, implicit=implicit)
    end = np.concatenate(moved(metric, tf.constant(around[:, :2]), tf.constant(around[:, 2:]), **how), 1)
    volume = np.linalg.det((end[:4] - end[4:]) / 2e-5)
    assert (abs(volume - 1) < 1e-6) == implicit, volume


def test_tempering_grows_to_one_and_scales_the_momentum():
    schedule = [riemann.tempering(k, 5, 0.3) for k in range(6)]
    assert schedule[0] == pytest.approx(0.3) and schedule[-1] == 1.0 and np.all(np.diff(schedule) > 0)
    assert riemann.tempering(0, 0, 0.3) == 1.0
    z, momentum = points(8, 4, 3), points(9, 4, 3)
    flat = riemann.KernelMetric(tf.zeros((1, 3), tf.float64), tf.zeros((1, 3, 3), tf.float64), 1.0, 1.0)
    still = lambda at: tf.zeros_like(at)  # noqa: E731 - no force: the momentum changes by the schedule alone
    end = riemann.leapfrog(flat, still, z, momentum, 5, 0.1, 0.3)
    np.testing.assert_allclose(end[1], 0.3 * momentum, rtol=1e-12)
    same = riemann.leapfrog(flat, still, z, momentum, 0, 0.1, 0.3)
    assert same[0] is z and same[1] is momentum


# --- geodesics --------------------------------------------------------------------------------------------------------


def test_geodesics_keep_their_speed_and_the_other_sign_does_not():
    metric = half_ring()
    start = tf.gather(metric.centroids, np.arange(0, 30, 2))
    velocity = points(10, 15, 2, 0.5)

    def drift(steps, sign=1.0):
        begin = metric.at(start)
        q = tf.linalg.matvec(begin.matrix, velocity)
        z, end = riemann.shoot(metric, start, q, steps, sign)
        return float(np.median(np.abs(metric.at(z).kinetic(end) / begin.kinetic(q) - 1)))

    assert drift(10) < 1e-3 and 2.5 < drift(10) / drift(20) < 12
    assert drift(10, -1.0) > 0.1


def test_exponential_map_of_nothing_of_a_flat_space_and_back():
    metric = half_ring()
    start, velocity = metric.centroids[:5], points(11, 5, 2, 0.3)
    np.testing.assert_allclose(riemann.exponential_map(metric, start, tf.zeros_like(start))[0], start, atol=1e-12)
    flat = riemann.KernelMetric(metric.centroids, tf.zeros_like(metric.matrices), 0.8, 0.5)
    np.testing.assert_allclose(riemann.exponential_map(flat, start, velocity)[0], start + velocity, rtol=1e-12)
    there, momentum = riemann.exponential_map(metric, start, velocity, 50)
    back, _ = riemann.shoot(metric, there, -momentum, 50)
    np.testing.assert_allclose(back, start, atol=1e-4)


# --- chains -----------------------------------------------------------------------------------------------------------


def nearest(metric, z):
    away = np.linalg.norm(np.asarray(z)[:, None] - metric.centroids.numpy()[None], axis=-1)
    return away.min(1).mean()


def grid_mean(metric, reach=3.0, cells=200):
    """The mean distance to the nearest centroid under sqrt(det G^-1), summed over a grid of the box."""
    low, high = metric.centroids.numpy().min(0) - reach * 0.8, metric.centroids.numpy().max(0) + reach * 0.8
    axes = [np.linspace(a, b, cells) for a, b in zip(low, high, strict=True)]
    z = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    weight = np.exp(metric.log_volume(tf.constant(z)).numpy())
    away = np.linalg.norm(z[:, None] - metric.centroids.numpy()[None], axis=-1).min(1)
    return (weight * away).sum() / weight.sum()


@pytest.fixture(scope="module")
def noise():
    rng = np.random.default_rng(3)
    return rng.normal(size=(60, 900, 2)), rng.normal(size=(60, 900))


@pytest.fixture(scope="module")
def chains(noise):
    """(metric, last states, shares of accepted proposals) of Hamiltonian Monte Carlo."""
    metric = half_ring()
    start = tf.gather(metric.centroids, np.arange(900) % 30)
    sample = tf.function(lambda *a: riemann.hamiltonian_monte_carlo(riemann.volume_density(metric), *a, 8, 0.1))
    return metric, *sample(start, *map(tf.constant, noise))


def test_hmc_samples_the_volumes(chains):
    metric, z, accepted = chains
    assert 0.9 < np.mean(accepted) <= 1
    assert nearest(metric, z) == pytest.approx(grid_mean(metric), rel=0.05)
    assert metric.within(z).numpy().all()


def test_a_rejected_proposal_repeats_the_state():
    """A density that ends nowhere but at the start, and chances of 0."""
    start, momenta = points(12, 4, 2), points(13, 12, 2)
    nowhere = lambda z: (tf.where(tf.reduce_all(z == start, -1), 0.0, -np.inf), tf.zeros_like(z))  # noqa: E731
    choices = tf.zeros((3, 4), tf.float64)
    z, share = riemann.hamiltonian_monte_carlo(
        lambda at: tuple(tf.cast(v, tf.float64) for v in nowhere(at)), start, tf.reshape(momenta, (3, 4, 2)), choices
    )
    assert np.array_equal(z, start) and not np.any(share)


def test_uniform_numbers_of_normal_ones():
    values = np.exp(riemann.log_uniform(tf.constant(np.random.default_rng(0).normal(size=20_000))))
    assert values.min() > 0 and np.abs(np.sort(values) - np.linspace(0, 1, 20_000)).max() < 0.015


def test_random_walks_accept_by_the_ratio_of_volumes():
    metric = half_ring()
    start, velocity = metric.centroids, points(14, 30, 2, 0.7)
    new, _ = riemann.exponential_map(metric, start, velocity)
    ratio = (metric.log_volume(new) - metric.log_volume(start)).numpy()
    for choice in (-1.0, 0.0, 1.0):
        chance = riemann.log_uniform(tf.constant(choice, tf.float64)).numpy()
        choices = tf.fill((1, 30), tf.constant(choice, tf.float64))
        z, accepted = riemann.random_walk(metric, start, velocity[None], choices)
        assert np.array_equal(accepted, (ratio > chance).astype(float)) and 0 < accepted.numpy().mean() < 1
        np.testing.assert_allclose(z, np.where((ratio > chance)[:, None], new, start))
        assert (accepted.numpy()[ratio > 0] == 1).all()


def test_walks_stay_near_what_has_volume(noise):
    """Nearer to the centroids than where every proposal is taken; none outside of the box ever is."""
    metric = half_ring()
    start = tf.gather(metric.centroids, np.arange(300) % 30)
    walk = tf.function(lambda *a: riemann.random_walk(metric, *a))
    short = tf.constant(0.05**0.5 * noise[0][:, :300])
    z, accepted = walk(start, short, tf.constant(noise[1][:, :300]))
    anywhere, always = walk(start, short, tf.fill((60, 300), tf.constant(-9.0, tf.float64)))
    assert 0.4 < np.mean(accepted) < np.mean(always) and nearest(metric, z) < 0.8 * nearest(metric, anywhere)
    far, _ = walk(start, 600.0 * short[:4], tf.constant(noise[1][:4, :300]))
    assert metric.within(far).numpy().all()
