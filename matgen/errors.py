"""Everything matgen raises on purpose.

One class per decision that a caller can take::

    MatgenError
    ├── UserError               the user can mend it: printed as one line, exit code 2
    │   ├── UnknownName         a name that nothing is registered under (suggestions inside)
    │   ├── AmbiguousName       a bare name that several plugins offer, or one name claimed twice
    │   ├── PluginProblem       a plugin is missing, broken, or against the rules
    │   ├── BadOptions          a setting, flag or combination that cannot work
    │   ├── MissingDependency   an optional package or weight file that a component needs
    │   ├── WorkerDied          a worker process was killed; the work can be given out again
    │   └── BadFile             a file that cannot be read as what it should be
    │       └── NewerFormat     written by a newer matgen
    └── CrystalError            about one crystal: callers report it and go on
        ├── BadCrystal          disordered, overlapping, unknown element, not finite …
        ├── OutsideRange        a fine crystal that a representation cannot hold
        ├── Undecodable         tokens that are no sentence of the representation
        └── OutsideHull         no reference entry spans this composition
"""

from __future__ import annotations


class MatgenError(Exception):
    """Root of everything matgen raises on purpose."""


class UserError(MatgenError):
    """Something the user can mend; commands print the message and exit with 2."""


class UnknownName(UserError):
    """No component, condition or plugin has this name."""


class AmbiguousName(UserError):
    """Several components answer to this name."""


class PluginProblem(UserError):
    """A plugin is missing, failed to import, or broke a rule of the catalog."""


class BadOptions(UserError):
    """A setting, flag or combination of them that cannot work."""


class MissingDependency(UserError):
    """An optional package or a weight file is not there; the message says how to get it."""


class WorkerDied(UserError):
    """A worker died without an error of its own: killed, out of memory, or its machine is gone."""


class BadFile(UserError):
    """A file cannot be read as what it should be."""


class NewerFormat(BadFile):
    """A file was written by a newer version of matgen."""


class CrystalError(MatgenError):
    """Something about one crystal; callers report it and go on with the next."""


class BadCrystal(CrystalError):
    """Not a crystal we can work with: disordered, overlapping, unknown element, not finite."""


class OutsideRange(CrystalError):
    """A fine crystal that this representation cannot hold (too many sites, too long a cell)."""


class Undecodable(CrystalError):
    """A token sequence that is no sentence of the representation."""


class OutsideHull(CrystalError):
    """The hull reference has no entries that span this composition."""
