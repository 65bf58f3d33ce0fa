"""Pixels of any numbers are the bytes of a file that reads as they are; what may mean anything is no image."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from supcon.images.decode import read_values
from supcon.images.geometry import Unreadable
from supcon.images.reading import Reading
from supcon.images.uncompressed import file_of

AS_STORED = Reading(low=0, high=1)
DTYPES = ["u1", "u2", "i2", "<f4", ">f4", "f8", "i4", ">u2", "f2"]


@given(st.data())
def test_pixels_of_any_numbers_come_out_of_their_file_as_they_went_in(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(5, 7), (5, 7, 3), (3, 5, 7), (6, 9, 1), (8, 7, 4), (14, 13, 12), (2, 6, 5)]))
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    values = data.draw(arrays_of.arrays(dtype, shape))
    expected = np.atleast_3d(np.moveaxis(values, 0, 2) if len(shape) == 3 and shape[0] < shape[2] else values)
    bands = min(expected.shape[2], 3) if expected.shape[2] >= 3 else 1
    content = file_of(values)
    assert file_of(values.copy()) == content
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("supcon.images.decode.open_image", lambda _: io.BytesIO(content))
        found = read_values("x", AS_STORED)[0]
    if dtype == np.uint8 and bands == 3 and expected.shape[2] == 3:
        assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[..., :bands], expected[..., :bands])


@pytest.mark.parametrize("shape", [(4, 4, 3), (5, 5, 5), (3, 9, 3), (7,), (2, 3, 4, 5), (0, 5), ()])
def test_a_shape_that_may_mean_anything_is_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(Unreadable, match="no image"):
        file_of(np.zeros(shape, np.uint16))


@pytest.mark.parametrize("dtype", ["O", "S3", "U2", "c8", "M8[s]"])
def test_what_are_no_numbers_is_no_image(dtype: str) -> None:
    with pytest.raises(Unreadable, match="are no numbers"):
        file_of(np.zeros((9, 9), dtype))
