"""What the listeners of an integration speak TLS with. Renewed files are taken over without a restart."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from mainstay.app.place import need_applied, record_of
from mainstay.core.addresses import loopback
from mainstay.core.certificates import Validity, validity
from mainstay.core.clock import DAY, iso
from mainstay.core.counts import counted
from mainstay.core.errors import Refused, StoreError
from mainstay.core.nouns import Integration
from mainstay.core.nouns_callers import Tls
from mainstay.core.ports import State
from mainstay.core.verdicts import Finding, Verdict

SOON_US = 21 * DAY
"""Before the end of a certificate, from when on `check` and `status` warn."""
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


class Unfit(Refused):
    """A file of `settings.tls` is not there, or is not what the setting wants."""

    def __init__(self, setting: str, sentence: str, path: Path, mend: str = "") -> None:
        super().__init__(sentence, where=str(path), mend=mend or f"see `settings.tls.{setting}`")
        self.setting = setting


class Pems(msgspec.Struct, frozen=True, kw_only=True):
    """The files' bytes."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class Secured:
    """TLS of one process.

    Args:
        tls: Which files, and who must have a certificate.
        folder: Where relative paths start.

    Raises Unfit where a file is not there or does not fit.
    """

    def __init__(self, tls: Tls, folder: Path) -> None:
        self.tls = tls
        self._folder = folder
        self._seen = self._stamps()
        self.pems = read(tls, folder)
        self.context = _context(tls, folder)

    @property
    def clients_required(self) -> bool:
        """Whether nobody may connect without a certificate."""
        return self.tls.client_ca is not None and self.tls.clients == "required"

    def look(self, on_loop: Callable[[Callable[[], None]], object]) -> bool:
        """Takes over a renewed certificate and its key, for connections from now on. For any thread.

        Args:
            on_loop: Does what it is given where connections are made: a context is not for two threads at once.

        True where the process must be started anew for what changed: nobody can be taken out of a context's trust.
        Raises Unfit, once for each change, where the new files do not fit: what was read before stays in use.
        """
        seen = self._stamps()
        if seen == self._seen:
            return False
        self._seen = seen
        pems = read(self.tls, self._folder)
        _context(self.tls, self._folder)  # Tried with another one, so that ours is never half changed.
        if pems.client_ca != self.pems.client_ca:
            return True
        if pems != self.pems:
            self.pems = pems
            on_loop(lambda: _load(self.context, self.tls, self._folder))
        return False

    def _stamps(self) -> tuple[tuple[int, ...], ...]:
        return tuple(_stamp(path) for _, path in files(self.tls, self._folder))


class AppliedTls:
    """What the applied file says of TLS, and whether it says something else since.

    Args:
        state: Where the applied file is.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._seen = state.changed()
        self._digest = record_of(state).digest
        integration = need_applied(state)
        self.tls = integration.settings.tls
        self.folder = Path(integration.folder)

    def changed(self) -> bool:
        """Looks anew; a state that does not answer has changed nothing. Raises Unfit, once for each file."""
        with contextlib.suppress(StoreError):
            seen = self._state.changed()
            if seen == self._seen:
                return False
            self._seen = seen
            digest = record_of(self._state).digest
            if digest != self._digest:
                self._digest = digest
                integration = need_applied(self._state)
                if integration.settings.tls != self.tls:
                    secured(integration)
                    return True
        return False


def secured(integration: Integration) -> Secured | None:
    """What the integration's listeners speak TLS with; None where they do not. Raises Unfit."""
    tls = integration.settings.tls
    return None if tls is None else Secured(tls, Path(integration.folder))


def files(tls: Tls, folder: Path) -> Iterator[tuple[str, Path]]:
    """(setting, path) of each file."""
    for setting in ("certificate", "key", "client_ca"):
        said = getattr(tls, setting)
        if said is not None:
            yield setting, folder / said


def read(tls: Tls, folder: Path) -> Pems:
    """The files' bytes. Raises Unfit for one that cannot be read."""
    found: dict[str, bytes | None] = {"client_ca": None}
    for setting, path in files(tls, folder):
        try:
            found[setting] = path.read_bytes()
        except OSError as error:
            raise Unfit(setting, f"the file cannot be read: {error.strerror}", path) from None
    return msgspec.convert(found, Pems)


def judge(integration: Integration, now_us: int) -> Iterator[Finding]:
    """What is to be said of the files, before they are used and while they are."""
    tls, folder = integration.settings.tls, Path(integration.folder)
    if tls is None:
        return
    try:
        pems = read(tls, folder)
        _context(tls, folder)
    except Unfit as error:
        yield Finding(
            check=f"tls.{error.setting}", verdict=Verdict.FAIL, sentence=f"{error.where}: {error.sentence}",
            mend=error.mend,
        )  # fmt: skip
        return
    yield _dated("certificate", pems.certificate, folder / tls.certificate, now_us)
    if pems.client_ca is not None and tls.client_ca is not None:
        yield _dated("client_ca", pems.client_ca, folder / tls.client_ca, now_us)
    key = folder / tls.key
    if key.stat().st_mode & 0o007:
        yield Finding(
            check="tls.key", verdict=Verdict.WARN, sentence=f"every user of this machine may read {key}",
            mend=f"chmod o= {key}",
        )  # fmt: skip


def judge_control(integration: Integration) -> Iterator[Finding]:
    """What is to be said where keys of the control API are sent in the clear to an address that others reach."""
    page = integration.settings.status_page
    if page is None or not page.control or integration.settings.tls is not None or loopback(page.host):
        return
    yield Finding(
        check="tls.control",
        verdict=Verdict.WARN,
        sentence=f"the control API on {page.host} is not reached by TLS: keys of role admin travel in the clear",
        mend="`settings: {tls: ...}`, `status_page: {control: off}`, or `host: 127.0.0.1` behind a proxy",
    )


def _dated(setting: str, pem: bytes, path: Path, now_us: int) -> Finding:
    """Of several certificates in the file the one that ends first: a chain is as good as its weakest."""
    spans = list(_spans(pem))
    first = min(spans, key=lambda one: one.until_us)
    begins = max(one.from_us for one in spans)
    until = iso(first.until_us)[:16] + "Z"
    if now_us >= first.until_us:
        verdict, sentence = Verdict.FAIL, f"{path} holds a certificate that ended {until}: nobody accepts it"
    elif now_us < begins:
        verdict, sentence = Verdict.FAIL, f"{path} holds a certificate that is valid from {iso(begins)[:16]}Z on only"
    elif first.until_us - now_us < SOON_US:
        days = (first.until_us - now_us) // DAY
        verdict, sentence = Verdict.WARN, f"{path} holds a certificate that ends in {counted(days, 'day')}, {until}"
    else:
        verdict, sentence = Verdict.PASS, f"{path} is valid until {until}"
    mend = "" if verdict is Verdict.PASS else "put a renewed one in its place: it is taken without a restart"
    return Finding(check=f"tls.{setting}", verdict=verdict, sentence=sentence, mend=mend)


def _spans(pem: bytes) -> Iterator[Validity]:
    for part in pem.split(_BEGIN)[1:]:
        yield validity(ssl.PEM_cert_to_DER_cert((_BEGIN + part.partition(_END)[0] + _END).decode("ascii")))


def _context(tls: Tls, folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(context, tls, folder)
    if tls.client_ca is not None:
        path = folder / tls.client_ca
        try:
            context.load_verify_locations(path)
        except (OSError, ValueError) as error:
            raise Unfit("client_ca", f"it holds no certificates in PEM: {_said(error)}", path) from None
        context.verify_mode = ssl.CERT_REQUIRED if tls.clients == "required" else ssl.CERT_OPTIONAL
    return context


def _load(context: ssl.SSLContext, tls: Tls, folder: Path) -> None:
    certificate, key = folder / tls.certificate, folder / tls.key
    pems = read(tls, folder)
    if b"ENCRYPTED" in pems.key:
        raise Unfit("key", "the key wants a password, which nobody could type", key, "openssl pkey -in IT -out KEY")
    if b"PRIVATE KEY-----" not in pems.key:
        raise Unfit("key", "it holds no private key in PEM", key)
    if _BEGIN not in pems.certificate:
        raise Unfit("certificate", "it holds no certificate in PEM", certificate)
    try:
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            mend = "give the key that the certificate was made for"
            raise Unfit("key", f"it is not the key of {certificate}", key, mend) from None
        raise Unfit("certificate", f"it cannot be used: {_said(error)}", certificate) from None
    except OSError as error:
        raise Unfit("certificate", f"it cannot be read: {_said(error)}", certificate) from None


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not TLS").lower().replace("_", " ")
    return getattr(error, "strerror", None) or type(error).__name__


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file does; links are followed."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
