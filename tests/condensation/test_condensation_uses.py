"""What condensed images are used for: memories of continual learning, and the ranking of architectures."""

import pytest
import torch
from scipy.stats import spearmanr

import auglean as al
from auglean import networks
from auglean.condensation import DM, baseline, continual, rank_architectures, search_space
from auglean.condensation.architectures import rank_correlation
from auglean.condensation.incremental import _joined, only
from auglean.errors import InputError

FAST = {"network": "convnet-w4-d1", "steps": 4, "epochs": 30, "per_class": 2}


@pytest.fixture(scope="module")
def digits():
    return al.load("digits"), al.load("digits", split="test")


def test_memories_grow_class_by_class(digits):
    methods = ["random", "class-mean", DM(pool=2, real_batch=8)]
    found = continual(*digits, memories=methods, stages=3, orders=2, **FAST)
    rows = [row for row in found.rows if row["memory"] == "dm"]
    assert [(row["classes"], row["images"]) for row in rows] == [(4, 8), (7, 14), (10, 20)]
    assert all(len(row["accuracy"]["values"]) == 2 for row in found.rows)
    assert rows[-1]["seconds"] > rows[0]["seconds"] > 0
    means = found.accuracies("class-mean")
    assert means[-1] > 0.4 > 1 / 10
    assert means[0] > means[-1]
    again = continual(*digits, memories=["random"], stages=3, orders=2, **FAST)
    assert again.accuracies("random") == found.accuracies("random")
    assert "dm" in repr(found)


def test_only_numbers_classes_anew(digits):
    train, _ = digits
    part = only(train, torch.tensor([7, 3]))
    assert part.class_names == ("7", "3")
    assert torch.equal(part.images[part.labels == 1], train.images[train.labels == 3])


def test_joined_memory_keeps_images_with_their_class(digits):
    train, _ = digits
    stages = [baseline("class-mean", only(train, torch.tensor(classes)), 1) for classes in ([7, 3], [1, 0])]
    seen = only(train, torch.tensor([7, 3, 1, 0]))
    memory = _joined(stages, seen)
    for k in range(4):
        assert torch.allclose(
            memory.images[memory.labels == k][0], seen.images[seen.labels == k].double().div(255).mean(0).float()
        )
    assert memory.mean == stages[0].mean


def test_continual_refuses(digits):
    for options, said in [
        ({"stages": 6}, "2 classes or more to a stage"),
        ({"orders": 0}, "0 orders"),
        ({"memories": ["randon"]}, "did you mean"),
        ({"per_class": 1000}, "per_class is 1000"),
        ({"steps": 0}, "steps is 0"),
    ]:
        with pytest.raises(InputError, match=said):
            continual(*digits, **{**FAST, "memories": ["random"], **options})


def test_search_space_is_that_of_the_paper():
    space = search_space()
    assert len(space) == len(set(space)) == 4 * 4 * 5 * 3 * 3
    for name in search_space((8, 8))[::37]:
        networks.create(name, channels=1, classes=3, size=(8, 8))


def test_rank_correlation_is_spearmans():
    g = torch.Generator().manual_seed(0)
    for _ in range(5):
        one, other = torch.randint(0, 5, (2, 12), generator=g).tolist()
        assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert rank_correlation([1, 1], [1, 2]) is None
    assert rank_correlation([1], [2]) is None


def test_ranking_chooses_by_the_proxy_and_judges_by_the_whole(digits):
    train, test = digits
    names = ["mlp", "convnet-w4-d1", "convnet-w4-d2", "convnet-w4-d1-batch"]
    tiny = baseline("k-means", train, 2)
    found = rank_architectures(tiny, train, test, candidates=names, epochs=20, whole_steps=30)
    assert [row["proxy"] for row in found.rows] == ["random", "k-means", "early-stopping", "whole"]
    for row in found.rows:
        own = found.accuracies[row["proxy"]]
        assert own[names.index(row["chosen"])] == max(own)
        assert row["accuracy"] == found.accuracies["whole"][names.index(row["chosen"])]
        assert row["seconds"] > 0
    assert found.rows[-1]["correlation"] == 1.0
    assert found.rows[-1]["accuracy"] == max(found.accuracies["whole"])
    assert "early-stopping" in repr(found)


def test_ranking_refuses(digits):
    tiny = baseline("class-mean", digits[0], 1)
    for options, said in [
        ({"candidates": 1}, "1 candidates"),
        ({"candidates": ["mlp", "convnet-d9"], "epochs": 1, "whole_steps": 1}, "use a depth"),
        ({"epochs": 0}, "0 epochs"),
        ({"whole_steps": 0}, "steps is 0"),
    ]:
        with pytest.raises(InputError, match=said):
            rank_architectures(tiny, *digits, **options)
