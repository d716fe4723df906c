"""Arrays in .npy form, with nothing taken on trust: the header tells a size, and only so much is read."""

import io
import math
import struct
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

_LONGEST_HEADER = 1 << 14
_READERS: dict[tuple[int, ...], tuple[str, Callable]] = {
    (1, 0): ("<H", np.lib.format.read_array_header_1_0),
    (2, 0): ("<I", np.lib.format.read_array_header_2_0),
}


def read_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether the first axis runs fastest, dtype) of an array of real numbers; `stream` then stands behind it.

    Raises:
        ValueError: it is no such array.
    """
    magic = stream.read(8)
    if magic[:6] != b"\x93NUMPY" or tuple(magic[6:]) not in _READERS:
        raise ValueError("it does not begin as NumPy's files of numbers do")
    form, read = _READERS[tuple(magic[6:])]
    head = stream.read(struct.calcsize(form))
    length = struct.unpack(form, head)[0] if len(head) == struct.calcsize(form) else _LONGEST_HEADER + 1
    if length > _LONGEST_HEADER:
        raise ValueError("its header is damaged")
    try:
        shape, first_fastest, dtype = read(io.BytesIO(head + stream.read(length)))
    except Exception:  # what Python's parser makes of damaged text
        raise ValueError("its header is damaged") from None
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("its header is damaged")
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ValueError(f"its entries are of type {dtype}, which is none of real numbers")
    return shape, first_fastest, dtype


def read_numbers(stream: BinaryIO, shape: tuple[int, ...], first_fastest: bool, dtype: np.dtype) -> np.ndarray:
    """The array behind a header, which ends where the stream does.

    Raises:
        ValueError: there are more or fewer bytes than the header announces.
    """
    count = math.prod(shape) * dtype.itemsize
    data = stream.read(count)
    if len(data) != count or stream.read(1):
        raise ValueError("it has more or fewer bytes than its header announces")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if first_fastest else "C")
