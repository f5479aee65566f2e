"""How the embedded world is made. Run as `python -m world.<module>` from the repository's root."""

import sys
from pathlib import Path

# the library is not installed: whoever uses the world finds it where the workflow does
_LIBRARY = str(Path(__file__).parents[1] / "scripts")
if _LIBRARY not in sys.path:
    sys.path.append(_LIBRARY)
