"""The tables of docs/condensation.md, from the result files of the benchmarks condensation_*.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def tables() -> str:
    """Give a table for each result file of condensation_tables.py, small sets first."""
    found = [json.loads(file.read_text()) for file in RESULTS.glob("condensation-*.json")]
    found = [result for result in found if "course" in result]
    found.sort(key=lambda result: (result["data"]["name"] != "mnist", result["config"]["per_class"]))
    return "\n\n".join(_table(result) for result in found)


def _table(result: dict[str, Any]) -> str:
    data, config, machine = result["data"], result["config"], result["machine"]
    protocol, sets = config["protocol"], config["sets"]
    where = machine.get("gpu") or f"{machine['processor']}, one thread"
    rows = {(row["name"], row["augmented"]): row for row in result["rows"]}
    networks = f"{config['repeats']} network{'s' * (config['repeats'] != 1)} per set"
    if protocol["whole_steps"]:
        networks += f"; {protocol['whole_steps']:,} steps on the whole data"
    lines = [
        f"**{data['name']}, {config['per_class']} per class** ({data['train']:,} training, {data['test']:,} test "
        f"images; `{config['networks'][0]}`; {protocol['epochs']} epochs; {networks}; "
        f"{'rates of training chosen' if len(protocol['rates']) > 1 else 'rate of training 0.01'}; {where}, torch "
        f"{machine['torch']}):",
        "",
        "| images | sets | plain | augmented | of whole | s to make |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in dict.fromkeys(name for name, _ in rows):
        plain, augmented = rows[name, False], rows[name, True]
        best = max(plain, augmented, key=lambda row: float(row["validation"]))
        share = "–" if best["relative"] is None else f"{100 * best['relative']:.1f}%"
        cells = [name, str(sets[name]), _accuracy(plain), _accuracy(augmented), share, _made(result, name, plain)]
        lines.append(f"| {' | '.join(cells)} |")
    for name in config["synthetic"]:
        lines += ["", _shares(name, rows) + " " + _score(name, result)]
    # results of before there was a choice of rates: all had the published one
    command = result["command"] + ("" if protocol["rates"] else " --rates 0.01")
    return "\n".join([*lines, "", f"Repeat: `{command}`."])


def _accuracy(row: dict[str, Any]) -> str:
    accuracy = row["accuracy"]
    spread = f" ± {100 * accuracy['std']:.1f}" if len(accuracy["values"]) > 1 else ""
    return f"{100 * accuracy['mean']:.1f}{spread}"


def _made(result: dict[str, Any], name: str, row: dict[str, Any]) -> str:
    """Processor seconds where the processor did it, for it was not alone with the work; else those of the clock."""
    made = result["made"].get(name)
    if made and result["machine"]["device"] == "cpu":
        return f"{sum(one['cpu_seconds'] for one in made) / len(made):.0f} (processor)"
    return f"{row['seconds_made']:.0f}" if row["seconds_made"] >= 0.5 else "0"


def _shares(name: str, rows: dict[tuple[str, bool], dict[str, Any]]) -> str:
    at = {key: 100 * row["accuracy"]["mean"] for key, row in rows.items()}
    training, images = at["random", True] - at["random", False], at[name, True] - at["random", True]
    total = training + images
    return (
        f"{name.upper()} with augmentation is {total:+.1f} points over random images without: {training:+.1f} come "
        f"from training with augmentation, {images:+.1f} from images that were made for it."
    ).replace("-", "−")


def _score(name: str, result: dict[str, Any]) -> str:
    score = next(score for score in result["scores"] if score["name"] == name)
    told = [f"{key.upper()} {score[key]:.3f}" for key in ("hlr", "ior", "lrs", "ars") if score[key] is not None]
    return f"{', '.join(told)}."


def canvases() -> str:
    """Give the table of several images on a canvas beside one."""
    result = json.loads((RESULTS / "condensation-mnist-canvases.json").read_text())
    data, found, machine = result["data"], result["canvases"], result["machine"]
    config, made = found["config"], found["cpu_seconds"]
    epochs = config["protocol"]["epochs"]
    lines = [
        f"{data['name']}, {config['per_class']} stored per class ({data['train']:,} training, {data['test']:,} test "
        f"images; `{config['networks'][0]}`; {epochs} epochs; {config['repeats']} networks per set):",
        "",
        "| images | to train on | stored, kB | sets | plain | augmented | processor s to make |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    rows = {(row["name"], row["augmented"]): row for row in found["rows"]}
    for name in dict.fromkeys(name for name, _ in rows):
        plain, augmented = rows[name, False], rows[name, True]
        cells = [name, str(plain["images"]), f"{plain['bytes'] / 1000:.1f}", str(config["sets"][name])]
        cells += [_accuracy(plain), _accuracy(augmented), f"{made[name]:.0f}" if name in made else "–"]
        lines.append(f"| {' | '.join(cells)} |")
    where = f"{machine['processor']}, one thread, torch {machine['torch']}"
    return "\n".join([*lines, "", f"{where}. Repeat: `{result['command']}`."])


def seconds() -> str:
    """Give the accuracies by processor second of condensation.py, and what condensation_protocol.py found."""
    result = json.loads((RESULTS / "condensation.json").read_text())
    lines = [
        "| data, per class | images | sets | processor s | plain | augmented | epochs | rates | aim |",
        "|---|---|---:|---:|---:|---:|---|---|---|",
    ]
    names = [name for name in result["parts"] if "-d" in name]
    for name in names:
        part = result["parts"][name]
        how, config = part["how"], part["config"]
        rows = {(row["name"], row["augmented"]): row for row in part["rows"]}
        for images in dict.fromkeys(name for name, _ in rows):
            plain, augmented = rows[images, False], rows[images, True]
            told, spent, aim = images, 0.0, ""
            if images in config["synthetic"]:
                spent = sum(part["cpu_seconds"]) / len(part["cpu_seconds"])
                told = (
                    f"{how['method']}, lr {how['options']['lr']:g}, pool {how['options']['pool']}, from {how['init']}"
                )
                told += f", {how['steps']} steps"
                aim = ", ".join(f"{100 * aim:.0f}% in {limit} s" for limit, aim, _ in part["aims"])
            cells = [f"{how['data']}, {how['per_class']}", told, str(config["sets"][images]), f"{spent:.0f}"]
            epochs = [f"{config['protocol'][key]:,}" for key in ("epochs", "epochs_augmented")]
            cells += [_accuracy(plain), _accuracy(augmented), " / ".join(epochs)]
            cells += [f"{plain['rate']:g} / {augmented['rate']:g}", aim]
            lines.append(f"| {' | '.join(cells)} |")
    tried = []
    for name in names:
        part = result["parts"][name]
        row = next(row for row in part["rows"] if row["augmented"] and row["name"] == part["config"]["synthetic"][0])
        found = ", ".join(f"{100 * trial['validation']:.1f} at {trial['rate']:g}" for trial in row["trials"])
        tried.append(f"{name} {found}")
    protocol = json.loads((RESULTS / "condensation-protocol.json").read_text())
    pairs = [f"{100 * row['learn']:.1f}% beside {100 * row['written_out']:.1f}%" for row in protocol["rows"]]
    agree = min(row["same_answers"] for row in protocol["rows"])
    commands = "; ".join(f"`{result['commands'][name]}`" for name in names)
    return "\n".join(
        [
            *lines,
            "",
            f"Held-out accuracy of one network with augmentation by its rate: {'; '.join(tried)}.",
            "",
            f"Mean images of MNIST without augmentation, `learn` beside the published loop written out in torch alone: "
            f"{', '.join(pairs)}; at least {100 * agree:.1f}% of their answers are the same.",
            "",
            f"Repeat: {commands}; `{protocol['command']}`.",
        ]
    )


def uses() -> str:
    """Give the tables of continual learning and of the ranking of architectures."""
    result = json.loads((RESULTS / "condensation-uses.json").read_text())
    learned, ranked, machine = result["continual"], result["ranking"], result["machine"]
    config = learned["config"]
    counts = sorted({row["classes"] for row in learned["rows"]})
    lines = [
        f"{config['data']}, {config['per_class']} images kept of each class, `{config['network']}`, {config['orders']} "
        "orders of the classes; accuracy on the test images of all classes seen, ± over orders:",
        "",
        f"| memory | {' | '.join(f'{count} classes' for count in counts)} | s to make |",
        "|---" + "|---:" * (len(counts) + 1) + "|",
    ]
    for name in config["memories"]:
        rows = [row for row in learned["rows"] if row["memory"] == name]
        lines.append(f"| {name} | {' | '.join(map(_accuracy, rows))} | {rows[-1]['seconds']:.1f} |")
    config = ranked["config"]
    lines += [
        "",
        f"{config['data']}, {len(ranked['candidates'])} ConvNets trained once on {config['per_class']} images per "
        f"class for {config['epochs']} epochs, beside {config['whole_steps']} steps on all images:",
        "",
        "| proxy | rank correlation | of the better half | test accuracy of its choice | s to choose |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in ranked["rows"]:
        told = ["–" if row[key] is None else f"{row[key]:.2f}" for key in ("correlation", "correlation_top")]
        cells = f"{' | '.join(told)} | {100 * row['accuracy']:.1f} | {row['seconds']:.0f}".replace("-", "−")
        lines.append(f"| {row['proxy']} | {cells} |")
    where = f"{machine['processor']}, one thread, torch {machine['torch']}"
    return "\n".join([*lines, "", f"{where}. Repeat: `{result['command']}`."])
