"""Verifies a DSSE envelope with securesystemslib, which shares no code with Portcullis.

Reads {"envelope": {...}, "keys": [{"keyid", "public"}], "threshold": N} from standard input, `public` being 64 hexadecimal
digits. Prints "ACCEPTED" and the ids of the keys that signed, or "REFUSED"; anything else is a failure of this script.
"""

import json
import sys

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

request = json.load(sys.stdin)
keys = [SSlibKey(key["keyid"], "ed25519", "ed25519", {"public": key["public"]}) for key in request["keys"]]
envelope = Envelope.from_dict(request["envelope"])
try:
    accepted = envelope.verify(keys, request["threshold"])
except VerificationError:
    print("REFUSED")
else:
    print("ACCEPTED", *sorted(accepted))
