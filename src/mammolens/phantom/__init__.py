"""Synthetic mammograms, for the demo, the self-test and the tests.

The room depends on NumPy, OpenCV, pydicom and imagecodecs, and on no other room of
the house. Its pictures are made from equations and a seed: nothing in them comes
from a patient, and no figure measured on them says anything about real mammograms.
"""

from mammolens.phantom.render import LESIONS, Lesion, Phantom, examination, make
from mammolens.phantom.transfer import TRANSFER_SYNTAXES, dicom

__all__ = ["LESIONS", "TRANSFER_SYNTAXES", "Lesion", "Phantom", "dicom", "examination", "make"]
