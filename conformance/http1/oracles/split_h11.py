"""Splits byte streams into requests as h11 does. Streams come and go as in streams.js."""

import h11
from streams import answer


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


answer(split)
