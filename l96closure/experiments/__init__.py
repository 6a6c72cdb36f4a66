"""The experiments: each module holds the stages of one, as plain functions in the order they run."""

from collections.abc import Mapping
from typing import Any

from l96closure.experiments import bistable, closure, gaussian
from l96closure.experiments.workflow import Workflow

__all__ = ["WORKFLOWS", "Workflow"]

WORKFLOWS: Mapping[str, Workflow[Any]] = {
    "closure": closure.WORKFLOW,
    "gaussian": gaussian.WORKFLOW,
    "bistable": bistable.WORKFLOW,
}
"""The experiments by the name that the setting ``workflow`` has for them."""
