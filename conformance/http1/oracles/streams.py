"""Streams come and go as in streams.js."""

import json
import struct
import sys


def answer(split):
    """Answers each stream with the messages, the end and the reason that `split` gives, until there are no more."""
    stream, out = sys.stdin.buffer, sys.stdout
    while len(length := stream.read(4)) == 4:
        messages, end, why = split(stream.read(struct.unpack(">I", length)[0]))
        out.write(json.dumps({"messages": messages, "end": end, "why": why}) + "\n")
        out.flush()
