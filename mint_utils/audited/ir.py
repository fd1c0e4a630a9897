"""IR networks of face recognition: the Audited Model's IR-50 and its smaller relatives.

The input is (N, 3, S, S) float32, aligned faces scaled to -1..1, where S is the network's ``img_size``. The
output is the embedding as a unit vector (N, D) and its length (N, 1), as in AdaFace (arXiv 2204.00964).
Importing this module registers ``ir_50``, ``ir_101``, ``ir_18``, ``ir_small`` and ``ir_tiny`` with
``timm.create_model``.

Entries of the state dict have the names of AdaFace's published checkpoints. ``load_weights`` reads weights of
AdaFace and of InsightFace's ``iresnet``.
"""

import math
import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.models import register_model
from torch import nn

from mint_utils.data.images import normalise
from mint_utils.errors import DataError

POOLING = {"max": torch.amax, "mean": torch.mean}  # how a map becomes a number
COLOUR_ORDERS = {"adaface": "bgr", "insightface": "rgb"}  # layout of weights -> input they expect
COUNTERS = ".num_batches_tracked"  # of BatchNorm, without effect in evaluation
OTHERS = {  # pattern of the names of entries, one on each line -> the family of networks
    r"(?m)(^|\.)blocks\.\d+\.attn\.": "a vision transformer",
    r"(?m)(^|\.)(block35|repeat_1|mixed_6a|conv2d_1a)\b": "facenet-pytorch's InceptionResnetV1",
    r"(?m)(^|\.)conv_dw\b|\.conv_sep\b": "a MobileFaceNet",
    r"(?m)\.res_layer\.\d+\.fc1\.": "an IR network with squeeze and excitation (IR-SE)",
    r"(?m)^layer1\.0\.conv3\.": "a ResNet of bottleneck units, as ResNet-50 of torchvision and timm",
    r"(?s)\A(?!.*prelu).*layer1\.0\.conv1": "a ResNet of torchvision or timm",
}


class IRUnit(nn.Module):
    """Residual unit: BN, conv 3x3, BN, PReLU, conv 3x3 with the stride, BN; and a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__()
        if width_in != width:
            self.shortcut_layer = _projection(width_in, width, stride)
        else:  # every stride-th pixel
            self.shortcut_layer = nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(width_in),
            nn.Conv2d(width_in, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, width_in, H, W) to (N, width, ceil(H / stride), ceil(W / stride))."""
        return self.res_layer(x) + self.shortcut_layer(x)


class IRNet(nn.Module):
    """A stem, four stages of units that each halve the map, and a linear layer to the embedding.

    Attributes:
        feature_info: One dict for each stage end: num_chs, reduction, module.
        num_features: D, length of the embedding.
    """

    def __init__(
        self,
        units: Sequence[int],
        widths: Sequence[int],
        num_features: int,
        img_size: int = 112,
        drop_rate: float = 0.4,
    ):
        super().__init__()
        self.num_features = num_features
        self.units = tuple(units)
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, 1, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.PReLU(widths[0]),
        )
        body, width_in = [], widths[0]
        for count, width in zip(units, widths, strict=True):
            for i in range(count):
                body.append(IRUnit(width_in, width, stride=1 if i else 2))
                width_in = width
        self.body = nn.Sequential(*body)
        side = -(-img_size // 2 ** len(units))  # halved and rounded up by each stage
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(width_in),
            nn.Dropout(drop_rate),
            nn.Flatten(),
            nn.Linear(width_in * side * side, num_features),
            nn.BatchNorm1d(num_features, affine=False),
        )
        self.feature_info = [
            {"num_chs": width, "reduction": 2 ** (i + 1), "module": f"body.{end - 1}"}
            for i, (width, end) in enumerate(zip(widths, accumulate(units), strict=True))
        ]
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.output_layer[3].bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the unit vector (N, D) and the embedding's length (N, 1), never below float32."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last map, (N, C, s, s)."""
        return self.body(self.input_layer(x))

    def forward_head(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the unit vector (N, D) and the embedding's length (N, 1) of the last map."""
        x = self.output_layer(x)
        # The margin depends on small differences between lengths, which bfloat16 would lose.
        dtype = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=dtype)
        return x / norm, norm

    def forward_intermediates(
        self, x: torch.Tensor, intermediates_only: bool = False
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the last map (N, C, s, s) and the four stage outputs (N, C_i, s_i, s_i), or only these."""
        x, outputs = self.input_layer(x), []
        ends = [end - 1 for end in accumulate(self.units)]
        for i, unit in enumerate(self.body):
            x = unit(x)
            if i in ends:
                outputs.append(x)
        return outputs if intermediates_only else (x, outputs)


def inputs(images: np.ndarray, colour_order: str, device: torch.device) -> torch.Tensor:
    """Return images (N, S, S, 3) uint8 RGB as a network's input, (N, 3, S, S) float32 on a device."""
    return normalise(torch.from_numpy(images).to(device).permute(0, 3, 1, 2), colour_order)


def auditable(
    model: nn.Module, x: torch.Tensor, pooling: str = "max"
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return the auditable data of images from one forward pass (the paper, Section 3.3).

    Args:
        model: An `IRNet` or `networks.Auditable`, in evaluation mode.
        x: (N, 3, S, S), input of the network.
        pooling: How a map becomes a number: ``max``, the paper's, or ``mean``.

    Returns:
        A number for each map of the four stage outputs, (N, C_i) each, and the Model Outcome, the
        unit vector (N, D).
    """
    features, stages = model.forward_intermediates(x)
    outcome, _ = model.forward_head(features)
    return [POOLING[pooling](stage, dim=(2, 3)) for stage in stages], outcome


def load_weights(model: IRNet, source: str | Path | Mapping[str, Any]) -> str:
    """Load published weights, all entries or none; no code of the file is run.

    InsightFace's networks differ from AdaFace's in two places. The shortcut of their first unit is a
    projection, which replaces that of ``model``. Their last BatchNorm has a weight and a bias, which are
    folded into the linear layer and the running mean: this is exact in evaluation mode, but a model trained
    further would not have them.

    Args:
        model: A network of the kind and ``img_size`` of the weights; changed in place.
        source: A file of ``torch.save``, or its content: a state dict or a dict with one under
            ``state_dict``. A prefix that all entries share (such as ``model.`` or ``module.``) is removed,
            entries ``head.*`` are left out. Counters of BatchNorm may be missing, but no other tensor.

    Returns:
        The layout of the file, ``adaface`` or ``insightface``: the key into ``COLOUR_ORDERS``.

    Raises:
        DataError: There is no such file, or entries are missing, unexpected, of another shape or not finite.
    """
    state = {k: v for k, v in _state(source).items() if not k.startswith("head.")}
    family = _family(state)
    _refuse_no_numbers(_where(source), state)
    layout = "insightface" if any(k.startswith("layer1.") for k in state) else "adaface"
    wanted, projection = model.state_dict(), None
    if layout == "insightface":
        state = dict(_adaface_names(_without_affine(state, model.output_layer[4].eps), model.units))
        width = model.feature_info[0]["num_chs"]
        projection = _projection(width, width, 2).to(wanted["output_layer.3.weight"])
        wanted |= {f"body.0.shortcut_layer.{k}": v for k, v in projection.state_dict().items()}
    state = fitting(_where(source), wanted, state, family)
    if projection is not None:
        model.body[0].shortcut_layer = projection.train(model.training)
    model.load_state_dict(state)
    return layout


def _where(source: str | Path | Mapping[str, Any]) -> str:
    return "The state dict" if isinstance(source, Mapping) else str(source)


def _state(source: str | Path | Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the entries of a state dict, without prefixes that all entries of the network share."""
    content = source if isinstance(source, Mapping) else _read(Path(source))
    if "_modules" in getattr(content, "__dict__", {}):
        raise DataError(
            f"{_where(source)} is a whole pickled module, of torch.save(network), which cannot be read "
            "without running its code: where that is at hand, save network.state_dict() alone."
        )
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(
        isinstance(v, torch.Tensor) for v in state.values()
    ):
        raise DataError(
            f"{_where(source)} holds no state dict (name -> tensor), at the top or under 'state_dict': "
            "save the network's state_dict() and load that."
        )
    return _without_prefixes(dict(state))


def _without_prefixes(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Remove the prefixes that wrappers put before every entry; the head may lack some of them."""
    while True:
        first = {name.split(".")[0] for name in state if not name.startswith("head.")}
        if len(first) != 1 or any("." not in name for name in state):
            return state
        prefix = f"{first.pop()}."
        state = {name.removeprefix(prefix): value for name, value in state.items()}


def _refuse_no_numbers(where: str, state: Mapping[str, torch.Tensor]) -> None:
    wrong = [name for name, value in state.items() if not value.isfinite().all()]
    if wrong:
        raise DataError(
            f"{where} holds values that are no numbers (NaN or infinite) in {len(wrong)} of {len(state)} "
            f"entries, the first {wrong[0]}: bring weights of a training that did not fail."
        )


def _projection(width_in: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))


def _read(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"{path} does not exist: give the file of the weights.")
    try:
        # Lightning's checkpoints also contain objects of the training program. These are read as plain
        # dictionaries and not used: nothing is imported or run.
        zipped = zipfile.is_zipfile(path)
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path) if zipped else []
        with torch.serialization.safe_globals([(OrderedDict, name) for name in names]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        raise DataError(
            f"{path} cannot be read as weights alone: it is damaged, or holds more than tensors. "
            "Where you trust it, load it yourself and save its state dict with torch.save."
        ) from error


def _without_affine(state: dict[str, torch.Tensor], eps: float) -> dict[str, torch.Tensor]:
    """Fold weight and bias of ``features`` (BatchNorm1d) into ``fc`` and the running mean."""
    mean, var = "features.running_mean", "features.running_var"
    affine = "features.weight", "features.bias"
    if not {"fc.weight", "fc.bias", mean, var, *affine} <= state.keys():
        return state
    weight, bias = (state.pop(name).float() for name in affine)
    state["fc.weight"] = state["fc.weight"] * weight[:, None]
    state["fc.bias"] = state["fc.bias"] * weight
    state[mean] = state[mean] * weight - bias * (state[var] + eps).sqrt()
    return state


def _adaface_names(
    state: Mapping[str, torch.Tensor], units: Sequence[int]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield InsightFace's entries under AdaFace's names, and entries without such a name unchanged."""
    outside = {
        "conv1": "input_layer.0",
        "bn1": "input_layer.1",
        "prelu": "input_layer.2",
        "bn2": "output_layer.0",
        "fc": "output_layer.3",
        "features": "output_layer.4",
    }
    inside = {
        "bn1": "res_layer.0",
        "conv1": "res_layer.1",
        "bn2": "res_layer.2",
        "prelu": "res_layer.3",
        "conv2": "res_layer.4",
        "bn3": "res_layer.5",
        "downsample": "shortcut_layer",
    }
    first = list(accumulate(units, initial=0))
    for name, value in state.items():
        part, _, entry = name.partition(".")
        found = re.fullmatch(r"layer([1-4])\.(\d+)\.(\w+)\.(.+)", name)
        if part in outside:
            name = f"{outside[part]}.{entry}"
        # A unit that this stage does not have must not become one of the next stage.
        elif found and found[3] in inside and int(found[2]) < units[int(found[1]) - 1]:
            place = first[int(found[1]) - 1] + int(found[2])
            name = f"body.{place}.{inside[found[3]]}.{found[4]}"
        yield name, value


def fitting(
    where: str,
    wanted: Mapping[str, torch.Tensor],
    state: dict[str, torch.Tensor],
    family: str | None = None,
) -> dict[str, torch.Tensor]:
    """Return a state dict, completed by counters of BatchNorm.

    Raises:
        DataError: Wanted entries are missing, or some are unexpected or of another shape.
    """
    state |= {k: v for k, v in wanted.items() if k.endswith(COUNTERS) and k not in state}
    shapes = [
        f"{name} {tuple(value.shape)} for {tuple(wanted[name].shape)}"
        for name, value in state.items()
        if name in wanted and value.shape != wanted[name].shape
    ]
    kinds = {
        "missing": [name for name in wanted if name not in state],
        "unexpected": [name for name in state if name not in wanted],
        "of another shape": shapes,
    }
    if any(kinds.values()):
        listed = "; ".join(
            f"{len(names)} {kind} ({', '.join(names[:10])}{', ...' if len(names) > 10 else ''})"
            for kind, names in kinds.items()
            if names
        )
        raise DataError(
            f"{where} does not fit the network. Entries: {listed}. {_remedy(state, family)}"
        )
    return state


def _remedy(state: Mapping[str, torch.Tensor], family: str | None) -> str:
    """Return the network that the entries look like in words, and the parameters for it."""
    units, widths = _units(state)
    alike = [n for n, s in SHAPES.items() if (s["units"], s["widths"]) == (units, widths)]
    last = state.get("output_layer.3.weight")
    if alike and last is not None:
        side = math.isqrt(last.shape[1] // widths[-1])  # of the last map: one for 16 image sizes
        size = f"image_size {16 * side} (or up to 15 px less)"
        return f"They look like {alike[0]}: give network {alike[0]} and {size}."
    found = f"They look like {family}. " if family and not alike else ""
    return (
        f"{found}Create the network and the img_size that the weights were made for (parameters network and "
        f"image_size): there are {', '.join(SHAPES)}, in AdaFace's or InsightFace's names."
    )


def _family(names: Iterable[str]) -> str | None:
    """Return the family of networks with entries of these names; None if it is not known."""
    text = "\n".join(names)
    return next((family for pattern, family in OTHERS.items() if re.search(pattern, text)), None)


def _units(state: Mapping[str, torch.Tensor]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the number of units and the width of each stage, from entries under AdaFace's names."""
    last = re.compile(r"body\.\d+\.res_layer\.4\.weight")  # of a unit
    units = Counter(len(value) for name, value in state.items() if last.fullmatch(name))
    widths = sorted(units)
    return tuple(units[width] for width in widths), tuple(widths)


# AdaFace's IR-50 is the paper's Audited Model: 43,585,600 parameters, 6.3 GMAC at 112 px. Most published
# weights are of IR-101. IR-18 has the widths of IR-50 and two units in each stage. The last two, for 56 and
# 40 px on a CPU, are a choice of this study.
WIDE = {"widths": (64, 128, 256, 512), "num_features": 512}
SHAPES: dict[str, dict[str, Any]] = {
    "ir_50": {"units": (3, 4, 14, 3), **WIDE},
    "ir_101": {"units": (3, 13, 30, 3), **WIDE},
    "ir_18": {"units": (2, 2, 2, 2), **WIDE},
    "ir_small": {
        "units": (2, 2, 2, 2),
        "widths": (32, 64, 128, 256),
        "num_features": 256,
        "img_size": 56,
    },
    "ir_tiny": {
        "units": (1, 1, 1, 1),
        "widths": (16, 32, 64, 128),
        "num_features": 128,
        "img_size": 40,
    },
}


def _register(name: str) -> None:
    def make(pretrained: bool = False, **given: Any) -> IRNet:
        of_timm = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
        return IRNet(**SHAPES[name] | {k: v for k, v in given.items() if k not in of_timm})

    make.__name__ = name
    register_model(make)


for _name in SHAPES:
    _register(_name)
