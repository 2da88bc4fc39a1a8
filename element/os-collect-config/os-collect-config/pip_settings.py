"""Hand the build host's settings of pip into the image's build: pip_settings.py FOLDER PLACE REQUIREMENTS.

Writes FOLDER/pip.conf and what it names: the certificate authorities, and the wheels of a local find-links folder that
the requirement files name. PLACE is that folder as the build's chroot sees it.
Runs on the build host with its Python and nothing else; pip need not be there.
"""

import configparser
import os
import pathlib
import re
import shutil
import sys

KEYS = ("index-url", "extra-index-url", "no-index", "find-links", "trusted-host", "proxy", "timeout", "retries")
"""What is handed in beside certificates; nothing else of pip's settings makes sense in another system."""

BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")
"""The host's own certificate authorities: Debian's, Red Hat's, SUSE's. A private one is there where it is trusted."""


def main(folder, place, requirements):
    """Write the folder."""
    given = host_settings(os.environ)
    folder.mkdir(mode=0o700)
    settings = {key: given[key] for key in KEYS if given.get(key)}
    if os.environ.get("DIB_PYPI_MIRROR_URL"):  # diskimage-builder's own name for it
        settings["index-url"] = os.environ["DIB_PYPI_MIRROR_URL"]
    links = settings.pop("find-links", "").split()
    kept = [link for link in links if "://" in link and not link.startswith("file:")]
    local = [pathlib.Path(link.replace("file://", "", 1)) for link in links if link not in kept]
    if copy_wheels(local, folder, names(requirements)):
        kept.append(str(place))
    if kept:
        settings["find-links"] = "\n" + "\n".join(kept)
    certificates = given.get("cert") or next((file for file in BUNDLES if pathlib.Path(file).exists()), None)
    for key, source in (("cert", certificates), ("client-cert", given.get("client-cert"))):
        if source:
            try:
                shutil.copyfile(source, folder / f"{key}.pem")
            except OSError as error:
                sys.exit(f"os-collect-config: pip's setting {key}: {source}: {error.strerror}")
            settings[key] = str(place / f"{key}.pem")
    parser = configparser.RawConfigParser()
    parser["global"] = settings
    with open(folder / "pip.conf", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
        parser.write(stream)


def host_settings(environment):
    """Give pip's settings in force on this host, as pip finds them: files, the later ones win, then the environment."""
    home = pathlib.Path(environment.get("HOME", "/root"))
    config = pathlib.Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    files = [pathlib.Path("/etc/pip.conf"), home / ".pip" / "pip.conf", config / "pip" / "pip.conf"]
    if environment.get("VIRTUAL_ENV"):
        files.append(pathlib.Path(environment["VIRTUAL_ENV"]) / "pip.conf")
    if environment.get("PIP_CONFIG_FILE"):
        files = [] if environment["PIP_CONFIG_FILE"] == os.devnull else [*files, environment["PIP_CONFIG_FILE"]]
    parser = configparser.RawConfigParser()
    parser.read(files)
    found = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            found.update({key.replace("_", "-"): value for key, value in parser[section].items()})
    for name, value in environment.items():
        if name.startswith("PIP_") and value:
            found[name[len("PIP_") :].lower().replace("_", "-")] = value
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        if environment.get(name):
            found.setdefault("cert", environment[name])
    return found


def names(requirements):
    """Give the distributions that requirement files name, as wheels spell them."""
    found = set()
    for file in requirements:
        for line in file.read_text().splitlines():
            match = re.match(r"[A-Za-z0-9][\w.-]*", line)
            if match:
                found.add(normal(match.group()))
    return found


def normal(name):
    """Give a distribution's name as wheels spell it, in lower case."""
    return re.sub(r"[-_.]+", "_", name).lower()


def copy_wheels(folders, target, wanted):
    """Copy the wheels of these distributions; give whether there were any."""
    found = [
        file for folder in folders for file in sorted(folder.glob("*.whl")) if normal(file.name.split("-")[0]) in wanted
    ]
    for file in found:
        shutil.copy(file, target)
    return bool(found)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), [pathlib.Path(name) for name in sys.argv[3:]])
