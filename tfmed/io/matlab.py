"""Square matrices of real numbers in MATLAB files up to version 7.

Sizes are compared before anything is read or inflated, and what is no such matrix is passed over: texts, structures,
sparse matrices. Version 7.3 is HDF5.
"""

import io
import math
import os
import struct

import numpy as np

from tfmed.files import open_file
from tfmed.io.compression import Damaged, InflateStream, PlainFile

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_OLD_NUMBERS = ("f8", "f4", "i4", "i2", "u2", "u1")  # of version 4
_MATRIX, _PACKED = 14, 15
_CLASSES = range(6, 16)  # of numbers; below are cells, structures, objects, texts and sparse matrices
_COMPLEX = 0x0800
_LONGEST_NAME = 4096


def square_matrices(path, most):
    """{name: matrix} of the square matrices with 2 to `most` rows.

    Raises:
        OSError: the file cannot be read.
        Damaged: it is no such file, or is damaged.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(128)
        if head[:4] == b"\x89HDF" or head.startswith(b"MATLAB 7.3"):
            raise Damaged("MATLAB's version 7.3 is not read; save it with -v7")
        try:
            if 0 in head[:4]:
                file.seek(0)
                return dict(_version_4(file, size, most))
            order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
            if order is None:
                raise Damaged("it is no MATLAB file")
            return dict(_version_5(file, size, order, most))
        except struct.error:
            raise Damaged("it ends too early") from None


def _version_5(file, size, order, most):
    while tag := file.read(8):
        kind, length = struct.unpack(order + "II", tag)
        if length > size - file.tell():
            raise Damaged("it ends too early")
        end = file.tell() + length
        if kind == _MATRIX:
            name, matrix = _matrix(PlainFile(file, size), order, most)
        elif kind == _PACKED:
            name, matrix = _unpacked(file.read(length), order, most)
        else:
            raise Damaged("its elements are damaged")
        if file.tell() > end:
            raise Damaged("its elements overlap")
        if matrix is not None:
            yield name, matrix
        file.seek(end)


def _unpacked(block, order, most):
    stream = InflateStream(io.BytesIO(block))
    kind, _ = struct.unpack(order + "II", stream.read(8))
    if kind != _MATRIX:
        raise Damaged("its elements are damaged")
    name, matrix = _matrix(stream, order, most)
    if matrix is not None:
        stream.skip(-matrix.nbytes % 8)  # the numbers are filled up
        stream.finish()
    return name, matrix


def _matrix(stream, order, most):
    """(name, matrix), or None in place of what is no square matrix of real numbers."""
    kind, length, flags, _ = struct.unpack(order + "IIII", stream.read(16))
    if (kind, length) != (6, 8):
        raise Damaged("its elements are damaged")
    kind, data = _element(stream, order)
    shape = np.frombuffer(data, order + "i4").tolist() if kind == 5 and len(data) % 4 == 0 else []
    name = _element(stream, order)[1].decode("latin-1")
    if (flags & 0xFF) not in _CLASSES or flags & _COMPLEX or not _wanted(shape, most):
        return name, None
    kind, length, small = _tag(stream, order)
    dtype = np.dtype(order + _NUMBERS.get(kind, "V1"))
    if dtype.kind == "V" or length != math.prod(shape) * dtype.itemsize:
        raise Damaged(f"the sizes of its {name!r} contradict each other")
    numbers = np.frombuffer(small[:length] if small else stream.read(length), dtype)
    return name, numbers.reshape(shape, order="F")


def _wanted(shape, most):
    return len(shape) == 2 and shape[0] == shape[1] and 2 <= shape[0] <= most


def _tag(stream, order):
    """(kind, bytes, the data themselves where they stand in the tag)."""
    block = stream.read(8)
    kind, length = struct.unpack(order + "II", block)
    return (kind & 0xFFFF, kind >> 16, block[4:]) if kind >> 16 else (kind, length, b"")


def _element(stream, order):
    """(kind, data) of a short element: the sizes of a matrix, or its name."""
    kind, length, small = _tag(stream, order)
    if length > (4 if small else _LONGEST_NAME):
        raise Damaged("its elements are damaged")
    if small:
        return kind, small[:length]
    return kind, stream.read(length + -length % 8)[:length]


def _version_4(file, size, most):
    while head := file.read(20):
        order = "<" if head[2:4] == b"\0\0" else ">"
        kind, rows, columns, imaginary, length = struct.unpack(order + "iiiii", head)
        form, content = kind // 10 % 10, kind % 10
        if (
            not 0 <= kind < 5000
            or form >= len(_OLD_NUMBERS)
            or min(rows, columns) < 0
            or not 0 < length < _LONGEST_NAME
        ):
            raise Damaged("it is no MATLAB file")
        name = file.read(length).rstrip(b"\0").decode("latin-1")
        dtype = np.dtype(order + _OLD_NUMBERS[form])
        count = rows * columns * dtype.itemsize
        if count * (2 if imaginary else 1) > size - file.tell():
            raise Damaged("it ends too early")
        end = file.tell() + count * (2 if imaginary else 1)
        if content == 0 and not imaginary and _wanted([rows, columns], most):
            yield name, np.frombuffer(file.read(count), dtype).reshape((rows, columns), order="F")
        file.seek(end)
