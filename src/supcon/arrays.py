"""The arrays that rooms hand each other: one name for each meaning, shapes in brackets."""

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]  # [n], row numbers: of the training table, or positions in the image cache
Labels = npt.NDArray[np.int64]  # [rows], class numbers; -1 where a row has no label
Folds = npt.NDArray[np.int64]  # [rows], fold numbers; below 0 where no fold holds the row out
Groups = npt.NDArray[np.int64]  # [rows], group numbers: rows of a group stay in one fold
ClassCounts = npt.NDArray[np.int64]  # [classes], rows of each class
ClassNumbers = npt.NDArray[np.int32]  # [rows, k], the classes that a row keeps, ascending
RowMask = npt.NDArray[np.bool_]  # [rows], True where a row is meant
RowIndex = Rows | RowMask | slice  # which rows are meant

FloatArray = npt.NDArray[np.floating]  # single or double precision
NumericArray = npt.NDArray[np.number]  # any numbers
Floats = npt.NDArray[np.float64]
Scores = npt.NDArray[np.floating]  # [resamples], or [classes]
Probabilities = npt.NDArray[np.floating]  # [rows] or [rows, classes]
ModelLogits = npt.NDArray[np.float32]  # [rows, views, classes], natural-prior log-odds of all classes
Features = npt.NDArray[np.floating]  # [rows, D], embeddings
