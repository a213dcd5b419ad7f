"""``python -m siamed.pipeline.cli`` is the program ``siamed``."""

from . import main

main()
