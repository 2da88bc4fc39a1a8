"""Make a wheel of the heat-config-kubelet that is installed here: wheel_of_installed.py FOLDER; prints its name."""

import base64
import hashlib
import importlib.metadata
import pathlib
import sys
import zipfile

NAME = "heat_config_kubelet"


def main(folder):
    """Write the wheel: the package, and its metadata without what pip noted where it installed it."""
    try:
        installed = importlib.metadata.distribution(NAME.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        sys.exit(
            f"heat-config-kubelet: {sys.executable} has no heat-config-kubelet, though these elements were not found "
            "in a checkout: set DIB_HEAT_CONFIG_KUBELET_SOURCE"
        )
    info = f"{NAME}-{installed.version}.dist-info"
    wheel = f"{NAME}-{installed.version}-py3-none-any.whl"
    rows = []
    with zipfile.ZipFile(folder / wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(installed.files or (), key=str):
            metadata = file.parts[0] == info and file.parts[-1] in ("METADATA", "WHEEL", "entry_points.txt", "LICENSE")
            if metadata or (file.parts[0] == NAME and file.suffix != ".pyc"):
                data = file.read_binary()
                digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                rows.append(f"{file},sha256={digest},{len(data)}")
                archive.write(file.locate(), str(file))
        archive.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,", ""]))
    if not any(row.startswith(f"{NAME}/cli.py") for row in rows):
        sys.exit("heat-config-kubelet: installed without its files (editable?): set DIB_HEAT_CONFIG_KUBELET_SOURCE")
    print(wheel)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
