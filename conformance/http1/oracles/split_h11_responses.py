"""Splits byte streams into responses to GET requests as h11 does. Streams come and go as in streams.js, with the status
in place of the method and nothing in place of the target; each ends with the connection. Interim responses are left out."""

import h11
from streams import answer

ENDED = (h11.MUST_CLOSE, h11.CLOSED)


def ask(connection):
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())


def split(data):
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    ask(connection)
    connection.receive_data(data)
    messages, current, end = [], None, None
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                # What is wrong from now on is wrong because no more comes.
                end = "clean" if current is None and not connection.trailing_data[0] else "more"
                connection.receive_data(b"")
            elif isinstance(event, h11.Response):
                current = [str(event.status_code).encode().hex(), "", ""]
            elif isinstance(event, h11.Data):
                current[2] += bytes(event.data).hex()
            elif isinstance(event, h11.EndOfMessage):
                messages.append(current)
                current = None
                if end or connection.our_state in ENDED or connection.their_state in ENDED:
                    return messages, "closed", ""
                connection.start_next_cycle()
                ask(connection)
            elif not isinstance(event, h11.InformationalResponse):
                return messages, end or "closed", type(event).__name__
    except h11.RemoteProtocolError as error:
        return messages, end or "error", str(error)


answer(split)
