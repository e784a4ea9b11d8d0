"""Label recorded sessions and build a training dataset.

    python label_segments.py --sessions sessions --out labeled

Cuts every session into clips, gives each clip a short goal, and writes `OUT/labels` and `OUT/dataset`. Run it again and
it goes on where it stopped. The last line counts everything that was dropped, by reason.
"""

from vlm_agent.errors import run_program


def main() -> None:
    """Read the command line; cut, label, build; show what came of it."""
    import tyro

    from labeling.stage import LabelArgs
    from vlm_agent.cli import label

    label(tyro.cli(LabelArgs, description=__doc__))


if __name__ == "__main__":
    run_program(main)
