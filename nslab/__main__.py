"""`python -m nslab` is the `nslab` command."""

import sys

from nslab.cli.main import main

sys.exit(main())
