"""How a manifest names a file: path, hash, length."""

import hashlib


def described(folder, name):
    blob = (folder / name).read_bytes()
    return {"path": name, "sha256": hashlib.sha256(blob).hexdigest(), "bytes": len(blob)}
