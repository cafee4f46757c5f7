"""Networks by name: shapes, initial weights, counts of parameters, refusals."""

import builtins
import sys
import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from auglean import networks
from auglean.errors import InputError
from auglean.networks import Normalize

SMALL = [name for name in networks.names() if name != "wrn-28-10"]
FAMILIES = ["convnet-w8-d2", "convnet-w8-d1-batch", "convnet-w8-group", "convnet-d2-none", "wrn-10-1"]
FAMILIES += ["convnet-w4-layer-sigmoid-max", "convnet-w4-d2-layer-nopool", "convnet-w4-leaky", "convnet-swish-avg"]


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 28, 32])
@pytest.mark.parametrize("name", SMALL + FAMILIES)
def test_every_network_gives_logits_and_gradients(name, side, channels):
    model = networks.create(name, channels=channels, classes=7, size=(side, side))
    logits = model(torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (2, 7)
    F.cross_entropy(logits, torch.tensor([0, 6])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert isinstance(model.classifier, nn.Linear)
    networks.check(model, channels=channels, classes=7, size=(side, side))


@pytest.mark.parametrize("name", [*SMALL, "wrn-10-1"])
@pytest.mark.parametrize("size", [(96, 96), (9, 13), (31, 8), (33, 57)])
def test_odd_large_and_oblong_images_pass(name, size):
    model = networks.create(name, channels=1, classes=3, size=size).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 1, *size)).shape == (1, 3)


@pytest.mark.parametrize("name", [*SMALL, "wrn-10-1"])
def test_the_seed_alone_fixes_the_weights(name):
    def weights(seed):
        return networks.create(name, channels=1, classes=3, size=(8, 8), seed=seed).state_dict()

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = weights(5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second, other = weights(5), weights(6)
    assert all(torch.equal(first[key], second[key]) for key in first)
    different = [key for key in first if not torch.equal(first[key], other[key])]
    assert {key for key in first if "conv" in key or key.startswith("classifier")} <= set(different)


@pytest.mark.parametrize(
    ("name", "channels", "side", "parameters"),
    [
        ("resnet20", 3, 32, 269_722),  # 0.27 M, 0.46 M and 0.85 M in table 6 of He et al. 2016
        ("resnet32", 3, 32, 464_154),
        ("resnet56", 3, 32, 853_018),
        ("resnet18", 3, 32, 11_173_962),  # with 1×1 convolutions on three shortcuts
        ("convnet", 3, 32, 320_010),  # Zhao & Bilen 2021
        ("convnet", 1, 28, 317_706),
        ("lenet", 1, 32, 61_706),  # LeCun et al. 1998, fully connected tables
        ("lenet", 1, 28, 61_706),
        ("mlp", 1, 28, 784 * 128 + 128 + 128 * 128 + 128 + 1290),
    ],
)
def test_parameters_are_as_many_as_published(name, channels, side, parameters):
    assert count(networks.create(name, channels=channels, classes=10, size=(side, side))) == parameters


def test_wide_resnet_28_10_has_36_and_a_half_million_parameters():
    model = networks.create("wrn-28-10", channels=3, classes=10, size=(32, 32))
    assert count(model) == 36_479_194
    assert {m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == 25  # and three 1×1 on the shortcuts make 28


def test_residual_convolutions_start_from_he_normal():
    model = networks.create("resnet56", channels=3, classes=10, size=(32, 32))
    for conv in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        fan_in = conv.in_channels * 9
        expected, draws = (2 / fan_in) ** 0.5, conv.weight.numel()
        assert abs(conv.weight.std().item() / expected - 1) < 5 / (2 * draws) ** 0.5  # five standard errors
        assert conv.bias is None


def test_shortcut_subsamples_and_pads_with_zeros():
    model = networks.create("resnet20", channels=3, classes=10, size=(32, 32))
    block = next(m for m in model.features if getattr(m, "missing", 0))
    for part in (block.norm2.weight, block.norm2.bias):
        nn.init.zeros_(part)  # silences the convolutions, so that only the shortcut speaks
    x = torch.rand(1, 16, 5, 5)
    y = block(x)
    assert y.shape == (1, 32, 3, 3)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


def test_wide_block_shortens_after_the_first_activation():
    model = networks.create("wrn-10-2", channels=3, classes=10, size=(32, 32)).double().eval()
    first, second = model.features[1], model.features[2]
    assert [block.conv1.stride for block in (first, second)] == [(1, 1), (2, 2)]
    g = torch.Generator().manual_seed(0)
    for norm in (second.norm1, second.norm2):
        for part in (norm.weight, norm.bias):
            nn.init.normal_(part, generator=g)
    x = torch.randn(2, 32, 6, 6, dtype=torch.float64, generator=g)

    def active(y, norm):  # running statistics are still 0 and 1
        scale, shift = norm.weight.view(-1, 1, 1), norm.bias.view(-1, 1, 1)
        return (y / (1 + norm.eps) ** 0.5 * scale + shift).clamp(min=0)

    a = active(x, second.norm1)
    y = F.conv2d(active(F.conv2d(a, second.conv1.weight, stride=2, padding=1), second.norm2),
                 second.conv2.weight, padding=1) + F.conv2d(a, second.shortcut.weight, stride=2)  # fmt: skip
    assert torch.allclose(second(x), y)


def test_instance_norm_is_a_group_per_channel():
    model = networks.create("convnet-w8-d2-instance", channels=1, classes=3, size=(8, 8))
    norms = [m for m in model.modules() if isinstance(m, nn.GroupNorm)]
    assert [(m.num_groups, m.num_channels, m.affine) for m in norms] == [(8, 8, True)] * 2
    assert networks.create("convnet-w8-d2", channels=1, classes=3, size=(8, 8)).state_dict().keys() == (
        model.state_dict().keys()
    )


def test_convnet_options_are_the_layers_they_name():
    model = networks.create("convnet-w8-d2-layer-leaky-max", channels=1, classes=3, size=(8, 8))
    kinds = [type(layer) for layer in model.features]
    assert kinds == [nn.Conv2d, nn.LayerNorm, nn.LeakyReLU, nn.MaxPool2d] * 2 + [nn.Flatten]
    assert [m.normalized_shape for m in model.modules() if isinstance(m, nn.LayerNorm)] == [(8, 8, 8), (8, 4, 4)]
    unpooled = networks.create("convnet-w8-d2-none-nopool", channels=1, classes=3, size=(8, 8))
    assert [type(layer) for layer in unpooled.features] == [nn.Conv2d, nn.ReLU] * 2 + [nn.Flatten]
    assert unpooled.classifier.in_features == 8 * 8 * 8


def test_resnet18_projects_where_the_shape_changes():
    model = networks.create("resnet18", channels=3, classes=10, size=(32, 32))
    shortcuts = [m.shortcut for m in model.features if hasattr(m, "shortcut")]
    assert [isinstance(m, nn.Identity) for m in shortcuts] == [True, True] + [False, True] * 3
    assert [m[0].stride for m in shortcuts if not isinstance(m, nn.Identity)] == [(2, 2)] * 3


def test_normalize_is_the_first_layer_and_not_trained():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)
    model = networks.create("cnn", channels=3, classes=2, size=(8, 8), mean=mean, std=std)
    first = next(iter(model))
    x = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    expected = torch.stack([(x[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    assert torch.allclose(first.double()(x), expected, atol=1e-7)
    assert not list(first.parameters())
    assert {"normalize.mean", "normalize.std"} <= model.state_dict().keys()


def test_default_normalisation_maps_black_and_white_to_minus_one_and_one():
    first = networks.create("mlp", channels=1, classes=2, size=(8, 8)).normalize
    assert first(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)).flatten().tolist() == [-1.0, 1.0]


def test_constant_channel_is_centred_only():
    assert Normalize([0.25], [0.0])(torch.ones(1, 1, 1, 1)).item() == 0.75


@pytest.mark.parametrize(("mean", "std"), [([0.0], [1.0, 1.0]), ([float("nan")], [1.0]), ([0.0], [-1.0])])
def test_normalize_refuses(mean, std):
    with pytest.raises(InputError, match="Normalize was given"):
        Normalize(mean, std)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("resnet21", {}, "Unknown network 'resnet21'; did you mean 'resnet32' or 'resnet20'?"),
        ("convnet-x3", {}, "Unknown network 'convnet-x3'; did you mean 'convnet'"),
        ("convnet-w8-lrn", {}, "Unknown network 'convnet-w8-lrn'"),
        ("convnet-w6-group", {}, "multiple of 4"),
        ("convnet-w0", {}, "at least"),
        ("convnet-d4", {}, "use a depth of at most 3"),
        ("wrn-27-10", {}, "use a depth of 10, 16, 22"),
        ("wrn-28-0", {}, "width of at least 1"),
        ("cnn", {"size": (7, 8)}, "images of 7×8"),
        ("cnn", {"classes": 1}, "1 classes"),
        ("cnn", {"channels": 0}, "0 channels"),
        (
            "cnn",
            {"mean": [0.5, 0.5, 0.5], "std": [1.0, 1.0, 1.0]},
            "3 numbers but the images have 1 channels",
        ),
        ("cnn", {"mean": [0.5, 0.5, 0.5]}, "3 means and 1 deviations"),
    ],
)
def test_bad_requests_get_one_sentence(name, options, sentence):
    with pytest.raises(InputError) as caught:
        networks.create(name, **{"channels": 1, "classes": 10, "size": (8, 8), **options})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_known_and_a_fresh_list():
    networks.names().clear()
    assert {"cnn", "mlp", "convnet", "lenet", "resnet18", "resnet20", "resnet32", "resnet56", "wrn-28-10"} == set(
        networks.names()
    )


# timm is not installed where these run: a module of the same face stands for it


@pytest.fixture
def timm(monkeypatch):
    def create_model(name, *, pretrained, num_classes, in_chans, **options):
        if name == "resnet18" and "img_size" in options:
            raise TypeError("unexpected keyword argument 'img_size'")
        assert not pretrained
        height, width = options.get("img_size", (8, 8))
        return nn.Sequential(nn.Flatten(), nn.Linear(in_chans * height * width, num_classes))

    module = types.ModuleType("timm")
    module.create_model = create_model
    module.list_models = lambda: ["resnet18", "vit_tiny"]
    module.is_model = lambda name: name in module.list_models()
    monkeypatch.setitem(sys.modules, "timm", module)


@pytest.mark.parametrize(("name", "size"), [("timm:resnet18", (8, 8)), ("timm:vit_tiny", (9, 10))])
def test_timm_networks_are_normalised_and_sized(timm, name, size):
    model = networks.create(name, channels=1, classes=4, size=size, mean=[0.1], std=[0.2], seed=3)
    networks.check(model, channels=1, classes=4, size=size)
    assert model.normalize.mean.item() == pytest.approx(0.1)
    again = networks.create(name, channels=1, classes=4, size=size, seed=3)
    assert torch.equal(model.model[1].weight, again.model[1].weight)


def test_unknown_timm_name_offers_near_ones(timm):
    with pytest.raises(InputError, match=r"did you mean 'resnet18'\? timm\.list_models\(\) gives"):
        networks.create("timm:resnet81", channels=1, classes=4, size=(8, 8))


@pytest.mark.parametrize("failure", [ImportError("No module named 'timm'"), RuntimeError("operator nms")])
def test_timm_that_cannot_be_imported_names_the_remedy(monkeypatch, failure):
    real = builtins.__import__

    def fail(name, *args, **kwargs):
        if name == "timm":
            raise failure
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(InputError, match=r"install auglean\[vision\]"):
        networks.create("timm:resnet18", channels=3, classes=4, size=(32, 32))
