"""How long a row would take at the limits of the machine: the larger of reading its bytes and of computing its
products with the instructions that their formats allow. A share is that time over the measured one, so 100 % is what no
program can beat whose memory is as fast as the memory that was measured (what a limit leaves out, attention's arithmetic and
norms, makes shares a little lower).
"""

# Which arithmetic of `linnet bench limits` products with weights of a type can be made of.
PEAK_OF = {"Q4_0": "int4", "Q4_1": "int4", "Q4_K": "int4", "Q5_0": "int5", "Q5_1": "int5", "Q5_K": "int5", "Q6_K": "int6",
           "Q8_0": "int8", "F32": "f32", "F16": "f32", "BF16": "f32"}


class Work:
    """One step of a row: what it reads and computes, and how many tokens come out of it."""

    def __init__(self, tokens, read_bytes, operations):
        self.tokens, self.read_bytes, self.operations = tokens, read_bytes, operations

    @property
    def total_operations(self):
        return sum(self.operations.values())

    @property
    def intensity(self):
        """Operations for each byte."""
        return self.total_operations / self.read_bytes


def prefill_work(shapes, tokens):
    operations = {kind: tokens * count for kind, count in shapes.operations(output_rows=0).items()}
    for kind, count in shapes.operations(output_rows=1).items():  # the last token's logits
        operations[kind] = operations.get(kind, 0) + count - shapes.operations(output_rows=0).get(kind, 0)
    return Work(tokens, shapes.weight_bytes + tokens * shapes.kv_bytes_per_token, operations)


def decode_work(shapes, streams, context, gen_tokens):
    """The average step while `gen_tokens` are decoded after `context` tokens in each stream."""
    kv = streams * shapes.kv_bytes_per_token * (context + gen_tokens / 2)
    operations = {kind: streams * count for kind, count in shapes.operations(output_rows=1).items()}
    return Work(streams, shapes.weight_bytes + kv, operations)


class Limits:
    """Medians over all `linnet bench limits` of a run."""

    def __init__(self, read_gb_per_s, gop_per_s):
        self.read_gb_per_s, self.gop_per_s = read_gb_per_s, gop_per_s

    def seconds(self, work):
        """(seconds of reading, seconds of arithmetic)"""
        arithmetic = sum(count / (self.gop_per_s[PEAK_OF[kind]] * 1e9) for kind, count in work.operations.items())
        return work.read_bytes / (self.read_gb_per_s * 1e9), arithmetic

    def ideal(self, work):
        """(tokens per second at the limit, which limit: "read" or "arithmetic")"""
        read, arithmetic = self.seconds(work)
        return work.tokens / max(read, arithmetic), "read" if read >= arithmetic else "arithmetic"

    def peak_of(self, work):
        """GOP/s of the mix of formats that `work` is made of."""
        return work.total_operations / self.seconds(work)[1] / 1e9
