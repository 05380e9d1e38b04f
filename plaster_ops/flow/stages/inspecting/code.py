"""The user's two classes: imported by name, their arguments gathered from flags, from the data, from plain defaults.

A value given as text is a Python literal, else an expression whose dotted names are imported
(`torch.nn.ReLU()`, `mypkg.config.Config(depth=3)`), else the text itself.
"""

import ast
import builtins
import dataclasses
import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plaster_ops.errors import PipelineError, UsageError
from plaster_ops.flow.loading import split_reference
from plaster_ops.flow.stages.inspecting.trouble import trouble

_PLAIN = {
    "lr": 1e-3, "learningrate": 1e-3, "weightdecay": 0.0, "dropout": 0.1, "dropoutprob": 0.1, "dropoutrate": 0.1,
    "batchsize": 32, "numworkers": 0, "seed": 0, "randomseed": 0, "testsize": 0.2, "valsize": 0.2, "valsplit": 0.2,
    "epochs": 20, "maxepochs": 20, "patience": 10, "optimizer": "Adam",
}  # fmt: skip
_INPUTS = {
    *("inputdim", "indim", "infeatures", "nfeatures", "numfeatures", "inputsize", "insize", "inchannels", "numinputs"),
    *("ninputs", "lin", "din", "dimin", "nfeats", "inputchannels", "nchannels", "inputfeatures", "inchans"),
}
_OUTPUTS = {
    *("numclasses", "nclasses", "classes", "numlabels", "nlabels", "outputdim", "outdim", "outfeatures", "outputsize"),
    *("outsize", "noutputs", "numoutputs", "lout", "dout", "outchannels", "numtargets", "nclass"),
}


_MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A value and the expression that gives it again, with the modules that this needs."""

    text: str
    value: Any
    imports: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """What the data says of a model's width; None where it does not say."""

    inputs: int | None = None
    outputs: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """How an object of the user's is built. `assumed`: argument -> where its value comes from. `missing`: argument ->
    what is known of its type."""

    module: str
    attribute: str
    target: Any
    values: dict[str, Value] = field(default_factory=dict)
    assumed: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def build(self) -> Any:
        """The object; whatever the user's code raises."""
        return self.target(**{name: value.value for name, value in self.values.items()})

    def to_json(self) -> dict[str, Any]:
        """For the text of the pipeline."""
        return {
            "module": self.module,
            "attribute": self.attribute,
            "arguments": {name: value.text for name, value in self.values.items()},
            "imports": sorted({module for value in self.values.values() for module in value.imports}),
            "assumed": self.assumed,
            "missing": self.missing,
        }

    @property
    def is_class(self) -> bool:
        """Whether it can be derived from: a function that builds the object cannot."""
        return inspect.isclass(self.target)

    def takes(self) -> list[str]:
        """Names of its arguments that nobody has given."""
        return [name for name, p in _parameters(self.target).items() if name not in self.values and p.kind not in _MANY]


def find(reference: str, what: str) -> tuple[str, str, Any]:
    """`(module, attribute, object)` of a reference. Raises `PipelineError` with what there is instead."""
    try:
        module_name, attribute = split_reference(reference)
    except PipelineError as error:
        raise PipelineError(
            f"{what} {reference!r} is not MODULE:CLASS", f"for example {what} mypkg.models:Net"
        ) from error
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise PipelineError(
            f"module {module_name!r} of {what} does not import: {trouble(error)}",
            f"try: python -c 'import {module_name}'; install what it needs",
        ) from error
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            kinds = {name: kind for name, kind in vars(module).items() if inspect.isclass(kind) and name[:1].isupper()}
            root = module_name.partition(".")[0]
            own = [name for name, kind in kinds.items() if kind.__module__.partition(".")[0] == root] or list(kinds)
            raise PipelineError(
                f"module {module_name!r} has no {attribute!r}",
                f"name one of its classes: {', '.join(sorted(own))[:300]}" if own else "it has no classes at all",
            )
        found = getattr(found, part)
    if not callable(found):
        raise PipelineError(
            f"{reference} is a {type(found).__name__}, not a class", f"name the class: {what} MODULE:CLASS"
        )
    return module_name, attribute, found


def plan_call(reference: str, what: str, given: Mapping[str, str], sizes: Sizes | None = None) -> Call:
    """The call of the class (or function) behind `reference` with the arguments that were `given` as text; those that
    it needs besides are guessed from the data's `sizes`, from a config class that builds itself, or from what nearly
    everybody takes. What is left is `missing`."""
    module, attribute, target = find(reference, what)
    call = Call(module=module, attribute=attribute, target=target)
    for name, parameter in _parameters(target).items():
        if name in given:
            call.values[name] = evaluate(given[name], name)
        elif parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            found = _guess(name, parameter, sizes)
            if found is None:
                call.missing[name] = _told_type(parameter)
            else:
                call.values[name], call.assumed[name] = found
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in _parameters(target).values()):
        call.values.update({name: evaluate(text, name) for name, text in given.items() if name not in call.values})
    return call


def share_arguments(given: Sequence[str], module: Any, data: Any) -> tuple[dict[str, str], dict[str, str]]:
    """`NAME=VALUE` texts to the two calls that know the name; `module.NAME` and `data.NAME` say which. Raises
    `UsageError` for a name that neither takes."""
    shares: tuple[dict[str, str], dict[str, str]] = ({}, {})
    known = [_parameters(target) for target in (module, data)]
    for text in given:
        name, found, value = text.partition("=")
        if not found or not name.replace(".", "_").isidentifier():
            raise UsageError(f"--arg {text!r} is not NAME=VALUE", "for example: --arg lr=1e-3 --arg data.batch_size=64")
        side, _, inner = name.partition(".")
        wanted = [k for k, who in enumerate(("module", "data")) if not inner or side == who]
        name = inner or name
        takers = [k for k in wanted if name in known[k]] or [k for k in wanted if _takes_any(known[k])]
        if not takers:
            raise UsageError(
                f"--arg {text!r}: neither class takes {name!r}",
                f"the module takes {', '.join(known[0]) or 'nothing'}; the data {', '.join(known[1]) or 'nothing'}",
            )
        for k in takers:
            shares[k][name] = value
    return shares


def evaluate(text: str, name: str = "") -> Value:
    """The value that a text stands for. Raises `UsageError` where an expression cannot be evaluated."""
    try:
        value = ast.literal_eval(text)
        return Value(text=repr(value), value=value)
    except (ValueError, SyntaxError, TypeError):
        pass
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return Value(text=repr(text), value=text)
    chains = [chain for chain in _dotted_names(tree.body) if not hasattr(builtins, chain.partition(".")[0])]
    modules = {chain: _module_of(chain) for chain in chains}
    if not all(modules.values()):
        if not any(isinstance(node, ast.Call) for node in ast.walk(tree)):
            return Value(text=repr(text), value=text)
        lost = next(chain for chain, module in modules.items() if not module)
        raise UsageError(
            f"--arg {name}={text}: {lost!r} cannot be imported", "write it in full, as in package.module.Class(size=3)"
        )
    imports = tuple(sorted({module for module in modules.values() if module}))
    names = {module.partition(".")[0]: importlib.import_module(module.partition(".")[0]) for module in imports}
    try:
        return Value(text=text, value=eval(text, names), imports=imports)
    except Exception as error:
        raise UsageError(f"--arg {name}={text} fails: {trouble(error)}", "try it in a Python prompt") from error


def _parameters(target: Any) -> dict[str, inspect.Parameter]:
    """What a call takes, but for `*args` and `**kwargs` of a name nobody can give."""
    try:
        found = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}
    return {name: p for name, p in found.items() if p.kind is not inspect.Parameter.VAR_POSITIONAL}


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def _guess(name: str, parameter: inspect.Parameter, sizes: Sizes | None) -> tuple[Value, str] | None:
    plain = re.sub(r"[^a-z]", "", name.lower())
    for known, size, what in (
        (_INPUTS, sizes.inputs if sizes else None, "width of the inputs"),
        (_OUTPUTS, sizes.outputs if sizes else None, "classes or width of the targets"),
    ):
        if plain in known and size is not None:
            return Value(text=repr(size), value=size), f"from the data: {what}"
    if plain in _PLAIN:
        return Value(text=repr(_PLAIN[plain]), value=_PLAIN[plain]), "a usual value"
    kind = parameter.annotation
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        try:
            built = kind()
        except TypeError:
            return None
        text = f"{kind.__module__}.{kind.__qualname__}()"
        return Value(text=text, value=built, imports=(kind.__module__,)), "its defaults"
    return None


def _told_type(parameter: inspect.Parameter) -> str:
    kind = parameter.annotation
    if kind is inspect.Parameter.empty:
        return "no type is declared"
    return str(getattr(kind, "__name__", kind))


def _dotted_names(node: ast.AST) -> list[str]:
    """Outermost dotted names of an expression: `torch.nn.ReLU` of `torch.nn.ReLU()`."""
    parts: list[str] = []
    inner = node
    while isinstance(inner, ast.Attribute):
        parts.append(inner.attr)
        inner = inner.value
    if isinstance(inner, ast.Name):
        return [".".join([inner.id, *reversed(parts)])]
    return [name for child in ast.iter_child_nodes(node) for name in _dotted_names(child)]


def _module_of(chain: str) -> str:
    """The longest module that a dotted name begins with; empty where there is none."""
    parts = chain.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except Exception:
            return ""
        return name
    return ""
