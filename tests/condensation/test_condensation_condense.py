"""`condense` as a user meets it: stopping and going on, processes, refusals, plans."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.multiprocessing
from torch import distributed, nn

import auglean as al
from auglean.condensation import DC, DM, DSA, Hooks, Plan, Stopped, as_method, baseline, starting_images
from auglean.condensation import condensing as condensing_module
from auglean.condensation.learning import learn
from auglean.errors import InputError
from auglean.training import correct, new_network

NETWORK = "convnet-w8-d2"
METHODS = [DM(pool=3, real_batch=16), DSA(pool=3, real_batch=16, outer=2, inner=1)]


@pytest.fixture(scope="module")
def digits():
    return al.load("digits", split="train").subset(torch.arange(300))


def run(data, method=METHODS[0], **options):
    return al.condense(data, method=method, **{"per_class": 2, "steps": 5, "network": NETWORK, **options})


def assert_same(one, other):
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.history["loss"], other.history["loss"])


def test_what_comes_back(digits):
    tiny = run(digits)
    assert isinstance(tiny, al.SyntheticSet)
    assert tiny.images.shape == (20, 1, 8, 8)
    assert tiny.labels.tolist() == [k for k in range(10) for _ in range(2)]
    assert tiny.class_names == digits.class_names
    assert (tiny.mean, tiny.std) == digits.mean_std()
    assert len(tiny.history["loss"]) == len(tiny.history["seconds"]) == 5
    assert tiny.how["fingerprint"] == digits.fingerprint
    assert tiny.how["cost"]["images"] == {"real": 480, "synthetic": 100, "training": 0}
    assert not torch.equal(tiny.images, starting_images(digits, 2).flatten(0, 1))
    assert_same(tiny, run(digits))
    assert not torch.equal(tiny.images, run(digits, seed=1).images)


@pytest.mark.parametrize("init", ["real", "k-means", "noise"])
def test_starts(digits, init):
    images = starting_images(digits, 3, init, seed=4)
    assert images.shape == (10, 3, 1, 8, 8)
    assert torch.equal(images, starting_images(digits, 3, init, seed=4))
    ours = digits.images[digits.labels == 7].float() / 255
    if init == "real":
        assert all((ours == image).flatten(1).all(1).any() for image in images[7])
        assert not torch.equal(images, starting_images(digits, 3, init, seed=5))
    if init == "k-means":
        torch.testing.assert_close(starting_images(digits, 1, init)[7, 0], ours.mean(0))
        distances = torch.cdist(ours.flatten(1), images[7].flatten(1))
        nearest = distances.argmin(1)
        for centre in range(3):
            torch.testing.assert_close(
                ours[nearest == centre].mean(0), images[7, centre], atol=0.02, rtol=0
            )  # Lloyd stops within its tolerance
    if init == "noise":
        many = starting_images(digits, 40, init)
        assert abs(float(many.mean()) - digits.mean_std()[0][0]) < 0.02
        assert abs(float(many.std()) - digits.mean_std()[1][0]) < 0.02
    assert torch.isfinite(run(digits, init=init, steps=2).images).all()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("schedule", ["pooled", "paper"])
def test_a_stopped_run_goes_on_as_if_nothing_had_been(digits, tmp_path, method, schedule):
    options = {"schedule": schedule, "checkpoint": tmp_path / "state"}
    whole = run(digits, method, schedule=schedule)
    steps = []
    with pytest.raises(Stopped, match="after step 2 of 5") as caught:
        run(digits, method, **options, hooks=Hooks(progress=steps.append, stop=lambda: len(steps) == 2))
    half = caught.value.synthetic
    assert half.how["steps"] == 2
    if schedule == "paper":  # a pool is no larger than the steps
        assert torch.equal(half.images, run(digits, method, schedule=schedule, steps=2).images)
    again = run(digits, method, **options, resume=True)
    assert_same(again, whole)
    images = again.how["cost"]["images"]
    assert images["synthetic"] == whole.how["cost"]["images"]["synthetic"]
    assert images["real"] >= whole.how["cost"]["images"]["real"]  # a pool's targets are computed again
    assert again.how["cost"]["seconds"]["synthetic"] > half.how["cost"]["seconds"]["synthetic"]
    assert_same(run(digits, method, **options, resume=True), whole)  # finished before


def test_ctrl_c_leaves_the_last_whole_step(digits, tmp_path):
    def interrupt(step):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(Stopped, match="after step 3 of 5") as caught:
        run(digits, checkpoint=tmp_path / "state", hooks=Hooks(progress=interrupt))
    assert len(caught.value.synthetic.history["loss"]) == 3
    assert_same(run(digits, checkpoint=tmp_path / "state", resume=True), run(digits))


def test_an_interrupt_in_the_middle_of_a_step_loses_that_step_only(digits, tmp_path, monkeypatch):
    original, calls = condensing_module.Engine.pull, []

    def pull(self, *arguments):
        calls.append(0)
        if len(calls) == 2 * 10 + 2 + 5:  # two calls for the plan, two steps, half a step
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(condensing_module.Engine, "pull", pull)
    with pytest.raises(Stopped, match="after step 2 of 5"):
        run(digits, checkpoint=tmp_path / "state")
    monkeypatch.undo()
    assert_same(run(digits, checkpoint=tmp_path / "state", resume=True), run(digits))


KILLED = """
import os, signal, sys, torch
torch.set_num_threads(1)
import auglean as al
from auglean.condensation import condensing, DM, Hooks
condensing._CHECKPOINT_SECONDS = 0.0
def kill(step):
    if step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
data = al.load("digits", split="train").subset(torch.arange(300))
al.condense(data, method=DM(pool=3, real_batch=16), per_class=2, steps=5, network="convnet-w8-d2",
            checkpoint=sys.argv[1], hooks=Hooks(progress=kill))
"""


def test_a_killed_run_goes_on(digits, tmp_path):
    state = tmp_path / "state"
    assert subprocess.run([sys.executable, "-c", KILLED, str(state)], check=False).returncode == -9
    resumed = []
    assert_same(run(digits, checkpoint=state, resume=True, hooks=Hooks(progress=resumed.append)), run(digits))
    assert resumed == [4, 5]  # the kill came after step 4, before its state was written


def test_resuming_refuses_other_runs(digits, tmp_path):
    state = tmp_path / "state"
    run(digits, checkpoint=state, steps=2)
    for changes, said in [
        ({"seed": 1}, "with seed 0, not 1"),
        ({"per_class": 3}, "per_class"),
        ({"steps": 3}, "steps"),
    ]:
        with pytest.raises(InputError, match=said):
            run(digits, checkpoint=state, resume=True, **{"steps": 2, **changes})
    with pytest.raises(InputError, match="with options"):
        run(digits, DM(pool=3, real_batch=8), checkpoint=state, resume=True, steps=2)
    with pytest.raises(InputError, match="with fingerprint"):
        run(digits.subset(range(299)), checkpoint=state, resume=True, steps=2)
    state.write_bytes(b"\x00" * 40)
    with pytest.raises(InputError, match="no state of condensation"):
        run(digits, checkpoint=state, resume=True, steps=2)
    assert_same(run(digits, checkpoint=tmp_path / "none", resume=True, steps=2), run(digits, steps=2))


def test_snapshots_and_plan(digits):
    seen, plans = [], []
    tiny = run(digits, hooks=Hooks(snapshot=seen.append, at=frozenset([1, 5]), plan=plans.append))
    assert [len(one.history["loss"]) for one in seen] == [1, 5]
    assert_same(seen[-1], tiny)
    (plan,) = plans
    assert isinstance(plan, Plan)
    assert (plan.real_images, plan.synthetic_images, plan.training_images) == (480, 100, 0)
    weights = sum(p.nbytes for p in al.networks.create(NETWORK, channels=1, classes=10, size=(8, 8)).parameters())
    assert plan.pool_bytes == 3 * (weights + 10 * 32 * 4)
    assert plan.working_bytes > 2 * 8 * 8 * 8 * 4  # what the first block keeps
    assert 0 < plan.seconds < 60
    method = DSA(outer=3, inner=4)
    run(digits, method, schedule="paper", steps=1, hooks=Hooks(plan=plans.append))
    assert plans[-1].training_images == 2 * 4 * 20
    assert plans[-1].real_images == 3 * sum(min(256, n) for n in digits.counts.tolist())
    assert plans[-1].pool_bytes == 0


def test_a_pool_that_does_not_fit_is_refused(digits, monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    with pytest.raises(InputError, match="give a pool of 1"):
        run(digits)


# ---- precision and devices


def test_bfloat16_says_how_close_it_is(digits):
    tiny = run(digits, precision="bfloat16")
    assert tiny.how["precision"] == "bfloat16"
    assert 0.99 < tiny.how["cosine"] < 1
    assert "cosine" not in run(digits).how
    assert run(digits).how["precision"] == "float32"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("schedule", ["pooled", "paper"])
def test_gpu_equals_cpu(digits, method, schedule):
    options = {"schedule": schedule, "steps": 3}
    here, there = run(digits, method, **options), run(digits, method, device="cuda", precision="float32", **options)
    moved = (here.images - starting_images(digits, 2).flatten(0, 1)).norm()
    assert there.images.device.type == "cpu"
    assert (there.images - here.images).norm() < 0.05 * moved
    mixed = run(digits, method, device="cuda", **options)
    assert mixed.how["precision"] == "bfloat16"
    assert mixed.how["cosine"] > 0.99


# ---- data of every kind


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "counts"), [((8, 8), [30, 7, 3]), ((28, 28), [2, 9]), ((12, 17), [5] + [2] * 11)], ids=str
)
def test_any_shape_and_unequal_classes(channels, size, counts):
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (sum(counts), channels, *size), dtype=torch.uint8, generator=g)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    data = al.ImageSet(images, labels)
    for method in METHODS:
        tiny = run(data, method, steps=2)
        assert tiny.images.shape == (2 * len(counts), channels, *size)
        assert tiny.labels.tolist() == [k for k in range(len(counts)) for _ in range(2)]
        assert torch.isfinite(tiny.images).all()
        assert tiny.how["cost"]["images"]["real"] == 2 * sum(min(16, count) for count in counts)
        start = starting_images(data, 2).flatten(0, 1)
        assert ((tiny.images - start).flatten(1).norm(dim=1) > 0).all()  # the images of each class are moved


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"per_class": 0}, "per_class is 0"),
        ({"per_class": 100}, "per_class is 100 but class"),
        ({"steps": 0}, "steps is 0"),
        ({"method": "dsb"}, "did you mean 'dsa'"),
        ({"init": "reel"}, "did you mean 'real'"),
        ({"schedule": "pool"}, "did you mean 'pooled'"),
        ({"precision": "half"}, "precision"),
        ({"network": "convnet-d4"}, "depth"),
        ({"network": lambda seed: nn.Sequential(nn.Flatten(), nn.Linear(64, 7))}, "7 outputs"),
        ({"network": lambda seed: nn.Sequential(nn.Flatten(), nn.Linear(70, 10))}, "cannot take images"),
        ({"micro_batch": 0}, "micro_batch"),
        ({"device": "cuda:7"}, "device"),
        ({"method": DM(lr=1e30)}, "lower the learning rate"),
    ],
)
def test_refuses(digits, options, said):
    with pytest.raises(InputError, match=said) as caught:
        run(digits, **options)
    assert "\n" not in str(caught.value)


def test_refuses_one_class_and_empty_classes(digits):
    one = al.ImageSet(digits.images, torch.zeros(300, dtype=torch.int64))
    with pytest.raises(InputError, match="1 class"):
        run(one)
    with pytest.raises(InputError, match="no images of 1 of its 11"):
        run(al.ImageSet(digits.images, digits.labels, tuple("abcdefghijk")))


@pytest.mark.parametrize("changes", [{"lr": 0.0}, {"momentum": 1.0}, {"real_batch": 0}, {"pool": 0}, {"pretrain": -1}])
def test_methods_refuse(changes):
    for method in (DC(), DSA(), DM()):
        with pytest.raises(InputError, match=f"{next(iter(changes))} of {method.name}"):
            replace(method, **changes)


def test_methods_by_name():
    assert as_method("DM") == as_method(None) == DM()
    assert as_method("dc") == DC()
    assert DC().augment is None
    assert DSA().augment == DM().augment == "siamese"
    with pytest.raises(AttributeError):
        DM().lr = 2.0


def test_the_default_strategy_goes_by_the_channels(digits):
    grey, colour = DSA().policy(digits), DSA().policy(al.ImageSet(digits.images.expand(-1, 3, -1, -1), digits.labels))
    assert grey.strategy == "color_crop_cutout_scale_rotate"
    assert colour.strategy == "color_crop_cutout_flip_scale_rotate"
    assert DSA(augment="flip_crop").policy(digits).strategy == "flip_crop"
    assert DSA(augment="rotate15-flip").policy(digits).name == "rotate15-flip"
    assert DC().policy(digits) is None


# ---- processes


def _rank(rank, ranks, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=ranks)
    data = al.load("digits", split="train").subset(torch.arange(300))
    for method in METHODS:
        for schedule in ("pooled", "paper"):
            state = f"{folder}/{method.name}-{schedule}.state"
            tiny = run(data, method, schedule=schedule, steps=4, checkpoint=state)
            tiny.save(f"{folder}/{method.name}-{schedule}-{rank}")
    steps = []
    try:  # one of them is asked to stop
        run(data, hooks=Hooks(progress=steps.append, stop=lambda: rank == 1 and len(steps) == 2))
    except Stopped as stopped:
        stopped.synthetic.save(f"{folder}/stopped-{rank}")
    distributed.destroy_process_group()


def test_two_processes_give_what_one_gives(digits, tmp_path):
    torch.multiprocessing.spawn(_rank, args=(2, str(tmp_path)), nprocs=2)
    for method in METHODS:
        for schedule in ("pooled", "paper"):
            one = run(digits, method, schedule=schedule, steps=4)
            for rank in range(2):
                other = al.SyntheticSet.load(tmp_path / f"{method.name}-{schedule}-{rank}")
                torch.testing.assert_close(other.images, one.images, rtol=0, atol=1e-5)
                assert other.how["cost"]["images"] == one.how["cost"]["images"]  # those of both
            state = tmp_path / f"{method.name}-{schedule}.state"
            again = run(digits, method, schedule=schedule, steps=4, checkpoint=state, resume=True)
            torch.testing.assert_close(again.images, one.images, rtol=0, atol=1e-5)
    assert [al.SyntheticSet.load(tmp_path / f"stopped-{rank}").how["steps"] for rank in range(2)] == [2, 2]


# ---- end to end


@pytest.fixture(scope="module")
def judge():
    """Train ConvNet-32-2 as published, with augmentation, but for half of the epochs, and test it."""
    data, test = al.load("digits", split="train"), al.load("digits", split="test")

    def accuracy(images, repeats=2):
        found = []
        for seed in range(repeats):
            network = new_network("convnet-w32-d2", data, seed)
            learn(network, images, steps=150, policy=DSA().policy(data), seed=seed)
            found.append(float(correct(network, test).float().mean()))
        return sum(found) / repeats

    return data, accuracy


def random_accuracy(judge, per_class, sets):
    data, accuracy = judge
    return sum(accuracy(baseline("random", data, per_class, seed=seed), 1) for seed in range(sets)) / sets


@pytest.fixture(scope="module")
def random_one(judge):
    return random_accuracy(judge, 1, 4)


@pytest.mark.parametrize(("method", "least"), [(DM(lr=0.3, pool=50), 0.88), (DSA(), 0.0)], ids=["DM", "DSA"])
def test_digits_one_image_per_class(judge, random_one, method, least):
    data, accuracy = judge
    tiny = al.condense(data, per_class=1, steps=50, network="convnet-w32-d2", method=method)
    assert accuracy(tiny, 1 if method.name == "DSA" else 2) >= max(least, random_one + 0.12)


def test_digits_mean_images_are_ahead_of_random_ones_too(judge, random_one):
    data, accuracy = judge
    assert accuracy(baseline("k-means", data, 1), 1) >= random_one + 0.12  # beside the methods, what costs nothing


def test_digits_ten_images_per_class(judge):
    data, accuracy = judge
    tiny = al.condense(data, per_class=10, method=DM(lr=0.3, pool=50), steps=50, network="convnet-w32-d2")
    assert accuracy(tiny, 1) >= random_accuracy(judge, 10, 2)
