"""One table of settings. Each is an environment variable ``MAMMOLENS_<NAME>``."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
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
    database_url: str = Field("", description="Database of the web application; empty: SQLite below the home folder.")
    workers: int = Field(0, ge=0, description="Processes that answer uploads; 0 takes one per two cores.")
    upload_file_bytes: int = Field(256 << 20, gt=0, description="Largest file that may be uploaded, bytes.")
    upload_zip_bytes: int = Field(2 << 30, gt=0, description="Largest ZIP, and most it may hold unpacked, bytes.")
    upload_zip_files: int = Field(500, gt=0, description="Most files in one ZIP.")
    upload_user_bytes: int = Field(100 << 30, gt=0, description="Most bytes that one user's uploads may take.")
    upload_free_bytes: int = Field(
        1 << 30, ge=0, description="Free disk space, bytes, below which uploads are refused."
    )
    session_idle_minutes: int = Field(30, gt=0, description="Minutes without a request after which a session ends.")
    session_hours: float = Field(12.0, gt=0, description="Hours after which a session ends in any case.")
    proxies: int = Field(0, ge=0, description="Reverse proxies in front, whose X-Forwarded headers are believed.")
    hsts: bool = Field(False, description="Ask browsers to come by TLS only; set where a proxy gives TLS.")
    tile_cache_bytes: int = Field(10 << 30, gt=0, description="Most bytes of decoded resolutions kept for tiles.")
    admin_user: str = Field("", description="Name of the first administrator; read when there is none.")
    admin_password: SecretStr = Field(SecretStr(""), description="Password of the first administrator.")


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
