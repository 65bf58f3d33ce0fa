"""The network: timm's encoders (`zoo`, `encoder`), heads (`classifier`, `heads`), a faster depthwise backward (`depthwise`)."""
