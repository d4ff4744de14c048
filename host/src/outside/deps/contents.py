# Lays the text files of one version of a package into a directory, and prints as JSON that it did, or why it cannot.
# Usage: contents.py DIRECTORY NAME VERSION [PIP-OPTION...]
# Files come as they would be installed, from a wheel where there is one: with its documents of the source archive, among
# which are the changelogs that wheels lack. Archives are only read; nothing of the package is imported, built or run.
import hashlib
import io
import os
import sys
import tarfile
import zipfile

from pip._vendor.packaging.tags import sys_tags
from pip._vendor.packaging.utils import canonicalize_name
from pip._vendor.packaging.version import Version

from releases import Told, files_at, pip, tell, version_and_tags

LARGEST_ARCHIVE = 64 << 20
LARGEST_FILE = 256 << 10
# Of an archive, unpacked: beyond that it is not looked at.
MOST_BYTES = 256 << 20
DOCUMENTS = ("", ".md", ".rst", ".txt")


def candidates(name, version, files):
    """Wheels, those that fit this machine first, and source archives."""
    here, wheels, sources = set(sys_tags()), [], []
    for file in files:
        found, tags = version_and_tags(name, file)
        if found == version and (file.get("size") or 0) <= LARGEST_ARCHIVE:
            rank = (tags is not None and not tags & here, file["filename"])
            (sources if tags is None else wheels).append((rank, file))
    return [[file for _, file in sorted(some, key=lambda one: one[0])] for some in (wheels, sources)]


def fetched(session, file):
    data = bytearray()
    try:
        answer = session.get(file["url"], headers={"Accept-Encoding": "identity"}, stream=True)
        if answer.status_code != 200:
            raise Told(refused="for %s the index answers %d %s" % (file["filename"], answer.status_code, answer.reason))
        for chunk in answer.iter_content(1 << 16):
            data += chunk
            if len(data) > LARGEST_ARCHIVE:
                raise Told(refused="%s is larger than %d bytes" % (file["filename"], LARGEST_ARCHIVE))
    except OSError as error:
        raise Told(away=str(error))
    digest = (file.get("hashes") or {}).get("sha256")
    if digest and hashlib.sha256(data).hexdigest() != digest:
        raise Told(refused="%s is not what the index says it is" % file["filename"])
    return io.BytesIO(data)


def zipped(data):
    read = 0
    with zipfile.ZipFile(data) as archive:
        for member in archive.infolist():
            is_link = member.external_attr >> 28 == 0xA
            if member.is_dir() or is_link or member.file_size > LARGEST_FILE:
                continue
            read += member.file_size
            if read > MOST_BYTES:
                return
            yield member.filename, archive.read(member)


def tarred(data):
    with tarfile.open(fileobj=data) as archive:
        for member in archive:
            if member.offset_data + member.size > MOST_BYTES:
                return
            if member.isreg() and member.size <= LARGEST_FILE:
                yield member.name, archive.extractfile(member).read()


def members(file, data):
    return zipped(data) if file["filename"].endswith((".whl", ".zip")) else tarred(data)


def metadata(name):
    return "%s.dist-info/METADATA" % name.replace("-", "_")


def from_wheel(name, path):
    first, _, rest = path.partition("/")
    if first.endswith(".dist-info"):
        return metadata(name) if rest == "METADATA" else None
    if first.endswith(".data"):
        kind, _, rest = rest.partition("/")
        return rest if kind in ("purelib", "platlib") else None
    return path


def from_source(name, path):
    rest = path.removeprefix("./").partition("/")[2]
    return metadata(name) if rest == "PKG-INFO" else rest.removeprefix("src/")


def is_document(path):
    return os.path.splitext(path)[1].lower() in DOCUMENTS


def lay(directory, path, text):
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in path:
        return
    place = os.path.join(directory, *parts)
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        # What was laid first stands.
        with open(place, "xb") as file:
            file.write(text)
    except OSError:
        # A name that this machine cannot have, or one that is there.
        pass


def main(directory, name, version, *pip_options):
    name = canonicalize_name(name)
    with pip(name, pip_options) as (session, indexes):
        wheels, sources = candidates(name, Version(version), files_at(indexes, session, name))
        if not wheels and not sources:
            raise Told(absent="%s %s, or no file of it that is small enough" % (name, version))
        for file in wheels[:1]:
            for path, text in members(file, fetched(session, file)):
                lay(directory, from_wheel(name, path) or "", text)
        for file in sources[:1]:
            for path, text in members(file, fetched(session, file)):
                if not wheels or is_document(path):
                    lay(directory, from_source(name, path), text)
    return {"laid": None}


if __name__ == "__main__":
    tell(main, *sys.argv[1:])
