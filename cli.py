"""Launcher for tools that start a script: ``torchrun cli.py train …``, debuggers."""

from matgen.commands import main

main()
