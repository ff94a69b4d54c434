"""Rounds the tensors of a safetensors file from f32 to f16, as the built-in models are stored. Needs numpy.

usage: halve.py IN OUT
"""
import json
import struct
import sys

import numpy as np


def main():
    source, to = sys.argv[1:]
    data = open(source, "rb").read()
    length, = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8:8 + length]), data[8 + length:]
    header.pop("__metadata__", None)
    out, parts, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, tensor in sorted(header.items()):
        begin, end = tensor["data_offsets"]
        half = np.frombuffer(body[begin:end], "<f4").astype("<f2").tobytes()
        out[name] = {"dtype": "F16", "shape": tensor["shape"], "data_offsets": [at, at + len(half)]}
        parts.append(half)
        at += len(half)
    text = json.dumps(out, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(to, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


if __name__ == "__main__":
    main()
