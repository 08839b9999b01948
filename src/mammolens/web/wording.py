"""Errors and notices in the reader's words and language.

The library speaks English and in detail; what it says is kept with an image. Pages show the sentence of this table
for its code: what was seen, and what would help.
"""

from __future__ import annotations

from flask_babel import get_locale, gettext, lazy_gettext

from mammolens.errors import InputError, MammolensError, TooLarge

ERRORS = {
    "mammolens-error": lazy_gettext("This did not work. Try again; if it stays so, tell your administrator."),
    "input-error": lazy_gettext("This file gets no answer."),
    "file-missing": lazy_gettext("The file is no longer there. Upload it again."),
    "unknown-format": lazy_gettext("Neither DICOM, PNG nor JPEG. Export the picture as DICOM and upload that."),
    "malformed-file": lazy_gettext("The file is damaged or was cut short. Export it again and upload the new copy."),
    "unsupported-encoding": lazy_gettext(
        "The picture is stored in a way not read here. Export it uncompressed, or as JPEG Lossless or JPEG 2000."
    ),
    "no-pixels": lazy_gettext("The DICOM file holds no picture. Upload the images of the study, not its reports."),
    "too-large": lazy_gettext("The file or its picture is over the limit. Upload the single images of the study."),
    "too-small": lazy_gettext("The picture has too few pixels. Upload the original, not a thumbnail or a screenshot."),
    "several-examinations": lazy_gettext("The pictures are of several examinations. Give those of one."),
    "decode-failed": lazy_gettext("The picture in the file can't be read. Export it again and upload the new copy."),
    "decode-timeout": lazy_gettext("Reading the picture took too long. Export it again, if possible uncompressed."),
    "decode-out-of-memory": lazy_gettext("Reading the picture takes more memory than is allowed here."),
    "decoder-died": lazy_gettext("Reading the picture failed. Export it again and upload the new copy."),
    "not-a-mammogram": lazy_gettext("Not a mammogram. Upload CC and MLO views."),
    "wrong-modality": lazy_gettext("Not a mammogram: the file names another kind of examination."),
    "no-breast": lazy_gettext("Not a mammogram: no breast found."),
    "blank-image": lazy_gettext("The picture is blank: it holds almost a single grey value."),
    "for-processing": lazy_gettext(
        "Raw detector picture (FOR PROCESSING). Upload the processed one (FOR PRESENTATION) of the same view."
    ),
    "bundle-error": lazy_gettext("The model can't be used. Tell your administrator."),
    "bundle-not-found": lazy_gettext("There is no model of that name. Install or import it first."),
    "bundle-invalid": lazy_gettext("The model's files are incomplete or wrong. Install the model again."),
    "bundle-tampered": lazy_gettext("The model's files have changed since they were written. Install the model again."),
    "bundle-incompatible": lazy_gettext("The model needs another version of Mammolens."),
    "model-file-error": lazy_gettext("The model file can't be imported."),
    "model-file-unsafe": lazy_gettext("The model file asks for something that no weights need, and is not opened."),
    "model-file-malformed": lazy_gettext("The model file is damaged or of no known format."),
    "model-incomplete": lazy_gettext("The model file lacks weights, or holds some that fit nowhere."),
    "model-unsupported": lazy_gettext("The model file is whole, but of a network that can't be imported here."),
    "contract-unknown": lazy_gettext("The model file does not say what input it expects. State it with the options."),
    "parity-failed": lazy_gettext("The imported model does not answer as its source does, and was not installed."),
    "engine-error": lazy_gettext("The inference engine failed. Try again; if it stays so, tell your administrator."),
    "engine-unavailable": lazy_gettext("The inference engine asked for is not installed."),
    "configuration-error": lazy_gettext("A setting of this installation is wrong. Tell your administrator."),
    "output-error": lazy_gettext("The result could not be written. Tell your administrator."),
    "training-error": lazy_gettext("Training can't go on."),
    "training-data-error": lazy_gettext("The training data are missing or break the rules."),
    "evaluation-error": lazy_gettext("No honest figure can come from these pictures or scores."),
    "service-error": lazy_gettext("This request can't be met."),
    "sign-in-required": lazy_gettext("Sign in first; your session may have ended."),
    "permission-missing": lazy_gettext("Your role does not allow this. Ask your administrator."),
    "not-found": lazy_gettext("There is no such thing, or it is not yours to see."),
    "request-invalid": lazy_gettext("A value does not fit. Go back, change it and send it again."),
    "conflict": lazy_gettext("This has changed meanwhile, or does not allow it now. Load the page again."),
    "quota-exceeded": lazy_gettext("Your uploads take all the room you have. Delete cases that you no longer need."),
    "storage-full": lazy_gettext("The server's disk is full. Nothing was lost; try again once there is room."),
    "overloaded": lazy_gettext("Too much at once. Try again in a minute."),
    "database-unavailable": lazy_gettext("The database can't be reached at the moment. Try again shortly."),
    "internal-error": lazy_gettext(
        "Something failed on the server. Try again; if it stays so, tell your administrator."
    ),
    "cancelled": lazy_gettext("Cancelled."),
}
"""A sentence for each code of `mammolens.errors`."""

NOTICES = {
    "burned-in-annotation": lazy_gettext("Text is burned into the picture; it may show who the woman is."),
    "calibrated-per-breast": lazy_gettext("The score is that of the most suspicious breast, calibrated for a breast."),
    "colour": lazy_gettext("The picture is stored in colour; its brightness was taken."),
    "cropped-region": lazy_gettext("This looks like a cut-out of a mammogram; the model was trained on whole breasts."),
    "engine-fallback": lazy_gettext("The inference engine in use failed; another one, equal in result, answered."),
    "format-fallback": lazy_gettext("One form of the model is damaged; another form of the same model answered."),
    "implant-displaced": lazy_gettext("Implant-displaced view; few of the training images were."),
    "low-resolution": lazy_gettext("The picture has fewer pixels than the model looks at; fine detail is missing."),
    "magnification": lazy_gettext("Magnified view: lesions look larger than in the views the model was trained on."),
    "modality-unknown": lazy_gettext("The header does not name mammography; the picture alone was judged."),
    "multi-frame": lazy_gettext("One frame of several was read; the model was not trained on tomosynthesis slices."),
    "negative-turned": lazy_gettext("The picture is a negative (dark tissue on bright ground); it was turned."),
    "not-stored-as-mammogram": lazy_gettext(
        "Not stored as a mammography image; grey values may have been changed on the way."
    ),
    "no-standard-view": lazy_gettext("A breast has neither a CC nor an MLO view; its score rests on other views."),
    "pair-rests": lazy_gettext("The two-view network was not calibrated here; breasts were scored from single views."),
    "repeated-picture": lazy_gettext("The same file was given more than once; it counts once."),
    "side-unknown": lazy_gettext("Which breast a picture shows is not known; it was taken for a breast of its own."),
    "single-views": lazy_gettext("The two-view network needs CC and MLO; a breast was scored from single views."),
    "specimen": lazy_gettext("Radiograph of a specimen, which the model was not made for."),
    "spot-compression": lazy_gettext("Spot compression: a part of the breast, which the model was not trained on."),
    "stands-alone": lazy_gettext("Which examination a picture belongs to is not known; it stands alone."),
    "uncalibrated": lazy_gettext(
        "The model was never calibrated: its number ranks pictures, but is no share of cancers."
    ),
    "uncalibrated-examination": lazy_gettext(
        "The model was calibrated for single views: scores of breast and examination are no share of cancers."
    ),
    "view-doubled": lazy_gettext(
        "A view was given more than once; its pictures were averaged, or one of them was taken."
    ),
    "view-missing": lazy_gettext("A standard view is missing; the score rests on the others."),
    "view-not-counted": lazy_gettext("Views other than CC and MLO are shown, but are not part of the score."),
    "view-unknown": lazy_gettext("Which view a picture is is not known; it was counted as a view of its own."),
}
"""A sentence for each code of `mammolens.types.Notice`."""


def notice_words(code: str, message: str) -> str:
    """Say a notice in the reader's language; one that is not in the table as it was written."""
    return str(NOTICES.get(code, message))


def words(code: str) -> str:
    """Say an error in the reader's language by its code.

    Parameters
    ----------
    code : str
        Of an error of `mammolens.errors`; an unknown one is said as the root's.
    """
    return str(ERRORS.get(code) or ERRORS["mammolens-error"])


def explain(error: MammolensError) -> str:
    """Say an error in the reader's language: its own message where that is known in it, else its code's sentence.

    Of a file that gets no answer always the sentence: the library's message advises who works on a command line.
    """
    if isinstance(error, InputError) and not isinstance(error, TooLarge):
        return words(error.code)
    if str(get_locale() or "en") == "en":
        return error.message
    own = gettext(error.message) if "%" not in error.message else error.message
    return own if own != error.message else words(error.code)
