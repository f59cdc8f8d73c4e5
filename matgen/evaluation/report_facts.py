"""What a figure was measured with, in words: the head of every report."""

from __future__ import annotations

from collections.abc import Mapping

from matgen.evaluation.report import Report


def facts(report: Report) -> list[tuple[str, str]]:
    """Return what it takes to trust or repeat a report: name and value."""
    settings = report.settings
    protocol = settings.get("protocol")
    told = [("samples", f"{report.asked:,} asked for; every rate divides by that")]
    if isinstance(protocol, Mapping):
        told.append(("protocol", str(protocol["label"])))
    told += [
        ("potential", component(settings["relaxer"]) or "none: geometries as sampled"),
        ("hull", component(settings["hull"]) or "none"),
        ("reference", _reference(settings["reference"])),
        ("geometry compared", str(settings["geometry_compared"])),
        ("matcher", _fields(settings["matcher"])),
        ("matcher for RMSD", _fields(settings["rmsd_matcher"])),
        ("space groups", f"at {settings['symprec_ang']} Å"),
        ("intervals", "95 %: Wilson for rates, bootstrap for means and medians"),
        ("versions", _fields(settings["versions"], equals=" ")),
    ]
    return told


def component(described: object) -> str:
    """Return a component with its settings in one line, empty for none."""
    if not isinstance(described, Mapping):
        return ""
    fields = _fields(described["settings"])
    return f"{described['use']} ({fields})" if fields else str(described["use"])


def _reference(described: object) -> str:
    if not isinstance(described, Mapping):
        return "none: novelty is not measured"
    return f"{described['description']}, {described['crystals']:,} crystals"


def _fields(fields: object, *, equals: str = "=") -> str:
    if not isinstance(fields, Mapping):
        return ""
    return ", ".join(f"{k}{equals}{v}" for k, v in fields.items() if v is not None and v != "")
