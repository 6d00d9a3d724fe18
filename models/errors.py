"""Errors of reading, fetching, registering and exporting checkpoints, each a kind of what the core knows.

PriorError
|-- CorruptWeightsError            damaged, or not the registered file
|   |-- TruncatedWeightsError          it ends before its own header says
|   |-- MislabelledWeightsError        another format than its name says
|   `-- WrongShapeError                tensors that do not fit the architecture
|-- UnsafeWeightsError             it holds code; it is never run
|-- UnsupportedNetworkError        sound, but no prior that can be used here
|-- SelfTestError                  it does not denoise
|-- NotPulledError                 known, but its files are not on this machine
|-- DownloadError                  they could not be fetched
|-- UnsafeNetworkFileError         an exported network that refers to other files or holds compiled code
`-- ExportError                    it cannot be exported
    `-- ParityError                    the exported network does not answer as the original does
"""

from __future__ import annotations

from restore.errors import CorruptWeightsError, PriorError


class TruncatedWeightsError(CorruptWeightsError):
    """A checkpoint that ends before its own header says."""

    code = "truncated_weights"


class MislabelledWeightsError(CorruptWeightsError):
    """A checkpoint in another format than its name says."""

    code = "mislabelled_weights"


class WrongShapeError(CorruptWeightsError):
    """Tensors that do not fit the architecture that the others describe."""

    code = "wrong_shape"


class UnsafeWeightsError(PriorError):
    """A checkpoint that holds code to be run."""

    code = "unsafe_weights"


class UnsupportedNetworkError(PriorError):
    """A sound checkpoint of a network that cannot serve as a prior here."""

    code = "unsupported_network"


class SelfTestError(PriorError):
    """A prior that does not denoise."""

    code = "self_test"


class NotPulledError(PriorError):
    """A known prior whose files are not on this machine."""

    code = "not_pulled"


class DownloadError(PriorError):
    """Files that could not be fetched."""

    code = "download"


class UnsafeNetworkFileError(PriorError):
    """An exported network that is not the expected file, refers to other files, or holds compiled code."""

    code = "unsafe_network_file"


class ExportError(PriorError):
    """A network that cannot be exported, or not here."""

    code = "export"


class ParityError(ExportError):
    """An exported network that does not answer as the original does."""

    code = "parity"
