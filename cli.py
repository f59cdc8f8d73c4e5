"""Launcher for tools that start a script: ``torchrun cli.py train …``, debuggers."""

from matgen.commands import main

# Processes spawned to prepare data import this file, and are not to run the command again.
if __name__ == "__main__":
    main()
