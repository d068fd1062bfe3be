"""Explains failures of pip, uv and venv in one sentence and one remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...protocol import ErrorCode, OrthomaskError
from ..toolkit.words import mark, tr


@dataclass(frozen=True)
class Failure:
    """A kind of failure, known by its output."""

    name: str
    pattern: str
    sentence: str
    remedy: str
    code: ErrorCode = ErrorCode.ENGINE_SETUP


_PROXY = mark("Check the proxy in Settings ‣ Options ‣ Network, then try again.")
KINDS = (
    Failure(
        "disk full",
        r"No space left on device|Errno 28\b|WinError 112|not enough space on the disk|Disk quota exceeded",
        mark("The disk is full."),
        mark("Free some space, then try again: downloaded packages are kept."),
        ErrorCode.DISK_FULL,
    ),
    Failure(
        "proxy login",
        r"\b407\b|Proxy Authentication Required",
        mark("The proxy requires a user name and password."),
        mark("Enter them in Settings ‣ Options ‣ Network ‣ Proxy, then try again."),
    ),
    Failure(
        "socks",
        r"Missing dependencies for SOCKS support",
        mark("The packages cannot be downloaded through a SOCKS proxy."),
        mark("Choose an HTTP proxy in Settings ‣ Options ‣ Network, or install from a folder."),
    ),
    Failure(
        "certificate",
        r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|invalid peer certificate|confirming the ssl certificate"
        r"|UnknownIssuer|suitable TLS CA certificate bundle",
        mark("The server's certificate is not trusted: something between you and the internet may be replacing it."),
        mark("Import your organisation's certificate in Settings ‣ Options ‣ Authentication, then try again."),
    ),
    Failure(
        "proxy away",
        r"Cannot connect to proxy|ProxyError|tunnel error|proxy connection",
        mark("The proxy does not answer."),
        _PROXY,
    ),
    Failure(
        "locked",
        r"WinError (5|32|225)\b|Access is denied|PermissionError|Permission denied|being used by another process"
        r"|virus|potentially unwanted",
        mark("Files of the new environment were locked or blocked, for example by a virus scanner."),
        mark("Exempt the folder shown in the details from the scanner, or allow writing there, then try again."),
    ),
    Failure(
        "compiler",
        r"Microsoft Visual C\+\+ [\d.]+ or greater is required|Failed building wheel|Could not build wheels"
        r"|Failed to build installable wheels|command '?[^']*(gcc|clang|cl\.exe)'? failed|Unable to find a compiler",
        mark("A package has no prebuilt file for this Python and would have to be compiled."),
        mark("Choose another Python, preferably 3.12, then try again."),
    ),
    Failure(
        "wrong Python",
        r"requires a different Python|Requires-Python|is not a supported wheel on this platform"
        r"|not compatible with this Python",
        mark("A package does not support this Python."),
        mark("Choose another Python, preferably 3.12, then try again."),
    ),
    Failure(
        "no venv",
        r"ensurepip is not\s+available|No module named '?(venv|ensurepip)\b",
        mark("This Python cannot create environments."),
        mark("Choose another Python; on Debian and Ubuntu, install the package python3-venv."),
    ),
    Failure(
        "offline",
        r"Name or service not known|NameResolutionError|getaddrinfo failed|nodename nor servname|dns error"
        r"|NewConnectionError|Network is unreachable|ConnectTimeout|Temporary failure in name resolution"
        r"|error sending request|No route to host|Connection refused|Max retries exceeded",
        mark("The package server cannot be reached."),
        mark("Connect to the internet and try again, or install from a folder made on another computer."),
    ),
    Failure(
        "broken off",
        r"Read timed out|IncompleteRead|Connection broken|Connection reset|ReadTimeoutError|ConnectionResetError"
        r"|incomplete-download|RemoteDisconnected",
        mark("The connection was interrupted."),
        mark("Try again: downloaded packages are kept."),
    ),
    Failure(
        "damaged",
        r"DO NOT MATCH THE HASHES|BadZipFile|has an invalid wheel|File is not a zip file|invalid-wheel|Bad CRC-32",
        mark("A package is damaged."),
        mark("Try again; if you install from a folder, create the folder again."),
    ),
    Failure(
        "resolver",
        r"ResolutionImpossible|conflicting dependencies|dependency conflict|No solution found",
        mark("The packages available here are not compatible with each other."),
        mark("Check pip's configuration for constraints or other indexes, or install from a folder."),
    ),
    Failure(
        "not there",
        r"from versions: none\)",
        mark("pip could not find a package."),
        mark("Check the internet connection; if pip uses another index, ask its administrator for the package."),
    ),
    Failure(
        "no match",
        r"No matching distribution found|Could not find a version that satisfies",
        mark("A package is not available here in the version that Orthomask was tested with."),
        mark("Choose another Python; if pip uses another index, ask its administrator for a newer copy."),
    ),
)


def explain(log: str, folder: str = "") -> OrthomaskError:
    """The error for the output of a program that failed.

    Args:
        log: its whole output.
        folder: its working folder, for the details.
    """
    details = f"{folder}\n{log}".strip()
    for kind in KINDS:
        if re.search(kind.pattern, log, re.IGNORECASE):
            return OrthomaskError(kind.code, tr(kind.sentence), tr(kind.remedy), details)
    sentence = tr("The engine could not be set up: {}").format(_last_words(log))
    return OrthomaskError(
        ErrorCode.ENGINE_SETUP, sentence, tr("Try again; if it fails again, report the details."), details
    )


def _last_words(log: str) -> str:
    """The last line that reports an error, or else the last one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    wrong = [line for line in lines if re.match(r"(ERROR|error|fatal)\b", line)]
    text = (wrong or lines or [tr("no reason was given.")])[-1]
    return re.sub(r"^(ERROR|error|fatal):?\s*", "", text)[:200]
