"""The experiments, a folder each: ``climate``, of a fitted closure, ``data``, of your own, ``gaussian``, ``bistable``.

``stages`` of a folder has the stages as plain functions in the order they run, and says which settings make which file;
``settings`` has the settings and their defaults, which ``climate/schema`` hands to Hydra (``gaussian`` and ``bistable``
have theirs beside the stages); figures are in ``figures``, tables and sentences in ``report``, or in ``tables`` and
``failures`` of the closure experiment. All are run by ``workflow``; when a stage is up to date decides ``run_folder``.
``comparison`` lays finished runs side by side, ``sampling`` is what ``gaussian`` and ``bistable`` share.
"""

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
