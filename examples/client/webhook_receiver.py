"""Take the server's webhooks: verify who sent them, and deal with each once.

PELLUCID_WEBHOOK_SECRET=whsec_... python webhook_receiver.py --certificate chain.pem --key key.pem

The server is started with the same PELLUCID_WEBHOOK_SECRET, and told with each job where to send its webhook:
`client.submit("in.jpg", webhook="https://this-host:8443/")`. It calls https addresses only; behind a proxy that speaks
https for it, this program needs no certificate.
"""

from __future__ import annotations

import argparse
import os
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from pellucid_client import InvalidWebhookError, Webhook, WebhookEvent

#: A webhook is small: the job, never its picture.
LONGEST = 1_000_000


class Receiver(BaseHTTPRequestHandler):
    """Answers one webhook."""

    webhook: ClassVar[Webhook]
    #: A message may come again, when our answer was lost. A real program keeps these in its database.
    known: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        """Verify first: the signature covers the body exactly as it came."""
        length = int(self.headers.get("Content-Length", 0))
        if length > LONGEST:
            return self.send_error(413)
        try:
            event = self.webhook.verify(self.rfile.read(length), dict(self.headers))
        except InvalidWebhookError as error:
            print(f"refused: {error}", flush=True)
            return self.send_error(400)
        if event.id not in self.known:
            self.known.add(event.id)
            handle(event)
        # Any 2xx says that it need not come again.
        self.send_response(204)
        return self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: what matters is printed above."""


def handle(event: WebhookEvent) -> None:
    """What this program does with an event."""
    if event.job is not None:
        print(f"{event.type}: job {event.job.id} {event.job.state}", flush=True)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Receive and verify webhooks.")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--certificate", help="PEM file")
    parser.add_argument("--key", help="PEM file of the certificate's private key")
    arguments = parser.parse_args()
    # Several, separated by spaces, while one replaces another.
    Receiver.webhook = Webhook(*os.environ["PELLUCID_WEBHOOK_SECRET"].split())
    server = ThreadingHTTPServer(("", arguments.port), Receiver)
    if arguments.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.certificate, arguments.key)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    print(f"listening at port {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
