"""FID and the statistics that it is made of: closed forms, its bias in theory, and scipy."""

import numpy as np
import pytest
import scipy.linalg

from glide_jax.evaluation.metrics import statistics
from glide_jax.evaluation.metrics.frechet import check, fid, fid_infinity, square_root
from glide_jax.evaluation.metrics.statistics import Statistics


def covariance(rng, width, rank=None):
    factor = rng.standard_normal((width, rank or width))
    return factor @ factor.T


def test_gaussians_of_diagonal_covariance_have_their_closed_form():
    a, b = np.array([1.0, 4, 0.25]), np.array([9.0, 1, 0])
    one = Statistics(10, np.array([0.0, 1, 2]), np.diag(a))
    other = Statistics(None, np.array([2.0, 1, -1]), np.diag(b))
    expected = 13 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    assert fid(one, other) == pytest.approx(expected, rel=1e-12)
    assert fid(other, one) == pytest.approx(expected, rel=1e-12)
    assert fid(one, one) == pytest.approx(0, abs=1e-12)


def test_it_is_that_of_scipys_square_root_and_real_where_covariances_are_singular():
    rng = np.random.default_rng(0)
    one, other = (Statistics(99, rng.standard_normal(12), covariance(rng, 12)) for _ in range(2))
    root = scipy.linalg.sqrtm(one.covariance @ other.covariance)
    expected = np.sum((one.mean - other.mean) ** 2)
    expected += np.trace(one.covariance + other.covariance - 2 * root).real
    assert fid(one, other) == pytest.approx(expected, rel=1e-9)
    # Of few pictures; one set is the other, twice as far from its mean: |m|^2 + tr C.
    drawn = rng.standard_normal((7, 40))
    near, far = statistics.of(drawn), statistics.of(2 * drawn)
    expected = np.sum(near.mean**2) + np.trace(near.covariance)
    assert fid(near, far) == pytest.approx(expected, rel=1e-6)


def test_the_square_root_squares_to_its_matrix():
    matrix = covariance(np.random.default_rng(1), 9, rank=4)
    root = square_root(matrix)
    np.testing.assert_allclose(root @ root, matrix, atol=1e-12)
    np.testing.assert_array_equal(np.isreal(root), True)


def test_batches_join_to_what_all_features_have_though_their_mean_is_large():
    features = 1e6 + np.random.default_rng(2).standard_normal((50, 5)) * [1, 2, 3, 4, 5]
    total = None
    for part in np.split(features, [1, 2, 20, 49]):
        total = statistics.joined(total, statistics.of(part))
    assert total.n == 50
    np.testing.assert_allclose(total.mean, features.mean(0), rtol=1e-14)
    np.testing.assert_allclose(total.covariance, np.cov(features.T), rtol=1e-8, atol=1e-8)


def test_statistics_survive_their_file_which_pytorch_fid_can_read(tmp_path):
    own = statistics.of(np.random.default_rng(3).standard_normal((9, 3)))
    statistics.save(tmp_path / "own.npz", own)
    for kept, read in zip(own, statistics.load(tmp_path / "own.npz"), strict=True):
        np.testing.assert_array_equal(kept, read)
    with np.load(tmp_path / "own.npz") as arrays:
        assert {*arrays} == {"n", "mu", "sigma"}
    np.savez(tmp_path / "theirs.npz", mu=own.mean, sigma=own.covariance)
    theirs = statistics.load(tmp_path / "theirs.npz")
    assert theirs.n is None and fid(theirs, own) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="n is None, so the statistics cannot be joined"):
        statistics.joined(theirs, own)


def test_files_that_hold_no_statistics_are_named(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(ValueError, match="holds no statistics"):
        statistics.load(path)
    path.write_bytes(b"no zip")
    with pytest.raises(ValueError, match="holds no statistics"):
        statistics.load(path)
    whole = path.parent / "whole.npz"
    np.savez(whole, mu=np.zeros(3), sigma=np.eye(3))
    path.write_bytes(whole.read_bytes()[:200])
    with pytest.raises(ValueError, match="holds no statistics"):
        statistics.load(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="holds no statistics"):
        statistics.load(path)
    np.savez(path, mu=np.zeros(3))
    with pytest.raises(ValueError, match="holds no statistics, an .npz of mu and sigma"):
        statistics.load(path)
    np.savez(path, mu=np.zeros(3), sigma=np.eye(2))
    with pytest.raises(ValueError, match=r"mu \(3,\) and sigma \(2, 2\)"):
        statistics.load(path)


def test_few_pictures_give_the_excess_of_theory_and_its_limit_is_found():
    # E FID of N draws of a normal in d dimensions against itself is d / N for the mean and, to the
    # first order, d (d + 1) / 4 N for the covariance.
    d, n = 6, 400
    rng, truth = np.random.default_rng(4), Statistics(None, np.zeros(6), np.eye(6))
    draws = rng.standard_normal((120, n, d))
    found = [fid(statistics.of(draw), truth) for draw in draws]
    expected = (d + d * (d + 1) / 4) / n
    assert np.mean(found) == pytest.approx(expected, rel=0.07)  # 3.5 standard errors
    limits = [fid_infinity(draw, truth, seed=i) for i, draw in enumerate(draws[:40])]
    assert abs(np.mean(limits)) < 0.15 * expected


def test_the_limit_is_the_line_through_subsets_of_growing_size(monkeypatch):
    sizes = []

    def distance(one, reference, root):
        sizes.append(one.n)
        return 3 + 50 / one.n

    monkeypatch.setattr("glide_jax.evaluation.metrics.frechet.distance", distance)
    features = np.random.default_rng(5).standard_normal((200, 2))
    limit = fid_infinity(features, statistics.of(features), points=10)
    assert limit == pytest.approx(3, abs=1e-9) and isinstance(limit, float)
    assert sizes == list(range(20, 201, 20))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda one, _: fid(one, statistics.of(np.ones((1, 3)))), "n is 1; a covariance takes 2"),
        (lambda one, _: fid(one, statistics.of(np.ones((5, 4)))), "has 3 columns .* same network"),
        (lambda one, _: fid(one, one._replace(mean=np.full(3, np.nan))), "are not finite"),
        (lambda one, _: check(one._replace(n=1), one), "n is 1; a covariance takes 2"),
        (lambda one, _: check(one, one._replace(mean=one.mean + np.inf)), "of the other hold"),
        (lambda _, rows: statistics.of(rows[0]), r"features is of shape \(3,\); give \[N, D\]"),
        (lambda _, rows: statistics.of(np.append(rows, [[1, 2, np.inf]], 0)), "are not finite"),
        (lambda one, rows: fid_infinity(rows[:19], one), "features has 19 rows; give 20 or more"),
        (lambda one, rows: fid_infinity(rows, one, points=1), "points is 1; a line takes 2"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, message):
    rows = np.random.default_rng(6).standard_normal((30, 3))
    with pytest.raises(ValueError, match=message):
        call(statistics.of(rows), rows)
