# See README.rst.
export DIB_SLIM_DEBIAN_MIRROR=${DIB_SLIM_DEBIAN_MIRROR:-http://deb.debian.org/debian}
export DIB_SLIM_DEBIAN_SECURITY_MIRROR=${DIB_SLIM_DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
# The network is systemd-networkd's.
export DIB_APT_MINIMAL_CREATE_INTERFACES=${DIB_APT_MINIMAL_CREATE_INTERFACES:-0}
export DIB_PYTHON_VERSION=${DIB_PYTHON_VERSION:-3}
