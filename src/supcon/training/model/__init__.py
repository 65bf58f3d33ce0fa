"""The networks: timm's encoders (`timm_import`, `encoder`, `convolutions`), and what sits on them.

On the features sit the `classifier`s and the `heads` of the contrastive loss.
"""
