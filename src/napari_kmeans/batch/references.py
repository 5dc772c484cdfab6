"""The publications of the methods that a study uses, each once.

The docstrings of the modules that implement a method cite the same publications.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_kmeans._version import RELEASED, __version__


@dataclass(frozen=True)
class Reference:
    """One publication.

    Attributes
    ----------
    authors : str
        In the order of the publication, initials first.
    title : str
    source : str
        The journal with its volume and pages, or the conference; "" for a preprint.
    year : int
    link : str
        The DOI or the number at arXiv, with its prefix "doi:" or "arXiv:". "" for
        publications that have neither, or whose DOI could not be verified.
    """

    authors: str
    title: str
    source: str
    year: int
    link: str = ""

    def __str__(self) -> str:
        """Return the entry of a list of references, in Markdown."""
        source = f"*{self.source}*" if self.source else ""
        parts = (self.authors, f"“{self.title}”", source, str(self.year), self.link)
        return ", ".join(part for part in parts if part) + "."


@dataclass(frozen=True)
class Software:
    """One version of a program.

    Attributes
    ----------
    authors : str
    title : str
    version, year : str
        "" if it is not known.
    """

    authors: str
    title: str
    version: str
    year: str

    def __str__(self) -> str:
        """Return the entry of a list of references, in Markdown."""
        version = f"version {self.version}" if self.version else ""
        parts = (self.authors, f"“{self.title}”", version, self.year)
        return ", ".join(part for part in parts if part) + "."


PROGRAM = "napari-kmeans"
"""The name by which a text cites this package. `CITATION.cff` has its title and its authors."""

REFERENCES = {
    "lloyd": Reference(
        "S. Lloyd",
        "Least squares quantization in PCM",
        "IEEE Transactions on Information Theory 28(2), 129-137",
        1982,
        "doi:10.1109/TIT.1982.1056489",
    ),
    "k-means++": Reference(
        "D. Arthur, S. Vassilvitskii",
        "k-means++: the advantages of careful seeding",
        "Proceedings of the 18th ACM-SIAM Symposium on Discrete Algorithms (SODA), 1027-1035",
        2007,
    ),
    "local search": Reference(
        "S. Lattanzi, C. Sohler",
        "A better k-means++ algorithm via local search",
        "Proceedings of the 36th International Conference on Machine Learning (ICML), 3662-3671",
        2019,
    ),
    "coresets": Reference(
        "O. Bachem, M. Lucic, A. Krause",
        "Practical coreset constructions for machine learning",
        "",
        2017,
        "arXiv:1703.06476",
    ),
    "one dimension": Reference(
        "H. Wang, M. Song",
        "Ckmeans.1d.dp: optimal k-means clustering in one dimension by dynamic programming",
        "The R Journal 3(2), 29-33",
        2011,
        "doi:10.32614/RJ-2011-015",
    ),
    "fast one dimension": Reference(
        "A. Grønlund, K. G. Larsen, A. Mathiasen, J. S. Nielsen, S. Schneider, M. Song",
        "Fast exact k-means, k-medians and Bregman divergence clustering in 1D",
        "",
        2017,
        "arXiv:1701.07204",
    ),
    "hsv": Reference(
        "A. R. Smith",
        "Color gamut transform pairs",
        "Proceedings of SIGGRAPH, 12-19",
        1978,
        "doi:10.1145/800248.807361",
    ),
    "lab": Reference("CIE", "Colorimetry", "CIE 15:2004", 2004),
    "blur": Reference(
        "H. Knutsson, C.-F. Westin",
        "Normalized and differential convolution",
        "IEEE Conference on Computer Vision and Pattern Recognition (CVPR), 515-523",
        1993,
        "doi:10.1109/CVPR.1993.341081",
    ),
    "potts": Reference(
        "S. Geman, D. Geman",
        "Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images",
        "IEEE Transactions on Pattern Analysis and Machine Intelligence 6(6), 721-741",
        1984,
        "doi:10.1109/TPAMI.1984.4767596",
    ),
    "icm": Reference(
        "J. Besag",
        "On the statistical analysis of dirty pictures",
        "Journal of the Royal Statistical Society: Series B 48(3), 259-279",
        1986,
        "doi:10.1111/j.2517-6161.1986.tb01412.x",
    ),
    "hmrf": Reference(
        "Y. Zhang, M. Brady, S. Smith",
        "Segmentation of brain MR images through a hidden Markov random field model and the "
        "expectation-maximization algorithm",
        "IEEE Transactions on Medical Imaging 20(1), 45-57",
        2001,
        "doi:10.1109/42.906424",
    ),
    "confidence": Reference(
        "E. R. Hruschka, R. J. G. B. Campello, L. N. de Castro",
        "Evolving clusters in gene-expression data",
        "Information Sciences 176(13), 1898-1927",
        2006,
        "doi:10.1016/j.ins.2005.07.015",
    ),
    "mann-whitney": Reference(
        "H. B. Mann, D. R. Whitney",
        "On a test of whether one of two random variables is stochastically larger than the other",
        "Annals of Mathematical Statistics 18(1), 50-60",
        1947,
        "doi:10.1214/aoms/1177730491",
    ),
    "kruskal-wallis": Reference(
        "W. H. Kruskal, W. A. Wallis",
        "Use of ranks in one-criterion variance analysis",
        "Journal of the American Statistical Association 47(260), 583-621",
        1952,
        "doi:10.1080/01621459.1952.10483441",
    ),
    "welch": Reference(
        "B. L. Welch",
        "The generalization of 'Student's' problem when several different population variances "
        "are involved",
        "Biometrika 34(1-2), 28-35",
        1947,
        "doi:10.1093/biomet/34.1-2.28",
    ),
    "napari": Reference(
        "napari contributors",
        "napari: a multi-dimensional image viewer for Python",
        "Zenodo",
        2019,
        "doi:10.5281/zenodo.3555620",
    ),
    "scikit-learn": Reference(
        "F. Pedregosa et al.",
        "Scikit-learn: machine learning in Python",
        "Journal of Machine Learning Research 12, 2825-2830",
        2011,
    ),
}
"""The publications by the name of their method."""


class ReferenceList:
    """A list of references in the order in which a text cites them.

    Parameters
    ----------
    version : str
        The version of this package that is cited as `PROGRAM`; "" if it is not known.
    """

    def __init__(self, version: str) -> None:
        # The days on which other versions were released are not known here.
        year = RELEASED[:4] if version == __version__ else ""
        program = Software("napari-kmeans developers", PROGRAM, version, year)
        self._entries: dict[str, Reference | Software] = {**REFERENCES, PROGRAM: program}
        self._names: list[str] = []

    def cite(self, *names: str) -> str:
        """Return the numbers of references in brackets, such as "[1, 2]"."""
        self._names += [name for name in names if name not in self._names]
        return f"[{', '.join(str(self._names.index(name) + 1) for name in names)}]"

    def lines(self) -> list[str]:
        """Return the numbered entries of the cited references."""
        return [f"{number}. {self._entries[name]}" for number, name in enumerate(self._names, 1)]
