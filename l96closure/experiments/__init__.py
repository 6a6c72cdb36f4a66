"""The experiments: each module holds the stages of one, as plain functions in the order they run."""

from l96closure.experiments import closure
from l96closure.experiments.workflow import Workflow

__all__ = ["WORKFLOWS", "Workflow"]

WORKFLOWS = {"closure": closure.WORKFLOW}
"""The experiments by the name that the setting ``workflow`` has for them."""
