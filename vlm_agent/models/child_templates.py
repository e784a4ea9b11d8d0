"""Run by `bounded_child`: renders a chat template as transformers does, to see what it takes. Stands alone."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

MAX_PROMPT_CHARS = 1 << 22


def render_all(asked: dict[str, Any]) -> dict[str, int]:
    """Render a template over several conversations; return the most characters that came of one.

    What fails but takes little is no matter: it is told where the template is used.

    Args:
        asked: `text`, the template; `conversations`; `values`, what else it may use.
    """
    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import Node, Scope
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012 - as Jinja has it

        def parse(self, parser: Any) -> Node:
            line = next(parser.stream).lineno
            return Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, ensure_ascii=False, **how: json.dumps(
        value, ensure_ascii=ensure_ascii, **how
    )
    environment.globals["raise_exception"] = refuse
    environment.globals["dict"] = dict
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)  # noqa: DTZ005 - as there
    most = 0
    try:
        template = environment.from_string(asked["text"])
        for messages in asked["conversations"]:
            written = template.render(messages=messages, **asked["values"])
            most = max(most, len(written))
    except MemoryError:
        raise
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError):
        return {"chars": most}
    return {"chars": most}


if __name__ == "__main__":
    from child_patterns import limit_process  # type: ignore[import-not-found]

    limit_process()
    sys.stdout.write(json.dumps(render_all(json.load(sys.stdin))))
