"""Measure how fast computer-vision backbones run in TensorRT and say what the numbers mean.

Imports nothing: the stand-ins for trtexec run under interpreters that have little more than numpy.
"""

__version__ = "0.1.0"
