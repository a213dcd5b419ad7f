"""Name the contrast of a series: from what it is called first, from its echo and repetition time else.

Names: "T2", "T1", "T2_SPACE" and "T1_SPACE" (3-D turbo spin echo, by any vendor's name), "STIR", "FLAIR",
"PD", "T2_STAR", "unknown". Times in ms.
"""

from __future__ import annotations

import re

UNKNOWN = "unknown"
# Letters before the name are a plane or Philips' leading s: "SagT2", "sT2W_TSE".
_PREFIX = r"(?<![a-z])(?:sag|ax|cor|tra|s|st)?"
_RULES: tuple[tuple[str, str], ...] = (
    ("STIR", r"(?<![a-z])(stir|tirm)(?![a-z])"),
    ("FLAIR", r"flair"),
    ("T2_STAR", _PREFIX + r"t2 ?(\*|star)|(?<![a-z])(medic|merge|swi)(?![a-z])"),
)
_T2 = re.compile(_PREFIX + r"t2(?![0-9])")
_T1 = re.compile(_PREFIX + r"t1(?![0-9])")
_PD = re.compile(r"(?<![a-z])pdw?(?![a-z])|proton density")
_SPACE = re.compile(r"(?<![a-z])(space|spc|cube|vista)(?![a-z])")
_LOCALIZER = re.compile(
    r"(?<![a-z])(locali[sz]er|loc|scout|survey|surview|topogram|3 ?plane|three ?plane)(?![a-z])"
)

# Spin echo, 1.5 to 3 T: a long echo shows T2, a short echo and a short repetition T1, the rest is PD.
_T2_MIN_ECHO_MS, _T2_MIN_REPETITION_MS = 60.0, 1500.0
_T1_MAX_ECHO_MS, _T1_MAX_REPETITION_MS = 30.0, 1200.0
_STIR_INVERSION_MS = (80.0, 300.0)
_FLAIR_MIN_INVERSION_MS = 1500.0


def name_sequence(
    text: str,
    echo_time_ms: float | None = None,
    repetition_time_ms: float | None = None,
    inversion_time_ms: float | None = None,
) -> str:
    """Return the name of the contrast.

    Args:
        text: series description, protocol and sequence name joined by spaces, or a file's stem.
        echo_time_ms: Echo Time.
        repetition_time_ms: Repetition Time.
        inversion_time_ms: Inversion Time.

    Example:
        >>> name_sequence("001_T2_SPACE"), name_sequence("", 100.0, 3000.0)
        ('T2_SPACE', 'T2')
    """
    words = _plain(text)
    for name, pattern in _RULES:
        if re.search(pattern, words):
            return name
    t1, t2, space = bool(_T1.search(words)), bool(_T2.search(words)), bool(_SPACE.search(words))
    if t1 != t2:
        return ("T1" if t1 else "T2") + ("_SPACE" if space else "")
    if space and not t1:
        return "T2_SPACE"
    if _PD.search(words):
        return "PD"
    return _from_times(echo_time_ms, repetition_time_ms, inversion_time_ms)


def is_localizer_name(text: str) -> bool:
    """Tell whether a series description names a localizer (scout, survey, three-plane ...)."""
    return _LOCALIZER.search(_plain(text)) is not None


def _plain(text: str) -> str:
    return re.sub(r"[_\-./,:;()\s]+", " ", text.lower()).strip()


def _from_times(echo: float | None, repetition: float | None, inversion: float | None) -> str:
    if echo is None or repetition is None:
        return UNKNOWN
    if inversion is not None and _STIR_INVERSION_MS[0] <= inversion <= _STIR_INVERSION_MS[1]:
        return "STIR"
    if inversion is not None and inversion >= _FLAIR_MIN_INVERSION_MS:
        return "FLAIR"
    if echo >= _T2_MIN_ECHO_MS and repetition >= _T2_MIN_REPETITION_MS:
        return "T2"
    if echo <= _T1_MAX_ECHO_MS and repetition <= _T1_MAX_REPETITION_MS:
        return "T1"
    if echo <= _T1_MAX_ECHO_MS and repetition >= _T2_MIN_REPETITION_MS:
        return "PD"
    return UNKNOWN
