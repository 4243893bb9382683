"""Studies as the names of image files give them, such as those of Grand X-Ray SLAM.

In    a path such as a/00000005_001_002.jpg: patient, study, image.
Out   patient and study, 00000005_001, or None for another name.
"""

import re

STUDY_IN_NAME = re.compile(r"(.*/)?(\d+_\d+)_\d+\.[^./]+")


def study_in_name(path: str) -> str | None:
    found = STUDY_IN_NAME.fullmatch(path)
    return found[2] if found else None
