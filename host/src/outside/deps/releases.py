# Prints the versions of one package as JSON: what the index pip is set up for says of them.
# Usage: releases.py NAME [PIP-OPTION...]
# Asks with pip's own session, so that its settings, credentials, certificates and proxies hold; pip has no command that
# tells times, yanked versions, or those made for other interpreters.
import json
import sys
from contextlib import contextmanager
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from pip._internal.commands import create_command
from pip._vendor.packaging.specifiers import InvalidSpecifier, SpecifierSet
from pip._vendor.packaging.tags import sys_tags
from pip._vendor.packaging.utils import (
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from pip._vendor.packaging.version import Version

ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.files = []

    def handle_starttag(self, tag, attributes):
        said = dict(attributes)
        if tag == "a" and said.get("href"):
            name = unquote(urlsplit(said["href"]).path.rsplit("/", 1)[-1])
            yanked = said["data-yanked"] or True if "data-yanked" in said else False
            url, fragment = urldefrag(said["href"])
            digest = dict([fragment.split("=", 1)]) if "=" in fragment else {}
            self.files.append(
                {
                    "filename": name,
                    "url": url,
                    "hashes": digest,
                    "requires-python": said.get("data-requires-python"),
                    "yanked": yanked,
                }
            )


class Told(Exception):
    """Why there is no answer."""

    def __init__(self, **said):
        self.said = said


def files_of(answer):
    if "json" in answer.headers.get("content-type", ""):
        files = answer.json()["files"]
    else:
        page = Page()
        page.feed(answer.text)
        files = page.files
    return [{**file, "url": urljoin(answer.url, file["url"])} for file in files]


def version_and_tags(name, file):
    try:
        if file["filename"].endswith(".whl"):
            found, version, _, tags = parse_wheel_filename(file["filename"])
        else:
            found, version = parse_sdist_filename(file["filename"])
            tags = None
        return (version, tags) if found == name else (None, None)
    except ValueError:
        return None, None


def unfit(file, tags, here):
    wanted = file.get("requires-python")
    python = "%d.%d.%d" % sys.version_info[:3]
    try:
        if wanted and not SpecifierSet(wanted).contains(python, prereleases=True):
            return "needs Python %s, here is %s" % (wanted, python)
    except InvalidSpecifier:
        pass
    if tags is not None and not tags & here:
        return "has no file for Python %s on this machine" % python
    return None


def releases(name, files):
    here, found = set(sys_tags()), {}
    for file in files:
        version, tags = version_and_tags(name, file)
        if version is None:
            continue
        of_it = found.setdefault(version, {"version": str(version), "at": None, "yanked": True, "unfit": []})
        time = file.get("upload-time")
        if time and (of_it["at"] is None or time < of_it["at"]):
            of_it["at"] = time
        of_it["yanked"] = of_it["yanked"] and file.get("yanked", False) is not False
        of_it["unfit"].append(unfit(file, tags, here))
    for version in sorted(found):
        of_it = found[version]
        reasons = of_it.pop("unfit")
        of_it["unfit"] = None if None in reasons else reasons[0]
        yield of_it


@contextmanager
def pip(name, pip_options):
    """pip's own session, and the indexes that it is set up for."""
    command = create_command("download")
    options, _ = command.parse_args(["--no-input", *pip_options, name])
    indexes = [] if options.no_index else [options.index_url, *options.extra_index_urls]
    with command.main_context():
        yield command.get_default_session(options), indexes


def files_at(indexes, session, name):
    files = []
    for index in indexes:
        try:
            answer = session.get("%s/%s/" % (index.rstrip("/"), name), headers={"Accept": ACCEPT})
        except Exception as error:
            raise Told(away=str(error))
        if answer.status_code == 404:
            continue
        if answer.status_code != 200:
            raise Told(refused="the index answers %d %s" % (answer.status_code, answer.reason))
        files += files_of(answer)
    if not files:
        raise Told(absent=name)
    return files


def tell(work, *words):
    try:
        said = work(*words)
    except Told as told:
        said = told.said
    print(json.dumps(said))


def main(name, *pip_options):
    name = canonicalize_name(name)
    with pip(name, pip_options) as (session, indexes):
        return {"releases": list(releases(name, files_at(indexes, session, name)))}


if __name__ == "__main__":
    tell(main, *sys.argv[1:])
