"""Closures inside other people's models: one file a package, each with an extra of the package's name.

The core imports none of them, and they need nothing of a closure but ``init`` and ``step``. psi is drawn once a time
step and held over the stages of a step, as :func:`l96closure.integrate` does; where the foreign model keeps no state
for the closure, :class:`l96closure.adapters.carried.Carried` sees to that.
"""

from __future__ import annotations

__all__ = ["cannot_import"]


def cannot_import(package: str, error: ImportError) -> ImportError:
    """Return the error that an adapter raises when ``package`` is missing: one line that names the extra."""
    return ImportError(
        f'l96closure.adapters.{package} cannot import {package} ({error}); pip install "l96closure[{package}]"'
    )
