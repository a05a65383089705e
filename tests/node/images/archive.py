"""Writes container images into one archive that `ctr images import` takes, without a registry or a builder.

    archive.py ARCHIVE IMAGES.json

IMAGES.json: [{"name": …, "config": {as in the OCI image specification}, "layers": [uncompressed tar files, lowest first]}].
A layer that several images share is written once. The format is that of `docker save`.
"""

import hashlib
import io
import json
import sys
import tarfile


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(archive_path, images_path):
    with open(images_path) as file:
        images = json.load(file)
    digests = {}
    manifest = []
    with tarfile.open(archive_path, "w") as archive:

        def add(name, content):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))

        for image in images:
            for layer in image["layers"]:
                if layer not in digests:
                    digests[layer] = digest(layer)
                    archive.add(layer, digests[layer] + ".tar")
            layers = [digests[layer] for layer in image["layers"]]
            config = {
                "architecture": "amd64",
                "os": "linux",
                "config": image["config"],
                "rootfs": {"type": "layers", "diff_ids": ["sha256:" + layer for layer in layers]},
                "history": [{"created_by": "archive.py"} for _ in layers],
            }
            config = json.dumps(config).encode()
            config_name = hashlib.sha256(config).hexdigest() + ".json"
            add(config_name, config)
            manifest.append({"Config": config_name, "RepoTags": [image["name"]], "Layers": [layer + ".tar" for layer in layers]})
        add("manifest.json", json.dumps(manifest).encode())


main(*sys.argv[1:])
