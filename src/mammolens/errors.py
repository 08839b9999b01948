"""Every error that Mammolens raises on purpose.

::

    MammolensError                   mammolens-error
    ├── InputError                   input-error           a file that gets no answer
    │   ├── FileMissing              file-missing
    │   ├── UnknownFormat            unknown-format
    │   ├── MalformedFile            malformed-file
    │   ├── UnsupportedEncoding      unsupported-encoding
    │   ├── NoPixels                 no-pixels
    │   ├── TooLarge                 too-large
    │   ├── TooSmall                 too-small
    │   ├── SeveralExaminations      several-examinations
    │   ├── DecodeError              decode-failed
    │   │   ├── DecodeTimeout        decode-timeout
    │   │   ├── DecodeOutOfMemory    decode-out-of-memory
    │   │   └── DecoderDied          decoder-died
    │   └── NotAMammogram            not-a-mammogram
    │       ├── WrongModality        wrong-modality
    │       ├── NoBreast             no-breast
    │       ├── BlankImage           blank-image
    │       └── ForProcessing        for-processing
    ├── BundleError                  bundle-error
    │   ├── BundleNotFound           bundle-not-found
    │   ├── BundleInvalid            bundle-invalid
    │   ├── BundleTampered           bundle-tampered
    │   └── BundleIncompatible       bundle-incompatible
    ├── ModelFileError               model-file-error      a model file that can't be imported
    │   ├── ModelFileUnsafe          model-file-unsafe
    │   ├── ModelFileMalformed       model-file-malformed
    │   ├── ModelIncomplete          model-incomplete
    │   ├── ModelUnsupported         model-unsupported
    │   ├── ContractUnknown          contract-unknown
    │   └── ParityFailed             parity-failed
    ├── EngineError                  engine-error
    │   └── EngineUnavailable        engine-unavailable
    ├── ConfigurationError           configuration-error
    ├── OutputError                  output-error
    ├── TrainingError                training-error
    │   └── TrainingDataError        training-data-error
    ├── EvaluationError              evaluation-error      pictures or scores that no honest figure can come from
    ├── ServiceError                 service-error         the web application refuses a request
    │   ├── SignInRequired           sign-in-required
    │   ├── PermissionMissing        permission-missing
    │   ├── NotFound                 not-found
    │   ├── RequestInvalid           request-invalid
    │   ├── CaseConflict             conflict
    │   ├── QuotaExceeded            quota-exceeded
    │   ├── StorageFull              storage-full
    │   ├── Overloaded               overloaded
    │   └── DatabaseUnavailable      database-unavailable
    └── InternalError                internal-error        a mistake in Mammolens

Each class has a stable ``code`` that programs may rely on. The message says what
was wrong and what to do; it never holds a header value, a file name or another
library's exception text.
"""

from __future__ import annotations

from typing import ClassVar


class MammolensError(Exception):
    """Root of the tree.

    Parameters
    ----------
    message : str
        What was wrong and what to do.
    """

    code: ClassVar[str] = "mammolens-error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InputError(MammolensError):
    """A file that gets no answer."""

    code = "input-error"


class FileMissing(InputError):
    """There is no such file, or it can't be opened."""

    code = "file-missing"


class UnknownFormat(InputError):
    """The bytes are neither DICOM nor PNG nor JPEG."""

    code = "unknown-format"


class MalformedFile(InputError):
    """The bytes break the rules of the format that they claim."""

    code = "malformed-file"


class UnsupportedEncoding(InputError):
    """The format is known, this encoding of it is not decoded here."""

    code = "unsupported-encoding"


class NoPixels(InputError):
    """A DICOM object without pixel data."""

    code = "no-pixels"


class TooLarge(InputError):
    """Over a limit; refused before anything was allocated."""

    code = "too-large"


class TooSmall(InputError):
    """Too few pixels to show what the model looks for."""

    code = "too-small"


class SeveralExaminations(InputError):
    """Pictures of several examinations where those of one were asked for."""

    code = "several-examinations"


class DecodeError(InputError):
    """The pixel data could not be decoded."""

    code = "decode-failed"


class DecodeTimeout(DecodeError):
    """Decoding took longer than it may."""

    code = "decode-timeout"


class DecodeOutOfMemory(DecodeError):
    """Decoding took more memory than it may."""

    code = "decode-out-of-memory"


class DecoderDied(DecodeError):
    """The decoding process ended without an answer."""

    code = "decoder-died"


class NotAMammogram(InputError):
    """The picture is not one the model may answer for."""

    code = "not-a-mammogram"


class WrongModality(NotAMammogram):
    """The DICOM header names a modality other than mammography."""

    code = "wrong-modality"


class NoBreast(NotAMammogram):
    """No breast was found in the picture."""

    code = "no-breast"


class BlankImage(NotAMammogram):
    """The picture holds (almost) one single grey value."""

    code = "blank-image"


class ForProcessing(NotAMammogram):
    """A raw detector image (presentation intent FOR PROCESSING)."""

    code = "for-processing"


class BundleError(MammolensError):
    """A model bundle that can't be used."""

    code = "bundle-error"


class BundleNotFound(BundleError):
    """No bundle of that name or at that path."""

    code = "bundle-not-found"


class BundleInvalid(BundleError):
    """The manifest or a file of the bundle breaks the rules."""

    code = "bundle-invalid"


class BundleTampered(BundleError):
    """A file's hash differs from the manifest's."""

    code = "bundle-tampered"


class BundleIncompatible(BundleError):
    """The bundle asks for a preprocessing version that this code does not implement."""

    code = "bundle-incompatible"


class ModelFileError(MammolensError):
    """A model file that can't be imported."""

    code = "model-file-error"


class ModelFileUnsafe(ModelFileError):
    """The file asks for something that no weights need: code, links out of itself, absurd sizes."""

    code = "model-file-unsafe"


class ModelFileMalformed(ModelFileError):
    """The file is of no known format, or breaks its rules, or holds values that are not numbers."""

    code = "model-file-malformed"


class ModelIncomplete(ModelFileError):
    """A tensor is missing, left over, of another shape, or fits two places; the message names it."""

    code = "model-incomplete"


class ModelUnsupported(ModelFileError):
    """The file is whole, but no network that this road imports."""

    code = "model-unsupported"


class ContractUnknown(ModelFileError):
    """The file can't tell what input it expects or which class is malignant; the message names the option."""

    code = "contract-unknown"


class ParityFailed(ModelFileError):
    """The imported model does not answer as its source does."""

    code = "parity-failed"


class EngineError(MammolensError):
    """An inference engine failed."""

    code = "engine-error"


class EngineUnavailable(EngineError):
    """The engine asked for is not installed."""

    code = "engine-unavailable"


class ConfigurationError(MammolensError):
    """A setting or a configuration file is wrong."""

    code = "configuration-error"


class OutputError(MammolensError):
    """A result that can't be written."""

    code = "output-error"


class TrainingError(MammolensError):
    """Training can't go on."""

    code = "training-error"


class TrainingDataError(TrainingError):
    """The training data are missing or break the rules."""

    code = "training-data-error"


class EvaluationError(MammolensError):
    """Pictures or scores that no honest figure can come from; the message names the row or the woman."""

    code = "evaluation-error"


class ServiceError(MammolensError):
    """The web application refuses a request."""

    code = "service-error"


class SignInRequired(ServiceError):
    """Nobody is signed in, or the session has ended."""

    code = "sign-in-required"


class PermissionMissing(ServiceError):
    """Who asks may not do this."""

    code = "permission-missing"


class NotFound(ServiceError):
    """There is no such thing, or it is not theirs to see."""

    code = "not-found"


class RequestInvalid(ServiceError):
    """A value of the request does not fit."""

    code = "request-invalid"


class CaseConflict(ServiceError):
    """The thing has changed, or stands in a state that does not allow this."""

    code = "conflict"


class QuotaExceeded(ServiceError):
    """Over what one user may keep or send."""

    code = "quota-exceeded"


class StorageFull(ServiceError):
    """There is no room for an upload; nothing of it was kept, nothing else was lost."""

    code = "storage-full"


class Overloaded(ServiceError):
    """Too much at once; the same request will do later."""

    code = "overloaded"


class DatabaseUnavailable(ServiceError):
    """The database can't be reached."""

    code = "database-unavailable"


class InternalError(MammolensError):
    """Mammolens failed where it should not have; what it failed of is the error's cause."""

    code = "internal-error"


def refusals() -> dict[str, type[InputError]]:
    """Give every class of refusal by its code, so that a refusal which was told or stored becomes an error again.

    Returns
    -------
    dict of str to type
        The classes of this module: `InputError` and all below it.
    """
    found: dict[str, type[InputError]] = {}
    pending: list[type[InputError]] = [InputError]
    while pending:
        kind = pending.pop()
        if kind.__module__ == __name__:
            found[kind.code] = kind
        pending += kind.__subclasses__()
    return found
