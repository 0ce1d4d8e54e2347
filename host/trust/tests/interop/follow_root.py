"""Whether python-tuf, which shares no code with Portcullis, lets a trust root follow another (TUF 1.0.34, 5.3).

Reads {"before": ROOT, "next": ROOT, "signers": [SEED, ...]} from standard input; ROOT is {"version", "keys": [SEED, ...], "threshold"}, a SEED
64 hexadecimal digits of an Ed25519 seed. Prints "ACCEPTED" or "REFUSED"; anything else is a failure of this script. The roots are TUF's own
documents: what is compared is the rule, by version, keys, thresholds and signers.
"""

import json
import sys
from datetime import datetime, timedelta, timezone

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import BadVersionNumberError, RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

request = json.load(sys.stdin)


def signer(seed):
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)))


def document(text, signers):
    root = Root(version=text["version"], expires=datetime.now(timezone.utc) + timedelta(days=1))
    for role in ("root", "timestamp", "snapshot", "targets"):
        for seed in text["keys"]:
            root.add_key(signer(seed).public_key, role)
    root.roles["root"].threshold = text["threshold"]
    metadata = Metadata(root)
    for seed in signers:
        metadata.sign(signer(seed), append=True)
    return metadata.to_bytes()


before = document(request["before"], request["before"]["keys"])
following = document(request["next"], request["signers"])
try:
    try:
        from tuf.ngclient.config import EnvelopeType

        trusted = TrustedMetadataSet(before, EnvelopeType.METADATA)
    except ImportError:
        trusted = TrustedMetadataSet(before)
    trusted.update_root(following)
except (BadVersionNumberError, RepositoryError):
    print("REFUSED")
else:
    print("ACCEPTED")
