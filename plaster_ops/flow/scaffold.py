"""From what the inspection found to the text of a pipeline and its section of the settings. No I/O."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_WORDS = {
    "Accuracy": ("acc",), "F1": ("f1",), "R2": ("r2",), "MeanSquared": ("mse",), "MeanAbsolute": ("mae",),
    "Jaccard": ("iou", "jaccard"), "AUROC": ("auroc", "auc"), "Precision": ("precision",), "Recall": ("recall",),
}  # fmt: skip


def pipeline_text(draft: Mapping[str, Any], class_name: str) -> str:
    """The module that holds the pipeline. What is not known in `draft` is a line with TODO."""
    module, data = draft["module"], draft["data"]
    names = _names(module, data)
    parts = [
        f'"""What plaster-ops asks for, around {module["module"]}:{module["attribute"]}\n'
        f"and {data['module']}:{data['attribute']}.\n\nMade by `plaster-ops init`, yours to edit; "
        'docs/pipelines.md of plaster-ops has the whole contract.\n"""',
        _imports(draft, names),
    ]
    parts += [text for text in (_score_class(draft), _data_class(draft, names), _served_class(draft, names)) if text]
    return "\n\n\n".join(["\n\n".join(parts[:2]), *parts[2:], _pipeline_class(draft, names, class_name)]) + (
        f"\n\n\npipeline = {class_name}\n"
    )


def settings_text(name: str, module: str, *, prefix: str, metric: str | None, timeout_s: int | None) -> str:
    """The section of one pipeline. `prefix` is empty, or `tool.plaster-ops.` in a pyproject.toml."""
    train = ["max_epochs = 20", *([f"target_metric = {json.dumps(metric)}"] if metric else [])]
    train += [f"timeout_s = {timeout_s}"] if timeout_s else []
    hint = "  # target_score = ... stops the training there" if metric else ""
    return (
        f"[{prefix}pipelines.{name}]\n"
        f'ref = "{module}:pipeline"\n'
        f"train = {{ {', '.join(train)} }}{hint}\n"
        'measure = { profile = "standard", slo_ms = 7.0 }\n'
    )


def logged_metric(metrics: Sequence[str], score: str) -> str | None:
    """The metric of validation, among the names that were logged, that is the score; None where none is."""
    words = next((words for key, words in _WORDS.items() if key in score), ())
    found = [n for n in metrics if "val" in n.lower() and any(word in n.lower() for word in words)]
    return min(found, key=len) if found else None


def _names(module: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[str, str]:
    """What the two classes are called in the file."""
    first, second = (side["attribute"].partition(".")[0] for side in (module, data))
    return first, f"Their{second}" if second in (first, "Data") else second


def _imports(draft: Mapping[str, Any], names: tuple[str, str]) -> str:
    """Libraries first, then what is the user's own."""
    module, data, score = draft["module"], draft["data"], draft.get("score")
    plain = {name for side in (module, data) for name in side.get("imports", ())}
    if "inputs" in draft:
        plain.add("torch")
    if draft.get("drawn"):
        plain |= {"random", "numpy", "torch"}
    libraries: dict[str, set[str]] = {}
    own: dict[str, set[str]] = {}
    if draft.get("shuffled"):
        libraries["torch.utils.data"] = {"DataLoader"}
    if score and score["given"]:
        plain |= set(filter(None, score["module"].split(",")))
    elif score:
        libraries[score["module"]] = {score["name"]}
    for side, name in ((module, names[0]), (data, names[1])):
        root = side["attribute"].partition(".")[0]
        own.setdefault(side["module"], set()).add(root if name == root else f"{root} as {name}")
    return "\n\n".join(
        "\n".join(lines)
        for lines in (
            [f"import {name}" for name in sorted(plain)]
            + [f"from {home} import {', '.join(sorted(kinds))}" for home, kinds in sorted(libraries.items())],
            [f"from {home} import {', '.join(sorted(kinds))}" for home, kinds in sorted(own.items())],
        )
        if lines
    )


def _call(side: Mapping[str, Any], name: str, indent: str) -> str:
    """`Net(lr=0.001)`, an argument a line where one of them was assumed or is missing."""
    rest = side["attribute"].partition(".")[2]
    called = f"{name}.{rest}" if rest else name
    marks = {n: f"assumed, {why}" for n, why in side["assumed"].items()}
    lines = [(f"{n}={text},", marks.get(n, "")) for n, text in side["arguments"].items()]
    lines += [(f"{n}=...,", f"TODO: {kind}") for n, kind in side["missing"].items()]
    if not any(mark for _, mark in lines) and sum(len(text) for text, _ in lines) < 80:
        return f"{called}({' '.join(text for text, _ in lines).rstrip(',')})"
    body = "\n".join(f"{indent}    {text}" + (f"  # {mark}" if mark else "") for text, mark in lines)
    return f"{called}(\n{body}\n{indent})"


def _score_class(draft: Mapping[str, Any]) -> str:
    score = draft.get("score")
    if not score or score["plain"] or score["given"]:
        return ""
    return (
        f'class Score({score["name"]}):\n    """{score["why"].capitalize()}."""\n\n'
        f"    def update(self, outputs, targets):\n"
        f"        super().update({score['outputs']}, {score['targets']})"
    )


def _data_class(draft: Mapping[str, Any], names: tuple[str, str]) -> str:
    if not (draft.get("drawn") or draft.get("shuffled")):
        return ""
    text = (
        f'class Data({names[1]}):\n    """Its held-out samples are the same, in the same order, in every process."""\n'
    )
    if draft.get("drawn"):
        text += (
            "\n    def setup(self, stage=None):  # the split is drawn anew each time; now from one seed\n"
            "        random.seed(0)\n        numpy.random.seed(0)\n        torch.manual_seed(0)\n"
            "        super().setup(stage)\n"
        )
    if draft.get("shuffled"):
        text += (
            f"\n    def {draft['loader']}(self):  # in order\n"
            f"        loader = super().{draft['loader']}()\n"
            "        return DataLoader(loader.dataset, batch_size=loader.batch_size, collate_fn=loader.collate_fn)\n"
        )
    return text.rstrip("\n")


def _served_class(draft: Mapping[str, Any], names: tuple[str, str]) -> str:
    """forward with a tensor an argument, for a model whose own takes a whole batch."""
    if not draft.get("wrap"):
        return ""
    given = draft["names"]
    if draft["wrap"] == "dict":
        whole = "{" + ", ".join(f'"{name}": {name}' for name in given) + "}"
    else:
        whole = "[" + ", ".join([*given, *["None"] * (draft["width"] - len(given))]) + "]"
    arguments = ", ".join(f"{name}=None" for name in given)
    return (
        f'class Served({names[0]}):\n    """Training passes a whole batch, an engine its tensors."""\n\n'
        f"    def forward(self, batch=None, *, {arguments}):\n"
        f"        return super().forward({whole} if batch is None else batch)"
    )


def _pipeline_class(draft: Mapping[str, Any], names: tuple[str, str], class_name: str) -> str:
    model = "Served" if draft.get("wrap") else names[0]
    data = "Data" if draft.get("drawn") or draft.get("shuffled") else names[1]
    lines = [f"class {class_name}:", f"    score = {_score_of(draft)}"]
    if draft.get("dynamic_axes"):
        axes = {
            (name if not name.isdecimal() else int(name)): {int(axis): tuple(sizes) for axis, sizes in found.items()}
            for name, found in draft["dynamic_axes"].items()
        }
        lines.append(f"    dynamic_axes = {_quoted(axes)}  # as seen; widen to what will be served")
    lines += [
        "",
        "    def model(self):",
        f"        return {_call(draft['module'], model, ' ' * 8)}",
        "",
        "    def data(self, window):",
        "        # All there is, each time. Of files that arrive a source knows which rows are new; in the class:",
        '        #     source = FolderSource("FOLDER", name="NAME", time="COLUMN", label="COLUMN", holdout="7d")',
        "        # and here self.source.train_rows(window), self.source.held_out_rows(window): docs/first-nightly.md",
        f"        return {_call(draft['data'], data, ' ' * 8)}",
        "",
        "    def sample_batch(self, n):",
        *_sample_batch(draft),
    ]
    if draft.get("split"):
        inputs = _inputs(draft)
        lines += ["", "    def split(self, batch):", f"        return {inputs}, {draft['target']}"]
    return "\n".join(lines)


def _quoted(axes: Mapping[Any, Mapping[int, Any]]) -> str:
    """The mapping as house style writes it."""
    inner = ", ".join(f"{json.dumps(name)}: {dict(found)!r}" for name, found in axes.items())
    return f"{{{inner}}}"


def _score_of(draft: Mapping[str, Any]) -> str:
    score = draft.get("score")
    if not score:
        return "None  # TODO: a torchmetrics metric, or a function (outputs, targets) and higher_is_better"
    if score["given"]:
        return str(score["name"])
    name = score["name"] if score["plain"] else "Score"
    return f"{name}({score['arguments']})" + (f"  # {score['why']}" if score["plain"] else "")


def _sample_batch(draft: Mapping[str, Any]) -> list[str]:
    if "inputs" not in draft:
        return ['        raise NotImplementedError("TODO: the inputs of forward for n samples, batch first")']
    stage = "test" if draft["loader"] == "test_dataloader" else "validate"
    lines = [
        "        data = self.data(None)",
        "        data.prepare_data()",
        f'        data.setup("{stage}")',
        f"        batch = next(iter(data.{draft['loader']}()))",
        f"        rows = torch.arange(n) % len({draft['inputs'][0]})",
    ]
    if draft["names"]:
        pairs = ", ".join(f'"{name}": {text}[rows]' for name, text in zip(draft["names"], draft["inputs"], strict=True))
        return [*lines, f"        return {{{pairs}}}"]
    if len(draft["inputs"]) == 1:
        return [*lines, f"        return {draft['inputs'][0]}[rows]"]
    return [*lines, f"        return {', '.join(f'{text}[rows]' for text in draft['inputs'])}"]


def _inputs(draft: Mapping[str, Any]) -> str:
    if draft["names"]:
        pairs = ", ".join(f'"{name}": {text}' for name, text in zip(draft["names"], draft["inputs"], strict=True))
        return f"{{{pairs}}}"
    return draft["inputs"][0] if len(draft["inputs"]) == 1 else f"({', '.join(draft['inputs'])})"
