"""Sums of a kernel over weighted samples, compiled: what conditional means, their weights and draws are made of.

For a query q and a dictionary of samples x^(j) with weights v^(j), everything the sampler needs is

    S_0 = sum_j v^(j) t^(j),   S_1 = sum_j v^(j) t^(j) y^(j),   S_2 = sum_j v^(j) t^(j) (y^(j))^2,
    t^(j) = 2^(-|q - x^(j)|^2),

in units in which the kernel exp(-|.|^2 / 4 epsilon) is 2^(-|.|^2), with y one of the coordinates or a value of its
own. No M x M matrix is ever formed.

:class:`WeightedSamples` are the dictionary, :class:`Kernel` says which t and how wide, and :class:`KernelSums` lays
both out for queries; a compiled loop asks it by :func:`moments_of`, or, few queries at a time, by :func:`moments_with`
memory of its own (:func:`memory_of`), and by :func:`draw`. :class:`RowSums` are the sums at
the samples themselves, which the weights are found by, and :func:`representatives` fewer points with nearly the same
sums. All else is private.

A query is tried in turn by

1. sums under a tolerance, where the dictionary has one (:mod:`l96closure.kernel._tolerant_sums` has the bound), and
2. sums over all samples in single precision (:mod:`l96closure.kernel._group_sums`);
3. where S_0 is so small that the exponents ought to have been shifted (a query far from every sample), double
   precision: the largest exponent is found first and subtracted, so that S_0 >= min v and never 0/0. This path also
   serves the kernels that are not a plain function of the distance (variable bandwidth, dot product). It is compiled
   on first need: without it, every compiled loop ends at such a query and says so, and is taken up again with it.

Equal seeds give equal bits. In single precision the order of every sum is in the source
(:mod:`l96closure.vector`). The loops in double precision are left to the compiler, which takes two precautions.
No loop both sums and stores: where a loop stores, the compiler guards its vector form with a check that the arrays do
not overlap, and that check, being conservative, comes out differently for different addresses, while in a sum the
vector and the scalar form round differently. And only functions that Python calls are cached on disk. A function that
comes from the cache is optimised into its caller in another way than one compiled along with it, so that results would
depend, in their last bits, on what had been run before; what compiled code calls is therefore always compiled along
with it (``moments_of``).
"""

from l96closure.kernel._draws import draw
from l96closure.kernel._layout import memory_of
from l96closure.kernel._moments import moments_of, moments_with
from l96closure.kernel._recombination import representatives
from l96closure.kernel._row_sums import RowSums
from l96closure.kernel._samples import Kernel, WeightedSamples
from l96closure.kernel._sums import KernelSums

__all__ = [
    "Kernel",
    "KernelSums",
    "RowSums",
    "WeightedSamples",
    "draw",
    "memory_of",
    "moments_of",
    "moments_with",
    "representatives",
]
