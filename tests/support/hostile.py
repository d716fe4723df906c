"""Files that mean harm, or that nobody meant: every generator yields (name of the file, how to make it at a path).

A name tells its format by its suffix; the part of an address that a reader needs is in `ADDRESS`.
"""

import gzip
import io
import itertools
import os
import socket
import struct
import zipfile
import zlib

import h5py
import nibabel
import numpy as np
from PIL import Image

PART = {".h5": "::image", ".hdf5": "::image", ".png": "::grey", ".jpg": "::grey", ".tif": "::grey",
        ".bmp": "::grey"}  # fmt: skip
VOLUMES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".h5", ".png", ".jpg", ".tif", ".dcm")
MATRICES = (".csv", ".tsv", ".txt", ".npy", ".mat", ".graphml")
SHAPE = (4, 6, 8)  # (z, y, x)
BIG = (2**15, 10**6, 2**31 - 1, 2**31, 2**32, 10**12, 2**63 - 1, 2**63, 2**64, 10**18, 10**30)


def address(path):
    """What a reader is given: the path, and the part that its format needs."""
    return f"{path}{PART.get(os.path.splitext(path)[1].lower(), '')}"


def voxels(dtype="int16"):
    """What is stored where nothing else matters: no two voxels alike."""
    return np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


def written(data):
    """A maker that writes bytes."""
    return lambda path: path.write_bytes(data)


# --- what is no regular file ------------------------------------------------------------------------------------------


def _socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket has 108 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


SPECIAL = {
    "fifo": os.mkfifo,
    "socket": _socket,
    "link-to-fifo": lambda path: (os.mkfifo(f"{path}-pipe"), path.symlink_to(f"{path}-pipe")),
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "random": lambda path: path.symlink_to("/dev/urandom"),
    "null": lambda path: path.symlink_to("/dev/null"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "circle": lambda path: path.symlink_to(path),
    "folder": lambda path: path.mkdir(),
    "memory": lambda path: path.symlink_to("/proc/self/mem"),
    "empty": lambda path: path.touch(),
    "one byte": lambda path: path.write_bytes(b"\0"),
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(4096)),
    "sparse": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
}


def special(suffixes=VOLUMES + MATRICES):
    """What lies under a name without being a file of its format."""
    for suffix, (kind, make) in itertools.product(suffixes, SPECIAL.items()):
        yield f"{kind}{suffix}", make


# --- NIfTI ------------------------------------------------------------------------------------------------------------


def nifti_bytes(kind=nibabel.Nifti1Header, dtype="int16", array=None, **fields):
    """A NIfTI file whose header says what `fields` do."""
    header = kind()
    array = voxels(dtype) if array is None else array
    header.set_data_dtype(dtype)
    header.set_data_shape(array.shape[::-1])
    header.set_sform(np.diag([1.0, 2.0, 3.0, 1.0]), 1)
    header["pixdim"][1:4] = 1, 2, 3
    header["magic"], header["vox_offset"] = header.single_magic, header.single_vox_offset
    for key, value in fields.items():
        header[key] = value
    block = header.binaryblock
    return block + b"\0" * (header.single_vox_offset - len(block)) + array.tobytes()


LENGTHS = (1e-45, 1e-30, 1e-9, 1e-6, 1e-3, 1e3, 1e6, 1e9, 1e30, 3e38, np.inf, -np.inf, np.nan, -1, 0)


def _nifti_fields():
    for value in LENGTHS:
        yield f"size {value:g}", {"pixdim": [1, value, 2, 3, 1, 1, 1, 1], "sform_code": 0}
        yield f"column {value:g}", {"srow_x": [value, 0, 0, 0]}
        yield f"all sizes {value:g}", {"srow_x": [value, 0, 0, 0], "srow_y": [0, value, 0, 0],
                                       "srow_z": [0, 0, value, 0]}  # fmt: skip
        yield f"origin {value:g}", {"srow_x": [1, 0, 0, value]}
        yield f"slope {value:g}", {"scl_slope": value}
        yield f"intercept {value:g}", {"scl_slope": 1, "scl_inter": value}
        yield f"offset {value:g}", {"vox_offset": value}
        yield f"quaternion {value:g}", {"sform_code": 0, "qform_code": 1, "quatern_b": value}
        yield f"place {value:g}", {"sform_code": 0, "qform_code": 1, "qoffset_x": value}
    for count in (-32768, -1, 0, 1, 2, 32767):
        for axis in range(1, 8):
            dim = [3, 8, 6, 4, 1, 1, 1, 1]
            dim[axis], dim[0] = count, max(3, axis)
            yield f"axis {axis} {count}", {"dim": dim}
    for axes in (-1, 0, 1, 2, 4, 5, 7, 8, 32767):
        yield f"axes {axes}", {"dim": [axes, 8, 6, 4, 1, 1, 1, 1]}


def nifti():
    """NIfTI-1 and -2 whose headers tell numbers beyond reason."""
    for name, fields in _nifti_fields():
        with np.errstate(all="ignore"):
            try:
                data = nifti_bytes(**fields)
            except (OverflowError, ValueError):
                continue
        yield f"{name}.nii", written(data)
        if name.split()[0] in ("axis", "axes", "offset"):  # sizes are compared otherwise where they are packed
            yield f"{name}.nii.gz", written(gzip.compress(data, 1))
    for size in BIG[:7]:
        for axis in (1, 3, 4):
            dim = [4, 8, 6, 4, 1, 1, 1, 1]
            dim[axis] = size
            data = nifti_bytes(nibabel.Nifti2Header, dim=dim)
            yield f"second {axis} {size}.nii", written(data)
            yield f"second {axis} {size}.nii.gz", written(gzip.compress(data, 1))
    for offset in (-1, 0, 2**31, 2**62, -(2**63)):
        yield f"second offset {offset}.nii", written(nifti_bytes(nibabel.Nifti2Header, vox_offset=offset))
    for kind in ("f4", "f8"):
        for value in (np.nan, np.inf, -np.inf, 1e-45, 3.4e38, 1e39, 1e300):
            array = voxels(kind)
            with np.errstate(over="ignore"):
                array[1, 2, 3] = value
                yield f"{kind} one {value:g}.nii", written(nifti_bytes(dtype=kind, array=array))
                yield f"{kind} all {value:g}.nii", written(nifti_bytes(dtype=kind, array=np.full_like(array, value)))
    for kind in ("i8", "u8", "u4"):
        array = voxels(kind)
        array[0, 0, 0] = np.iinfo(kind).max
        yield f"{kind} greatest.nii", written(nifti_bytes(dtype=kind, array=array))
    whole = nifti_bytes()
    yield "bomb.nii.gz", written(gzip.compress(whole + bytes(1 << 25), 9))
    yield "members.nii.gz", written(gzip.compress(whole) + gzip.compress(b"") * 20000)
    yield "padding.nii.gz", written(gzip.compress(whole) + bytes(1 << 20))
    yield "flat.nii", written(nifti_bytes(array=voxels()[:1]))
    yield "one voxel.nii", written(nifti_bytes(array=voxels()[:1, :1, :1]))
    yield "constant.nii", written(nifti_bytes(array=np.zeros(SHAPE, "int16")))
    yield (
        "long.nii",
        written(
            nifti_bytes(nibabel.Nifti2Header, dtype="u1", array=(np.arange(10**6) % 251).astype("u1").reshape(1, 1, -1))
        ),
    )


# --- text headers -----------------------------------------------------------------------------------------------------

NRRD = {"type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "8 6 4",
        "space directions": "(1,0,0) (0,2,0) (0,0,3)", "kinds": "domain domain domain", "endian": "little",
        "encoding": "raw", "space origin": "(0,0,0)"}  # fmt: skip
META = {"ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0",
        "ElementSpacing": "1 2 3", "DimSize": "8 6 4", "ElementType": "MET_SHORT"}  # fmt: skip
WORDS = ("1e-300", "1e-45", "1e-9", "1e9", "1e30", "1e300", "1e400", "nan", "inf", "-1", "0", "", "x", "9" * 5000,
         "0x10", "1e", "--1", "１", "\0", "1;2")  # fmt: skip


def nrrd_bytes(data=None, **fields):
    """A NRRD; fields are named with _ for blanks."""
    fields = NRRD | {key.replace("_", " "): value for key, value in fields.items()}
    head = "NRRD0004\n" + "".join(f"{key}: {value}\n" for key, value in fields.items() if value is not None) + "\n"
    return head.encode("utf-8") + (voxels().tobytes() if data is None else data)


def meta_bytes(name="LOCAL", data=None, **fields):
    """A MetaImage."""
    head = "".join(f"{key} = {value}\n" for key, value in (META | fields).items() if value is not None)
    data = voxels().tobytes() if data is None else data
    return f"{head}ElementDataFile = {name}\n".encode() + (data if name == "LOCAL" else b"")


def text_headed():
    """NRRD and MetaImage whose headers tell numbers, or words, beyond reason."""
    for word in WORDS:
        plain = word[:12].replace("\0", "null")
        yield f"column {plain}.nrrd", written(nrrd_bytes(space_directions=f"({word},0,0) (0,2,0) (0,0,3)"))
        yield f"all {plain}.nrrd", written(nrrd_bytes(space_directions=f"({word},0,0) (0,{word},0) (0,0,{word})"))
        yield f"origin {plain}.nrrd", written(nrrd_bytes(space_origin=f"({word},0,0)"))
        yield (
            f"spacings {plain}.nrrd",
            written(nrrd_bytes(space_directions=None, space=None, space_origin=None, spacings=f"{word} 2 3")),
        )
        yield f"spacing {plain}.mha", written(meta_bytes(ElementSpacing=f"{word} 2 3"))
        yield f"all {plain}.mha", written(meta_bytes(ElementSpacing=f"{word} {word} {word}"))
        yield f"offset {plain}.mha", written(meta_bytes(Offset=f"{word} 0 0"))
        yield f"matrix {plain}.mha", written(meta_bytes(TransformMatrix=f"{word} 0 0 0 1 0 0 0 1"))
        yield f"channels {plain}.mha", written(meta_bytes(ElementNumberOfChannels=word))
        yield f"skip {plain}.nrrd", written(nrrd_bytes(byteskip=word))
        yield f"skip {plain}.mha", written(meta_bytes(HeaderSize=word))
    for size in (*BIG, -1, 0):
        yield f"sizes {size}.nrrd", written(nrrd_bytes(sizes=f"{size} 6 4"))
        yield (
            f"sizes {size} gzip.nrrd",
            written(nrrd_bytes(gzip.compress(bytes(384)), sizes=f"{size} 6 4", encoding="gzip")),
        )
        yield f"sizes {size}.mha", written(meta_bytes(DimSize=f"{size} 6 4"))
        yield (
            f"sizes {size} gzip.mha",
            written(meta_bytes(data=zlib.compress(bytes(384)), DimSize=f"{size} 6 4", CompressedData="True")),
        )
        yield f"axes {size}.nrrd", written(nrrd_bytes(dimension=str(size)))
        yield f"axes {size}.mha", written(meta_bytes(NDims=str(size)))
    yield "bomb.nrrd", written(nrrd_bytes(gzip.compress(bytes(1 << 25)), encoding="gzip"))
    yield "bomb.mha", written(meta_bytes(data=zlib.compress(bytes(1 << 25)), CompressedData="True"))
    yield "long header.nrrd", written(nrrd_bytes()[:9] + b"# x\n" * (1 << 18) + nrrd_bytes()[9:])
    yield "long header.mha", written(b"Comment = " + b"x" * (1 << 21) + b"\n" + meta_bytes())
    yield "many keys.nrrd", written(b"NRRD0004\n" + b"".join(b"k%d: 1\n" % k for k in range(20000)) + nrrd_bytes()[9:])
    yield "no end.nrrd", written(b"NRRD0004\n" + b"a" * 4000)
    yield "no end.mha", written(b"NDims = " + b"3" * 4000)
    for name in ("beside.raw", "/dev/zero", "../x.raw", "", ".", "..", "x" * 5000, "a\0b", "LIST", "x%d.raw 1 2 1"):
        short = name[:9].replace("/", "-").replace("\0", "null")
        yield f"data {short}.mhd", written(meta_bytes(name))
        yield f"data {short}.nrrd", written(nrrd_bytes(b"", data_file=name))
    for kind in ("fifo", "zero", "socket", "dangling", "folder", "circle", "sparse"):
        yield f"data is {kind}.mhd", _with_data_file(kind, meta_bytes)
        yield f"data is {kind}.nrrd", _with_data_file(kind, lambda name: nrrd_bytes(b"", data_file=name))
    for dtype, kind, name in (("f4", "float", "MET_FLOAT"), ("f8", "double", "MET_DOUBLE")):
        for value in (np.nan, np.inf, 1e39, 1e300):
            array = voxels(dtype)
            with np.errstate(over="ignore"):
                array[1, 2, 3] = value
            yield f"{kind} {value:g}.nrrd", written(nrrd_bytes(array.tobytes(), type=kind))
            yield f"{kind} {value:g}.mha", written(meta_bytes(data=array.tobytes(), ElementType=name))


def _with_data_file(kind, head):
    def make(path):
        beside = path.with_name(f"{path.name}.raw")
        SPECIAL[kind](beside)
        path.write_bytes(head(beside.name))

    return make


# --- HDF5 -------------------------------------------------------------------------------------------------------------


def _dataset(*args, fill=None, **options):
    def make(path):
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset("image", *args, **options)
            if fill is not None:
                dataset[:1, :1, :1] = fill

    return make


def _h5(change):
    def make(path):
        with h5py.File(path, "w") as file:
            change(file, path)

    return make


def hdf5():
    """HDF5 files of sizes beyond reason, of links, and of things that are no arrays."""
    for size in (10**6, 10**9, 10**12, 2**62):
        yield f"empty chunks {size}.h5", _dataset((size, 4, 4), "i2", chunks=(1, 1, 1))
        yield f"empty {size}.h5", _dataset((size, 4, 4), "i2", chunks=(1, 4, 4))
        if size < 2**62:
            yield f"one chunk {size}.h5", _dataset((size, 4, 4), "i2", chunks=(1, 4, 4), compression="gzip", fill=1)
    yield "empty chunks cube.h5", _dataset((2200, 2200, 2200), "i1", chunks=(1, 1, 1))
    yield (
        "bomb.h5",
        _h5(
            lambda file, path: file.create_dataset(
                "image", data=np.zeros((16, 512, 512), "u1"), chunks=(16, 512, 512), compression="gzip"
            )
        ),
    )
    yield (
        "small chunks.h5",
        _h5(
            lambda file, path: file.create_dataset("image", data=np.arange(32**3).reshape(32, 32, 32), chunks=(1, 1, 1))
        ),
    )
    yield "compact.h5", _dataset(data=voxels())
    yield "no extent.h5", _h5(lambda file, path: file.create_dataset("image", data=h5py.Empty("f4")))
    yield "no length.h5", _dataset((0, 4, 4), "i2")
    yield "text.h5", _h5(lambda file, path: file.create_dataset("image", data="text"))
    yield "texts.h5", _h5(lambda file, path: file.create_dataset("image", (2, 2, 2), h5py.string_dtype()))
    yield "compound.h5", _h5(lambda file, path: file.create_dataset("image", (2, 2, 2), [("a", "i2")]))
    yield "enumerated.h5", _h5(lambda file, path: file.create_dataset("image", (2, 2, 2), h5py.enum_dtype({"a": 1})))
    yield "references.h5", _h5(lambda file, path: file.create_dataset("image", (2, 2, 2), h5py.ref_dtype))
    yield "complex.h5", _h5(lambda file, path: file.create_dataset("image", (2, 2, 2), "c8"))
    yield "group.h5", _h5(lambda file, path: file.create_group("image"))
    yield "nothing.h5", _h5(lambda file, path: None)
    yield "long double.h5", _h5(lambda file, path: file.create_dataset("image", data=voxels("g")))
    yield "link to itself.h5", _h5(lambda file, path: file.__setitem__("image", h5py.SoftLink("/image")))
    yield "link away.h5", _h5(lambda file, path: file.__setitem__("image", h5py.ExternalLink("/dev/zero", "/image")))
    yield "link to pipe.h5", _h5(_link_to_pipe)
    yield "stored in pipe.h5", _h5(_stored_in_pipe)
    yield (
        "stored in zero.h5",
        _h5(
            lambda file, path: file.create_dataset(
                "image", SHAPE, "i2", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)]
            )
        ),
    )
    yield "virtual.h5", _h5(_virtual)
    yield "many names.h5", _h5(lambda file, path: [file.create_group(f"g{k}") for k in range(5000)])
    for value in (np.nan, np.inf, 1e39, 1e300):
        array = voxels("f8")
        array[1, 2, 3] = value
        yield f"double {value:g}.h5", _dataset(data=array)


def _link_to_pipe(file, path):
    os.mkfifo(f"{path}-pipe")
    file["image"] = h5py.ExternalLink(f"{path}-pipe", "/image")


def _stored_in_pipe(file, path):
    os.mkfifo(f"{path}-pipe")
    file.create_dataset("image", SHAPE, "i2", external=[(f"{path}-pipe", 0, 384)])


def _virtual(file, path):
    layout = h5py.VirtualLayout(SHAPE, "i2")
    layout[...] = h5py.VirtualSource("/dev/zero", "image", SHAPE)
    file.create_virtual_dataset("image", layout)


# --- pictures ---------------------------------------------------------------------------------------------------------


def png_bytes(width=8, height=6, depth=8, colour=0, rows=None, chunks=()):
    """A PNG of whatever its header says."""
    rows = np.arange(54).astype("u1").tobytes() if rows is None else rows

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + b"".join(itertools.starmap(chunk, chunks))
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def tiff_bytes(width=8, height=6, bits=8, next_page=0, count=48, data=None, pages=1, more=()):
    """A TIFF; `next_page` "self" makes its pages a circle."""
    data = np.arange(48).astype("u1").tobytes() if data is None else data
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
            (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, count), *more]  # fmt: skip
    body, place = bytearray(), 8 + len(data)
    size = 2 + 12 * len(tags) + 4
    for page in range(pages):
        following = (
            place + (page + 1) * size
            if page + 1 < pages
            else {"self": place, "far": 2**32 - 2}.get(next_page, next_page)
        )
        body += (
            struct.pack("<H", len(tags))
            + b"".join(struct.pack("<HHII", *tag) for tag in tags)
            + struct.pack("<I", following)
        )
    return struct.pack("<2sHI", b"II", 42, place) + data + bytes(body)


def bmp_bytes(width=8, height=6, bits=8, compression=0, size=40, data=bytes(range(48))):
    """A BMP of whatever its header says."""
    head = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, compression, 0, 0, 0, 256, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + 1024 + len(data), 0, 0, 54 + 1024) + head + bytes(1024) + data


def jpeg_bytes(width=None, height=None):
    """A JPEG whose header may tell another size."""
    stream = io.BytesIO()
    Image.fromarray(voxels("u1")[0].repeat(4, 0).repeat(4, 1)).save(stream, "JPEG")
    data = bytearray(stream.getvalue())
    at = data.index(b"\xff\xc0") + 5
    old = struct.unpack(">HH", data[at : at + 4])
    data[at : at + 4] = struct.pack(">HH", height or old[0], width or old[1])
    return bytes(data)


def pictures():
    """PNG, JPEG, TIFF and BMP of sizes beyond reason, of circles and bombs."""
    for width, height in itertools.product((-8, 0, 1, 8, 2**16, 2**31 - 1), (-(2**31), -6, 0, 6, 2**16, 2**31 - 1)):
        yield f"size {width} {height}.bmp", written(bmp_bytes(width, height))
    for bits, compression in itertools.product((0, 1, 4, 8, 16, 24, 32, 65535), (0, 1, 3, 2**31)):
        yield f"bits {bits} {compression}.bmp", written(bmp_bytes(bits=bits, compression=compression))
    for size in (0, 12, 124, 2**32 - 1):
        yield f"head {size}.bmp", written(bmp_bytes(size=size))
    yield "torn.bmp", written(bmp_bytes()[:1090])
    for width, height in itertools.product((0, 1, 8, 2**16, 2**31 - 1, 2**31, 2**32 - 1), (0, 1, 6, 2**16, 2**31 - 1)):
        yield f"size {width} {height}.png", written(png_bytes(width, height))
        yield f"size {width} {height}.tif", written(tiff_bytes(width, height))
        yield f"strip {width} {height}.tif", written(tiff_bytes(width, height, count=2**32 - 1))
        yield f"size {width} {height}.jpg", written(jpeg_bytes(min(width, 65535), min(height, 65535)))
    for depth, colour in itertools.product((0, 1, 2, 3, 4, 8, 16, 32), range(8)):
        yield f"kind {depth} {colour}.png", written(png_bytes(depth=depth, colour=colour))
    yield "bomb.png", written(png_bytes(2000, 2000, rows=bytes(2001 * 2000)))
    yield "text bomb.png", written(png_bytes(chunks=[(b"zTXt", b"x\0\0" + zlib.compress(bytes(1 << 24), 9))]))
    yield "profile bomb.png", written(png_bytes(chunks=[(b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 24), 9))]))
    yield "sixteen.png", lambda path: Image.fromarray(voxels("u2")[0] * 300).save(path)
    yield (
        "animated.png",
        lambda path: Image.fromarray(voxels("u1")[0]).save(
            path, save_all=True, append_images=[Image.fromarray(voxels("u1")[1])]
        ),
    )
    for page in ("self", "far", 8, 1):
        yield f"next {page}.tif", written(tiff_bytes(next_page=page))
        yield f"next {page} of two.tif", written(tiff_bytes(next_page=page, pages=2))
    yield "many pages.tif", written(tiff_bytes(pages=2000))
    for bits in (0, 1, 2, 4, 12, 16, 24, 32, 64, 65535):
        yield f"bits {bits}.tif", written(tiff_bytes(bits=bits))
    for tag in (
        (259, 3, 1, 5),
        (259, 3, 1, 7),
        (259, 3, 1, 8),
        (259, 3, 1, 50000),
        (339, 3, 1, 3),
        (322, 4, 1, 2**31),
        (317, 3, 1, 2),
        (274, 3, 1, 6),
        (338, 3, 1, 2**15),
    ):
        yield f"tag {tag[0]} {tag[3]}.tif", written(tiff_bytes(more=[tag]))
    yield "big.tif", written(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) + struct.pack("<Q", 2**63))
    yield "float nan.tif", lambda path: Image.fromarray(np.where(voxels()[0] == 3, np.nan, voxels("f4")[0])).save(path)
    yield "no scans.jpg", written(b"\xff\xd8\xff\xd9")
    yield "only end.jpg", written(bytes(64) + b"\xff\xd9")


# --- connectomes ------------------------------------------------------------------------------------------------------


def npy_bytes(shape, descr="'<f8'", order="False", data=b"", raw=None):
    """A .npy that announces a shape, or a header as it stands."""
    head = raw or f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    head = head.encode() + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(head)) + head + data


MATRIX = np.array([[0, 1, 2.0], [1, 0, 3], [2, 3, 0]])


def mat_bytes(name=b"sc", rows=3, columns=3, declared=None, numbers=None, kind=9, whole=None):
    """A MATLAB 5 file of one matrix whose header may announce more than there is."""
    numbers = MATRIX.tobytes() if numbers is None else numbers
    part = struct.pack("<II", 6, 8) + struct.pack("<II", 6, 0)
    part += struct.pack("<II", 5, 8) + struct.pack("<II", rows & 0xFFFFFFFF, columns & 0xFFFFFFFF)
    part += struct.pack("<HH4s", 1, len(name), name.ljust(4, b"\0"))
    part += struct.pack("<II", kind, len(numbers) if declared is None else declared) + numbers
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49)
    return head + struct.pack("<II", 14, len(part) if whole is None else whole) + part


GRAPH = ('<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><key id="w" for="edge" attr.name="weight" '
         'attr.type="double"/><graph edgedefault="undirected">{}</graph></graphml>')  # fmt: skip
NODES = '<node id="a"/><node id="b"/><edge source="a" target="b"><data key="w">{}</data></edge>'


def matrices():
    """Connectomes of every format that announce too much, or hold what is no number."""
    square = MATRIX.tobytes()
    shapes = ("(1000000, 1000000)", f"({10**12},)", f"({2**63}, 2)", f"({10**30}, {10**30})", "(-1, 3)", "(3, -3)",
              "(3, 3, 1)", "(0, 0)", "()", "(3.0, 3)", "(True, True)", "3", "(300000, 300000)", "(" * 1000)  # fmt: skip
    for index, shape in enumerate(shapes):
        yield f"shape {index}.npy", written(npy_bytes(shape, data=square))
    for index, kind in enumerate(
        (
            "'|O'",
            "'<c16'",
            "'<U100000000'",
            "'|S2000000000'",
            "'|V8'",
            "'<M8[s]'",
            "'x'",
            "None",
            "[('a', '<f8')]",
            "'|b1'",
            "'<f2'",
            "'<i8'",
            "'>f8'",
        )
    ):
        yield f"kind {index}.npy", written(npy_bytes("(3, 3)", kind, data=square))
    for index, head in enumerate(
        (
            "{}",
            "[]",
            "1",
            "",
            "__import__('os')",
            "{" * 3000,
            "-" * 5000 + "1",
            "\0",
            "é",
            "{'descr': '<f8'}",
            " " * 9990 + "1",
            "9" * 5000,
        )
    ):
        yield f"head {index}.npy", written(npy_bytes("", raw=head, data=square))
    yield "head of gigabytes.npy", written(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{}")
    yield "version.npy", written(b"\x93NUMPY\x09\x00" + bytes(200))
    for value in ("nan", "inf", "-inf", "1e39", "1e300", "1e308", "1e-45", "1e-320"):
        matrix = MATRIX.copy()
        matrix[0, 1] = matrix[1, 0] = float(value)
        yield f"value {value}.npy", written(npy_bytes("(3, 3)", data=matrix.tobytes()))
        yield f"value {value}.mat", written(mat_bytes(numbers=matrix.tobytes()))
        yield f"value {value}.csv", written("\n".join(",".join(map(str, row)) for row in matrix).encode())
        yield f"value {value}.graphml", written(GRAPH.format(NODES.format(value)).encode())
    for index, cell in enumerate(
        (
            "1e400",
            "9" * 5000,
            "²",
            "１",
            "0x10",
            "1_000",
            "True",
            "",
            "None",
            "1e",
            "\0",
            "=1+1",
            "-0",
            "infinity",
            "x" * 200000,
            '"',
            "'1'",
            "\u202e1",
            "1 2",
        )
    ):
        for suffix, mark in ((".csv", ","), (".tsv", "\t"), (".txt", " ")):
            rows = [["0", cell, "2"], [cell, "0", "3"], ["2", "3", "0"]]
            yield f"cell {index}{suffix}", written("\n".join(mark.join(row) for row in rows).encode())
    yield (
        "numbers of regions.csv",
        written(("," + ",".join(["9" * 4999 + "1", "9" * 4999 + "2", "9" * 4999 + "3"]) + "\n").encode() * 4),
    )
    yield "one line.csv", written(b"1," * (1 << 20))
    yield "long lines.csv", written((b"1," * 20000 + b"1\n") * 3)
    yield "only names.csv", written(b"a,b,c\n")
    yield "null.csv", written(b"\0" * 1000)
    yield "latin.csv", written("0,1\n1,0\n# ä".encode("latin-1"))
    yield "utf-16.csv", written("0,1\n1,0\n".encode("utf-16"))
    for rows, columns in ((2**31 - 1, 2**31 - 1), (40000, 40000), (-1, -1), (0, 0), (3, 2**31 - 1), (1, 9)):
        yield f"size {rows} {columns}.mat", written(mat_bytes(rows=rows, columns=columns))
    for size in (2**31 - 8, 2**32 - 8, 0, 1, 72 * 1000):
        yield f"declared {size}.mat", written(mat_bytes(declared=size))
        yield f"whole {size}.mat", written(mat_bytes(whole=size))
    for kind in (0, 1, 8, 14, 15, 16, 99):
        yield f"kind {kind}.mat", written(mat_bytes(kind=kind))
    head = mat_bytes()[:128]
    packed = zlib.compress(mat_bytes()[128:] + bytes(1 << 25), 9)
    yield "bomb.mat", written(head + struct.pack("<II", 15, len(packed)) + packed)
    large = zlib.compress(mat_bytes(rows=2**15, columns=2**14, declared=2**32 - 8)[128:] + bytes(1 << 25), 9)
    yield "packed.mat", written(head + struct.pack("<II", 15, len(large)) + large)
    yield "short.mat", written(head)
    yield "many.mat", written(head + mat_bytes()[128:] * 3000)
    yield "seven.mat", _dataset(data=voxels())
    yield "four.mat", written(struct.pack("<IIIII", 0, 2**31 - 1, 2**31 - 1, 0, 3) + b"sc\0" + square)
    entities = "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10}">' for k in range(1, 12))
    yield "entities.graphml", written(f'<!DOCTYPE x [<!ENTITY e0 "x">{entities}]>{GRAPH.format("&e11;")}'.encode())
    yield (
        "outside.graphml",
        written(f'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///dev/zero">]>{GRAPH.format("&e;")}'.encode()),
    )
    yield "dtd.graphml", written(f'<!DOCTYPE x SYSTEM "file:///dev/zero">{GRAPH.format(NODES.format(1))}'.encode())
    yield "nodes.graphml", written(GRAPH.format("".join(f'<node id="n{k}"/>' for k in range(60000))).encode())
    yield "deep.graphml", written(b"<graphml>" + b"<graph>" * 100000)
    yield (
        "nested.graphml",
        written(GRAPH.format('<node id="a"><graph edgedefault="directed">' * 2000 + "</graph></node>" * 2000).encode()),
    )
    yield "attributes.graphml", written(("<graphml " + " ".join(f'a{k}="x"' for k in range(100000)) + "/>").encode())
    for weight in ("", "x", "1,5", "9" * 5000, "0x1", "１"):
        yield f"weight {weight[:4]}.graphml", written(GRAPH.format(NODES.format(weight)).encode())
    yield "text weight.graphml", written(GRAPH.replace("double", "string").format(NODES.format("1")).encode())
    yield "utf-7.graphml", written(b'<?xml version="1.0" encoding="utf-7"?><graphml/>')
    yield "no graph.graphml", written(b"<graphml/>")
    yield "two edges.graphml", written(GRAPH.format(NODES.format(1) + NODES.format(2)).encode())


# --- texts and notes --------------------------------------------------------------------------------------------------

_TEXTS = {
    "nothing": b"",
    "a word": b"word",
    "null": b"null",
    "a number": b"1",
    "a long number": b"9" * 5000,
    "a list": b"[1, 2]",
    "a mapping": b'{"a": 1}',
    "infinite": b'{"version": Infinity, "steps": NaN, "files": 1e999}',
    "deep": b"[" * 100_000,
    "deep mapping": b'{"a":' * 100_000,
    "deep and closed": b"[" * 5000 + b"]" * 5000,
    "nulls": bytes(1000),
    "latin": "é".encode("latin-1") * 100,
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "surrogate": b'{"a": "\\ud800"}',
    "long key": b'{"' + b"k" * 100_000 + b'": 1}',
    "aliases": b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "tag": b"a: !!python/object/apply:os.getpid []",
    "merge": b"<<: {a: 1}\nmethod: ctsgan",
    "quote": b'id,ct\n"x,1',
    "no columns": b"id\nx\n",
    "many columns": b",".join(b"c%d" % k for k in range(20_000)),
    "same columns": b"id,ct,ct\nx,1,2\n",
    "long cell": b"id,ct\nx," + b"y" * 200_000,
    "long path": b"id,ct\nx," + b"y/" * 3000,
    "null path": b"id,ct\nx,a\0b",
    "no user": b"id,ct\nx,~nobody-of-this-name/x.nii",
    "device": b"id,ct\nx,/dev/zero/x",
    "entities": b'<!DOCTYPE x [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><x>&b;</x>',
    "outside": b'<!DOCTYPE x SYSTEM "file:///dev/zero"><x/>',
    "deep tags": b"<x>" * 100_000,
    "deep closed tags": b"<x>" * 3000 + b"</x>" * 3000,
    "many tags": b"<x>" + b"<y/>" * 100_000 + b"</x>",
    "many attributes": b"<x " + b" ".join(b'a%d="1"' % k for k in range(50_000)) + b"/>",
    "unknown encoding": b'<?xml version="1.0" encoding="utf-7"?><x/>',
    "encoding lies": b'<?xml version="1.0" encoding="utf-16"?><x/>',
}  # fmt: skip
_XML = """<LidcReadMessage><readingSession><unblindedReadNodule><noduleID>1</noduleID><roi>
<imageZposition>{}</imageZposition><inclusion>TRUE</inclusion><edgeMap><xCoord>{}</xCoord><yCoord>1</yCoord></edgeMap>
</roi></unblindedReadNodule></readingSession></LidcReadMessage>"""
_NOTE = ('{{"task": "segmentation", "modalities": {}, "label_values": {}, "steps": {}, "version": 1, "kinds": {{}}, '
         '"sha256": "x"}}')  # fmt: skip


def texts(suffix):
    """Text files that are not what their suffix says, or hold numbers beyond reason."""
    yield from special([suffix])
    for name, data in _TEXTS.items():
        yield f"{name}{suffix}", written(data)
    if suffix == ".xml":
        for word in ("nan", "inf", "1e400", "9" * 5000, "1_0", "", "x", "1e30"):
            yield f"place {word[:9]}.xml", written(_XML.format(word, 1).encode())
            yield f"edge {word[:9]}.xml", written(_XML.format(1, word).encode())
    if suffix == ".json":
        for values in ("[]", "[0, 1e30]", f"[0, {10**30}]", "[0, -99999999]", "[0.5, 1]", "[null]", "{}", "[[0]]",
                       str(list(range(300)))):  # fmt: skip
            yield f"labels {values[:12]}.json", written(_NOTE.format('["mr"]', values, "[]").encode())
        for names in ("[]", "[1]", "null", '{"mr": 1}', "[null]"):
            yield f"names {len(names)}.json", written(_NOTE.format(names, "[0, 1]", "[]").encode())
        for steps in ('[{"step": "crop", "shape": [1000000000000, 1, 1]}]', '[{"step": "x"}]', "[1]", "{}",
                      '[{"step": "resample", "spacing_mm": [1e-300, 1, 1]}]'):  # fmt: skip
            yield f"steps {len(steps)}.json", written(_NOTE.format('["mr"]', "[0, 1]", steps).encode())
        for task in ("segmentation", "translation", "other", ""):
            yield f"task {task}.json", written(f'{{"task": "{task}", "steps": []}}'.encode())
        for name in ("../x", "/x", "", ".x", "a/b", "a\\nb", "x" * 200):
            note = (f'{{"task": "translation", "steps": [], "modality": "mr", "usual": ["{name}"], "outputs": '
                    f'{{"{name}": {{}}}}, "signatures": {{"{name}": "x"}}}}')  # fmt: skip
            yield f"output {len(name)} {name[:1].replace('/', '-')}.json", written(note.encode())


# --- latents ----------------------------------------------------------------------------------------------------------


def _archive(members, packing=zipfile.ZIP_DEFLATED):
    def make(path):
        with zipfile.ZipFile(path, "w", packing) as file:
            for name, data in members.items():
                file.writestr(name, data)

    return make


def _latents(styles="(1, 2, 3)", data=None, descr="'<f4'", **more):
    data = np.arange(6).astype("f4").tobytes() if data is None else data
    noise = npy_bytes("(1, 2, 2, 2, 1)", "'<f4'", data=np.arange(8).astype("f4").tobytes())
    return {"styles.npy": npy_bytes(styles, descr, data=data), "noise_00.npy": noise} | more


LATENTS = {kind: make for kind, make in SPECIAL.items() if kind != "folder"} | {
    "true": _archive(_latents()),
    "stored": _archive(_latents("(2, 3)"), zipfile.ZIP_STORED),
    "other shape": _archive(_latents("(1, 3, 2)")),
    "huge shape": _archive(_latents(f"(1, {10**12}, 3)")),
    "negative shape": _archive(_latents("(1, -2, -3)")),
    "too short": _archive(_latents(data=b"1")),
    "bomb": _archive(_latents(data=bytes(1 << 25))),
    "header bomb": _archive(_latents() | {"styles.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(1 << 25)}),
    "objects": _archive(_latents(descr="'|O'")),
    "complex": _archive(_latents(descr="'<c16'")),
    "nan": _archive(_latents(data=np.full(6, np.nan, "f4").tobytes())),
    "beyond float32": _archive(_latents(data=np.full(6, 1e300).tobytes(), descr="'<f8'")),
    "further": _archive(_latents(**{"more.npy": b""})),
    "many": _archive({f"{k}.npy": b"" for k in range(5000)}),
    "none": _archive({}),
    "no array": _archive(_latents() | {"styles.npy": b"x"}),
    "bzip2": _archive(_latents(data=b""), zipfile.ZIP_BZIP2),
    "lzma": _archive(_latents(data=b""), zipfile.ZIP_LZMA),
}

# --- names ------------------------------------------------------------------------------------------------------------

NAMES = {
    "line break": "a\nb.nii", "tab": "a\tb.nii", "escape": "a\x1b[31mb.nii", "colons": "a::b.nii", "part": "a::0.nii",
    "comma": "a,b.nii", "equals": "a=b.nii", "assignment": "ct2=a.nii", "dash": "-a.nii", "option": "--out.nii",
    "emoji": "\U0001f9e0.nii", "joined": "\U0001f468\u200d\U0001f469.nii", "right to left": "a\u202eb.nii",
    "latin": os.fsdecode(b"a\xe9.nii"), "stars": "a*[b]?.nii", "user": "~nobody.nii", "quotes": "a'\"b.nii",
    "braces": "a%s{x}.nii", "blanks": " a .nii", "dots": "...nii", "long": "x" * 251 + ".nii",
    "too long": "x" * 300 + ".nii", "much too long": "x/" * 3000 + ".nii", "null": "a\0b.nii", "hash": "a #b.nii",
    "backslash": "a\\b.nii", "combining": "e\u0301.nii", "dollar": "$HOME.nii", "markup": "a&b<c>.nii",
    "hebrew": "\u05d0\u05d1.nii", "zero width": "a\u200bb.nii", "next line": "a\x85b.nii", "separator": "a\u2028b.nii",
}  # fmt: skip
