"""What pip and uv really print, and what is said of it."""
# ruff: noqa: E501 (as they print it)

import re

import pytest

from orthomask.protocol import ErrorCode
from orthomask.ui.installer import failures

NONE = """ERROR: Could not find a version that satisfies the requirement affine==3.0.1 (from versions: none)
ERROR: No matching distribution found for affine==3.0.1"""
RETRY = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by"
)
REAL = {
    "proxy login": f"""{RETRY} 'OSError('Tunnel connection failed: 407 Proxy Authentication Required')': /simple/affine/
{NONE}""",
    "proxy login, older pip": f"""{RETRY} 'ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 407 """
    f"""Proxy Authentication Required'))': /simple/affine/
{NONE}""",
    "certificate": f"""{RETRY} 'SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify """
    f"""failed: self-signed certificate (_ssl.c:1006)'))': /simple/affine/
Could not fetch URL https://localhost:8443/simple/affine/: There was a problem confirming the ssl certificate: [SSL: """
    f"""CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006) - skipping
{NONE}""",
    "certificate, uv": """error: Request failed after 3 retries
  cause: client error (Connect)
  cause: invalid peer certificate: UnknownIssuer""",
    "offline": f"""{RETRY} 'NameResolutionError("HTTPSConnection(host='no-such-host.invalid', port=443): Failed to resolve """
    f"""'no-such-host.invalid' ([Errno -2] Name or service not known)")': /simple/affine/
{NONE}""",
    "offline, older pip": f"""{RETRY} 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at """
    f"""0x7f78c4ceec50>: Failed to establish a new connection: [Errno -2] Name or service not known')': /simple/affine/
{NONE}""",
    "offline, Windows": f"""{RETRY} 'NewConnectionError("HTTPSConnection(host='example.org', port=443): Failed to """
    f"""establish a new connection: [Errno 11001] getaddrinfo failed")': /simple/affine/
{NONE}""",
    "offline, uv": """error: Failed to install cpython-3.12.16-linux-x86_64-gnu
  cause: Request failed after 3 retries in 9.2s
  cause: error sending request for url (https://example.org/cpython-3.12.16.tar.gz)
  cause: client error (Connect)
  cause: dns error
  cause: failed to lookup address information: Name or service not known""",
    "proxy away": f"""{RETRY} 'ProxyError('Cannot connect to proxy.', NewConnectionError('<pip._vendor.urllib3.connection."""
    f"""HTTPSConnection object at 0x7f09341b1590>: Failed to establish a new connection: [Errno 111] Connection refused"""
    f"""'))': /simple/affine/
{NONE}""",
    "socks": """  File "/v/lib/python3.11/site-packages/pip/_vendor/requests/adapters.py", line 67, in SOCKSProxyManager
    raise InvalidSchema("Missing dependencies for SOCKS support.")
pip._vendor.requests.exceptions.InvalidSchema: Missing dependencies for SOCKS support.""",
    "disk full": """Installing collected packages: numpy, scipy
ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device
""",
    "disk full, Windows": "ERROR: Could not install packages due to an OSError: [WinError 112] There is not enough space on "
    "the disk",
    "locked": r"ERROR: Could not install packages due to an OSError: [WinError 32] The process cannot access the file because "
    r"it is being used by another process: 'C:\\Users\\me\\engine-0.3.0\\Lib\\site-packages\\torch\\lib\\c10.dll'",
    "locked, a scanner": r"ERROR: Could not install packages due to an OSError: [WinError 225] Operation did not complete "
    r"successfully because the file contains a virus or potentially unwanted software: 'C:\\engine\\Scripts\\f2py.exe'",
    "locked, rights": "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/profile/affine'",
    "compiler": """  building 'x' extension
      /nonexistent/gcc -Wsign-compare -DNDEBUG -c x.c -o build/temp.linux-x86_64-cpython-311/x.o
      error: [Errno 2] No such file or directory: '/nonexistent/gcc'
      [end of output]

  note: This error originates from a subprocess, and is likely not a problem with pip.
  ERROR: Failed building wheel for x
Failed to build x
ERROR: Could not build wheels for x, which is required to install pyproject.toml-based projects""",
    "wrong Python": "ERROR: Package 'numpy' requires a different Python: 3.9.18 not in '>=3.11'",
    "wrong Python, a wheel": "ERROR: torch-2.13.0-cp312-cp312-win_amd64.whl is not a supported wheel on this platform.",
    "no venv": """The virtual environment was not created successfully because ensurepip is not
available.  On Debian/Ubuntu systems, you need to install the python3-venv
package using the following command.

    apt install python3.11-venv""",
    "broken off": "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(host='files.example.org', port=443): "
    "Read timed out.",
    "damaged": "ERROR: Wheel 'torch' located at /wheels/torch-2.13.0.whl is invalid. zipfile.BadZipFile: File is not a zip file",
    "resolver": """ERROR: Cannot install numpy==2.3.0 and numpy==2.4.6 because these package versions have conflicting """
    """dependencies.

To fix this you could try to:
1. loosen the range of package versions you've specified
2. remove package versions to allow pip attempt to solve the dependency conflict

ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/""",
    "not there": f"Looking in links: wheels\n{NONE}",
    "no match": """ERROR: Could not find a version that satisfies the requirement numpy==2.4.6 (from """
    """versions: 1.26.4, 2.0.0, 2.0.1, 2.0.2)
ERROR: No matching distribution found for numpy==2.4.6""",
}


@pytest.mark.parametrize("name", REAL)
def test_each_failure_is_known_by_what_is_really_printed(name):
    kind = next(kind for kind in failures.KINDS if kind.name == name.split(",")[0])
    error = failures.explain(REAL[name], "/profile/engine")
    assert (error.sentence, error.remedy, error.code) == (kind.sentence, kind.remedy, kind.code)
    assert error.details == f"/profile/engine\n{REAL[name]}".strip()


def test_every_kind_has_been_seen_and_says_what_to_do():
    assert {name.split(",")[0] for name in REAL} == {kind.name for kind in failures.KINDS}
    for kind in failures.KINDS:
        assert kind.sentence.endswith(".")
        assert re.search(r"try again|choose|install|enter|look|folder|check", kind.remedy, re.IGNORECASE)


def test_a_disk_that_is_full_has_a_code_of_its_own():
    assert failures.explain(REAL["disk full"]).code is ErrorCode.DISK_FULL


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("fetching\nERROR: the moon is in the way\ncleaning up", "the moon is in the way"),
        ("", "no reason"),
        ("odd", "odd"),
    ],
)
def test_what_is_not_known_is_told_in_its_own_words(log, words):
    assert words in failures.explain(log).sentence
