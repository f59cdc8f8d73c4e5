"""Checks of what is made of tensors: conditions, backbones, decoders.

Axes: B rows, T positions of a stream, L tokens of a row, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from matgen.errors import BadOptions
from matgen.nn.language_model import Cache, Dense, LanguageModel, Packed
from matgen.records import Crystal, PropertyValue, Tokens
from matgen.roles.representation import Vocabulary
from matgen.testing.contract import broken
from matgen.testing.hostile import crystals as hostile_crystals

if TYPE_CHECKING:
    from matgen.generation.decoder import Decoder, Request
    from matgen.roles.backbone import Backbone
    from matgen.roles.condition import Condition

_NONSENSE: Final = ("", "§ nonsense §", "nan", "-inf")
_TEXTS: Final = ("1", "0.5", "2", "10", "225", "NaCl", "Na-Cl", "O")
"""What most properties understand one of."""
_TOLERANCE: Final = 1e-4
"""Two float32 kernels that sum in another order, through a few layers, agree better than this."""


def check_condition(
    condition: Condition,
    *,
    texts: Sequence[str] | None = None,
    crystals: Sequence[Crystal] | None = None,
) -> None:
    """Check a condition.

    Nonsense is refused with ``BadOptions``; a value gives ``feature_size`` finite numbers, the same
    every time; the encoder maps them to finite (B, width); what ``achieved`` gives can be written,
    parsed back and is no error against itself; what is fitted is not fitted again.

    Args:
        condition: What to check.
        texts: Values as a person writes them; where None, some that most properties understand.
        crystals: For ``achieved``; the hostile ones where None.

    Raises:
        ContractBroken: a law does not hold.
    """
    for text in _NONSENSE:
        if _parsed(condition, text) is not None:
            raise broken(condition, "nonsense is refused with BadOptions", repr(text))
    values = [
        value for text in (texts or _TEXTS) if (value := _parsed(condition, text)) is not None
    ]
    if not values:
        raise broken(condition, "some text is a value", "pass texts= that are")
    n_achieved, n_back = 0, 0
    for crystal in crystals or hostile_crystals():
        value = condition.achieved(crystal)
        if value is None:
            continue
        n_achieved += 1
        if condition.error(value, value) != 0:
            raise broken(condition, "a value is no error against itself", value)
        back = _parsed(condition, value if isinstance(value, str) else f"{value:.12g}")
        if back is None:
            continue
        n_back += 1
        values.append(value)
        if condition.error(value, back) > 1e-6:
            raise broken(condition, "an achieved value, written, is parsed back", (value, back))
    if n_achieved and not n_back:
        raise broken(condition, "some achieved value can be asked for")
    condition = condition.fitted(values)
    if (again := condition.fitted(values[:1])) != condition:
        raise broken(condition, "what is fitted is not fitted again", again)
    features = [_features(condition, value) for value in values]
    width = 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = condition.encoder(width).eval()
    batch = torch.tensor(features, dtype=torch.float32)
    encoded = encoder(batch)
    if encoded.shape != (len(batch), width):
        raise broken(condition, "the encoder maps (B, feature_size) to (B, width)", encoded.shape)
    if not encoded.isfinite().all():
        raise broken(condition, "the encoder gives finite numbers")
    alone = torch.cat([encoder(row[None]) for row in batch])
    if not torch.allclose(alone, encoded, atol=1e-5):
        raise broken(condition, "the encoder treats each row by itself")


def check_backbone(backbone: Backbone, *, max_positions: int = 24) -> None:
    """Check a backbone with and without continuous tokens in a vocabulary that knows its tokens.

    A later token never changes an earlier position; packed, dense and single sequences agree, and
    so do cached steps of any lengths, after taking, putting and rewinding rows; weights are drawn
    from torch's generator; logits are float32; there is a value head if and only if a token is
    continuous; a network that declares which tensors have an entry per token, or per position,
    declares all of them.

    Raises:
        ContractBroken: a law does not hold.
    """
    for continuous in ((), (2,)):
        names = tuple(f"t{k}" for k in range(11))
        known = np.random.default_rng(0).normal(size=(11, 5)).astype(np.float32)
        vocabulary = Vocabulary(
            names, ("any",) * 11, start=0, end=1, continuous=continuous, features_VF=known
        )
        model = _built(backbone, vocabulary, max_positions)
        twin = _built(backbone, vocabulary, max_positions).state_dict()
        for name, weight in model.state_dict().items():
            if not torch.equal(weight, twin[name]):
                raise broken(backbone, "weights are drawn from torch's generator", name)
        if (model.value_head is not None) != bool(continuous):
            raise broken(backbone, "there is a value head exactly where a token is continuous")
        with torch.inference_mode():
            _check_hidden(backbone, model, vocabulary, max_positions)
            _check_steps(backbone, model, vocabulary, max_positions)
    _check_axes(backbone, vocabulary, max_positions)


def check_decoder(
    make: Callable[[], Decoder],
    requests: Sequence[Request],
    *,
    max_tokens: int,
    tolerance: float = _TOLERANCE,
) -> None:
    """Check that a decoder keeps its books: whatever was done to its rows, the tokens decide.

    After appends of uneven counts, forks, takes, replacements and rewinds, every row gives the
    logits of a fresh decoder whose prompt is that row's tokens.

    Args:
        make: Returns a new decoder over the same model every time.
        requests: Two at least, prompts of different lengths.
        max_tokens: Longest row the decoders hold; six more than the longest prompt at least.
        tolerance: Largest difference of two logits.

    Raises:
        ContractBroken: a law does not hold.
    """
    decoder = make()
    decoder.begin(requests)
    rows = [(request, request.prompt) for request in requests]
    n_tokens = decoder.logits().shape[1]
    rng = np.random.default_rng(0)

    def agree(after: str) -> None:
        fresh = make()
        fresh.begin([_request(request, prompt) for request, prompt in rows])
        lengths = [len(prompt) for _, prompt in rows]
        if decoder.rows != len(rows) or decoder.lengths.tolist() != lengths:
            raise broken(decoder, f"rows and lengths are right after {after}", lengths)
        off = float((decoder.logits() - fresh.logits()).abs().max())
        if not off <= tolerance:
            raise broken(
                decoder, f"logits after {after} are those of a fresh decoder", f"{off:.3g} off"
            )

    def append(counts: list[int]) -> None:
        n = max(counts)
        ids = rng.integers(0, n_tokens, (len(rows), n))
        values = rng.uniform(2, 9, ids.shape).astype(np.float32)
        decoder.append(
            torch.from_numpy(ids).to(decoder.device),
            torch.from_numpy(values).to(decoder.device),
            torch.tensor(counts, device=decoder.device),
        )
        for row, count in enumerate(counts):
            request, prompt = rows[row]
            rows[row] = request, _joined(prompt, ids[row, :count], values[row, :count])

    def on_device(numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int64, device=decoder.device)

    agree("begin")
    append([1] * len(rows))
    agree("append of one token")
    append([row % 3 for row in range(len(rows))][::-1])
    agree("append of uneven counts")
    decoder.replace(on_device([0]), requests[-1:])
    rows[0] = requests[-1], requests[-1].prompt
    agree("replace")
    decoder.fork(on_device([1, 0]), 2)
    rows = [rows[1], rows[1], rows[0], rows[0]]
    agree("fork")
    append([1, 2, 0, 1])
    agree("append after fork")
    # Row 0 as it is, two cut a little, the last as far as anything can be cut: to one token.
    kept = [len(rows[0][1]), len(rows[1][1]) - 1, max(1, len(rows[2][1]) - 2), 1]
    decoder.rewind(on_device(kept))
    rows = [(request, _cut(prompt, n)) for (request, prompt), n in zip(rows, kept, strict=True)]
    agree("rewind")
    append([2, 0, 1, 1])
    agree("append after rewind")
    decoder.take(on_device([3, 1]))
    rows = [rows[3], rows[1]]
    agree("take")
    assert max(len(prompt) for _, prompt in rows) <= max_tokens


def _parsed(condition: Condition, text: str) -> PropertyValue | None:
    try:
        return condition.parse(text)
    except BadOptions:
        return None
    except Exception as error:  # whatever it is, it breaks the law
        raise broken(
            condition,
            "parse refuses with BadOptions and nothing else",
            f"{type(error).__name__}: {error} for {text!r}",
        ) from error


def _features(condition: Condition, value: PropertyValue) -> list[float]:
    given = condition.feature(value)
    numbers = [float(given)] if isinstance(given, int | float) else [float(x) for x in given]
    if len(numbers) != condition.feature_size:
        raise broken(
            condition,
            "feature gives feature_size numbers",
            f"{len(numbers)} for {value!r}, feature_size {condition.feature_size}",
        )
    if not np.isfinite(numbers).all():
        raise broken(condition, "features are finite", f"{numbers} for {value!r}")
    again = condition.feature(value)
    if not np.array_equal(np.atleast_1d(again), numbers):
        raise broken(condition, "a value gives the same features every time", repr(value))
    return numbers


def _built(backbone: Backbone, vocabulary: Vocabulary, max_positions: int) -> LanguageModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = backbone.build(vocabulary, max_positions).eval()
        # Fresh output layers may be zero, which would hide every difference looked for here.
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.05 * torch.randn(weight.shape))
    return model


def _stream(vocabulary: Vocabulary, n: int, seed: int) -> tuple[Tensor, Tensor | None]:
    """Return (n,) ids and, where continuous, values."""
    rng = np.random.default_rng(seed)
    ids = torch.from_numpy(rng.integers(0, len(vocabulary), n))
    if not vocabulary.continuous:
        return ids, None
    return ids, torch.from_numpy(rng.uniform(2, 9, n).astype(np.float32))


def _check_hidden(
    backbone: Backbone, model: LanguageModel, vocabulary: Vocabulary, longest: int
) -> None:
    lengths = [longest, 1, longest // 2, longest // 3]
    streams = [model.embed(*_stream(vocabulary, n, seed)) for seed, n in enumerate(lengths)]
    single = [model.hidden(x, Dense(rows=1, length=len(x))) for x in streams]
    if single[0].shape != (longest, model.width):
        raise broken(backbone, "hidden states are (T, width)", single[0].shape)
    logits = model.logits(single[0])
    if logits.shape != (longest, len(vocabulary)) or logits.dtype != torch.float32:
        raise broken(backbone, "logits are (T, V) float32", (logits.shape, logits.dtype))
    offsets = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
    packed = model.hidden(torch.cat(streams), Packed(offsets, longest))
    _same(backbone, "packed sequences give what each gives alone", packed, torch.cat(single))
    twice = model.hidden(torch.cat([streams[0], streams[0].flip(0)]), Dense(2, longest))
    alone = model.hidden(streams[0].flip(0), Dense(1, longest))
    _same(backbone, "dense rows give what each gives alone", twice, torch.cat([single[0], alone]))
    changed = streams[0].clone()
    changed[longest // 2 :] += 1
    half = model.hidden(changed, Dense(1, longest))
    _same(
        backbone,
        "a later position never changes an earlier one",
        half[: longest // 2],
        single[0][: longest // 2],
    )
    if torch.allclose(half[-1], single[0][-1], atol=_TOLERANCE):
        raise broken(backbone, "what comes earlier has a say")


def _check_axes(backbone: Backbone, vocabulary: Vocabulary, longest: int) -> None:
    two_more = replace(
        vocabulary, names=(*vocabulary.names, "u0", "u1"), kinds=(*vocabulary.kinds, "any", "any")
    )
    model = _built(backbone, vocabulary, longest)
    for what, declared, grown in (
        ("token", model.vocabulary_axes, _built(backbone, two_more, longest)),
        ("position", model.position_axes, _built(backbone, vocabulary, longest + 2)),
    ):
        law = f"axes with an entry per {what} are declared, all or none"
        state, larger = model.state_dict(), grown.state_dict()
        grows = {
            name: axis
            for name in state
            for axis, n in enumerate(state[name].shape)
            if n != larger[name].shape[axis]
        }
        if declared and declared != grows:
            raise broken(backbone, law, grows)


def _check_steps(
    backbone: Backbone, model: LanguageModel, vocabulary: Vocabulary, longest: int
) -> None:
    law = "cached steps give what the whole sequence gives"
    x_BTD = torch.stack([model.embed(*_stream(vocabulary, longest, seed)) for seed in range(3)])
    whole = torch.stack([model.hidden(x, Dense(1, longest)) for x in x_BTD])
    cache = model.new_cache(3, longest, dtype=torch.float32, device="cpu")
    # Uneven counts: row 0 reads 2 of the first 3 positions, row 1 three, row 2 one.
    _read(backbone, law, model, cache, x_BTD, whole, [2, 3, 1])
    _read(backbone, law, model, cache, x_BTD, whole, [1, 1, 1])
    _read(backbone, law, model, cache, x_BTD, whole, [0, 1, 4])
    order = torch.tensor([2, 0, 2])
    taken = cache.take(order)
    _read(backbone, f"{law}, after take", model, taken, x_BTD[order], whole[order], [1, 2, 3])
    _read(backbone, f"{law}, beside a take", model, cache, x_BTD, whole, [2, 1, 0])
    cache.rewind(torch.tensor([1, 99, 3]))
    _read(backbone, f"{law}, after rewind", model, cache, x_BTD, whole, [2, 1, 1])
    other = model.new_cache(1, longest, dtype=torch.float32, device="cpu")
    _read(backbone, law, model, other, x_BTD[2:], whole[2:], [2])
    cache.put(torch.tensor([1]), other)
    x_BTD, whole = x_BTD[[0, 2, 2]], whole[[0, 2, 2]]
    _read(backbone, f"{law}, after put", model, cache, x_BTD, whole, [1, 2, 1])
    left = longest - int(cache.lengths.max())
    _read(backbone, f"{law}, up to its capacity", model, cache, x_BTD, whole, [left, left, left])
    full = int(cache.lengths.argmax())
    counts = [0 if row == full else 1 for row in range(3)]
    _read(backbone, f"{law}, beside a full row", model, cache, x_BTD, whole, counts)


def _read(
    backbone: Backbone,
    law: str,
    model: LanguageModel,
    cache: Cache,
    x_BTD: Tensor,
    whole: Tensor,
    counts: list[int],
) -> None:
    """Step each row by its count and compare with the whole sequence."""
    before = cache.lengths.clone()
    at = before[:, None] + torch.arange(max(counts))
    at = at.clamp(max=x_BTD.shape[1] - 1)[:, :, None].expand(-1, -1, x_BTD.shape[2])
    h_BnD = model.step(x_BTD.gather(1, at), torch.tensor(counts), cache)
    if cache.lengths.tolist() != (before + torch.tensor(counts)).tolist():
        raise broken(backbone, "a step makes the cache's lengths grow by its counts")
    for row, count in enumerate(counts):
        start = int(before[row])
        _same(backbone, law, h_BnD[row, :count], whole[row, start : start + count])


def _same(component: object, law: str, one: Tensor, other: Tensor) -> None:
    if one.shape != other.shape or not torch.allclose(one, other, atol=_TOLERANCE):
        off = float((one - other).abs().max()) if one.shape == other.shape else one.shape
        raise broken(component, law, f"{off} off")


def _request(request: Request, prompt: Tokens) -> Request:
    return replace(request, prompt=prompt)


def _joined(
    prompt: Tokens,
    ids: np.ndarray[tuple[int], np.dtype[np.int64]],
    values: np.ndarray[tuple[int], np.dtype[np.float32]],
) -> Tokens:
    carried = np.zeros(len(prompt), dtype=np.float32) if prompt.values is None else prompt.values
    return Tokens(np.concatenate([prompt.ids, ids]), np.concatenate([carried, values]))


def _cut(prompt: Tokens, length: int) -> Tokens:
    return Tokens(prompt.ids[:length], None if prompt.values is None else prompt.values[:length])
