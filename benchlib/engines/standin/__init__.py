"""What the two stand-ins share: trtexec's words, files and arithmetic, without any engine.

Imports the standard library and numpy only, because it also runs under a bare interpreter.
"""
