"""Attacks that compare M with shadow models, trained as M is on known halves of D: LiRA, RMIA and kin.

They read log odds or log probabilities of the own class by M and by each shadow model, for N images in V
views, and which shadow model was trained on which image. They return (N,) float64 scores, higher for likelier
members.

A shadow model that was never shown a person has no class for it: its reading is NaN and is left out for
that image. A score is NaN where M has no reading, or where no shadow model is left on a side that is needed.
"""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm, t

from mint_utils.errors import ParameterError

OFFLINE_A = 0.3  # `rmia` without models trained on the image: its paper's value for CIFAR-10
PRIOR = 4.0  # BaVarIA: the number of readings for which the variance of all images together counts
AT_ONCE = 1 << 24  # comparisons of an image with a population image held at once


def log_odds(own: np.ndarray, log_rest: np.ndarray, s: float) -> np.ndarray:
    """Return LiRA's confidence, log p - log(1 - p) of the own class (arXiv 2112.03570, Section IV-C).

    Nothing is exponentiated, so it is exact however near p is to 0 or 1.

    Args:
        own: (N, V) cosines to the centre of the own class, NaN where there is none.
        log_rest: (N, V), logsumexp of s times the cosines to all other centres.
        s: Scale of the head.
    """
    return s * own.astype(np.float64) - log_rest


def lira_online(phi_target: np.ndarray, phi_shadow: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the log likelihood ratio of member to non-member (arXiv 2112.03570, Algorithm 1).

    Each image has its own two means. The two variances are those of all images together, which the paper
    advises where there are few shadow models (Section VI). They are taken around the means of the images,
    because the test needs the scatter between models, not the scatter between images. Views count as
    independent.

    Args:
        phi_target: (N, V) log odds by M.
        phi_shadow: (S, N, V) log odds by each shadow model.
        seen: (S, N) bool, True where the shadow model was trained on the image.

    Raises:
        ParameterError: No image has two readings on a side, so there is no variance.
    """
    inside, outside = (_gaussian(phi_shadow, side) for side in (seen, ~seen))
    phi = phi_target.astype(np.float64)
    return (norm.logpdf(phi, *inside) - norm.logpdf(phi, *outside)).sum(axis=1)


def lira_offline(phi_target: np.ndarray, phi_shadow: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return how improbable so high a confidence is for models that never saw the image.

    The score is -log Pr[Z > phi], where Z is normal with the mean of the shadow models that were not trained
    on the image. It orders images as the paper's 1 - Pr[Z > phi] does, without ties where that rounds to 1
    (arXiv 2112.03570, Section V). The variance is that of `lira_online`. Views are summed, as independent
    tests are. Arguments as for `lira_online`.

    Raises:
        ParameterError: No image has two readings by such models, so there is no variance.
    """
    phi = phi_target.astype(np.float64)
    return -norm.logsf(phi, *_gaussian(phi_shadow, ~seen)).sum(axis=1)


def rmia(
    log_p_target: np.ndarray,
    log_p_shadow: np.ndarray,
    seen: np.ndarray,
    population: np.ndarray,
    a: float | None = None,
) -> np.ndarray:
    """Return the share of the population that an image dominates, ties by its ratio (arXiv 2312.03262).

    An image x dominates z where Pr(x|M) / Pr(x) is at least Pr(z|M) / Pr(z). With several views, x dominates
    z where it does in half of the views or more. The paper asks for a ratio gamma times as large. Here gamma
    is 1, the default of its authors' ML Privacy Meter: with one view it moves scores and hardly their order,
    and 1 leaves no ties where all probabilities are near 1.

    A population is finite, and images that dominate all of it would tie. Among images of one share the mean
    log ratio decides, by less than one image of the population.

    Args:
        log_p_target: (N, V) log probabilities of the own class by M.
        log_p_shadow: (S, N, V), the same by each shadow model.
        seen: (S, N) bool, True where the shadow model was trained on the image.
        population: (Z,) int64, rows of known non-members of M: the z.
        a: None for the online attack: Pr(x) is the mean probability by shadow models trained on x and by
            those that were not, half each. A number for the offline attack, which reads only the shadow
            models that were not trained on x. With P their mean probability, that of a model trained on x is
            taken to be a P + (1 - a), so that Pr(x) = ((1 + a) P + (1 - a)) / 2. With a = 1 training
            changes nothing, with a = 0 it makes every probability 1.

    Raises:
        ParameterError: No image of the population has a ratio.
    """
    return _dominated(log_p_target - _prior(log_p_shadow, seen, a), population)


def informia(
    log_p_target: np.ndarray, log_p_shadow: np.ndarray, seen: np.ndarray, a: float | None = None
) -> np.ndarray:
    """Return log Pr(x|M) / Pr(x), the mean over views (arXiv 2510.05582); arguments as for `rmia`.

    The paper adds KL(Pr(z) || Pr(z|M)) over a population, which is the same for all images of one M.
    """
    return (log_p_target - _prior(log_p_shadow, seen, a)).mean(axis=1)


def bavaria_online(phi_target: np.ndarray, phi_shadow: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the log ratio of Student's t predictives, member to non-member (BaVarIA-t, arXiv 2603.11799).

    Each image has a variance of its own with a normal-inverse-gamma prior: it counts as `PRIOR` readings of
    the variance of all images together, and the mean has a flat prior (both choices of this study). With n
    readings of mean m and squares q the predictive is t with f = PRIOR + n - 1 degrees of freedom, centre m
    and squared scale (PRIOR s^2 + q) / f * (1 + 1 / n). Arguments and errors as for `lira_online`.
    """
    phi = phi_target.astype(np.float64)
    inside, outside = (_predictive(phi_shadow, side) for side in (seen, ~seen))
    return (t.logpdf(phi, *inside) - t.logpdf(phi, *outside)).sum(axis=1)


def bavaria_offline(phi_target: np.ndarray, phi_shadow: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return `lira_offline`'s score with the predictive of `bavaria_online`."""
    return -t.logsf(phi_target.astype(np.float64), *_predictive(phi_shadow, ~seen)).sum(axis=1)


def difference(phi_target: np.ndarray, phi_shadow: np.ndarray) -> np.ndarray:
    """Return by how much M exceeds one shadow model, the first, the mean over views.

    The shadow model shows how hard the image is (arXiv 2111.08440). Where it does not know the person, its
    mean over all images is used.
    """
    reference = phi_shadow[0].astype(np.float64)
    reference = np.where(np.isnan(reference), np.nanmean(reference), reference)
    return (phi_target - reference).mean(axis=1)


def _prior(log_p_shadow: np.ndarray, seen: np.ndarray, a: float | None) -> np.ndarray:
    """Return log Pr(x), (N, V), with a as for `rmia`."""
    outside = _log_mean(log_p_shadow, ~seen)
    if a is None:
        return _mixture(np.stack([_log_mean(log_p_shadow, seen), outside]), np.array(0.5))
    weights = np.array([1 + a, 1 - a]).reshape(2, 1, 1) / 2
    return _mixture(np.stack([outside, np.zeros_like(outside)]), weights)


def _predictive(phi: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return degrees of freedom, centre and scale (N, V) of `bavaria_online`'s predictive."""
    mean, deviation = _gaussian(phi, side)
    valid = side[:, :, None] & ~np.isnan(phi)
    count = np.where(valid.any(axis=0), valid.sum(axis=0), np.nan)
    squares = (np.where(valid, phi - mean, 0) ** 2).sum(axis=0)
    freedom = PRIOR + count - 1
    variance = (PRIOR * deviation**2 + squares) / freedom
    return freedom, mean, np.sqrt(variance * (1 + 1 / count))


def _gaussian(phi: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of each image and view (N, V), and the deviation of each view (V,)."""
    phi = phi.astype(np.float64)
    valid = side[:, :, None] & ~np.isnan(phi)
    count = valid.sum(axis=0)
    total = np.where(valid, phi, 0).sum(axis=0)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    squares = (np.where(valid, phi - mean, 0) ** 2).sum(axis=(0, 1))
    freedom = np.maximum(count - 1, 0).sum(axis=0)  # a mean fitted to each image costs one reading
    if not freedom.all():
        raise ParameterError(
            "LiRA needs images with two readings on the same side (trained on it, or not): "
            "train two pairs of shadow models or more."
        )
    return mean, np.sqrt(squares / freedom)


def _log_mean(log_p: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Return (N, V), the log of the mean probability over the models of that side."""
    valid = side[:, :, None] & ~np.isnan(log_p)
    count = valid.sum(axis=0)
    weights = valid / np.where(count > 0, count, np.nan)
    return _mixture(np.where(valid, log_p, 0).astype(np.float64), weights)


def _mixture(log_p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the log of the weighted mean over the first axis of probabilities given by their logs."""
    missing = -(weights * np.expm1(log_p)).sum(axis=0)
    # Near 1 images differ in what is missing to 1, which a sum of probabilities would round away.
    near = np.log1p(-np.minimum(missing, 0.5))
    return np.where(missing < 0.5, near, logsumexp(log_p, axis=0, b=weights))


def _dominated(ratio: np.ndarray, population: np.ndarray) -> np.ndarray:
    """Return (N,): the share of the population that each image dominates, of log ratios (N, V)."""
    thresholds = ratio[population]
    thresholds = thresholds[~np.isnan(thresholds).any(axis=1)]
    if not len(thresholds):
        raise ParameterError(
            "RMIA needs a population: none of its images has a probability by M and the shadow models."
        )
    scores = np.full(len(ratio), np.nan)
    known = np.flatnonzero(~np.isnan(ratio).any(axis=1))
    for block in np.array_split(known, -(-len(known) * thresholds.size // AT_ONCE) or 1):
        above = ratio[block, None] >= thresholds
        scores[block] = (above.mean(axis=2) >= 0.5).mean(axis=1)
    # Among images of one share the own ratio decides, by less than one image of the population.
    spread = thresholds.std() or 1.0
    place = (ratio[known].mean(axis=1) - thresholds.mean()) / spread
    scores[known] += (0.5 + np.arctan(place) / np.pi) / len(thresholds)
    return scores
