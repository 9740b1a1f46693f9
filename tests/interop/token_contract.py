"""The token that tests make on a chain; token.hex says what it does."""

import re
from pathlib import Path

SUPPLY = 10**24

CREATION = bytes.fromhex(
    re.sub("#.*", "", Path(__file__).with_name("token.hex").read_text(encoding="utf-8"))
)
