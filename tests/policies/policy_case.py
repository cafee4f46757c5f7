"""One test case for every policy: a subclass says how to make it and what it does to one image, slowly.

Used as a mixin: `class TestTranslate(PolicyCase)` writes `make` and `reference`, and gets every test below.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from auglean.policies import Policy, parse
from auglean.randomness import Keys

SIZES = [(1, 9, 12), (3, 8, 8), (3, 11, 7), (1, 28, 28)]
Row = Mapping[str, np.ndarray]


def images(n: int, size: tuple[int, int, int] = (3, 11, 7), *, seed: int = 0, dtype=torch.float32) -> Tensor:
    """Images of 8-bit levels, black and white among them, as real data are."""
    levels = torch.randint(0, 256, (n, *size), generator=torch.Generator().manual_seed(seed))
    return levels.to(dtype) / 255


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def superposition_gap(policy: Policy, params: Mapping[str, Tensor], x: Tensor, z: Tensor) -> float:
    """How far `apply` is from affine between two batches."""
    middle = policy.apply(0.3 * x + 0.7 * z, params)
    return float((middle - 0.3 * policy.apply(x, params) - 0.7 * policy.apply(z, params)).abs().max())


class PolicyCase:
    size = (3, 11, 7)  # where one is enough
    differentiable = True
    deterministic = False  # no random numbers at all
    tolerance = 1e-10  # of float64 against `reference`; parameters are the same numbers on both sides
    tolerance32 = 2e-5  # of float32 against float64: positions of 28 pixels carry 2e-6, an image slope of 1 each
    jumps = False  # rounds to 8-bit levels after other operators, where float32 may land on the other side

    def make(self) -> Policy:
        raise NotImplementedError

    def reference(self, image: np.ndarray, params: Row) -> np.ndarray:
        """What the policy does to one float64 image (C, H, W) with its own row of the parameters."""
        raise NotImplementedError

    # ---- apply

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_keeps_shape_type_and_range(self, size, dtype):
        policy, x = self.make(), images(6, size, dtype=dtype)
        before = x.clone()
        y = policy(x, generator=generator())
        assert y.shape == x.shape
        assert y.dtype == dtype
        assert y.min() >= -1e-6
        assert y.max() <= 1 + 1e-6
        assert torch.equal(x, before)

    @pytest.mark.parametrize("size", SIZES)
    def test_equals_the_plain_formula(self, size):
        policy, x = self.make(), images(16, size, dtype=torch.float64)
        params = policy.draw(16, generator=generator(1))
        rows = [{name: value[i].double().numpy() for name, value in params.items()} for i in range(16)]
        expected = np.stack([self.reference(image, row) for image, row in zip(x.numpy(), rows, strict=True)])
        y, single = policy.apply(x, params).numpy(), policy.apply(x.float(), params).double().numpy()
        if self.jumps:  # a value half-way between two levels may go to either
            assert (np.abs(y - expected) > self.tolerance).mean() < 0.002
            assert (np.abs(single - expected) > self.tolerance32).mean() < 0.02
        else:
            np.testing.assert_allclose(y, expected, rtol=0, atol=self.tolerance)
            np.testing.assert_allclose(single, expected, rtol=0, atol=self.tolerance32)

    def test_replays(self):
        policy, x = self.make(), images(8, self.size)
        params = policy.draw(8, generator=generator())
        kept = copy.deepcopy(params)
        assert torch.equal(policy.apply(x, params), policy.apply(x, params))
        assert all(torch.equal(params[name], kept[name]) for name in kept)
        assert torch.equal(policy(x, generator=generator(5)), policy(x, generator=generator(5)))

    def test_does_something(self):
        x = images(8)
        assert not torch.equal(self.make()(x, generator=generator()), x)

    def test_single_image(self):
        policy, x = self.make(), images(1)
        assert torch.equal(policy(x[0], generator=generator()), policy(x, generator=generator())[0])

    def test_empty_batch(self):
        assert self.make()(images(0), generator=generator()).shape == (0, 3, 11, 7)

    def test_one_draw_for_all(self):
        policy, x = self.make(), images(7, self.size)
        shared = policy.draw(1, generator=generator(3))
        together = policy.apply(x, shared)
        for i in range(7):
            assert torch.equal(together[i : i + 1], policy.apply(x[i : i + 1], shared))

    def test_memory_layout_does_not_matter(self):
        policy, x = self.make(), images(5)
        params = policy.draw(5, generator=generator())
        other = policy.apply(x.contiguous(memory_format=torch.channels_last), params)
        assert torch.allclose(policy.apply(x, params), other, atol=1e-6)

    # ---- mathematics

    def test_gradient(self):
        if not self.differentiable:
            pytest.skip("piecewise constant in the image")
        policy = self.make()
        # away from black and white, where clamps have kinks, and from ties, where extrema have
        x = 0.35 + 0.3 * torch.rand(3, 3, 4, 5, dtype=torch.float64, generator=generator(2))
        params = policy.draw(3, generator=generator(4))
        assert torch.autograd.gradcheck(lambda x: policy.apply(x, params), x.requires_grad_())

    def test_linear_is_what_it_says(self):
        policy = self.make()
        params = policy.draw(32, generator=generator())
        x, z = (images(32, self.size, seed=seed, dtype=torch.float64) for seed in (1, 2))
        gap = superposition_gap(policy, params, x, z)
        # the other half makes the first one able to fail: what is not linear is seen not to be
        assert gap < 1e-12 if policy.linear else gap > 1e-3

    # ---- random numbers

    def test_keys_fix_the_image_whatever_the_batch(self):
        policy, x, ids = self.make(), images(20, self.size), 100 + torch.arange(20)

        @settings(max_examples=8, deadline=None)
        @given(st.lists(st.integers(0, 19), min_size=1, max_size=20, unique=True), st.integers(0, 3))
        def check(order, seed):
            whole = policy(x, generator=Keys(ids, seed=seed, epoch=2))
            part = policy(x[order], generator=Keys(ids[order], seed=seed, epoch=2))
            assert torch.equal(part, whole[order])

        check()

    def test_epochs_and_seeds_differ(self):
        if self.deterministic:
            pytest.skip("draws nothing")
        policy, x = self.make(), images(20, self.size)
        y, *others = (
            policy(x, generator=Keys(range(20), seed=seed, epoch=epoch)) for seed, epoch in [(0, 0), (0, 1), (1, 0)]
        )
        assert all(not torch.equal(y, other) for other in others)

    def test_touches_no_generator_but_its_own(self):
        policy, x, own = self.make(), images(4), generator()
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
        start = own.get_state()
        policy(x, generator=own)
        policy(x, generator=Keys(range(4)))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]
        assert (np.random.get_state()[1] == before[2]).all()
        assert torch.equal(own.get_state(), start) == self.deterministic

    def test_without_a_generator_draws_from_the_default_one(self):
        policy = self.make()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            default = policy.draw(4)
        own = policy.draw(4, generator=generator(3))
        assert all(torch.equal(default[name], own[name]) for name in own)

    def test_first_dimension_of_every_parameter(self):
        for n in (0, 1, 5):
            assert all(len(value) == n for value in self.make().draw(n, generator=generator(), device="cpu").values())

    # ---- the object

    def test_name_reads_back(self):
        policy = self.make()
        if policy.token is None:
            assert policy.name == repr(policy)
            return
        again, x = parse(policy.name), images(8)
        assert again.name == policy.name
        assert repr(again) == repr(policy)
        assert torch.equal(again(x, generator=generator(9)), policy(x, generator=generator(9)))

    def test_lives_in_a_module(self):
        policy, x = self.make(), images(3)
        expected = policy(x, generator=generator())
        model = nn.Sequential(policy).double().to("cpu").eval()
        seen: list[nn.Module] = []
        model.apply(seen.append)
        assert policy in seen
        assert torch.equal(policy(x, generator=generator()), expected)
        assert torch.equal(copy.deepcopy(policy)(x, generator=generator()), expected)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
    def test_gpu_equals_cpu(self):
        policy, x = self.make(), images(32)
        there = policy(x.cuda(), generator=Keys(torch.arange(32, device="cuda")))
        assert there.device.type == "cuda"
        here = policy(x, generator=Keys(range(32)))
        wrong = (there.cpu() - here).abs().amax((1, 2, 3)) > self.tolerance32
        assert wrong.float().mean() <= (0.2 if self.jumps else 0)
