"""Compressed streams read to their very end, so that the checksum behind the last byte is always compared."""

import os
import zlib
from io import BufferedIOBase

CHUNK = 1 << 16  # of compressed bytes; deflate grows data at most 1032-fold, so one step makes at most 64 MiB
GREATEST_RATIO = 1032


class Damaged(Exception):
    """Why a stream is not intact, in words that fit into a sentence."""


class InflateStream:
    """Reads a gzip file (of one or several members) or a zlib stream, and never more of it than is asked for.

    Args:
        file: a binary file, positioned at the stream's first byte.

    Raises:
        Damaged: from any method; the stream is not compressed, ends early, is followed by other bytes or fails its
            checksum.
    """

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self._rest = file.read(CHUNK)
        if self._rest[:2] != b"\x1f\x8b" and self._rest[:1] != b"\x78":
            raise Damaged("it is not compressed, although its name or header says so")
        self._begin_member()

    def readinto(self, view: memoryview) -> None:
        """Fill the whole of a writable memoryview of bytes."""
        filled = 0
        while filled < len(view):
            piece = self._next(len(view) - filled)
            if not piece:
                raise Damaged(f"the data end {len(view) - filled} bytes before the size that the header announces")
            view[filled : filled + len(piece)] = piece
            filled += len(piece)

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        block = bytearray(count)
        self.readinto(memoryview(block))
        return bytes(block)

    def skip(self, count: int) -> None:
        """Pass over `count` bytes without keeping them."""
        while count > 0:
            piece = self._next(min(count, CHUNK * 16))
            if not piece:
                raise Damaged(f"the data end {count} bytes before the size that the header announces")
            count -= len(piece)

    def finish(self) -> None:
        """Compare the checksum, and make sure that nothing is left."""
        if self._next(1):
            raise Damaged("it holds more data than its header announces")

    def _begin_member(self) -> None:
        self._inflate = zlib.decompressobj(wbits=47)  # 47: gzip or zlib, by the first bytes

    def _next(self, most: int) -> bytes:
        """At most `most` bytes more (at least 1); empty only behind the last member's checksum."""
        while True:
            if self._inflate.eof and not self._another_member():
                return b""
            given = self._rest or self._file.read(CHUNK)
            try:
                piece = self._inflate.decompress(given, most)
            except zlib.error as error:
                raise Damaged(_in_words(error)) from None
            self._rest = self._inflate.unconsumed_tail
            if piece:
                return piece
            if not given and not self._inflate.eof:
                raise Damaged("the compressed data end too early")

    def _another_member(self) -> bool:
        """Whether another gzip member follows; zeros behind the last one are padding, as for gzip itself."""
        rest = self._inflate.unused_data
        while True:
            rest = (rest or self._file.read(CHUNK)).lstrip(b"\0")
            if rest:
                break
            if not (rest := self._file.read(CHUNK)):
                return False
        if len(rest) < 2:
            rest += self._file.read(CHUNK)
        if rest[:2] != b"\x1f\x8b":
            raise Damaged("other bytes follow the compressed data")
        self._rest = rest
        self._begin_member()
        return True


class PlainFile:
    """An uncompressed file of `size` bytes; `at` is how far it was read."""

    def __init__(self, file: BufferedIOBase, size: int) -> None:
        self._file, self._size, self.at = file, size, 0

    def check_size(self, expected: int) -> None:
        """Refuse a file that is not exactly as long as its header announces."""
        if self._size != expected:
            raise Damaged(f"it has {self._size} bytes, its header announces {expected}")

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        block = self._file.read(count)
        if len(block) < count:
            raise Damaged(f"it ends after {self.at + len(block)} bytes")
        self.at += count
        return block

    def skip(self, count: int) -> None:
        """Pass over `count` bytes."""
        self._file.seek(count, os.SEEK_CUR)

    def readinto(self, view: memoryview) -> None:
        """Fill the whole of a writable memoryview of bytes."""
        if self._file.readinto(view) != len(view):
            raise Damaged("the voxels end too early")

    def finish(self) -> None:
        """Nothing to do: check_size has compared the whole."""


class GzipFile(InflateStream):
    """A gzip file of `size` compressed bytes, with the interface of PlainFile."""

    def __init__(self, file: BufferedIOBase, size: int) -> None:
        self._size, self.at = size, 0
        super().__init__(file)

    def check_size(self, expected: int) -> None:
        """Refuse a header that announces more than deflate could pack into the file."""
        if expected > self._size * GREATEST_RATIO:
            raise Damaged(f"{self._size} bytes of gzip cannot hold the {expected} that its header announces")

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        self.at += count
        return super().read(count)


def _in_words(error: Exception) -> str:
    text = str(error)
    if "incorrect data check" in text:
        return "the gzip checksum does not match"
    if "incorrect length check" in text:
        return "the gzip length does not match"
    return "the compressed data are damaged"
