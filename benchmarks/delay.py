"""A TCP proxy in a process of its own that delays: a round trip without a network.

Each chunk is forwarded a fixed time after it was read, in order, and any number may be on
their way, so throughput is not limited. The TCP handshake costs its round trip as well,
though the kernel on loopback answers it at once: nothing is read before it would be over.
Prints its port, and ends with its standard input.
"""

import argparse
import contextlib
import queue
import socket
import sys
import threading
import time

_READ = 1 << 18


class Pipe:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, delay: float) -> None:
        self._source = source
        self._delay = delay
        self._chunks: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def fill(self) -> None:
        """Read until the end, noting when each chunk is due."""
        data = b"-"
        while data:
            try:
                data = self._source.recv(_READ)
            except OSError:
                data = b""
            self._chunks.put((time.monotonic() + self._delay, data))

    def drain(self, sink: socket.socket) -> None:
        """Write each chunk when it is due; the last one is empty and closes the sink."""
        with contextlib.suppress(OSError):
            while True:
                due, data = self._chunks.get()
                if (wait := due - time.monotonic()) > 0:
                    time.sleep(wait)
                if not data:
                    break
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def carry(client: socket.socket, port: int, delay: float) -> None:
    """Carry one connection to ``port`` until both sides have closed it."""
    with client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        time.sleep(2 * delay)  # SYN there, SYN ACK back: the client may write
        up = Pipe(client, delay)
        threads = [threading.Thread(target=up.fill)]
        threads[0].start()
        time.sleep(delay)  # ACK there: the server learns of the connection
        with socket.create_connection(("127.0.0.1", port)) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            down = Pipe(server, delay)
            threads += [
                threading.Thread(target=down.fill),
                threading.Thread(target=up.drain, args=(server,)),
                threading.Thread(target=down.drain, args=(client,)),
            ]
            for thread in threads[1:]:
                thread.start()
            for thread in threads:
                thread.join()


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=int, required=True, help="port on this machine")
    parser.add_argument("--delay", type=float, default=0.01, help="seconds each way")
    options = parser.parse_args()
    server = socket.create_server(("127.0.0.1", 0), backlog=128)

    def accept() -> None:
        while True:
            client = server.accept()[0]
            threading.Thread(
                target=carry, args=(client, options.to, options.delay), daemon=True
            ).start()

    threading.Thread(target=accept, daemon=True).start()
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
