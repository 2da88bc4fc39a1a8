"""`python -m heat_config_kubelet` is the command `heat-config-kubelet`."""

import sys

from .cli import main

sys.exit(main())
