"""`import auglean` brings in torch, and nothing else that is heavy or optional."""

import json
import subprocess
import sys

# what torch and numpy bring is theirs; modules that are compiled or part of Python cost nothing worth a test
LOOK = """
import json, sys
import numpy, torch
before = set(sys.modules)
state = torch.get_rng_state().tolist(), torch.get_num_threads(), torch.is_grad_enabled()
import auglean
after = torch.get_rng_state().tolist(), torch.get_num_threads(), torch.is_grad_enabled()
missing = [name for name in auglean.__all__ if not hasattr(auglean, name)]
print(json.dumps({"loaded": sorted(sys.modules), "new": sorted(set(sys.modules) - before),
                  "untouched": state == after, "missing": missing}))
"""
HEAVY = {
    "torchvision", "datasets", "matplotlib", "kornia", "timm", "sklearn", "scipy", "jsonargparse", "PIL",
    "pandas", "pyarrow", "rich", "jinja2", "torch._dynamo", "torch._inductor",
}  # fmt: skip


def test_import_is_light():
    seen = json.loads(subprocess.run([sys.executable, "-c", LOOK], check=True, capture_output=True, text=True).stdout)
    names = {".".join(name.split(".")[:depth]) for name in seen["new"] for depth in (1, 2)}
    assert "auglean" in names
    assert not names & HEAVY
    others = {name.split(".")[0] for name in seen["new"]} - set(sys.stdlib_module_names) - {"auglean"}
    assert others <= {"torch", "numpy", "safetensors"}
    assert not {name.split(".")[0] for name in seen["loaded"]} & (HEAVY - {"sklearn", "scipy"})
    assert seen["untouched"]
    assert seen["missing"] == []
