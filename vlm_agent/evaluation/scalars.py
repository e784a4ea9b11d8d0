"""A comparison's numbers for TensorBoard, beside those of other runs; needs the extra `tensorboard`."""

from __future__ import annotations

from pathlib import Path

from vlm_agent.errors import ConfigError
from vlm_agent.evaluation.comparison import Comparison
from vlm_agent.evaluation.offline.evaluation import OfflineEvaluation


def check_tensorboard() -> None:
    """Raise ConfigError unless TensorBoard's writer can be imported."""
    try:
        import tensorboard.summary  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "--tensorboard needs the package tensorboard: pip install 'vlm-agent[tensorboard]', or leave it out"
        ) from error


def write_scalars(folder: Path, comparison: Comparison, offline: OfflineEvaluation | None, step: int) -> None:
    """Write every mean and its interval as scalars.

    Args:
        folder: TensorBoard's log folder.
        comparison: closed-loop numbers.
        offline: numbers on recorded windows, if any.
        step: training steps of tuned, so that comparisons of one training line up.
    """
    from tensorboard.summary import Writer

    writer = Writer(str(folder))
    for tag, value in list_scalars(comparison, offline).items():
        writer.add_scalar(tag, value, step)
    writer.close()


def list_scalars(comparison: Comparison, offline: OfflineEvaluation | None) -> dict[str, float]:
    """Return all scalars by tag: `compare/METRIC/CONTENDER` and `eval/METRIC/CONTENDER`, ends of intervals apart."""
    name = comparison.metric.name
    scalars = {}
    for row in comparison.rows.values():
        scalars[f"compare/{name}/{row.contender.name}"] = row.metric.mean
        scalars[f"compare/success/{row.contender.name}"] = row.success.mean
    difference = comparison.difference.interval
    for end, value in (("mean", difference.mean), ("low", difference.low), ("high", difference.high)):
        scalars[f"compare/{name}/tuned-base/{end}"] = value
    for one in offline.answerers if offline else ():
        for key, found in one.estimates.items():
            scalars[f"eval/{key}/{one.name}"] = found.value
    return scalars
