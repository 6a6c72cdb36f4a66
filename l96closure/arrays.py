"""Arrays by the type of their numbers, as signatures name them."""

from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
C128 = npt.NDArray[np.complex128]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]
Index = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]
