"""The network as ONNX at a precision."""
