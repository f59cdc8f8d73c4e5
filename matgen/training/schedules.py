"""The learning rate at a step: warm-up, then what the chosen schedule says.

The plateau rule, which listens to validation losses, is ``Plateau``; the others depend only on how
much of the run is over.
"""

from __future__ import annotations

import math

from matgen.training.settings import TrainingSettings


def rate_factor(settings: TrainingSettings, *, step: int, over: float) -> float:
    """Return what the learning rate is multiplied by at a step; 1 at its highest.

    Args:
        settings: Of the run.
        step: Steps taken before.
        over: Share of the run that is over, 0 to 1: of its steps or of its time, whichever is more.

    Source: cosine: Loshchilov and Hutter, arXiv:1608.03983, without restarts; wsd
    (warmup-stable-decay): Hu et al., MiniCPM, arXiv:2404.06395, with a linear decay as in Hägele et
    al., arXiv:2405.18392.
    """
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    return warm * _after_warmup(settings, min(1.0, max(0.0, over)))


def _after_warmup(settings: TrainingSettings, over: float) -> float:
    match settings.schedule:
        case "plateau":
            return 1.0
        case "linear":
            fallen = over
        case "cosine":
            fallen = (1.0 - math.cos(math.pi * over)) / 2.0
        case "wsd":
            fallen = max(0.0, 1.0 - (1.0 - over) / settings.decay_share)
    return 1.0 - fallen * (1.0 - settings.final_rate)
