"""The command line of the cluster under test."""

import functools
import json
import subprocess
import tempfile
from pathlib import Path


class Refused(Exception):
    """The command line ended with an error."""


def run(
    *arguments: str, name: str = "payload", option: str = "--in", content: bytes | None = None
) -> dict:
    """Runs `quorate` and reads its JSON. Content is put into a file that the option names."""
    with tempfile.TemporaryDirectory() as directory:
        command = ["quorate", *arguments, "-o", "json"]
        if content is not None:
            path = Path(directory, name)
            path.write_bytes(content)
            command += [option, str(path)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise Refused(f"{' '.join(command)}: {ended.stderr.strip()}")
    return json.loads(ended.stdout)


def xpub(key: str) -> str:
    return run("key", "xpub", key)["xpub"]


@functools.cache
def key(scheme: str) -> str:
    """A key of the scheme for everything that it may sign, made when it is first asked for."""
    purposes = "transactions,messages" if scheme == "ecdsa-secp256k1" else "transactions"
    name = f"interop-{scheme}"
    run("key", "create", name, "--scheme", scheme, "--purpose", purposes)
    return name
