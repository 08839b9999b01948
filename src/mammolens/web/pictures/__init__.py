"""Pictures to look at and to take away: resolutions and tiles, previews, overlays, heat maps."""
