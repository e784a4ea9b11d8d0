"""Play a goal with a model, and record the episode.

python agent.py --goal "craft sapphire rings"
python agent.py --goal "craft sapphire rings" --model runs/mine --seed 7
python agent.py --goal "chop trees" --model runs/mine --env desktop --window "My game" --live

A window of your screen is acted on with --live alone, and only where it is your own game or program: this is not for
online games with anti-cheat, and nothing in it hides from them.
"""

from vlm_agent.errors import run_program


def main() -> None:
    """Read the command line and play."""
    import tyro

    from vlm_agent.rollouts.command import RunConfig, run

    run(tyro.cli(RunConfig, description=__doc__))


if __name__ == "__main__":
    run_program(main)
