"""What a GGUF file says about work per token: which matrices of which type, and the size of its keys and values.

Reads the header only (the format: ggml's docs/gguf.md)."""
import mmap
import os
import struct

# ggml_type: (name, elements of a block, bytes of a block)
TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
         7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
         30: ("BF16", 1, 2)}
# Of metadata values: struct format by type number; strings (8) and arrays (9) apart.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def scalar(self, code):
        value = struct.unpack_from("<" + code, self.data, self.at)[0]
        self.at += struct.calcsize("<" + code)
        return value

    def string(self):
        size = self.scalar("Q")
        self.at += size
        return bytes(self.data[self.at - size:self.at]).decode("utf-8", "replace")

    def skip_strings(self, count):
        unpack = struct.Struct("<Q").unpack_from
        for _ in range(count):
            self.at += 8 + unpack(self.data, self.at)[0]

    def value(self):
        kind = self.scalar("I")
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.scalar(SCALARS[kind])
        kind, count = self.scalar("I"), self.scalar("Q")
        if kind == STRING:
            self.skip_strings(count)  # vocabularies: nothing here needs them
            return None
        values = struct.unpack_from(f"<{count}{SCALARS[kind]}", self.data, self.at)
        self.at += struct.calcsize(f"<{count}{SCALARS[kind]}")
        return values


class Shapes:
    """Matrices of one model: `matrices` are (name, type name, rows, columns, bytes), every one that a token passes."""

    def __init__(self, metadata, matrices):
        arch = metadata["general.architecture"]
        self.architecture = arch
        self.context = metadata[f"{arch}.context_length"]
        self.layers = metadata[f"{arch}.block_count"]
        width = metadata[f"{arch}.embedding_length"]
        heads = self.of_each_layer(metadata[f"{arch}.attention.head_count"])
        self.kv_heads = self.of_each_layer(metadata.get(f"{arch}.attention.head_count_kv", heads))
        self.head_dim = metadata.get(f"{arch}.attention.key_length", width // heads[0])
        # The embedding table is looked up, not read through, unless it is the output matrix as well.
        if any(m[0] == "output.weight" for m in matrices):
            matrices = [m for m in matrices if m[0] != "token_embd.weight"]
        self.matrices = matrices
        self.output = next(m for m in matrices if m[0] in ("output.weight", "token_embd.weight"))

    def of_each_layer(self, value):
        return value if isinstance(value, tuple) else (value,) * self.layers

    @property
    def weight_bytes(self):
        return sum(m[4] for m in self.matrices)

    @property
    def kv_bytes_per_token(self):
        """f16"""
        return 2 * 2 * sum(self.kv_heads) * self.head_dim

    def operations(self, output_rows):
        """{type: operations} of one token's products, of which `output_rows` (0 to 1) are needed of the last one."""
        total = {}
        for matrix in self.matrices:
            share = output_rows if matrix is self.output else 1
            total[matrix[1]] = total.get(matrix[1], 0) + 2 * matrix[2] * matrix[3] * share
        return total


def read(path):
    with open(path, "rb") as f:
        data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    reader = _Reader(data)
    if bytes(data[:4]) != b"GGUF":
        raise ValueError(f"{os.path.basename(path)} is no GGUF file")
    reader.at = 4
    reader.scalar("I")
    tensors, entries = reader.scalar("Q"), reader.scalar("Q")
    metadata = {}
    for _ in range(entries):
        key = reader.string()
        metadata[key] = reader.value()
    matrices = []
    for _ in range(tensors):
        name = reader.string()
        dims = [reader.scalar("Q") for _ in range(reader.scalar("I"))]
        kind = reader.scalar("I")
        reader.scalar("Q")
        if len(dims) == 2:
            if kind not in TYPES:
                raise ValueError(f"{os.path.basename(path)}: tensor {name} has type {kind}, which is not known here")
            label, block, size = TYPES[kind]
            matrices.append((name, label, dims[1], dims[0], dims[0] * dims[1] // block * size))
    return Shapes(metadata, matrices)
