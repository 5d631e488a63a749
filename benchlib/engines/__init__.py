"""Who runs it: trtexec, its command line and files, and the stand-ins that speak the same.

Imports nothing: a stand-in may run under an interpreter that has little more than numpy.
"""
