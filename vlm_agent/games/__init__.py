"""The built-in games: pure rules on a virtual clock, drawn by us, played through device events."""

import os

# pygame greets on standard output when it is first imported, in the middle of JSON that a script may be printing.
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
