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
from matgen.data.imported_folder import DESCRIPTION
from matgen.errors import BadFile, BadOptions, UnknownName
from matgen.model_spec import ModelSpec
from matgen.roles.backbone import Backbone
from matgen.roles.condition import Condition
from matgen.roles.dataset import DatasetSource
from matgen.roles.hull import HullReference
from matgen.roles.ordering import Ordering
from matgen.roles.relaxer import Relaxer
from matgen.roles.representation import Representation
from matgen.roles.sampler import Sampler
from matgen.training.settings import TrainingSettings

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.evaluation.pipeline import EvaluationPlan
    from matgen.generation.scoring import SampleScore
    from matgen.roles.evaluator import Evaluator
    from matgen.roles.executor import Executor

log = logging.getLogger(__name__)

C = TypeVar("C")
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
    settings = _Settings(config.settings)
    columns = [_column(text) for text in config.columns]
    base = None if config.from_ is None else BaseRun.load(config.from_, catalog)
    if base is not None and config.dataset is None:
        dataset = base.dataset(catalog, settings.take("dataset"), columns)
    else:
        dataset = _dataset(catalog, config.dataset, settings.take("dataset"), columns)
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
    settings: _Settings,
    *,
    gpu: bool,
) -> ModelSpec:
    """Return the model of a run that starts from nothing."""
    preset = config.preset or catalog.choices.default("preset_gpu" if gpu else "preset_cpu")
    backbone = catalog.resolve("backbone", config.backbone or catalog.choices.default("backbone"))
    sizes = _preset(catalog, preset, backbone, asked=config.preset is not None)
    return ModelSpec(
        representation=_build(
            catalog, Representation, "representation", config.representation, settings
        ),
        ordering=_build(catalog, Ordering, "ordering", config.ordering, settings),
        backbone=_build(catalog, Backbone, "backbone", backbone, settings, sizes),
        conditions=_conditions(config, catalog, dataset, settings),
    )


def _spec_over(
    base: BaseRun,
    config: TrainConfig,
    catalog: Catalog,
    dataset: DatasetSource,
    settings: _Settings,
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


def resolve_dataset(catalog: Catalog, name: str, settings: Sequence[str] = ()) -> DatasetSource:
    """Return the dataset that a name, a path, or several joined by ``+`` stand for.

    Args:
        settings: ``dataset.SETTING=VALUE`` texts.

    Raises:
        UnknownName, BadFile, BadOptions: one sentence that says what to do.
    """
    taken = _Settings(parse_settings(settings))
    dataset = _dataset(catalog, name, taken.take("dataset"))
    taken.refuse_rest("dataset")
    return dataset


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:  # values of any TOML type
    """Return ``{"backbone.layers": 6}`` of ``["backbone.layers=6"]``; a bare word is a text."""
    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or "." not in key:
            raise BadOptions(
                f"--set {text}: write COMPONENT.SETTING=VALUE, as in backbone.layers=6"
            )
        try:
            settings[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key] = value
    return settings


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
    taken = _Settings(parse_settings(settings))
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


def resolve_evaluation(
    catalog: Catalog,
    *,
    relaxer: str | None,
    hull: str | None,
    reference: str | None,
    evaluators: Sequence[str],
    settings: Sequence[str],
    workers: int,
    device: str,
) -> EvaluationPlan:
    """Return the evaluation as objects.

    Args:
        hull, reference: A name, ``none``, or None for the default.
        evaluators: Names; empty takes the defaults.
        settings: ``relaxer.SETTING=VALUE`` texts, likewise hull, reference, condition.NAME and
            each evaluator.
        workers: Processes; 1 stays in this process, 0 takes every core.

    Raises:
        UnknownName, BadOptions: one sentence; a hull on another energy scale than the relaxer's.
    """
    from matgen.evaluation.pipeline import EvaluationPlan

    taken = _Settings(parse_settings(settings))
    default = catalog.choices.default
    relaxing = _build(catalog, Relaxer, "relaxer", relaxer, taken) if relaxer is not None else None
    wants_hull = relaxing is not None and hull != "none"
    chosen = tuple(
        cast(
            "Evaluator",
            catalog.build("evaluator", name, taken.take(name.partition(":")[2] or name)),
        )
        for name in (evaluators or catalog.choices.default_list("evaluators"))
    )
    against = _build(catalog, HullReference, "hull", hull, taken) if wants_hull else None
    if hull is None and against and relaxing and against.energy_scale != relaxing.energy_scale:
        # Nobody asked for this pair; one that was asked for is refused by the plan.
        log.warning(
            "no energies above the hull: the default hull %s is on the energy scale %s, %s on %s",
            against.name,
            against.energy_scale,
            relaxing.name,
            relaxing.energy_scale,
        )
        against = None
    executor = default("executor") if workers != 1 else "executors:local"
    plan = EvaluationPlan(
        evaluators=chosen,
        executor=cast(
            "Executor",
            catalog.build("executor", executor, {"n_workers": workers} if workers > 1 else {}),
        ),
        relaxer=relaxing,
        hull=against,
        reference=None
        if reference == "none"
        else _dataset(catalog, reference, taken.take("reference")),
        conditions=_default_conditions(catalog, taken),
        device=device,
    )
    taken.refuse_rest("relaxer, hull, reference, condition.NAME or the name of an evaluator")
    return plan


def _default_conditions(catalog: Catalog, settings: _Settings) -> tuple[Condition, ...]:
    """Return every condition that needs no settings: what could have been requested.

    Where several plugins offer one label, the one among the defaults is meant, else none is.
    """
    usual = catalog.choices.default_list("conditions")
    offered: dict[str, list[tuple[str, Condition]]] = {}
    for name in catalog.names("condition"):
        cls = catalog.get("condition", name)
        if not any(field.is_required() for field in cls.model_fields.values()):
            fields = settings.take(f"condition.{name.partition(':')[2]}")
            condition = cast("Condition", catalog.build("condition", name, fields))
            offered.setdefault(condition.label, []).append((name, condition))
    chosen = []
    for claims in offered.values():
        meant = [condition for name, condition in claims if len(claims) == 1 or name in usual]
        chosen += meant if len(meant) == 1 else []
    return tuple(chosen)


class _Settings:
    """``component.field`` settings, handed out once each so that a leftover is noticed."""

    def __init__(self, settings: Mapping[str, Any]) -> None:  # values of any TOML type
        self._by_component: dict[str, dict[str, Any]] = {}
        for key, value in settings.items():
            component, _, field = key.rpartition(".")
            self._by_component.setdefault(component, {})[field] = value

    def take(self, component: str) -> dict[str, Any]:  # values of any TOML type
        return self._by_component.pop(component, {})

    def refuse_rest(self, known: str) -> None:
        if self._by_component:
            left = next(iter(self._by_component))
            raise BadOptions(f"--set {left}.…: no such component in this command; use {known}")


def _build(
    catalog: Catalog,
    kind: type[C],
    role: str,
    name: str | None,
    settings: _Settings,
    under: Mapping[str, Any] | None = None,  # settings that --set overrides
) -> C:
    chosen = name or catalog.choices.default(role)
    merged = {**(under or {}), **settings.take(role)}
    component = catalog.build(role, chosen, merged)
    assert isinstance(component, kind)
    return component


def _over(catalog: Catalog, role: str, had: R, name: str | None, settings: _Settings) -> R:
    """Return the component of the run that is started from, unless another is named."""
    if name is None or catalog.resolve(role, name) == catalog.qualified_name(had):
        return changed(catalog, had, settings.take(role))
    return cast("R", catalog.build(role, name, settings.take(role)))


def _dataset(
    catalog: Catalog,
    name: str | None,
    fields: Mapping[str, Any],  # settings as typed
    columns: Sequence[tuple[str, str]] = (),
) -> DatasetSource:
    """Return a registered dataset, the one of a file or folder, or several joined by ``+``.

    Args:
        columns: Title and unit of columns that the user named as conditions; the unit is then the
            one in the user's file.
    """
    chosen = name or catalog.choices.default("dataset")
    given = dict(fields)
    if "+" in chosen and not Path(chosen).exists():
        if not all(chosen.split("+")):
            raise BadOptions(f"{chosen!r}: a part before or after a + is empty; write NAME+NAME")
        parts = tuple(_dataset(catalog, part, {}) for part in chosen.split("+"))
        given, chosen = {"parts": parts, **given}, "mixed"
    elif _is_path(catalog, chosen):
        given = {"path": chosen, **given}
        is_import = (Path(chosen) / DESCRIPTION).exists()
        chosen = catalog.choices.default("dataset_of_imports" if is_import else "dataset_of_files")
    if columns and "column_units" in catalog.get("dataset", chosen).model_fields:
        given["column_units"] = {**dict(columns), **given.get("column_units", {})}
    path = catalog.get("dataset", chosen).model_fields.get("path")
    if path and path.is_required() and "path" not in given:
        raise BadOptions(
            f"dataset {chosen!r} reads what is at a path: give the path itself where a dataset is "
            "named, as in matgen data info PATH or --dataset PATH"
        )
    dataset = catalog.build("dataset", chosen, given)
    assert isinstance(dataset, DatasetSource)
    return dataset


def _is_path(catalog: Catalog, name: str) -> bool:
    """Whether a dataset's name is no name but an existing file; registered names come first."""
    try:
        catalog.resolve("dataset", name)
    except UnknownName:
        if not Path(name).exists() and (Path(name).suffix or "/" in name):
            raise BadFile(f"{name} is no registered dataset, and no such file exists") from None
        return Path(name).exists()
    return False


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
    config: TrainConfig, catalog: Catalog, dataset: DatasetSource, settings: _Settings
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
