"""From a plan to samples: requests, decoder, grammar, drafts, crystals, in the order asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias, overload

import torch

from matgen.errors import BadOptions, CrystalError
from matgen.generation.constraints import bound
from matgen.generation.decoder import Request
from matgen.generation.grammar import Intersection
from matgen.generation.streams import Streams
from matgen.records import AskedValue, Draft, PropertyValue, Sample, ValueRange

if TYPE_CHECKING:
    from matgen.generation.decoder import Decoder
    from matgen.generation.model_decoder import Precision
    from matgen.generation.scoring import SampleScore
    from matgen.nn.crystal_model import CrystalModel
    from matgen.roles.constraint import Constraint
    from matgen.roles.sampler import Sampler, Score

_DECODED_TOGETHER: Final = 64
"""Drafts per call of ``decode_batch``: enough to share its overhead, few enough to stream."""
_MOST: Final = 2**63
_MOST_SAMPLES: Final = 2**48
"""Samples of one seed; leaves room for a number of drafts for each."""
_STRONGEST_GUIDANCE: Final = 1000.0
"""Beyond it guided logits leave what float32 tells apart; not a number is beyond everything."""


@dataclass(frozen=True, eq=False)
class SamplePlan:
    """Everything that decides what is sampled.

    Attributes:
        model: Trained, in eval mode.
        constraints: Rules that every sample obeys.
        grid: What to ask for: condition label to value, one mapping per grid point. Of a range,
            each sample gets a value that its index decides.
        n: Samples per grid point.
        seed: With a sample's index it decides its random numbers.
        guidance: Weight of the conditions, or of each (see ``GuidedDecoder``); None for the plain
            conditional model.
        device: Where the model runs.
        precision: Of its weights.
        first_index: Index of the first sample; the samples of a grid point are consecutive.
        score: What a searching sampler searches for.
    """

    model: CrystalModel
    sampler: Sampler
    constraints: tuple[Constraint, ...] = ()
    grid: tuple[Mapping[str, AskedValue], ...] = ({},)
    n: int = 1
    seed: int = 0
    guidance: float | Mapping[str, float] | None = None
    device: str = "cpu"
    precision: Precision = "float32"
    first_index: int = 0
    score: SampleScore | None = None


@dataclass(frozen=True)
class Progress:
    """How far a run of ``generate`` is.

    Attributes:
        asked: Samples that will come.
        drafted: Sequences drawn so far, unfinished ones included.
        unfinished: Those that the token limit or an empty mask ended.
        n_tokens: Tokens in all of them, prompts included.
        attempts: Times that they were begun.
    """

    asked: int
    drafted: int = 0
    unfinished: int = 0
    n_tokens: int = 0
    attempts: int = 0


SampleObserver: TypeAlias = Callable[[Progress], None]


def generate(plan: SamplePlan, *, observer: SampleObserver | None = None) -> Iterator[Sample]:
    """Yield ``n`` samples per grid point, by ascending index, as soon as they are there.

    Memory does not grow with the number of samples: only samples that finished before an earlier
    one are held back.

    Args:
        plan: What to sample.
        observer: Called after every few drafts.

    Raises:
        BadOptions: a condition that the model does not know, a constraint or prompt that cannot
            be met, or settings that do not fit the representation.
    """
    last = plan.first_index + plan.n * len(plan.grid)
    if not -_MOST <= plan.seed < _MOST or not 0 <= last < _MOST_SAMPLES:
        raise BadOptions(
            f"seed {plan.seed} or sample {last} does not fit: seeds have 64 bits, and at most "
            f"{_MOST_SAMPLES:,} samples have a number"
        )
    requests = _Requests(plan)
    representation = plan.model.spec.representation
    grammar = Intersection(
        representation.grammar(),
        bound(plan.constraints, representation, plan.model.spec.ordering),
        continuous=representation.vocabulary().continuous,
    )
    drafts = plan.sampler.draw(
        _decoder(plan),
        grammar,
        requests,
        max_tokens=representation.max_tokens,
        streams=Streams(plan.seed),
        score=None if plan.score is None else _over_drafts(plan, requests, plan.score),
    )
    return _in_order(plan, requests, drafts, observer)


def _over_drafts(plan: SamplePlan, requests: _Requests, score: SampleScore) -> Score:
    """Return a score of samples as one of the drafts that they are made of."""

    def scored(drafts: Sequence[Draft]) -> Sequence[float]:
        return score(list(_samples(plan, requests, drafts)))

    return scored


def _decoder(plan: SamplePlan) -> Decoder:
    from matgen.generation.guidance import REST, GuidedDecoder
    from matgen.generation.model_decoder import ModelDecoder

    decoder = ModelDecoder(
        plan.model,
        max_tokens=plan.model.spec.representation.max_tokens,
        device=plan.device,
        precision=plan.precision,
    )
    if plan.guidance is None:
        return decoder
    weights = plan.guidance if isinstance(plan.guidance, Mapping) else {REST: plan.guidance}
    known = {condition.label for condition in plan.model.spec.conditions}
    for label, weight in weights.items():
        if not abs(weight) <= _STRONGEST_GUIDANCE:
            raise BadOptions(
                f"guidance {weight:g} is no usable weight; 1 is plain conditioning, and usual "
                f"weights are 1 to 5 (at most {_STRONGEST_GUIDANCE:g})"
            )
        if label != REST and label not in known:
            raise BadOptions(
                f"guidance of {label!r}: this model was trained without it; it knows "
                f"{', '.join(sorted(known)) or 'no conditions'}"
            )
    return GuidedDecoder(decoder, plan.guidance)


class _Requests(Sequence[Request]):
    """The requests of a plan, made when asked for."""

    def __init__(self, plan: SamplePlan) -> None:
        known = [condition.label for condition in plan.model.spec.conditions]
        representation = plan.model.spec.representation
        self._plan = plan
        self._streams = Streams(plan.seed)
        self._conditions = {c.label: c for c in plan.model.spec.conditions}
        self._prompts = []
        for wanted in plan.grid:
            for label in wanted:
                if label not in known:
                    raise BadOptions(
                        f"this model was trained without {label!r}; it knows "
                        f"{', '.join(known) or 'no conditions'}"
                    )
                if isinstance(wanted[label], ValueRange) and label in representation.prompted:
                    raise BadOptions(f"{label} starts the sequence and takes one value, no range")
            prompted = {
                k: v
                for k, v in wanted.items()
                if k in representation.prompted and not isinstance(v, ValueRange)
            }
            self._prompts.append(representation.prompt(prompted))

    def __len__(self) -> int:
        return self._plan.n * len(self._plan.grid)

    @overload
    def __getitem__(self, at: int) -> Request: ...
    @overload
    def __getitem__(self, at: slice) -> list[Request]: ...
    def __getitem__(self, at: int | slice) -> Request | list[Request]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        place = at % len(self)
        point = place // self._plan.n
        index = self._plan.first_index + place
        return Request(index, self._prompts[point], self._asked(index, point))

    def _asked(self, index: int, point: int) -> dict[str, PropertyValue]:
        """Return the values of one sample: those of its grid point, one from each range."""
        asked: dict[str, PropertyValue] = {}
        for place, (label, value) in enumerate(self._plan.grid[point].items()):
            if isinstance(value, ValueRange):
                uniform = self._streams.uniform(torch.tensor([index]), -1 - place)
                asked[label] = self._conditions[label].between(*value, float(uniform))
            else:
                asked[label] = value
        return asked


def _in_order(
    plan: SamplePlan,
    requests: _Requests,
    drafts: Iterator[Draft],
    observer: SampleObserver | None,
) -> Iterator[Sample]:
    """Decode drafts and yield their samples by ascending index."""
    progress = Progress(asked=len(requests))
    held: dict[int, Sample] = {}
    following = plan.first_index
    while chunk := list(islice(drafts, _DECODED_TOGETHER)):
        progress = Progress(
            progress.asked,
            progress.drafted + len(chunk),
            progress.unfinished + sum(not draft.finished for draft in chunk),
            progress.n_tokens + sum(len(draft.tokens) for draft in chunk),
            progress.attempts + sum(draft.attempts for draft in chunk),
        )
        if observer is not None:
            observer(progress)
        for sample in _samples(plan, requests, chunk):
            held[sample.index] = sample
        while following in held:
            yield held.pop(following)
            following += 1
    assert not held, f"sampler {plan.sampler.name!r} left out sample {following}"


def _samples(plan: SamplePlan, requests: _Requests, drafts: Sequence[Draft]) -> Iterator[Sample]:
    """Yield the sample of each draft."""
    whole = [draft for draft in drafts if draft.finished]
    representation = plan.model.spec.representation
    decoded = iter(representation.decode_batch([draft.tokens for draft in whole]))
    for draft in drafts:
        requested = requests[draft.index - plan.first_index].conditions
        if not draft.finished:
            yield Sample(
                draft.index,
                None,
                draft.log_prob,
                draft.log_mass,
                requested=requested,
                error=draft.reason,
                attempts=draft.attempts,
            )
            continue
        crystal = next(decoded)
        # The grammar accepts what decode accepts, so this is a bug of the representation or of a
        # constraint, and no sample to count as a failure of the model.
        if isinstance(crystal, CrystalError):
            raise AssertionError(
                f"representation {representation.name!r}: its grammar accepted sample "
                f"{draft.index}, which does not decode: {crystal}"
            )
        measured = {c.label: c.achieved(crystal) for c in plan.model.spec.conditions}
        yield Sample(
            draft.index,
            crystal,
            draft.log_prob,
            draft.log_mass,
            requested=requested,
            achieved={label: value for label, value in measured.items() if value is not None},
            attempts=draft.attempts,
        )
