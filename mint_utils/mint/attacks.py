"""Known attacks on M, as references for MINT: the membership that can be read without a MINT Model.

They read arrays that M gives for N images, each in V views of which the first is the image itself. They
return (N,) float64 scores, higher for likelier members, and NaN where an attack does not apply to an image
(it asks for the own class, and M was never shown that person). ``ATTACKS`` lists them with what each needs;
those with shadow models are in `shadows`.

No package is used for them: ML Privacy Meter's release has neither LiRA nor RMIA, the Adversarial Robustness
Toolbox works only on a classifier that it calls itself, and TensorFlow Privacy brings TensorFlow.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import log_expit
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from mint_utils.errors import ParameterError
from mint_utils.mint import shadows

RESOLVED = 1e-3  # the least loss that a difference of float32 logits of about 64 has to one percent
QUANTILE = 0.95  # of the non-members: a higher one would depend on a handful of them


def largest_cosine(nearest: np.ndarray) -> np.ndarray:
    """Return the cosine to the nearest class centre, of (N, V, K) cosines in descending order."""
    return nearest[:, 0, 0].astype(np.float64)


def cosine_gap(nearest: np.ndarray) -> np.ndarray:
    """Return by how much the nearest class centre is nearer than the second, of (N, V, K) cosines."""
    first = nearest[:, 0].astype(np.float64)
    return first[:, 0] - first[:, 1]


def confidence(nearest: np.ndarray, log_sum: np.ndarray, s: float) -> np.ndarray:
    """Return the log probability of the nearest class: the largest logit less their logsumexp.

    Args:
        nearest: (N, V, K), the K largest cosines to class centres, in descending order.
        log_sum: (N, V), logsumexp of s times the cosines to all centres.
        s: Scale of the head.
    """
    logits = s * nearest[:, 0].astype(np.float64)
    others = np.exp(logits[:, 1:] - logits[:, :1]).sum(axis=1)
    # Where M is sure, the two large numbers differ by less than their last digit. There the other classes
    # among the K nearest are summed instead; all further ones are negligible beside them.
    return -np.where(others > RESOLVED, log_sum[:, 0] - logits[:, 0], np.log1p(others))


def own_cosine(own: np.ndarray) -> np.ndarray:
    """Return the cosine to the centre of the own class, of (N, V)."""
    return own[:, 0].astype(np.float64)


def loss(own: np.ndarray, log_rest: np.ndarray, s: float) -> np.ndarray:
    """Return the negative of the cross-entropy on the own class, no margin (arXiv 1709.01604).

    Args:
        own: (N, V) cosines to the centre of the own class.
        log_rest: (N, V), logsumexp of s times the cosines to all other centres.
        s: Scale of the head.
    """
    return log_expit(shadows.log_odds(own[:, 0], log_rest[:, 0], s))


def gradient(own: np.ndarray, log_rest: np.ndarray, own_length: np.ndarray, s: float) -> np.ndarray:
    """Return minus the log of the gradient that an image still exerts on its class centre w.

    The gradient of the cross-entropy, without margin, by w has the norm s (1 - p) sin(angle) / (length of w).
    It is the last layer's part of the gradients that arXiv 2406.11544 reads. Arguments as for `loss`, and the
    length of w (N,).
    """
    left = log_expit(-shadows.log_odds(own[:, 0], log_rest[:, 0], s))
    sine = np.log1p(-np.square(own[:, 0].astype(np.float64))) / 2
    return np.log(own_length) - np.log(s) - left - sine


def loss_of_copies(own: np.ndarray, log_rest: np.ndarray, s: float) -> np.ndarray:
    """Return the mean log odds over all views: image, mirror and shifted copies; arguments as for `loss`."""
    return shadows.log_odds(own, log_rest, s).mean(axis=1)


def embedding_norm(norm: np.ndarray) -> np.ndarray:
    """Return the length of the embedding before normalisation, of (N, V)."""
    return norm[:, 0].astype(np.float64)


@contextmanager
def batch_norm_probe(network: nn.Module) -> Iterator[Callable[[], np.ndarray]]:
    """Measure, in the forward pass made inside, how far each image is from every BatchNorm2d's statistics.

    arXiv 2401.13719 takes the squared distance of the layer's input, averaged over the map, from the running
    mean. Here each channel is divided by its running variance and the channels are averaged, so that layers
    of any width and scale are comparable: mean over c of (mean of x_c - mean_c)^2 / (var_c + eps).

    Args:
        network: In evaluation mode.

    Yields:
        A function that returns, after the pass, (N, L) float32, layers in the order of
        ``network.modules()``.

    Raises:
        ParameterError: The network is in training mode, in which a pass would change its statistics, or
            it has no BatchNorm2d.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if network.training or not layers:
        raise ParameterError(
            "Distances to batch-norm statistics need a network with BatchNorm2d in evaluation mode."
        )
    found: dict[nn.Module, torch.Tensor] = {}

    def measure(layer: nn.BatchNorm2d, args: tuple[torch.Tensor]) -> None:
        away = args[0].float().mean(dim=(2, 3)) - layer.running_mean
        found[layer] = (away.square() / (layer.running_var + layer.eps)).mean(dim=1)

    hooks = [layer.register_forward_pre_hook(measure) for layer in layers]
    try:
        yield lambda: torch.stack([found[layer] for layer in layers], dim=1).cpu().numpy()
    finally:
        for hook in hooks:
            hook.remove()


def batch_norm_distance(distances: np.ndarray) -> np.ndarray:
    """Return the negative of the mean distance over layers, of (N, L); it needs no known member."""
    return -distances.mean(axis=1, dtype=np.float64)


def batch_norm_classifier(
    distances: np.ndarray, train: np.ndarray, train_labels: np.ndarray
) -> np.ndarray:
    """Return the log odds of a linear layer with a sigmoid on the distances (arXiv 2401.13719).

    Args:
        distances: (N, L), from `batch_norm_probe`.
        train: (n,) int64, rows of images whose membership is known.
        train_labels: (n,) bool, True for members.
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(distances[train].astype(np.float64), train_labels)
    return classifier.decision_function(distances.astype(np.float64))


def quantile_regression(
    statistic: np.ndarray, features: np.ndarray, non_members: np.ndarray
) -> np.ndarray:
    """Return how far a score exceeds the 95% quantile of similar non-members (arXiv 2307.03694).

    A quantile regressor (pinball loss, boosted trees) learns the 95% quantile of the score given the
    image, from known non-members alone. The score returned is the score less the predicted quantile. The
    paper calls an image a member where that is positive; here every threshold is tried.

    Args:
        statistic: (N,), a score of another attack; the paper takes a confidence.
        features: (N, F), which show how easy an image is and preferably do not change with membership.
        non_members: (n,) int64, rows of known non-members. The regressor is fitted to them, so their own
            scores are not to be evaluated.

    Raises:
        ParameterError: No known non-member has a score.
    """
    rows = non_members[~np.isnan(statistic[non_members])]
    if not len(rows):
        raise ParameterError("Quantile regression needs known non-members that have a score.")
    regressor = HistGradientBoostingRegressor(
        loss="quantile",
        quantile=QUANTILE,
        max_leaf_nodes=8,  # few non-members: small trees
        early_stopping=False,
        random_state=0,
    )
    return statistic - regressor.fit(features[rows], statistic[rows]).predict(features)


@dataclass(frozen=True)
class Attack:
    """An attack and what it asks for.

    Attributes:
        name: The name that tables show.
        function: Returns (N,) scores when called with the arrays it reads, by name.
        reads: Names of the arrays.
        source: arXiv id of its paper, empty where it is an observation of this study.
        label: Whether the identity of the image must be known, and be a class of M.
        shadows: Whether it needs shadow models.
        known: Images whose membership must be known beforehand.
        access: ``black box`` where the output of the network is enough, ``white box`` where its inside or
            the class centres of its head are read. Papers call attacks on class probabilities black box,
            but a face network in use has no head.
        of: The statistic whose ``phi_target`` and ``phi_shadow`` it is given, where it reads those.
    """

    name: str
    function: Callable[..., np.ndarray]
    reads: tuple[str, ...]
    source: str = ""
    label: bool = False
    shadows: bool = False
    known: str = "none"
    access: str = "white box"
    of: str = "odds"


_LIRA = ("phi_target", "phi_shadow", "seen")
_RMIA = ("log_p_target", "log_p_shadow", "seen", "population")
_INFO = _RMIA[:3]
_SHADOWS = {"label": True, "shadows": True}
_POPULATION = {"known": "non-members"}
_RMIA_OFFLINE = functools.partial(shadows.rmia, a=shadows.OFFLINE_A)
_INFO_OFFLINE = functools.partial(shadows.informia, a=shadows.OFFLINE_A)
OWN_SHARE = "share in the own centre"
ATTACKS = (
    Attack("largest cosine", largest_cosine, ("nearest",)),
    Attack("gap of the two largest", cosine_gap, ("nearest",)),
    Attack("confidence", confidence, ("nearest", "log_sum", "s"), "1806.01246"),
    Attack("own cosine", own_cosine, ("own",), label=True),
    Attack("loss", loss, ("own", "log_rest", "s"), "1709.01604", label=True),
    Attack("embedding norm", embedding_norm, ("norm",), access="black box"),
    Attack("batch-norm distance", batch_norm_distance, ("distances",), "2401.13719"),
    Attack(
        "batch-norm classifier",
        batch_norm_classifier,
        ("distances", "train", "train_labels"),
        "2401.13719",
        known="members and non-members",
    ),
    Attack(
        "quantile regression",
        quantile_regression,
        ("statistic", "features", "non_members"),
        "2307.03694",
        label=True,
        known="non-members",
    ),
    Attack("LiRA, offline", shadows.lira_offline, _LIRA, "2112.03570", **_SHADOWS),
    Attack("LiRA, online", shadows.lira_online, _LIRA, "2112.03570", **_SHADOWS),
    Attack("RMIA, offline", _RMIA_OFFLINE, _RMIA, "2312.03262", **_SHADOWS | _POPULATION),
    Attack("RMIA, online", shadows.rmia, _RMIA, "2312.03262", **_SHADOWS | _POPULATION),
    *(
        Attack(f"LiRA, offline, {of}", shadows.lira_offline, _LIRA, "2112.03570", of=of, **_SHADOWS)
        for of in ("own cosine", "margin", "second centre", "share")
    ),
    Attack("BaVarIA, offline", shadows.bavaria_offline, _LIRA, "2603.11799", **_SHADOWS),
    Attack("BaVarIA, online", shadows.bavaria_online, _LIRA, "2603.11799", **_SHADOWS),
    Attack("InfoRMIA, offline", _INFO_OFFLINE, _INFO, "2510.05582", **_SHADOWS),
    Attack("InfoRMIA, online", shadows.informia, _INFO, "2510.05582", **_SHADOWS),
    Attack("loss less one shadow's", shadows.difference, _LIRA[:2], "2111.08440", **_SHADOWS),
    Attack(OWN_SHARE, lambda share: share, ("share",), "1811.09720", label=True),
    Attack("share in the nearest centre", lambda nearest_share: nearest_share, ("nearest_share",)),
    Attack(
        "gradient of the own centre", gradient, ("own", "log_rest", "own_length", "s"), label=True
    ),
    Attack("loss of copies", loss_of_copies, ("own", "log_rest", "s"), label=True),
)
