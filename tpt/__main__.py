"""``python -m tpt`` is the ``tpt`` command."""

from tpt.cli import main

main()
