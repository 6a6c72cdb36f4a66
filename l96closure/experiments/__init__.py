"""The experiments: each module holds the stages of one, as plain functions in the order they run."""

from collections.abc import Mapping
from typing import Any

from l96closure.experiments.bistable import stages as bistable
from l96closure.experiments.climate import stages as closure
from l96closure.experiments.data import stages as data
from l96closure.experiments.gaussian import stages as gaussian
from l96closure.experiments.workflow import Workflow

__all__ = ["WORKFLOWS", "Workflow"]

WORKFLOWS: Mapping[str, Workflow[Any]] = {
    "closure": closure.WORKFLOW,
    "data": data.WORKFLOW,
    "gaussian": gaussian.WORKFLOW,
    "bistable": bistable.WORKFLOW,
}
"""The experiments by the name that the setting ``workflow`` has for them."""
