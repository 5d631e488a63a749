"""The network as an ONNX graph at a precision."""
