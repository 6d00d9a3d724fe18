"""What goes over the wire, as pydantic models: unknown fields are refused, every number is bounded."""
