"""Splits byte streams into requests as h11 does. Streams come on standard input, each behind its length (4 bytes, big
endian); for each a line of JSON goes out: {"messages": [[method, target, body]], "end": ..., "why": ...}. Bytes are
hexadecimal. "end" is "clean" (between two requests), "more" (within one), "error" or "closed" (no more is read)."""

import json
import struct
import sys

import h11


def split(data):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    messages, current = [], None
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                whole = current is None and not connection.trailing_data[0]
                return messages, "clean" if whole else "more", ""
            if isinstance(event, h11.Request):
                current = [event.method.hex(), event.target.hex(), ""]
            elif isinstance(event, h11.Data):
                current[2] += bytes(event.data).hex()
            elif isinstance(event, h11.EndOfMessage):
                messages.append(current)
                current = None
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE or connection.their_state is h11.MUST_CLOSE:
                    return messages, "closed", ""
                connection.start_next_cycle()
            else:
                return messages, "closed", type(event).__name__
    except h11.RemoteProtocolError as error:
        return messages, "error", str(error)
    except h11.LocalProtocolError as error:
        return messages, "closed", str(error)


def main():
    stream, out = sys.stdin.buffer, sys.stdout
    while len(length := stream.read(4)) == 4:
        messages, end, why = split(stream.read(struct.unpack(">I", length)[0]))
        out.write(json.dumps({"messages": messages, "end": end, "why": why}) + "\n")
        out.flush()


main()
