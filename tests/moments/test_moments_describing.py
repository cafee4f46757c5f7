"""What a policy says of itself: every operator, the class that its moments really have, and reasons."""

import torch
from moment_case import images

import auglean as al
from auglean.policies import (
    Affine,
    ChannelPermutation,
    ClampedErasing,
    ColorJitter,
    Flip,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    Identity,
    Posterize,
    RandomErasing,
    RandomResizedCrop,
    Shift,
    SolarizeAbove,
    mixture,
    parse,
)

WORDS = ["crop4", "cutout8", "translate4", "rotate15", "scale0.2", "shear10", "flip0.3"]


def test_every_operator_has_its_laws():
    found = parse("-".join(WORDS)).describe(images(1, 8, 8), most=64)
    assert [row.op for row in found.rows] == ["RandomCrop", "Cutout", "Translate", "Rotate", "Scale", "Shear", "Flip"]
    assert [row.law for row in found.rows] == [
        "right: -4 to 4 px, equally likely; down: -4 to 4 px, equally likely",
        "centre: each pixel, equally likely; side: 8 px",
        "shift: U[-4, 4] px each way",
        "angle: U[-15, 15]°",
        "factor: U[0.8, 1.2]",
        "angle: U[-10, 10]°",
        "flip: with probability 0.3",
    ]


def test_classes_are_those_of_the_moments():
    x = images(3, 8, 8)
    for word in [*WORDS, "brightness0.4", "solarize0.5", "rand-m9-n1"]:
        policy = parse(word)
        (row,) = policy.describe(x, most=600).rows
        found = policy.moments(x, most=600)
        assert (row.kind, row.nodes) == (found.kind, found.nodes)
        assert row.reason == found.note
        assert ("closed-form" in row.reason) == (not found.kind.startswith(("exact", "quad")))
    chain = parse("crop1-flip")
    assert chain.describe(x).whole.nodes == chain.moments(x).nodes


def test_how_pixels_are_sampled():
    policy = Affine(degrees=(0, 30), shares=(0.1, 0), whole=True, fill=(0.1, 0.25), padding="masked")
    row = policy.describe(images(2, 20, 20)).rows[0]
    assert (row.interpolation, row.padding, row.fill) == ("bilinear", "masked", "(0.1, 0.25)")
    assert row.law == "angle: U[0, 30]°; right: round U[-2, 2] px"
    border = al.policies.RandomCrop(1, outside="border").describe(images(1, 4, 4)).rows[0]
    assert (border.padding, border.fill) == ("border", "")
    box = RandomErasing(0.3, fill="noise").describe(images(1, 4, 4), most=16).rows[0]
    assert box.fill == "noise"
    assert "area: U[0.02, 0.33]; ratio: exp U[log 0.3, log 3.3]" in box.law


def test_branches_and_reasons():
    policy = mixture([Flip(), al.as_policy(lambda image: image**2), Identity()], [2, 1, 1])
    found = policy.describe(images(1, 4, 4), most=8)
    assert [row.op for row in found.rows] == ["50 %: Flip", "25 %: function", "25 %: Identity"]
    assert "not linear" in found.rows[1].reason
    shown = repr(found)
    assert "! as_policy(<lambda>) is not linear" in shown
    assert shown.splitlines()[0] == "Moments for images of 1×4×4"
    assert found.to_dict()["rows"][0]["kind"] == "exact finite"


def test_the_size_that_a_policy_asks_for():
    policy = Flip() | RandomResizedCrop(size=(6, 9))
    assert policy.describe().size == (3, 6, 9)
    assert Shift(0.5, 0).describe().size == (3, 32, 32)


def test_a_part_that_refuses_the_image():
    (row,) = RandomResizedCrop(size=(6, 9)).describe(images(1, 4, 4)).rows
    assert row.kind == ""
    assert "expected images of 6×9 but found 4×4" in row.reason


def test_a_pipeline_of_torchvision(v2):
    transform = v2.Compose(
        [
            v2.RandomCrop(12, padding=1),
            v2.RandomRotation(9),
            v2.ElasticTransform(sigma=1),
            v2.ToDtype(torch.float32, True),
        ]
    )
    found = al.from_torchvision(transform).describe(most=800)
    assert found.size == (3, 12, 12)
    assert [row.kind for row in found.rows[:2]] == ["exact finite", "exact panels"]
    assert found.rows[1].interpolation == "nearest"
    assert "ElasticTransform moves every pixel" in found.rows[2].reason
    assert "whole levels" in found.whole.reason


def test_laws_of_colours():
    found = {
        ColorJitter(0.4, hue=0.1): "Brightness factor: U[0.6, 1.4]; Hue hue: U[-0.1, 0.1]; order: any, equally likely",
        GaussianBlur(3, (0.1, 2.0)): "sigma: U[0.1, 2] px; kernel: 3×3 px",
        GaussianNoise(0.1): "noise: N(0, 0.1²) each value",
        Gamma((0.5, 2.0), gain=(0.8, 1.0)): "gamma: U[0.5, 2]; gain: U[0.8, 1]",
        SolarizeAbove(0.5, addition=(-0.1, 0.1)): "threshold: 0.5; addition: U[-0.1, 0.1]",
        Posterize(4): "bits: 4 to 8, equally likely",
        ChannelPermutation(): "order: any, equally likely",
    }
    erasing = "erase: with probability 0.3; area: U[0.02, 0.33]; ratio: U[0.3, 1] or U[1, 3.3], sides cut off"
    for policy, law in [*found.items(), (ClampedErasing(0.3), erasing)]:
        assert policy.describe(images(3, 6, 6), most=200).rows[0].law == law
