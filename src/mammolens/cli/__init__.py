"""The command line: one module per command group, no logic of its own.

================  ==============================================================
`main`            the application, its commands and its global options
`predict`         files in, answers out
`preview`         a picture to look at
`train`           a configuration in, a bundle out
`models`          the installed bundles
`demo`            the whole road on a synthetic examination
`doctor`          what is installed and whether it works
`files`           finds the files of folders
`records`         the JSON Lines that programs read
`terminal`        messages, exit statuses and how a command ends
================  ==============================================================

The modules import nothing heavy before a command runs.
"""
