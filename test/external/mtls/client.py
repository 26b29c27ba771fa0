"""For each line of standard input, sends a request. With `new`, it closes its connection and reads its certificate again."""

import hashlib
import http.client
import json
import os
import ssl
import sys
from urllib.parse import urlsplit

url = urlsplit(os.environ["URL"])
folder = os.environ["FOLDER"]
headers = {"Authorization": os.environ["AUTHORIZATION"]}
connection = None


def connect():
    context = ssl.create_default_context(cafile=f"{folder}/ca.pem")
    context.load_cert_chain(f"{folder}/client.crt", f"{folder}/client.key")
    return http.client.HTTPSConnection(url.hostname, url.port, context=context, timeout=20)


def send():
    connection.request("GET", url.path, headers=headers)
    peer = connection.sock
    port = peer.getsockname()[1]
    fingerprint = hashlib.sha256(peer.getpeercert(True)).hexdigest()
    response = connection.getresponse()
    response.read()
    version = f"HTTP/{response.version // 10}.{response.version % 10}"
    return {"status": response.status, "version": version, "port": port, "fingerprint": fingerprint}


for line in sys.stdin:
    if line.strip() == "new":
        if connection is not None:
            connection.close()
        connection = connect()
    try:
        result = send()
    except (OSError, http.client.HTTPException) as error:
        result = {"error": str(error)}
    print(json.dumps(result), flush=True)
