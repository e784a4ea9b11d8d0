"""`python -m vlm_agent`: the same as `vlm-agent`."""

from vlm_agent.cli import main

main()
