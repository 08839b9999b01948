"""One table of settings. Each is an environment variable ``MAMMOLENS_<NAME>``."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from mammolens.errors import ConfigurationError


def _default_home() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "mammolens"


class Settings(BaseSettings):
    """Settings of one process; unknown variables are ignored."""

    model_config = SettingsConfigDict(env_prefix="MAMMOLENS_", frozen=True, extra="ignore")

    home: Path = Field(default_factory=_default_home, description="Folder for models, data and caches.")
    max_file_bytes: int = Field(1 << 30, gt=0, description="Largest file that is read, bytes.")
    max_pixels: int = Field(120_000_000, gt=0, description="Most pixels in one frame, rows times columns.")
    max_decoded_bytes: int = Field(
        1 << 30, gt=0, description="Most bytes that a file's pixel data may decode to, all frames together."
    )
    decode_memory_bytes: int = Field(2 << 30, gt=0, description="Address space of a decoding process, bytes.")
    decode_seconds: float = Field(30.0, gt=0, description="Wall-clock seconds one file may take to decode.")
    decode_in_process: bool = Field(False, description="Decode trusted files without a child process.")
    threads: int = Field(0, ge=0, description="Threads of the inference engine; 0 takes one per core.")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Give the settings of this process, read from the environment once.

    Raises
    ------
    ConfigurationError
        If an environment variable holds a value that does not fit.
    """
    try:
        return Settings()
    except ValidationError as error:
        names = sorted({f"MAMMOLENS_{str(problem['loc'][0]).upper()}" for problem in error.errors()})
        raise ConfigurationError(f"{', '.join(names)}: the value does not fit. See docs/settings.md.") from error
