"""The guide: pages of Markdown, read in the terminal or as one offline HTML page.

Most pages are `.md` files of this folder; those of operations, passes and the API are generated
from the blocks, rule tables and docstrings when they are read.
"""

from graphgrad.guide.page import build_guide
from graphgrad.guide.topics import (
    GENERATED,
    GROUPS,
    TOPICS,
    Topic,
    guide_file,
    text_of,
    title_of,
    topics_called,
)

__all__ = [
    "GENERATED",
    "GROUPS",
    "TOPICS",
    "Topic",
    "build_guide",
    "guide_file",
    "text_of",
    "title_of",
    "topics_called",
]
