"""Another environment that sees the packages of this one, and interpreters that misbehave."""

from __future__ import annotations

import site
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Impostor = Callable[[str], str]


@pytest.fixture(scope="session")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a second virtual environment; nothing is downloaded for it."""
    folder = tmp_path_factory.mktemp("envs") / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    # Also follows the .pth files there, as of an editable installation.
    lines = (f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages())
    (packages / "this.pth").write_text("".join(lines))
    return str(folder / "bin" / "python")


@pytest.fixture
def impostor(tmp_path: Path) -> Impostor:
    """Write a program that is started like an interpreter but runs ``code``.

    The code may call ``say(value)``, and ``hear()`` for the next request, None at the end.
    """

    def written(code: str) -> str:
        path = tmp_path / f"python-{len(list(tmp_path.iterdir()))}"
        path.write_text(
            f"#!{sys.executable}\n"
            "import json, os, signal, sys, time\n"
            "def say(value):\n    print(json.dumps(value), flush=True)\n"
            "def hear():\n    line = sys.stdin.readline()\n"
            "    return json.loads(line) if line else sys.exit()\n"
            'HELLO = {"hello": {"protocol": 1, "matgen": "0.1.0", "plugins": {}}}\n'
            f"{code}\n"
        )
        path.chmod(0o755)
        return str(path)

    return written
