"""``python -m matgen``: the same as the console script."""

from matgen.commands import main

main()
