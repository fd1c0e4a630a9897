"""Networks that are files of data: TorchScript, ``torch.export`` and ONNX.

Each is opened as a source: it lists the values that its graph computes, and makes a function from a batch to
the output and to any of these values. It adds them to the outputs of the graph, and does not need the class
of the network.

No Python code of a file is run. PyTorch interprets TorchScript itself; calls that could access files are
refused. The loader of ``torch.export`` would unpickle, evaluate and call what its file names, so the file is
checked first. ONNX is run by onnxruntime (the extra ``onnx``).
"""

import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mint_utils.errors import DataError, ParameterError

# Names of activation functions in modules, TorchScript, ATen and ONNX, in lower case. Sigmoid is left out: it
# is the gate of squeeze-and-excitation, or a factor of a swish.
ACTIVATIONS = re.compile(
    "((p|r|leaky|thresholded)?relu6?|[csg]?elu|silu|swish|mish|hardswish|hardtanh|clamp|clip|softplus|tanh)"
)
# What a file of torch.export may call, and how it may write a size. The loader evaluates a size as Python, so
# only symbols, numbers and constructors of sympy are allowed.
TARGETS = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!from_file|save|load)[\w.]+|torch\.sym_\w+|math\.\w+"
    r"|torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)"
    r"|_operator\.(getitem|add|sub|mul|pow|floordiv|truediv|mod|neg|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
SIZES = re.compile(
    r"([\s+\-*/(),<>=]|\d++|'?[su]\d++'?|\b(Symbol|Integer|Rational|Add|Mul|Pow|Max|Min|Mod|PythonMod"
    r"|FloorDiv|CleanDiv|positive|nonnegative|integer|real|True|False)\b)++"
)
FEW = 16  # images in one call of onnxruntime: more do not fit the caches of a CPU
# A function from a batch to the output and the named values, in the order of computation.
Reading = Callable[[torch.Tensor], tuple[Any, dict[str, torch.Tensor]]]


def is_activation(name: str) -> bool:
    """Return whether an operator or a class of this name is an activation function."""
    return bool(ACTIVATIONS.fullmatch(name.lower().replace("_", "")))


def shuffle(weights: torch.Tensor) -> torch.Tensor:
    """Return weights (O, ...) with the values of each row permuted, in the same way on every machine.

    This removes what was learnt. The values stay the same, and so does the response of a filter to a uniform
    surface, so that the signal neither vanishes nor grows from layer to layer.
    """
    if weights.ndim < 2 or not weights.is_floating_point():
        return weights
    rows = weights.detach().flatten(1).cpu().numpy()
    mixed = np.random.default_rng(rows.shape).permuted(rows, axis=1)
    return torch.from_numpy(mixed).view(weights.shape).to(weights)


class Script(nn.Module):
    """A TorchScript file.

    Attributes:
        batch: Number of images in a batch, None for any.
        at_once: Largest number of images that is efficient in a batch, None for any.
        image_size: Side of its input, None where the file does not specify it.
    """

    def __init__(self, path: Path):
        """Load the file.

        Raises:
            DataError: It is damaged, or accesses files.
        """
        super().__init__()
        self.batch = self.at_once = self.image_size = None
        with zipfile.ZipFile(path) as archive:
            code = [n for n in archive.namelist() if "/code/" in n and n.endswith(".py")]
            text = "\n".join(archive.read(name).decode() for name in code)
        found = re.search(r"torch\.(from_file|save|load)\(|\bops\.(?!prim\b|aten\b)\w+\.\w+", text)
        if found:
            raise DataError(
                f"{path} calls {found[0].rstrip('(')}, which a network does not need: save it without."
            )
        try:
            with warnings.catch_warnings(action="ignore", category=FutureWarning):  # deprecated
                self.module = torch.jit.load(str(path), map_location="cpu").eval()
        except Exception as error:  # a damaged file can fail in any way
            raise DataError(f"{path} cannot be read as TorchScript: {first(error)}.") from error

    def values(self) -> dict[str, bool]:
        """Return the name of each tensor of the graph, in order -> whether it is an activation."""
        return {name: activation for name, (_, activation) in _tensors(self._graph()).items()}

    def reading(self, layers: Sequence[str]) -> Reading:
        """Return a function from a batch to the output and the values named."""
        made: dict[torch.device, Callable] = {}  # the weights are constants of the graph

        def read(x: torch.Tensor) -> tuple[Any, dict[str, torch.Tensor]]:
            if x.device not in made:
                self.module.to(x.device)
                graph = self._graph()
                tensors = _tensors(graph)
                for name in layers:
                    graph.registerOutput(tensors[name][0])
                graph.makeMultiOutputIntoTuple()
                graph.eraseInput(0)  # the module, which a frozen graph does not use
                made[x.device] = torch._C._create_function_from_graph("read", graph)
            found = made[x.device](x)
            return (found[0], dict(zip(layers, found[1:], strict=True))) if layers else (found, {})

        return read

    def shuffled(self) -> "Script":
        """Change the weights to shuffled ones, and return the source."""
        with torch.no_grad():
            for parameter in self.module.parameters():
                parameter.copy_(shuffle(parameter))
        return self

    def _graph(self) -> torch.Graph:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # deprecated
            graph = torch.jit.freeze(self.module).graph
        torch._C._jit_pass_inline(graph)
        return graph


def _tensors(graph: torch.Graph) -> dict[str, tuple[torch.Value, bool]]:
    found = {}
    for node in graph.nodes():
        if node.kind() in ("prim::Constant", "prim::GetAttr"):
            continue
        activation = is_activation(node.kind().split("::")[-1])
        for value in node.outputs():
            if value.type().isSubtypeOf(torch._C.TensorType.get()):
                found[value.debugName()] = value, activation
    return found


class Exported(nn.Module):
    """A file of ``torch.export.save``; attributes and methods are those of `Script`."""

    def __init__(self, path: Path):
        """Check the file for code, and load it.

        Raises:
            DataError: It is damaged, or holds more than tensors and a graph of operators.
        """
        super().__init__()
        _refuse_code(path)
        try:
            program = torch.export.load(path)
            self.module = program.module(check_guards=False)
        except Exception as error:  # a damaged file can fail in any way
            raise DataError(f"{path} cannot be read by torch.export: {first(error)}.") from error
        inputs = [n for n in self.module.graph.nodes if n.op == "placeholder"]
        shape = inputs[0].meta["val"].shape if len(inputs) == 1 else ()
        if len(shape) != 4:
            raise DataError(f"{path} must take one batch of images (N, 3, S, S).")
        self.batch, self.image_size = (
            n if isinstance(n, int) else None for n in (shape[0], shape[-1])
        )
        self.at_once = self.batch

    def train(self, mode: bool = True) -> "Exported":
        """Do nothing: the graph has only the mode in which it was exported."""
        return self

    def values(self) -> dict[str, bool]:
        """Return the names of all results of the graph, in their order, and which are activations."""
        nodes = [node for node in self.module.graph.nodes if node.op == "call_function"]
        tensors = [node for node in nodes if isinstance(node.meta.get("val"), torch.Tensor)]
        return {node.name: is_activation(str(node.target).split(".")[-2]) for node in tensors}

    def reading(self, layers: Sequence[str]) -> Reading:
        """Return a function from a batch to the output and the values named."""
        graph = self.module.graph
        nodes = {node.name: node for node in graph.nodes}
        end = graph.output_node()
        # The program's own output, so that a second reading does not extend the first.
        self._output = getattr(self, "_output", end.args[0])
        end.args = ([self._output, *(nodes[name] for name in layers)],)
        graph.set_codegen(torch.fx.graph.CodeGen())  # which unpacks the output as a plain list
        self.module.recompile()

        def read(x: torch.Tensor) -> tuple[Any, dict[str, torch.Tensor]]:
            output, *maps = self.module(x)
            return output, dict(zip(layers, maps, strict=True))

        return read

    shuffled = Script.shuffled


def _refuse_code(path: Path) -> None:
    """Refuse a file of ``torch.export`` that could make its loader run more than tensor operators."""
    refused = []
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                # Tensors are raw bytes or nested files of torch.save, which must hold tensors only.
                content = archive.read(name)
                if name.endswith(".json"):
                    entries = _entries(json.loads(content))
                    refused += [entry for entry in entries if _could_run_code(*entry)]
                elif zipfile.is_zipfile(io.BytesIO(content)) or content[:1] == b"\x80":
                    torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as data alone: it is damaged, or holds more than tensors and operators."
        ) from error
    if refused:
        key, value = refused[0]
        raise DataError(
            f"{path} holds {key} {str(value)[:60]!r}, which could run code: export the bare network again."
        )


def _could_run_code(key: Any, value: Any) -> bool:
    """Say whether the loader of ``torch.export`` might run the value of an entry."""
    if key in ("target", "as_operator"):
        return not TARGETS.fullmatch(str(value))
    if key == "expr_str":
        return not SIZES.fullmatch(str(value))
    return key in ("use_pickle", "as_custom_obj") and bool(value)


def _entries(content: Any):
    """Yield the key and the value of every plain entry, however deep."""
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        if isinstance(value, dict | list):
            yield from _entries(value)
        else:
            yield key, value


class Onnx(nn.Module):
    """An ONNX file, run by onnxruntime; attributes and methods are those of `Script`."""

    def __init__(self, path: Path):
        """Load the file.

        Raises:
            ParameterError: The extra ``onnx`` is not installed.
            DataError: It is damaged, or takes more than a batch of images.
        """
        super().__init__()
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise ParameterError(
                f'{path} needs onnx and onnxruntime: pip install "mint-utils[onnx]".'
            ) from error
        self.path, self.onnx, self.runtime = path, onnx, onnxruntime
        try:
            self.model = onnx.load(str(path))
        except Exception as error:  # a damaged file can fail in any way
            raise DataError(f"{path} cannot be read as ONNX: {first(error)}.") from error
        held = {tensor.name for tensor in self.model.graph.initializer}
        inputs = [value for value in self.model.graph.input if value.name not in held]
        dims = inputs[0].type.tensor_type.shape.dim if len(inputs) == 1 else ()
        if len(dims) != 4:
            raise DataError(f"{path} must take one batch of images (N, 3, S, S).")
        self.input = inputs[0].name
        self.batch, self.image_size = dims[0].dim_value or None, dims[3].dim_value or None
        self.at_once = self.batch or FEW

    def values(self) -> dict[str, bool]:
        """Return the names of all results of the graph, in their order, and which are activations."""
        nodes = [node for node in self.model.graph.node if node.op_type != "Constant"]
        return {name: is_activation(node.op_type) for node in nodes for name in node.output if name}

    def reading(self, layers: Sequence[str]) -> Reading:
        """Return a function from a batch to the output and the values named.

        Raises:
            DataError: The graph holds an operator that onnxruntime does not have.
        """
        model = self.onnx.ModelProto()
        model.CopyFrom(self.model)
        own = [value.name for value in model.graph.output]
        for name in layers:
            if name not in own:
                model.graph.output.append(self.onnx.ValueInfoProto(name=name))
        session = self._session(model)

        def read(x: torch.Tensor) -> tuple[Any, dict[str, torch.Tensor]]:
            found = session.run([*own, *layers], {self.input: x.cpu().contiguous().numpy()})
            tensors = [torch.from_numpy(np.asarray(array)).to(x.device) for array in found]
            outputs, maps = tensors[: len(own)], tensors[len(own) :]
            return outputs[0] if len(own) == 1 else outputs, dict(zip(layers, maps, strict=True))

        return read

    def _session(self, model: Any) -> Any:
        options = self.runtime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        # A thread that spins while it waits would occupy a core that PyTorch needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = self.runtime.get_available_providers()
        try:
            return self.runtime.InferenceSession(model.SerializeToString(), options, providers)
        except Exception as error:  # of onnxruntime, which has a class for each status
            raise DataError(f"{self.path} cannot be run by onnxruntime: {first(error)}.") from error

    def shuffled(self) -> "Onnx":
        """Change the weights to shuffled ones, and return the source."""
        tensors = list(self.model.graph.initializer)
        tensors += [n.attribute[0].t for n in self.model.graph.node if n.op_type == "Constant"]
        for tensor in tensors:
            if len(tensor.dims) >= 2:
                array = torch.from_numpy(self.onnx.numpy_helper.to_array(tensor).copy())
                mixed = self.onnx.numpy_helper.from_array(shuffle(array).numpy(), tensor.name)
                tensor.CopyFrom(mixed)
        return self


def first(error: Exception) -> str:
    """Return the message of an error on one line of limited length."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= 300 else f"{text[:300]} ..."


def opened(path: Path) -> Script | Exported | Onnx:
    """Return the source that a file holds, by its content.

    Raises:
        DataError: It is none of the three kinds, such as a pickle.
    """
    names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    if any(name.endswith("/constants.pkl") and "/data/" not in name for name in names):
        return Script(path)
    if any(re.search(r"models/[^/]+\.json$|serialized_exported_program\.json$", n) for n in names):
        return Exported(path)
    if path.suffix == ".onnx":
        return Onnx(path)
    raise DataError(
        f"{path} is no file of TorchScript, torch.export or ONNX (.onnx). A pickled module could run code, "
        "and is not loaded: save its state dict, or name the function that makes it (module:function)."
    )
