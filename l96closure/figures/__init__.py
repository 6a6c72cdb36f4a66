"""The pictures of the reports, a module for each experiment; see :mod:`l96closure.figures.style`."""
