"""Any network that an auditor brings, with the interface of the study's own networks.

It is a network of timm, a file of TorchScript, ``torch.export`` or ONNX, or the result of a user's function.
The adapter returns the maps of at most four layers (``forward_intermediates``), the outcome as a unit vector
and its length (``forward``), and their widths. Its input is (N, 3, S, S) float32 as of `images.normalise`,
which it scales to the network's own mean and standard deviation.

No Python code of a file is run (`graphs`), only a function that the user names.
"""

import hashlib
import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import timm
import torch
from torch import nn

from mint_utils.audited import graphs, ir
from mint_utils.audited.margins import FILED
from mint_utils.config import ROWS, unknown
from mint_utils.errors import ParameterError

MOST = len(ROWS) - 2  # layers: the tables have a row for each of them
ENTRY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Modules(nn.Module):
    """A module of PyTorch with the interface of `graphs.Script`; its layers are its submodules."""

    batch = at_once = image_size = None  # any

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module, self.hooks = module.eval(), []

    def values(self) -> dict[str, bool]:
        """Return all names of submodules -> whether it is an activation; not in the order of computation."""
        named = ((name, module) for name, module in self.module.named_modules() if name)
        return {name: graphs.is_activation(type(module).__name__) for name, module in named}

    def reading(self, layers: Sequence[str]) -> graphs.Reading:
        """Return a function from a batch to the output and the last outputs of the named modules.

        It is valid until the next call of this method.
        """
        found: dict[str, torch.Tensor] = {}

        def keep(name: str, output: Any) -> None:
            found.pop(name, None)  # a module that is used twice moves to the place of its last use
            if isinstance(output, torch.Tensor):
                found[name] = output

        for hook in self.hooks:
            hook.remove()
        self.hooks = [
            self.module.get_submodule(name).register_forward_hook(
                lambda _module, _args, output, name=name: keep(name, output)
            )
            for name in layers
        ]

        def read(x: torch.Tensor) -> tuple[Any, dict[str, torch.Tensor]]:
            found.clear()
            return self.module(x), dict(found)

        return read

    shuffled = graphs.Script.shuffled


class Auditable(nn.Module):
    """A source of values with the interface of `ir.IRNet`.

    Attributes:
        feature_info: One dict for each layer: num_chs, reduction, module (its name), side (of its map, px).
        num_features: D, length of the outcome.
        image_size: S.
    """

    def __init__(
        self,
        source: nn.Module,
        where: str,
        image_size: int,
        layers: Sequence[str] = (),
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
    ):
        """Run the network once, and choose its layers if none are named; see `open_network`."""
        super().__init__()
        self.source, self.where, self.image_size = source, where, image_size
        mean, std = (torch.tensor(v).expand(3).reshape(1, 3, 1, 1) for v in (mean, std))
        self.register_buffer("scale", 0.5 / std)  # from -1..1 to the network's own
        self.register_buffer("shift", (0.5 - mean) / std)
        values = source.values()
        self.layers = list(layers)
        absent = [name for name in layers if name not in values]
        if absent or len(layers) > MOST:
            raise ParameterError(self._no_layers(absent, values))
        blank = torch.zeros(source.batch or 1, 3, image_size, image_size)
        outcome, found = self._read_once(blank, source.reading(self.layers or list(values)))
        self.layers = self.layers or chosen(found, values)
        missing = [
            name for name in self.layers if name not in found or found[name].ndim not in (2, 3, 4)
        ]
        if missing:
            raise ParameterError(
                f"{where}: {', '.join(missing)} gives no map (N, C, height, width)."
            )
        self._reading = source.reading(self.layers)
        self.num_features = outcome.shape[1]
        self.feature_info = []
        for name in self.layers:
            channels, side = _map(found[name]).shape[1:3]
            info = {"num_chs": channels, "reduction": image_size / side, "module": name}
            self.feature_info.append(info | {"side": side})

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the outcome as a unit vector (N, D) and its length before that (N, 1), float32."""
        return self.forward_head(self._read(x)[0])

    def forward_head(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the unit vector (N, D) and the length (N, 1) of an outcome (N, D)."""
        norm = torch.linalg.vector_norm(x.float(), dim=1, keepdim=True)
        return x.float() / norm.clamp(min=1e-12), norm

    def forward_intermediates(
        self, x: torch.Tensor, intermediates_only: bool = False
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the outcome (N, D) and the maps of the layers (N, C_i, h_i, w_i), or only these.

        Tokens (N, T, C) become a map (N, C, T, 1), a vector (N, C) a map of a single pixel.
        """
        outcome, maps = self._read(x)
        return maps if intermediates_only else (outcome, maps)

    def _read(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        parts = list(self._parts(x))
        if len(parts) == 1:
            return parts[0]
        maps = [torch.cat(of_layer) for of_layer in zip(*(maps for _, maps in parts), strict=True)]
        return torch.cat([outcome for outcome, _ in parts]), maps

    def _parts(self, x: torch.Tensor) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
        """Yield outcomes and maps, of as many images at a time as the source takes."""
        for part in torch.addcmul(self.shift, x, self.scale).split(
            self.source.at_once or max(1, len(x))
        ):
            n, missing = len(part), -len(part) % (self.source.batch or 1)
            part = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]) if missing else part
            outcome, found = self._read_once(part, self._reading)
            maps = [_map(found[name]) for name in self.layers]
            yield outcome[:n], [of_layer[:n] for of_layer in maps]

    def _read_once(
        self, x: torch.Tensor, reading: graphs.Reading
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        try:
            output, found = reading(x)
        except Exception as error:  # of any runtime, or of the user's own code
            raise ParameterError(
                f"{self.where} cannot be run on {len(x)} images of {x.shape[-1]} px: {graphs.first(error)}. "
                "Give its own image_size."
            ) from error
        return _vector(output, self.where, len(x)), found

    def _no_layers(self, absent: Sequence[str], values: dict[str, bool]) -> str:
        if not absent:
            return f"At most {MOST} layers can be read, not {len(self.layers)}."
        some = [name for name, activation in values.items() if activation] or list(values)
        listed = ", ".join(some[-12:])
        return (
            f"{self.where} has no layer {', '.join(absent)}. The last of its {len(some)}: {listed}."
        )


def chosen(found: dict[str, torch.Tensor], values: dict[str, bool]) -> list[str]:
    """Return the last activation before each halving of the map, at most the last four.

    For a side without an activation function it is the last map of that side. ``found`` has the values of an
    image in the order of computation, ``values`` says which are activations.
    """
    last: dict[int, str] = {}
    for activation in (False, True):
        for name, value in found.items():
            if values[name] == activation and value.ndim == 4 and value.shape[-1] > 1:
                last[value.shape[-1]] = name
    return [last[side] for side in sorted(last, reverse=True)][-MOST:]


def _map(value: torch.Tensor) -> torch.Tensor:
    if value.ndim == 3:
        return value.transpose(1, 2)[..., None]
    return value if value.ndim == 4 else value[..., None, None]


def _vector(output: Any, where: str, n: int) -> torch.Tensor:
    """Return the outcome (N, D) from the output of a network.

    The output is a vector, a map of a single pixel, or a unit vector and its length, as AdaFace's.
    """
    parts = list(output) if isinstance(output, tuple | list) else [output]
    tensors = all(isinstance(part, torch.Tensor) for part in parts)
    shapes = [tuple(part.shape) for part in parts] if tensors else [type(output).__name__]
    if tensors and len(parts) == 2 and shapes[1] == (n, 1) and len(shapes[0]) == 2:
        parts, shapes = [parts[0] * parts[1]], shapes[:1]
    shape = tuple(parts[0].shape) if tensors and len(parts) == 1 else ()
    if len(shape) < 2 or shape[0] != n or shape[1] < 2 or shape[2:] not in ((), (1, 1)):
        raise ParameterError(
            f"{where} gives {', '.join(map(str, shapes))} for {n} images, and not one vector an image: name "
            "a network without its head, whose only output is the embedding (N, D)."
        )
    return parts[0].flatten(1)


@dataclass(frozen=True)
class Opened:
    """A network that was brought, and what its input must be.

    Attributes:
        network: In evaluation mode.
        image_size: Side of its input in pixels.
        colour_order: ``bgr`` or ``rgb``.
        mean: Mean of each channel of its input, on a scale of 0 to 1.
        std: Standard deviation of each channel.
        origin: The name by which it was opened.
    """

    network: Auditable
    image_size: int
    colour_order: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str

    def __str__(self) -> str:
        """Describe its input and its outcome in words."""
        mean, std = (", ".join(f"{v:g}" for v in values) for values in (self.mean, self.std))
        return (
            f"{self.origin}: input {self.image_size} x {self.image_size}, {self.colour_order.upper()}, mean "
            f"{mean}, standard deviation {std}; outcome of {self.network.num_features} numbers"
        )


def layers(network: nn.Module, image_size: int) -> pd.DataFrame:
    """Return a line for each layer of an `Auditable` or `ir.IRNet`: layer (its name), maps, side (px)."""
    lines = []
    for info in network.feature_info:
        side = info.get("side", -(-image_size // info["reduction"]))
        lines.append((info["module"], info["num_chs"], side))
    return pd.DataFrame(lines, columns=["layer", "maps", "side"])


def files(name: str) -> list[Path]:
    """Return the files of a network: its own, and the one beside it where ONNX stores large tensors."""
    paths = Path(name), Path(f"{name}.data")
    return [path for path in paths if path.is_file()] if not timm.is_model(name) else []


@torch.inference_mode()
def fingerprint(name: str, network: Auditable) -> str:
    """Return a hash of a network's name, files and weights.

    What a user's function makes depends on its code besides, so its outcome of one random image counts too,
    rounded, as processors differ in the last digits.
    """
    found = hashlib.sha256(name.encode())
    if isinstance(network.source, graphs.Onnx):
        found.update(network.source.model.SerializeToString(deterministic=True))
    for path in files(name):
        found.update(path.read_bytes())
    for key, value in sorted(network.source.state_dict().items()):
        found.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
    if ENTRY.fullmatch(name):
        shape = network.source.batch or 1, 3, network.image_size, network.image_size
        probe = 2 * torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 1
        outcome = network(probe.to(network.scale.device))[0].cpu().numpy()
        found.update((outcome.round(3) + 0.0).tobytes())  # without -0
    return found.hexdigest()


def open_network(
    name: str,
    image_size: int,
    weights: Path | None = None,
    layers: Sequence[str] = (),
    colour_order: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    trained: bool = True,
) -> Opened:
    """Open a network that is not one of the study's own, which `train.build` makes.

    Args:
        name: A network of timm, a file of TorchScript, ``torch.export`` or ONNX, or
            ``package.module:function``, which is imported and called without arguments.
        image_size: Side of its input in pixels; a size that the network itself specifies takes precedence.
        weights: A file with its state dict. A network of timm without one is untrained.
        layers: Names of at most four layers to read; if empty, `chosen` finds them.
        colour_order: ``bgr`` or ``rgb``; None: RGB.
        mean: Mean of its input's channels, one number or three; None: timm's, else .5.
        std: Standard deviation, as ``mean``.
        trained: False returns the network without its training: one of timm as it is initialised, another
            with its weights shuffled (`graphs.shuffle`).

    Raises:
        ParameterError: There is no such network or layer, or its outcome is no vector.
        DataError: A file is damaged, holds code, or does not fit.
    """
    given = tuple(tuple(v or ()) for v in (mean, std))
    of_timm = timm.is_model(name)
    source, own = _source(name, image_size, weights)
    if weights is not None and (trained or not of_timm):
        _fill(source.module, weights)
    if not trained and not of_timm:
        source.shuffled()
    mean, std = (a or tuple(b) for a, b in zip(given, own, strict=True))
    size = source.image_size or image_size
    network = Auditable(source, name, size, layers, mean, std).eval()
    return Opened(network, size, colour_order or "rgb", mean, std, name)


def _source(name: str, image_size: int, weights: Path | None) -> tuple[nn.Module, tuple]:
    """Return a network, and the mean and std that are usual for it."""
    if name in ir.SHAPES:
        raise ParameterError(
            f"{name} is one of the study's own networks, which `train.build` makes."
        )
    if timm.is_model(name):
        config = timm.get_pretrained_cfg(name)
        size = {"img_size": image_size} if config.fixed_input_size else {}
        with torch.random.fork_rng():
            torch.manual_seed(0)  # the same initial weights at each call
            module = timm.create_model(name, num_classes=0, **size)
        return Modules(module), (config.mean, config.std)
    if Path(name).is_file():
        if weights is not None:
            raise ParameterError(
                f"{name} holds its weights: take {weights} away, or name another network."
            )
        return graphs.opened(Path(name)), ((0.5,), (0.5,))
    if ENTRY.fullmatch(name):
        return Modules(_called(name)), ((0.5,), (0.5,))
    raise ParameterError(
        f"{unknown('network', name, ir.SHAPES)} Or any of timm, a file of TorchScript, torch.export or "
        "ONNX that exists, or package.module:function."
    )


def _called(name: str) -> nn.Module:
    module, _, function = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), function)()
    except Exception as error:  # of the user's own code
        raise ParameterError(
            f"{name} cannot be called: {type(error).__name__}, {graphs.first(error)}."
        ) from error
    if not isinstance(made, nn.Module):
        raise ParameterError(
            f"{name} returns {type(made).__name__}, and must return a torch.nn.Module."
        )
    return made


def _fill(module: nn.Module, weights: Path) -> None:
    """Load a state dict, all entries of the network or none, without those of a head or classifier."""
    wanted, where = module.state_dict(), str(weights)
    classifier = f"{getattr(module, 'default_cfg', {}).get('classifier', 'head')}."
    state = {
        name: value
        for name, value in ir._state(weights).items()
        if name in wanted or not (name.startswith((classifier, "head.")) or name in FILED)
    }
    ir._refuse_no_numbers(where, state)
    module.load_state_dict(ir.fitting(where, wanted, state))
