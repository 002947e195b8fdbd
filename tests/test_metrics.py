"""KID, inception score, precision and recall, CLIP score, intervals: closed forms and slow ways."""

import numpy as np
import pytest
import scipy.spatial
import scipy.special

from glide_jax.evaluation.metrics.clip_score import clip_score, cosines
from glide_jax.evaluation.metrics.inception_score import inception_score
from glide_jax.evaluation.metrics.intervals import bootstrap
from glide_jax.evaluation.metrics.kid import kid, unbiased_mmd2
from glide_jax.evaluation.metrics.precision_recall import memberships, precision_recall, radii


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_kid_is_its_sums_pair_by_pair(rng):
    x, y = rng.standard_normal((5, 3)), 1 + rng.standard_normal((4, 3))
    k = lambda a, b: (a @ b / 3 + 1) ** 3  # noqa: E731
    within = [
        np.mean([k(a, b) for i, a in enumerate(each) for j, b in enumerate(each) if i != j])
        for each in (x, y)
    ]
    expected = sum(within) - 2 * np.mean([k(a, b) for a in x for b in y])
    assert unbiased_mmd2(x, y) == pytest.approx(expected, rel=1e-12)
    # Of a size that takes in all rows each subset is the whole set.
    assert kid(x, y[:4], size=4, subsets=3).mean != pytest.approx(expected, rel=1e-3)
    found = kid(y, x[:4], subsets=3)
    assert found.mean == pytest.approx(unbiased_mmd2(y, x[:4]), rel=1e-12)
    assert found.std == pytest.approx(0, abs=1e-12)


def test_kid_has_no_bias_and_finds_a_shift_of_known_size(rng):
    # In one dimension with E x = 0, E x^2 = 1, E x^3 = 0: (xy + 1)^3 of points around c and around
    # 0 differs by the moments 1 to 3, weighed 3, 3 and 1.
    c = 0.5
    x, y = c + rng.standard_normal((1500, 1)), rng.standard_normal((1500, 1))
    moments = np.array([c, (c**2 + 1) - 1, (c**3 + 3 * c) - 0])
    expected = [3, 3, 1] @ moments**2
    assert unbiased_mmd2(x, y) == pytest.approx(expected, rel=0.25)
    same = [unbiased_mmd2(*rng.standard_normal((2, 50, 1))) for _ in range(400)]
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(400)


def test_kid_draws_subsets_by_its_seed(rng):
    x, y = rng.standard_normal((2, 200, 4))
    first = kid(x, y, subsets=5, size=50)
    assert first == kid(x, y, subsets=5, size=50) != kid(x, y, subsets=5, size=50, seed=1)
    assert first.std > 0 and isinstance(first.mean, float)


def test_the_inception_score_of_sure_guesses_is_their_number_of_classes():
    sure = np.repeat(50 * np.eye(5), 40, axis=0)
    mean, std = inception_score(sure, splits=1)
    assert mean == pytest.approx(5, rel=1e-9) and std == 0
    assert inception_score(np.zeros((20, 7)), splits=2) == pytest.approx((1, 0))
    assert inception_score(np.tile(50 * np.eye(5)[0], (20, 1)), splits=2).mean == pytest.approx(1)
    # Though they come sorted, each part has all classes.
    assert inception_score(sure, splits=4).mean > 4.5


def test_the_inception_score_is_that_of_scipys_divergences(rng):
    p = rng.dirichlet(np.ones(6), size=30)
    expected = np.exp(np.mean(scipy.special.rel_entr(p, p.mean(0)).sum(1)))
    assert inception_score(np.log(p), splits=1).mean == pytest.approx(expected, rel=1e-12)
    logits = np.float32(np.log(p) + rng.standard_normal((30, 1)))
    assert inception_score(logits, splits=1).mean == pytest.approx(expected, rel=1e-5)
    # A class that no one has in float64.
    logits = np.array([[0.0, 0, -2000], [0, -2000, -2000]])
    p = np.array([[0.5, 0.5, 0], [1, 0, 0]])
    expected = np.exp(np.mean(scipy.special.rel_entr(p, p.mean(0)).sum(1)))
    assert inception_score(logits, splits=1).mean == pytest.approx(expected, rel=1e-12)


def test_precision_and_recall_on_a_line():
    real = np.array([[0.0], [1], [2], [10]])
    drawn = np.array([[1.5], [2.5], [4.5], [30]])
    # With k = 1 the balls of real ones reach 1, 1, 1 and 8 far; those of drawn ones 1, 1, 2, 25.5.
    assert precision_recall(drawn, real, k=1) == (0.75, 0.75)
    # With k = 2: 2, 1, 2, 9; of drawn ones 3, 2, 3, 27.5.
    assert precision_recall(drawn, real, k=2) == (0.75, 1)
    np.testing.assert_allclose(np.sqrt(radii(drawn, 2)), [3, 2, 3, 27.5])


def test_sets_that_are_alike_or_far_apart(rng):
    x = rng.standard_normal((50, 8)).astype(np.float32)
    assert precision_recall(x, x) == (1, 1)
    assert precision_recall(x + 1000, x) == (0, 0)
    # One point drawn again and again, with little noise, is real, and little of what is real.
    few = x[:1] + 1e-4 * rng.standard_normal((50, 8))
    precision, recall = precision_recall(few, x)
    assert precision == 1 and recall <= 1 / 50


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_change_nothing_and_trees_find_the_same(block, rng):
    real, drawn = rng.standard_normal((61, 5)), 0.8 * rng.standard_normal((40, 5)) + 0.3
    expected = []
    for centres, points in ((real, drawn), (drawn, real)):
        reach = scipy.spatial.cKDTree(centres).query(centres, k=4)[0][:, 3]
        distances = scipy.spatial.distance.cdist(points, centres)
        expected.append((distances <= reach).any(axis=1).mean())
        np.testing.assert_allclose(radii(centres, 3, block), reach**2, rtol=1e-10)
        inside = memberships(points, centres, 3, block)[0]
        np.testing.assert_array_equal(inside, (distances <= reach).any(axis=1))
    assert precision_recall(drawn, real, block=block) == tuple(expected)
    assert 0.2 < expected[1] < expected[0] < 1


def test_the_clip_score_is_the_mean_cosine(rng):
    images = np.array([[3.0, 0], [0, 0.1], [-1, 0]])
    texts = np.array([[2.0, 0], [5, 5], [1, 0]])
    np.testing.assert_allclose(cosines(images, texts), [1, 0.5**0.5, -1])
    assert clip_score(images, texts) == pytest.approx(0.5**0.5 / 3)


def test_an_interval_of_a_mean_is_the_normal_one(rng):
    x = rng.standard_normal((400, 1))
    low, high = bootstrap(lambda rows: rows.mean(), x, number=1000)
    half = 1.96 * x.std() / 20
    np.testing.assert_allclose([low, high], [x.mean() - half, x.mean() + half], atol=0.1 * half)
    assert (low, high) == bootstrap(lambda rows: rows.mean(), x, number=1000)
    wide = bootstrap(lambda rows: rows.mean(), x, level=0.99, number=1000)
    assert wide[0] < low < high < wide[1]


def test_an_interval_stays_around_a_metric_that_repeated_rows_shift(rng):
    x = rng.standard_normal((200, 3))
    distinct = lambda rows: float(len(np.unique(rows[:, 0])))  # noqa: E731
    low, high = bootstrap(distinct, x)  # of 200 rows 126 are drawn, in the mean
    assert 180 < low < 200 < high < 220


def test_rows_are_resampled_together(rng):
    x = rng.standard_normal((30, 2))
    assert bootstrap(lambda a, b: float(np.abs(a - b).max()), x, x) == (0, 0)


X = np.random.default_rng(1).standard_normal((12, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kid(X, X[:, :2]), "features has 3 columns and reference 2"),
        (lambda: kid(X[:1], X), "features has 1 rows; give 2 or more"),
        (lambda: kid(X, X, size=1), "subsets is 100 and size 1"),
        (lambda: inception_score(X, splits=13), "logits has 12 rows; give 13 or more"),
        (lambda: inception_score(X, splits=0), "splits is 0"),
        (lambda: inception_score(np.where(X > 0, X, np.nan)), "logits holds numbers that are not"),
        (lambda: precision_recall(X, X[:3]), "reference has 3 rows; give 4 or more"),
        (lambda: precision_recall(X, X, k=0), "k is 0; it must be 1 or more"),
        (lambda: clip_score(X, X[:5]), "there are 12 pictures and 5 captions"),
        (lambda: clip_score(X, 0 * X), "an embedding is zero"),
        (lambda: bootstrap(np.mean, X, X[1:]), r"the samples have \[11, 12\] rows"),
        (lambda: bootstrap(np.mean, X, level=1.0), "number is 200 and level 1.0"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
