"""The network: timm's encoders (`zoo`, `encoder`), heads (`heads`), a faster depthwise backward (`depthwise`)."""
