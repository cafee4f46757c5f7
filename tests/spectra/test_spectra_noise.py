"""The null: its two short cuts have the law of dense Gaussian noise, and its products are those of one matrix."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from spectra_references import Matrix, noise_like, with_values

from auglean.spectra.noise import Noise, Noisy, rotated

LENGTHS = torch.tensor([3.0, 1.0, 0.5, 0.0], dtype=torch.float64)


def test_rows_have_their_lengths_and_no_correlation():
    for columns, inside in ((40, 4), (6, 4), (4, 4), (5, 0)):
        draws = torch.stack([rotated(LENGTHS, columns, inside, seed=seed) for seed in range(3000)])
        products = (draws @ draws.mT).mean(0)
        spread = 6 * LENGTHS[:, None] * LENGTHS / math.sqrt(3000 * columns / 2)
        assert ((products - torch.diag(LENGTHS**2)).abs() <= spread).all()
        assert draws.shape[2] == inside + min(4, columns - inside)


def test_noise_in_coordinates_changes_singular_values_as_dense_noise_does():
    # two samples of the same law: of each singular value, of left vectors and of the part in the row space
    before = with_values([4.0, 1.0, 0.3], 30)
    basis = torch.linalg.svd(before, full_matrices=False)[2].T  # (30, 3)
    coordinates = before @ basis
    change = torch.tensor([[1.0], [2.0], [0.5]], dtype=torch.float64) * torch.ones(3, 30) / math.sqrt(30)
    lengths = change.norm(dim=1)
    found = {"dense": [], "short": []}
    for seed in range(400):
        noisy = rotated(lengths, 30, 3, seed=seed)
        noisy[:, :3] += coordinates
        for name, matrix in (("dense", before + noise_like(change, seed=seed)), ("short", noisy)):
            left, values, _ = torch.linalg.svd(matrix)
            inside = (matrix @ basis if name == "dense" else matrix[:, :3]).square().sum()
            found[name].append([*values.tolist(), *left.abs().flatten().tolist(), float(inside)])
    for one, other in zip(zip(*found["dense"], strict=True), zip(*found["short"], strict=True), strict=True):
        assert stats.ks_2samp(one, other).pvalue > 1e-4


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.lists(st.tuples(st.booleans(), st.integers(1, 4)), max_size=6),
       st.integers(0, 1000))  # fmt: skip
def test_products_are_those_of_one_matrix(n, m, questions, seed):
    generator = torch.Generator().manual_seed(seed)
    noise, told = Noise((n, m), torch.Generator().manual_seed(seed + 1)), []
    for right, columns in questions:
        asked = torch.randn(m if right else n, columns, generator=generator, dtype=torch.float64)
        asked[:, -1] = asked[:, 0]  # a direction twice
        told.append((right, asked, noise.times(asked) if right else noise.transposed(asked)))
    whole = noise.times(torch.eye(m, dtype=torch.float64))
    for right, asked, answer in told:
        assert torch.allclose(whole @ asked if right else whole.T @ asked, answer, atol=1e-9)
    assert torch.allclose(noise.transposed(torch.eye(n, dtype=torch.float64)), whole.T, atol=1e-9)


def test_what_was_asked_before_leaves_the_law_as_it_is():
    entries = []
    for seed in range(500):
        noise = Noise((4, 5), torch.Generator().manual_seed(seed))
        v = torch.linalg.qr(noise.transposed(torch.ones(4, 1, dtype=torch.float64))).Q  # depends on the noise itself
        noise.transposed(noise.times(v))
        entries.append(noise.times(torch.eye(5, dtype=torch.float64)))
    entries = torch.stack(entries)
    assert stats.kstest(entries.flatten().numpy(), "norm").pvalue > 1e-3
    columns = entries.flatten(1)
    assert ((columns.T @ columns / 500 - torch.eye(20)).abs() < 6 / math.sqrt(500)).all()


def test_the_sum_of_a_matrix_and_noise():
    before = with_values([3.0, 1.0], 4)
    noisy = Noisy(Matrix(before), torch.tensor([2.0, 0.0], dtype=torch.float64), torch.Generator().manual_seed(0))
    whole = noisy.times(torch.eye(4, dtype=torch.float64))
    assert torch.allclose(whole[1], before[1])
    assert not torch.allclose(whole[0], before[0])
    assert torch.allclose(noisy.transposed(torch.eye(2, dtype=torch.float64)), whole.T)


def test_a_seed_gives_its_noise_again():
    one, other = (rotated(LENGTHS, 40, 4, seed=5) for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, rotated(LENGTHS, 40, 4, seed=6))
