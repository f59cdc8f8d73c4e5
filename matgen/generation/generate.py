"""From a plan to samples: requests, decoder, grammar, drafts, crystals, in the order asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias, overload

from matgen.errors import BadOptions, CrystalError
from matgen.generation.constraints import bound
from matgen.generation.decoder import Request
from matgen.generation.grammar import Intersection
from matgen.generation.streams import Streams
from matgen.records import Draft, PropertyValue, Sample

if TYPE_CHECKING:
    from matgen.generation.decoder import Decoder
    from matgen.generation.model_decoder import Precision
    from matgen.nn.crystal_model import CrystalModel
    from matgen.roles.constraint import Constraint
    from matgen.roles.sampler import Sampler, Score

_DECODED_TOGETHER: Final = 64
"""Drafts per call of ``decode_batch``: enough to share its overhead, few enough to stream."""
_STRONGEST_GUIDANCE: Final = 1000.0
"""Beyond it guided logits leave what float32 tells apart; not a number is beyond everything."""


@dataclass(frozen=True, eq=False)
class SamplePlan:
    """Everything that decides what is sampled.

    Attributes:
        model: Trained, in eval mode.
        constraints: Rules that every sample obeys.
        grid: What to ask for: condition label to value, one mapping per grid point.
        n: Samples per grid point.
        seed: With a sample's index it decides its random numbers.
        guidance: Weight of the conditions; None for the plain conditional model.
        device: Where the model runs.
        precision: Of its weights.
        first_index: Index of the first sample; the samples of a grid point are consecutive.
        score: What a searching sampler searches for.
    """

    model: CrystalModel
    sampler: Sampler
    constraints: tuple[Constraint, ...] = ()
    grid: tuple[Mapping[str, PropertyValue], ...] = ({},)
    n: int = 1
    seed: int = 0
    guidance: float | None = None
    device: str = "cpu"
    precision: Precision = "float32"
    first_index: int = 0
    score: Score | None = None


@dataclass(frozen=True)
class Progress:
    """How far a run of ``generate`` is.

    Attributes:
        asked: Samples that will come.
        drafted: Sequences drawn so far, unfinished ones included.
        unfinished: Those that the token limit or an empty mask ended.
        n_tokens: Tokens in all of them, prompts included.
    """

    asked: int
    drafted: int = 0
    unfinished: int = 0
    n_tokens: int = 0


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
    requests = _Requests(plan)
    representation = plan.model.spec.representation
    grammar = Intersection(
        representation.grammar(),
        bound(plan.constraints, representation),
        continuous=representation.vocabulary().continuous,
    )
    drafts = plan.sampler.draw(
        _decoder(plan),
        grammar,
        requests,
        max_tokens=representation.max_tokens,
        streams=Streams(plan.seed),
        score=plan.score,
    )
    return _in_order(plan, requests, drafts, observer)


def _decoder(plan: SamplePlan) -> Decoder:
    from matgen.generation.guidance import GuidedDecoder
    from matgen.generation.model_decoder import ModelDecoder

    decoder = ModelDecoder(
        plan.model,
        max_tokens=plan.model.spec.representation.max_tokens,
        device=plan.device,
        precision=plan.precision,
    )
    if plan.guidance is None:
        return decoder
    if not abs(plan.guidance) <= _STRONGEST_GUIDANCE:
        raise BadOptions(
            f"guidance {plan.guidance:g} is no usable weight; 1 is plain conditioning, and usual "
            f"weights are 1 to 5 (at most {_STRONGEST_GUIDANCE:g})"
        )
    return GuidedDecoder(decoder, plan.guidance)


class _Requests(Sequence[Request]):
    """The requests of a plan, made when asked for."""

    def __init__(self, plan: SamplePlan) -> None:
        known = [condition.label for condition in plan.model.spec.conditions]
        representation = plan.model.spec.representation
        self._plan = plan
        self._prompts = []
        for wanted in plan.grid:
            for label in wanted:
                if label not in known:
                    raise BadOptions(
                        f"this model was trained without {label!r}; it knows "
                        f"{', '.join(known) or 'no conditions'}"
                    )
            prompted = {k: v for k, v in wanted.items() if k in representation.prompted}
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
        return Request(self._plan.first_index + place, self._prompts[point], self._plan.grid[point])


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
        )
