"""``python -m tpt`` is the ``tpt`` command."""

from tpt.cli.app import main

main()
