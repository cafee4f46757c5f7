"""What a policy does to a network, in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auglean.data import Splits
from auglean.policies import Policy
from auglean.spectra import Spectrum, jacobian_spectrum
from auglean.studies.comparing import resolve_policies
from auglean.studies.folder import RunFolder, check_folder, describe_data, environment, fingerprint
from auglean.training import load_network


def quantify_spectrum(
    sets: Splits,
    model: str | Path,
    *,
    out: str | Path,
    policy: Policy | str | None = None,
    weak: Policy | str | None = None,
    seed: int = 0,
    device: str | None = None,
    origin: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[dict[str, Any], Spectrum]:
    """Compute the spectrum of a network's Jacobian under a policy, and keep it in a run folder.

    Args:
        sets: Training, validation and test images; the probe is drawn from the training images.
        model: The `model.safetensors` of a run.
        out: The run folder.
        policy: The augmentation; by default one that suits the images.
        weak: Light augmentation of every image, before and after alike.
        seed: Fixes the probe, the draws and the noise.
        device: Where to compute.
        origin: How the data were given, for `config.yaml`.
        options: `images`, `top`, `draws`, `method`, `output` of `auglean.jacobian_spectrum`.

    Returns:
        What `result.json` holds, and the spectrum.

    Raises:
        InputError: If an option, the network or the data are not usable; nothing is written then.
    """
    check_folder(out, resume=None)
    strong, gentle = resolve_policies(policy, weak, sets.train)
    network = load_network(model)
    spectrum = jacobian_spectrum(network, sets.train, strong, weak=gentle, seed=seed, device=device, **options)
    config = {
        "model": str(model),
        **(origin or {"data": None}),
        "policy": strong.name,
        "weak": gentle.name,
        "spectrum": True,
        **options,
        "seed": seed,
        "device": device,
    }
    result = {
        "command": "quantify",
        "version": environment()["auglean"],
        "config": config,
        "environment": environment(device or "cpu"),
        "data": describe_data(sets),
        "spectrum": spectrum.to_dict(),
    }
    RunFolder(out, config, fingerprint=fingerprint(sets)).write_result(result)
    return result, spectrum
