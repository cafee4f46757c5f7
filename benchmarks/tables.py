"""Write the tables of the README and of some pages of docs from the result files, or check that they are those.

    python benchmarks/tables.py [--check]

Comparisons come from `auglean compare` with the `config.yaml` beside each `result.json`:

    auglean compare --config benchmarks/results/compare-cifar10/config.yaml --out NEW

The others are written by the benchmark of the same name.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import moment_rows
from condensation_rows import canvases as condensation_canvases
from condensation_rows import seconds as condensation_seconds
from condensation_rows import tables as condensation
from condensation_rows import uses as condensation_uses
from reproduce_rows import table as reproduce_2019

from auglean.reports import markdown_table, speedup_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (
    "README.md",
    "docs/comparing.md",
    "docs/condensation.md",
    "docs/facility-location.md",
    "docs/influence.md",
    "docs/label-noise.md",
    "docs/moments.md",
    "docs/questions.md",
    "docs/reproduce-2019.md",
    "docs/selectors/variance.md",
    "docs/weights.md",
)


def comparison(name: str) -> str:
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


def speedup() -> str:
    result = json.loads((RESULTS / "speedup.json").read_text())
    data, machine, arms = result["data"], result["machine"], result["arms"]
    parts = [
        f"{data['train']:,} training images of {data['name']}; `{result['policy']}` over `{result['weak']}`; a choice "
        f"every {result['every']} epochs; medians of {result['rounds']} turns; {machine['processor']}, one thread, "
        f"torch {machine['torch']}. Repeat: `{result['command']}`."
    ]
    for network in dict.fromkeys(row["network"] for row in arms):
        table = speedup_table({"arms": [row for row in arms if row["network"] == network]})
        parts += [f"`{network}`:", table.strip()]
    return "\n\n".join(parts)


def weights() -> str:
    return "\n\n".join(
        _weights(json.loads((RESULTS / f"{name}.json").read_text())) for name in ("weights", "weights-mnist")
    )


def _weights(result: dict[str, Any]) -> str:
    data, machine = result["data"], result["machine"]
    heads = ("selector", "mode", "copies' share of the loss", "κ", "κ of a draw", "epoch", "epoch of a draw")
    rows = [[*heads, "clean", "transformed"], ["---", "---", *["---:"] * 7]]
    for row in result["rows"]:
        shares = [f"{100 * row['copies_share']:.0f}%"] if "gradients" in row else ["–"]
        found = row.get("gradients", {})
        told = (found.get(name) for name in ("kappa", "kappa_drawn", "epoch", "epoch_drawn"))
        shares += ["–" if value is None else f"{value:.2f}" for value in told]
        for name in ("accuracy", "accuracy_transformed"):
            level, less = row[name], row[f"{name}_less_full"]
            away = f" ({100 * less['mean']:+.1f} ± {100 * less['std']:.1f})" if row["selector"] != "full" else ""
            shares.append(f"{100 * level['mean']:.1f}{away}".replace("-", "−"))
        rows.append([row["selector"], row["mode"] or "", *shares])
    return "\n".join(
        [
            f"**{data['name']}**: {data['train']:,} training, {data['test']:,} test images; `{result['policy']}`; "
            f"`{result['network']}`; {result['steps']:,} steps; {result['seeds']} seeds; budget "
            f"{100 * result['budget']:g}%; {machine['processor']}, torch {machine['torch']}. Repeat: "
            f"`{result['command']}`.",
            "",
            *(f"| {' | '.join(cells)} |" for cells in rows),
        ]
    )


def variance() -> str:
    return "\n\n".join(
        _variance(json.loads((RESULTS / f"{name}.json").read_text())) for name in ("variance", "variance-mnist")
    )


def _variance(result: dict[str, Any]) -> str:
    data, machine = result["data"], result["machine"]
    heads = ("arm", "weights", "clean", "transformed", "variance of the loss", "seconds, choosing")
    rows = [list(heads), ["---", "---", *["---:"] * 4]]
    for row in result["rows"]:
        cells = [row["name"], row["mode"] or ""]
        for name in ("accuracy", "accuracy_transformed"):
            level, less = row[name], row[f"{name}_less_random"]
            away = f" ({100 * less['mean']:+.1f} ± {100 * less['std']:.1f})" if row["name"] != "random" else ""
            cells.append(f"{100 * level['mean']:.1f}{away}".replace("-", "−"))
        cells.append(f"{row['variance']:.2f}" if "variance" in row else "–")
        cells.append(f"{row['seconds']['total']:.1f}, {row['seconds']['select']:.1f}")
        rows.append(cells)
    return "\n".join(
        [
            f"**{data['name']}**: {data['train']:,} training, {data['test']:,} test images; `{result['policy']}`; "
            f"`{result['network']}`; {result['steps']:,} steps; {result['seeds']} seeds; budget "
            f"{100 * result['budget']:g}%, chosen every {result['every']} epochs; {machine['processor']}, one thread, "
            f"torch {machine['torch']}. Repeat: `{result['command']}`.",
            "",
            *(f"| {' | '.join(cells)} |" for cells in rows),
        ]
    )


def label_noise() -> str:
    result = json.loads((RESULTS / "label_noise.json").read_text())
    data, config, machine, rows = (result[key] for key in ("data", "config", "machine", "rows"))
    shares = config["shares"]

    def of(name: str, role: str | None = None, budget: float | None = None) -> list[dict[str, Any]]:
        return [row for row in rows if (row["name"], row["role"], row["budget"]) == (name, role, budget)]

    def accuracy(row: dict[str, Any]) -> str:
        return f"{100 * row['accuracy']['mean']:.1f} ± {100 * row['accuracy']['std']:.1f}"

    def chosen(row: dict[str, Any]) -> str:
        counts = [f"{100 * row['noisy'][moment]['count']['mean']:.0f}" for moment in ("first", "middle", "last")]
        return f"{' → '.join(counts)} ({100 * row['noisy']['last']['weight']['mean']:.0f})"

    lines = [
        f"**{data['name']}**: {data['train']:,} training, {data['held_out']:,} held-out, {data['test']:,} test images; "
        f"`{config['policy']}` over `{config['weak']}`; `{config['network']}`; {config['steps']} steps of "
        f"{config['recipe']['batch_size']} images; {config['seeds']} seeds; {machine['processor']}, {machine['cores']} "
        f"cores, one thread, torch {machine['torch']}. Repeat: `{result['command']}`.",
        "",
        *(f"- `{role}`: {told['sentence']}" for role, told in result["verdict"]["roles"].items()),
    ]
    for name, words in (("weak", "Nothing augmented"), ("full", "Everything augmented")):
        values = [f"{accuracy(row)} at {row['share']:.0%}" for row in of(name)]
        lines += ["", f"{words}, all images trained on: {', '.join(values)} wrong labels."]
    heads = [f"{share:.0%}: {what}" for share in shares for what in ("wrong among the chosen, %", "accuracy, %")]
    for role in config["role"]:
        for budget in config["budgets"]:
            lines += ["", f"`{role}`, {budget:.0%} chosen:", ""]
            lines.append(f"| arm | {' | '.join(heads)} | s choosing | s reference |")
            lines.append("|---" * (len(heads) + 3) + "|")
            for name in config["selectors"]:
                found = of(name, role, budget)
                cells = [cell for row in found for cell in (chosen(row), accuracy(row))]
                for phase in ("select", "reference"):
                    seconds = sum(row["seconds"][phase] for row in found) / len(found)
                    cells.append(f"{seconds:.1f}" if seconds >= 0.05 else "–")
                lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def selection(file: str = "selection", options: str = "") -> str:
    result = json.loads((RESULTS / f"{file}.json").read_text())
    machine = next(iter(result["cases"].values()))["machine"]
    lines = [
        f"{machine.get('gpu', machine['processor'] + ', one thread')}, torch {machine['torch']}; gradients of a small "
        f"CNN on CIFAR-10; a tenth chosen. Repeat: `python benchmarks/selection.py --data FOLDER{options}`.",
        "",
        f"| case | {'reasoned beforehand' if 'gpu' in machine else 'aim'} | contestant | seconds | MB above the points "
        "| L | picks as in exact | times its floor "
        "| times faster than the best peer |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, case in result["cases"].items():
        elsewhere = "" if case["machine"]["processor"] == machine["processor"] else f" ({case['machine']['processor']})"
        head = [name + elsewhere, (_REASONED.get(name) if "gpu" in machine else case.get("aim")) or ""]
        faster = case["times_faster"]
        for contestant, row in case["contestants"].items():
            told = [f"{row[key]:.{digits}f}" if row.get(key) is not None else "–" for key, digits in _FIGURES]
            ahead = f"{min(faster[contestant].values()):.1f}" if faster.get(contestant) else "–"
            same = "same order" if row.get("same_order") else f"{row['overlap']:.1%}" if "overlap" in row else "–"
            cells = [*head, contestant, *told[:2], told[2], same, told[3], ahead]
            lines.append(f"| {' | '.join(cells)} |")
            head = ["", ""]
        chance = case.get("random_L_ratio")
        if chance:
            lines.append(f"| | | random | | | {chance:.4f} | | | |")
    if result["exponents"]:
        grown = ", ".join(f"{name} {power:.2f}" for name, power in result["exponents"].items())
        lines += ["", f"Seconds grow from 5,000 to 20,000 points with n to the power: {grown}."]
    return "\n".join(lines)


def influence() -> str:
    result = json.loads((RESULTS / "influence.json").read_text())
    machine, large = result["machine"], result["softmax"]
    lines = [
        "| n × d | features | score | Pearson | Spearman | relative error, median |",
        "|---|---|---|---:|---:|---:|",
    ]
    for row in result["leave_one_out"]:
        head = [f"{row['n']:,} × {row['d']}", row["features"] + (", worst of 10 sets" if row["sets"] > 1 else "")]
        for name, found in row["scores"].items():
            figures = [f"{found[figure]:.4f}" for figure in ("pearson", "spearman")]
            error = 100 * found["relative_error"]
            lines.append(f"| {' | '.join([*head, name, *figures])} | {error:.{0 if error >= 10 else 2}f} % |")
            head = ["", ""]
    lines += [
        "",
        "| EK-FAC or binary, against | n × d, classes | ours, s | the other, s | times |",
        "|---|---|---:|---:|---:|",
    ]
    for row in result["rows"]:
        times = " | ".join(f"{row[which]:.3g}" for which in ("first_seconds", "second_seconds"))
        size = f"{row['n']:,} × {row['d']}, {row.get('classes', 2)}"
        ranks = (
            f"; Spearman with exact: ours {row['spearman']:.5f}, theirs {row['their_spearman']:.5f}"
            if "spearman" in row
            else ""
        )
        lines.append(f"| {row['against']}{ranks} | {size} | {times} | {row['ratio']:.1f} |")
    size = f"{large['n']:,} × {large['d']}, {large['classes']}"
    times = f"{large['ek_fac_seconds']:.3g} | {large['exact_seconds']:.3g} | {large['ek_fac_times_faster']:.1f}"
    lines.append(f"| our exact softmax; Spearman with EK-FAC: {large['spearman']:.5f} | {size} | {times} |")
    told = f"{machine['processor']}, one thread, torch {machine['torch']}. Repeat: `{result['command']}`."
    return "\n".join([*lines, "", told])


#: What an H200 was reasoned to take, from its rates and the launches of a step, before one was at hand.
_REASONED = {
    "1300x1000": "0.1 s and 0.1 to 0.2 s of copying, for 1,000 classes in step",
    "5000x512": "0.01 to 0.06 s, for ten classes in step",
    "block 50000": "0.1 to 0.5 s exact",
    "block 200000": "1 to 3 s exact",
}
_FIGURES = (("seconds", 3), ("megabytes", 0), ("L_ratio", 4), ("times_floor", 1))


def _moments(part: str) -> tuple[list[dict[str, Any]], str]:
    """Rows of a part of the benchmark of moments, and where they were measured."""
    result = json.loads((RESULTS / "moments.json").read_text())
    machine = result["machine"]
    told = f"{machine['processor']}, one thread, torch {machine['torch']}; processor time, medians of "
    told += f"{result['rounds'][part]} rounds"
    return result[part], f"{told}. Repeat: `{result['commands'][part]}`."


def moments_targets() -> str:
    rows, told = _moments("targets")
    lines = [told, "", "| what | ms | least – most | aim, ms |", "|---|---:|---:|---:|"]
    for row in rows:
        aim = f"{row['aim']:g}" if "aim" in row else ""
        spread = f"{row['least']:.2f} – {row['most']:.2f}"
        lines.append(f"| {row['what']} | {row['milliseconds']:.2f} | {spread} | {aim} |")
    return "\n".join(lines)


def chains() -> str:
    result = json.loads((RESULTS / "chains.json").read_text())
    machine = result["machine"]
    told = (
        f"{machine['processor']}, one thread, torch {machine['torch']}; processor time, medians of {result['rounds']} "
    )
    told += f"rounds, of one at 224×224. Repeat: `{result['command']}`."
    heads = "composition | image | how | s | s, a product | error | left out"
    lines = [told, "", f"| {heads} |", "|---|---|---" + "|---:" * 4 + "|"]
    for row in result["rows"]:
        parts = row["policy"].replace(" | ", "`, `")  # a bar would end the cell
        cells = [f"`{parts}`", row["image"], row["kind"], f"{row['seconds']:.2f}"]
        cells += [f"{row['product_seconds']:.2f}", f"{row['error']:.1e}" if row["error"] else "0"]
        cells += [f"{row['dropped']:.1e}" if row["dropped"] else "0"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def moments_advantage() -> str:
    rows, told = _moments("advantage")
    heads = "policy | image | of | how | nodes | off by | ms | draws | off by | s | times longer"
    lines = [told, "", f"| {heads} |", "|---|---|---|---" + "|---:" * 7 + "|"]
    for what, aim in (("covariance", "C to 1 %"), ("mean", "μ to 0.1 %")):
        for row in rows:
            found = row[what]
            low, high = found["ratio_quartiles"]
            closed_error = f"{found['closed_error']:.1e}" if found["closed_error"] > 1e-12 else "0"
            cells = [f"`{row['policy']}`", "×".join(map(str, row["shape"])), aim, found["kind"], f"{found['nodes']}"]
            cells += [closed_error, f"{1000 * found['closed_seconds']:.2f}"]
            cells += [f"{found['draws']:,.0f}", f"{found['drawn_error']:.1e}", f"{found['drawn_seconds']:.3g}"]
            cells += [f"{found['ratio']:,.0f} ({low:,.0f} – {high:,.0f})"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def moments_sharing() -> str:
    rows, told = _moments("sharing")
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
    heads = " | ".join("×".join(map(str, shape)) for shape in shapes)
    lines = [told, "", f"| policy | {heads} |", "|---" + "|---:" * len(shapes) + "|"]
    for policy in dict.fromkeys(row["policy"] for row in rows):
        cells = [
            f"{row['ratio']:.1f} ({row['ratio_quartiles'][0]:.1f} – {row['ratio_quartiles'][1]:.1f})"
            for row in rows
            if row["policy"] == policy
        ]
        lines.append(f"| `{policy}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def moments_convergence() -> str:
    rows, told = _moments("convergence")
    counts = ", ".join(f"{error['N']:,}" for error in rows[0]["errors"])
    heads = f"operator | how | tr C | error of the mean of {counts} draws | predicted "
    heads += "| error of the covariance | predicted | draws for 1 %: mean | covariance"
    lines = [told, "", f"| {heads} |", "|---|---|---:|---|---|---|---|---:|---:|"]
    for row in rows:
        errors = [
            ", ".join(f"{error[name]:.1e}" for error in row["errors"])
            for name in ("mean", "mean_predicted", "covariance", "covariance_predicted")
        ]
        needed = f"{row['N_covariance']:,.0f}" if row["N_covariance"] >= 1 else "–"
        cells = [row["operator"], row["kind"], f"{row['trace']:.2f}", *errors, f"{row['N_mean']:,.0f}", needed]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def section(name: str) -> str:
    others = {
        "chains": chains,
        "condensation": condensation,
        "condensation-canvases": condensation_canvases,
        "condensation-seconds": condensation_seconds,
        "condensation-uses": condensation_uses,
        "influence": influence,
        "label_noise": label_noise,
        "moments-advantage": moments_advantage,
        "moments-convergence": moments_convergence,
        "moments-sharing": moments_sharing,
        "moments-targets": moments_targets,
        "reproduce-2019": reproduce_2019,
        "selection": selection,
        "selection-gpu": lambda: selection("selection-gpu", " --device cuda --out FILE"),
        "speedup": speedup,
        "variance": variance,
        "weights": weights,
    }
    if name in moment_rows.SECTIONS:
        return moment_rows.section(name)
    return others[name]() if name in others else comparison(name)


def filled(text: str) -> str:
    def fill(match: re.Match[str]) -> str:
        return f"<!-- begin {match[1]} -->\n{section(match[1])}\n<!-- end {match[1]} -->"

    return re.sub(r"<!-- begin ([\w-]+) -->.*?<!-- end \1 -->", fill, text, flags=re.DOTALL)


def main() -> int:
    stale = 0
    for page in PAGES:
        text = (ROOT / page).read_text()
        fresh = filled(text)
        stale += fresh != text
        if "--check" not in sys.argv:
            (ROOT / page).write_text(fresh)
    return int("--check" in sys.argv and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
