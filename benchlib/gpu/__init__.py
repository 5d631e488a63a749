"""The GPU while it measures: NVML, telemetry, clock lock, peak rates."""
