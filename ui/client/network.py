"""QGIS's proxy and certificates, for the engine and for programs that fetch its packages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from qgis.core import QgsApplication, QgsNetworkAccessManager
from qgis.PyQt.QtCore import QUrl
from qgis.PyQt.QtNetwork import QNetworkProxy, QNetworkProxyQuery

PLACE = "https://download.pytorch.org/whl/"
LOCAL = "localhost,127.0.0.1,::1"
"""What no proxy can reach."""
_SCHEMES = {
    QNetworkProxy.ProxyType.HttpProxy: "http",
    QNetworkProxy.ProxyType.HttpCachingProxy: "http",
    QNetworkProxy.ProxyType.Socks5Proxy: "socks5h",
}


@dataclass(frozen=True, repr=False)
class Network:
    """How QGIS reaches the internet.

    Args:
        proxy: URL of the proxy with user and password; empty for none. Never shown, never on a command line.
        certificates: all trusted authorities as PEM, if the user has added some; else empty.
    """

    proxy: str = ""
    no_proxy: str = ""
    certificates: str = ""

    def variables(self, folder: Path) -> dict[str, str]:
        """Environment variables for the engine, pip and uv. pip's own configuration overrides their proxy.

        Args:
            folder: where the certificates go.
        """
        found = {}
        if self.proxy:
            found.update(dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), self.proxy))
            found.update(dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(filter(None, (self.no_proxy, LOCAL)))))
        if self.certificates:
            bundle = folder / "certificates.pem"
            folder.mkdir(parents=True, exist_ok=True)
            bundle.write_text(self.certificates, encoding="ascii")
            names = "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"
            found.update(dict.fromkeys(names, str(bundle)))
        return found


def of_qgis() -> Network:
    """QGIS's current options. Main thread only."""
    manager = QgsNetworkAccessManager.instance()
    proxies = manager.proxyFactory().queryProxy(QNetworkProxyQuery(QUrl(PLACE))) if manager.proxyFactory() else []
    url = next((proxy_url(proxy) for proxy in proxies if proxy.type() in _SCHEMES), "")
    hosts = ",".join(QUrl(address).host() or address for address in manager.noProxyList())
    return Network(url, hosts, _own_certificates())


def proxy_url(proxy: QNetworkProxy) -> str:
    """The proxy's URL, with user and password, escaped."""
    user, word = quote(proxy.user(), safe=""), quote(proxy.password(), safe="")
    login = f"{user}:{word}@" if word else f"{user}@" if user else ""
    return f"{_SCHEMES[proxy.type()]}://{login}{proxy.hostName()}:{proxy.port()}"


def _own_certificates() -> str:
    """All trusted authorities as PEM if the user has added some in QGIS; else empty."""
    manager = QgsApplication.authManager()
    if manager.isDisabled() or not (manager.extraFileCAs() or manager.databaseCAs()):
        return ""
    return manager.trustedCaCertsPemText().data().decode("ascii", "ignore")
