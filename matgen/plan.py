"""From what a person typed to objects: every cross-check happens here, before any heavy work.

Only this module and the registry see names; the engine sees components.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from matgen.base_run import BaseRun, changed
from matgen.errors import BadFile, BadOptions, UnknownName
from matgen.model_spec import ModelSpec
from matgen.plan_parts import Settings, build_chosen, named_dataset, parse_settings
from matgen.roles.backbone import Backbone
from matgen.roles.condition import Condition
from matgen.roles.dataset import DatasetSource
from matgen.roles.ordering import Ordering
from matgen.roles.representation import Representation
from matgen.roles.sampler import Sampler
from matgen.training.settings import TrainingSettings

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.generation.scoring import SampleScore
    from matgen.roles.evaluator import Evaluator
    from matgen.roles.executor import Executor

log = logging.getLogger(__name__)

R = TypeVar("R", Representation, Ordering)


class TrainConfig(BaseModel):
    """A training run as a person writes it: flags, or the keys of ``--config run.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    from_: str | None = Field(default=None, alias="from")
    """The run whose weights it starts from: a run directory, or ``default``, the shipped model.
    What is not named comes from it, and its conditions stay."""
    dataset: str | None = None
    representation: str | None = None
    ordering: str | None = None
    backbone: str | None = None
    preset: str | None = None
    """Sizes of the backbone: a ``[presets.NAME]`` of registry.toml."""
    conditions: tuple[str, ...] | None = None
    """Names of the conditions to learn; None takes the defaults that the dataset can feed."""
    columns: tuple[str, ...] = ()
    """``title:unit`` of further numeric columns to learn as conditions."""
    settings: dict[str, Any] = {}  # ``component.field`` to value, validated by the component
    training: dict[str, Any] = {}  # validated by TrainingSettings

    @classmethod
    def from_toml(cls, path: Path) -> TrainConfig:
        """Read a run.toml.

        Raises:
            BadFile, BadOptions: unreadable, or a key that does not exist.
        """
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadFile(f"cannot read {path}: {error}") from None
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            keys = ", ".join(field.alias or name for name, field in cls.model_fields.items())
            raise BadOptions(f"{path}: {where}: {first['msg'].lower()} (keys: {keys})") from None


@dataclass(frozen=True)
class TrainPlan:
    """A training run as objects; the spec's conditions are fitted when the data is prepared.

    Attributes:
        base: The run whose weights it starts from.
        optional: Labels of conditions whose column the dataset may lack: those of ``base`` that
            nobody asked for.
        fits_batch: Batches are to be as large as the memory allows, whatever the settings say.
    """

    spec: ModelSpec
    dataset: DatasetSource
    settings: TrainingSettings
    base: BaseRun | None = None
    optional: frozenset[str] = frozenset()
    fits_batch: bool = False


def resolve_training(config: TrainConfig, catalog: Catalog, *, gpu: bool) -> TrainPlan:
    """Turn names into components and check that they fit together.

    Args:
        gpu: Selects the default preset.

    Raises:
        UnknownName, AmbiguousName, BadOptions: one sentence that says what to do.
    """
    settings = Settings(config.settings)
    columns = [_column(text) for text in config.columns]
    base = None if config.from_ is None else BaseRun.load(config.from_, catalog)
    if base is not None and config.dataset is None:
        dataset = base.dataset(catalog, settings.take("dataset"), columns)
    else:
        dataset = named_dataset(catalog, config.dataset, settings.take("dataset"), columns)
    if base is None:
        spec = _spec(config, catalog, dataset, settings, gpu=gpu)
        asked = spec.conditions
    else:
        spec, asked = _spec_over(base, config, catalog, dataset, settings)
    named = frozenset(condition.label for condition in asked)
    if config.conditions is not None:
        dataset = dataset.for_conditions(named)
    training = {**config.training, **settings.take("training")}
    settings.refuse_rest("dataset, representation, ordering, backbone, condition.NAME or training")
    fits_batch = training.get("batch_tokens") == "auto"
    if fits_batch:
        del training["batch_tokens"]
    try:
        return TrainPlan(
            spec,
            dataset,
            TrainingSettings.model_validate(training),
            base,
            frozenset(condition.label for condition in spec.conditions) - named,
            fits_batch,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        known = ", ".join(TrainingSettings.model_fields)
        raise BadOptions(f"training.{where}: {first['msg'].lower()} (settings: {known})") from None


def _spec(
    config: TrainConfig,
    catalog: Catalog,
    dataset: DatasetSource,
    settings: Settings,
    *,
    gpu: bool,
) -> ModelSpec:
    """Return the model of a run that starts from nothing."""
    preset = config.preset or catalog.choices.default("preset_gpu" if gpu else "preset_cpu")
    backbone = catalog.resolve("backbone", config.backbone or catalog.choices.default("backbone"))
    sizes = _preset(catalog, preset, backbone, asked=config.preset is not None)
    return ModelSpec(
        representation=build_chosen(
            catalog, Representation, "representation", config.representation, settings
        ),
        ordering=build_chosen(catalog, Ordering, "ordering", config.ordering, settings),
        backbone=build_chosen(catalog, Backbone, "backbone", backbone, settings, sizes),
        conditions=_conditions(config, catalog, dataset, settings),
    )


def _spec_over(
    base: BaseRun,
    config: TrainConfig,
    catalog: Catalog,
    dataset: DatasetSource,
    settings: Settings,
) -> tuple[ModelSpec, tuple[Condition, ...]]:
    """Return the model of a run that starts from another, and the conditions asked for by name.

    A component that is not named, or named as it was, has the settings that it had.
    """
    had = base.run.spec
    sizes: Mapping[str, Any] = {}  # settings
    if config.preset is not None:
        use = catalog.qualified_name(had.backbone)
        sizes = _preset(catalog, config.preset, use, asked=True)
    kept = {c.label: settings.take(f"condition.{c.label}") for c in had.conditions}
    more = config.model_copy(update={"conditions": config.conditions or ()})
    asked = _conditions(more, catalog, dataset, settings)
    spec = ModelSpec(
        representation=_over(
            catalog, "representation", had.representation, config.representation, settings
        ),
        ordering=_over(catalog, "ordering", had.ordering, config.ordering, settings),
        backbone=base.backbone(catalog, config.backbone, {**sizes, **settings.take("backbone")}),
        conditions=base.conditions(catalog, kept, asked),
    )
    return spec, asked


def resolve_sampler(
    catalog: Catalog,
    *,
    name: str | None,
    temperatures: Sequence[str],
    flags: Mapping[str, float | None],
    settings: Sequence[str],
    fields: Mapping[str, Any] | None = None,  # settings of any type
) -> Sampler:
    """Return the sampler with the settings that flags gave it.

    Args:
        temperatures: ``0.8`` for all, ``coordinate=0.5`` for one kind of token.
        flags: Setting to value; None leaves the sampler's default.
        settings: ``sampler.SETTING=VALUE`` texts.
        fields: Settings as values, where a program asks.

    Raises:
        BadOptions: not a number, or a setting that this sampler does not have.
    """
    taken = Settings(parse_settings(settings))
    chosen: dict[str, Any] = {k: v for k, v in flags.items() if v is not None}  # field values
    chosen.update(fields or {})
    per_kind: dict[str, float] = {}
    for text in temperatures:
        kind, equals, value = text.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            raise BadOptions(f"--temperature {text}: write 0.8 or coordinate=0.8") from None
        if equals:
            per_kind[kind] = number
        else:
            chosen["temperature"] = number
    if per_kind:
        chosen["temperature_per_kind"] = per_kind
    chosen.update(taken.take("sampler"))
    taken.refuse_rest("sampler")
    built = catalog.build("sampler", name or catalog.choices.default("sampler"), chosen)
    assert isinstance(built, Sampler)
    return built


def resolve_ranking(
    catalog: Catalog,
    sampler: Sampler,
    *,
    best_of: int | None,
    rank_by: str | None,
    conditions: Sequence[Condition],
) -> tuple[Sampler, SampleScore | None]:
    """Return the sampler that keeps the best of several drafts, and what it scores them by.

    Args:
        best_of: Drafts for each sample; None leaves the sampler as it is.
        rank_by: ``log_prob``, ``structure``, or ``EVALUATOR.COLUMN``, with a ``-`` in front where
            lower is better; None is ``log_prob``.
        conditions: Those of the model, for evaluators that look at what was requested.

    Raises:
        UnknownName, BadOptions: a ranking without drafts to rank, or one that does not exist.
    """
    if best_of is None:
        if rank_by is not None:
            raise BadOptions("--rank-by ranks several drafts: add --best-of 8")
        return sampler, None
    score: SampleScore | None = None
    by = rank_by or "log_prob"
    if by not in {"log_prob", "structure"}:
        from matgen.generation.scoring import evaluator_score

        name, dot, column = by.removeprefix("-").rpartition(".")
        if not dot:
            raise BadOptions(
                f"--rank-by {by}: write log_prob, structure, or EVALUATOR.COLUMN, as in "
                "validity.valid_structure"
            )
        evaluator = cast("Evaluator", catalog.build("evaluator", name))
        local = cast("Executor", catalog.build("executor", "executors:local"))
        with local.open() as pool:  # of nothing but this process, so that it outlives the block
            known = {condition.label: condition for condition in conditions}
            sign = -1 if by.startswith("-") else 1
            score = evaluator_score(evaluator, column, pool, conditions=known, sign=sign)
        by = "score"
    settings = {"n": best_of, "by": by, "sampler": sampler}
    ranked = catalog.build("sampler", catalog.choices.default("ranking_sampler"), settings)
    return cast("Sampler", ranked), score


def _over(catalog: Catalog, role: str, had: R, name: str | None, settings: Settings) -> R:
    """Return the component of the run that is started from, unless another is named."""
    if name is None or catalog.resolve(role, name) == catalog.qualified_name(had):
        return changed(catalog, had, settings.take(role))
    return cast("R", catalog.build(role, name, settings.take(role)))


def _column(text: str) -> tuple[str, str]:
    title, _, unit = text.partition(":")
    if not title or not unit:
        raise BadOptions(f"--cond-column {text}: write NAME:UNIT, as in dielectric:1 (1 = no unit)")
    return title, unit


def _preset(catalog: Catalog, preset: str, backbone: str, *, asked: bool) -> dict[str, Any]:
    """Return the sizes of a preset for this backbone; none where it has none and none was asked."""
    presets = catalog.choices.file.presets
    if preset not in presets:
        raise UnknownName(f"no preset is called {preset!r}; known: {', '.join(presets)}")
    sizes = presets[preset].get(backbone)
    if sizes is None and asked:
        having = ", ".join(p for p, table in presets.items() if backbone in table) or "none"
        raise BadOptions(f"preset {preset!r} has no sizes for {backbone}; presets: {having}")
    return sizes or {}


def _conditions(
    config: TrainConfig, catalog: Catalog, dataset: DatasetSource, settings: Settings
) -> tuple[Condition, ...]:
    names = config.conditions
    chosen: list[Condition] = []
    for name in names if names is not None else catalog.choices.default_list("conditions"):
        bare = catalog.resolve("condition", name).partition(":")[2]
        fields = settings.take(f"condition.{bare}")
        condition = cast("Condition", catalog.build("condition", name, fields))
        feedable = condition.reads is None or condition.reads in dataset.units
        # A default that the data cannot feed is left out; one that was asked for is an error
        # later, where units are compared.
        if feedable or names is not None:
            chosen.append(condition)
    for title, unit in map(_column, config.columns):
        made = catalog.build("condition", "column", {"title": title, "measure": unit})
        chosen.append(cast("Condition", made))
    labels = [condition.label for condition in chosen]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise BadOptions(f"condition {twice!r} is given twice")
    return tuple(chosen)
