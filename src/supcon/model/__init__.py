"""Timm's encoders (`zoo`, `encoder`, `depthwise`), and what sits on them (`classifier`, `heads`, `prototypes`)."""
