"""k-means: exact where it can be, never worse by a round or a centre, the same each time."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.matrices import clusters
from models.matrices.clusters import clustered, means_of
from models.matrices.slim import SlimSpec
from nbest.errors import ConfigError


def _random(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def _points(count: int = 200, width: int = 3) -> clusters.Points:
    return _random(5).normal(size=(count, width))


def _error(points: clusters.Points, count: int) -> float:
    codes, centres = clustered(points, count, _random())
    assert (codes.shape, centres.shape) == ((len(points),), (count, points.shape[1]))
    return float(((points - centres[codes]) ** 2).sum())


@given(st.integers(1, 12), st.integers(0, 5), st.integers(0, 1000))
def test_points_that_do_not_differ_in_more_places_are_kept(distinct: int, spare: int, seed: int) -> None:
    """To the last bit, as 32-bit numbers, however often each comes and however many centres are left over."""
    random = _random(seed)
    kinds = random.normal(size=(distinct, 4)).astype(np.float32)
    points = kinds[random.integers(distinct, size=30)].astype(np.float64)
    codes, centres = clustered(points, distinct + spare, random)
    assert np.array_equal(centres.astype(np.float32)[codes], points)
    assert centres.shape == (distinct + spare, 4)


def test_more_centres_miss_less() -> None:
    errors = [_error(_points(), count) for count in (1, 2, 4, 8, 16, 64, 200)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == pytest.approx(float(((_points() - _points().mean(0)) ** 2).sum()))
    assert errors[-1] == 0
    assert len(set(errors)) == len(errors)


def test_every_point_has_its_nearest_centre_and_every_centre_is_a_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fixed point of both steps, whatever the size of a block of distances."""
    points = _points()
    monkeypatch.setattr(clusters, "MOST_ROUNDS", 1000)
    codes, centres = clustered(points, 9, _random())
    distances = ((points[:, None] - centres) ** 2).sum(2)
    assert np.array_equal(codes, distances.argmin(1))
    np.testing.assert_allclose(centres, means_of(points, codes, 9, np.ones(200)), atol=1e-12)
    monkeypatch.setattr(clusters, "_BLOCK_NUMBERS", 40)
    again, same = clustered(points, 9, _random())
    assert np.array_equal(again, codes)
    np.testing.assert_allclose(same, centres, atol=1e-12)


def test_clear_clusters_are_found() -> None:
    middles = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    members = np.repeat(np.arange(3), 50)
    points = middles[members] + _random(2).normal(size=(150, 2))
    codes, centres = clustered(points, 3, _random())
    order = np.argsort(centres.sum(1) + centres[:, 1])
    np.testing.assert_allclose(centres[order], middles, atol=0.6)
    assert len({tuple(pair) for pair in zip(members.tolist(), codes.tolist(), strict=True)}) == 3


def test_a_centre_that_loses_its_points_gets_one_that_is_far_off() -> None:
    points = np.array([[0.0], [1.0], [9.0], [12.0]])
    codes = np.array([0, 0, 0, 0], dtype=np.int32)
    distances = ((points - 1.0) ** 2).sum(1)
    assert clusters._means(points, codes, distances, 3, np.ones(4)).tolist() == [[5.5], [12.0], [9.0]]


def test_what_weighs_more_is_missed_less() -> None:
    """A whole weight is as many points; the mean is theirs, and an empty centre goes where it saves most."""
    points, weights = _points(40), _random(3).integers(1, 4, size=40)
    repeated = np.repeat(points, weights, axis=0)
    codes, _ = clustered(points, 6, _random(), weights.astype(np.float64))
    weighted = means_of(points, codes, 6, weights.astype(np.float64))
    repeated_codes = np.repeat(codes, weights)
    np.testing.assert_allclose(weighted, means_of(repeated, repeated_codes, 6, np.ones(len(repeated))))
    heavy = np.where(np.arange(40) < 5, 1e4, 1.0)
    errors = {}
    for name, weight in (("alike", np.ones(40)), ("heavy", heavy)):
        codes, centres = clustered(points, 6, _random(), weight)
        errors[name] = ((points - centres[codes]) ** 2).sum(1)
    assert errors["heavy"][:5].sum() < 0.1 * errors["alike"][:5].sum()
    assert errors["heavy"].sum() > errors["alike"].sum()
    distances = np.array([4.0, 1.0, 9.0])
    line = np.array([[0.0], [1.0], [5.0]])
    none = np.zeros(3, dtype=np.int32)
    assert clusters._means(line, none, distances, 2, np.array([9.0, 1.0, 1.0]))[1].tolist() == [0.0]


def test_the_seed_decides() -> None:
    first, again, other = (clustered(_points(), 20, _random(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


# As a slim matrix


@pytest.mark.parametrize("by_position", [True, False])
def test_a_slim_matrix_of_a_trained_one(by_position: bool) -> None:
    torch.manual_seed(1)
    trained = torch.randn(60, 12)
    missed = []
    for choices in (2, 8, 60):
        sub_vectors = 4 * choices  # of the pool 240: as many as there are
        spec = SlimSpec(parts=4, sub_vectors=sub_vectors, by_position=by_position, assignment="clusters")
        matrix = spec.from_trained(trained)
        missed.append(float((matrix.materialize() - trained).norm()))
        again = spec.read({key: tensor.clone() for key, tensor in matrix.stored().items()}, 60, 12)
        assert torch.equal(again.materialize(), matrix.materialize())
        assert torch.equal(spec.from_trained(trained).materialize(), matrix.materialize())
    assert missed[0] > missed[1] > missed[2] == 0


def test_clusters_beat_chance_and_chance_gets_its_means() -> None:
    """Words assigned without looking get the mean of what they stand for: nearest by least squares."""
    torch.manual_seed(1)
    trained = torch.randn(60, 12)
    specs = {
        how: SlimSpec(parts=4, sub_vectors=32, by_position=True, assignment=how)  # type: ignore[arg-type]
        for how in ("clusters", "balanced", "hash")
    }
    missed = {}
    for how, spec in specs.items():
        matrix = spec.from_trained(trained)
        missed[how] = float((matrix.materialize() - trained).norm())
        if how != "clusters":
            assert matrix.codes.numpy().tolist() == spec.assign(60).tolist()
        moved = matrix.weight.detach() + 0.01
        worse = torch.nn.functional.embedding(matrix.codes, moved).reshape(60, 12)
        assert float((worse - trained).norm()) > missed[how]
    assert missed["clusters"] < 0.8 * min(missed["balanced"], missed["hash"])


def test_clusters_need_a_trained_matrix() -> None:
    spec = SlimSpec(parts=4, sub_vectors=32, by_position=True, assignment="clusters")
    with pytest.raises(ConfigError, match="clusters are those of a trained matrix: nbest compress --slim"):
        spec.build(60, 12)
    with pytest.raises(ConfigError, match="expected a divisor of 10; got 4"):
        spec.from_trained(torch.zeros(60, 10))
