"""Write the tables of the README from the result files, or check that they are those.

    python benchmarks/tables.py [--check]

The results come from `auglean compare` with the `config.yaml` beside each `result.json`:

    auglean compare --config benchmarks/results/compare-cifar10/config.yaml --out NEW
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from auglean.reports import markdown_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def section(name: str) -> str:
    folder = RESULTS / f"compare-{name}"
    result = json.loads((folder / "result.json").read_text())
    data, config, machine = result["data"], result["config"], result["environment"]
    return "\n".join(
        [
            f"**{name}**: {data['train']:,} training, {data['validation']:,} validation, {data['test']:,} test images; "
            f"`{config['policy']}` over `{config['weak']}`; `{config['network']}`; {config['steps']} steps of "
            f"{config['recipe']['batch_size']} images; {config['seeds']} seeds; {machine['processor']}, "
            f"{machine['cores']} cores, torch {machine['torch']}. Repeat: "
            f"`auglean compare --config {folder.relative_to(ROOT)}/config.yaml`.",
            "",
            markdown_table(result).strip(),
            "",
            result["answer"]["sentence"],
        ]
    )


def filled(text: str) -> str:
    def fill(match: re.Match[str]) -> str:
        return f"<!-- begin {match[1]} -->\n{section(match[1])}\n<!-- end {match[1]} -->"

    return re.sub(r"<!-- begin (\w+) -->.*?<!-- end \1 -->", fill, text, flags=re.DOTALL)


def main() -> int:
    readme = ROOT / "README.md"
    text = readme.read_text()
    fresh = filled(text)
    if "--check" in sys.argv:
        return 0 if fresh == text else 1
    readme.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
