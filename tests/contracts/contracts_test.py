#!/usr/bin/env python3
"""Compares the contracts in proto/ with the last released ones and fails on a change that would break a client.

    python3 tests/contracts/contracts_test.py            compare with tests/contracts/released.txt
    python3 tests/contracts/contracts_test.py --release  write released.txt anew: with a release, never to silence a failure

A line is one field, enum value or method with everything that a peer relies on: name, number, type, cardinality,
streaming. Adding lines is compatible; changing or removing one is not.
"""
import glob
import os
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RELEASED = os.path.join(CHECKOUT, "tests", "contracts", "released.txt")
# What is on disk and between processes counts too: old data and older peers are met in an upgrade.
PACKAGES = ("linnet/v1", "linnet/registry/v1", "linnet/worker/v1", "linnet/storage/v1", "linnet/config/v1")


def descriptors():
    root = os.path.join(CHECKOUT, "proto")
    files = sorted(f for p in PACKAGES for f in glob.glob(os.path.join(root, p, "*.proto")))
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["protoc", "-I", root, "--include_imports", f"--descriptor_set_out={out.name}", *files], check=True)
        return descriptor_pb2.FileDescriptorSet.FromString(out.read())


def lines():
    field_type = descriptor_pb2.FieldDescriptorProto.Type.Name
    label = descriptor_pb2.FieldDescriptorProto.Label.Name

    def message(prefix, m):
        name = f"{prefix}.{m.name}"
        for f in m.field:
            kind = f.type_name.lstrip(".") or field_type(f.type)[5:].lower()
            one_of = ""
            if f.HasField("oneof_index"):
                one_of = " optional" if f.proto3_optional else f" oneof {m.oneof_decl[f.oneof_index].name}"
            yield f"field {name}.{f.name} = {f.number} {kind} {label(f.label)[6:].lower()}{one_of}"
        for n in m.nested_type:
            yield from message(name, n)
        for e in m.enum_type:
            yield from enum(name, e)

    def enum(prefix, e):
        for v in e.value:
            yield f"enum {prefix}.{e.name}.{v.name} = {v.number}"

    for file in descriptors().file:
        if not file.package.startswith("linnet."):
            continue
        for m in file.message_type:
            yield from message(file.package, m)
        for e in file.enum_type:
            yield from enum(file.package, e)
        for s in file.service:
            for r in s.method:
                streams = f"{'stream ' if r.client_streaming else ''}{r.input_type} -> {'stream ' if r.server_streaming else ''}{r.output_type}"
                yield f"rpc {file.package}.{s.name}.{r.name} {streams}"


def main():
    now = sorted(lines())
    if sys.argv[1:] == ["--release"]:
        with open(RELEASED, "w", encoding="utf-8") as f:
            f.write("\n".join(now) + "\n")
        return 0
    with open(RELEASED, encoding="utf-8") as f:
        released = f.read().splitlines()
    if not released:
        print("contracts: released.txt is empty")
        return 1
    broken = sorted(set(released) - set(now))
    for line in broken:
        print(f"contracts: changed or removed since the release: {line}")
    print(f"contracts: {len(released)} released, {len(now)} now, {len(broken)} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
