"""Timm's encoders (`zoo`, `encoder`, `convolutions`), and what sits on them (`classifier`, `heads`, `prototypes`)."""
