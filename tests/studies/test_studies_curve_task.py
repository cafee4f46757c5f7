"""The task of a budget curve: classes numbered by their order, parts without a common image, exact noise."""

from dataclasses import replace

import pytest
import torch

import auglean as al
from auglean.data import Splits
from auglean.errors import InputError
from auglean.policies.copies import PAPER, Copies, crop_copies
from auglean.studies.curve_task import class_names, make_task, only

OPTIONS = {"classes": ["b", "a"], "transform": "translate", "train": 20, "validation": 9, "noise": 0.0, "seed": 0}


def numbered(n, start=0, classes=3):
    """Give images that tell which they are."""
    ids = torch.arange(start, start + n)
    images = torch.zeros(n, 1, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = (ids % 256).to(torch.uint8), (ids // 256).to(torch.uint8)
    return al.ImageSet(images, ids % classes, tuple("abcdef"[:classes]))


def number_of(data):
    return (data.images[:, 0, 0, 0].long() + 256 * data.images[:, 0, 0, 1].long()).tolist()


def sets():
    return Splits(numbered(90), numbered(60, 90), numbered(30, 150))


def test_classes_are_numbered_in_the_order_given_and_do_not_collapse():
    made = make_task(sets(), **OPTIONS)
    for data in (made.train, made.validation, made.test):
        assert data.class_names == ("b", "a")
        truth = [{0: 1, 1: 0}[number % 3] for number in number_of(data)]
        assert data.labels.tolist() == truth
        assert set(truth) == {0, 1}


def test_parts_share_no_image_and_the_rest_has_all_classes():
    made = make_task(sets(), **OPTIONS)
    parts = [set(number_of(data)) for data in (made.train, made.validation, made.test, made.rest)]
    assert [len(part) for part in parts] == [20, 9, 20, 70]
    assert sum(len(part) for part in parts) == len(set.union(*parts))
    assert parts[0] | parts[3] == set(range(90))
    assert set(made.rest.labels.tolist()) == {0, 1, 2}
    assert made.train.counts.tolist() == [10, 10]


def test_the_seed_draws_the_task():
    first, again, other = (make_task(sets(), **{**OPTIONS, "seed": seed}) for seed in (1, 1, 2))
    assert number_of(first.train) == number_of(again.train) != number_of(other.train)
    whole = make_task(sets(), **{**OPTIONS, "classes": None, "train": None, "validation": 500})
    assert (len(whole.train), whole.train.classes, len(whole.validation)) == (45, 3, 60)
    assert make_task(sets(), **{**OPTIONS, "train": 60}).rest is not None


def test_noise_changes_exactly_so_many_training_labels_and_no_others():
    clean, noisy = (make_task(sets(), **{**OPTIONS, "noise": noise}) for noise in (0.0, 0.3))
    assert int(noisy.wrong.sum()) == 6
    assert torch.equal(noisy.train.labels != clean.train.labels, noisy.wrong)
    assert torch.equal(noisy.test.labels, clean.test.labels)
    assert torch.equal(noisy.rest.labels, clean.rest.labels)


def test_pixels_are_originals_then_copies():
    made = make_task(sets(), **OPTIONS)
    pixels = made.pixels(made.test)
    assert pixels.shape == (5, 20, 1, 8, 8)
    assert torch.equal(pixels[0], made.test.images)
    assert torch.equal(pixels[1:], made.copies.apply(made.test.images))


def test_the_pair_of_the_paper_is_taken_where_the_data_have_it():
    digits = al.load("digits")
    assert class_names(digits, None) == ["3", "8"]
    assert class_names(digits, [8, "1"]) == ["8", "1"]
    assert class_names(numbered(9), [2, "a"]) == ["c", "a"]
    assert class_names(replace(numbered(9), class_names=("cat", "airplane", "automobile")), None) == [
        "airplane",
        "automobile",
    ]
    made = make_task(
        Splits(digits, al.load("digits", split="validation"), al.load("digits", split="test")),
        **{**OPTIONS, "classes": None, "transform": "mnist-rotate"},
    )
    assert made.copies == PAPER["mnist-rotate"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"classes": ["a", "z"]}, "Unknown class 'z'"),
        ({"classes": ["a"]}, "two or more different"),
        ({"classes": ["a", "a"]}, "two or more different"),
        ({"train": 61}, "61 training images of 60 of its 2 classes; give a number from 4 to 60"),
        ({"train": 3}, "give a number from 4 to 60"),
        ({"noise": 1.5}, "share of wrong labels is 1.5"),
        ({"transform": "spin"}, "Unknown transform 'spin'"),
        ({"transform": crop_copies(4)}, "leaves nothing of 8×8"),
    ],
)
def test_bad_input_is_told_in_a_sentence(options, told):
    with pytest.raises(InputError, match=told):
        make_task(sets(), **{**OPTIONS, **options})


def test_a_part_without_a_class_is_refused():
    data = numbered(9)
    with pytest.raises(InputError, match="no image of the class 'b' in one of its parts"):
        only(data.subset(data.labels != 1), ["a", "b"])
    assert make_task(sets(), **{**OPTIONS, "transform": Copies("rotate", (5.0,))}).copies.m == 1
